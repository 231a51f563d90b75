"""LockManager: who holds what, and the hold that makes check and change one step.

The law of this module: a lock is granted, refreshed, released or found in the way only here; rules come from
`protocol.locks`, rows from `lock_table`, exclusion from the gate.

Why a check cannot go stale. A LOCK is granted while its root is reserved exclusively; a change is made while
every path it touches is reserved exclusively, and their ancestors shared. A lock that could stop a change
has its root on one of those paths, on an ancestor, or below a tree that is reserved. So while a hold stands
no such lock can appear, and what `LockHold.check` found is true until the change is made. Refreshing and
releasing need no reservation: both only concern the holder's own lock, in one transaction. What an ended lock's
token may still do is decided, and used up, under the reservation of its root.

Time. The manager has the clock (`lock_clock`), since what counts is the moment when a reservation was got or a
transaction began, and not when a request arrived. A clock that is set back never revives a lock (guarantee 6).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from davserver.protocol.errors import (
    Conflict,
    Forbidden,
    LockConflict,
    Locked,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from davserver.protocol.locks import (
    Claim,
    Depth,
    End,
    Ending,
    Kind,
    Lock,
    LockPolicy,
    LockRequest,
    Principal,
    conflicts,
    covers,
    is_forgivable,
    missing_tokens,
    overlaps,
    readers_stopped,
)
from davserver.protocol.paths import DavPath
from davserver.storage.gate import Gate
from davserver.storage.hold import Hold
from davserver.storage.lock_clock import LockClock
from davserver.storage.lock_hold import LockHold, View
from davserver.storage.lock_table import LockTable, Standing
from davserver.storage.state import State

#: Raises where a lock, as it is, is not to end now.
Agree = Callable[[Lock, float], object]

# RFC 4918 §16; used by LOCK refresh (§9.10.6) and UNLOCK (§9.11.1).
_MATCHES = "lock-token-matches-request-uri"


def new_token() -> str:
    """RFC 4918 §6.5: unique for all time; 122 random bits, since it is also a secret."""
    bits = os.urandom(16).hex()
    return f"urn:uuid:{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-{'89ab'[int(bits[16], 16) & 3]}{bits[17:20]}-{bits[20:]}"


class LockManager:
    """All locks of one server, whatever number of processes it has."""

    def __init__(
        self,
        state: State,
        gate: Gate,
        policy: LockPolicy,
        *,
        clock: Callable[[], float] = time.time,
        new_token: Callable[[], str] = new_token,
    ) -> None:
        self.policy = policy
        self._state = state
        self._table = LockTable(state)
        self._gate = gate
        self._clock = LockClock(state, self._table, clock)
        self._new_token = new_token

    def now(self) -> float:
        """Seconds since the epoch; it goes back only with the machine's clock, when that has been set back."""
        return self._clock.now()

    # --- the gate

    def hold(self, reserve: Iterable[DavPath], *, principal: Principal, tokens: frozenset[str]) -> LockHold:
        """Reserve paths while in the block: nobody else changes them, what is below them, or takes locks there.
        Entering raises Unavailable."""
        reserved = tuple(reserve)
        return LockHold(self, self._gate.reserve(reserved), reserved, principal, tokens)

    def view(self, claim: Claim) -> View:
        """What is locked around the claim's paths: one statement. Outside a hold this is but a look."""
        return self._around((*claim.writes, *claim.trees, *claim.members_of), claim.trees)

    def require_passed(self, claim: Claim, view: View, principal: Principal, tokens: frozenset[str]) -> None:
        """Raises Locked, naming every lock in the way."""
        blocking = missing_tokens(claim, view.active, principal, tokens) if view.active else ()
        if blocking:
            raise Locked((*claim.writes, *claim.trees, *claim.members_of)[0], blocking)

    def settle(self, claim: Claim, view: View, forgiven: Lock | None) -> None:
        """See `LockHold.settle`."""
        if view.is_empty:
            return
        worthless = [
            lock
            for lock in view.ended
            if is_forgivable(lock, view.now, self.policy.grace)
            and (lock.root in claim.writes or any(tree.contains(lock.root) for tree in claim.trees))
        ]
        if not worthless and not view.unnoted:
            return
        with self._transaction():
            now = self._clock.advance()
            if now < view.now:
                # What had expired when it was looked at may not have yet.
                raise Unavailable("The server's clock has just been set back; try again.", retry_after=1)
            for lock in worthless:
                if lock == forgiven and _how(lock, now) is Ending.EXPIRED:
                    self._table.renew(lock, now, now + (lock.granted or 0.0))
                else:
                    self._table.void(lock, now)

    # --- looking

    def around(self, path: DavPath) -> View:
        """What is locked at `path` and above it. One statement, of as many keys as the path is deep."""
        return self._around((path,), ())

    def covering(self, path: DavPath) -> list[Lock]:
        """Active locks that protect `path`."""
        return self.around(path).covering(path)

    def of_members(self, collection: DavPath) -> tuple[list[Lock], dict[str, list[Lock]]]:
        """For a listing: the locks that cover `collection`, and those rooted at each member, by its name."""
        rooted: dict[str, list[Lock]] = {}
        for lock in self._active(lambda: self._table.members_of(collection)):
            rooted.setdefault(lock.root.name, []).append(lock)
        return self.covering(collection), rooted

    def require_readable(self, path: DavPath, principal: Principal, *, below: bool = False) -> None:
        """Raises Locked where a maintenance keeps this principal from reading `path` (or, with `below`, in it)."""
        if not self._table.blocking_reads()[1]:
            return
        stopping = readers_stopped(path, self._active(self._table.blocking_reads), principal, below=below)
        if stopping:
            raise Locked(path, stopping)

    def active(self) -> list[Lock]:
        """Every lock that protects something now, oldest first."""
        return self._active(self._table.every)

    def about(self, path: DavPath) -> list[Lock]:
        """Active locks that protect `path`, or something below it, oldest first. One statement."""
        found = self._around((path,), (path,)).active
        return sorted(
            (lock for lock in found if covers(lock, path) or path.contains(lock.root)), key=lambda lock: lock.id
        )

    def page(
        self, beyond: int, limit: int, *, path: DavPath | None, holder: str | None, kind: Kind | None
    ) -> tuple[list[Lock], int | None]:
        """Active locks by number, from `beyond` on; and where to go on from, None when these were the last."""
        now, (_, rows) = self._clock.look(lambda: self._table.page(beyond, limit, path=path, holder=holder, kind=kind))
        return [lock for lock in rows if lock.is_active(now)], rows[-1].id if len(rows) == limit else None

    def by_id(self, number: int) -> Lock:
        """A lock by the number that names it, active or remembered. Raises NotFound."""
        _, (_, found) = self._clock.look(lambda: self._table.by_id(number))
        if not found:
            raise NotFound(f"There is no lock {number}.")
        return found[0]

    def of_transaction(self, transaction_id: str) -> list[Lock]:
        """The active locks of a transaction; none when it has ended."""
        return self._active(lambda: self._table.of_transaction(transaction_id))

    # --- granting and ending

    def acquire(self, hold: LockHold, request: LockRequest, *, made: str | None = None) -> Lock:
        """Grant a lock whose root is reserved in `hold`. Raises LockConflict, naming every lock in the way, and
        Forbidden when the principal holds too many; Unsettled where the hold is not settled, and perhaps must be.
        `made`: ETag of the empty file that comes with it."""
        (lock,) = self.acquire_all(hold, [request], made=made)
        return lock

    def acquire_all(
        self,
        hold: LockHold,
        requests: Sequence[LockRequest],
        *,
        made: str | None = None,
        breaking: End | None = None,
    ) -> list[Lock]:
        """All of them, or none. A transaction's locks get a name and a fence in common.

        `breaking`: what is in the way ends like that, instead of raising LockConflict.
        """
        fenced = any(request.kind is Kind.TRANSACTION for request in requests)
        granted: list[Lock] = []
        with self._transaction(owed=True):
            if fenced:
                self._table.new_fence()
            for request in requests:
                hold.require_reserved(request.root)
                now, found = self._clear_way(hold, request, {lock.id for lock in granted}, breaking)
                since = granted[0].created if granted else now
                lock = request.granted(found.number + 1, self._new_token(), since, made, found.fence)
                self._table.insert(lock)
                granted.append(lock)
        return granted

    def refresh(self, path: DavPath, token: str, principal: Principal, timeout: int | None) -> Lock:
        """Restart the lock's time: `timeout` seconds from now; None: without an end. Raises PreconditionFailed (RFC
        4918 §9.10.6)."""
        with self._transaction(owed=True):
            now = self._clock.advance()
            for lock in self.covering(path):
                if lock.token == token and lock.principal == principal:
                    return self._table.renew(lock, now, None if timeout is None else now + timeout)
        raise PreconditionFailed("There is no such lock of yours on this resource.", element=_MATCHES, paths=[path])

    def release_own(self, root: DavPath, token: str, principal: Principal) -> bool:
        """`release` for almost every UNLOCK, without a look at the lock before: it is rooted at the very path, the
        principal's own, active, and made no file. False where it is another one, or none: nothing was changed."""
        with self._state.transaction(owed=True):  # which nothing is refused in, so that it need not ask the time twice
            return self._table.release(root, token, principal.name, self._clock.now())

    def release(self, path: DavPath, token: str, principal: Principal) -> Lock:
        """End a lock. One that is gone already is no error for the principal that held it.

        Raises Conflict when it does not cover `path` (RFC 4918 §9.11.1), Forbidden when it is not the principal's
        own (§9.11).
        """
        with self._transaction(owed=True):
            view = self.around(path)
            for lock in (*view.active, *view.ended):
                if lock.token == token and covers(lock, path):
                    if lock.principal != principal:
                        raise Forbidden("This lock is somebody else's.", paths=[path])
                    self._release([lock], view.now)
                    return lock
        raise Conflict("There is no such lock on this resource.", element=_MATCHES, paths=[path])

    def release_all(self, locks: Iterable[Lock]) -> None:
        """End some locks, as far as they are active still, as if their principal had."""
        with self._transaction():
            self._release(self._again(locks), self.now())

    def extend_all(self, locks: Iterable[Lock], timeout: int | None) -> list[Lock]:
        """Restart their time, all or none. Raises PreconditionFailed when one of them has ended meanwhile."""
        with self._transaction():
            now = self._clock.advance()
            wanted = list(locks)
            found = self._again(wanted)
            if len(found) != len(wanted) or not all(lock.is_active(now) for lock in found):
                raise PreconditionFailed("The lock has ended; it cannot be extended.")
            return [self._table.renew(lock, now, None if timeout is None else now + timeout) for lock in found]

    def break_all(
        self,
        hold: LockHold,
        locks: Iterable[Lock],
        end: End,
        versions: Mapping[int, str],
        agree: Agree = lambda *_: None,
    ) -> list[Lock]:
        """End some locks, whose roots are reserved, against their holders' will; those that were active still.

        `versions`: what the locked files are now, by the lock's id. `agree` is asked of each as it is, and now; when it
        raises none of them ends.
        """
        with self._transaction():
            now = self._clock.advance()
            found = [lock for lock in self._again(locks) if lock.is_active(now)]
            for lock in found:
                agree(lock, now)
                hold.require_reserved(lock.root)
                self._table.end(lock, replace(end, at=now, version=versions.get(lock.id)))
            return found

    def any_at(self, root: DavPath) -> bool:
        """Is a lock rooted at `root` or below it whose end is not noted?"""
        return self._table.any_at(root)

    def forget(self, hold: Hold, root: DavPath, *, below_only: bool = False) -> None:
        """End the locks rooted below `root`, and at it: what they protected is gone (RFC 4918 §9.6, §9.9)."""
        hold.require(root)
        self._table.forget_tree(root, self.now(), below_only=below_only)

    def withdraw(self, root: DavPath, token: str) -> None:
        """End a lock whose resource could not be made: nobody was told of it."""
        with self._transaction():
            view = self.around(root)
            self._release([lock for lock in view.active if lock.token == token], view.now)

    # --- tidying: locks that are over, see `lock_keeper`

    def expired(self, limit: int) -> list[Lock]:
        """Locks that have expired, which nobody has noted yet."""
        return self._table.expired(self.now(), limit)

    def untidied(self, limit: int) -> list[Lock]:
        """Locks that have ended, and whose empty file may still be there."""
        return self._table.untidied(limit)

    def note_expired(self, ends: Mapping[Lock, End]) -> None:
        """Note how they ended, save those that were used, forgotten or noted meanwhile."""
        with self._transaction():
            for lock in self._again(ends):
                if lock in ends:
                    self._table.end(lock, ends[lock])

    def tidied(self, lock: Lock, version: str | None) -> None:
        """The empty file that it made was removed (`version`: what is there now), or is none any more (None)."""
        with self._state.transaction():
            self._table.tidied(lock, version)

    def drop_old(self, *, released_before: float, limit: int) -> int:
        """Drop the rows of locks that nobody will ask for any more; how many it were. Looks before it writes."""
        numbers = self._table.old(
            released_before=released_before, ended_before=self.now() - self.policy.grace, limit=limit
        )
        if numbers:
            with self._state.transaction():
                self._table.drop(numbers)
        return len(numbers)

    # --- inside

    def _transaction(self, *, owed: bool = False) -> AbstractContextManager[None]:
        """Of the state. That the clock was set back is noted before: it stays true when the transaction does not."""
        self._clock.now()
        return self._state.transaction(owed=owed)

    def _around(self, paths: Sequence[DavPath], trees: Sequence[DavPath]) -> View:
        keys = paths[0].lineage if len(paths) == 1 else tuple(dict.fromkeys(k for p in paths for k in p.lineage))
        if not paths:
            return View(self.now())
        now, (noted, found) = self._clock.look(lambda: self._table.touching(keys, trees))
        if not found:
            return View(now, keys=frozenset(keys))
        active: list[Lock] = []
        ended: list[Lock] = []
        for lock in found:
            (active if lock.is_active(now) else ended).append(lock)
        unnoted = any(lock.end is None and noted < (lock.expires or now) for lock in ended)
        return View(now, tuple(active), tuple(ended), frozenset(keys), unnoted)

    def _active(self, ask: Callable[[], tuple[float, list[Lock]]]) -> list[Lock]:
        now, (_, found) = self._clock.look(ask)
        return [lock for lock in found if lock.is_active(now)]

    def _again(self, locks: Iterable[Lock]) -> list[Lock]:
        """The same locks, as the store has them now; without those that it has forgotten."""
        return [lock for number in [lock.id for lock in locks] for lock in self._table.by_id(number)[1]]

    def _clear_way(
        self, hold: LockHold, request: LockRequest, granted: set[int], breaking: End | None
    ) -> tuple[float, Standing]:
        """May this lock be granted? Then what it makes worthless is noted. Now, and what was found."""
        tree = (request.root,) if request.depth is Depth.INFINITY else ()
        now, found = self._clock.look(lambda: self._table.standing(request.root, tree, request.principal))
        if found.intents:
            hold.require_settled()
        active = [lock for lock in found.locks if lock.is_active(now)]
        blocking = [lock for lock in conflicts(request, active) if lock.id not in granted]
        if blocking and breaking is None:
            raise LockConflict(request.root, blocking)
        held = found.held
        for lock in blocking:
            self._table.end(lock, replace(breaking or End(Ending.BROKEN, now), at=now))
            held -= lock.principal == request.principal
        if held >= self.policy.per_principal:
            raise Forbidden(f"You hold {self.policy.per_principal} locks already; release some of them first.")
        # A maintenance changes nothing by itself: whoever slept through it may still save.
        if request.kind is not Kind.MAINTENANCE:
            for lock in found.locks:
                if not lock.is_active(now) and overlaps(request, lock) and request.root.contains(lock.root):
                    self._table.void(lock, now)
        return now, found

    def _release(self, locks: Iterable[Lock], now: float) -> None:
        """Also one that has ended by itself: its holder has done with it, and no save brings it back."""
        for lock in locks:
            how = _how(lock, now)
            if how is Ending.BROKEN:
                self._table.void(lock, now)
            elif how is not Ending.RELEASED:
                self._table.end(lock, End(Ending.RELEASED, now))


def _how(lock: Lock, now: float) -> Ending | None:
    end = lock.ending(now)
    return None if end is None else end.how
