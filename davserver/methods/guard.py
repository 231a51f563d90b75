"""Guard: the one way in for whatever looks at or changes a resource.

The law of this module: no method decides on locks or preconditions by itself. A method that changes
something asks twice: `look` before it does any work (a doomed upload is refused with its body unread),
and `Passage.check` inside `enter`, where the paths are reserved and the answer is the truth until the
change is made. A method that only reads asks `fresh`.

Order of the questions: If, then locks, then the preconditions of HTTP. A token that is no lock's any more is
412 before it can be 423 (RFC 4918 §10.4.1); and RFC 9110 §13.2.1 has a server ignore If-Match and its kin where
the answer without them would be neither 2xx nor 412.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from davserver.protocol import conditions
from davserver.protocol.conditions import UNMAPPED, ResourceState
from davserver.protocol.errors import Conflict, Forbidden, NotFound, NotPermitted, Unavailable
from davserver.protocol.locks import Claim
from davserver.protocol.messages import Action, Request
from davserver.protocol.paths import DavPath
from davserver.storage.lock_manager import LockHold
from davserver.storage.node import Node
from davserver.storage.recovery import recover
from davserver.storage.share import Share, Shares


class Guard:
    """Locks, preconditions and permissions of one request."""

    def __init__(self, request: Request, shares: Shares) -> None:
        self.request = request
        self.shares = shares
        self.share = shares.of(request.path)
        self.preconditions = conditions.parse_preconditions(request.headers, request.prefix)
        self.tokens = conditions.submitted_tokens(request.headers, self.preconditions, request.method)

    def existing(self) -> Node:
        """The resource at the request's path. NotFound when there is none, or a file was asked for as a folder."""
        node = self.share.tree.stat(self.request.path)
        if node is None or (self.request.path.slash and not node.is_collection):
            raise NotFound("There is nothing at this path.")
        return node

    def fresh(self, node: Node | None = None) -> bool:
        """For GET and HEAD: False when the answer is 304. Raises PreconditionFailed.

        `node`: the version that is to be answered with, where it is at hand.
        """
        known = node

        def state_of(path: DavPath) -> ResourceState:
            return self._state_of(path, known if path == self.request.path else None)

        return conditions.check(self.preconditions, self.request.method, self.request.path, state_of)

    def look(self, claim: Claim) -> None:
        """The early look, nothing reserved. Raises Locked, PreconditionFailed."""
        locks, request = self.share.locks, self.request
        self.decide(claim, partial(locks.check, principal=request.principal, tokens=self.tokens, now=request.now))

    def decide(self, claim: Claim, check_locks: Callable[[Claim], None]) -> None:
        """The three questions in their order."""
        request = self.request
        conditions.check_if(self.preconditions, request.method, request.path, self._state_of)
        check_locks(claim)
        conditions.check_http(self.preconditions, request.method, request.path, self._state_of)

    @contextmanager
    def enter(self, *reserve: DavPath, respelt: bool = False) -> Iterator[Passage]:
        """Reserve paths until the block ends: nobody else changes them, what is below them, or their locks.

        What a process that died has left half done about them is ended first. `respelt`: the last path is to become
        the spelling of the first. Raises Unavailable.
        """
        shares = self.shares
        spelt = dict.fromkeys((*reserve, *(shares.of(path).tree.reserved_as(path) for path in reserve)))
        while True:
            with self.share.locks.hold(
                spelt, principal=self.request.principal, tokens=self.tokens, now=self.request.now
            ) as hold:
                unsettled = shares.journal.about(reserve)
                if not unsettled:
                    self._require_spelling(reserve[:1] if respelt else reserve)
                    yield Passage(self, hold)
                    return
            recover(shares, unsettled)

    def _require_spelling(self, reserve: tuple[DavPath, ...]) -> None:
        """Paths were located before they were reserved. Raises Unavailable when one is spelt otherwise now."""
        for path in reserve:
            if self.shares.locate(path, link=True) != path:
                raise Unavailable("Somebody has just changed the spelling of this name; try again.", retry_after=1)

    def _state_of(self, path: DavPath, node: Node | None = None) -> ResourceState:
        try:
            path = self.shares.locate(path)
            share = self.shares.of(path)
        except NotFound:
            return UNMAPPED
        tokens = frozenset[str]()
        if self.preconditions.if_ is not None or self.preconditions.lock_token is not None:
            # RFC 4918 §10.4.4: a state token matches whoever holds the lock; whether it may be used is another
            # question.
            tokens = frozenset(lock.token for lock in share.locks.covering(path, self.request.now))
        node = share.tree.stat(path) if node is None else node
        if node is None:
            return ResourceState(False, None, tokens, None)
        return ResourceState(True, None if node.is_collection else node.etag, tokens, node.last_modified)


class Passage:
    """What a method holds between the check and the change."""

    def __init__(self, guard: Guard, hold: LockHold) -> None:
        self._guard = guard
        self.hold = hold

    def check(self, claim: Claim) -> None:
        """Decide against now. Raises Locked, PreconditionFailed; returning is the proof `hold` carries."""
        self._guard.decide(claim, self.hold.check)


def writing(path: DavPath, node: Node | None) -> Claim:
    """To write `path`, where `node` is now: a new resource is also a new member of its parent (RFC 4918 §7.4)."""
    return Claim(writes=(path,), members_of=(path.parent,) if node is None and not path.is_root else ())


def require_parent(share: Share, path: DavPath) -> None:
    """RFC 4918 §9.3.1, §9.7.1, §9.8.5: without its parent collection a resource cannot be made: 409."""
    parent = None if path == share.at else share.tree.stat(path.parent)
    if parent is None or not parent.is_collection:
        raise Conflict("The parent collection does not exist; create it with MKCOL first.", paths=[path])


def require_permission(request: Request, action: Action, path: DavPath) -> None:
    """Raises NotPermitted unless the principal may do `action` at `path`."""
    if not request.permissions.allows(action, path):
        raise NotPermitted(f"You may not {action.value} here.", paths=[path])


def require_removable(shares: Shares, path: DavPath) -> None:
    """A share is configuration: it cannot be deleted, moved or overwritten, nor a folder that holds one."""
    if shares.mounted_below(path):
        raise Forbidden("A share is mounted here; it cannot be removed or replaced.", paths=[path])


def require_writable(share: Share, path: DavPath) -> None:
    if share.read_only:
        raise Forbidden("This share is read-only.", paths=[path])
