"""What a lock is, whom it stops, and which locks cannot stand together. Lists in, lists out.

The law of this module: no store, no clock, no randomness. `now` and tokens come in as arguments.

Theory. A lock protects its root; with depth infinity also everything below it; and always the membership
of a locked collection (RFC 4918 §6.1, §7.4). So three questions are enough for every method:

  writes      a path whose content or properties change: every lock that covers it must be passed;
  members_of  a collection that gains or loses a member: every lock that covers the collection;
  trees       a path that goes away with all below it: as `writes`, and every lock rooted below it.

At one path there is either one exclusive lock or any number of shared ones. An exclusive lock must be
passed; of shared ones any single one is enough (§6.2: each holder may write with his own token).
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
    transaction_id: str | None = None
    blocks_reads: bool = False

    def __post_init__(self) -> None:
        if self.depth is Depth.ONE:
            raise ValueError("a lock has depth 0 or infinity (RFC 4918 §9.10.3)")

    def href(self, prefix: str) -> str:
        """The lock root as clients see it."""
        return self.root.href(prefix, collection=self.root.slash)

    def is_active(self, now: float) -> bool:
        """A lock protects nothing from the second it expires."""
        return self.expires is None or now < self.expires

    def seconds_left(self, now: float) -> int | None:
        """Whole seconds until it has expired, at least 1; None when it does not expire."""
        return None if self.expires is None else max(1, math.ceil(self.expires - now))


@dataclass(frozen=True, slots=True)
class LockRequest:
    """What a LOCK with a body asks for, its timeout settled already (seconds)."""

    root: DavPath
    depth: Depth
    scope: Scope
    principal: Principal
    owner: bytes | None
    timeout: int
    kind: Kind = Kind.WRITE
    client_address: str = ""
    client_agent: str = ""


@dataclass(frozen=True, slots=True)
class LockPolicy:
    """Seconds. `default` where a client asks nothing; wishes are cut to [minimum, maximum]."""

    default: int = 30 * 60
    minimum: int = 3 * 60
    maximum: int = 24 * 3600

    def grant(self, wishes: Sequence[int | None]) -> int:
        """Timeout header's values in order of preference (None = Infinite) → granted seconds.

        RFC 4918 §10.7: the server need not honour a wish; the first one counts.
        """
        if not wishes:
            return self.default
        wish = wishes[0]
        return self.maximum if wish is None else min(max(wish, self.minimum), self.maximum)


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

    RFC 4918 §6.4: a token is of use only to the principal that created the lock.
    """
    if lock.kind is Kind.TRANSACTION:
        return lock.token in tokens and lock.principal == principal
    if lock.principal != principal:
        return False
    return lock.kind is not Kind.WRITE or lock.token in tokens


def conflicts(request: LockRequest, locks: Iterable[Lock]) -> list[Lock]:
    """Those of `locks` that cannot stand beside the wanted one (RFC 4918 §6.2, §9.10.5)."""
    return [
        lock
        for lock in locks
        if not (request.scope is Scope.SHARED and lock.scope is Scope.SHARED)
        and (covers(lock, request.root) or (request.depth is Depth.INFINITY and request.root.contains(lock.root)))
    ]


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
            here = covering(path)
            # What lies below without a lock of its own has the deep ones alone to protect it: a shared lock of
            # depth 0 on `path` lets its holder pass there, not below.
            groups += here, [lock for lock in here if lock.depth is Depth.INFINITY]
    blocking = {lock.token: lock for group in groups for lock in _stopping(group, principal, tokens)}
    return list(blocking.values())


def _stopping(locks: list[Lock], principal: Principal, tokens: frozenset[str]) -> list[Lock]:
    """Which of the locks that protect one path stop this principal: see the theory at the top."""
    shared = [lock for lock in locks if lock.scope is Scope.SHARED]
    stopping = [lock for lock in locks if lock.scope is Scope.EXCLUSIVE and not passes(lock, principal, tokens)]
    return stopping if any(passes(lock, principal, tokens) for lock in shared) else stopping + shared
