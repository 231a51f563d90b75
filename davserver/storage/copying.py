"""COPY: a file, or a tree of them, built aside.

Each file is one whole version of its source. What is not served is left out; links are, where a share follows them,
copied as links. Copies keep mode, attributes and the second of the last change.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Callable

from davserver.protocol.errors import NotFound
from davserver.protocol.paths import DavPath
from davserver.storage.node import node_of
from davserver.storage.oserrors import refusing
from davserver.storage.resolve import Resolver
from davserver.storage.staged import StagedCopy
from davserver.storage.staging import Slot, keep_attributes
from davserver.storage.tree import Tree

_CHUNK = 64 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Files that are synced one by one; of more than that the whole file system is, which costs about as much.
_FEW = 16
_libc = ctypes.CDLL(None, use_errno=True)


def stage_copy(
    source_tree: Tree,
    source: DavPath,
    target_tree: Tree,
    slot: Slot,
    *,
    recursive: bool,
    spend: Callable[[int], None] = lambda _: None,
    permit: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> StagedCopy:
    """Copy `source` to `slot`. Not recursive: a folder alone. `spend` is told the size of each file beforehand, and
    `permit` the names of each member below the top; both may raise."""
    copy = StagedCopy(target_tree, slot)
    try:
        with source_tree.source(source) as fd:
            _Copying(source_tree, source, target_tree, copy, spend, permit).copy(fd, slot, recursive=recursive)
    except BaseException:
        copy.discard()
        raise
    return copy


class _Copying:
    def __init__(
        self,
        source_tree: Tree,
        source: DavPath,
        tree: Tree,
        copy: StagedCopy,
        spend: Callable[[int], None],
        permit: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._source_tree, self._source = source_tree, source
        self._tree = tree
        self._copy = copy
        self._spend, self._permit = spend, permit
        #: Copied and not synced yet; None: too many to be synced one by one.
        self._unsynced: list[tuple[str, ...]] | None = []

    def copy(self, source: int, slot: Slot, *, recursive: bool) -> None:
        folder, name = slot.place
        with refusing():
            node = node_of(os.fstat(source))
            if node is None:
                raise NotFound("There is no file at this path.")
            if not node.is_collection:
                self._file(source, folder, (name,))
            else:
                os.mkdir(name, dir_fd=folder)
                self._unsynced = [(name,)]
                if recursive:
                    self._members(source, folder, name)
            self._sync(folder)

    def _members(self, source: int, folder: int, name: str) -> None:
        """Folder by folder, without recursion: a tree may be deeper than Python's stack."""
        sources, targets = Resolver(source), Resolver(folder)
        todo: list[tuple[str, ...]] = [()]
        while todo:
            names = todo.pop()
            try:
                here = sources.open(names, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # gone since its parent was read
            there = targets.open((name, *names), os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(here) as entries:
                    for entry in entries:
                        if not self._source_tree.served.member((*self._source.segments, *names), entry.name):
                            continue
                        self._permit((*names, entry.name))
                        if entry.is_dir(follow_symlinks=False):
                            os.mkdir(entry.name, dir_fd=there)
                            self._remember((name, *names, entry.name))
                            todo.append((*names, entry.name))
                        elif entry.is_file(follow_symlinks=False):
                            self._entry(here, there, (name, *names, entry.name))
                        elif self._source_tree.follows_links and entry.is_symlink():
                            os.symlink(os.readlink(entry.name, dir_fd=here), entry.name, dir_fd=there)
            finally:
                os.close(here)
                os.close(there)

    def _entry(self, here: int, there: int, names: tuple[str, ...]) -> None:
        try:
            fd = os.open(names[-1], _OPEN, dir_fd=here)
        except FileNotFoundError:
            return  # gone since the folder was read
        try:
            self._file(fd, there, names)
        finally:
            os.close(fd)

    def _file(self, source: int, folder: int, names: tuple[str, ...]) -> None:
        """`names`: those of the copy, below the stage; it is made as the last of them in `folder`."""
        status = os.fstat(source)
        self._spend(status.st_size)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(names[-1], flags, 0o666, dir_fd=folder)
        try:
            self._copy.size += copy_content(source, target)
            keep_attributes(status, source, os.fstat(target), target)
            mtime_ns = self._tree.new_time(status.st_mtime_ns // 1_000_000_000)
            os.utime(target, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(target)
        self._remember(names)

    def _remember(self, names: tuple[str, ...]) -> None:
        if self._unsynced is not None:
            self._unsynced.append(names)
            if len(self._unsynced) > _FEW and _syncfs_tells():
                self._unsynced = None

    def _sync(self, folder: int) -> None:
        if not self._tree.durable:
            return
        if self._unsynced is None:
            if _libc.syncfs(folder):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return
        targets = Resolver(folder)
        for names in self._unsynced:
            fd = targets.open(names, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _syncfs_tells() -> bool:
    """Does syncfs report that data could not be written? It does since Linux 5.8."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) >= (5, 8)


def copy_content(source: int, target: int, length: int | None = None) -> int:
    """Copy from where both are now: in the kernel, and shared between the two files where the file system can.

    `length`: no more than that. Returns the bytes that were copied.
    """
    copied = 0

    def left() -> int:
        return _CHUNK if length is None else min(_CHUNK, length - copied)

    try:
        while left() and (count := os.copy_file_range(source, target, left())):
            copied += count
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            raise
    # What the kernel did not copy in its quick way, be it all or nothing.
    while left() and (count := os.sendfile(target, source, None, left())):
        copied += count
    return copied
