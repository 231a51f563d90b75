"""The staging folder where the file system, or the moment, does not go along."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.storage import copying, rename
from davserver.storage.staging import FOLDER, Stage, keep_attributes
from davserver.storage.tree import Tree


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def failing(number: int) -> object:
    def fail(*_: object, **__: object) -> object:
        raise OSError(number, errno.errorcode[number])

    return fail


def test_a_stage_that_cannot_be_locked_is_an_error(parent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(OSError, match="ENOLCK"):
        Stage(parent)
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_unnamed_files_it_takes_named_ones(
    parent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, real = Stage(parent), os.open

    def no_tmpfile(name: str, flags: int, *arguments: int, **keywords: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "EOPNOTSUPP")
        return real(name, flags, *arguments, **keywords)

    monkeypatch.setattr(os, "open", no_tmpfile)
    fd, name = stage.new_file()
    assert os.listdir(tmp_path / FOLDER) == [name]
    os.close(fd)
    stage.close()


def test_an_error_of_another_kind_is_not_taken_for_that(parent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(parent)
    monkeypatch.setattr(os, "open", failing(errno.EMFILE))
    with pytest.raises(OSError, match="EMFILE"):
        stage.new_file()
    monkeypatch.undo()
    stage.close()


def test_clearing_what_is_gone_is_no_error(parent: int) -> None:
    stage = Stage(parent)
    stage.clear("never there")
    stage.close()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EOPNOTSUPP])
def test_attributes_are_kept_as_far_as_permitted(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "old", "wb") as old, open(tmp_path / "new", "wb") as new:
        os.setxattr(old.fileno(), "user.tag", b"x")
        monkeypatch.setattr(os, "setxattr", failing(number))
        keep_attributes(os.fstat(old.fileno()), old.fileno(), new.fileno())
        monkeypatch.undo()
        monkeypatch.setattr(os, "setxattr", failing(errno.ENOSPC))
        with pytest.raises(OSError, match="ENOSPC"):
            keep_attributes(os.fstat(old.fileno()), old.fileno(), new.fileno())
        monkeypatch.undo()
        monkeypatch.setattr(os, "listxattr", failing(errno.EOPNOTSUPP))
        keep_attributes(os.fstat(old.fileno()), old.fileno(), new.fileno())


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EOPNOTSUPP])
def test_content_is_copied_where_the_kernel_has_no_short_cut(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"content")
    monkeypatch.setattr(os, "copy_file_range", failing(number))
    with open(tmp_path / "source", "rb") as source, open(tmp_path / "target", "wb") as target:
        copying._copy_content(source.fileno(), target.fileno())
    assert (tmp_path / "target").read_bytes() == b"content"


def test_a_disk_that_fills_while_copying_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="ENOSPC"):
        copying._copy_content(0, 1)


def test_a_member_that_vanishes_is_not_copied(parent: int, tmp_path: Path) -> None:
    from davserver.protocol.paths import ROOT

    tree = Tree(str(tmp_path), ROOT)
    copying._copy_entry(tree, parent, parent, "never there")
    assert os.listdir(tmp_path) == []
    tree.close()


def test_renaming_tells_errors_that_are_none_of_the_file_system(parent: int) -> None:
    for act in (rename.rename_new, rename.exchange):
        with pytest.raises(FileNotFoundError):
            act("missing", "other", source_fd=parent, destination_fd=parent)
