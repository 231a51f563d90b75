"""davfs2: a drive of 500 files, edits, df, two mounts that compete for one file, restarts under it, its locks on."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from realclients import CERTIFICATE, PASSWORD, TLS, anonymous, configure, digests, free_port, run, tool
from requests.auth import _basic_auth_str
from serving import QUICK, Process

pytestmark = pytest.mark.slow

CONF = """
use_locks 1
delay_upload 0
ask_auth 0
retry 1
max_retry 2
# Newer kernels read folders in pieces of 32 KiB, more than davfs2's usual buffer holds ("Invalid argument").
buf_size 64
"""
#: What others did is seen at once.
FRESH = ("file_refresh 0", "dir_refresh 0")


@contextmanager
def mounted(folder: Path, url: str, *settings: str, login: str = "") -> Iterator[Path]:
    """A mount point in `folder`, which is new. `settings`: more lines of davfs2.conf."""
    mount = tool("mount.davfs")
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        pytest.skip("only root may mount, and only with /dev/fuse")
    point, secrets, conf = folder / "point", folder / "secrets", folder / "conf"
    point.mkdir(parents=True)
    secrets.write_text(f'{point} {login} "{PASSWORD}"\n' if login else "")
    secrets.chmod(0o600)
    conf.write_text("\n".join([CONF, f"secrets {secrets}", f'lock_owner "{folder.name}"', *settings, ""]))
    done = run(mount, url, str(point), "-o", f"conf={conf},uid=0,gid=0", PATH="/usr/sbin:/usr/bin:/sbin:/bin")
    assert done.returncode == 0, done.stderr
    name = f"*{str(point).strip('/').replace('/', '-')}*"
    pids: list[str] = []

    def daemon() -> bool:
        pids[:] = [file.read_text() for file in Path("/run/mount.davfs").glob(f"{name}.pid")]
        return any(pids)

    try:
        eventually(daemon)
        yield point
    finally:
        # Everything is uploaded when the daemon has ended; `umount` without -i looks for that every three seconds.
        if run("umount", "-i", str(point)).returncode:
            run("umount", "-i", "-l", str(point))
        end = time.monotonic() + 60
        while any(is_running(int(pid)) for pid in pids):
            assert time.monotonic() < end, "mount.davfs does not end"
            time.sleep(0.05)
        for cache in Path("/var/cache/davfs2").glob(name):
            shutil.rmtree(cache)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def tree(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file by its path, and "" for each folder; davfs2's own lost+found is left out."""
    return {
        str(path.relative_to(folder)): "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if not str(path.relative_to(folder)).startswith(("lost+found", ".davserver~"))
    }


def holds(file: Path, text: str) -> Callable[[], bool]:
    return lambda: file.exists() and file.read_text() == text


def unlocked(server: Process, path: str, login: str = "") -> Callable[[], bool]:
    dav = server.client(**({"Authorization": _basic_auth_str(login, PASSWORD)} if login else {}))
    return lambda: dav.propfind(path, "lockdiscovery").find("//D:activelock") == []


