"""PROPFIND and PROPPATCH.

A listing costs one scandir, one query for dead properties and one for locks, whatever the number of
members, and is sent while it is read: memory does not grow with the folder.
"""

from __future__ import annotations

from collections.abc import Iterator

from davserver.methods.guard import Guard
from davserver.methods.listing import Listing
from davserver.protocol import properties, xml, xml_out
from davserver.protocol.errors import Forbidden
from davserver.protocol.headers import parse_depth
from davserver.protocol.locks import Claim, Depth
from davserver.protocol.messages import Request, Response
from davserver.protocol.paths import DavPath
from davserver.protocol.properties import PropName
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
    if not node.is_collection:
        depth = Depth.ZERO  # rclone and gvfs ask for the members of files
    listing = Listing(request, shares, wanted, depth)
    return Response(207, HEADERS, xml_out.multistatus(_responses(listing, DavPath(request.path.segments), depth)))


def _responses(listing: Listing, top: DavPath, depth: Depth) -> Iterator[bytes]:
    """The resource itself first, then what is below it."""
    todo = [top]
    yield from listing.itself(top)
    while todo and depth is not Depth.ZERO:
        collection = todo.pop()
        for resource, response in listing.members(collection):
            yield response
            if depth is Depth.INFINITY and resource.node.is_collection:
                todo.append(resource.path)


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
