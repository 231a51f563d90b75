"""Lock events for programs: as a stream of server-sent events, and as the bodies of webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

from davserver.protocol.errors import Refused
from davserver.protocol.holder import Viewer, person_name
from davserver.protocol.moments import iso
from davserver.storage.lock_events import LockEvent, LockEvents, What
from davserver.web.models import EventModel
from davserver.web.watch import Seat, Watch

#: Seconds between two signs of life: so that proxies keep the connection, and a client that has gone is noticed.
HEARTBEAT = 15.0
#: Events in one piece of the stream.
_BATCH = 500


def event_model(event: LockEvent, viewer: Viewer, prefix: str) -> EventModel:
    """As `viewer` may know it."""
    is_broken, is_granted = event.what is What.BROKEN, event.what in (What.LOCKED, What.REFRESHED)
    anonymous = event.principal.is_anonymous
    return EventModel(
        id=event.number,
        event=event.what.value,
        at=iso(event.at),
        lock_id=event.lock_id,
        path=event.root.href(prefix, collection=event.root.slash),
        kind=event.kind.value,
        locked_by=None if anonymous else person_name(event.principal, viewer),
        locked_until=iso(event.expires) if is_granted and event.expires is not None else None,
        lock_reason=None if is_broken else event.reason,
        broken_by=None if event.by is None else person_name(event.by, viewer),
        break_reason=event.reason if is_broken else None,
    )


class EventStream:
    """text/event-stream of HTML, "Server-sent events". Whoever sends it calls `close` at the end."""

    def __init__(
        self,
        events: LockEvents,
        watch: Watch,
        *,
        after: int | None,
        seconds: float,
        told: Callable[[LockEvent], EventModel | None],
        ask_again: Callable[[], None],
    ) -> None:
        """`told`: what the caller is told of an event; None: nothing. `ask_again` comes before each piece, and raises
        Refused where the caller may hear no more. Raises Unavailable."""
        self._events, self._watch, self._told, self._ask_again = events, watch, told, ask_again
        self._last = events.newest() if after is None else after
        self._ends = monotonic() + seconds
        self._seat: Seat = watch.sit()
        self._begun = False
        self._spoke = monotonic()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Blocks until there is something to say."""
        if not self._begun:
            self._begun = True
            return b"retry: 2000\n\n"  # the head goes out with it
        left = self._ends - monotonic()
        if left <= 0 or self._watch.has_ended:
            raise StopIteration
        try:
            some = self._events.after(self._last, _BATCH)
            if not some:
                self._watch.wait(self._last, min(left, HEARTBEAT))
                some = self._events.after(self._last, _BATCH)
            self._ask_again()
        except Refused:
            raise StopIteration from None  # the client comes back, and is told why then
        pieces = []
        if some and some[0].number > self._last + 1:
            # Who was away for longer than events are kept must look at the locks themselves.
            pieces.append(b"event: missed\ndata: {}\n\n")
        for event in some:
            self._last = event.number
            model = self._told(event)
            if model is not None:
                data = model.model_dump_json(exclude_none=True)
                pieces.append(f"id: {model.id}\nevent: {model.event}\ndata: {data}\n\n".encode())
        if not pieces and monotonic() - self._spoke < HEARTBEAT:
            return b""  # what happened is not for this caller
        self._spoke = monotonic()
        return b"".join(pieces) or b": still here\n\n"

    def close(self) -> None:
        self._seat.leave()
