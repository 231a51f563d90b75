"""Guard: the one way in for whatever looks at or changes a resource.

The law of this module: no method decides on locks or preconditions by itself. A method that changes
something asks twice: `look` before it does any work (a doomed upload is refused with its body unread),
and `Passage.check` inside `enter`, where the paths are reserved and the answer is the truth until the
change is made. A method that only reads asks `fresh`, and `require_readable`.

Each time the store is asked once: one statement tells what is locked around all paths that matter.

Order of the questions: If, then locks, then the preconditions of HTTP. A token that is no lock's any more is
412 before it can be 423 (RFC 4918 §10.4.1); and RFC 9110 §13.2.1 has a server ignore If-Match and its kin where
the answer without them would be neither 2xx nor 412.

What symbolic links lead to that go with a path is reserved and asked about as well (`links`).

One ended lock may count once more (`locks.is_forgivable`): a PUT that submits its token, on the file that it was
rooted at, which is as it was and which nobody has locked. It counts for the If header and, since nothing is in
the way, that is all it has to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TypeVar

from davserver.methods.links import NOTHING, Led, led_from, with_led
from davserver.methods.permits import is_visible
from davserver.protocol import conditions
from davserver.protocol.conditions import UNMAPPED, ResourceState
from davserver.protocol.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Locked,
    NotFound,
    PreconditionFailed,
    Refused,
    Unavailable,
    UriTooLong,
)
from davserver.protocol.holder import Viewer
from davserver.protocol.locks import (
    ABSENT,
    Claim,
    Lock,
    LockRequest,
    conflicts,
    covers,
    is_forgivable,
    is_unchanged,
)
from davserver.protocol.messages import Request
from davserver.protocol.paths import DavPath
from davserver.storage.lock_hold import LockHold, Unsettled, View
from davserver.storage.node import Node
from davserver.storage.recovery import recover
from davserver.storage.share import Share, Shares

Taken = TypeVar("Taken")


class Guard:
    """Locks, preconditions and permissions of one request."""

    def __init__(self, request: Request, shares: Shares) -> None:
        self.request = request
        self.shares = shares
        self.share = shares.of(request.path)
        self.preconditions = conditions.parse_preconditions(request.headers, request.prefix, request.method)
        self.tokens = conditions.submitted_tokens(request.headers, self.preconditions, request.method)

    @property
    def viewer(self) -> Viewer:
        """Who is told of locks."""
        return Viewer(self.request.principal, self.share.reveal_holder, self.request.client.agent)

    def existing(self) -> Node:
        """The resource at the request's path. NotFound when there is none, or a file was asked for as a folder."""
        node = self.share.tree.stat(self.request.path)
        if node is None or (self.request.path.slash and not node.is_collection):
            raise NotFound("There is nothing at this path.")
        return node

    def require_readable(self, path: DavPath, *, below: bool = False) -> None:
        """Raises Locked where a maintenance blocks reading `path`, or, with `below`, something inside it.

        423 and not 503: Finder makes "no such file" of 503 and "busy" of 423, Explorer says that it is locked, and
        both come back. Where the state is away reading goes on.
        """
        try:
            self.share.locks.require_readable(path, self.request.principal, below=below)
        except Unavailable:
            return

    def fresh(self, node: Node | None = None, view: View | None = None) -> bool:
        """For GET and HEAD: False when the answer is 304. Raises PreconditionFailed.

        `node`: the version that is to be answered with; `view`: what is locked around it. Where they are at hand.
        """
        if self.preconditions is conditions.UNCONDITIONAL:
            return True
        return conditions.check(self.preconditions, self.request.method, self.request.path, self._state_of(view, node))

    def submit_own(self, path: DavPath) -> None:
        """Count the tokens of the principal's own locks on `path` as submitted: for Office, which sets the Win32
        attributes of what it has locked without naming its lock. Where nobody logs in, everybody is one principal:
        there the address must be the holder's as well."""
        principal, address = self.request.principal, self.request.client.address
        self.tokens |= {
            lock.token
            for lock in self.share.locks.covering(path)
            if lock.principal == principal and (not principal.is_anonymous or lock.client_address == address)
        }

    def look(self, claim: Claim) -> None:
        """The early look, nothing reserved. Raises Locked, PreconditionFailed."""
        locks, principal = self.share.locks, self.request.principal
        claim = with_led(self.request, self.shares, claim, led_from(self.request, self.shares, claim.trees))
        view = locks.view(claim)
        self.decide(view, lambda: locks.require_passed(claim, view, principal, self.tokens))

    def look_at_own(self) -> None:
        """`look`, for a request that would have written its own path and will be refused whatever is found."""
        path = self.request.path
        self.look(writing(path, self.share.tree.stat(path)))

    def decide(self, view: View, check_locks: Callable[[], None]) -> Lock | None:
        """The three questions in their order. The ended lock that counts once more, if it was needed."""
        if self.preconditions is conditions.UNCONDITIONAL and view.is_empty:
            check_locks()
            return None  # nothing is asked, and nothing is locked
        request = self.request
        forgiven = self._forgiven(view)
        state_of = self._state_of(view, forgiven=forgiven)
        try:
            self._require_transaction(view)
            conditions.check_if(self.preconditions, request.method, request.path, state_of)
            check_locks()
            conditions.check_http(self.preconditions, request.method, request.path, state_of)
        except (Locked, PreconditionFailed) as refused:
            ended = (lock for lock in view.ended if lock.token in self.tokens and lock.principal == request.principal)
            refused.lost = next(ended, None) if forgiven is None else None
            raise
        return forgiven

    @contextmanager
    def enter(self, *reserve: DavPath, respelt: bool = False) -> Iterator[Passage]:
        """Reserve paths until the block ends: nobody else changes them, what is below them, or their locks.

        What a process that died has left half done about them is ended first. `respelt`: the last path is to become
        the spelling of the first. Raises Unavailable.
        """
        shares = self.shares
        while True:
            led = led_from(self.request, shares, reserve)
            with self._hold((*reserve, *chain.from_iterable(led.values()))) as hold:
                unsettled = shares.journal.about(reserve)
                if not unsettled:
                    self._require_spelling(reserve[:1] if respelt else reserve)
                    if led_from(self.request, shares, reserve) != led:
                        raise _respelt()
                    yield Passage(self, hold, led)
                    return
            recover(shares, unsettled)

    def enter_to_lock(self, path: DavPath, take: Callable[[Passage], Taken]) -> Taken:
        """What `take` returns, within `enter` of that path.

        The store is not asked beforehand for what is half done: granting a lock asks for it anyway, in the same
        statement (`LockHold.is_settled`), and so does, here, whatever is refused. Raises Unavailable, and what `take`
        raises.
        """
        with self._hold((path,)) as hold:
            hold.is_settled = False
            try:
                self._require_spelling((path,))
                return take(Passage(self, hold))
            except Unsettled:
                if not self.shares.journal.about((path,)):
                    hold.is_settled = True
                    return take(Passage(self, hold))
            except Refused:
                if not self.shares.journal.about((path,)):
                    raise
        with self.enter(path) as passage:
            return take(passage)

    def _hold(self, reserve: tuple[DavPath, ...]) -> LockHold:
        common = (self.shares.of(path).tree.reserved_as(path) for path in reserve)
        spelt = (*reserve, *(path for path in common if path not in reserve))
        return self.share.locks.hold(spelt, principal=self.request.principal, tokens=self.tokens)

    def _require_spelling(self, reserve: tuple[DavPath, ...]) -> None:
        """Paths were located before they were reserved. Raises Unavailable when one is spelt otherwise now."""
        locate, asked, own = self.shares.locate, self.request.asked, self.request.path
        for path in reserve:
            if locate(path, link=True) != path:
                raise _respelt()
        if asked is not None and own in reserve and own not in (locate(asked), locate(asked, link=True)):
            raise _respelt()  # a link that led here, by whose name a lock would be granted

    def _forgiven(self, view: View) -> Lock | None:
        if self.request.method != "PUT" or not self.tokens:
            return None
        path, grace = self.request.path, self.share.locks.policy.grace
        for lock in view.ended:
            if lock.root == path and lock.token in self.tokens and lock.principal == self.request.principal:
                again = LockRequest(lock.root, lock.depth, lock.scope, lock.principal, None, None)
                if is_forgivable(lock, view.now, grace) and not conflicts(again, view.active):
                    version, changed = self.share.tree.version(path) or (ABSENT, 0.0)
                    return lock if is_unchanged(lock, view.now, version, changed) else None
        return None

    def _require_transaction(self, view: View) -> None:
        """A program whose transaction has ended must not go on as if it had not, locks or no locks."""
        name, principal = self.preconditions.transaction, self.request.principal
        if name is None:
            return
        known = [lock for lock in view.active if lock.transaction_id == name]
        if not any(lock.principal == principal for lock in known or self.share.locks.of_transaction(name)):
            raise PreconditionFailed("The transaction that Transaction-Id names has ended, or is somebody else's.")

    def _state_of(
        self, view: View | None = None, node: Node | None = None, forgiven: Lock | None = None
    ) -> Callable[[DavPath], ResourceState]:
        asks_for_locks = self.preconditions.if_ is not None or self.preconditions.lock_token is not None

        def state_of(path: DavPath) -> ResourceState:
            found = node if path == self.request.path else None
            try:
                path = self.shares.locate(path)
                share = self.shares.of(path)
            except _NO_RESOURCE:
                return UNMAPPED
            if path != self.request.path and not is_visible(self.request, path):
                return UNMAPPED  # what may not be known about is not there
            tokens = frozenset[str]()
            if asks_for_locks:
                # RFC 4918 §10.4.4: a state token matches whoever holds the lock; whether it may be used is another
                # question.
                locks = view.covering(path) if view is not None and view.knows(path) else share.locks.covering(path)
                tokens = frozenset(lock.token for lock in locks)
                if forgiven is not None and covers(forgiven, path):
                    tokens |= {forgiven.token}
            with suppress(*_NO_RESOURCE):
                found = share.tree.stat(path) if found is None else found
            if found is None:
                return ResourceState(False, None, tokens, None)
            return ResourceState(True, None if found.is_collection else found.etag, tokens, found.last_modified)

        return state_of


