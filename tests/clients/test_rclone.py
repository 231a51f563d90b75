"""rclone: copy, check, sync, bisync, move, delete, modification times, ranges, a mount, somebody else's lock."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from realclients import anonymous, free_port, run, tool
from serving import Process
from sites import KINDS, LEAST, MOST, NAMES, Site, sums, tree
from wire import lockinfo

pytestmark = pytest.mark.slow

#: 2001-09-09 01:46:40
OLD = 1_000_000_000


class Rclone:
    """Of docs/clients.md; runs are judged by their exit code."""

    def __init__(self, site: Site, vendor: str = "owncloud") -> None:
        self._program = tool("rclone")
        self.site = site
        login = f",user={site.name},pass='{run(self._program, 'obscure', site.password).stdout.strip()}'"
        self.remote = f":webdav,url='{site.url}',vendor={vendor}{login if site.name else ''}:"

    def command(self, *arguments: str) -> list[str]:
        trust = ("--ca-cert", str(self.site.certificate)) if self.site.certificate else ()
        return [
            self._program,
            "--config",
            "/dev/null",
            "--retries",
            "1",
            "--low-level-retries",
            "1",
            *trust,
            *arguments,
        ]

    def fails(self, *arguments: str) -> str:
        """What it says on its standard error."""
        done = run(*self.command(*arguments))
        assert done.returncode != 0, done.stdout
        return done.stderr

    def __call__(self, *arguments: str) -> str:
        done = run(*self.command(*arguments), timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout


def wait(until: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """At most 20 s, and only as long as the process runs."""
    end = time.monotonic() + 20
    while not until():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def aged(folder: Path) -> Path:
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if path.is_file():
            os.utime(path, (OLD + number, OLD + number))
    return folder


def times(folder: Path) -> dict[str, int]:
    """Seconds, by path of each file."""
    return {
        str(path.relative_to(folder)): int(path.stat().st_mtime) for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """What is another after a file was written again."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("site", "vendor"),
    [*((kind, "owncloud") for kind in KINDS), (LEAST, "nextcloud"), (LEAST, "other")],
    indirect=["site"],
)
def test_a_tree_goes_there_and_back(site: Site, vendor: str, tmp_path: Path) -> None:
    rclone, source, back = Rclone(site, vendor), aged(tree(tmp_path / "source")), tmp_path / "back"
    (source / "no files here").mkdir()
    rclone("copy", "--create-empty-src-dirs", str(source), f"{rclone.remote}there")
    there = site.root / "there"
    assert sums(there) == sums(source)
    rclone("check", str(source), f"{rclone.remote}there")
    rclone("check", "--download", str(source), f"{rclone.remote}there")
    rclone("copy", "--create-empty-src-dirs", f"{rclone.remote}there", str(back))
    assert sums(back) == sums(source)
    listed = rclone("lsf", "-R", "--files-only", f"{rclone.remote}there").splitlines()
    assert sorted(listed) == sorted([*NAMES, "empty", "bytes"])
    if vendor != "other":
        assert times(there) == times(source) == times(back)


@pytest.mark.parametrize(("site", "vendor"), [(LEAST, "nextcloud"), (MOST, "owncloud")], indirect=["site"])
def test_sync_sends_what_changed_and_takes_away_what_went(site: Site, vendor: str, tmp_path: Path) -> None:
    rclone, source, there = Rclone(site, vendor), aged(tree(tmp_path / "source")), site.root / "there"
    rclone("sync", str(source), f"{rclone.remote}there")
    first = identities(there)
    rclone("sync", str(source), f"{rclone.remote}there")
    assert identities(there) == first
    (source / "plain.txt").write_text("THIS IS plain.txt\n")  # of the same size: only its time is another
    (source / NAMES[3]).unlink()
    (source / "new").write_text("new")
    rclone("sync", str(source), f"{rclone.remote}there")
    assert sums(there) == sums(source)
    assert times(there) == times(source)
    changed = {path for path, _ in set(identities(there).items()) - set(first.items())}
    assert changed == {str(there / "plain.txt"), str(there / "new")}
    # And down.
    (there / "new").write_text("newer")
    (there / "plain.txt").unlink()
    rclone("sync", f"{rclone.remote}there", str(source))
    assert sums(source) == sums(there)


@pytest.mark.parametrize("site", [LEAST], indirect=True)
def test_check_sees_a_difference(site: Site, tmp_path: Path) -> None:
    rclone, source = Rclone(site), tree(tmp_path / "source")
    rclone("copy", str(source), rclone.remote)
    (site.root / "plain.txt").write_text("THIS IS plain.txt\n")
    assert "1 differences found" in rclone.fails("check", "--download", str(source), rclone.remote)


