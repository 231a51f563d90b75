"""LOCK and UNLOCK."""

from __future__ import annotations

from collections.abc import Sequence

from davserver.methods.guard import Guard, Passage, require_parent, writing
from davserver.protocol import xml, xml_out
from davserver.protocol.errors import BadRequest, Conflict, LockConflict, Locked, PreconditionFailed
from davserver.protocol.headers import accepts, parse_depth, parse_lock_token, parse_timeout
from davserver.protocol.locks import Claim, Depth, Lock, LockRequest, covers
from davserver.protocol.messages import Request, Response
from davserver.protocol.paths import DavPath
from davserver.storage import changes
from davserver.storage.node import AlreadyThere, Node
from davserver.storage.share import Shares

XML = ("Content-Type", "application/xml; charset=utf-8")


def lock(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.10. With a body: a new lock (201 when it made the resource). Without one: a refresh."""
    depth = parse_depth(request.headers.get("Depth"), Depth.INFINITY)
    if depth is Depth.ONE:
        raise BadRequest("LOCK takes Depth: 0 or infinity.")  # RFC 4918 §9.10.3
    guard = Guard(request, shares)
    data = xml.read_body(request.body, guard.share.limits.xml)
    wishes = parse_timeout(request.headers.get("Timeout"))
    if not data:
        return _refresh(guard, wishes)
    guard.fresh()
    _target(guard)
    with guard.enter(request.path) as passage:
        while True:
            node = _target(guard)
            _check(passage, request.path, node)
            try:
                granted = _acquire(passage, guard, node, depth, xml.parse_lockinfo(data), wishes)
            except AlreadyThere:
                continue  # somebody who does not pass the guard made the file first: lock that one
            except LockConflict as conflict:
                if _is_below(request.path, conflict) and _prefers_xml(request):
                    return _conflict_below(request, conflict)
                raise
            token = ("Lock-Token", f"<{granted.token}>")
            return _answer(guard, granted, 201 if node is None else 200, token)


def unlock(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.11. The URL may be any that the lock covers."""
    token = parse_lock_token(request.headers.get("Lock-Token"))
    guard = Guard(request, shares)
    guard.fresh()
    guard.share.locks.release(request.path, token, request.principal, request.now)
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


def _check(passage: Passage, path: DavPath, node: Node | None) -> None:
    """A new file is a new member of its parent, whose lock must be passed (RFC 4918 §7.4, §9.10.4)."""
    try:
        passage.check(writing(path, None) if node is None else Claim())
    except Locked as locked:
        if any(covers(lock, path) for lock in locked.locks):
            raise LockConflict(path, locked.locks) from locked
        raise


def _acquire(
    passage: Passage,
    guard: Guard,
    node: Node | None,
    depth: Depth,
    info: xml.LockInfo,
    wishes: Sequence[int | None],
) -> Lock:
    """Store the lock and, on an unmapped URL, make the file: both or neither. Raises LockConflict, AlreadyThere."""
    request, share, hold = guard.request, guard.share, passage.hold
    wanted = LockRequest(
        root=DavPath(request.path.segments, node is not None and node.is_collection),
        # A file has no members; Explorer sends no Depth at all when it locks one.
        depth=depth if node is not None and node.is_collection else Depth.ZERO,
        scope=info.scope,
        principal=request.principal,
        owner=info.owner,
        timeout=share.locks.policy.grant(wishes),
        client_address=request.client.address,
        client_agent=request.client.agent,
    )
    if node is not None:
        return share.locks.acquire(hold, wanted, request.now)
    granted: list[Lock] = []

    def rows() -> str:
        granted.append(share.locks.acquire(hold, wanted, request.now))
        return granted[0].token

    changes.create(guard.shares, hold, request.path, lambda spot: share.tree.create_empty(hold, spot), rows)
    return granted[0]


def _refresh(guard: Guard, wishes: Sequence[int | None]) -> Response:
    """RFC 4918 §9.10.2: the same token, its time anew; for the lock's own principal only (§6.4)."""
    request, header = guard.request, guard.preconditions.if_
    if header is None or len(header.tokens) != 1:
        raise BadRequest("A LOCK without a body refreshes a lock: name its token, and only that, in an If header.")
    (token,) = header.tokens
    locks = guard.share.locks
    held = [lock for lock in locks.covering(request.path, request.now) if lock.token == token]
    if not held or held[0].principal != request.principal:
        # RFC 4918 §9.10.6, §16.
        raise PreconditionFailed(
            "There is no such lock of yours on this resource; lock it anew.",
            element="lock-token-matches-request-uri",
            paths=[request.path],
        )
    guard.fresh()
    timeout = locks.policy.grant(wishes) if wishes else _granted_time(held[0])
    refreshed = locks.refresh(request.path, token, request.principal, timeout, request.now)
    return _answer(guard, refreshed, 200)


def _granted_time(lock: Lock) -> int:
    return round((lock.expires or 0) - lock.refreshed)


def _answer(guard: Guard, lock: Lock, status: int, *headers: tuple[str, str]) -> Response:
    """RFC 4918 §9.10.1: the body is the DAV:lockdiscovery of the lock, from the very value that was stored."""
    request = guard.request

    def root(held: Lock) -> str:
        # LibreOffice takes the last href for the resource's: it must be the spelling that was asked for.
        asked = request.shown if held.root == request.path else held.root
        return asked.href(request.prefix, collection=held.root.slash)

    discovery = xml_out.lockdiscovery([lock], request.principal, request.now, root, request.client.agent)
    body = xml_out.prop_response(discovery)
    return Response(status, (*headers, XML, ("Cache-Control", "no-store")), body)


def _is_below(path: DavPath, conflict: LockConflict) -> bool:
    return all(lock.root != path and path.contains(lock.root) for lock in conflict.locks)


def _prefers_xml(request: Request) -> bool:
    offers = ("application/xml", "application/json", "text/html")
    return accepts(request.headers.get("Accept"), offers) == offers[0]


def _conflict_below(request: Request, conflict: LockConflict) -> Response:
    """RFC 4918 §9.10.3: members stand in the way of a depth-infinity lock: 207 names each of them,
    and the Request-URI as failed because of them (424)."""
    hrefs = list(dict.fromkeys(lock.href(request.prefix) for lock in conflict.locks))
    error = xml_out.error_element("no-conflicting-lock", hrefs)
    responses = [xml_out.status_response(href, 423, error) for href in hrefs]
    responses.append(xml_out.status_response(request.path.href(request.prefix, collection=True), 424))
    return Response(207, (XML,), b"".join(xml_out.multistatus(responses)))
