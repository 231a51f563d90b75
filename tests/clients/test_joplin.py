"""Joplin (its terminal application): two profiles sync notes, attachments, edits and deletions, without a conflict."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from packages import npm
from realclients import run
from sites import MOST, Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # as it is compiled when it is first wanted

TITLE = "Größe & #1"


class Joplin:
    """A device with its own notes."""

    def __init__(self, site: Site, home: Path) -> None:
        # 3.6 wants packages of itself that are not to be had. Optimized, SQLite would take minutes to compile.
        unhurried = {"CFLAGS": "-O0", "CXXFLAGS": "-O0"}
        self._program = npm("joplin@~3.5.1", build="sqlite3", environ=unhurried) / ".bin" / "joplin"
        home.mkdir()
        self.home = home
        trust = [f"config net.customCertificates {site.certificate}"] if site.certificate else []
        self._first = (
            *trust, "config sync.target 6", f"config sync.6.path {site.url}notes",
            f"config sync.6.username {site.name or 'nobody'}", f'config sync.6.password "{site.password or "none"}"',
        )  # fmt: skip

    def __call__(self, *commands: str) -> str:
        (self.home / "batch").write_text("".join(f"{command}\n" for command in (*self._first, *commands)))
        self._first = ()
        environ = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        done = run(
            str(self._program), "--profile", str(self.home / "profile"), "batch", str(self.home / "batch"),
            cwd=self.home, timeout=100, **environ,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "rror" not in done.stdout.replace("Error: 0", ""), done.stdout
        return done.stdout


def notes(told: str) -> set[int]:
    return {int(number) for number in re.findall(r"\bnote (\d+)\b", told)}


@pytest.mark.parametrize("site", [MOST], indirect=True)
def test_two_devices(site: Site, tmp_path: Path) -> None:
    (site.root / "notes").mkdir()
    desk, phone = Joplin(site, tmp_path / "desk"), Joplin(site, tmp_path / "phone")
    attached = tmp_path / "picture.bin"
    attached.write_bytes(os.urandom(500_000))
    many = [f'mknote "note {number}"' for number in range(15)]
    desk(
        'mkbook "my wörk"', 'use "my wörk"', *many, f'mknote "{TITLE}"', f'set "{TITLE}" body "first words"',
        f'attach "{TITLE}" {attached}', "sync",
    )  # fmt: skip
    told = phone("sync", 'use "my wörk"', "ls", f'cat "{TITLE}"')
    assert "first words" in told
    assert set(range(15)) <= notes(told)
    (resource,) = (phone.home / "profile" / "resources").iterdir()
    assert resource.read_bytes() == attached.read_bytes()
    # An edit, a deletion and a new one come back.
    phone(
        'use "my wörk"', f'set "{TITLE}" body "second words"', 'rmnote -f -p "note 3"', 'mknote "from the phone"',
        'mv "note 4" "my wörk"', "sync",
    )  # fmt: skip
    told = desk("sync", 'use "my wörk"', "ls", f'cat "{TITLE}"')
    assert "second words" in told
    assert "first words" not in told
    assert "from the phone" in told
    assert notes(told) == set(range(15)) - {3}
    # Both have changed something since: not the same, so that nothing is in conflict.
    desk('use "my wörk"', 'set "note 5" body "at the desk"')
    phone('use "my wörk"', 'set "note 6" body "on the phone"', "sync")
    ask = ('use "my wörk"', 'cat "note 5"', 'cat "note 6"', "status")
    for told in (desk("sync", *ask), phone("sync", *ask)):
        assert "at the desk" in told
        assert "on the phone" in told
        assert "Conflicted: 0" in told
    assert len(list((site.root / "notes").glob("*.md"))) == 18  # 16 notes, the book, the attachment
    assert list((site.root / "notes" / "locks").iterdir()) == []
