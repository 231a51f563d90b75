"""Threads: one leads, those that wait for something have stepped aside, the rest sleep.

Why. Handing Python's interpreter lock from thread to thread costs more than answering a small request does: two
threads that answer in turn answer half of what one does alone. So one thread polls all connections and serves
each as far as that takes no waiting. Only when it would have to wait, or takes long, does another thread take
the lead; the one that waits keeps its connection until it is done (leader and followers).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic

from cheroot.workers.threadpool import ThreadPool

_log = logging.getLogger("davserver.http")

#: Seconds that a thread sleeps before it ends.
_SLEEP = 30.0


class Threads(ThreadPool):
    """Sleeping threads, the last one that fell asleep first: its stack and its caches are warm."""

    def __init__(self, lead: Callable[[], None], limit: int) -> None:
        """`lead` returns when the thread that called it has lost the lead."""
        self._lead = lead
        self._limit = limit
        self._lock = threading.Lock()
        self._asleep: list[_Thread] = []
        self._alive: set[_Thread] = set()
        self._ended = False

    @property
    def has_spare(self) -> bool:
        """Is there a thread that could take the lead?"""
        return bool(self._asleep) or len(self._alive) < self._limit

    @property
    def idle(self) -> int:
        return len(self._asleep)

    @property
    def busy(self) -> int:
        """Threads that lead or have stepped aside."""
        return len(self._alive) - len(self._asleep)

    def promote(self) -> bool:
        """Give the lead to a thread. False when none can be had."""
        with self._lock:
            if self._asleep:
                self._asleep.pop().awake.release()
                return True
            if self._ended or len(self._alive) >= self._limit:
                return False
            thread = _Thread(self._live, len(self._alive))
            self._alive.add(thread)
        try:
            thread.start()
        except RuntimeError:
            # The system has no more threads to give.
            _log.exception("no thread could be started")
            with self._lock:
                self._alive.discard(thread)
            return False
        return True

    def start(self) -> None:
        self.promote()

    def stop(self, timeout: float = 5) -> None:
        """Let all threads end; those that are at work finish first. Waits up to `timeout` seconds."""
        deadline = monotonic() + timeout
        with self._lock:
            self._ended = True
            for thread in self._asleep:
                thread.awake.release()
            self._asleep.clear()
            alive = list(self._alive)
        for thread in alive:
            if thread is not threading.current_thread():
                thread.join(max(deadline - monotonic(), 0))

    def _live(self, thread: _Thread) -> None:
        try:
            while True:
                self._lead_on()
                with self._lock:
                    if self._ended:
                        return
                    self._asleep.append(thread)
                if not thread.awake.acquire(timeout=_SLEEP) and self._retire(thread):
                    return
                if self._ended:
                    return
        finally:
            with self._lock:
                self._alive.discard(thread)

    def _lead_on(self) -> None:
        """Nothing that fails may take the lead with it: without one the server is dead."""
        while True:
            try:
                self._lead()
            except Exception:
                _log.critical("the thread that polls failed, and goes on", exc_info=True)
            else:
                return

    def _retire(self, thread: _Thread) -> bool:
        """False when it was woken at the last moment."""
        with self._lock:
            if thread not in self._asleep:
                return not thread.awake.acquire(blocking=False)
            self._asleep.remove(thread)
            self._alive.discard(thread)
            return True


class _Thread(threading.Thread):
    def __init__(self, live: Callable[[_Thread], None], number: int) -> None:
        super().__init__(target=live, args=(self,), name=f"davserver-{number}", daemon=True)
        self.awake = threading.Semaphore(0)
