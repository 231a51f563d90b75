"""cadaver (neon): a session of every command, an editor that locks, somebody else's lock and how it is stolen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from realclients import run, tool, trusting
from sites import LEAST, NAMES, Site, sums, tree

pytestmark = pytest.mark.slow


class Cadaver:
    """One person: a home of their own, in which the login is kept and files are put."""

    def __init__(self, site: Site, home: Path) -> None:
        home.mkdir()
        self.home, self.site = home, site
        (home / ".netrc").write_text(f'machine 127.0.0.1 login {site.name} password "{site.password}"\n')
        (home / ".netrc").chmod(0o600)
        self._command = [tool("cadaver"), site.url]
        if site.certificate:
            prefix = trusting(home)
            if not prefix:
                pytest.skip("only root may mount, over a file of trusted certificates (Debian: ca-certificates)")
            self._command = [*prefix, *self._command]

    def __call__(self, *commands: str, editor: str = "") -> list[str]:
        """What it says to each command."""
        home = str(self.home)
        environ = {"HOME": home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "EDITOR": editor, "COLUMNS": "9999"}
        done = run(*self._command, stdin="\n".join([*commands, "quit", ""]), cwd=self.home, **environ)
        assert done.returncode == 0, done.stderr
        said, rest = [], done.stdout
        for command in (*commands, "quit"):  # each is shown after a prompt
            before, shown, rest = rest.partition(f"> {command}\n")
            assert shown, done.stdout
            said.append(before)
        return said[1:]

    def succeeds(self, *commands: str, editor: str = "") -> list[str]:
        said = self(*commands, editor=editor)
        for each in said:
            assert "fail" not in each.lower(), each
        return said


def quoted(name: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def test_a_session(site: Site, tmp_path: Path) -> None:
    person = Cadaver(site, tmp_path / "home")
    (person.home / "one.txt").write_text("one")
    (person.home / "two.txt").write_text("two, and longer")
    (site.root / "a folder").mkdir()
    folder = site.root / "a folder" / "ü & #1"
    said = person.succeeds(
        'cd "a folder"', 'mkcol "ü & #1"', 'cd "ü & #1"',
        "put one.txt", 'put two.txt "zwei ü.txt"', "ls",
        'copy one.txt "copy of 100%.txt"', 'move "zwei ü.txt" moved.txt', "mkcol within", "copy moved.txt within",
        "cat moved.txt", 'get moved.txt "got back.txt"', "ls within",
    )  # fmt: skip
    for each in (*said[1:2], *said[3:10], said[11]):
        assert "succeeded" in each
    assert re.search(r"\bzwei ü\.txt +15 ", said[5])
    assert "two, and longer" in said[10]
    assert (person.home / "got back.txt").read_text() == "two, and longer"
    assert re.search(r"\bmoved\.txt +15 ", said[12])
    assert sorted(sums(folder)) == ["copy of 100%.txt", "moved.txt", "one.txt", "within", "within/moved.txt"]
    assert (folder / "copy of 100%.txt").read_text() == "one"
    person.succeeds('cd "a folder/ü & #1"', "delete moved.txt", "rmcol within", "cd ..", 'rmcol "ü & #1"', "ls")
    assert sums(site.root) == {"a folder": ""}


def test_properties(site: Site, tmp_path: Path) -> None:
    person = Cadaver(site, tmp_path / "home")
    (site.root / "a ü.txt").write_text("x")
    said = person.succeeds(
        'propset "a ü.txt" colour "red ü"', 'propget "a ü.txt" colour', 'propnames "a ü.txt"',
        'copy "a ü.txt" b.txt', 'move "a ü.txt" c.txt', "propget b.txt colour", "propget c.txt colour",
        "propdel c.txt colour", "propnames c.txt", "propget c.txt",
    )  # fmt: skip
    for number in (1, 5, 6):
        assert "Value of colour is: red ü" in said[number]
    assert "custom-properties/ colour" in said[2]
    for name in ("getetag", "lockdiscovery", "resourcetype"):
        assert f"DAV: {name}\n" in said[2]
    assert "colour" not in said[8]
    assert "DAV: getcontentlength = 1\n" in said[9]


def test_locks(site: Site, tmp_path: Path) -> None:
    """The holder may write and nobody else, also once the holder has gone."""
    jane, bob = Cadaver(site, tmp_path / "jane"), Cadaver(site, tmp_path / "bob")
    (site.root / "report.txt").write_text("draft")
    (jane.home / "jane.txt").write_text("jane's")
    (bob.home / "bob.txt").write_text("bob's")
    said = jane(
        "set lockowner Jane", "lock report.txt", "put jane.txt report.txt", "showlocks", "discover report.txt",
        "move report.txt moved.txt", "ls",
    )  # fmt: skip
    assert "succeeded" in said[1]
    assert "succeeded" in said[2]
    for number in (3, 4):
        assert re.search(r"Lock token <urn:uuid:\S+>:\n  Depth 0 .*\n  Scope: exclusive  Type: write", said[number])
    assert "succeeded" in said[5]  # a lock does not go with what is moved (RFC 4918 §7.6): the new name has none
    assert (site.root / "moved.txt").read_text() == "jane's"
    assert "succeeded" in jane("lock moved.txt")[0]  # and it leaves without unlocking: its lock stays
    said = bob("put bob.txt moved.txt", "delete moved.txt", "move moved.txt away.txt", "propset moved.txt a b")
    for each in said:
        assert "423 Locked" in each
    assert (site.root / "moved.txt").read_text() == "jane's"
    said = bob("discover moved.txt", "copy moved.txt mine.txt", "cat moved.txt")
    assert "Scope: exclusive" in said[0]
    assert "succeeded" in said[1]
    assert "jane's" in said[2]


@pytest.mark.parametrize("site", ["anonymous", "login"], indirect=True)
def test_an_editor(site: Site, tmp_path: Path) -> None:
    """`edit` locks, downloads, runs the editor, uploads, unlocks."""
    jane = Cadaver(site, tmp_path / "jane")
    (site.root / "a ü.txt").write_text("draft\n")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho edited >>"$1"\ntouch -d +5seconds "$1"\n')  # it looks at whole seconds
    editor.chmod(0o700)
    jane.succeeds('edit "a ü.txt"', "ls", editor=str(editor))
    assert (site.root / "a ü.txt").read_text() == "draft\nedited\n"
    assert site.asked('"LOCK /a%20%c3%bc.txt" 200')
    assert site.asked('"UNLOCK /a%20%c3%bc.txt" 204')


@pytest.mark.parametrize("site", ["anonymous", "login"], indirect=True)
def test_a_lock_left_behind_is_stolen(site: Site, tmp_path: Path) -> None:
    jane, later = Cadaver(site, tmp_path / "jane"), Cadaver(site, tmp_path / "later")
    (site.root / "report.txt").write_text("draft")
    (later.home / "new.txt").write_text("new")
    assert "succeeded" in jane("lock report.txt")[0]
    said = later(
        "put new.txt report.txt", "steal report.txt", "put new.txt report.txt", "unlock report.txt", "showlocks"
    )
    assert "423 Locked" in said[0]
    assert "succeeded" in said[2]
    assert "succeeded" in said[3]
    assert "Lock token" not in said[4]
    assert (site.root / "report.txt").read_text() == "new"


@pytest.mark.parametrize("site", [LEAST], indirect=True)
def test_names(site: Site, tmp_path: Path) -> None:
    person = Cadaver(site, tmp_path / "home")
    source = tree(person.home / "source")
    names = [name for name in NAMES if "/" not in name]
    said = person.succeeds(
        *(f"put {quoted(f'source/{name}')} {quoted(name)}" for name in names), "ls",
        *(f"get {quoted(name)} {quoted(f'back {name}')}" for name in names),
        *(f"lock {quoted(name)}" for name in names), *(f"unlock {quoted(name)}" for name in names),
    )  # fmt: skip
    for name in names:
        assert (site.root / name).read_text() == (person.home / f"back {name}").read_text() == f"this is {name}\n"
        assert name in said[len(names)]
    assert len(sums(source)) == len(NAMES) + 4


@pytest.mark.parametrize("site", [LEAST], indirect=True)
def test_many_at_once_and_a_large_one(site: Site, tmp_path: Path) -> None:
    person = Cadaver(site, tmp_path / "home")
    for number in range(30):
        (person.home / f"many {number}.txt").write_text(str(number))
    (person.home / "large").write_bytes(bytes(range(256)) * 40_000)
    (person.home / "back").mkdir()
    names = " ".join(quoted(f"many {number}.txt") for number in range(30))
    person.succeeds(f"mput {names}", "put large", "lcd back", f"mget {names}", "get large")
    back = sums(person.home / "back")
    assert back == sums(site.root)
    assert len(back) == 31
