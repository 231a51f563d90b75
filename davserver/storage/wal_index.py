"""WalIndex: has anything been committed since? A look at memory that SQLite shares, where asking SQLite costs a query.

In WAL mode every commit, of whatever process, ends by writing the header of the wal-index, the file "-shm" that all
connections map (https://sqlite.org/walformat.html#the_wal_index_header): a count of changes, and sums over all that is
in the log. It stands there twice, the second copy written first; where both agree it is valid. So while these bytes
are the same the database is the same: SQLite tells by them whether what it has in memory is still true, and so do we.

Never close a descriptor of that file while a connection of this process is open: with it the kernel would drop all
locks that SQLite holds on the file (fcntl(2), advisory record locks). So all who use one file in one process share one
descriptor, which is closed when the last of them has closed its connections.
"""

from __future__ import annotations

import mmap
import os
import threading

_COPY = 48
_BOTH = 2 * _COPY
_IS_INITIALISED = 12


class WalIndex:
    """The header of one wal-index."""

    _lock = threading.Lock()
    _all: dict[tuple[int, int], WalIndex] = {}  # noqa: RUF012  # of this process

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._map = mmap.mmap(self._fd, _BOTH, prot=mmap.PROT_READ)
        self._users = 0

    @classmethod
    def of(cls, path: str) -> WalIndex:
        """Of the wal-index at `path`, which a connection of this process has open. Raises OSError."""
        with cls._lock:
            found = os.stat(path)
            key = found.st_dev, found.st_ino
            index = cls._all.get(key) or cls._all.setdefault(key, cls(path))
            index._users += 1
            return index

    def leave(self) -> None:
        """By who has closed all connections to the database."""
        with self._lock:
            self._users -= 1
            if not self._users:
                del self._all[next(key for key, index in self._all.items() if index is self)]
                self._map.close()
                os.close(self._fd)

    def now(self) -> bytes | None:
        """What changes with every commit. None while one is being written down."""
        header = self._map[:_BOTH]
        return header if header[:_COPY] == header[_COPY:] and header[_IS_INITIALISED] else None
