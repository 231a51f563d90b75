"""Quota: how many bytes a share may hold, and how many it holds now.

The figure is one row in the state, so that all processes of a server share it: charged before something becomes
visible, given back after something was really removed. A crash in between leaves it too high, never too low, and
every start counts anew, beside the work. What outsiders put there or take away counts from the next start on.

Counting takes its time, and the share changes meanwhile. So the row also adds up what was charged and given back
during the count: the count is believed only where it differs from the running figure by more than that.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat as modes
import threading
from collections.abc import Callable

from davserver.protocol.errors import InsufficientStorage, Refused
from davserver.storage.staging import FOLDER
from davserver.storage.state import State

_log = logging.getLogger("davserver")


class Quota:
    """Of one share. `root`: its folder; `name`: what it is called in the state."""

    def __init__(self, state: State, name: str, root: str, limit: int) -> None:
        self.limit = limit
        self._state = state
        self._name = name
        self._root = root
        self._stop = threading.Event()
        self._counter: threading.Thread | None = None
        state.query("INSERT INTO usage (share, bytes, moved) VALUES (?, 0, 0) ON CONFLICT DO NOTHING", (name,))

    @property
    def used(self) -> int:
        ((used,),) = self._state.query("SELECT bytes FROM usage WHERE share = ?", (self._name,))
        return max(int(used), 0)

    @property
    def left(self) -> int:
        return max(self.limit - self.used, 0)

    def charge(self, size: int) -> None:
        """Take `size` bytes, or give them back where it is negative. Raises InsufficientStorage, and takes nothing
        then, when the share would hold more than it may. To give back is always right."""
        if size and not self._state.query(
            "UPDATE usage SET bytes = bytes + ?1, moved = moved + abs(?1) "
            "WHERE share = ?2 AND (?1 < 0 OR bytes + ?1 <= ?3) RETURNING bytes",
            (size, self._name, self.limit),
        ):
            raise InsufficientStorage("The quota of this share does not leave room for that.")

    def start_counting(self, lock_file: str) -> None:
        """Count beside the work. Of several processes one does it: the one that gets the lock."""
        self._counter = threading.Thread(
            target=self._count_alone, args=(lock_file,), name="davserver quota", daemon=True
        )
        self._counter.start()

    def close(self) -> None:
        self._stop.set()
        if self._counter is not None:
            self._counter.join()

    def count(self) -> None:
        """Walk the share, and correct the figure. Raises Unavailable."""
        self._state.query("UPDATE usage SET moved = 0 WHERE share = ?", (self._name,))
        size = folder_size(self._root, self._stop.is_set)
        if not self._stop.is_set():
            self._state.query(
                "UPDATE usage SET bytes = CASE WHEN abs(?1 - bytes) > moved THEN ?1 ELSE bytes END WHERE share = ?2",
                (size, self._name),
            )

    def _count_alone(self, lock_file: str) -> None:
        try:
            with open(lock_file, "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.count()
        except BlockingIOError:
            return  # another process is counting
        except (OSError, Refused):
            _log.exception("the share %s could not be counted: its quota goes by the last figure", self._name)


def folder_size(root: str, stopped: Callable[[], bool] = lambda: False) -> int:
    """Bytes of all files below `root`, each once however many names it has. What cannot be read is passed over."""
    size, todo = 0, [root]
    seen: set[tuple[int, int]] = set()
    while todo and not stopped():
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if modes.S_ISDIR(status.st_mode):
                        if entry.name != FOLDER:
                            todo.append(entry.path)
                    elif modes.S_ISREG(status.st_mode):
                        if status.st_nlink > 1:
                            if (status.st_dev, status.st_ino) in seen:
                                continue
                            seen.add((status.st_dev, status.st_ino))
                        size += status.st_size
        except OSError:
            continue
    return size