def eventually(seen: Callable[[], bool], seconds: float = 10) -> None:
    """davfs2 uploads what was closed in a moment of its own."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


@pytest.fixture(params=["anonymous", "basic", "digest", "tls"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Process, str, list[str], str]]:
    """(server, its URL, lines of davfs2.conf, who logs in)"""
    digest = request.param == "digest"
    if request.param == "anonymous":
        config, scheme, lines, login = anonymous(tmp_path), "http", [], ""
    elif request.param == "tls":
        config, scheme, login = configure(tmp_path, tls=TLS), "https", "alice"
        lines = [f"trust_ca_cert {CERTIFICATE}"]
    else:
        config = configure(tmp_path, auth={"digest": digest, "basic": not digest})
        scheme, lines, login = "http", [], "alice"
    with Process(tmp_path, "-c", str(config)) as server:
        yield server, f"{scheme}://127.0.0.1:{server.port}/", lines, login


def test_copy_there_and_back(served: tuple[Process, str, list[str], str], tmp_path: Path) -> None:
    """500 files where nobody logs in, fewer where that is what is tested."""
    server, url, lines, login = served
    source, back = tmp_path / "source", tmp_path / "back"
    dice = random.Random(4918)
    for number in range(40 if login else 500):
        file = source / f"folder {number % 7}" / f"ü & {number % 3} #1" / f"file {number}, 100%.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(dice.randbytes(dice.choice([0, 1, 700, 5_000, 20_000])))
    (source / "large.bin").write_bytes(dice.randbytes(5_000_000))
    with mounted(tmp_path / "one", url, *lines, login=login) as point:
        shutil.copytree(source, point / "copy")
        assert tree(point / "copy") == tree(source)
    # Unmounting has waited for the last of it.
    assert tree(server.root / "copy") == tree(source)
    # Nothing of it is in the cache of another mount.
    with mounted(tmp_path / "two", url, *lines, login=login) as point:
        shutil.copytree(point / "copy", back)
        assert tree(back) == tree(source)
        subprocess.run(["rm", "-r", str(point / "copy")], check=True)
        assert os.listdir(point) in ([], ["lost+found"])
    assert tree(server.root) == {}
    who = login or "-"
    assert any(f' {who} "LOCK /copy/large.bin" 201' in line for line in server.output)
    assert any(f' {who} "UNLOCK /copy/large.bin" 204' in line for line in server.output)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path]]:
    folder = tmp_path_factory.mktemp("drive")
    with (
        Process(folder, "-c", str(anonymous(folder))) as server,
        mounted(folder / "mount", server.url, *FRESH) as point,
    ):
        yield server, point


def test_edit_by_renaming_over(drive: tuple[Process, Path]) -> None:
    """As editors do, and `sed -i`."""
    server, point = drive
    (point / "f.txt").write_text("one\ntwo\n")
    subprocess.run(["sed", "-i", "s/two/three/", str(point / "f.txt")], check=True)
    eventually(holds(server.root / "f.txt", "one\nthree\n"))
    for number in range(5):
        with open(point / "f.txt~new", "w") as new:
            new.write(f"text {number}")
            new.flush()
            os.fsync(new.fileno())
        os.replace(point / "f.txt~new", point / "f.txt")
        assert (point / "f.txt").read_text() == f"text {number}"
        eventually(holds(server.root / "f.txt", f"text {number}"))
    assert sorted(os.listdir(server.root)) == [".davserver~stage", "f.txt"]


def test_edit_in_place(drive: tuple[Process, Path]) -> None:
    server, point = drive
    file, there = point / "place.txt", server.root / "place.txt"
    file.write_text("0123456789")
    with file.open("a") as appended:
        appended.write("abc")
    eventually(holds(there, "0123456789abc"))
    with file.open("r+") as middle:
        middle.seek(5)
        middle.write("-----")
    eventually(holds(there, "01234-----abc"))
    with file.open("r+") as shorter:
        shorter.truncate(3)
    eventually(holds(there, "012"))
    file.write_text("")
    eventually(holds(there, ""))
    eventually(unlocked(server, "/place.txt"))
    file.unlink()
    assert not there.exists()


def test_folders(drive: tuple[Process, Path]) -> None:
    server, point = drive
    (point / "a" / "b").mkdir(parents=True)
    (point / "a" / "b" / "f").write_text("inside")
    with pytest.raises(OSError, match="not empty"):
        (point / "a").rmdir()
    eventually(unlocked(server, "/a/b/f"))
    os.rename(point / "a", point / "mövéd & co")
    assert (server.root / "mövéd & co" / "b" / "f").read_text() == "inside"
    assert not (server.root / "a").exists()
    os.rename(point / "mövéd & co" / "b" / "f", point / "f from below")
    (point / "mövéd & co" / "b").rmdir()
    (point / "mövéd & co").rmdir()
    assert not (server.root / "mövéd & co").exists()
    assert (point / "f from below").read_text() == "inside"


def test_what_others_do_is_seen(drive: tuple[Process, Path]) -> None:
    server, point = drive
    dav = server.client()
    assert dav("MKCOL", "/others").status == 201
    assert dav("PUT", "/others/f", b"first").status == 201
    eventually(holds(point / "others" / "f", "first"))
    assert dav("PUT", "/others/f", b"second, longer").status == 204
    eventually(holds(point / "others" / "f", "second, longer"))
    assert dav("DELETE", "/others/f").status == 204
    eventually(lambda: os.listdir(point / "others") == [])


def test_df(tmp_path: Path) -> None:
    """What the share may hold, and what is left of it; what is too much is refused, and undoes nothing."""
    quota = 20_000_000
    config = anonymous(tmp_path, shares={"/": {"directory": str(tmp_path / "share"), "quota": quota}})
    with Process(tmp_path, "-c", str(config)) as server, mounted(tmp_path / "mount", server.url) as point:
        (point / "f.bin").write_bytes(b"x" * 5_000_000)
        eventually(unlocked(server, "/f.bin"))
        shown = run("df", "-B1", "--output=size,used,avail", str(point)).stdout.splitlines()[1].split()
        assert list(map(int, shown)) == [
            pytest.approx(value, abs=100_000) for value in (quota, 5_000_000, quota - 5_000_000)
        ]
        with suppress(OSError):  # it may say so at once, or leave it to what uploads
            (point / "f.bin").write_bytes(b"y" * 21_000_000)
        eventually(lambda: any('"PUT /f.bin" 507' in line for line in server.output))
        assert (server.root / "f.bin").read_bytes() == b"x" * 5_000_000


@pytest.mark.parametrize("logins", [("", ""), ("alice", "alice"), ("alice", "bob")])
def test_two_mounts_compete_for_one_file(logins: tuple[str, str], tmp_path: Path) -> None:
    """Whoever opened it for writing has it until it is closed; the other reads meanwhile, and loses nothing after."""
    users = {name: {"password": QUICK.hash(PASSWORD), "digest": digests(name)} for name in ("alice", "bob")}
    config = configure(tmp_path, users=users) if logins[0] else anonymous(tmp_path)
    with (
        Process(tmp_path, "-c", str(config)) as server,
        mounted(tmp_path / "one", server.url, *FRESH, login=logins[0]) as one,
        mounted(tmp_path / "two", server.url, *FRESH, login=logins[1]) as two,
    ):
        there = server.root / "f.txt"
        (one / "f.txt").write_text("first\n")
        eventually(unlocked(server, "/f.txt", logins[0]))
        eventually((two / "f.txt").exists)
        with (one / "f.txt").open("a") as mine:
            mine.write("by one\n")
            mine.flush()
            assert (two / "f.txt").read_text() == "first\n"
            for mode in ("a", "r+", "w"):
                with pytest.raises(OSError, match="Permission denied"):
                    (two / "f.txt").open(mode)
            assert there.read_text() == "first\n"
        eventually(unlocked(server, "/f.txt", logins[0]))
        assert there.read_text() == "first\nby one\n"
        eventually(holds(two / "f.txt", "first\nby one\n"))
        with (two / "f.txt").open("a") as theirs:
            theirs.write("by two\n")
        eventually(unlocked(server, "/f.txt", logins[0]))
        assert there.read_text() == "first\nby one\nby two\n"
        eventually(holds(one / "f.txt", "first\nby one\nby two\n"))


def test_two_mounts_never_write_at_the_same_time(tmp_path: Path) -> None:
    """Opening a file for writing locks it. (What is read then may be a second old: so long the kernel trusts its own
    pages. So it is not counted here what each adds to what it read.)"""
    rounds = 15
    writing: set[Path] = set()
    together, locked_out = [], []
    with (
        Process(tmp_path, "-c", str(anonymous(tmp_path))) as server,
        mounted(tmp_path / "one", server.url, *FRESH) as one,
        mounted(tmp_path / "two", server.url, *FRESH) as two,
    ):
        (one / "f.txt").write_text("0000")
        eventually(unlocked(server, "/f.txt"))
        eventually((two / "f.txt").exists)

        def write(point: Path) -> None:
            done, end = 0, time.monotonic() + 60
            while done < rounds and time.monotonic() < end:
                try:
                    with (point / "f.txt").open("r+") as file:
                        writing.add(point)
                        together.append(len(writing))
                        time.sleep(0.005)
                        writing.discard(point)
                        file.write(f"{done:04}")
                    done += 1
                except OSError:
                    locked_out.append(point)
                    time.sleep(0.01)

        threads = [threading.Thread(target=write, args=(point,)) for point in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together == [1] * (2 * rounds)
        assert locked_out
        eventually(unlocked(server, "/f.txt"))
        assert len([line for line in server.output if '"PUT /f.txt" 204' in line]) > rounds


def test_a_restart_under_the_mount(tmp_path: Path) -> None:
    """kill -9 while a file is open for writing: its lock is still there, and so is what is written into it."""
    with (
        Process(tmp_path, "-c", str(anonymous(tmp_path)), "--port", str(free_port())) as server,
        mounted(tmp_path / "one", server.url, *FRESH) as one,
        mounted(tmp_path / "two", server.url, *FRESH) as two,
    ):
        (one / "f.txt").write_text("before\n")
        eventually(unlocked(server, "/f.txt"))
        eventually((two / "f.txt").exists)
        with (one / "f.txt").open("a") as mine:
            mine.write("over the restart\n")
            server.kill()
            server.start()
            with pytest.raises(OSError, match="Permission denied"):
                (two / "f.txt").open("a")
        eventually(unlocked(server, "/f.txt"))
        assert (server.root / "f.txt").read_text() == "before\nover the restart\n"
        eventually(holds(two / "f.txt", "before\nover the restart\n"))
        with (two / "f.txt").open("a") as theirs:
            theirs.write("by two\n")
        eventually(unlocked(server, "/f.txt"))
        eventually(holds(one / "f.txt", "before\nover the restart\nby two\n"))


def test_what_was_written_while_there_was_no_server_arrives(tmp_path: Path) -> None:
    with (
        Process(tmp_path, "-c", str(anonymous(tmp_path)), "--port", str(free_port())) as server,
        mounted(tmp_path / "mount", server.url) as point,
    ):
        (point / "f.txt").write_text("before")
        eventually(unlocked(server, "/f.txt"))
        with (point / "f.txt").open("w") as file:
            server.kill()
            file.write("written without a server")
        server.start()
        eventually(holds(server.root / "f.txt", "written without a server"), 60)
        eventually(unlocked(server, "/f.txt"))
