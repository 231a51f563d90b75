"""COPY: a file, or a tree of them, built aside.

Each file is one whole version of its source. What is not served is left out; links are, where a share follows them,
copied as links. Copies keep mode, attributes and the second of the last change. What is mounted in a folder is a member
of it (RFC 4918 §9.8.3), and what that covers is not. Where one member would be hidden nothing is copied: neither a copy
without it nor a file that nobody sees is what was asked for.

A copy whose source will be removed (MOVE between file systems) is of everything, served or not: what would be left out
would be lost. What cannot be copied at all then stands in its way.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat as modes
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from davserver.protocol.errors import Forbidden, NotFound
from davserver.protocol.paths import DavPath
from davserver.storage.crossing import BELOW, hidden_there
from davserver.storage.node import node_of
from davserver.storage.oserrors import refusing
from davserver.storage.resolve import Resolver
from davserver.storage.served import PRIVATE_PREFIX
from davserver.storage.staged import StagedCopy
from davserver.storage.staging import Slot, keep_attributes
from davserver.storage.tree import Tree

_CHUNK = 64 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: A name that meant a file, or a folder, means something else now: a link, a file, a socket, a device.
_CHANGED = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV})
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
    everything: bool = False,
    mounted: Mapping[DavPath, Tree] | None = None,
    spend: Callable[[int], None] = lambda _: None,
    permit: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> StagedCopy:
    """Copy `source` to `slot`. Not recursive: a folder alone. `everything`: also what is not served. `mounted`: other
    trees, by the path below `source` where each stands. `spend` is told the size of each file beforehand, and `permit`
    the names of each member below the top; both may raise."""
    copy, mounted = StagedCopy(target_tree, slot), mounted or {}
    chosen = _Everything() if everything else _Served(source_tree, source, mounted, target_tree)
    try:
        with source_tree.source(source) as fd, _Mounts(source, mounted, target_tree) as mounts:
            _Copying(target_tree, copy, mounts, spend, permit).copy(fd, chosen, slot, recursive=recursive)
    except BaseException:
        copy.discard()
        raise
    return copy


class _Served:
    """What of a tree is copied: what is served there, and not covered by what is mounted."""

    def __init__(self, tree: Tree, source: DavPath, mounted: Mapping[DavPath, Tree], target: Tree) -> None:
        self._member, self._source = tree.served.member, source.segments
        self._mounted = mounted
        self.links = tree.follows_links
        self._target = target.served

    def takes(self, names: tuple[str, ...], name: str) -> bool:
        folder = (*self._source, *names)
        return self._member(folder, name) and not (self._mounted and DavPath((*folder, name)) in self._mounted)

    def require(self, name: str) -> None:
        """Raises Forbidden where the destination would hide it."""
        if self._target.hides and not self._target.member(BELOW, name):
            raise hidden_there(name)

    def cannot(self) -> None:
        """There is something that is no file, or was one when its folder was read: it is left out."""


class _Everything:
    """All but what is the server's own."""

    links = True

    def takes(self, _names: tuple[str, ...], name: str) -> bool:
        return not name.startswith(PRIVATE_PREFIX)

    def require(self, name: str) -> None:
        """What is hidden is taken along; `crossing` has been asked."""

    def cannot(self) -> None:
        raise Forbidden(
            "There is something in it that is neither file nor folder, or is being changed: it cannot be copied to "
            "another file system, and would be lost."
        )


class _Part(NamedTuple):
    """The tree that is copied, or one that is mounted in it."""

    chosen: _Served | _Everything
    resolver: Resolver
    #: The names of its top, below the top of all.
    at: tuple[str, ...] = ()


