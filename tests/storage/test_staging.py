"""The staging folder where the file system, or the moment, does not go along."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.protocol.errors import Unavailable
from davserver.storage import copying, rename, staging
from davserver.storage.rename import Place
from davserver.storage.staging import FOLDER, Slot, Stage, clear, is_served_elsewhere, keep_attributes, open_unnamed


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def failing(number: int) -> object:
    def fail(*_: object, **__: object) -> object:
        raise OSError(number, errno.errorcode[number])

    return fail


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_stage_that_cannot_be_locked_is_an_error(parent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_files()
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(OSError, match="ENOLCK"):
        Stage(parent)
    assert open_files() == before


def test_a_stage_that_is_closed_leaves_nothing(parent: int, tmp_path: Path) -> None:
    before = open_files()
    one, two = Stage(parent), Stage(parent)
    one.close()
    assert len(os.listdir(tmp_path / FOLDER)) == 1
    two.close()
    assert os.listdir(tmp_path) == []
    assert open_files() == before


def test_a_stage_that_is_swept_away_before_it_is_locked_is_made_again(
    parent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a folder's making and its lock another server may take it for one that was left behind."""
    real, calls = fcntl.flock, []

    def sweep_first(fd: int, operation: int) -> None:
        calls.append(fd)
        real(fd, operation)
        if len(calls) == 1:
            for name in os.listdir(tmp_path / FOLDER):
                os.rmdir(tmp_path / FOLDER / name)
            os.rmdir(tmp_path / FOLDER)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    before = open_files()
    stage = Stage(parent)
    assert os.listdir(tmp_path / FOLDER) == [stage.session]
    stage.close()
    assert open_files() == before


def test_what_an_intent_needs_outlives_its_process(parent: int, tmp_path: Path) -> None:
    dead = tmp_path / FOLDER / ".dead"
    (dead / "kept").mkdir(parents=True)
    (dead / "cleared").mkdir()
    (dead / "cleared" / "file").touch()
    (tmp_path / FOLDER / "a file").touch()
    stage = Stage(parent, needed=lambda: {".dead/kept"})
    assert os.listdir(dead) == ["kept"]
    with stage.recall(".dead/kept") as place:
        assert place is not None
        assert place.status() is not None
    with stage.recall(".dead/cleared") as place:
        assert place is not None
        assert place.status() is None
    with stage.recall(".never/there") as place:
        assert place is None
    stage.close()
    Stage(parent).close()
    assert not dead.exists()


def test_nobody_serves_beside_another_state(parent: int, tmp_path: Path) -> None:
    """Two states are two sets of locks on one file, of which neither holds."""
    before = open_files()
    first = Stage(parent, owner="a")
    for _ in range(2):
        with pytest.raises(Unavailable, match="another davserver"):
            Stage(parent, owner="b")
    assert os.listdir(tmp_path / FOLDER) == [first.session]
    again = Stage(parent, owner="a")
    again.close()
    first.close()
    Stage(parent, owner="b").close()
    assert os.listdir(tmp_path) == []
    assert open_files() == before


def test_who_is_at_work_with_another_state_is_seen(parent: int, tmp_path: Path) -> None:
    before = open_files()
    assert not is_served_elsewhere(str(tmp_path), "a")
    (tmp_path / FOLDER / "b.dead").mkdir(parents=True)
    first = Stage(parent, owner="a")
    assert not is_served_elsewhere(str(tmp_path), "a")
    assert is_served_elsewhere(str(tmp_path), "b")
    assert is_served_elsewhere(str(tmp_path), "")
    first.close()
    assert not is_served_elsewhere(str(tmp_path), "b")
    assert open_files() == before


def test_what_the_dead_of_another_state_left_is_not_cleared_unasked(parent: int, tmp_path: Path) -> None:
    (tmp_path / FOLDER / "a.dead" / "tree").mkdir(parents=True)
    (tmp_path / FOLDER / "a file").touch()
    stage = Stage(parent, owner="b")
    stage.sweep()
    assert (tmp_path / FOLDER / "a.dead" / "tree").exists()
    stage.sweep(foreign=True)
    assert not (tmp_path / FOLDER / "a.dead").exists()
    stage.close()


def test_a_start_does_not_wait_for_all_to_be_cleared(
    parent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / FOLDER / ".dead" / str(number)).mkdir(parents=True)
    begun, go_on, real = threading.Event(), threading.Event(), staging._clear

    def wait(*arguments: object) -> int:
        begun.set()
        go_on.wait()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(staging, "_clear", wait)
    monkeypatch.setattr(staging, "_PATIENCE", 0)
    stage = Stage(parent)
    assert len(os.listdir(tmp_path / FOLDER / ".dead")) == 3
    assert begun.wait(60)
    threading.Timer(0.05, go_on.set).start()
    stage.close()  # leaves the rest for another time
    assert len(os.listdir(tmp_path / FOLDER / ".dead")) == 2


