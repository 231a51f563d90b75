"""What a lock is, whom it stops, and which locks cannot stand together. Lists in, lists out.

The law of this module: no store, no clock, no randomness. `now` and tokens come in as arguments.

Theory. A lock protects its root; with depth infinity also everything below it; and always the membership
of a locked collection (RFC 4918 §6.1, §7.4). So three questions are enough for every method:

  writes      a path whose content or properties change: every lock that covers it must be passed;
  members_of  a collection that gains or loses a member: every lock that covers the collection;
  trees       a path that goes away with all below it: as `writes`, and every lock rooted below it.

At one path there is either one exclusive lock or any number of shared ones. An exclusive lock must be
passed; of shared ones any single one is enough (§6.2: each holder may write with his own token).

Four kinds, one set of rules. They differ in who passes them (`passes`) and in what may stand beside them: a
person's check-out, or an administrator's maintenance, is joined by that principal's own write locks, so that
Office can edit what its user has checked out. To everybody else all kinds conflict alike.

A lock that ended is remembered for a while, with how it ended. Its token is worth nothing any more, but for one
case (`is_forgivable`): the holder of a file's write lock that expired, or was broken, saves what he has, and
nobody has written to the file, or locked it, since.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from davserver.protocol.paths import DavPath


class Depth(Enum):
    """RFC 4918 §10.2."""

    ZERO = "0"
    ONE = "1"
    INFINITY = "infinity"


class Scope(Enum):
    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class Kind(Enum):
    WRITE = "write"
    CHECKOUT = "checkout"
    TRANSACTION = "transaction"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. On a share without logins everybody is `ANYBODY`, one and the same principal."""

    name: str
    display_name: str = field(default="", compare=False)

    @property
    def is_anonymous(self) -> bool:
        return not self.name


ANYBODY = Principal("")
#: The server itself, which holds no lock and so passes none. No name of anybody has such a character.
NOBODY = Principal("\0")


class Ending(Enum):
    """How a lock ended."""

    RELEASED = "released"
    EXPIRED = "expired"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a lock: how, when, and for a broken one by whom and why."""

    how: Ending
    at: float
    by: Principal | None = None
    reason: str | None = None
    #: The version that the locked file had then (`ABSENT`: there was none); None: nobody looked.
    version: str | None = None
    #: Somebody has written to what it covered, or locked it, since.
    void: bool = False


#: The version of a file that is not there.
ABSENT = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock, as granted. Times are seconds since the epoch."""

    #: `urn:uuid:…`; a secret of its principal.
    token: str
    #: Ends in a slash when a collection was locked.
    root: DavPath
    depth: Depth
    scope: Scope
    kind: Kind
    principal: Principal
    #: The client's DAV:owner element, serialized as it was sent; None when it sent none.
    owner: bytes | None
    created: float
    refreshed: float
    #: None: does not expire by itself.
    expires: float | None
    #: Names the lock for people and programs; tells nothing about the token.
    id: int = 0
    client_address: str = ""
    client_agent: str = ""
    reason: str | None = None
    #: Names the transaction that it is a part of. Passes the gate like a token, for its principal.
    transaction_id: str | None = None
    #: Of a transaction: grows with each one there ever was, so that others can tell an old one from a new one.
    fence: int | None = None
    blocks_reads: bool = False
    #: ETag of the empty file that this LOCK made (RFC 4918 §7.3): it goes with the lock when nobody wrote it.
    made: str | None = None
    #: The longest time that its client has let pass between two signs of life; None when it never refreshed.
    interval: float | None = None
    #: None: nobody has noted an end. It may have expired all the same, see `ending`.
    end: End | None = None

    def __post_init__(self) -> None:
        if self.depth is Depth.ONE:
            raise ValueError("a lock has depth 0 or infinity (RFC 4918 §9.10.3)")

    def href(self, prefix: str) -> str:
        """The lock root as clients see it."""
        return self.root.href(prefix, collection=self.root.slash)

    def is_active(self, now: float) -> bool:
        """A lock protects nothing from the second it expires."""
        return self.end is None and (self.expires is None or now < self.expires)

    def ending(self, now: float) -> End | None:
        """How it ended, also when nobody has noted that it expired; None while it is active."""
        if self.end is None and self.expires is not None and now >= self.expires:
            return End(Ending.EXPIRED, self.expires)
        return self.end

    @property
    def granted(self) -> float | None:
        """Seconds that it was granted for, counted from its last refresh; None: without an end."""
        return None if self.expires is None else self.expires - self.refreshed

    def is_stale(self, now: float) -> bool:
        """Has its client probably gone? It has missed two refreshes, of the length it takes between them.

        A client that has not refreshed yet is taken to do so at half of what it was granted: it is never stale
        before it expires. Nor are locks that nobody refreshes. Two refreshes at once (Office, when it opens a document)
        say nothing about the length: none is taken to be shorter than a minute.
        """
        if self.kind is not Kind.WRITE or self.granted is None or not self.is_active(now):
            return False
        usual = self.granted / 2
        return now >= self.refreshed + 2 * (usual if self.interval is None else max(self.interval, min(60.0, usual)))

    def seconds_left(self, now: float) -> int | None:
        """Whole seconds until it has expired, at least 1; None when it does not expire."""
        return None if self.expires is None else max(1, math.ceil(self.expires - now))


