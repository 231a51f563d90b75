"""Lock events: what happened to locks, for those who observe them from outside: pages, programs, webhooks.

An event is a row that is written in the transaction that makes it true; of a lock that is granted or ends, by the
store itself (`schema`). So none is lost, none is told of what
did not happen, and every process sees those of all. Rows are numbered in the order in which things happened;
an observer remembers the last number it has seen, and asks for what came after. Rows are dropped after a while
(`KEEP_SECONDS`; `KEEP_UNDELIVERED` where a webhook lags behind), or when there are many (`KEEP_EVENTS`); the last one
stays, so that numbers never begin anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from davserver.protocol.locks import Kind, Lock, Principal
from davserver.protocol.paths import DavPath
from davserver.storage.state import State

#: Seconds that an event can be asked for, and how many of them: who was away for longer has missed some.
KEEP_SECONDS = 3600.0
KEEP_EVENTS = 100_000
#: Seconds that an event is kept for a webhook that does not take it.
KEEP_UNDELIVERED = 86_400.0
#: Seconds between two looks of one who waits.
_LOOK_SECONDS = 0.1


class What(Enum):
    LOCKED = "locked"
    REFRESHED = "refreshed"
    RELEASED = "released"
    EXPIRED = "expired"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class LockEvent:
    """One thing that happened to one lock. It tells nothing of the lock's token."""

    number: int
    at: float
    what: What
    lock_id: int
    root: DavPath
    kind: Kind
    principal: Principal
    #: Until when the lock is granted, after a LOCKED or REFRESHED.
    expires: float | None
    #: Of a BROKEN lock why it was broken; of others why it was made.
    reason: str | None
    #: Who broke it.
    by: Principal | None


class LockEvents:
    """What is to be observed in one store."""

    def __init__(self, state: State, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._state = state
        self._sleep = sleep

    def newest(self) -> int:
        """The number of the last event; 0 when there was none yet."""
        number: int = self._state.query("SELECT coalesce(max(id), 0) FROM lock_events")[0][0]
        return number

    def after(self, number: int, limit: int = 1000) -> list[LockEvent]:
        """The events that came after that one, oldest first."""
        rows = self._state.query(
            "SELECT id, at, what, lock_id, root, collection, kind, principal, display_name, expires, reason, by, "
            "by_name FROM lock_events WHERE id > ? ORDER BY id LIMIT ?",
            (number, limit),
        )
        return [_event(*row) for row in rows]

    def wait(self, number: int, seconds: float) -> list[LockEvent]:
        """`after`, once there are any; empty when none came for so long. It holds no transaction meanwhile."""
        for _ in range(round(seconds / _LOOK_SECONDS)):
            if self.newest() > number:
                break
            self._sleep(_LOOK_SECONDS)
        return self.after(number)

    def drop_old(self, before: float, undelivered_before: float) -> None:
        """Drop what is older than that, or, where a webhook has not got so far, than the second; and what is too much.
        Looks before it writes."""
        rows = self._state.query(
            "SELECT min(id), max(id), (SELECT at FROM lock_events ORDER BY id), "
            "(SELECT min(delivered) FROM webhooks) FROM lock_events"
        )
        first, last, at, delivered = rows[0]
        if first is None or first == last:
            return
        taken = last if delivered is None else delivered
        if at < undelivered_before or (at < before and first <= taken) or last - first >= KEEP_EVENTS:
            with self._state.transaction():
                self._state.query(
                    "DELETE FROM lock_events WHERE id < ?1 AND (id <= ?1 - ?2 OR at < ?3 OR at < ?4 AND id <= ?5)",
                    (last, KEEP_EVENTS, undelivered_before, before, taken),
                )


def note(state: State, what: What, lock: Lock, at: float) -> None:
    """Within the transaction that makes it true: what the store does not note by itself."""
    state.query(
        "INSERT INTO lock_events (at, what, lock_id, root, collection, kind, principal, display_name, expires, reason) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            at,
            what.value,
            lock.id,
            lock.root.key,
            lock.root.slash,
            lock.kind.value,
            lock.principal.name,
            lock.principal.display_name,
            lock.expires,
            lock.reason,
        ),
    )


def _event(
    number: int,
    at: float,
    what: str,
    lock_id: int,
    root: str,
    collection: int,
    kind: str,
    principal: str,
    display_name: str,
    expires: float | None,
    reason: str | None,
    by: str | None,
    by_name: str | None,
) -> LockEvent:
    return LockEvent(
        number,
        at,
        What(what),
        lock_id,
        DavPath(DavPath.from_key(root).segments, bool(collection)),
        Kind(kind),
        Principal(principal, display_name),
        expires,
        reason,
        None if by is None else Principal(by, by_name or ""),
    )
