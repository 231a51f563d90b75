"""PROPFIND and PROPPATCH.

A listing costs one scandir, one query for dead properties and one for locks, whatever the number of
members, and is sent while it is read: memory does not grow with the folder.
"""

from __future__ import annotations

from collections.abc import Iterator

from davserver.methods.guard import Guard
from davserver.methods.listing import Listing
from davserver.protocol import properties, xml, xml_out
from davserver.protocol.errors import Forbidden, NotFound
from davserver.protocol.headers import parse_depth
from davserver.protocol.locks import Claim, Depth
from davserver.protocol.messages import Request, Response
from davserver.protocol.paths import DavPath, quote_name
from davserver.protocol.properties import PropName
from davserver.storage.node import Node
from davserver.storage.share import Shares

HEADERS = (("Content-Type", "application/xml; charset=utf-8"), ("Cache-Control", "no-store"))


def propfind(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.1. A missing resource is a plain 404: LibreOffice and Nautilus fail on a 207 that holds one."""
    depth = parse_depth(request.headers.get("Depth"), Depth.INFINITY)
    guard = Guard(request, shares)
    share = guard.share
    wanted = xml.parse_propfind(xml.read_body(request.body, share.xml_limit))
    node = guard.existing()
    guard.fresh()
    if depth is Depth.INFINITY and node.is_collection and not share.propfind_infinity:
        raise Forbidden("List one level at a time (Depth: 1).", element="propfind-finite-depth")
    listing = Listing(request, shares, wanted, depth, minimal=False)
    top = DavPath(request.path.segments)
    href = request.path.href(request.prefix, collection=node.is_collection)
    members = listing.members(top, href) if depth is not Depth.ZERO and node.is_collection else iter(())
    return Response(207, HEADERS, xml_out.multistatus(_responses(listing, top, href, members, depth)))


Members = Iterator[tuple[str, Node, bytes]]


def _responses(listing: Listing, top: DavPath, href: str, members: Members, depth: Depth) -> Iterator[bytes]:
    """The resource itself first, then what is below it."""
    yield from listing.itself(top, href)
    todo = []
    collection, base = top, href
    while True:
        for name, node, response in members:
            yield response
            if depth is Depth.INFINITY and node.is_collection:
                todo.append((collection.child(name), base + quote_name(name) + "/"))
        if not todo:
            return
        collection, base = todo.pop()
        try:
            members = listing.members(collection, base)
        except (NotFound, Forbidden):
            members = iter(())  # gone meanwhile, or not ours to read: it has been named, its members cannot be


def proppatch(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.2: all instructions in document order, or none. Depth means nothing here and is not looked at."""
    guard = Guard(request, shares)
    path, share = request.path, guard.share
    guard.existing()
    claim = Claim(writes=(path,))
    guard.look(claim)
    update = xml.parse_propertyupdate(xml.read_body(request.body, share.xml_limit))
    with guard.enter(path) as passage:
        node = guard.existing()
        passage.check(claim)
        plan = properties.plan(update)
        if plan.ok:
            with share.state.transaction():
                share.properties.patch(passage.hold, path, plan.changes)
                if plan.mtime is not None:
                    share.tree.set_mtime(passage.hold, path, plan.mtime)
    href = path.href(request.prefix, collection=node.is_collection)
    other: dict[tuple[int, str | None], list[PropName]] = {}
    for outcome in plan.outcomes:
        other.setdefault((outcome.status, outcome.element), []).append(outcome.name)
    groups = [(status, element, names) for (status, element), names in other.items()]
    response = xml_out.propstat_response(href, b"", other=groups)
    return Response(207, HEADERS, b"".join(xml_out.multistatus([response])))