class _Mounts(ExitStack):
    """What is mounted below `source`. Open until its block ends."""

    def __init__(self, source: DavPath, mounted: Mapping[DavPath, Tree], target: Tree) -> None:
        super().__init__()
        self._source, self._mounted, self._target = source, mounted, target

    def members(self, folder: tuple[str, ...]) -> Iterator[_Part]:
        """Those that are members of the collection that has these names below the source."""
        for path, tree in self._mounted.items():
            at = path.below(self._source)
            if at[:-1] == folder:
                file = tree.open(path)
                self.callback(file.close)
                yield _Part(_Served(tree, path, self._mounted, self._target), Resolver(file.fd), at)


class _Copying:
    def __init__(
        self,
        tree: Tree,
        copy: StagedCopy,
        mounts: _Mounts,
        spend: Callable[[int], None],
        permit: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._tree = tree
        self._copy = copy
        self._mounts = mounts
        self._spend, self._permit = spend, permit
        #: Copied and not synced yet; None: too many to be synced one by one.
        self._unsynced: list[tuple[str, ...]] | None = []

    def copy(self, source: int, chosen: _Served | _Everything, slot: Slot, *, recursive: bool) -> None:
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
                self._members(_Part(chosen, Resolver(source)), folder, name, recursive=recursive)
            self._sync(folder)

    def _members(self, top: _Part, folder: int, name: str, *, recursive: bool) -> None:
        """Folder by folder, without recursion: a tree may be deeper than Python's stack."""
        targets = Resolver(folder)
        todo: list[tuple[_Part, tuple[str, ...]]] = [(top, ())]
        while todo:
            part, names = todo.pop()
            try:
                here = part.resolver.open(names, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                _pass_over(part.chosen, error)
                continue
            below = (*part.at, *names)
            above = (name, *below)
            there = targets.open(above, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if recursive:
                    with os.scandir(here) as entries:
                        for entry in entries:
                            if not part.chosen.takes(names, entry.name):
                                continue
                            self._permit((*below, entry.name))
                            if self._entry(part.chosen, entry, here, there, above):
                                todo.append((part, (*names, entry.name)))
                    for mount in self._mounts.members(below):
                        self._permit(mount.at)
                        mount.chosen.require(mount.at[-1])
                        self._folder(there, (name, *mount.at))
                        todo.append((mount, ()))
                # At the end: it may be a mode that lets nobody make anything there.
                keep_attributes(os.fstat(here), here, os.fstat(there), there)
            finally:
                os.close(here)
                os.close(there)

    def _folder(self, there: int, names: tuple[str, ...]) -> None:
        os.mkdir(names[-1], dir_fd=there)
        self._remember(names)

    def _entry(
        self, chosen: _Served | _Everything, entry: os.DirEntry[str], here: int, there: int, above: tuple[str, ...]
    ) -> bool:
        """Is it a folder, whose members are still to be copied?"""
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            chosen.require(name)
            self._folder(there, (*above, name))
            return True
        if entry.is_file(follow_symlinks=False):
            try:
                fd = os.open(name, _OPEN, dir_fd=here)
            except OSError as error:
                _pass_over(chosen, error)
                return False
            try:
                if modes.S_ISREG(os.fstat(fd).st_mode):
                    chosen.require(name)
                    self._file(fd, there, (*above, name))
                else:
                    chosen.cannot()
            finally:
                os.close(fd)
        elif not entry.is_symlink():
            chosen.cannot()
        elif chosen.links:
            chosen.require(name)
            os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=there)
        return False

    def _file(self, source: int, folder: int, names: tuple[str, ...]) -> None:
        """`names`: those of the copy, below the stage; it is made as the last of them in `folder`."""
        status = os.fstat(source)
        self._spend(status.st_size)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(names[-1], flags, 0o666, dir_fd=folder)
        try:
            # No more than that, however fast it grows meanwhile.
            self._copy.size += copy_content(source, target, status.st_size)
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


def _pass_over(chosen: _Served | _Everything, error: OSError) -> None:
    """It has gone since its folder was read, or become something else."""
    if error.errno in _CHANGED:
        chosen.cannot()
    elif error.errno != errno.ENOENT:
        raise error


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
