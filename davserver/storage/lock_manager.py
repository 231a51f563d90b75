"""LockManager: who holds what, and the hold that makes check and change one step.

The law of this module: a lock is granted, refreshed, released or found in the way only here; rules come from
`protocol.locks`, rows from the state, exclusion from the gate.

Why a check cannot go stale. A LOCK is granted while its root is reserved exclusively; a change is made while
every path it touches is reserved exclusively, and their ancestors shared. A lock that could stop a change
has its root on one of those paths, on an ancestor, or below a tree that is reserved. So while a hold stands
no such lock can appear, and what `LockHold.check` found is true until the change is made. Refreshing and
releasing need no reservation: both only concern the holder's own lock, in one statement.

Time. `now` is the caller's clock, but a clock that jumps back never revives a lock: what the database has
seen as the latest time counts as now (guarantee 6).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from davserver.protocol.errors import Conflict, Forbidden, LockConflict, Locked, PreconditionFailed
from davserver.protocol.locks import (
    Claim,
    Depth,
    Kind,
    Lock,
    LockPolicy,
    LockRequest,
    Principal,
    Scope,
    conflicts,
    covers,
    missing_tokens,
)
from davserver.protocol.paths import DavPath
from davserver.storage.gate import Gate
from davserver.storage.hold import Hold, Unproven
from davserver.storage.state import State

_COLUMNS = (
    "id, token, root, collection, depth, scope, kind, principal, display_name, owner, created, refreshed, expires, "
    "client_address, client_agent, reason, transaction_id, blocks_reads"
)
# RFC 4918 §16; used by LOCK refresh (§9.10.6) and UNLOCK (§9.11.1).
_MATCHES = "lock-token-matches-request-uri"


def new_token() -> str:
    """RFC 4918 §6.5: unique for all time; 122 random bits, since it is also a secret."""
    return uuid.uuid4().urn


class LockHold:
    """Reserved paths, and what was proven about them. Implements `storage.hold.Hold`."""

    def __init__(
        self,
        manager: LockManager,
        reserved: tuple[DavPath, ...],
        principal: Principal,
        tokens: frozenset[str],
        now: float,
    ) -> None:
        self._manager = manager
        self._reserved = reserved
        self._principal, self._tokens, self._now = principal, tokens, now
        self._proven: list[DavPath] = []
        self._trees: list[DavPath] = []

    def check(self, claim: Claim) -> None:
        """Raises Locked. Returning proves the claim's writes and trees, as far as they are reserved."""
        self._manager.check(claim, principal=self._principal, tokens=self._tokens, now=self._now)
        self._proven += (path for path in claim.writes if path in self._reserved)
        self._trees += (path for path in claim.trees if path in self._reserved)

    def require(self, path: DavPath) -> None:
        if path not in self._proven and not any(tree.contains(path) for tree in self._trees):
            raise Unproven(f"the locks on {path} were not checked in this hold")

    def require_reserved(self, path: DavPath) -> None:
        if path not in self._reserved:
            raise Unproven(f"{path} is not reserved in this hold")


