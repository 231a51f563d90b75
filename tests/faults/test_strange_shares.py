"""Shares that hold more than files, and that others work on at the same time: nothing hangs, nothing is lost, and no
answer is a 500."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from inprocess import Local, local
from test_disk import COLOUR, mounted
from wire import lockinfo

from davserver.storage import copying

METHODS = ("OPTIONS", "GET", "HEAD", "PROPFIND", "PROPPATCH", "PUT", "PATCH", "MKCOL", "LOCK", "UNLOCK", "DELETE")


@pytest.fixture(scope="module")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Path]]:
    folder = tmp_path_factory.mktemp("app")
    with local(folder) as app:
        yield app, folder / "share"


@pytest.fixture
def app(_app: tuple[Local, Path]) -> Iterator[Local]:
    """Its share is empty, and nothing is left in the stage."""
    yield _app[0]
    stage = _app[1] / ".davserver~stage"
    assert not list(stage.glob("*/*"))
    for path in _app[1].iterdir():
        if path.is_dir() and not path.is_symlink():
            if path != stage:
                shutil.rmtree(path)
        else:
            path.unlink()


@pytest.fixture
def disk(_app: tuple[Local, Path]) -> Path:
    return _app[1]


def make_strange(place: Path, kind: str) -> None:
    """Something that is neither a file nor a folder."""
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("/etc/passwd")
    elif kind == "link to itself":
        place.symlink_to(place.name)
    else:
        # One that has no driver, and one that would never end.
        number = os.makedev(240, 9) if kind == "device that is away" else os.makedev(1, 5)
        try:
            os.mknod(place, 0o020666, number)
        except PermissionError:
            pytest.skip("making a device needs root: what this test is for is NOT TESTED here")


STRANGE = ("socket", "pipe", "link", "link to itself", "device that is away", "device")


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_is_not_there_and_stays(kind: str, app: Local, disk: Path) -> None:
    make_strange(disk / "strange", kind)
    (disk / "f").write_text("f")
    for method in METHODS:
        body = {"LOCK": lockinfo(), "PUT": b"x", "PATCH": b"x"}.get(method, b"")
        if method == "PROPPATCH":
            body = f'<D:propertyupdate xmlns:D="DAV:">{COLOUR}</D:propertyupdate>'.encode()
        fields = {
            "PATCH": {"Content-Type": "application/x-sabredav-partialupdate", "X-Update-Range": "append"},
            "UNLOCK": {"Lock-Token": "<urn:uuid:00000000-0000-0000-0000-000000000000>"},
        }.get(method)
        answer = app(method, "/strange", body, fields)
        assert answer.status in ((200,) if method == "OPTIONS" else (403, 404, 409)), (method, answer)
    for method in ("COPY", "MOVE"):
        assert app(method, "/strange", Destination="/new").status == 404
        assert app(method, "/f", Destination="/strange").status == 403
    assert app.propfind("/", "getetag", depth="1").hrefs() == ["/", "/f"]
    assert app("GET", "/f").body == b"f"
    assert sorted(os.listdir(disk)) == [".davserver~stage", "f", "strange"]


def test_a_file_that_another_program_keeps_for_itself_is_busy(app: Local, disk: Path) -> None:
    """A lease (fcntl(2)), as Samba takes: who opens the file is to come again when its holder has written it back."""
    (disk / "f").write_text("f")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, os, signal, sys\n"
         "signal.signal(signal.SIGIO, lambda *_: None)\n"
         "fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
         "print('held', flush=True)\nsys.stdin.read()", str(disk / "f")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for answer in (app("GET", "/f"), app("COPY", "/f", Destination="/g")):
            assert answer.status == 423
        assert holder.stdin is not None
        holder.stdin.close()
    assert app("GET", "/f").body == b"f"


# --- deep


def test_a_path_longer_than_the_kernel_takes_in_one_piece(app: Local, disk: Path) -> None:
    """A folder of 3,000 bytes below one of 3,000 (PATH_MAX is 4,096)."""
    names = [f"{number:0200}" for number in range(15)]
    half = ""
    for name in names:
        half += f"/{name}"
        assert app("MKCOL", half).status == 201
    app("PUT", f"{half}/f", b"deep")
    assert app("COPY", f"/{names[0]}", Destination="/other").status == 201
    assert app("MOVE", f"/{names[0]}", Destination=f"/other/{'/'.join(names[1:])}/below").status == 201
    path = f"/other/{'/'.join(names[1:])}/below/{'/'.join(names[1:])}"
    assert len(path) > 5000
    assert app("GET", f"{path}/f").body == b"deep"
    assert app.propfind(path, "getetag", depth="1").hrefs() == [f"{path}/", f"{path}/f"]
    assert app("PUT", f"{path}/f", b"deeper").status == 204
    assert app.proppatch(f"{path}/f", COLOUR).status == 207
    lock = app.lock(f"{path}/g")
    assert lock.status == 201
    assert app("UNLOCK", f"{path}/g", Lock_Token=f"<{lock.token}>").status == 204
    assert app("GET", f"{path}/missing").status == 404
    assert app("GET", f"{path}/{'x' * 256}").status == 414
    assert app("COPY", "/other", Destination="/copy").status == 201
    copy = path.replace("/other/", "/copy/", 1)
    assert app("GET", f"{copy}/f").body == b"deeper"
    assert "red" in app.propfind(f"{copy}/f", "colour", namespace="urn:x").body.decode()
    for tree in ("/other", "/copy"):
        assert app("DELETE", tree).status == 204
    assert os.listdir(disk) == [".davserver~stage"]
    assert not list((disk / ".davserver~stage").glob("*/*"))


# --- between file systems


def plant_unseen(folder: Path) -> list[bytes]:
    """What lies in a folder and nobody who asks the server sees."""
    (folder / "inner").mkdir(parents=True)
    os.chmod(folder / "inner", 0o700)
    (folder / "seen").write_text("seen")
    (folder / "inner" / "hidden").write_text("hidden")
    (folder / "link").symlink_to("seen")
    (folder / "link out").symlink_to("/etc/passwd")
    with open(os.fsencode(folder) + b"/no utf-8 \xff", "wb") as file:
        file.write(b"strange")
    return sorted(os.listdir(os.fsencode(folder)))


def test_a_move_to_another_file_system_takes_all_that_lies_in_a_folder(tmp_path: Path) -> None:
    """The source goes, and with it what is not served: that must not be lost."""
    with mounted(tmp_path / "other", "size=4m") as other:
        shares = {"/": {"directory": str(tmp_path / "share"), "hide": ["hidden"]}, "/o": {"directory": str(other)}}
        with local(tmp_path, shares=shares) as app:
            unseen = plant_unseen(tmp_path / "share" / "d")
            assert app("COPY", "/d", Destination="/o/copy").status == 201
            assert sorted(os.listdir(other / "copy")) == ["inner", "seen"]
            assert app("MOVE", "/d", Destination="/o/moved").status == 201
            assert not (tmp_path / "share" / "d").exists()
            moved = other / "moved"
            assert sorted(os.listdir(os.fsencode(moved))) == unseen
            assert (moved / "inner" / "hidden").read_text() == "hidden"
            assert [os.readlink(moved / name) for name in ("link", "link out")] == ["seen", "/etc/passwd"]
            # Who may look into a folder is no matter of where it lies.
            assert [os.stat(each / "inner").st_mode & 0o777 for each in (moved, other / "copy")] == [0o700, 0o700]


@pytest.mark.parametrize("kind", ["socket", "pipe", "device"])
def test_what_cannot_be_copied_is_not_moved_to_another_file_system(kind: str, tmp_path: Path) -> None:
    with mounted(tmp_path / "other", "size=4m") as other:
        shares = {"/": {"directory": str(tmp_path / "share")}, "/o": {"directory": str(other)}}
        with local(tmp_path, shares=shares) as app:
            (tmp_path / "share" / "d").mkdir()
            (tmp_path / "share" / "d" / "f").write_text("f")
            make_strange(tmp_path / "share" / "d" / "strange", kind)
            answer = app("MOVE", "/d", Destination="/o/d")
            assert answer.status == 403
            assert b"neither" in answer.body
            assert sorted(os.listdir(tmp_path / "share" / "d")) == ["f", "strange"]
            assert os.listdir(other) == [".davserver~stage"]
            assert not list((other / ".davserver~stage").glob("*/*"))
            assert app("MOVE", "/d", Destination="/e").status == 201


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_a_large_file_between_file_systems_holds_up_nobody_else(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is copied the state is free, and so is every other path: locks are taken, files are written."""
    with mounted(tmp_path / "other", "size=4m") as other:
        shares = {"/": {"directory": str(tmp_path / "share")}, "/o": {"directory": str(other)}}
        with local(tmp_path, shares=shares) as app:
            app("PUT", "/large", b"content")
            app.proppatch("/large", COLOUR)
            copying_, go_on = threading.Event(), threading.Event()
            real = os.copy_file_range

            def wait(*arguments: int) -> int:
                copying_.set()
                assert go_on.wait(60)
                return real(*arguments)

            monkeypatch.setattr(os, "copy_file_range", wait)
            with ThreadPoolExecutor(2) as pool:
                moving = pool.submit(app, method, "/large", None, {"Destination": "/o/large"})
                assert copying_.wait(60)
                for path in ("/a", "/o/b", "/o/c"):
                    lock = pool.submit(app.lock, path).result(30)
                    assert lock.status == 201
                    written = pool.submit(app, "PUT", path, b"x", {"If": f"(<{lock.token}>)"}).result(30)
                    assert written.status == 204
                    assert pool.submit(app.proppatch, path, COLOUR, If=f"(<{lock.token}>)").result(30).status == 207
                assert not moving.done()
                go_on.set()
                assert moving.result(60).status == 201
            assert app("GET", "/o/large").body == b"content"
            assert app("GET", "/large").status == (404 if method == "MOVE" else 200)
            assert "red" in app.propfind("/o/large", "colour", namespace="urn:x").body.decode()


