"""PROPFIND and PROPPATCH.

A listing costs one scandir, one query for dead properties and one for locks, whatever the number of
members, and is sent while it is read: memory does not grow with the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from davserver.methods.guard import Guard
from davserver.methods.listing import Block, Listing
from davserver.methods.permits import require_content
from davserver.methods.write import grouped
from davserver.protocol import properties, xml, xml_out
from davserver.protocol.errors import Forbidden, NotFound
from davserver.protocol.headers import parse_depth, parse_preferences
from davserver.protocol.locks import Claim, Depth
from davserver.protocol.messages import Request, Response
from davserver.protocol.paths import DavPath, quote_name
from davserver.storage import changes
from davserver.storage.share import Shares

HEADERS = (("Content-Type", "application/xml; charset=utf-8"), ("Cache-Control", "no-store"))


def propfind(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.1. A missing resource is a plain 404: LibreOffice and Nautilus fail on a 207 that holds one."""
    guard = Guard(request, shares)
    share = guard.share
    # §9.1: without a Depth it SHOULD be infinity. Where that would be refused it is one level, as with Nextcloud, or
    # Python's webdav4 could not find out whether a folder exists.
    depth = parse_depth(request.headers.get("Depth"), Depth.INFINITY if share.limits.propfind_infinity else Depth.ONE)
    guard.require_readable(request.path, below=depth is Depth.INFINITY)
    preferences = parse_preferences(request.headers.get("Prefer"), request.headers.get("Brief"))
    wanted = xml.parse_propfind(xml.read_body(request.body, share.limits.xml))
    node = guard.existing()
    require_content(request, request.path, node)
    guard.fresh(node)
    if depth is Depth.INFINITY and node.is_collection and not share.limits.propfind_infinity:
        raise Forbidden("List one level at a time (Depth: 1).", element="propfind-finite-depth")
    listing = Listing(request, shares, wanted, depth, minimal=preferences.minimal)
    top = DavPath(request.path.segments)
    href = request.shown.href(request.prefix, collection=node.is_collection)
    deep = depth is not Depth.ZERO and node.is_collection
    responses = iter([] if deep and preferences.noroot else [listing.itself(top, href, node).encode()])
    if deep:
        members = listing.members(top, href)
        if depth is Depth.ONE:
            responses = chain(responses, ("".join(block.responses).encode() for block in members))
        else:
            limit = share.limits.propfind_resources
            responses = chain(responses, _all_below(listing, top, href, members, limit))
    return Response(207, (*HEADERS, *preferences.applied), xml_out.multistatus(responses))


def _all_below(listing: Listing, top: DavPath, href: str, members: Iterator[Block], limit: int) -> Iterator[bytes]:
    """Everything below `top`, folder by folder; links to folders are named, not entered.

    After `limit` resources the answer ends, and says so as RFC 6578 §3.6 does.
    """
    collection, base, todo = top, href, list[tuple[DavPath, str]]()
    while True:
        for responses, folders in members:
            yield "".join(responses[:limit]).encode()
            if len(responses) > limit:
                yield xml_out.status_response(href, 507, xml_out.error_element("number-of-matches-within-limits"))
                return
            limit -= len(responses)
            todo += [(collection.child(name), base + quote_name(name) + "/") for name in folders]
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
    update = xml.parse_propertyupdate(xml.read_body(request.body, share.limits.xml))
    if properties.are_windows_attributes(update):
        guard.submit_own(path)
    guard.look(claim)
    plan = properties.plan(update, limit=share.limits.property)
    with guard.enter(path) as passage:
        node = guard.existing()
        passage.check(claim)
        if plan.ok:
            changes.patch(shares, passage.hold, path, plan.changes, plan.mtime)
    preferences = parse_preferences(request.headers.get("Prefer"), request.headers.get("Brief"))
    if plan.ok and preferences.minimal:
        return Response(200, preferences.applied)  # RFC 8144 §2.2
    href = request.shown.href(request.prefix, collection=node.is_collection)
    response = xml_out.propstat_response(href, b"", other=grouped(plan))
    return Response(207, HEADERS, b"".join(xml_out.multistatus([response])))
