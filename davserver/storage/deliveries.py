"""Deliveries: how far each webhook has got with the lock events, and which process is at work on it.

A webhook is at one event after the other. The number of the last one that was taken is a row, so that a restart
goes on behind it; whose turn it is, is a lock on a byte of a file in the state folder, which the kernel frees when a
process dies. So each event is delivered by one process, and again only if that died between the receiver's answer and
the note of it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from hashlib import blake2b

from davserver.storage.gate import flock
from davserver.storage.state import State


class Deliveries:
    """Those of one process."""

    def __init__(self, state: State, folder: str) -> None:
        """Raises OSError when the folder cannot be used."""
        self._state = state
        self._fd = os.open(os.path.join(folder, "webhooks"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def know(self, names: Collection[str]) -> None:
        """These are the webhooks there are. One that is new begins with what happens from now on."""
        known = {name for (name,) in self._state.query("SELECT name FROM webhooks")}
        if known == set(names):
            return
        with self._state.transaction():
            for name in known - set(names):
                self._state.query("DELETE FROM webhooks WHERE name = ?", (name,))
            for name in names:
                self._state.query(
                    "INSERT OR IGNORE INTO webhooks SELECT ?, coalesce(max(id), 0) FROM lock_events", (name,)
                )

    def take(self, name: str) -> bool:
        """Is it this process's turn, from now until it ends? False: another one is at work."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, flock(fcntl.F_WRLCK, _byte_of(name), 1))
        except BlockingIOError:
            return False
        return True

    def last(self, name: str) -> int | None:
        """The number of the last event that was taken; None: there is no such webhook any more."""
        rows = self._state.query("SELECT delivered FROM webhooks WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def note(self, name: str, number: int) -> None:
        """All events up to that one have been taken."""
        with self._state.transaction():
            self._state.query("UPDATE webhooks SET delivered = ? WHERE name = ?", (number, name))

    def close(self) -> None:
        os.close(self._fd)  # and every turn with it


def _byte_of(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 2