# --- others at work


@pytest.mark.parametrize("becomes", ["nothing", "link", "pipe", "folder", "socket"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_becomes_something_else_while_a_folder_is_copied_is_left_out(
    what: str, becomes: str, app: Local, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a folder and the look at its member."""
    (disk / "d").mkdir()
    (disk / "d" / "kept").write_text("kept")
    victim = disk / "d" / "victim"
    if what == "file":
        victim.write_text("x")
    else:
        victim.mkdir()

    real_open, real_mkdir = os.open, os.mkdir

    def change() -> None:
        if what == "file":
            victim.unlink()
        else:
            victim.rmdir()
        if becomes == "folder":
            real_mkdir(victim)
        elif becomes != "nothing":
            make_strange(victim, becomes)

    def open_(path: object, *arguments: object, **names: object) -> int:
        if path == "victim" and what == "file" and victim.is_file():
            change()
        return real_open(path, *arguments, **names)  # type: ignore[arg-type]

    def mkdir(path: object, *arguments: object, **names: object) -> None:
        real_mkdir(path, *arguments, **names)  # type: ignore[arg-type]
        if path == "victim" and what == "folder":
            change()

    monkeypatch.setattr(copying.os, "open", open_)
    monkeypatch.setattr(copying.os, "mkdir", mkdir)
    assert app("COPY", "/d", Destination="/copy").status == 201
    monkeypatch.undo()
    assert app("GET", "/copy/kept").body == b"kept"
    assert sorted(set(os.listdir(disk / "copy"))) == ["kept"] if what == "file" else ["kept", "victim"]


def test_a_file_that_grows_while_it_is_copied_has_an_end(
    app: Local, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is copied is what there was when it was looked at: that was counted, and fitted in."""
    (disk / "f").write_bytes(b"0123456789")
    real = os.copy_file_range

    def grow(source: int, target: int, count: int) -> int:
        with open(disk / "f", "ab") as file:
            file.write(b"more")
        return real(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", grow)
    assert app("COPY", "/f", Destination="/g").status == 201
    monkeypatch.undo()
    assert (disk / "g").read_bytes() == b"0123456789"


# --- a share that goes away


VANISHED = [
    *((method, "/f") for method in METHODS if method not in ("OPTIONS", "UNLOCK", "PATCH", "PROPPATCH")),
    ("GET", "/"),
    ("PUT", "/new"),
    ("MKCOL", "/new"),
    ("LOCK", "/new"),
    ("PUT", "/d/new"),
    ("PROPFIND", "/d"),
    ("PROPFIND", "/"),
    ("DELETE", "/d"),
]


def test_a_share_whose_folder_is_gone_is_away_and_not_empty(tmp_path: Path) -> None:
    """A client that keeps a copy would take 404, or an empty listing, for the word to remove all of it."""
    with local(tmp_path) as app:
        app("MKCOL", "/d")
        for name in ("/f", "/d/g"):
            app("PUT", name, b"x")
            app.proppatch(name, COLOUR)
        shutil.rmtree(tmp_path / "share")
        for method, path in VANISHED:
            depth = {"PROPFIND": "1", "LOCK": "0"}.get(method, "infinity")
            answer = app(method, path, {"LOCK": lockinfo(), "PUT": b"x"}.get(method, b""), Depth=depth)
            assert (method, path, answer.status) == (method, path, 503)
            assert int(answer.headers["retry-after"]) > 0
            assert str(tmp_path).encode() not in answer.body


def test_a_share_whose_folder_is_there_again_is_served_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = tmp_path / "share"
    with local(tmp_path) as app:
        app("PUT", "/f", b"x")
        app.proppatch("/f", COLOUR)
        shutil.rmtree(disk)
        disk.touch()  # a file in its place is no folder
        for _ in range(2):
            assert app("GET", "/f").status == 503
        assert caplog.text.count(f"the folder {disk} is gone") == 1
        disk.unlink()
        disk.mkdir()
        (disk / "f").write_text("back")
        assert app("GET", "/f").status == 503  # it is looked for when it is missed
        assert "is there again" in caplog.text
        assert app("GET", "/f").body == b"back"
        assert "red" in app.propfind("/f", "colour", namespace="urn:x").body.decode()
        assert app("PUT", "/f", b"new").status == 204
        assert app("PUT", "/g", b"new").status == 201
        assert app("COPY", "/f", Destination="/h").status == 201
        assert app("DELETE", "/g").status == 204
        assert sorted(os.listdir(disk)) == [".davserver~stage", "f", "h"]
        assert not list((disk / ".davserver~stage").glob("*/*"))
