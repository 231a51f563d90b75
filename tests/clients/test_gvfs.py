"""GNOME Files (gvfs, by `gio`): mount, copy, list, move, remove, save with an ETag, somebody else's lock, its FUSE.

What is driven is the daemon that GNOME Files uses too, on a session bus of its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from realclients import PASSWORD, TLS, anonymous, configure, run, tool, trusting
from serving import Process

pytestmark = pytest.mark.slow

DAEMONS = [Path("/usr/libexec/gvfsd-dav"), Path("/usr/lib/gvfs/gvfsd-dav")]


class Session:
    """A session bus, and what it starts, which ends with it."""

    def __init__(self, folder: Path, before: list[str]) -> None:
        """`before`: what the bus stands behind."""
        tool("gio")
        if not any(daemon.exists() for daemon in DAEMONS):
            pytest.skip("gvfs knows no WebDAV here (Debian: gvfs-backends)")
        self.runtime = folder / "runtime"
        self.runtime.mkdir(mode=0o700)
        self._environ = {
            "HOME": str(folder), "XDG_RUNTIME_DIR": str(self.runtime), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        self._is_apart = bool(before)
        self._bus = subprocess.Popen(
            [*before, tool("dbus-daemon"), "--session", "--print-address", "--nofork", "--nopidfile"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self._environ, start_new_session=True,
        )  # fmt: skip
        assert self._bus.stdout is not None
        self._environ["DBUS_SESSION_BUS_ADDRESS"] = self._bus.stdout.readline().strip()

    def tried(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run(tool("gio"), *command, stdin=stdin, **self._environ)

    def __call__(self, *command: str, stdin: str = "") -> str:
        """What `gio` prints."""
        done = self.tried(*command, stdin=stdin)
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A program that sees what the session has mounted."""
        apart = [tool("nsenter"), "--mount", f"--target={self._bus.pid}"] if self._is_apart else []
        return run(*apart, *command)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._bus.pid, signal.SIGKILL)
        self._bus.wait(timeout=20)
        assert self._bus.stdout is not None
        self._bus.stdout.close()
        if not self._is_apart:
            run("umount", "-l", str(self.runtime / "gvfs"))


@pytest.fixture(scope="module")
def trusts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return trusting(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def gio(tmp_path_factory: pytest.TempPathFactory, trusts: list[str]) -> Iterator[Session]:
    session = Session(tmp_path_factory.mktemp("session"), trusts)
    yield session
    session.end()


@pytest.fixture(scope="module", params=["anonymous", "basic", "digest", "tls"])
def served(
    request: pytest.FixtureRequest, gio: Session, trusts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, str]]:
    """(server, the URL at which it is mounted)"""
    how, folder = request.param, tmp_path_factory.mktemp("served")
    if how == "tls" and not trusts:
        pytest.skip("only root may mount, over a file of trusted certificates (Debian: ca-certificates)")
    if how == "anonymous":
        config = anonymous(folder)
    else:
        auth = {"digest": how == "digest", "basic": how != "digest"}
        config = configure(folder, auth=auth, tls=TLS if how == "tls" else {})
    with Process(folder, "-c", str(config)) as server:
        url = f"{'davs' if how == 'tls' else 'dav'}://127.0.0.1:{server.port}/"
        asked = gio("mount", url, stdin=f"alice\n{PASSWORD}\n")
        assert ("Enter password for “my files”" in asked) is (how != "anonymous")
        yield server, url
        gio("mount", "--unmount", url)
        if how != "anonymous":
            assert all(" alice " in line for line in server.output if '"PUT ' in line)


def etag(gio: Session, url: str) -> str:
    return gio("info", "-a", "etag::value", url).partition("etag::value: ")[2].strip()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listed(gio: Session, url: str) -> dict[str, int]:
    """Name and size of each member."""
    lines = gio("list", "-h", "-a", "standard::size", url).splitlines()
    return {name: int(size) for name, size, *_ in (line.split("\t") for line in lines)}


NAMES = ["plain.bin", "a b & c.bin", "Müller ß.bin", "no #1 100%.bin", "semi;colon.bin", "日本.bin", "what?.bin"]


