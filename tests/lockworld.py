"""A store of locks with a clock that a test turns: everything real but the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from davserver.protocol.locks import Depth, Kind, Lock, LockPolicy, LockRequest, Principal, Scope
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage.gate import Gate
from davserver.storage.journal import Journal
from davserver.storage.lock_manager import LockManager
from davserver.storage.lock_service import LockService
from davserver.storage.property_store import PropertyStore
from davserver.storage.share import Share, Shares
from davserver.storage.sqlite import SqliteState
from davserver.storage.tree import Tree

ALICE, BOB, ADMIN = Principal("alice", "Alice Smith"), Principal("bob", "Bob"), Principal("local:root", "root")


def path(text: str) -> DavPath:
    return DavPath.parse(text)


class Clock:
    """Begins at the time it is, since the kernel's time stamps are compared with it."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now


class World:
    """One process on a state folder; several on one folder are several processes."""

    def __init__(self, folder: Path, stack: ExitStack, clock: Callable[[], float], **policy: object) -> None:
        self.root, self.folder = folder / "share", folder / "state"
        self.root.mkdir(exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        self.state = SqliteState(str(self.folder), durable=False)
        stack.callback(self.state.close)
        self.locks = LockManager(
            self.state,
            Gate(str(self.folder)),
            LockPolicy(**policy),  # type: ignore[arg-type]
            clock=clock,
        )
        self.tree = Tree(str(self.root), ROOT, durable=False)
        stack.callback(self.tree.close)
        self.share = Share(ROOT, self.tree, self.locks, PropertyStore(self.state), Journal(self.state), self.state)
        self.shares = Shares([self.share])
        self.service = LockService(self.shares)
        self.keeper = self.service.keeper
        self.events = self.service.events

    def lock(
        self,
        root: str,
        *,
        depth: Depth = Depth.ZERO,
        scope: Scope = Scope.EXCLUSIVE,
        principal: Principal = ALICE,
        timeout: int | None = 600,
        kind: Kind = Kind.WRITE,
        owner: bytes | None = None,
        made: str | None = None,
    ) -> Lock:
        request = LockRequest(
            path(root), depth, scope, principal, owner, timeout, kind, client_address="::1", client_agent="test"
        )
        with self.locks.hold([request.root], principal=principal, tokens=frozenset()) as hold:
            return self.locks.acquire(hold, request, made=made)

    def make(self, root: str, **fields: object) -> Lock:
        """A lock on an unmapped path, with its empty file, as LOCK does it."""
        (self.root / root[1:]).touch()
        node = self.tree.stat(path(root))
        assert node is not None
        return self.lock(root, made=node.etag.tag, **fields)  # type: ignore[arg-type]

    def file(self, name: str) -> Path:
        return self.root / name.removeprefix("/")