@pytest.mark.parametrize(("number", "expected"), [(errno.EOPNOTSUPP, None), (errno.EISDIR, None)])
def test_without_unnamed_files_there_is_none(
    number: int, expected: None, parent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(number))
    assert open_unnamed(parent) is expected


def test_an_error_of_another_kind_is_not_taken_for_that(parent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", failing(errno.EMFILE))
    with pytest.raises(OSError, match="EMFILE"):
        open_unnamed(parent)


def test_clearing_what_is_gone_is_no_error(parent: int) -> None:
    stage = Stage(parent)
    assert Slot(stage, "never there").empty() == 0
    stage.close()


def test_clearing_counts_what_becomes_free(parent: int, tmp_path: Path) -> None:
    """A file with another name elsewhere stays; a link is removed and not followed."""
    (tmp_path / "trash" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "trash" / "one").write_bytes(b"12345")
    (tmp_path / "trash" / "deep" / "two").write_bytes(b"123")
    (tmp_path / "elsewhere").write_bytes(b"1234567")
    os.link(tmp_path / "elsewhere", tmp_path / "trash" / "deep" / "deeper" / "three")
    (tmp_path / "trash" / "link").symlink_to(tmp_path / "elsewhere")
    assert clear(parent, "trash") == 8
    assert os.listdir(tmp_path) == ["elsewhere"]
    assert clear(parent, "elsewhere") == 7
    assert clear(parent, "trash") == 0


def test_attributes_are_those_of_a_name_or_of_an_open_file(tmp_path: Path) -> None:
    for source in ("path", "open"):
        (tmp_path / "old").touch()
        os.setxattr(tmp_path / "old", "user.tag", b"x")
        os.chmod(tmp_path / "old", 0o640)
        (tmp_path / f"link to {source}").symlink_to("old")
        with open(tmp_path / "old", "rb") as old, open(tmp_path / source, "wb") as new:
            named = old.fileno() if source == "open" else str(tmp_path / "old")
            keep_attributes(os.fstat(old.fileno()), named, os.fstat(new.fileno()), new.fileno())
        assert os.getxattr(tmp_path / source, "user.tag") == b"x"
        assert os.stat(tmp_path / source).st_mode & 0o777 == 0o640


def test_what_is_written_never_runs_as_somebody_else(tmp_path: Path) -> None:
    """New content is not trusted with what the old one was: setuid, setgid, sticky, capabilities."""
    (tmp_path / "old").touch()
    os.chmod(tmp_path / "old", 0o7751)
    capability = b"\x01\x00\x00\x02" + b"\x00\x04" * 8
    with contextlib.suppress(PermissionError):  # only root may
        os.setxattr(tmp_path / "old", "security.capability", capability)
    with open(tmp_path / "old", "rb") as old, open(tmp_path / "new", "wb") as new:
        keep(old.fileno(), new.fileno())
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o751
    assert "security.capability" not in os.listxattr(tmp_path / "new")


def keep(old: int, new: int) -> None:
    keep_attributes(os.fstat(old), old, os.fstat(new), new)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EOPNOTSUPP])
def test_attributes_are_kept_as_far_as_permitted(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "old", "wb") as old, open(tmp_path / "new", "wb") as new:
        os.setxattr(old.fileno(), "user.tag", b"x")
        monkeypatch.setattr(os, "setxattr", failing(number))
        keep(old.fileno(), new.fileno())
        monkeypatch.undo()
        for name, number in (("setxattr", errno.ENOSPC), ("listxattr", errno.EIO)):
            monkeypatch.setattr(os, name, failing(number))
            with pytest.raises(OSError, match=errno.errorcode[number]):
                keep(old.fileno(), new.fileno())
            monkeypatch.undo()
        monkeypatch.setattr(os, "listxattr", failing(errno.EOPNOTSUPP))
        keep(old.fileno(), new.fileno())


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EOPNOTSUPP])
def test_content_is_copied_where_the_kernel_has_no_short_cut(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"content")
    monkeypatch.setattr(os, "copy_file_range", failing(number))
    with open(tmp_path / "source", "rb") as source, open(tmp_path / "target", "wb") as target:
        assert copying.copy_content(source.fileno(), target.fileno()) == 7
        source.seek(2)
        target.seek(0)
        assert copying.copy_content(source.fileno(), target.fileno(), 3) == 3
    assert (tmp_path / "target").read_bytes() == b"ntetent"


def test_a_disk_that_fills_while_copying_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="ENOSPC"):
        copying.copy_content(0, 1)


def test_renaming_tells_errors_that_are_none_of_the_file_system(parent: int) -> None:
    for act in (rename.rename_new, rename.exchange):
        with pytest.raises(FileNotFoundError):
            act(Place(parent, "missing"), Place(parent, "other"))
