"""Gate: paths reserved for the short moment between the check and the change.

Whoever changes a path holds it exclusively and every ancestor shared. So a change of a tree excludes
everything below it, and unrelated paths never wait for each other. A reservation is a set of
open-file-description byte-range locks on one file in the state folder (F_OFD_SETLKW, Linux): one byte each,
at an offset that is a hash of the path. Threads and processes exclude each other alike, the kernel frees
them when a process dies, and waiting threads do not hold the GIL.

All bytes of a reservation are taken in ascending order, so there is no circle in which two could wait for
each other. Two paths whose hashes collide only wait for each other needlessly; where that happens within
one reservation the stronger lock is taken once.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

from davserver.protocol.paths import DavPath
from davserver.storage.oserrors import refusing

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (0 for OFD locks).
_FLOCK = struct.Struct("hhqqi4x")
_OFFSETS = (1 << 62) - 1


class Gate:
    """Reservations among all users of one state folder."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "gate")
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    @contextmanager
    def reserve(self, paths: Iterable[DavPath]) -> Iterator[None]:
        """Hold `paths`, exclusively, until the block ends. Waits as long as it takes; never to be nested."""
        modes: dict[int, int] = {}
        for path in paths:
            for ancestor in path.ancestors:
                modes.setdefault(_offset(ancestor), fcntl.F_RDLCK)
            modes[_offset(path)] = fcntl.F_WRLCK
        # A file description of its own: that is what makes two threads of one process exclude each other.
        with refusing():
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for offset in sorted(modes):
                fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(modes[offset], os.SEEK_SET, offset, 1, 0))
            yield
        finally:
            os.close(fd)  # and every lock with it


def _offset(path: DavPath) -> int:
    return int.from_bytes(blake2b(path.key.encode("utf-8", "surrogatepass"), digest_size=8).digest()) & _OFFSETS
