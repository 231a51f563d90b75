"""LogFlush: SQLite's write-ahead log on the disk, and what becomes of it when the disk has failed once.

The kernel tells of a write to the disk that failed once, to each file that was open then, and takes the data for
written afterwards: an fdatasync that follows succeeds, over a log with a hole. A power cut would then end the log at
the hole, and everything behind it, which was acknowledged since, would be gone. So after a failure nothing is believed,
and nothing more is committed, until the whole log has been written again and that has reached the disk.

Nor is anything believed of a log that was just opened: it may have failed a process that is dead now, or one that is
at work beside this one, and whoever opens it later is not told.
"""

from __future__ import annotations

import logging
import os
import threading

from davserver.protocol.errors import Unavailable

#: Bytes that are written again at a time.
_BLOCK = 1 << 20

_log = logging.getLogger("davserver")


class LogFlush:
    """One fdatasync for all commits that were made before it began."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._generation = -1
        self._asking = threading.Lock()
        self._flushing = threading.Lock()
        self._asked = self._done = 0
        #: What is in the log may not be on the disk, whatever the kernel says from now on.
        self.is_doubtful = True
        self._has_failed = False

    def open(self, generation: int) -> None:
        """Before anything is committed: a file that is opened later is not told what failed before. `generation`: of
        the database whose log it is. Raises OSError.

        SQLite puts its locks on other files: this one may be opened and closed beside it.
        """
        with self._flushing:
            self._open(generation)

    def _open(self, generation: int) -> None:
        if generation != self._generation:
            self.close()
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            self.is_doubtful = True
            folder = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)  # the file's name, which must last as well
            finally:
                os.close(folder)
            self._generation = generation

    def now(self, generation: int) -> None:
        """Returns when everything that was committed is on the disk. Raises Unavailable when it may not be."""
        with self._asking:
            self._asked += 1
            mine = self._asked
        with self._flushing:
            if self._done >= mine:
                return
            covered = self._asked
            if self.is_doubtful:
                raise _unwritten()
            self._flush(generation)
            self._done = covered

    def renew(self, generation: int) -> None:
        """Write all of the log again, as it is. Only in a turn to write, when SQLite leaves the log alone. Raises
        Unavailable when it still may not be on the disk."""
        with self._flushing:
            covered = self._asked
            try:
                self._open(generation)
                offset = 0
                while block := os.pread(self._fd, _BLOCK, offset):
                    offset += os.pwrite(self._fd, block, offset)
            except OSError as error:
                _log.error("%s: %s", self._path, error)
                raise _unwritten() from error
            self._flush(generation)
            self._done = covered
            if self._has_failed:
                _log.warning("%s was written to the disk again, after that had failed", self._path)
            self.is_doubtful = self._has_failed = False

    def _flush(self, generation: int) -> None:
        try:
            self._open(generation)
            os.fdatasync(self._fd)
        except OSError as error:
            self.is_doubtful = self._has_failed = True
            _log.error("%s: %s", self._path, error)
            raise _unwritten() from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _unwritten() -> Unavailable:
    return Unavailable("The server's state could not be written to the disk.")
