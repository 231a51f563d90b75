"""Tree: the files of one share. Whoever changes one must bring the hold that proves its locks were checked.

The law of this module: every name is resolved below the root in one step and without links (`resolve`); every change
becomes visible in one step (`staging`), or not at all; no OSError gets out (`oserrors`).
Cost in system calls: `stat`, `look` and `spot` 3 (open, stat, close); `open` 2; a listing 3, and one stat a member.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from davserver.protocol.errors import Conflict, Forbidden, NotFound
from davserver.protocol.paths import DavPath
from davserver.storage.hold import Hold
from davserver.storage.node import AlreadyThere, Node, OpenFile, Version, node_of
from davserver.storage.oserrors import refusal_of, refusing
from davserver.storage.rename import Place
from davserver.storage.resolve import Resolver
from davserver.storage.root import Root
from davserver.storage.served import NOTABLE, Served
from davserver.storage.spelling import ABSENT, Spelling
from davserver.storage.staging import FOLDER, Stage, left_behind

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
#: Opening it for reading tells that it is no file: a socket, a device.
_NO_FILE = ABSENT | {errno.ENXIO, errno.ENODEV}


class Look(NamedTuple):
    """What is at a path that something is to be made at, whose parent is there."""

    node: Node | None
    #: The file system that it lies on, or will lie on.
    device: int


class Spot:
    """A path whose folder is open, for as long as its block lasts, and what was there when it was opened."""

    __slots__ = ("node", "path", "place", "status")

    def __init__(self, path: DavPath, place: Place, status: os.stat_result | None, node: Node | None) -> None:
        self.path, self.place, self.status = path, place, status
        #: None also where there is something that is not served.
        self.node = node

    def __enter__(self) -> Spot:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        os.close(self.place.folder)
        if isinstance(error, OSError):
            raise refusal_of(error) from error


class Space(NamedTuple):
    """Bytes. `available` is None where the file system does not tell."""

    available: int | None
    used: int


class Tree:
    """The files below `root`, mounted at `at`. `durable`: a change is on the disk before it is acknowledged."""

    def __init__(
        self,
        root: str,
        at: DavPath,
        *,
        durable: bool = True,
        hide: Iterable[str] = (),
        follow_symlinks: bool = False,
        ignore_case: bool = False,
        mounted: Iterable[DavPath] = (),
        owner: str = "",
        needed: Callable[[], Container[str]] = frozenset,
        use_openat2: bool | None = None,
        use_tmpfile: bool = True,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`mounted`: where other trees stand in it. `owner`: the state that goes with the files. `needed`: what intents
        remember of stages.

        Raises OSError when `root` cannot be opened as a directory.
        """
        self.durable = durable
        self.follows_links = follow_symlinks
        self.served = Served(hide, at_root=at.is_root)
        self._at = at
        self._owner, self._needed = owner, needed
        self.use_tmpfile = use_tmpfile
        self._clock_ns = clock_ns
        self._root = Root(root)
        self._resolver = Resolver(self._root.fd, use_openat2=use_openat2)
        self._spelling = Spelling(
            self._root.fd,
            self._resolver,
            ignore_case=ignore_case,
            follow=follow_symlinks,
            mounted=[path.below(at) for path in mounted],
        )
        #: By the generation of the root, and the file system.
        self._stages: dict[tuple[int, int], Stage] = {}
        self._lock = threading.Lock()
        self._last_ns = 0

    def open_stage(self, *, foreign: bool = False) -> None:
        """Open the staging folder now, which clears what a crash left behind. `foreign`: also what those left that had
        another state. Raises OSError; Unavailable while somebody serves these files with another state."""
        with self._lock:
            key = self._root.generation, self._root.device
            if key not in self._stages:
                self._stages[key] = self._new_stage(self._root.fd)
            if foreign:
                self._stages[key].sweep(foreign=True)

    def left_behind(self) -> list[str]:
        """What processes that are no more left in the staging folder at the top, and no intent needs."""
        with refusing():
            return left_behind(self._root.fd, self._needed)

    @property
    def is_bare(self) -> bool:
        """Is there nothing at all in the root, as where a disk is not mounted?"""
        with refusing(), os.scandir(self._root.fd) as entries:
            return next(entries, None) is None

    @property
    def is_empty(self) -> bool:
        """Is there nothing but a staging folder?"""
        with refusing(), os.scandir(self._root.fd) as entries:
            return all(entry.name == FOLDER for entry in entries)

    def close(self) -> None:
        for stage in self._stages.values():
            stage.close()
        self._root.close()

    # --- paths

    def locate(self, path: DavPath, *, link: bool = False) -> DavPath:
        """The one path of the resource that `path` means (see `spelling`). `link`: of a link itself."""
        names = self._names(path)
        if self._spelling.is_plain and "".join(names).isascii():
            return path  # nearly always: in one step
        with refusing():
            true = self._spelling.true(names, link=link)
        return path if true is names else DavPath(self._at.segments + true, path.slash)

    def reserved_as(self, path: DavPath) -> DavPath:
        """What is reserved beside `path`, so that names which would be one file are not made at once."""
        names = self._names(path)
        reserved = self._spelling.reserved_as(names)
        return path if reserved is names else DavPath(self._at.segments + reserved)

    # --- reading

    def stat(self, path: DavPath) -> Node | None:
        """None when nothing is there that is served: unmapped, private, a link, or no file and no folder."""
        names = self._names(path)
        status = self._status(names)
        if status is None:
            return None
        node = node_of(status)
        if node is None and self.follows_links:
            with refusing():
                return self._linked(names)
        return node

    def version(self, path: DavPath) -> Version | None:
        """Of a file or a folder; None where `stat` has none."""
        status = self._status(self._names(path))
        return None if status is None or node_of(status) is None else Version.of(status)

    def _status(self, names: tuple[str, ...]) -> os.stat_result | None:
        if not self.served.path(names):
            return None
        with refusing():
            try:
                status = self._resolver.status(names)
            except OSError as error:
                if error.errno in ABSENT:
                    self._root.require()
                    return None
                raise
            if not status.st_nlink:
                self._root.require()
            return status

    def open(self, path: DavPath) -> OpenFile:
        """A file, or a collection, which has no content. Raises NotFound. The caller closes it."""
        names = self._names(path)
        if not self.served.path(names):
            raise NotFound("There is nothing at this path.")
        with refusing():
            try:
                fd = self._resolver.open(names, os.O_RDONLY)
            except OSError as error:
                if error.errno in _NO_FILE:
                    self._root.require()
                    raise NotFound("There is nothing at this path.") from error
                raise
            node = node_of(os.fstat(fd))
        if node is None:
            os.close(fd)
            raise NotFound("There is nothing at this path.")
        file = OpenFile(fd, node)
        if not names:
            self._root.require()
        return file

    def members(self, path: DavPath) -> Iterator[tuple[str, Node]]:
        """(name, node) of each member of a collection, in the folder's own order. Opened at once, read as asked.

        Left out: what is not served, members that vanish meanwhile, and names that are no UTF-8.
        """
        names = self._names(path)
        with refusing():
            directory = _Directory(self._resolver.open(names, _DIRECTORY))
            if not names:
                self._root.require()
            return self._members(names, directory)

    def space(self, path: DavPath) -> Space:
        """Of the file system that `path` lies on."""
        with refusing(), self._open(self._names(path), os.O_PATH) as fd:
            status = os.fstatvfs(fd)
        # A tmpfs without a limit has no blocks at all. Never negative: the root's reserve may be in use.
        available = max(status.f_bavail, 0) * status.f_frsize if status.f_blocks else None
        return Space(available, max(status.f_blocks - status.f_bfree, 0) * status.f_frsize)

    # --- writing

    def look(self, path: DavPath) -> Look:
        """What is at a path that something is to be made at. Raises Conflict where its parent is missing (RFC 4918
        §9.3.1, §9.7.1, §9.8.5, §9.9.4)."""
        if path == self._at:
            return Look(self.stat(path), self._root.device)
        with self.spot(path) as spot:
            return Look(spot.node, spot.place.device)

    def spot(self, path: DavPath) -> Spot:
        """For a `with` block. Raises Conflict where the parent is missing, Forbidden for a name that is not served."""
        names = self._names(path)
        if not names or not self.served.path(names):
            raise Forbidden("This name is reserved for the server.")
        with refusing():
            try:
                fd = self._resolver.open(names[:-1], _DIRECTORY)
            except OSError as error:
                if error.errno in ABSENT:
                    self._root.require()
                    raise Conflict("The parent collection does not exist; create it with MKCOL first.") from error
                raise
            try:
                place = Place(fd, names[-1])
                status = place.status()
                if status is None and len(names) == 1:
                    self._root.require()
                node = None if status is None else node_of(status)
                if node is None and status is not None and self.follows_links:
                    node = self._linked(names)
            except BaseException:
                os.close(fd)
                raise
        return Spot(path, place, status, node)

    def create_collection(self, hold: Hold, spot: Spot) -> None:
        """Raises AlreadyThere."""
        hold.require(spot.path)
        with self.making(spot):
            os.mkdir(spot.place.name, dir_fd=spot.place.folder)
            self.sync(spot.place.folder)

    def set_mtime(self, hold: Hold, path: DavPath, mtime_ns: int) -> None:
        hold.require(path)
        with refusing(), self._open(self._names(path), os.O_RDONLY) as fd:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
            self.sync(fd)

    @contextmanager
    def making(self, spot: Spot) -> Iterator[None]:
        """Something is made at `spot` inside: a name that is taken becomes AlreadyThere, or Forbidden where what is
        there is not served."""
        with refusing():
            try:
                yield
            except FileExistsError as error:
                status = spot.place.status()
                if status is not None and node_of(status) is None:
                    raise Forbidden("There is something at this path that the server does not serve.") from error
                raise AlreadyThere from error

    def new_time(self, seconds: int | None) -> int:
        """A time of change in nanoseconds: now, or the second a client asked for with a fraction of ours, so that no
        two versions of a file ever have the same nanosecond."""
        with self._lock:
            self._last_ns = now = max(self._last_ns + 1, self._clock_ns())
        return now if seconds is None else seconds * 1_000_000_000 + now % 1_000_000_000

    def sync(self, fd: int) -> None:
        """An fsync that fails is never tried again: the kernel has dropped the data by then."""
        if self.durable:
            os.fsync(fd)

    def stage(self, path: DavPath, device: int) -> Stage:
        """The staging folder on the file system `device`, which `path`'s parent lies on. Raises Refused."""
        with self._lock, refusing():
            key = self._root.generation, device
            if key not in self._stages:
                fd = self._top_of(self._names(path)[:-1], device)
                try:
                    self._stages[key] = self._new_stage(fd)
                finally:
                    os.close(fd)
            return self._stages[key]

    # --- what copying and recovery need

    @contextmanager
    def source(self, path: DavPath) -> Iterator[int]:
        """A descriptor of a file or folder to copy from. Raises NotFound."""
        with refusing(), self._open(self._names(path), os.O_RDONLY) as fd:
            yield fd

    def inode(self, path: DavPath) -> int | None:
        """Of whatever has exactly this path; None where nothing is, or no parent."""
        try:
            with self.spot(path) as spot:
                if spot.status is None or not self._spelling.is_there(self._names(path)):
                    return None
                return spot.status.st_ino
        except Conflict:
            return None

    # --- inside

    def _names(self, path: DavPath) -> tuple[str, ...]:
        return path.below(self._at)

    @contextmanager
    def _open(self, names: tuple[str, ...], flags: int) -> Iterator[int]:
        fd = self._resolver.open(names, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def _linked(self, names: tuple[str, ...]) -> Node | None:
        """What a link leads to; None where that is nothing, outside of the share, or not ours to see."""
        true = self._spelling.true(names)
        if true == names or not self.served.path(true):
            return None
        try:
            with self._open(true, os.O_PATH) as fd:
                node = node_of(os.fstat(fd))
        except OSError:
            return None
        return None if node is None else node._replace(is_link=True)

    def _members(self, names: tuple[str, ...], directory: _Directory) -> Iterator[tuple[str, Node]]:
        served, hides = self.served.member, self.served.hides
        with os.scandir(directory.fd) as entries:
            for entry in entries:
                name = entry.name
                # Nearly every name is seen at once to be served.
                if (hides or name[0] in NOTABLE or not name.isascii()) and not served(names, name):
                    continue
                try:
                    node = node_of(entry.stat(follow_symlinks=False))
                    if node is None and self.follows_links:
                        node = self._linked((*names, name))
                except OSError:
                    continue  # gone since the folder was read, or not ours to look at: the others are there
                if node is not None:
                    yield name, node

    def _new_stage(self, top: int) -> Stage:
        return Stage(top, owner=self._owner, needed=self._needed)

    def _top_of(self, names: tuple[str, ...], device: int) -> int:
        """The topmost folder on the way to `names` that lies on `device`."""
        for count in range(len(names) + 1):
            fd = self._resolver.open(names[:count], _DIRECTORY)
            if os.fstat(fd).st_dev == device:
                return fd
            os.close(fd)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))  # what is mounted there has changed meanwhile


class _Directory:
    """A descriptor that is closed when a listing ends, also one that is never begun."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)
