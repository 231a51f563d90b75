"""Disks that are full, that fail, or do not permit: told with the right status, and nothing lost or left behind."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from inprocess import Content, Local, local
from wire import Answer

from davserver.storage import changes, rename, staged

COLOUR = '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>'


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    run = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False)
    if run.returncode:
        pytest.skip("mounting a file system needs root: what this test is for is NOT TESTED here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> Path:
    """A file that takes whatever is left, to the last block."""
    filler = place / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return filler


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file but the filler; what lies in the stage counts as well."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "filler"
    }


WRITES: dict[str, Callable[[Local], Answer]] = {
    "PUT over": lambda app: app("PUT", "/f", b"n" * 200_000),
    "PUT new": lambda app: app("PUT", "/new", b"n" * 200_000),
    "PUT chunked": lambda app: app("PUT", "/f", [b"n" * 50_000] * 4),
    "PUT announced": lambda app: app("PUT", "/f", Content([b"n" * 100_000], length=10**9)),
    "PATCH": lambda app: app(
        "PATCH", "/f", b"x" * 100_000,
        {"Content-Type": "application/x-sabredav-partialupdate", "X-Update-Range": "append"},
    ),
    "COPY file": lambda app: app("COPY", "/big", Destination="/copy"),
    "COPY over": lambda app: app("COPY", "/big", Destination="/f"),
    "COPY folder": lambda app: app("COPY", "/d", Destination="/copy"),
    "COPY folder over": lambda app: app("COPY", "/d", Destination="/f"),
    "PROPPATCH": lambda app: app.proppatch("/f", COLOUR.replace("red", "x" * 60_000)),
}  # fmt: skip
FREEING: list[tuple[str, Callable[[Local], Answer]]] = [
    ("MOVE", lambda app: app("MOVE", "/f", Destination="/moved")),
    ("MOVE over", lambda app: app("MOVE", "/moved", Destination="/g")),
    ("MOVE folder", lambda app: app("MOVE", "/d", Destination="/e")),
    ("UNLOCK", lambda app: app("UNLOCK", "/locked", Lock_Token=f"<{app.headers['X-Token']}>")),
    ("DELETE", lambda app: app("DELETE", "/g")),
    ("DELETE folder", lambda app: app("DELETE", "/e")),
]


def plant(app: Local) -> None:
    app("MKCOL", "/d")
    for name in ("f", "g", "d/inner", "locked"):
        assert app("PUT", f"/{name}", name.encode()).status == 201
        assert app.proppatch(f"/{name}", COLOUR).status == 207
    app("PUT", "/big", b"b" * 150_000)
    app("PUT", "/d/big", b"b" * 150_000)
    app.headers["X-Token"] = app.lock("/locked").token


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["relaxed", "full"])
@pytest.mark.parametrize("where", ["files", "files and state"])
def test_a_disk_filled_to_the_brim(where: str, durability: str, tmp_path: Path) -> None:
    """507 and nothing lost or left; what frees space goes on; and without a restart all is well again after."""
    with mounted(tmp_path / "small", "size=12m") as small:
        (small / "share").mkdir()
        folder = small if where == "files and state" else tmp_path
        shares = {"/": {"directory": str(small / "share")}}
        (tmp_path / "share").mkdir(exist_ok=True)
        with local(folder, shares=shares, durability=durability) as app:
            plant(app)
            before = snapshot(small / "share")
            filler = fill(small)
            for name, write in WRITES.items():
                if where == "files" and name == "PROPPATCH":
                    continue  # the state has room
                answer = write(app)
                if name == "PROPPATCH" and answer.status == 207:
                    continue  # the state keeps some room for what frees space, and this fitted in
                assert (name, answer.status) == (name, 507)
                assert answer.body
                assert snapshot(small / "share") == before
            assert app("GET", "/f").body == b"f"
            assert app.propfind("/f", "colour", namespace="urn:x").status == 207
            for name, free in FREEING:
                answer = free(app)
                assert (name, answer.status in (200, 201, 204)) == (name, True), answer
            left = {"big": b"b" * 150_000, "locked": b"locked"}
            assert snapshot(small / "share") == left
            filler.unlink()
            assert app("PUT", "/new", b"n" * 200_000).status == 201
            assert app.proppatch("/new", COLOUR).status == 207
            assert app("COPY", "/new", Destination="/again").status == 201
            assert "red" in app.propfind("/again", "colour", namespace="urn:x").body.decode()


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["relaxed", "full"])
def test_a_disk_of_the_state_filled_to_the_brim(durability: str, tmp_path: Path) -> None:
    """What needs a row is refused with 507 and has not happened; reading, writing files and freeing go on; and all is
    well again without a restart."""
    (tmp_path / "work").mkdir()
    with mounted(tmp_path / "work" / "state", "size=8m") as small:
        small.chmod(0o700)
        with local(tmp_path / "work", durability=durability) as app:
            plant(app)
            root = tmp_path / "work" / "share"
            for number in range(40):
                (root / f"many{number}").touch()
            fill(small)
            # The log has room of its own, so that what frees space can be written down: until that is used up.
            for number in range(400):
                name = f"p{number % 10}"
                written = app.proppatch(
                    f"/many{number // 10}",
                    f'<D:set><D:prop><{name} xmlns="urn:x">{"x" * 60_000}</{name}></D:prop></D:set>',
                )
                if written.status != 207:
                    break
            assert written.status == 507
            before = snapshot(root)
            big = "".join(f'<p{number} xmlns="urn:y">{"y" * 60_000}</p{number}>' for number in range(8))
            for answer in (
                app.proppatch("/f", f"<D:set><D:prop>{big}</D:prop></D:set>"),
                app.proppatch("/d/inner", f"<D:set><D:prop>{big}<D:lastmodified>1</D:lastmodified></D:prop></D:set>"),
                app("MKCOL", "/new", f'<D:mkcol xmlns:D="DAV:"><D:set><D:prop>{big}</D:prop></D:set></D:mkcol>',
                    {"Content-Type": "text/xml"}),
            ):  # fmt: skip
                assert answer.status == 507
                assert answer.body
            assert snapshot(root) == before
            assert app("GET", "/new").status == 404
            assert app("GET", "/f").body == b"f"
            assert "red" in app.propfind("/f", "colour", namespace="urn:x").body.decode()
            assert app.propfind("/", "getetag", depth="1").status == 207
            assert app("PUT", "/f", b"new").status == 204
            assert app("PUT", "/plain", b"new").status == 201
            (small / "filler").unlink()
            assert app.proppatch("/f", COLOUR.replace("red", "blue")).status == 207
            assert app("DELETE", "/g").status == 204
            assert app("MOVE", "/f", Destination="/moved").status == 201
            assert "blue" in app.propfind("/moved", "colour", namespace="urn:x").body.decode()


@pytest.mark.slow
def test_a_disk_without_inodes(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=12m,nr_inodes=40") as small:
        (small / "share").mkdir()
        with local(small, shares={"/": {"directory": str(small / "share")}}) as app:
            app("PUT", "/f", b"old")
            number = 0
            while app("PUT", f"/{number}", b"x").status == 201:
                number += 1
            assert 5 < number < 40
            for method, path in (("PUT", "/new"), ("PUT", "/f"), ("MKCOL", "/new")):
                assert app(method, path, b"").status == 507
            assert app.lock("/new").status == 507
            assert app("COPY", "/f", Destination="/new").status == 507
            assert app("GET", "/f").body == b"old"
            assert app("GET", "/new").status == 404
            assert app("MOVE", "/f", Destination="/g").status == 201
            assert app("DELETE", "/0").status == 204
            assert app("PUT", "/new", b"x").status == 201


REFUSALS = [
    (errno.EACCES, 403),
    (errno.EPERM, 403),
    (errno.EROFS, 403),
    (errno.ENOSPC, 507),
    (errno.EDQUOT, 507),
    (errno.EFBIG, 507),
    (errno.ENAMETOOLONG, 414),
    (errno.EMFILE, 503),
    (errno.ENOMEM, 503),
    (errno.EBUSY, 423),
    (errno.ETXTBSY, 403),
    (errno.ESTALE, 503),
    (errno.EIO, 500),
]
#: Each method, and the system call of it that fails: the last one that makes the change visible.
POINTS: list[tuple[str, Callable[[Local], Answer], str]] = [
    ("PUT new", lambda app: app("PUT", "/new", b"x"), "link"),
    ("PUT over", lambda app: app("PUT", "/f", b"x"), "rename"),
    ("PUT write", lambda app: app("PUT", "/f", b"x"), "write"),
    ("PUT time", lambda app: app("PUT", "/f", b"x"), "utime"),
    ("MKCOL", lambda app: app("MKCOL", "/new"), "mkdir"),
    ("DELETE", lambda app: app("DELETE", "/f"), "rename"),
    ("DELETE folder", lambda app: app("DELETE", "/d"), "rename"),
    ("MOVE over", lambda app: app("MOVE", "/f", Destination="/g"), "rename"),
    ("COPY", lambda app: app("COPY", "/f", Destination="/new"), "copy_file_range"),
    ("PROPPATCH", lambda app: app.proppatch("/f", "<D:set><D:prop><D:lastmodified>1</D:lastmodified></D:prop></D:set>"),
     "utime"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "status"), REFUSALS, ids=lambda value: errno.errorcode.get(value, str(value)))
@pytest.mark.parametrize(("name", "act", "call"), POINTS, ids=[point[0] for point in POINTS])
def test_a_system_call_that_fails(
    name: str, act: Callable[[Local], Answer], call: str, number: int, status: int, faulty: tuple[Local, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Once and for all: the status that tells the truth, no path of ours in it, and nothing changed."""
    app, root = faulty
    before = {path: (root / path).read_bytes() for path in ("f", "g", "d/inner")}
    tags = [app("HEAD", path).headers["etag"] for path in ("/f", "/g", "/d/inner")]

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(root))

    monkeypatch.setattr(os, call, fail)
    if call == "copy_file_range" and number == errno.EPERM:
        monkeypatch.setattr(os, "sendfile", fail)  # the one is tried when the other is not permitted
    answer = act(app)
    monkeypatch.undo()
    assert answer.status == status
    assert str(root).encode() not in answer.body
    assert answer.body
    if status == 503:
        assert int(answer.headers["retry-after"]) > 0
    assert {path: (root / path).read_bytes() for path in ("f", "g", "d/inner")} == before
    assert [app("HEAD", path).headers["etag"] for path in ("/f", "/g", "/d/inner")] == tags
    assert app("GET", "/new").status == 404
    assert "red" in app.propfind("/f", "colour", namespace="urn:x").body.decode()
    assert not app.propfind("/f", "lockdiscovery").find("//D:activelock")
    assert app("PUT", "/new", b"all is well again").status == 201
    assert app("DELETE", "/new").status == 204


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Path]]:
    folder = tmp_path_factory.mktemp("faulty")
    with local(folder) as app:
        app("MKCOL", "/d")
        for path in ("/f", "/g", "/d/inner"):
            app("PUT", path, path.encode())
            app.proppatch(path, COLOUR)
        yield app, folder / "share"


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("PUT new", lambda app: app("PUT", "/new", b"x")),
        ("PUT over", lambda app: app("PUT", "/f", b"x")),
        ("MKCOL", lambda app: app("MKCOL", "/new")),
        ("LOCK", lambda app: app.lock("/new")),
        ("DELETE", lambda app: app("DELETE", "/f")),
        ("MOVE", lambda app: app("MOVE", "/f", Destination="/new")),
        ("COPY", lambda app: app("COPY", "/f", Destination="/new")),
    ],
)
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_failed_fsync_is_never_acknowledged(
    name: str, act: Callable[[Local], Answer], which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`durability: full`. Nor is it tried again: the kernel has dropped the data by then."""
    with local(tmp_path, durability="full") as app:
        app("PUT", "/f", b"old")
        app.proppatch("/f", COLOUR)
        real, calls = os.fsync, []

        def fail(fd: int) -> None:
            calls.append(fd)
            if len(calls) == which:
                raise OSError(errno.EIO, "EIO")
            real(fd)

        monkeypatch.setattr(os, "fsync", fail)
        answer = act(app)
        monkeypatch.undo()
        if len(calls) < which:
            assert answer.status < 300
            return
        assert answer.status == 500
        # Whether it is visible or not, files and properties agree, and the server goes on.
        for path in ("/f", "/new"):
            if app("GET", path).body == b"old":
                assert "red" in app.propfind(path, "colour", namespace="urn:x").body.decode()
        assert app("GET", "/f").status == 200 or name in ("DELETE", "MOVE")
        assert app("PUT", "/again", b"x").status == 201


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_what_the_file_system_does_not_permit() -> None:
    """As a user of no rights: 403, never 500, and the rest of the share is served."""
    with TemporaryDirectory() as folder:  # pytest's own lets nobody else in
        _as_nobody(Path(folder))


def _as_nobody(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from inprocess import local\n"
        "with local(Path(sys.argv[1]) / 'first') as app:\n"
        "    app.lock('/f'); app.proppatch('/f', ''); app.propfind('/', 'getetag')\n"
        # All modules are there before the rights are given up.
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "with local(Path(sys.argv[1])) as app:\n"
        "    assert app('PUT', '/mine', b'x').status == 201\n"
        "    assert app('GET', '/unreadable').status == 403\n"
        "    assert app('PUT', '/readonly/f', b'new').status == 403\n"
        "    assert app('PUT', '/readonly/new', b'new').status == 403\n"
        "    for method in ('DELETE', 'MOVE'):\n"
        "        assert app(method, '/readonly/f', Destination='/moved').status == 403, method\n"
        "    assert app('MKCOL', '/readonly/new').status == 403\n"
        "    assert app.lock('/readonly/new').status == 403\n"
        "    assert app('COPY', '/closed', Destination='/copy').status == 403\n"
        "    assert app.propfind('/closed', 'getetag', depth='1').status == 403\n"
        "    assert app.propfind('/listable', 'getetag', depth='1').status == 207\n"
        "    hrefs = app.propfind('/', 'getetag', depth='1').hrefs()\n"
        "    assert '/unreadable' in hrefs and '/closed/' in hrefs and '/mine' in hrefs, hrefs\n"
        "    time = '<D:set><D:prop><D:lastmodified>1</D:lastmodified></D:prop></D:set>'\n"
        "    assert app.proppatch('/readonly/f', time).status == 403\n"
        "    assert app('COPY', '/readonly', Destination='/copy').status == 201\n"
        "    assert app('GET', '/copy/f').body == b'old'\n"
        "    assert app('DELETE', '/copy').status == 204\n"
        "print('done')\n"
    )
    share, first = tmp_path / "share", tmp_path / "first"
    first.mkdir()
    for folder in ("readonly", "closed", "listable"):
        (share / folder).mkdir(parents=True)
        (share / folder / "f").write_text("old")
    (share / "unreadable").write_text("secret")
    for path, mode in (("readonly", 0o755), ("closed", 0o700), ("listable", 0o744), ("unreadable", 0o600)):
        os.chmod(share / path, mode)
    for path in (tmp_path, share):
        os.chmod(path, 0o777)
    places = [str(Path(__file__).parents[1]), *[place for place in sys.path if place]]
    command = [sys.executable, "-B", "-c", script, str(tmp_path), *places]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert run.stdout == "done\n", run.stderr


def test_a_file_larger_than_the_process_may_write(tmp_path: Path) -> None:
    with local(tmp_path) as app:
        app("PUT", "/f", b"old")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, hard))
        try:
            assert app("PUT", "/f", [b"x" * 1_000_000] * 12).status == 507
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert app("GET", "/f").body == b"old"


def test_a_share_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    with mounted(tmp_path / "share", "size=1m") as share:
        (share / "f").write_text("content")
        subprocess.run(["mount", "-o", "remount,ro", str(share)], check=True)
        with local(tmp_path) as app:
            assert app("GET", "/f").body == b"content"
            assert app.propfind("/", "getetag", depth="1").hrefs() == ["/", "/f"]
            for method, path in (("PUT", "/f"), ("PUT", "/new"), ("MKCOL", "/new"), ("DELETE", "/f")):
                assert app(method, path, b"").status == 403
            assert app("COPY", "/f", Destination="/new").status == 403
            assert app("MOVE", "/f", Destination="/new").status == 403
            assert app.lock("/new").status == 403
            # Properties lie elsewhere.
            assert app.proppatch("/f", COLOUR).status == 207


#: Of each change, in its order: what is written to the disk (a file, a folder, the log of the state), and the step that
#: makes it visible.
DURABLE: list[tuple[str, Callable[[Local], Answer], list[str]]] = [
    ("PUT new", lambda app: app("PUT", "/new", b"x"), ["file", "link", "folder"]),
    ("PUT over", lambda app: app("PUT", "/plain", b"x"), ["file", "link", "rename", "folder"]),
    ("MKCOL", lambda app: app("MKCOL", "/new"), ["mkdir", "folder"]),
    ("COPY", lambda app: app("COPY", "/plain", Destination="/new"), ["file", "rename", "folder"]),
    ("MOVE", lambda app: app("MOVE", "/plain", Destination="/new"), ["rename", "folder", "folder"]),
    ("MOVE with rows", lambda app: app("MOVE", "/f", Destination="/new"), ["log", "rename", "folder", "folder", "log"]),
    ("DELETE", lambda app: app("DELETE", "/plain"), ["rename", "folder"]),
    ("DELETE with rows", lambda app: app("DELETE", "/f"), ["log", "rename", "folder", "log"]),
    ("PROPPATCH", lambda app: app.proppatch("/f", COLOUR.replace("red", "blue")), ["log"]),
]


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.parametrize(("name", "act", "steps"), DURABLE, ids=[row[0] for row in DURABLE])
def test_what_is_acknowledged_is_on_the_disk(
    name: str, act: Callable[[Local], Answer], steps: list[str], durability: str, durable: dict[str, Local],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`durability: full`: the content before its name, the name before the answer, an intent before the rename."""
    app = durable[durability]
    for path in ("/new", "/f", "/plain"):
        app("DELETE", path)
    for path in ("/f", "/plain"):
        app("PUT", path, b"old")
    app.proppatch("/f", COLOUR)
    done: list[str] = []

    def note(call: str, real: Callable[..., object]) -> Callable[..., object]:
        def noted(*arguments: object, **named: object) -> object:
            if call == "fsync":
                done.append("folder" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else "file")  # type: ignore[arg-type]
            else:
                done.append({"fdatasync": "log"}.get(call, call))
            return real(*arguments, **named)

        return noted

    for call in ("fsync", "fdatasync", "link", "rename", "mkdir"):
        monkeypatch.setattr(os, call, note(call, getattr(os, call)))
    for call in ("rename_new", "exchange"):
        for module in (changes, staged, rename):
            if hasattr(module, call):
                monkeypatch.setattr(module, call, note("rename", getattr(rename, call)))
    assert act(app).status < 300
    monkeypatch.undo()
    flushed = {"file", "folder", "log"}
    assert done == (steps if durability == "full" else [step for step in steps if step not in flushed])


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Local]]:
    with ExitStack() as stack:
        yield {
            durability: stack.enter_context(local(tmp_path_factory.mktemp(durability), durability=durability))
            for durability in ("full", "relaxed")
        }