@dataclass(frozen=True, slots=True)
class LockRequest:
    """What is asked for: by a LOCK with a body, its timeout settled already, or by a person or a program."""

    root: DavPath
    depth: Depth
    scope: Scope
    principal: Principal
    owner: bytes | None
    #: Seconds; None: without an end.
    timeout: int | None
    kind: Kind = Kind.WRITE
    client_address: str = ""
    client_agent: str = ""
    reason: str | None = None
    blocks_reads: bool = False

    def granted(self, number: int, token: str, now: float, made: str | None, fence: int) -> Lock:
        """The lock that comes of it. `fence`: the last that was given to a transaction, which this one then is for."""
        fenced = self.kind is Kind.TRANSACTION
        return Lock(
            token=token,
            root=self.root,
            depth=self.depth,
            scope=self.scope,
            kind=self.kind,
            principal=self.principal,
            owner=self.owner,
            created=now,
            refreshed=now,
            expires=None if self.timeout is None else now + self.timeout,
            id=number,
            client_address=self.client_address,
            client_agent=self.client_agent,
            reason=self.reason,
            transaction_id=f"txn-{fence}" if fenced else None,
            fence=fence if fenced else None,
            blocks_reads=self.blocks_reads,
            made=made,
        )


class StaleBreak(Enum):
    """Who may break a lock whose client has probably gone."""

    BREAKERS = "breakers"
    WRITERS = "writers"


