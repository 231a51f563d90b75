"""Gate: paths reserved for the short moment between the check and the change.

Whoever changes a path holds it exclusively and every ancestor shared. So a change of a tree excludes
everything below it, and unrelated paths never wait for each other. A reservation is a set of
open-file-description byte-range locks on one file in the state folder (F_OFD_SETLK, Linux), at offsets that
are hashes of the paths. Threads and processes exclude each other alike, the kernel frees them when a process
dies, and waiting threads do not hold the GIL. A process that was stopped has not died: so nobody waits for ever.

Each path has two bytes, a door and a room. Everybody goes through the door into the room; who shares the room
leaves the door free again, who wants it alone stays in the door while the others finish. Without a door a folder
in which somebody always writes would never be free for the one who wants to delete it.

All bytes of a reservation are taken in ascending order, so there is no circle in which two could wait for
each other. Two paths whose hashes collide only wait for each other needlessly; where that happens within
one reservation the stronger lock is taken once.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from time import monotonic, perf_counter, sleep

from davserver.protocol.errors import Unavailable
from davserver.protocol.paths import DavPath

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (0 for OFD locks).
_FLOCK = struct.Struct("hhqqi4x")

#: Seconds that somebody stands before a path. Who holds one may himself have to wait, for his turn to write and for
#: the disk; the state gives up on its own before this.
PATIENCE = 10.0
#: Seconds between two tries: from (what is waited for most often, a turn to write, takes 0.0001), and up to.
_QUICK, _SLOW = 0.00002, 0.01

#: What two calls of fcntl do: (first, second).
_Steps = tuple[bytes, bytes]


def flock(kind: int, start: int, length: int) -> bytes:
    """The argument of fcntl for a lock of that kind on some bytes."""
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)


def take(fd: int, lock: bytes, until: float) -> bool:
    """Have what `flock` names, and wait for it until then, by the monotonic clock. False: it was not to be had.

    F_OFD_SETLKW has no such limit, and Python begins it anew after a signal. Raises OSError otherwise.
    """
    pause = _QUICK
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        except BlockingIOError:
            if monotonic() >= until:
                return False
            sleep(pause)
            pause = min(pause * 1.5, _SLOW)
        else:
            return True


class Gate:
    """Reservations among all users of one state folder."""

    def __init__(self, folder: str) -> None:
        """Raises OSError when the folder cannot be used."""
        self._path = os.path.join(folder, "gate")
        #: Told how many seconds each reservation took to get.
        self.waited: Callable[[float], None] = lambda _: None
        os.close(self._open())

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def reserve(self, paths: Iterable[DavPath]) -> Iterator[None]:
        """Hold `paths`, exclusively, until the block ends. Never to be nested.

        Raises Unavailable when the state folder is away, or somebody else does not let go of them.
        """
        wanted: dict[int, _Steps] = {}
        for path in paths:
            *above, own = map(_bytes_of, path.lineage)
            for offset, shared, _ in above:
                wanted.setdefault(offset, shared)
            offset, _, alone = own
            wanted[offset] = alone
        began = perf_counter()
        # A file description of its own: that is what makes two threads of one process exclude each other.
        try:
            fd = self._open()
        except OSError as error:
            raise _away() from error
        try:
            until = monotonic() + PATIENCE
            try:
                for offset in sorted(wanted):
                    for step in wanted[offset]:
                        if not take(fd, step, until):
                            raise _held()
            except OSError as error:  # the kernel has no room for more locks
                raise _away() from error
            self.waited(perf_counter() - began)
            yield
        finally:
            os.close(fd)  # and every lock with it


def _away() -> Unavailable:
    return Unavailable("The server's state is not available now; nothing was changed.")


def _held() -> Unavailable:
    return Unavailable("Somebody else has been at work on this for too long; nothing was changed.")


@lru_cache(maxsize=16384)
def _bytes_of(key: str) -> tuple[int, _Steps, _Steps]:
    """(offset, how to share, how to have alone) the path with that key."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    door = (int.from_bytes(digest) >> 2) & ~1
    shared = flock(fcntl.F_RDLCK, door, 2), flock(fcntl.F_UNLCK, door, 1)
    alone = flock(fcntl.F_WRLCK, door, 1), flock(fcntl.F_WRLCK, door + 1, 1)
    return door, shared, alone
