"""Watch: many who wait for something to happen to a lock, and one who looks.

Whoever waits holds a thread of the server, so there are seats for a number of them; who finds none is told so at
once. The store is looked at by one thread for all of them, and only while somebody waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic

from davserver.protocol.errors import Unavailable

#: Seconds between two looks at the store.
LOOK_SECONDS = 0.2
#: Seconds after which somebody who found no seat may ask again.
_RETRY_SECONDS = 10


_log = logging.getLogger("davserver")


class Seat:
    """May be left more than once."""

    def __init__(self, watch: Watch) -> None:
        self._watch: Watch | None = watch

    def leave(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.leave()

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Watch:
    """`newest` brings the number of the last event that happened, or raises Unavailable."""

    def __init__(self, newest: Callable[[], int], seats: int) -> None:
        self._newest = newest
        self._seats = seats
        self._taken = self._waiting = 0
        self._latest = 0
        lock = threading.Lock()
        #: For those who wait, and for the one who looks.
        self._news, self._wanted = threading.Condition(lock), threading.Condition(lock)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def has_ended(self) -> bool:
        """The server stops: nobody waits any longer."""
        return self._stopping.is_set()

    def sit(self) -> Seat:
        """Raises Unavailable."""
        with self._news:
            if self._taken >= self._seats or self.has_ended:
                raise Unavailable("Too many wait for locks already; ask again in a moment.", _RETRY_SECONDS)
            self._taken += 1
        return Seat(self)

    def leave(self) -> None:
        with self._news:
            self._taken -= 1

    def wait(self, beyond: int, seconds: float) -> int:
        """The number of the last event, as soon as it is greater than `beyond`, the time is over, or the server
        stops."""
        deadline = monotonic() + seconds
        with self._news:
            self._waiting += 1
            self._start()
            try:
                while self._latest <= beyond and not self.has_ended and (left := deadline - monotonic()) > 0:
                    self._news.wait(left)
                return self._latest
            finally:
                self._waiting -= 1

    def stop(self) -> None:
        """Send everybody home."""
        self._stopping.set()
        with self._news:
            self._news.notify_all()
            self._wanted.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None and not self.has_ended:
            self._thread = threading.Thread(target=self._look, name="lock-watch", daemon=True)
            self._thread.start()
        self._wanted.notify()

    def _look(self) -> None:
        while not self.has_ended:
            with self._wanted:
                while not self._waiting and not self.has_ended:
                    self._wanted.wait()
            try:
                newest = self._newest()
            except Unavailable:
                newest = 0  # those who wait ask the store themselves in the end, and can say so
            except Exception:
                _log.exception("the lock events could not be looked at")
                newest = 0
            with self._news:
                if newest > self._latest:
                    self._latest = newest
                    self._news.notify_all()
            self._stopping.wait(LOOK_SECONDS)