def test_copy_list_move_and_remove(served: tuple[Process, str], gio: Session, tmp_path: Path) -> None:
    server, url = served
    dice = random.Random(8)
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    back.mkdir()
    gio("mkdir", f"{url}new%20folder")
    folder = f"{url}new%20folder/"
    contents = {name: dice.randbytes(dice.choice([0, 10, 30_000])) for name in NAMES} | {
        "large.bin": dice.randbytes(3_000_000)
    }
    for name, content in contents.items():
        (source / name).write_bytes(content)
    gio("copy", *[str(source / name) for name in contents], folder)
    assert listed(gio, folder) == {name: len(content) for name, content in contents.items()}
    for name, content in contents.items():
        assert (server.root / "new folder" / name).read_bytes() == content
    gio("copy", *[folder + quote(name) for name in contents], str(back))
    assert {name: sha256((back / name).read_bytes()) for name in contents} == {
        name: sha256(content) for name, content in contents.items()
    }

    told = gio("info", f"{folder}large.bin")
    file = (server.root / "new folder" / "large.bin").stat()
    assert "size:  3000000\n" in told
    assert f"time::modified: {int(file.st_mtime)}\n" in told
    assert "standard::content-type: application/octet-stream\n" in told

    gio("move", f"{folder}plain.bin", f"{url}moved.bin")
    assert (server.root / "moved.bin").read_bytes() == contents["plain.bin"]
    assert "plain.bin" not in listed(gio, folder)
    gio("rename", f"{url}moved.bin", "é & è.bin")
    assert (server.root / "é & è.bin").read_bytes() == contents["plain.bin"]
    taken = gio.tried("rename", f"{folder}large.bin", NAMES[1])
    assert taken.returncode != 0
    assert (server.root / "new folder" / NAMES[1]).read_bytes() == contents[NAMES[1]]
    gio("rename", folder, "another folder")
    folder = f"{url}another%20folder/"
    assert set(listed(gio, folder)) == set(contents) - {"plain.bin"}

    full = gio.tried("remove", folder)
    assert full.returncode != 0
    gio("remove", *[folder + quote(name) for name in listed(gio, folder)], f"{url}{quote('é & è.bin')}")
    gio("remove", folder)
    assert listed(gio, url) == {}
    assert [path.name for path in server.root.iterdir()] == [".davserver~stage"]


def test_saving_over_what_another_has_changed(served: tuple[Process, str], gio: Session) -> None:
    """As an editor does, with the ETag of what it opened."""
    _, url = served
    gio("save", "--create", f"{url}f.txt", stdin="first")
    old = etag(gio, f"{url}f.txt")
    gio("save", f"--etag={old}", f"{url}f.txt", stdin="second")
    assert etag(gio, f"{url}f.txt") != old
    late = gio.tried("save", f"--etag={old}", f"{url}f.txt", stdin="third")
    assert late.returncode != 0
    assert gio("cat", f"{url}f.txt") == "second"
    gio("remove", f"{url}f.txt")


def test_what_somebody_has_locked_is_not_overwritten(gio: Session, tmp_path: Path) -> None:
    with Process(tmp_path, "-c", str(anonymous(tmp_path))) as server:
        url = f"dav://127.0.0.1:{server.port}/"
        gio("mount", url)
        gio("save", "--create", f"{url}f.txt", stdin="first")
        assert server.client().lock("/f.txt", owner="Jane").status == 200
        for command in (("save", f"{url}f.txt"), ("rename", f"{url}f.txt", "g.txt"), ("remove", f"{url}f.txt")):
            assert gio.tried(*command, stdin="second").returncode != 0, command
        assert gio("cat", f"{url}f.txt") == "first"
        assert (server.root / "f.txt").read_text() == "first"
        gio("mount", "--unmount", url)


def test_df(gio: Session, tmp_path: Path) -> None:
    config = anonymous(tmp_path, shares={"/": {"directory": str(tmp_path / "share"), "quota": 20_000_000}})
    with Process(tmp_path, "-c", str(config)) as server:
        url = f"dav://127.0.0.1:{server.port}/"
        gio("mount", url)
        told = gio("info", "--filesystem", url)
        assert "filesystem::size: 20000000" in told
        assert "filesystem::free: 20000000" in told
        gio("mount", "--unmount", url)


def test_programs_that_know_nothing_of_it(gio: Session, trusts: list[str], tmp_path: Path) -> None:
    """Through gvfs-fuse, which shows what is mounted as files."""
    with Process(tmp_path, "-c", str(anonymous(tmp_path))) as server:
        url = f"dav://127.0.0.1:{server.port}/"
        gio("mount", url)
        gio("save", "--create", f"{url}a%20b.txt", stdin="hello")
        path = gio("info", f"{url}a%20b.txt").partition("local path: ")[2].splitlines()[0]
        folder = str(Path(path).parent)
        script = 'cat "$1/a b.txt" && cp "$1/a b.txt" "$1/copy" && mkdir "$1/d" && mv "$1/copy" "$1/d/moved" && ls "$1"'
        done = gio.inside("sh", "-c", script, "sh", folder)
        assert done.stdout.split() == ["helloa", "b.txt", "d"], done
        assert (server.root / "d" / "moved").read_text() == "hello"
        gio("mount", "--unmount", url)


def test_a_wrong_password(gio: Session, tmp_path: Path) -> None:
    with Process(tmp_path, "-c", str(configure(tmp_path))) as server:
        url = f"dav://127.0.0.1:{server.port}/"
        refused = gio.tried("mount", url, stdin="alice\nwrong\n")
        assert refused.returncode != 0
        assert gio.tried("list", url).returncode != 0
        assert not any(" 207 " in line for line in server.output)
