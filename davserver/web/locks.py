"""Locks of every kind: list them, wait for them, break them."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic
from urllib.parse import urlencode

from davserver.methods.permits import require_permission
from davserver.protocol.errors import BadRequest, NotPermitted
from davserver.protocol.locked import lock_details
from davserver.protocol.locks import Kind, Lock, LockPolicy
from davserver.protocol.messages import Action
from davserver.protocol.paths import DavPath
from davserver.storage.lock_events import LockEvent
from davserver.storage.lock_service import LockFilter, LockService
from davserver.web.caller import Caller
from davserver.web.contract import Answer
from davserver.web.events import EventStream, event_model
from davserver.web.models import BreakBody, BreakQuery, EventModel, EventsQuery, LockModel, LockPage, LocksQuery
from davserver.web.places import Places
from davserver.web.watch import Watch

#: Seconds that a wait for the end of a lock lasts at least: its clock and ours are read one after the other.
_MOMENT = 0.05
#: Locks that are looked at of those which are waited for: before these are gone, the others do not matter.
_ENOUGH = 50


class Locks:
    def __init__(
        self, service: LockService, places: Places, watch: Watch, base: str, clock: Callable[[], float]
    ) -> None:
        """`base`: path of the API's URL."""
        self.service, self.places, self.watch = service, places, watch
        self._base = base
        self._now = clock

    @property
    def policy(self) -> LockPolicy:
        """What the settings say of locks."""
        return self.places.shares.locks.policy

    def listing(self, caller: Caller, query: LocksQuery) -> Answer:
        path = None if query.path is None else self._readable(caller, query.path)
        if query.wait is not None and path is not None:
            return self._when_free(caller, query, path)
        if query.holder is not None and not caller.knows(query.holder):
            return Answer(200, LockPage(locks=[]))
        found, beyond = self.service.page(
            _filter(query, path), query.limit, beyond=query.after, visible=lambda lock: caller.sees(lock, path)
        )
        return Answer(200, LockPage(locks=[self.model(caller, lock) for lock in found], next=self._next(query, beyond)))

    def one(self, caller: Caller, number: int) -> Answer:
        return Answer(200, self.model(caller, caller.require_sees(self.service.get(number))))

    def break_(self, caller: Caller, number: int, query: BreakQuery, body: BreakBody | None) -> Answer:
        """Of a transaction all its locks."""
        lock = caller.require_sees(self.service.get(number))
        reason = query.reason or (body.reason if body is not None else None)
        breaks = caller.may_break(lock, self.policy, self._now())
        if caller.owns(lock) and not (breaks and reason):
            return self._end_own(caller, lock)
        if not breaks:
            raise _not_yours_to_break(lock)
        if reason is None:
            raise BadRequest("Say why the lock is broken, with ?reason=…: its holder will be told.")

        def agree(found: Lock, now: float) -> None:
            if not caller.may_break(found, self.policy, now):
                raise _not_yours_to_break(found)  # it was stale, and has been refreshed in this very moment

        self.service.break_lock(number, caller.principal, reason, agree)
        return Answer(204)

    def model(self, caller: Caller, lock: Lock) -> LockModel:
        now = self._now()
        can_break = caller.may_end(lock, self.policy, now) and self._sees_together(caller, lock)
        details = lock_details(lock, caller.viewer, now, self.places.prefix)
        if not can_break and not caller.owns(lock):
            details.pop("client", None)
        return LockModel.model_validate(details | {"can_break": can_break})

    def events(self, caller: Caller, query: EventsQuery, last_event_id: str | None) -> EventStream:
        """Not an answer but a stream. `last_event_id`: where a client that was cut off goes on."""
        path = None if query.path is None else self._readable(caller, query.path)
        after = query.after
        if (
            last_event_id is not None
            and last_event_id.isascii()
            and last_event_id.isdigit()
            and len(last_event_id) < 19
        ):
            after = int(last_event_id)

        now = caller

        def ask_again() -> None:
            nonlocal now
            now = caller.again()

        def told(event: LockEvent) -> EventModel | None:
            near = path is None or event.root.contains(path) or path.contains(event.root)
            if near and now.may(Action.READ, event.root):
                return event_model(event, now.viewer, self.places.prefix)
            return None

        return EventStream(
            self.service.events, self.watch, after=after, seconds=query.seconds, told=told, ask_again=ask_again
        )

    # --- inside

    def _readable(self, caller: Caller, text: str) -> DavPath:
        path = self.places.find(text)
        require_permission(caller, path, Action.READ)
        return path

    def _when_free(self, caller: Caller, query: LocksQuery, path: DavPath) -> Answer:
        ends = monotonic() + (query.wait or 0)
        free = Answer(200, LockPage(locks=[]))
        if not self._in_the_way(caller, query, path):
            return free
        with self.watch.sit():
            while True:
                seen = self.service.events.newest()
                found = self._in_the_way(caller, query, path)
                if not found:
                    return free
                left = ends - monotonic()
                if left <= 0 or self.watch.has_ended:
                    return Answer(204)
                # A lock that expires need not make an event at that moment.
                now = self.places.shares.locks.now()
                first = min((lock.expires - now for lock in found if lock.expires is not None), default=left)
                self.watch.wait(seen, min(left, max(first, _MOMENT)))
                # What comes of it is for those who may still be told.
                caller = caller.again()
                require_permission(caller, path, Action.READ)

    def _in_the_way(self, caller: Caller, query: LocksQuery, path: DavPath) -> list[Lock]:
        """Some of the locks that are waited for; none when there are none."""
        if query.holder is not None and not caller.knows(query.holder):
            return []
        beyond: int | None = query.after
        while beyond is not None:
            found, beyond = self.service.page(
                _filter(query, path), _ENOUGH, beyond=beyond, visible=lambda lock: caller.sees(lock, path)
            )
            if found:
                return found
        return []

    def _sees_together(self, caller: Caller, lock: Lock) -> bool:
        """Whoever may only use a part of the server ends nothing outside of it."""
        if lock.transaction_id is None or caller.reach.has_powers:
            return True
        return all(map(caller.sees, self.service.together(lock)))

    def _end_own(self, caller: Caller, lock: Lock) -> Answer:
        if not self._sees_together(caller, lock):
            raise NotPermitted(
                "This lock ends with the others of its transaction, which this app password is not for.",
                paths=[lock.root],
            )
        if lock.kind is Kind.TRANSACTION and lock.transaction_id is not None:
            self.service.finish(lock.transaction_id, caller.principal)
        elif lock.kind is Kind.MAINTENANCE:
            caller.require_powers("Maintenance")
            self.service.end_maintenance(lock.root, caller.principal)
        else:
            self.service.end(lock.id, caller.principal)
        return Answer(204)

    def _next(self, query: LocksQuery, beyond: int | None) -> str | None:
        if beyond is None:
            return None
        asked = query.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | {"after": beyond}
        fields = {name: json.dumps(value) if isinstance(value, bool) else value for name, value in asked.items()}
        return f"{self._base}/locks?{urlencode(fields)}"


def _filter(query: LocksQuery, path: DavPath | None) -> LockFilter:
    return LockFilter(path, query.holder, None if query.kind is None else Kind(query.kind), query.stale)


def _not_yours_to_break(lock: Lock) -> NotPermitted:
    return NotPermitted(
        "You may not break this lock: that is for its holder, and for the users that locks.breakers names.",
        paths=[lock.root],
    )
