"""Tree: the files of one share. Whoever changes one must bring the hold that proves its locks were checked.

The law of this module: every name is resolved below the root in one step and without links (`resolve`);
every change becomes visible in one step (`staging`), or not at all; no OSError gets out (`oserrors`).
Cost in system calls: `stat` 3 (open, fstat, close); `open` 2; a listing 3 + one stat for each member.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from davserver.protocol.errors import BadRequest, Conflict, Forbidden, NotFound
from davserver.protocol.messages import Body
from davserver.protocol.paths import DavPath
from davserver.storage.hold import Hold
from davserver.storage.node import AlreadyThere, Discarded, Node, OpenFile, OtherDevice, node_of
from davserver.storage.oserrors import refusing
from davserver.storage.rename import exchange, rename_new
from davserver.storage.resolve import Resolver
from davserver.storage.staged import Staged
from davserver.storage.staging import PRIVATE_PREFIX, Stage, keep_attributes, link_unnamed

BLOCK = 256 * 1024
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Tree:
    """The files below `root`, mounted at `at`. `durable`: a change is on the disk before it is acknowledged."""

    def __init__(
        self,
        root: str,
        at: DavPath,
        *,
        durable: bool = True,
        use_openat2: bool | None = None,
        use_tmpfile: bool = True,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Raises OSError when `root` cannot be opened as a directory."""
        self._at = at
        self._durable = durable
        self._use_tmpfile = use_tmpfile
        self._clock_ns = clock_ns
        self._root = os.open(root, _DIRECTORY | os.O_CLOEXEC)
        self._device = os.fstat(self._root).st_dev
        self._resolver = Resolver(self._root, use_openat2=use_openat2)
        self._stages: dict[int, Stage] = {}
        self._lock = threading.Lock()
        self._last_ns = 0

    def open_stage(self) -> None:
        """Open the staging folder now, which clears what a crash left behind. Raises OSError."""
        with self._lock:
            self._stages[self._device] = Stage(self._root, use_tmpfile=self._use_tmpfile)

    def close(self) -> None:
        for stage in self._stages.values():
            stage.close()
        os.close(self._root)

    # --- reading

    def stat(self, path: DavPath) -> Node | None:
        """None when nothing is there that is served: unmapped, private, a link, or no file and no folder."""
        names = self._names(path)
        if _is_private(names):
            return None
        with refusing():
            try:
                fd = self._resolver.open(names, os.O_PATH)
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise
            try:
                return node_of(os.fstat(fd))
            finally:
                os.close(fd)

    def open(self, path: DavPath) -> OpenFile:
        """Raises NotFound when there is no file. The caller closes it."""
        names = self._names(path)
        with refusing():
            if _is_private(names):
                raise FileNotFoundError(errno.ENOENT, "private")
            fd = self._resolver.open(names, os.O_RDONLY)
            node = node_of(os.fstat(fd))
        if node is None or node.is_collection:
            os.close(fd)
            raise NotFound("There is no file at this path.")
        return OpenFile(fd, node)

    def members(self, path: DavPath) -> Iterator[tuple[str, Node]]:
        """(name, node) of each member of a collection, in the folder's own order. Opened at once, read as asked.

        Left out: what is not served, members that vanish meanwhile, and names that are no UTF-8.
        """
        with refusing():
            return _members(_Directory(self._resolver.open(self._names(path), _DIRECTORY)))

    def space(self, path: DavPath) -> tuple[int, int]:
        """(available, used) bytes of the file system that `path` lies on."""
        with refusing(), self._open(path, os.O_PATH) as fd:
            status = os.fstatvfs(fd)
        return status.f_bavail * status.f_frsize, (status.f_blocks - status.f_bfree) * status.f_frsize

    # --- writing

    def stage(self, path: DavPath, body: Body, *, expected: int | None = None) -> Staged:
        """Write a body aside, on the file system that `path` will lie on. `expected`: its length, if known.

        Raises what the body raises, and BadRequest when its length is another: nothing is left behind then.
        """
        with refusing():
            stage = self._stage_for(path)
            staged = Staged(self, stage, *stage.new_file())
        try:
            size = 0
            while block := body.read(BLOCK):
                size += len(block)
                with refusing():
                    _write(staged.fd, block)
            if expected is not None and size != expected:
                raise BadRequest("The body is not as long as X-Expected-Entity-Length says.")
        except BaseException:
            staged.discard()
            raise
        return staged

    def create_collection(self, hold: Hold, path: DavPath) -> None:
        """Raises AlreadyThere, Conflict without a parent."""
        hold.require(path)
        with self._parent(path) as (parent, name), self._new(path):
            os.mkdir(name, dir_fd=parent)
            self.sync(parent)

    def create_empty(self, hold: Hold, path: DavPath) -> None:
        """An empty file, for a LOCK on an unmapped URL (RFC 4918 §7.3). Raises AlreadyThere."""
        hold.require(path)
        with self._parent(path) as (parent, name), self._new(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o666, dir_fd=parent))
            self.sync(parent)

    def move(self, hold: Hold, source: DavPath, destination: DavPath, *, replace: bool) -> Discarded:
        """One rename. Raises AlreadyThere when it is not to replace and the destination is taken, OtherDevice when
        a rename cannot get there."""
        hold.require(source)
        hold.require(destination)
        with self._parent(source) as (source_fd, old), self._parent(destination) as (target_fd, new):
            with self._new(destination):
                discarded = self._rename(source_fd, old, target_fd, new, destination, replace=replace)
            self.sync(source_fd)
            self.sync(target_fd)
            return discarded

    def remove(self, hold: Hold, path: DavPath) -> Discarded:
        """Out of sight in one rename; `Discarded.empty` then removes it."""
        hold.require(path)
        with self._parent(path) as (parent, name):
            stage = self._stage_for(path)
            aside = stage.new_name()
            os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=stage.fd)
            self.sync(parent)
        return Discarded((stage, aside))

    def set_mtime(self, hold: Hold, path: DavPath, seconds: int) -> None:
        hold.require(path)
        with refusing(), self._open(path, os.O_RDONLY) as fd:
            self.stamp(fd, seconds)

    # --- what staged content needs

    def install(self, hold: Hold, stage: Stage, name: str, path: DavPath, *, replace: bool) -> Discarded:
        """Give what lies in the stage under `name` its place, in one step. Raises AlreadyThere."""
        hold.require(path)
        with self._parent(path) as (parent, target), self._new(path):
            if not replace:
                rename_new(name, target, source_fd=stage.fd, destination_fd=parent)
                discarded = Discarded()
            elif exchange(name, target, source_fd=stage.fd, destination_fd=parent):
                discarded = Discarded((stage, name))
            else:
                discarded = self._replace(stage, stage.fd, name, parent, target)
            self.sync(parent)
        return discarded

    def install_file(
        self, hold: Hold, stage: Stage, fd: int, name: str | None, path: DavPath, *, replace: bool
    ) -> None:
        """`install` for a file that may have no name yet, and that replaces a file if anything."""
        hold.require(path)
        with self._parent(path) as (parent, target), self._new(path):
            if not replace:
                if name is None:
                    link_unnamed(fd, parent, target)
                else:
                    rename_new(name, target, source_fd=stage.fd, destination_fd=parent)
            else:
                self._keep_attributes(parent, target, fd)
                if name is None:
                    name = stage.new_name()
                    link_unnamed(fd, stage.fd, name)
                try:
                    os.rename(name, target, src_dir_fd=stage.fd, dst_dir_fd=parent)
                except OSError:
                    stage.clear(name)
                    raise
            self.sync(parent)

    def stamp(self, fd: int, seconds: int | None) -> None:
        """Set the time of change: now, or the second a client asked for with a fraction of ours, so that no two
        versions of a file ever have the same nanosecond."""
        with self._lock:
            self._last_ns = now = max(self._last_ns + 1, self._clock_ns())
        mtime = now if seconds is None else seconds * 1_000_000_000 + now % 1_000_000_000
        os.utime(fd, ns=(mtime, mtime))

    def sync(self, fd: int) -> None:
        if self._durable:
            os.fsync(fd)

    def stage_for(self, path: DavPath) -> Stage:
        with refusing():
            return self._stage_for(path)

    def source(self, path: DavPath) -> int:
        """A descriptor of a file or folder to copy from. Raises NotFound."""
        with refusing():
            return self._resolver.open(self._names(path), os.O_RDONLY)

    # --- inside

    def _names(self, path: DavPath) -> tuple[str, ...]:
        return path.below(self._at)

    @contextmanager
    def _open(self, path: DavPath, flags: int) -> Iterator[int]:
        fd = self._resolver.open(self._names(path), flags)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, path: DavPath) -> Iterator[tuple[int, str]]:
        """The open folder that holds `path`, and its name there. Raises Conflict when there is no such folder."""
        names = self._names(path)
        if _is_private(names) or not names:
            raise Forbidden("This name is reserved for the server.")
        with refusing():
            try:
                fd = self._resolver.open(names[:-1], _DIRECTORY)
            except OSError as error:
                if error.errno in _ABSENT:
                    raise Conflict("The parent collection does not exist.") from error
                raise
            try:
                yield fd, names[-1]
            finally:
                os.close(fd)

    @contextmanager
    def _new(self, path: DavPath) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            if self.stat(path) is None:
                raise Forbidden("There is something at this path that the server does not serve.") from error
            raise AlreadyThere from error

    def _stage_for(self, path: DavPath) -> Stage:
        """The staging folder on the file system that holds `path`'s parent."""
        names = self._names(path)[:-1]
        try:
            device = self._device_of(names)
        except OSError as error:
            if error.errno in _ABSENT:
                raise Conflict("The parent collection does not exist.") from error
            raise
        with self._lock:
            if device not in self._stages:
                self._stages[device] = self._new_stage(names, device)
            return self._stages[device]

    def _new_stage(self, names: tuple[str, ...], device: int) -> Stage:
        """At the topmost folder on the way to `names` that lies on that device."""
        ways = (names[:count] for count in range(len(names)))
        top = next((way for way in ways if self._device_of(way) == device), names)
        fd = self._resolver.open(top, _DIRECTORY)
        try:
            return Stage(fd, use_tmpfile=self._use_tmpfile)
        finally:
            os.close(fd)

    def _device_of(self, names: tuple[str, ...]) -> int:
        fd = self._resolver.open(names, os.O_PATH | os.O_DIRECTORY)
        try:
            return os.fstat(fd).st_dev
        finally:
            os.close(fd)

    def _rename(
        self, source_fd: int, old: str, target_fd: int, new: str, destination: DavPath, *, replace: bool
    ) -> Discarded:
        try:
            if not replace:
                rename_new(old, new, source_fd=source_fd, destination_fd=target_fd)
                return Discarded()
            if _is_file(source_fd, old) and _is_file(target_fd, new):
                os.rename(old, new, src_dir_fd=source_fd, dst_dir_fd=target_fd)
                return Discarded()
            stage = self._stage_for(destination)
            if not exchange(old, new, source_fd=source_fd, destination_fd=target_fd):
                return self._replace(stage, source_fd, old, target_fd, new)
            aside = stage.new_name()
            os.rename(old, aside, src_dir_fd=source_fd, dst_dir_fd=stage.fd)
            return Discarded((stage, aside))
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise OtherDevice from error
            raise

    @staticmethod
    def _replace(stage: Stage, source_fd: int, old: str, target_fd: int, new: str) -> Discarded:
        """Where names cannot be exchanged: the old one steps aside first, and back if the new one cannot come."""
        aside = stage.new_name()
        os.rename(new, aside, src_dir_fd=target_fd, dst_dir_fd=stage.fd)
        try:
            os.rename(old, new, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        except OSError:
            os.rename(aside, new, src_dir_fd=stage.fd, dst_dir_fd=target_fd)
            raise
        return Discarded((stage, aside))

    @staticmethod
    def _keep_attributes(parent: int, name: str, new_fd: int) -> None:
        try:
            old_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except (FileNotFoundError, PermissionError):
            return  # gone meanwhile, or not ours to read: then there is nothing to take over
        try:
            keep_attributes(os.fstat(old_fd), old_fd, new_fd)
        finally:
            os.close(old_fd)


def _is_private(names: tuple[str, ...]) -> bool:
    return any(name.startswith(PRIVATE_PREFIX) for name in names)


def _is_file(directory: int, name: str) -> bool:
    return modes.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


class _Directory:
    """A descriptor that is closed when a listing ends, also one that is never begun."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _members(directory: _Directory) -> Iterator[tuple[str, Node]]:
    with os.scandir(directory.fd) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(PRIVATE_PREFIX) or not _is_text(name):
                continue
            try:
                node = node_of(entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue  # gone since the folder was read
            if node is not None:
                yield name, node


def _is_text(name: str) -> bool:
    """Bytes that are no UTF-8 come as lone surrogates, which nothing can be made of in a URL or in XML."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _write(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