@dataclass(frozen=True, slots=True)
class LockPolicy:
    """Seconds. `default` where a client asks nothing; wishes are cut to [minimum, maximum]."""

    default: int = 30 * 60
    minimum: int = 3 * 60
    maximum: int = 24 * 3600
    #: Longest check-out.
    checkout: int = 30 * 86400
    #: How long a lock that expired or was broken is remembered.
    grace: int = 24 * 3600
    remove_empty_files: bool = True
    #: Locks that one principal may hold at a time.
    per_principal: int = 10_000
    #: Bytes of a DAV:owner element: it is a name, not a document.
    owner_limit: int = 8 * 1024
    stale_break: StaleBreak = StaleBreak.BREAKERS

    def grant(self, wishes: Sequence[int | None]) -> int:
        """Timeout header's values in order of preference (None = Infinite) → granted seconds.

        RFC 4918 §10.7: the server need not honour a wish; the first one counts.
        """
        if not wishes:
            return self.default
        wish = wishes[0]
        return self.maximum if wish is None else min(max(wish, self.minimum), self.maximum)

    def may_break(self, lock: Lock, principal: Principal, now: float, *, may_write: bool, breaks: bool = False) -> bool:
        """May this principal break `lock`? `may_write`: it may write where the lock is. `breaks`: it is one of those
        who may break any."""
        if principal.is_anonymous:
            return False
        return breaks or (self.stale_break is StaleBreak.WRITERS and may_write and lock.is_stale(now))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request will touch, and how; see the theory at the top."""

    writes: tuple[DavPath, ...] = ()
    trees: tuple[DavPath, ...] = ()
    members_of: tuple[DavPath, ...] = ()


def covers(lock: Lock, path: DavPath) -> bool:
    """Does `lock` protect `path` (RFC 4918 §6.1)?"""
    return lock.root == path or (lock.depth is Depth.INFINITY and lock.root.contains(path))


def passes(lock: Lock, principal: Principal, tokens: frozenset[str]) -> bool:
    """May this principal, having submitted these tokens, act where `lock` protects?

    RFC 4918 §6.4: a token is of use only to the principal that created the lock. `tokens` also holds the
    Transaction-Id that came with the request; it is no URI, so that it never is another lock's token.
    """
    if lock.principal != principal:
        return False
    match lock.kind:
        case Kind.WRITE:
            return lock.token in tokens
        case Kind.TRANSACTION:
            return lock.token in tokens or lock.transaction_id in tokens
    return True  # a check-out, a maintenance: whatever its principal does


def overlaps(request: LockRequest, lock: Lock) -> bool:
    """Would both protect some path?"""
    return covers(lock, request.root) or (request.depth is Depth.INFINITY and request.root.contains(lock.root))


_JOINED = (frozenset({Kind.CHECKOUT, Kind.WRITE}), frozenset({Kind.MAINTENANCE, Kind.WRITE}))


def joins(request: LockRequest, lock: Lock) -> bool:
    """Do both belong to one principal, and is one of them no obstacle to the other?"""
    return request.principal == lock.principal and frozenset({request.kind, lock.kind}) in _JOINED


def conflicts(request: LockRequest, locks: Iterable[Lock]) -> list[Lock]:
    """Those of `locks` that cannot stand beside the wanted one (RFC 4918 §6.2, §9.10.5)."""
    return [
        lock
        for lock in locks
        if not (request.scope is Scope.SHARED and lock.scope is Scope.SHARED)
        and overlaps(request, lock)
        and not joins(request, lock)
    ]


def readers_stopped(path: DavPath, locks: Iterable[Lock], principal: Principal, *, below: bool = False) -> list[Lock]:
    """Those of `locks` that keep this principal from reading `path`, or, with `below`, something inside it."""
    return [
        lock
        for lock in locks
        if lock.blocks_reads
        and lock.principal != principal
        and (covers(lock, path) or (below and path.contains(lock.root)))
    ]


def is_forgivable(lock: Lock, now: float, grace: float) -> bool:
    """Might a PUT that submits the token of this ended lock still be accepted, if the file is as it was?

    The write lock of a file that expired or was broken, within `grace` of its end. One that its holder released
    is dead for ever.
    """
    end = lock.ending(now)
    if end is None or lock.kind is not Kind.WRITE or lock.root.slash:
        return False
    return end.how is not Ending.RELEASED and not end.void and now < end.at + grace


#: Seconds by which the kernel's time stamps may lag behind the clock.
_TICK = 0.02


def is_unchanged(lock: Lock, now: float, version: str, changed: float) -> bool:
    """Is the file still what it was when the lock ended? `version` and `changed`: what it is now, and since when.

    Where nobody looked at that moment, the file must not have changed after it.
    """
    end = lock.ending(now)
    if end is None:
        return False
    if end.version is not None:
        return version == end.version
    return version != ABSENT and changed + _TICK < end.at


def missing_tokens(claim: Claim, locks: Iterable[Lock], principal: Principal, tokens: frozenset[str]) -> list[Lock]:
    """The locks that stop `claim`: empty when it may go ahead. `locks` are all that might matter.

    However many members of a tree are locked, each of them looks at the locks of its own ancestors alone.
    """
    rooted: dict[DavPath, list[Lock]] = {}
    for lock in locks:
        rooted.setdefault(lock.root, []).append(lock)

    def covering(path: DavPath) -> list[Lock]:
        roots = (*path.ancestors, path)
        return [lock for root in roots for lock in rooted.get(root, ()) if covers(lock, path)]

    groups = [covering(path) for path in dict.fromkeys((*claim.writes, *claim.members_of))]
    for tree in claim.trees:
        for path in dict.fromkeys((tree, *filter(tree.contains, rooted))):
            here, own = covering(path), rooted.get(path)
            groups.append(here)
            # What lies below without a lock of its own has the deep ones alone to protect it: a shared lock of
            # depth 0 on `path` lets its holder pass there, not below. There is nothing below a file.
            if own is None or any(lock.root.slash for lock in own):
                groups.append([lock for lock in here if lock.depth is Depth.INFINITY])
    blocking = {lock.token: lock for group in groups for lock in _stopping(group, principal, tokens)}
    return list(blocking.values())


def _stopping(locks: list[Lock], principal: Principal, tokens: frozenset[str]) -> list[Lock]:
    """Which of the locks that protect one path stop this principal: see the theory at the top."""
    shared = [lock for lock in locks if lock.scope is Scope.SHARED]
    stopping = [lock for lock in locks if lock.scope is Scope.EXCLUSIVE and not passes(lock, principal, tokens)]
    return stopping if any(passes(lock, principal, tokens) for lock in shared) else stopping + shared