@pytest.mark.parametrize(("site", "vendor"), [(LEAST, "other"), (MOST, "owncloud")], indirect=["site"])
def test_copies_and_moves_on_the_server(site: Site, vendor: str, tmp_path: Path) -> None:
    """Nothing is downloaded and sent again: COPY and MOVE do it, of a folder in one go."""
    rclone, source = Rclone(site, vendor), aged(tree(tmp_path / "source"))
    rclone("copy", str(source), f"{rclone.remote}one")
    content = sums(source)
    rclone("moveto", f"{rclone.remote}one/{NAMES[3]}", f"{rclone.remote}one/moved #2 ü.txt")
    content["moved #2 ü.txt"] = content.pop(NAMES[3])
    rclone("copy", f"{rclone.remote}one", f"{rclone.remote}two & more")
    assert sums(site.root / "two & more") == content
    rclone("moveto", f"{rclone.remote}one", f"{rclone.remote}ünder/three")
    assert sums(site.root / "ünder" / "three") == content
    assert not (site.root / "one").exists()
    assert site.asked(r'"COPY /one/plain.txt" 201')
    assert site.asked(r'"MOVE /one/" 201')
    assert not any(f'"GET /{site.folder}/' in line for line in site.server.output)
    if vendor != "other":
        assert sorted(times(site.root / "ünder" / "three").values()) == sorted(times(source).values())
        assert times(site.root / "two & more") == times(site.root / "ünder" / "three")


@pytest.mark.parametrize("site", [LEAST], indirect=True)
def test_delete_rmdirs_purge(site: Site, tmp_path: Path) -> None:
    rclone = Rclone(site)
    rclone("copy", str(tree(tmp_path / "source")), f"{rclone.remote}one")
    rclone("copy", str(tmp_path / "source"), f"{rclone.remote}two")
    rclone("deletefile", f"{rclone.remote}one/{NAMES[2]}")
    assert not (site.root / "one" / NAMES[2]).exists()
    rclone("delete", f"{rclone.remote}one", "--include", "*.txt")
    assert sorted(sums(site.root / "one")) == [".hidden", "a folder", "a folder/ünter", "bytes", "empty"]
    rclone("rmdirs", f"{rclone.remote}one/a folder")
    assert not (site.root / "one" / "a folder").exists()
    rclone.fails("rmdir", f"{rclone.remote}two")
    assert (site.root / "two").exists()
    rclone("purge", f"{rclone.remote}two")
    assert not (site.root / "two").exists()


@pytest.mark.parametrize("site", [LEAST, MOST], indirect=True)
def test_ranges_streams_and_sizes(site: Site) -> None:
    rclone = Rclone(site)
    with (site.root / "sparse").open("wb") as file:  # of more than 32 bits
        file.seek(5 << 30)
        file.write(b"the end")
    assert rclone("lsf", "--format", "s", f"{rclone.remote}sparse").strip() == str((5 << 30) + 7)
    assert rclone("cat", "--offset", str(5 << 30), f"{rclone.remote}sparse") == "the end"
    assert rclone("cat", "--offset", str((5 << 30) + 4), "--count", "2", f"{rclone.remote}sparse") == "en"
    assert rclone("cat", "--tail", "3", f"{rclone.remote}sparse") == "end"
    done = run(*rclone.command("rcat", f"{rclone.remote}a new/streamed ü"), stdin="äbc" * 100_000)
    assert done.returncode == 0, done.stderr
    assert (site.root / "a new" / "streamed ü").read_text() == "äbc" * 100_000
    told = json.loads(rclone("about", "--json", rclone.remote))
    has = os.statvfs(site.root)
    assert told["free"] == pytest.approx(has.f_bavail * has.f_frsize, rel=0.2)


@pytest.mark.parametrize("site", [MOST], indirect=True)
def test_a_large_file(site: Site, tmp_path: Path) -> None:
    rclone, source = Rclone(site), tmp_path / "large"
    with source.open("wb") as file:
        for _ in range(40):
            file.write(os.urandom(1 << 20))
    rclone("copy", str(source), rclone.remote)
    with (site.root / "large").open("rb") as file, source.open("rb") as other:
        assert all(file.read(1 << 20) == other.read(1 << 20) for _ in range(41))
    rclone("copyto", f"{rclone.remote}large", str(tmp_path / "back"))
    assert sha256((tmp_path / "back").read_bytes()).digest() == sha256(source.read_bytes()).digest()


@pytest.mark.parametrize("site", [LEAST], indirect=True)
def test_what_somebody_else_has_locked_stays_as_it_is(site: Site, tmp_path: Path) -> None:
    rclone, source = Rclone(site), tree(tmp_path / "source")
    rclone("copy", str(source), rclone.remote)
    curl = [tool("curl"), "-sS", "--cacert", str(site.certificate), "-u", f"{site.name}:{site.password}"]
    locked = run(*curl, "-X", "LOCK", "--data-binary", "@-", f"{site.url}plain.txt", stdin=lockinfo().decode())
    assert "opaquelocktoken:" in locked.stdout or "urn:uuid:" in locked.stdout, locked.stderr
    (source / "plain.txt").write_text("changed")
    (source / "new").write_text("new")
    before = sums(site.root)
    assert "423" in rclone.fails("copyto", str(source / "plain.txt"), f"{rclone.remote}plain.txt")
    assert "423" in rclone.fails("deletefile", f"{rclone.remote}plain.txt")
    assert "423" in rclone.fails("moveto", f"{rclone.remote}plain.txt", f"{rclone.remote}moved.txt")
    assert sums(site.root) == before
    rclone.fails("sync", str(source), rclone.remote)
    assert sums(site.root) == {**before, "new": sums(source)["new"]}


