"""duplicity (webdav backend): a full and an incremental backup, verify, restore of both times, old ones removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from realclients import CERTIFICATE, PASSWORD, TLS, configure, run, tool
from serving import Process
from sites import LEAST, Site, sums, tree

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("site", [LEAST], indirect=True)
def test_backups(site: Site, tmp_path: Path) -> None:
    backups(site, tmp_path)


def test_backups_with_a_login(tmp_path: Path) -> None:
    """Over Basic alone: it would choose Digest, and its Digest of 0.8.22 is wrong, as Apache finds too."""
    with Process(tmp_path, "-c", str(configure(tmp_path, auth={"digest": False}, tls=TLS))) as server:
        (server.root / "x").mkdir()
        backups(Site(server, "x", "alice", PASSWORD, CERTIFICATE), tmp_path)


def backups(site: Site, tmp_path: Path) -> None:
    program, home, source = tool("duplicity"), tmp_path / "home", tree(tmp_path / "source")
    home.mkdir()
    # It wants a name and a password also where nobody asks for them. Of TLS and not, it says webdavs and webdav.
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "FTP_PASSWORD": site.password or "none"}
    url = site.url.replace("http", "webdav", 1).replace("://", f"://{site.name or 'nobody'}@") + "backup"
    trust = ("--ssl-cacert-file", str(site.certificate)) if site.certificate else ()

    def duplicity(*arguments: str) -> str:
        done = run(program, *arguments, "--no-encryption", "--num-retries", "1", *trust, timeout=100, **environ)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    (source / "large").write_bytes(os.urandom(5_000_000))
    duplicity("full", "--volsize", "1", str(source), url)  # of 1 MB each
    first, then = sums(source), int(time.time())
    while int(time.time()) == then:  # it names backups by the second
        time.sleep(0.05)
    (source / "plain.txt").write_text("changed")
    (source / "new ü").write_text("new")
    (source / "empty").unlink()
    duplicity("incremental", str(source), url)
    duplicity("verify", "--compare-data", url, str(source))
    duplicity("restore", url, str(tmp_path / "back"))
    assert sums(tmp_path / "back") == sums(source)
    duplicity("restore", "--time", str(then), url, str(tmp_path / "earlier"))
    assert sums(tmp_path / "earlier") == first
    assert len(list((site.root / "backup").glob("*.difftar.gz"))) > 5
    while int(time.time()) < then + 3:
        time.sleep(0.05)
    duplicity("full", str(source), url)
    duplicity("remove-all-but-n-full", "1", "--force", url)
    assert len(list((site.root / "backup").glob("*.manifest"))) == 1
    told = duplicity("collection-status", url)
    assert "No orphaned or incomplete backup sets found." in told
