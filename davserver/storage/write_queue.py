"""WriteQueue: writers of the database wait in line, whatever thread or process they are in.

SQLite lets one write at a time and has the others ask again after 1, 2, 5, 10 … ms, which wastes most of the
time of several writers. Here they wait for a lock instead and are woken: threads of one process for a mutex,
the first of each process for a byte of a file in the state folder, which the kernel frees when a process dies. One
that was stopped keeps its turn, so nobody waits for ever. In front of that byte is another, a door: who waits stands
in it, so that no process hands its turn from thread to thread while another waits (as at the gate). Who has had a turn
in the line and still finds the database busy knows that a stranger holds it.

Then nobody shall wait for that stranger one after the other: whoever met trouble leaves the time of it in the
file, and those who stood in line meanwhile give up when their turn comes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator

from davserver.protocol.errors import Unavailable
from davserver.storage.gate import flock, take

#: Seconds that somebody stands in line.
PATIENCE = 4.0
#: Seconds that a wait takes where nothing is wrong, and that trouble met by another is believed in.
_USUAL, _RECENT = 0.05, 2.5

_MOMENT = struct.Struct("d")
#: The byte that is the turn, and behind it the door.
_TURN = _MOMENT.size
_DOOR, _BEHIND = flock(fcntl.F_WRLCK, _TURN + 1, 1), flock(fcntl.F_UNLCK, _TURN + 1, 1)
_TAKE, _AT_ONCE = flock(fcntl.F_WRLCK, _TURN, 1), flock(fcntl.F_WRLCK, _TURN, 2)
#: Leaves the door as well, for those who give up in it.
_LEAVE = flock(fcntl.F_UNLCK, _TURN, 2)


class WriteQueue:
    """The line of one process, and its place in the line of all."""

    def __init__(self, folder: str) -> None:
        """Raises OSError when the folder cannot be used."""
        self._fd = os.open(os.path.join(folder, "writers"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """The block is the turn. Raises Unavailable when there is no use in waiting."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Wait for the turn, which lasts until `leave`. Raises Unavailable when there is no use in waiting."""
        since = time.monotonic()
        if not self._mutex.acquire(timeout=PATIENCE):
            raise _busy()
        try:
            until = since + PATIENCE
            if not take(self._fd, _AT_ONCE, 0) and not (take(self._fd, _DOOR, until) and take(self._fd, _TAKE, until)):
                raise _busy()
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _BEHIND)
            if time.monotonic() - since > _USUAL and self._had_trouble():
                raise _busy()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _LEAVE)
        finally:
            self._mutex.release()

    def note_trouble(self) -> None:
        """Within a turn: the database could not be had. The clock is that of the whole machine."""
        with contextlib.suppress(OSError):  # a full disk, perhaps: then the others find out for themselves
            os.pwrite(self._fd, _MOMENT.pack(time.monotonic()), 0)

    def _had_trouble(self) -> bool:
        found = os.pread(self._fd, _MOMENT.size, 0)
        return len(found) == _MOMENT.size and 0 <= time.monotonic() - _MOMENT.unpack(found)[0] < _RECENT

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _busy() -> Unavailable:
    return Unavailable("The server's state is busy; nothing was changed.")