@pytest.mark.parametrize("site", [MOST], indirect=True)
def test_two_folders_by_way_of_the_server(site: Site, tmp_path: Path) -> None:
    """bisync: what changed here and what changed there meet."""
    # Old, since bisync sees no change within a second of the last.
    rclone, here, there = Rclone(site), aged(tree(tmp_path / "here")), tmp_path / "there"
    there.mkdir()
    (site.root / "shared").mkdir()

    def bisync(folder: Path, *more: str) -> None:
        work = str(tmp_path / f"{folder.name}.state")
        rclone("bisync", str(folder), f"{rclone.remote}shared", "--workdir", work, *more)

    bisync(here, "--resync")
    bisync(there, "--resync")
    assert sums(here) == sums(there) == sums(site.root / "shared")
    (here / "plain.txt").write_text("edited here")
    (there / NAMES[2]).write_text("edited there")
    (there / NAMES[3]).unlink()
    (there / "new").write_text("new")
    for folder in (here, there, here):
        bisync(folder)
    assert sums(here) == sums(there) == sums(site.root / "shared")
    assert (there / "plain.txt").read_text() == "edited here"
    assert (here / NAMES[2]).read_text() == "edited there"
    assert (here / "new").exists()
    assert not (here / NAMES[3]).exists()


@pytest.mark.parametrize("site", [LEAST, MOST], indirect=True)
def test_a_mount(site: Site, tmp_path: Path) -> None:
    """FUSE: a tree copied in, renamed, edited in place, removed; what was seen there is on the server's disk."""
    tool("fusermount3")
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        pytest.skip("only root may mount, and only with /dev/fuse")
    rclone, source, point = Rclone(site), tree(tmp_path / "source"), tmp_path / "point"
    point.mkdir()
    command = rclone.command(
        "mount", rclone.remote, str(point), "--vfs-cache-mode", "writes", "--vfs-write-back", "0s",
        "--dir-cache-time", "1s", "--cache-dir", str(tmp_path / "cache"),
    )  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait(lambda: os.path.ismount(point), process)
            assert run("cp", "-r", f"{source}/.", str(point)).returncode == 0
            wait(lambda: sums(site.root) == sums(source), process)
            assert sums(point) == sums(source)
            assert run("mv", str(point / "a folder"), str(point / "änother")).returncode == 0
            assert run("mv", str(point / "bytes"), str(point / "empty")).returncode == 0  # over what is there
            with (point / "plain.txt").open("a") as file:
                file.write("and more\n")
            with (point / "empty").open("r+b") as edited:
                edited.seek(100_000)
                edited.write(b"in the middle")
            (point / "made").mkdir()
            (point / "made").rmdir()
            (point / NAMES[3]).unlink()
            expected = bytearray((source / "bytes").read_bytes())
            expected[100_000 : 100_000 + 13] = b"in the middle"
            wait(lambda: (site.root / "empty").read_bytes() == expected, process)
            wait(lambda: (site.root / "plain.txt").read_text() == "this is plain.txt\nand more\n", process)
            assert (site.root / "änother" / "ünter" / "x#%&+;.txt").exists()
            for gone in ("bytes", "made", "a folder", NAMES[3]):
                assert not (site.root / gone).exists()
            assert sums(point) == sums(site.root)
            # What another puts there is seen.
            (site.root / "from elsewhere").write_text("x")
            wait(lambda: (point / "from elsewhere").exists(), process)
            told, has = os.statvfs(point), os.statvfs(site.root)
            assert told.f_bavail * told.f_frsize == pytest.approx(has.f_bavail * has.f_frsize, rel=0.2)
        finally:
            run("fusermount3", "-u", str(point))
            process.terminate()
            _, said = process.communicate(timeout=20)
    assert "ERROR" not in said, said


def test_a_server_that_is_killed_and_comes_back_while_it_copies(tmp_path: Path) -> None:
    """rclone tries again what broke off; in the end all is there, whole, and nothing beside it."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(60):
        (source / f"{number:02}").write_bytes(os.urandom(100_000))
    settings = anonymous(tmp_path)
    with Process(tmp_path, "-c", str(settings), "--port", str(free_port())) as server:
        site = Site(server, "x", "", "", None)
        site.root.mkdir()
        rclone = Rclone(site)
        patient = ("--retries", "9", "--retries-sleep", "1s", "--low-level-retries", "2", "--bwlimit", "2M")
        log = tmp_path / "rclone.log"  # with what rclone tries again without a word, which `-vv` tells
        command = [*rclone.command("copy", str(source), rclone.remote), *patient, "-vv", f"--log-file={log}"]
        with subprocess.Popen(command) as process:
            for least in (10, 30):
                wait(lambda least=least: len(list(site.root.iterdir())) >= least, process)  # type: ignore[misc]
                server.kill()
                server.start()
            process.wait(timeout=90)
        said = log.read_text()
        assert process.returncode == 0, said
        assert "low level retry" in said, said  # or it has not noticed
        assert sums(site.root) == sums(source)