def _respelt() -> Unavailable:
    return Unavailable("Somebody has just changed what this name means; try again.", retry_after=1)


#: What comes of a path that an If header may name although no resource can have it: it must not decide the answer.
_NO_RESOURCE = (NotFound, Forbidden, UriTooLong, BadRequest)
#: A LOCK on what is there writes nothing.
_NOTHING = Claim()


class Passage:
    """What a method holds between the check and the change."""

    def __init__(self, guard: Guard, hold: LockHold, led: Led = NOTHING) -> None:
        """`led`: from the reserved paths."""
        self._guard, self._led = guard, led
        self.hold = hold

    def check(self, claim: Claim) -> None:
        """Decide against now. Raises Locked, PreconditionFailed; returning is the proof `hold` carries."""
        if claim == _NOTHING and self._guard.preconditions is conditions.UNCONDITIONAL:
            return
        guard = self._guard
        whole = with_led(guard.request, guard.shares, claim, self._led)
        view = guard.share.locks.view(whole)
        forgiven = guard.decide(view, lambda: self.hold.check(whole, view))
        self.hold.settle(claim, view, forgiven)


def writing(path: DavPath, node: Node | None) -> Claim:
    """To write `path`, where `node` is now: a new resource is also a new member of its parent (RFC 4918 §7.4)."""
    return Claim(writes=(path,), members_of=(path.parent,) if node is None and not path.is_root else ())


def require_parent(share: Share, path: DavPath) -> None:
    """RFC 4918 §9.3.1, §9.7.1, §9.8.5: without its parent collection a resource cannot be made: 409."""
    parent = None if path == share.at else share.tree.stat(path.parent)
    if parent is None or not parent.is_collection:
        raise Conflict("The parent collection does not exist; create it with MKCOL first.", paths=[path])


def require_removable(shares: Shares, path: DavPath) -> None:
    """A share is configuration: it cannot be deleted, moved or overwritten, nor a folder that holds one."""
    if shares.mounted_below(path):
        raise Forbidden("A share is mounted here; it cannot be removed or replaced.", paths=[path])


def require_writable(share: Share, path: DavPath) -> None:
    if share.is_way:
        raise Forbidden("No share is mounted here, so nothing can be kept here.", paths=[path])
    if share.read_only:
        raise Forbidden("This share is read-only.", paths=[path])
