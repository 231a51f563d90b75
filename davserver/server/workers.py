"""The parent of the workers: it starts them, starts anew who dies, passes signals on, and sees them to the end.

It serves nothing itself and has no threads, so a fork is always safe. Workers hold the reading end of a pipe that
ends with the parent: none of them outlives it for longer than it takes to finish its requests.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from time import monotonic

from davserver.server.http.balance import Balance
from davserver.server.logs import set_up_log
from davserver.server.reload import differences
from davserver.settings import Settings, SettingsError

_log = logging.getLogger("davserver")

#: A worker that lived shorter than this, in seconds, is started again later and later, up to the second figure.
_YOUNG, _LONGEST_WAIT = 10.0, 30.0
#: Seconds beyond those of the workers themselves before those that have not ended are killed.
_MERCY = 3.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

#: The life of a worker: settings, memory of the balance, number, descriptor to report to, descriptor of the parent.
Work = Callable[[Settings, mmap, int, int, int], None]


@dataclass
class _Place:
    """A worker's place: it is always filled, by one process after another."""

    number: int
    pid: int | None = None
    began: float = 0.0
    #: When to start the next one, and how long the last wait was.
    due: float = 0.0
    wait: float = 0.0


class Workers:
    """Some worker processes."""

    def __init__(self, settings: Settings, count: int, work: Work, *, drain_seconds: int) -> None:
        self._settings = settings
        self._work = work
        self._drain_seconds = drain_seconds
        self._memory = Balance.shared(count)
        self._places = [_Place(number) for number in range(count)]
        self._ready, self._report = os.pipe2(os.O_CLOEXEC)
        self._life, self._own_life = os.pipe2(os.O_CLOEXEC)
        self._had_terminal = _has_terminal()

    def run(
        self,
        *,
        on_ready: Callable[[], None],
        reread: Callable[[], Settings] | None,
        close_listeners: Callable[[], None],
    ) -> int:
        """Until SIGTERM or SIGINT; the exit code. `on_ready` is called once, when every worker serves."""
        told, self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wakeup)
        for known in _SIGNALS:
            signal.signal(known, lambda *_: None)
        waiter = select.poll()
        waiter.register(told, select.POLLIN)
        waiter.register(self._ready, select.POLLIN)
        missing = len(self._places)
        while True:
            self._fill()
            ready = [fd for fd, _ in waiter.poll(self._patience())]
            if self._ready in ready:
                missing -= len(os.read(self._ready, 64))
                if missing <= 0:
                    waiter.unregister(self._ready)
                    on_ready()
            if told in ready:
                for number in os.read(told, 64):
                    if number in (signal.SIGTERM, signal.SIGINT) or self._has_hung_up(number):
                        close_listeners()
                        return self._end(told)
                    if number == signal.SIGHUP:
                        self._reload(reread)
            self._reap()

    # --- one after another

    def _fill(self) -> None:
        now = monotonic()
        for place in self._places:
            if place.pid is None and place.due <= now:
                self._start(place)

    def _patience(self) -> float | None:
        """Milliseconds until a worker is due; None: none is."""
        due = [place.due for place in self._places if place.pid is None]
        return max(min(due) - monotonic(), 0) * 1000 + 1 if due else None

    def _start(self, place: _Place) -> None:
        place.began = monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that reached the child before it listens for its own would be taken for one of ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid:
            place.pid = pid
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._own_life, self._ready):
                os.close(fd)
            self._work(self._settings, self._memory, place.number, self._report, self._life)
            code = 0
        except BaseException:
            _log.exception("worker %d failed", place.number)
        finally:
            logging.shutdown()
            os._exit(code)  # nothing of the parent's is to be tidied up here

    def _reap(self) -> None:
        """As PID 1 of a container the parent also gets children that are not its own."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for place in self._places:
                if place.pid == pid:
                    self._bury(place, status)

    def _bury(self, place: _Place, status: int) -> None:
        now = monotonic()
        Balance.absent(self._memory, place.number)
        place.wait = 0.0 if now - place.began > _YOUNG else min(max(place.wait * 2, 0.1), _LONGEST_WAIT)
        place.pid, place.due = None, now + place.wait
        code = os.waitstatus_to_exitcode(status)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        _log.error("worker %d %s; another one starts in %.1f s", place.number, how, place.wait)

    # --- signals

    def _reload(self, reread: Callable[[], Settings] | None) -> None:
        """New settings are tried here first; then each worker takes them over for itself."""
        if reread is None:
            return
        try:
            new = reread()
        except SettingsError as error:
            _log.error("the settings stay as they are: %s", error)
            return
        waiting = differences(self._settings, new)
        set_up_log(new)
        if waiting:
            _log.warning("changed, and in force from the next start: %s", ", ".join(waiting))
        _log.info("reloading users, TLS and log level")
        self._settings = new
        self._tell(signal.SIGHUP)

    def _has_hung_up(self, number: int) -> bool:
        """SIGHUP of a terminal that was closed, and not of somebody who wants settings reloaded: nobody would know
        that a server is still running."""
        return number == signal.SIGHUP and self._had_terminal and not _has_terminal()

    def _tell(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid is not None:
                os.kill(place.pid, number)

    def _end(self, told: int) -> int:
        _log.info("stopping: requests under way have %d seconds to finish", self._drain_seconds)
        self._tell(signal.SIGTERM)
        deadline = monotonic() + self._drain_seconds + _MERCY
        waiter = select.poll()
        waiter.register(told, select.POLLIN)
        while any(place.pid is not None for place in self._places):
            impatient = False
            if waiter.poll(max(deadline - monotonic(), 0) * 1000):
                impatient = any(number in (signal.SIGTERM, signal.SIGINT) for number in os.read(told, 64))
            if impatient or monotonic() >= deadline:
                self._tell(signal.SIGKILL)
                deadline = monotonic() + _MERCY
            self._gather()
        return 0

    def _gather(self) -> None:
        """Like `_reap`, when nobody is to be replaced."""
        for place in self._places:
            if place.pid is not None and os.waitpid(place.pid, os.WNOHANG)[0]:
                place.pid = None


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
