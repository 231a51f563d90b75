"""Gate: paths reserved for the short moment between the check and the change.

Whoever changes a path holds it exclusively and every ancestor shared. So a change of a tree excludes
everything below it, and unrelated paths never wait for each other. A reservation is a set of
open-file-description byte-range locks on one file in the state folder (F_OFD_SETLK, Linux), at offsets that
are hashes of the paths. Threads and processes exclude each other alike, the kernel frees them when a process
dies, and waiting threads do not hold the GIL. A process that was stopped has not died: so nobody waits for ever.

Each path has two bytes, a door and a room. Everybody goes through the door into the room and leaves the door free
again; who finds somebody in the room stands in the door until it is his, and the others behind him. Without a door a
folder in which somebody always writes would never be free for the one who wants to delete it, and a process that hands
a path from thread to thread would keep it from all others.

Threads of one process stand in line before a path: only the first asks the kernel, and he is woken by whoever leaves.
Who has a path alone stays the first of his line: so his process is not in the door again before it has left the room,
and the next may be of another process. Those have to ask again and again, for nothing wakes them that has a limit.

All bytes of a reservation are taken in ascending order, so there is no circle in which two could wait for
each other. Two paths whose hashes collide only wait for each other needlessly; where that happens within
one reservation the stronger lock is taken once.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from time import monotonic, perf_counter, sleep
from typing import NamedTuple

from davserver.protocol.errors import Unavailable
from davserver.protocol.paths import DavPath

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (0 for OFD locks).
_FLOCK = struct.Struct("hhqqi4x")

#: Seconds that somebody stands before a path. Who holds one may himself have to wait, for his turn to write and for
#: the disk; the state gives up on its own before this.
PATIENCE = 10.0
#: Seconds between two tries: from (what is waited for most often, a turn to write, takes 0.0001), and up to.
_QUICK, _SLOW = 0.00002, 0.002


def flock(kind: int, start: int, length: int) -> bytes:
    """The argument of fcntl for a lock of that kind on some bytes."""
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)


def take(fd: int, lock: bytes, until: float, wait: Callable[[float], object] = sleep) -> bool:
    """Have what `flock` names, and wait for it until then, by the monotonic clock. False: it was not to be had.

    `wait`: for so many seconds, or less when there is reason to try again. F_OFD_SETLKW has no such limit, and Python
    begins it anew after a signal. Raises OSError otherwise.
    """
    pause = _QUICK
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        except BlockingIOError:
            if monotonic() >= until:
                return False
            wait(pause)
            pause = min(pause * 1.5, _SLOW)
        else:
            return True


class _Way(NamedTuple):
    """Into the room of a path. Each is an argument of fcntl, but the last."""

    at_once: bytes
    door: bytes
    room: bytes
    #: Leaves the door free.
    behind: bytes
    is_alone: bool


class _Lines:
    """The threads of this process that stand before paths, those of each path in their order.

    A thread is a lock that it holds itself: it waits for it, and whoever wakes it releases it.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._of: dict[int, list[threading.Lock]] = {}

    def __contains__(self, door: int) -> bool:
        """Does anybody stand there? Asked without the mutex: who has just come does not mind to be the second."""
        return door in self._of

    def join(self, door: int, me: threading.Lock) -> list[threading.Lock]:
        with self._mutex:
            line = self._of.setdefault(door, [])
            line.append(me)
            return line

    def leave(self, doors: Iterable[int], me: threading.Lock) -> None:
        """`me` has let go of these, wherever it stood. Who is the first now tries again."""
        if not self._of:
            return
        with self._mutex:
            for door in doors:
                line = self._of.get(door)
                if line is None:
                    continue
                if me in line:
                    line.remove(me)
                if not line:
                    del self._of[door]
                elif line[0].locked():
                    line[0].release()


class Gate:
    """Reservations among all users of one state folder."""

    def __init__(self, folder: str) -> None:
        """Raises OSError when the folder cannot be used."""
        self._path = os.path.join(folder, "gate")
        #: Told how many seconds each reservation took to get.
        self.waited: Callable[[float], None] = lambda _: None
        self._lines = _Lines()
        os.close(self._open())

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def reserve(self, paths: Iterable[DavPath]) -> Reservation:
        """Hold `paths`, exclusively, while in the block. Never to be nested."""
        wanted: dict[int, _Way] = {}
        for path in paths:
            *above, own = map(_bytes_of, path.lineage)
            for offset, shared, _ in above:
                wanted.setdefault(offset, shared)
            offset, _, alone = own
            wanted[offset] = alone
        return Reservation(self, wanted)

    def _enter(self, fd: int, door: int, way: _Way, until: float, me: threading.Lock) -> bool:
        """Into the room of one path. False: somebody was in the way until then. Raises OSError."""
        if door not in self._lines and take(fd, way.at_once, 0):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, way.behind)
            return True
        line = self._lines.join(door, me)
        while line[0] is not me:
            if not me.acquire(timeout=max(0, until - monotonic())):
                return False

        def wait(seconds: float) -> None:
            me.acquire(timeout=seconds)

        if not (take(fd, way.door, until, wait) and take(fd, way.room, until, wait)):
            return False
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, way.behind)
        if not way.is_alone:
            self._lines.leave([door], me)
        return True


class Reservation:
    """What `Gate.reserve` gives. Entering raises Unavailable when the state folder is away, or somebody else does not
    let go of a path."""

    __slots__ = ("_fd", "_gate", "_me", "_wanted")

    def __init__(self, gate: Gate, wanted: dict[int, _Way]) -> None:
        self._gate, self._wanted = gate, wanted
        self._me = threading.Lock()

    def __enter__(self) -> None:
        gate, wanted, me = self._gate, self._wanted, self._me
        began = perf_counter()
        # A file description of its own: that is what makes two threads of one process exclude each other.
        try:
            fd = self._fd = gate._open()
        except OSError as error:
            raise _away() from error
        me.acquire()
        try:
            until = monotonic() + PATIENCE
            try:
                for door in sorted(wanted):
                    if not gate._enter(fd, door, wanted[door], until, me):
                        raise _held()
            except OSError as error:  # the kernel has no room for more locks
                raise _away() from error
            gate.waited(perf_counter() - began)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)  # and every lock with it
        self._gate._lines.leave(self._wanted, self._me)


def _away() -> Unavailable:
    return Unavailable("The server's state is not available now; nothing was changed.")


def _held() -> Unavailable:
    return Unavailable("Somebody else has been at work on this for too long; nothing was changed.")


@lru_cache(maxsize=16384)
def _bytes_of(key: str) -> tuple[int, _Way, _Way]:
    """(door, how to share, how to have alone) the path with that key."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    door = (int.from_bytes(digest) >> 2) & ~1
    return door, _way(door, fcntl.F_RDLCK), _way(door, fcntl.F_WRLCK)


def _way(door: int, kind: int) -> _Way:
    behind = flock(fcntl.F_UNLCK, door, 1)
    return _Way(flock(kind, door, 2), flock(kind, door, 1), flock(kind, door + 1, 1), behind, kind == fcntl.F_WRLCK)
