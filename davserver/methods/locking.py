"""LOCK and UNLOCK."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from davserver.methods.guard import Guard, Passage, require_parent, writing
from davserver.methods.permits import require_change, require_permission, require_tree
from davserver.protocol import xml, xml_out
from davserver.protocol.errors import BadRequest, Conflict, LockConflict, Locked, NotFound, PreconditionFailed
from davserver.protocol.headers import accepts, parse_depth, parse_lock_token, parse_timeout
from davserver.protocol.locked import MAX_NAMED, locked_element
from davserver.protocol.locks import Claim, Depth, Kind, Lock, LockRequest, covers
from davserver.protocol.messages import Action, Request, Response
from davserver.protocol.paths import DavPath
from davserver.storage import changes
from davserver.storage.lock_hold import View
from davserver.storage.lock_keeper import LockKeeper
from davserver.storage.node import AlreadyThere, Node
from davserver.storage.share import Shares
from davserver.storage.staged import StagedFile

XML = ("Content-Type", "application/xml; charset=utf-8")


def lock(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.10. With a body: a new lock (201 when it made the resource). Without one: a refresh."""
    guard = Guard(request, shares)
    _require_no_file(guard)
    data = xml.read_body(request.body, guard.share.limits.xml)
    wishes = parse_timeout(request.headers.get("Timeout"))
    if not data:
        return _refresh(guard, wishes)  # whatever Depth says: §9.10.2
    depth = parse_depth(request.headers.get("Depth"), Depth.INFINITY)
    if depth is Depth.ONE:
        raise BadRequest("LOCK takes Depth: 0 or infinity.")  # RFC 4918 §9.10.3
    guard.fresh()
    info = xml.parse_lockinfo(data, guard.share.locks.policy.owner_limit)

    def take(passage: Passage) -> tuple[Lock, int]:
        while True:
            node = _target(guard)
            _require_lockable(guard, node, depth)
            if node is None:
                passage.hold.require_settled()
            _check(passage, request.path, node)
            wanted = _wanted(guard, node, depth, info, wishes)
            if node is not None:
                return guard.share.locks.acquire(passage.hold, wanted), 200
            # Where somebody who does not pass the guard makes the file first, that one is locked.
            with suppress(AlreadyThere):
                return _make(passage, guard, wanted), 201

    try:
        granted, status = guard.enter_to_lock(request.path, take)
    except LockConflict as conflict:
        if _is_below(request.path, conflict) and _prefers_xml(request):
            return _conflict_below(guard, conflict)
        raise
    return _answer(guard, granted, status, ("Lock-Token", f"<{granted.token}>"))


