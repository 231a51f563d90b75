"""restic through rclone: init, two backups, a check of all data, restores, forget and prune."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from realclients import run, tool
from sites import LEAST, MOST, Site, sums, tree

pytestmark = pytest.mark.slow


class Restic:
    def __init__(self, site: Site, home: Path) -> None:
        home.mkdir()
        self._program, rclone = tool("restic"), tool("rclone")
        hidden = run(rclone, "obscure", site.password).stdout.strip() if site.name else ""
        self._environ = {
            "HOME": str(home), "PATH": os.environ["PATH"], "RESTIC_PASSWORD": "a secret", "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_DAV_TYPE": "webdav", "RCLONE_CONFIG_DAV_VENDOR": "owncloud",
            "RCLONE_CONFIG_DAV_URL": site.url,
            **({"RCLONE_CONFIG_DAV_USER": site.name, "RCLONE_CONFIG_DAV_PASS": hidden} if site.name else {}),
            **({"RCLONE_CA_CERT": str(site.certificate)} if site.certificate else {}),
        }  # fmt: skip

    def __call__(self, *arguments: str, cwd: Path) -> str:
        done = run(self._program, "-r", "rclone:dav:backup", *arguments, cwd=cwd, timeout=100, **self._environ)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.parametrize("site", [LEAST, MOST], indirect=True)
def test_backups(site: Site, tmp_path: Path) -> None:
    restic, source = Restic(site, tmp_path / "home"), tree(tmp_path / "source")
    (source / "large").write_bytes(os.urandom(12_000_000))
    restic("init", cwd=source)
    restic("backup", ".", cwd=source)
    first = sums(source)
    (source / "large").write_bytes(os.urandom(5_000_000))
    (source / "plain.txt").write_text("changed")
    restic("backup", ".", cwd=source)
    restic("check", "--read-data", cwd=source)
    snapshots = json.loads(restic("snapshots", "--json", cwd=source))
    assert len(snapshots) == 2
    for snapshot, content in zip(snapshots, (first, sums(source)), strict=True):
        restic("restore", snapshot["id"], "--target", str(tmp_path / snapshot["short_id"]), cwd=source)
        assert sums(tmp_path / snapshot["short_id"]) == content
    size = sum(path.stat().st_size for path in site.root.rglob("*"))
    restic("forget", "--keep-last", "1", "--prune", cwd=source)
    assert sum(path.stat().st_size for path in site.root.rglob("*")) < size - 10_000_000
    restic("check", "--read-data", cwd=source)
    assert len(json.loads(restic("snapshots", "--json", cwd=source))) == 1
    restic("restore", "latest", "--target", str(tmp_path / "again"), cwd=source)
    assert sums(tmp_path / "again") == sums(source)
    # Its own locks are files, and none is left.
    assert list((site.root / "backup" / "locks").iterdir()) == []
