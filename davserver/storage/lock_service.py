"""LockService: what people and programs do with locks beside WebDAV.

Listing and breaking; check-outs, transactions and maintenance. All of it works on the store, so that a command
line in another process does what a request to the server does.

Who may do what is for the caller to decide (`LockPolicy.may_break`, permissions, the right to write the state
folder). Here it is decided whose lock a lock is: extending and ending is for its principal alone.

Who breaks a lock, or sets or ends a maintenance, leaves a line in the log `davserver.audit`, which never holds
a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from davserver.protocol.errors import BadRequest, Forbidden, NotFound
from davserver.protocol.locks import Depth, End, Ending, Kind, Lock, LockRequest, Principal, Scope, covers
from davserver.protocol.messages import Client
from davserver.protocol.paths import DavPath
from davserver.storage.lock_events import KEEP_EVENTS, LockEvents, What
from davserver.storage.lock_keeper import LockKeeper
from davserver.storage.lock_manager import Agree
from davserver.storage.share import Shares

#: Characters of a reason: a sentence, not a document.
REASON_LIMIT = 500
#: Locks that are looked at in one go, and how often for one part: its cost is bounded, however many locks there are.
PAGE, LOOKS = 1000, 5

_audit = logging.getLogger("davserver.audit")


@dataclass(frozen=True, slots=True)
class LockFilter:
    """Which locks are wanted. What is None does not matter."""

    #: Those that protect this path, or something below it.
    path: DavPath | None = None
    #: Name of the principal.
    holder: str | None = None
    kind: Kind | None = None
    stale: bool | None = None

    def fits(self, lock: Lock, now: float) -> bool:
        return (
            (self.path is None or covers(lock, self.path) or self.path.contains(lock.root))
            and self.holder in (None, lock.principal.name)
            and self.kind in (None, lock.kind)
            and self.stale in (None, lock.is_stale(now))
        )


EVERY = LockFilter()
_NOBODY = Client()


@dataclass(frozen=True, slots=True)
class Transaction:
    """Several paths that one program changes as one."""

    id: str
    #: Grows with each transaction there ever was: who compares it knows an old one from a new one.
    fence: int
    locks: tuple[Lock, ...]


class LockService:
    """Locks of one server, for the command line, the API and the pages."""

    def __init__(self, shares: Shares) -> None:
        self.events = LockEvents(shares.state)
        self.keeper = LockKeeper(shares)
        self._locks = shares.locks

    # --- any lock

    def find(self, wanted: LockFilter = EVERY) -> list[Lock]:
        """Active locks, oldest first."""
        now = self._locks.now()
        found = self._locks.active() if wanted.path is None else self._locks.about(wanted.path)
        return [lock for lock in found if wanted.fits(lock, now)]

    def page(
        self, wanted: LockFilter, limit: int, *, beyond: int = 0, visible: Callable[[Lock], bool] = lambda _: True
    ) -> tuple[list[Lock], int | None]:
        """`find` in parts of at most `limit`, by number: a part, and where the next one goes on; None after the last.

        `visible`: may it be shown to whoever asks? Where few fit, a part may be short, even empty, and not the last.
        """
        now = self._locks.now()
        found: list[Lock] = []
        next_: int | None = beyond
        size = limit + 1
        for _ in range(LOOKS):
            if next_ is None:
                break
            some, next_ = self._locks.page(next_, size, path=wanted.path, holder=wanted.holder, kind=wanted.kind)
            found += (lock for lock in some if wanted.fits(lock, now) and visible(lock))
            if len(found) > limit:
                return found[:limit], found[limit - 1].id
            size = PAGE
        return found, next_

    def get(self, number: int) -> Lock:
        """An active lock. Raises NotFound, which says so where it has ended."""
        lock = self._locks.by_id(number)
        if not lock.is_active(self._locks.now()):
            raise NotFound(f"Lock {number} has ended.")
        return lock

    def together(self, lock: Lock) -> list[Lock]:
        """What ends with an active lock: itself, or all locks of its transaction; none where that has just ended."""
        return [lock] if lock.transaction_id is None else self._locks.of_transaction(lock.transaction_id)

    def break_lock(self, number: int, by: Principal, reason: str, agree: Agree = lambda *_: None) -> Lock:
        """End a lock against its holder's will; of a transaction all its locks. Raises NotFound, BadRequest; what
        `agree` raises of one of them as it is then, and the time.

        The holder's next save is still accepted if nobody has written to the file, or locked it, until then.
        """
        why = one_line(reason)
        if not why:
            raise BadRequest("Say why the lock is broken: its holder will be told.")
        lock = self.get(number)
        together = self.together(lock)
        with self._locks.hold([each.root for each in together], principal=by, tokens=frozenset()) as hold:
            versions = {each.id: self.keeper.version(each.root) for each in together}
            known = {each: version for each, version in versions.items() if version is not None}
            broken = self._locks.break_all(hold, together, End(Ending.BROKEN, 0, by, why), known, agree)
        if not broken:
            raise NotFound(f"Lock {number} has ended.")
        for each in broken:
            _log_broken(each.id, each.root, each.principal, _name(by), why)
            self.keeper.tidy_if_possible(each)
        return lock

    def extend(self, number: int, principal: Principal, seconds: int | None) -> Lock:
        """Restart the time of one's own check-out or maintenance: `seconds` from now. Raises NotFound, Forbidden,
        PreconditionFailed."""
        lock = self._own(number, principal)
        (extended,) = self._locks.extend_all([lock], self._cut(lock.kind, seconds))
        return extended

    def end(self, number: int, principal: Principal) -> Lock:
        """End one's own lock, whatever its kind. Raises NotFound, Forbidden."""
        lock = self._own(number, principal)
        self._locks.release_all([lock])
        self.keeper.tidy_if_possible(lock)
        return lock

    # --- check-outs

    def check_out(
        self,
        path: DavPath,
        principal: Principal,
        seconds: int,
        reason: str | None = None,
        client: Client = _NOBODY,
    ) -> Lock:
        """A person works on it for a while, with whatever program. Raises NotFound, LockConflict, Forbidden."""
        if principal.is_anonymous:
            raise Forbidden("A check-out stops everybody but the one who made it, so it needs a login.")
        node = self.keeper.node(path)
        if node is None:
            raise NotFound("There is nothing at this path.")
        request = self._request(path, Kind.CHECKOUT, principal, seconds, reason, client)
        return self._acquire([request])[0]

    # --- transactions

    def begin(
        self,
        paths: Sequence[DavPath],
        principal: Principal,
        seconds: int,
        reason: str | None = None,
        client: Client = _NOBODY,
    ) -> Transaction:
        """Lock all of these paths, with what is below them, or none. Raises LockConflict, BadRequest."""
        if not paths:
            raise BadRequest("A transaction has at least one path.")
        requests = [
            self._request(path, Kind.TRANSACTION, principal, seconds, reason, client) for path in dict.fromkeys(paths)
        ]
        return _transaction(self._acquire(requests))

    def transaction(self, transaction_id: str) -> Transaction:
        """An active one. Raises NotFound."""
        return _transaction(self._of_transaction(transaction_id))

    def renew(self, transaction_id: str, principal: Principal, seconds: int) -> Transaction:
        """Restart its time. Raises NotFound when it has ended, Forbidden, PreconditionFailed."""
        locks = self._own_transaction(transaction_id, principal)
        return _transaction(self._locks.extend_all(locks, self._cut(Kind.TRANSACTION, seconds)))

    def finish(self, transaction_id: str, principal: Principal) -> None:
        """End it. Raises NotFound when it has ended, Forbidden."""
        self._locks.release_all(self._own_transaction(transaction_id, principal))

    # --- maintenance

    def maintain(
        self,
        path: DavPath,
        by: Principal,
        seconds: int | None,
        reason: str,
        *,
        blocks_reads: bool = False,
        breaking: bool = False,
        client: Client = _NOBODY,
        set_by: Principal | None = None,
    ) -> Lock:
        """Nobody but `by` changes anything at `path` or below it, for `seconds` or until it is ended. `set_by`: who
        sets it for them.

        Raises LockConflict where others hold locks; `breaking`: these are broken instead.
        """
        why = one_line(reason)
        if not why:
            raise BadRequest("Say what the maintenance is for: everybody who waits will be told.")
        request = self._request(path, Kind.MAINTENANCE, by, seconds, why, client, blocks_reads=blocks_reads)
        who = _name(by) if set_by is None else f"{_name(set_by)} for {_name(by)}"
        before = self.events.newest()
        (lock,) = self._acquire([request], End(Ending.BROKEN, 0, by, why) if breaking else None)
        for event in self.events.after(before, KEEP_EVENTS) if breaking else ():
            if event.what is What.BROKEN and event.by == by:
                _log_broken(event.lock_id, event.root, event.principal, who, why)
                self.keeper.tidy_if_possible(self._locks.by_id(event.lock_id))
        until = "without an end" if lock.expires is None else f"for {seconds} s"
        _audit.info("maintenance %d on %s set by %s %s: %s", lock.id, _printable(path.key), who, until, why)
        return lock

    def end_maintenance(self, path: DavPath, by: Principal) -> Lock:
        """End the maintenance of exactly this path, whoever set it. Raises NotFound."""
        for lock in self.find(LockFilter(path, kind=Kind.MAINTENANCE)):
            if lock.root == path:
                self._locks.release_all([lock])
                _audit.info("maintenance %d on %s ended by %s", lock.id, _printable(path.key), _name(by))
                return lock
        raise NotFound(f"There is no maintenance of {path}.")

    # --- inside

    def _request(
        self,
        path: DavPath,
        kind: Kind,
        principal: Principal,
        seconds: int | None,
        reason: str | None,
        client: Client,
        *,
        blocks_reads: bool = False,
    ) -> LockRequest:
        node = self.keeper.node(path)
        is_file = node is not None and not node.is_collection
        return LockRequest(
            root=DavPath(path.segments, path.slash if node is None else node.is_collection),
            depth=Depth.ZERO if is_file else Depth.INFINITY,
            scope=Scope.EXCLUSIVE,
            principal=principal,
            owner=None,
            timeout=self._cut(kind, seconds),
            kind=kind,
            client_address=client.address,
            client_agent=client.agent,
            reason=one_line(reason or "") or None,
            blocks_reads=blocks_reads,
        )

    def _cut(self, kind: Kind, seconds: int | None) -> int | None:
        """What is granted of what was asked for."""
        if seconds is not None and seconds < 1:
            raise BadRequest("A lock lasts for at least a second.")
        policy = self._locks.policy
        longest = {Kind.CHECKOUT: policy.checkout, Kind.MAINTENANCE: None}.get(kind, policy.maximum)
        return seconds if longest is None else min(longest, seconds or longest)

    def _acquire(self, requests: Sequence[LockRequest], breaking: End | None = None) -> list[Lock]:
        roots = [request.root for request in requests]
        with self._locks.hold(roots, principal=requests[0].principal, tokens=frozenset()) as hold:
            return self._locks.acquire_all(hold, requests, breaking=breaking)

    def _own(self, number: int, principal: Principal) -> Lock:
        lock = self.get(number)
        if lock.principal != principal:
            raise Forbidden("This lock is somebody else's.", paths=[lock.root])
        return lock

    def _own_transaction(self, transaction_id: str, principal: Principal) -> list[Lock]:
        locks = self._of_transaction(transaction_id)
        if locks[0].principal != principal:
            raise Forbidden("This transaction is somebody else's.")
        return locks

    def _of_transaction(self, transaction_id: str) -> list[Lock]:
        locks = self._locks.of_transaction(transaction_id)
        if not locks:
            raise NotFound("There is no such transaction, or it has ended.")
        return locks


def one_line(text: str) -> str:
    """On one line, printable, and not too long. Raises BadRequest."""
    line = " ".join(text.split())
    if len(line) > REASON_LIMIT:
        raise BadRequest(f"A reason may have at most {REASON_LIMIT} characters.")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def _transaction(locks: Iterable[Lock]) -> Transaction:
    every = tuple(locks)
    return Transaction(every[0].transaction_id or "", every[0].fence or 0, every)


def _name(principal: Principal) -> str:
    return _printable(principal.name) or "an anonymous user"


def _printable(text: str) -> str:
    """Nobody writes lines of his own into the log."""
    return text.encode("unicode_escape").decode("ascii")


def _log_broken(number: int, root: DavPath, holder: Principal, by: str, why: str) -> None:
    where = _printable(root.key)
    _audit.info("lock %d on %s, held by %s, broken by %s: %s", number, where, _name(holder), by, why)
