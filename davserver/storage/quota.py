"""Quota: how many bytes a share may hold, and how many it holds now.

The figure is one row in the state, so that all processes of a server share it: charged before something becomes
visible, given back after something was really removed. A crash in between leaves it too high, never too low, and
every start counts anew, beside the work. What outsiders put there or take away counts from the next start on.

Counting takes its time, and the share changes meanwhile. So the row also adds up what was charged and given back
during the count: the count is believed only where it differs from the running figure by more than that. What was
charged before it, and becomes visible only after the count has looked there, would be missed by both: a count begins in
a moment in which nothing is charged and not yet visible (`changing`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat as modes
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic

from davserver.protocol.errors import InsufficientStorage, Refused, Unavailable
from davserver.storage.gate import PATIENCE, flock, take
from davserver.storage.staging import FOLDER
from davserver.storage.state import State

_log = logging.getLogger("davserver")

#: Of the file of locks: held by each change, and by a count while it begins.
_CHANGING, _BEGINNING = flock(fcntl.F_RDLCK, 0, 1), flock(fcntl.F_WRLCK, 0, 1)


class Quota:
    """Of one share. `root`: its folder; `name`: what it is called in the state; `lock_file`: the same for all shares of
    the server, in its state folder."""

    def __init__(self, state: State, name: str, root: str, limit: int, lock_file: str) -> None:
        self.limit = limit
        self._lock_file = lock_file
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

    @contextmanager
    def changing(self) -> Iterator[None]:
        """What is charged in the block is visible when it ends, or was given back. Raises Unavailable."""
        with ExitStack() as stack:
            try:
                # A file description of its own: the lock goes with it, also when the process dies.
                file = stack.enter_context(open(self._lock_file, "ab+", buffering=0))
                is_held = take(file.fileno(), _CHANGING, monotonic() + PATIENCE)
            except OSError as error:
                raise Unavailable("The server's state is not available now; nothing was changed.") from error
            if not is_held:
                raise Unavailable("The files of this share are being counted; nothing was changed.", retry_after=1)
            yield

    def start_counting(self) -> None:
        """Count beside the work. Of several processes one does it: the one that gets the lock."""
        self._counter = threading.Thread(target=self._count_alone, name="davserver quota", daemon=True)
        self._counter.start()

    def close(self) -> None:
        self._stop.set()
        if self._counter is not None:
            self._counter.join()

    def count(self) -> None:
        """Walk the share, and correct the figure. Raises OSError, Unavailable."""
        self._begin()
        size = folder_size(self._root, self._stop.is_set)
        if not self._stop.is_set():
            self._state.query(
                "UPDATE usage SET bytes = CASE WHEN abs(?1 - bytes) > moved THEN ?1 ELSE bytes END WHERE share = ?2",
                (size, self._name),
            )

    def _begin(self) -> None:
        """Add up from here what moves, unless the count is broken off before."""
        with open(self._lock_file, "ab+", buffering=0) as file:
            while not take(file.fileno(), _BEGINNING, 0):
                if self._stop.wait(0.002):
                    return
            self._state.query("UPDATE usage SET moved = 0 WHERE share = ?", (self._name,))

    def _count_alone(self) -> None:
        try:
            with open(self._lock_file, "ab") as file:
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