def unlock(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.11. The URL may be any that the lock covers."""
    token = parse_lock_token(request.headers.get("Lock-Token"))
    guard = Guard(request, shares)
    share = guard.share
    _require_no_file(guard)
    guard.fresh()
    if not share.locks.release_own(request.path, token, request.principal):
        released = share.locks.release(request.path, token, request.principal)
        if released.made is not None:
            LockKeeper(shares).tidy_if_possible(released)
    return Response(204)


def _target(guard: Guard) -> Node | None:
    """What the lock is for; None: an unmapped URL, where an empty file will be made (RFC 4918 §7.3)."""
    path = guard.request.path
    node = guard.share.tree.stat(path)
    if node is None:
        require_parent(guard.share, path)
        if path.slash:
            raise Conflict("There is no collection at this path; create it with MKCOL first.", paths=[path])
    return node


def _require_lockable(guard: Guard, node: Node | None, depth: Depth) -> None:
    """A lock keeps others from changing it: that is for those who may change it themselves, all of it. Not for those
    who may only put something into a folder."""
    request = guard.request
    if node is None or not node.is_collection:
        require_change(request, request.path, node)
    elif depth is Depth.INFINITY:
        require_tree(request, guard.shares, request.path, node, Action.LOCK, Action.WRITE)
    else:
        require_permission(request, request.path, Action.WRITE)


def _require_no_file(guard: Guard) -> None:
    """Where the URL means a collection. What has gone may have left a lock, which is another matter."""
    path = guard.request.path
    node = guard.share.tree.stat(path) if path.slash else None
    if node is not None and not node.is_collection:
        raise NotFound("There is a file at this path, and no collection; leave out the slash at its end.")


def _check(passage: Passage, path: DavPath, node: Node | None) -> None:
    """A new file is a new member of its parent, whose lock must be passed (RFC 4918 §7.4, §9.10.4)."""
    try:
        passage.check(writing(path, None) if node is None else Claim())
    except Locked as locked:
        if any(covers(lock, path) for lock in locked.locks):
            raise LockConflict(path, locked.locks) from locked
        raise


def _wanted(
    guard: Guard, node: Node | None, depth: Depth, info: xml.LockInfo, wishes: Sequence[int | None]
) -> LockRequest:
    request, is_collection = guard.request, node is not None and node.is_collection
    return LockRequest(
        root=DavPath(request.path.segments, is_collection),
        # A file has no members; Explorer sends no Depth at all when it locks one.
        depth=depth if is_collection else Depth.ZERO,
        scope=info.scope,
        principal=request.principal,
        owner=info.owner,
        timeout=guard.share.locks.policy.grant(wishes),
        client_address=request.client.address,
        client_agent=request.client.agent,
    )


def _make(passage: Passage, guard: Guard, wanted: LockRequest) -> Lock:
    """On an unmapped URL: the lock, and an empty file (RFC 4918 §7.3). Raises LockConflict, AlreadyThere.

    The lock is stored first. It knows the file, which is there already but has no name yet: so a server that is
    killed in between leaves no file that belongs to no lock.
    """
    share, hold, path = guard.share, passage.hold, wanted.root
    granted: list[Lock] = []
    with share.tree.spot(path) as spot, StagedFile(share.tree, spot) as staged:
        made = staged.seal().tag if share.locks.policy.remove_empty_files else None

        def rows() -> str:
            granted.append(share.locks.acquire(hold, wanted, made=made))
            return granted[0].token

        changes.create(guard.shares, hold, path, lambda spot: staged.commit(hold, spot, replace=False), rows)
    return granted[0]


def _refresh(guard: Guard, wishes: Sequence[int | None]) -> Response:
    """RFC 4918 §9.10.2: the same token, its time anew; for the lock's own principal only (§6.4)."""
    request, header = guard.request, guard.preconditions.if_
    if header is None or len(header.tokens) != 1:
        raise BadRequest("A LOCK without a body refreshes a lock: name its token, and only that, in an If header.")
    (token,) = header.tokens
    locks = guard.share.locks
    view = locks.around(request.path)
    held = next((lock for lock in view.covering(request.path) if lock.token == token), None)
    if held is None or held.principal != request.principal:
        raise _no_such_lock(guard, view, token)
    guard.fresh(view=view)
    timeout = None if held.granted is None else round(held.granted)
    # What a person or a program has said how long it is to last is not cut short by a client that finds its token.
    if wishes and held.kind is Kind.WRITE:
        timeout = locks.policy.grant(wishes)
    try:
        refreshed = locks.refresh(request.path, token, request.principal, timeout)
    except PreconditionFailed as refused:  # it has ended in this very moment
        raise _no_such_lock(guard, locks.around(request.path), token) from refused
    return _answer(guard, refreshed, 200)


def _no_such_lock(guard: Guard, view: View, token: str) -> PreconditionFailed:
    """RFC 4918 §9.10.6, §16. Its holder is told what became of it."""
    path, principal = guard.request.path, guard.request.principal
    refused = PreconditionFailed(
        "There is no such lock of yours on this resource; lock it anew.",
        element="lock-token-matches-request-uri",
        paths=[path],
    )
    ended = (lock for lock in view.ended if lock.token == token and lock.principal == principal)
    refused.lost = next(ended, None)
    return refused


def _answer(guard: Guard, lock: Lock, status: int, *headers: tuple[str, str]) -> Response:
    """RFC 4918 §9.10.1: the body is the DAV:lockdiscovery of the lock, from the very value that was stored."""
    request = guard.request

    def root(held: Lock) -> str:
        # LibreOffice takes the last href for the resource's: it must be the spelling that was asked for.
        asked = request.shown if held.root == request.path else held.root
        return asked.href(request.prefix, collection=held.root.slash)

    discovery = xml_out.lockdiscovery([lock], guard.viewer, guard.share.locks.now(), root)
    body = xml_out.prop_response(discovery)
    return Response(status, (*headers, XML, ("Cache-Control", "no-store")), body)


def _is_below(path: DavPath, conflict: LockConflict) -> bool:
    return all(lock.root != path and path.contains(lock.root) for lock in conflict.locks)


def _prefers_xml(request: Request) -> bool:
    offers = ("application/xml", "application/json", "text/html")
    return accepts(request.headers.get("Accept"), offers) == offers[0]


def _conflict_below(guard: Guard, conflict: LockConflict) -> Response:
    """RFC 4918 §9.10.3: members stand in the way of a depth-infinity lock: 207 names each of them with what a 423
    of its own would say, and the Request-URI as failed because of them (424)."""
    request, now, prefix = guard.request, guard.share.locks.now(), guard.request.prefix
    responses = [
        xml_out.status_response(
            member.locks[0].href(prefix), member.status, locked_element(member, guard.viewer, now, prefix)
        )
        for member in conflict.by_root()[:MAX_NAMED]
    ]
    responses.append(xml_out.status_response(request.path.href(prefix, collection=True), 424))
    return Response(207, (XML,), b"".join(xml_out.multistatus(responses)))