class LockManager:
    """All locks of one server, whatever number of processes it has."""

    def __init__(
        self, state: State, gate: Gate, policy: LockPolicy, *, new_token: Callable[[], str] = new_token
    ) -> None:
        self.policy = policy
        self._state = state
        self._gate = gate
        self._new_token = new_token
        self._latest = 0.0

    @contextmanager
    def hold(
        self, reserve: Iterable[DavPath], *, principal: Principal, tokens: frozenset[str], now: float
    ) -> Iterator[LockHold]:
        """Reserve paths until the block ends: nobody else changes them, what is below them, or takes locks there."""
        reserved = tuple(reserve)
        with self._gate.reserve(reserved):
            yield LockHold(self, reserved, principal, tokens, now)

    def check(self, claim: Claim, *, principal: Principal, tokens: frozenset[str], now: float) -> None:
        """Raises Locked, naming every lock in the way. Outside a hold this is but a look."""
        paths = (*claim.writes, *claim.trees, *claim.members_of)
        if not paths:
            return
        blocking = missing_tokens(claim, self._touching(paths, claim.trees, now), principal, tokens)
        if blocking:
            raise Locked(paths[0], blocking)

    def covering(self, path: DavPath, now: float) -> list[Lock]:
        """Active locks that protect `path`. One query, of as many keys as the path is deep."""
        return [lock for lock in self._touching((path,), (), now) if covers(lock, path)]

    def of_members(self, collection: DavPath, now: float) -> tuple[list[Lock], dict[str, list[Lock]]]:
        """For a listing: the locks that cover `collection`, and those rooted at each member, by its name."""
        rooted: dict[str, list[Lock]] = {}
        for lock in self._select("parent = ?", (collection.key,), now):
            rooted.setdefault(lock.root.name, []).append(lock)
        return self.covering(collection, now), rooted

    def active(self, now: float) -> list[Lock]:
        """Every lock that protects something now, oldest first."""
        return self._select("1", (), now)

    def acquire(self, hold: LockHold, request: LockRequest, now: float) -> Lock:
        """Grant a lock whose root is reserved in `hold`. Raises LockConflict, naming every lock in the way."""
        hold.require_reserved(request.root)
        trees = (request.root,) if request.depth is Depth.INFINITY else ()
        with self._state.transaction():
            now = self._advance(now)
            blocking = conflicts(request, self._touching((request.root,), trees, now))
            if blocking:
                raise LockConflict(request.root, blocking)
            return self._insert(request, now)

    def refresh(self, path: DavPath, token: str, principal: Principal, timeout: int, now: float) -> Lock:
        """Restart the lock's time: `timeout` seconds from now. Raises PreconditionFailed (RFC 4918 §9.10.6)."""
        with self._state.transaction():
            now = self._advance(now)
            for lock in self.covering(path, now):
                if lock.token == token and lock.principal == principal:
                    self._state.query(
                        "UPDATE locks SET refreshed = ?, expires = ? WHERE token = ?", (now, now + timeout, token)
                    )
                    return replace(lock, refreshed=now, expires=now + timeout)
        raise PreconditionFailed("There is no such lock of yours on this resource.", element=_MATCHES, paths=[path])

    def release(self, path: DavPath, token: str, principal: Principal, now: float) -> Lock:
        """End a lock. Raises Conflict when it does not cover `path` (RFC 4918 §9.11.1), Forbidden when it is not
        the principal's own (§9.11)."""
        with self._state.transaction():
            for lock in self.covering(path, now):
                if lock.token == token:
                    if lock.principal != principal:
                        raise Forbidden("This lock is somebody else's.", paths=[path])
                    self._state.query("DELETE FROM locks WHERE token = ?", (token,))
                    return lock
        raise Conflict("There is no such lock on this resource.", element=_MATCHES, paths=[path])

    def any_at(self, root: DavPath) -> bool:
        """Is a lock rooted at `root` or below it, expired or not?"""
        low, high = below(root)
        return bool(
            self._state.query(
                "SELECT 1 FROM locks WHERE root = ? OR (root >= ? AND root < ?) LIMIT 1", (root.key, low, high)
            )
        )

    def forget(self, hold: Hold, root: DavPath, *, below_only: bool = False) -> None:
        """End the locks rooted below `root`, and at it: what they protected is gone (RFC 4918 §9.6, §9.9)."""
        hold.require(root)
        if self.any_at(root):
            self._state.query("DELETE FROM locks WHERE root >= ? AND root < ?", below(root))
            if not below_only:
                self._state.query("DELETE FROM locks WHERE root = ?", (root.key,))

    def withdraw(self, token: str) -> None:
        """End a lock whose resource could not be made: nobody was told of it."""
        self._state.query("DELETE FROM locks WHERE token = ?", (token,))

    def sweep(self, now: float) -> None:
        """Drop the rows of expired locks. They protect nothing with or without them."""
        self._state.query("DELETE FROM locks WHERE expires <= ?", (max(now, self._latest),))

    def _touching(self, paths: Sequence[DavPath], trees: Sequence[DavPath], now: float) -> list[Lock]:
        """Active locks rooted at `paths`, at any of their ancestors, or below `trees`: all that can matter."""
        keys = list(dict.fromkeys(key for path in paths for key in (path.key, *(a.key for a in path.ancestors))))
        found = self._select(f"root IN ({','.join('?' * len(keys))})", keys, now)
        for tree in trees:
            found += self._select("root >= ? AND root < ?", below(tree), now)
        return found

    def _select(self, where: str, parameters: Sequence[object], now: float) -> list[Lock]:
        rows = self._state.query(f"SELECT {_COLUMNS} FROM locks WHERE {where} ORDER BY id", parameters)  # noqa: S608
        if not rows:
            return []
        self._latest = now = max(now, self._latest, self._state.query("SELECT latest FROM clock")[0][0])
        return [lock for lock in map(_lock, rows) if lock.is_active(now)]

    def _advance(self, now: float) -> float:
        """Note the latest time that any process of this store has seen when it granted or refreshed a lock."""
        self._latest = max(now, self._latest, self._state.query("SELECT latest FROM clock")[0][0])
        self._state.query("UPDATE clock SET latest = ?", (self._latest,))
        return self._latest

    def _insert(self, request: LockRequest, now: float) -> Lock:
        lock = Lock(
            token=self._new_token(),
            root=request.root,
            depth=request.depth,
            scope=request.scope,
            kind=request.kind,
            principal=request.principal,
            owner=request.owner,
            created=now,
            refreshed=now,
            expires=now + request.timeout,
            client_address=request.client_address,
            client_agent=request.client_agent,
        )
        self._state.query("DELETE FROM locks WHERE root = ? AND expires <= ?", (lock.root.key, now))
        ((number,),) = self._state.query(
            "INSERT INTO locks (token, root, parent, collection, depth, scope, kind, principal, display_name, owner, "
            "created, refreshed, expires, client_address, client_agent, reason, transaction_id, blocks_reads) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                lock.token,
                lock.root.key,
                None if lock.root.is_root else lock.root.parent.key,
                lock.root.slash,
                lock.depth.value,
                lock.scope.value,
                lock.kind.value,
                lock.principal.name,
                lock.principal.display_name,
                lock.owner,
                lock.created,
                lock.refreshed,
                lock.expires,
                lock.client_address,
                lock.client_agent,
                lock.reason,
                lock.transaction_id,
                lock.blocks_reads,
            ),
        )
        return replace(lock, id=number)


def below(path: DavPath) -> tuple[str, str]:
    """The range of keys below `path`: low <= key < high. "0" is the character after "/"."""
    return ("/", "0") if path.is_root else (path.key + "/", path.key + "0")


def _lock(row: tuple[Any, ...]) -> Lock:
    (number, token, root, collection, depth, scope, kind, principal, display_name, owner, created, refreshed, expires,
     address, agent, reason, transaction_id, blocks_reads) = row  # fmt: skip
    return Lock(
        token=token,
        root=DavPath(DavPath.from_key(root).segments, bool(collection)),
        depth=Depth(depth),
        scope=Scope(scope),
        kind=Kind(kind),
        principal=Principal(principal, display_name),
        owner=owner,
        created=created,
        refreshed=refreshed,
        expires=expires,
        id=number,
        client_address=address,
        client_agent=agent,
        reason=reason,
        transaction_id=transaction_id,
        blocks_reads=bool(blocks_reads),
    )
