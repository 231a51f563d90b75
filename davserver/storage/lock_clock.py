"""LockClock: what time it is for the locks of one store, also when somebody sets the machine's clock.

The theory. Locks are kept in wall time, since they outlive the machine's start. One clock decides: the latest time
that the store has seen (`progress.latest`), which every change that builds on the time notes in the same transaction.
A clock that is a moment behind it stands still until it has caught up.

One that is further behind was set back, perhaps because it had been ahead by a year. Then two things must not happen:
that a lock which had expired protects something again, and that one which was granted while the clock was ahead lasts
for a year. So what has expired until then is noted as ended, and what is left of the others is cut to what they were
granted (`LockTable.set_back`); from then on the new time counts. This is done once for all processes of the store:
`progress.jumps` tells the others that it was, who then forget the time that they remember themselves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from davserver.protocol.errors import Refused
from davserver.storage.lock_table import LockTable
from davserver.storage.state import State

#: Seconds by which the clock may be behind, and time stands still. Expiry is to be exact to a second.
MOMENT = 1.0

_log = logging.getLogger("davserver")

_Answer = TypeVar("_Answer", bound=tuple[Any, ...])


class LockClock:
    """The time of one process, which is that of all processes of the store."""

    def __init__(self, state: State, table: LockTable, clock: Callable[[], float]) -> None:
        self._state, self._table, self._clock = state, table, clock
        self._mutex = threading.Lock()
        #: The latest time that this process has seen, and after how many jumps of the clock.
        self._latest, self._jumps = table.progress()

    def now(self) -> float:
        """Seconds since the epoch."""
        now = self._seen(0.0)
        return self._set_back() if now is None else now

    def look(self, ask: Callable[[], _Answer]) -> tuple[float, _Answer]:
        """Ask the store, and know what time it is: again, if locks had another end by that time.

        An answer begins with the latest time that the store has noted; 0 where it had nothing to answer.
        """
        answer = ask()
        now = self._seen(answer[0])
        if now is None:
            now = self._set_back()
            answer = ask()
        return now, answer

    def advance(self) -> float:
        """Within a transaction: now, noted for all processes."""
        now = self._seen(self._table.advance(self.now()))
        return self._set_back() if now is None else now

    def _seen(self, noted: float) -> float | None:
        """Now; None where the clock is behind by more than a moment."""
        with self._mutex:
            clock, latest = self._clock(), max(self._latest, noted)
            if clock < latest - MOMENT:
                return None
            self._latest = now = max(clock, latest)
        return now

    def _set_back(self) -> float:
        """Now, after all locks have been fitted to it. Where that cannot be done time stands still."""
        try:
            with self._state.transaction():
                latest, jumps = self._table.progress()
                if jumps == self._jumps:
                    latest = max(latest, self._latest)  # whoever only looked has seen locks expire, too
                clock = self._clock()
                if clock < latest - MOMENT:
                    _log.warning("the clock was set back by %.0f s; locks last from now on no longer than they were "
                                 "granted", latest - clock)  # fmt: skip
                    self._table.set_back(latest, clock)
                    latest, jumps = clock, jumps + 1
                now = max(clock, latest)
        except Refused as refused:
            _log.warning("the clock was set back; no lock expires until that could be noted: %s", refused.message)
            with self._mutex:
                return self._latest
        with self._mutex:
            self._latest, self._jumps = now, jumps
        return now
