"""PUT, MKCOL and DELETE: one resource made, replaced or removed."""

from __future__ import annotations

import math

from davserver.methods.guard import Guard, require_parent, require_removable, writing
from davserver.protocol.errors import BadRequest, MethodNotAllowed, UnsupportedMediaType
from davserver.protocol.headers import format_http_date, parse_depth
from davserver.protocol.locks import Claim, Depth
from davserver.protocol.messages import Request, Response
from davserver.storage.node import AlreadyThere, Node
from davserver.storage.share import Shares

COLLECTION_METHODS = (
    "OPTIONS", "GET", "HEAD", "DELETE", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK",
)  # fmt: skip
FILE_METHODS = (*COLLECTION_METHODS, "PUT")
UNMAPPED_METHODS = ("OPTIONS", "PUT", "MKCOL", "LOCK")


def put(request: Request, shares: Shares) -> Response:
    """RFC 9110 §9.3.4, RFC 4918 §9.7. 201 or 204 with the new ETag; the body becomes visible whole or not at all."""
    if "Content-Range" in request.headers:
        # RFC 9110 §14.5: a partial PUT that is not understood as one must not replace the whole.
        raise BadRequest("PUT replaces the whole file; Content-Range is not supported here.")
    guard = Guard(request, shares)
    path, tree = request.path, guard.share.tree
    node = _target_of_put(guard)
    guard.look(writing(path, node))
    mtime = _wanted_mtime(request)
    with tree.stage(path, request.body, expected=_expected_length(request)) as staged:
        while True:
            with guard.enter(path) as passage:
                node = _target_of_put(guard)
                passage.check(writing(path, node))
                try:
                    written = staged.commit(passage.hold, path, replace=node is not None, mtime=mtime)
                except AlreadyThere:
                    continue  # somebody who does not pass the guard (a shell, a backup) made it first
                if node is None:
                    guard.share.properties.remove(passage.hold, path)
                break
    headers = [("ETag", str(written.etag)), ("Last-Modified", format_http_date(written.last_modified))]
    if mtime is not None:
        headers.append(("X-OC-Mtime", "accepted"))
    return Response(201 if node is None else 204, tuple(headers))


def mkcol(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.3."""
    guard = Guard(request, shares)
    path, share = request.path, guard.share
    claim = writing(path, None)

    def require_unmapped() -> None:
        node = share.tree.stat(path)
        if node is not None:
            raise _exists(node)
        require_parent(share, path)

    require_unmapped()
    guard.look(claim)
    # RFC 4918 §9.3.1: a body that is not understood is 415. A chunked body shows only by being read.
    if request.body.length != 0 and request.body.read(1):
        raise UnsupportedMediaType("MKCOL with a body is not supported; send it without one.")
    with guard.enter(path) as passage:
        require_unmapped()
        passage.check(claim)
        try:
            share.tree.create_collection(passage.hold, path)
        except AlreadyThere as error:
            raise MethodNotAllowed("There is a resource at this path already.", COLLECTION_METHODS) from error
        share.properties.remove(passage.hold, path)
    return Response(201)


def delete(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.6: all or nothing. One plain 423 names every lock in the way; nothing is half deleted."""
    guard = Guard(request, shares)
    path, share = request.path, guard.share
    node = guard.existing()
    if node.is_collection and parse_depth(request.headers.get("Depth"), Depth.INFINITY) is not Depth.INFINITY:
        # RFC 4918 §9.6.1: DELETE on a collection acts as if Depth were infinity; another wish cannot be met.
        raise BadRequest("A collection can be deleted with Depth: infinity only.")
    require_removable(shares, path)
    claim = Claim(trees=(path,), members_of=(path.parent,))
    guard.look(claim)
    with guard.enter(path) as passage:
        guard.existing()
        passage.check(claim)
        with share.state.transaction():
            share.properties.remove(passage.hold, path)
            share.locks.forget(passage.hold, path)  # RFC 4918 §9.6: locks rooted on it end with it
            removed = share.tree.remove(passage.hold, path)
    removed.empty()
    return Response(204)


def _target_of_put(guard: Guard) -> Node | None:
    path = guard.request.path
    node = guard.share.tree.stat(path)
    if node is not None and (node.is_collection or path.slash):
        raise _exists(node)
    if node is None:
        require_parent(guard.share, path)
        if path.slash:
            raise MethodNotAllowed("A collection is made with MKCOL.", UNMAPPED_METHODS)
    return node


def _exists(node: Node) -> MethodNotAllowed:
    kind, allow = ("collection", COLLECTION_METHODS) if node.is_collection else ("file", FILE_METHODS)
    return MethodNotAllowed(f"There is a {kind} at this path already.", allow)


def _expected_length(request: Request) -> int | None:
    """X-Expected-Entity-Length: what the macOS WebDAV file system announces beside a chunked body."""
    value = request.headers.get("X-Expected-Entity-Length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None


def _wanted_mtime(request: Request) -> int | None:
    """X-OC-Mtime (rclone, gvfs, ownCloud clients): seconds since the epoch; what is no time is ignored."""
    try:
        seconds = float(request.headers.get("X-OC-Mtime", "nan"))
    except ValueError:
        return None
    return math.floor(seconds) if 0 <= seconds < 1 << 34 else None
