"""PUT, MKCOL and DELETE: one resource made, replaced or removed."""

from __future__ import annotations

from davserver.methods.guard import Guard, require_removable, writing
from davserver.methods.permits import require_change, require_tree
from davserver.methods.upload import Upload, wanted_mtime, written
from davserver.protocol import properties, xml, xml_out
from davserver.protocol.errors import BadRequest, MethodNotAllowed, NotFound, UnsupportedMediaType
from davserver.protocol.headers import parse_depth
from davserver.protocol.locks import Claim, Depth
from davserver.protocol.messages import Action, Request, Response
from davserver.protocol.properties import RESOURCETYPE, Outcome, Plan
from davserver.storage import changes
from davserver.storage.node import AlreadyThere, Node
from davserver.storage.share import Share, Shares
from davserver.storage.staged import StagedFile
from davserver.storage.tree import Spot

COLLECTION_METHODS = (
    "OPTIONS", "GET", "HEAD", "DELETE", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK",
)  # fmt: skip
FILE_METHODS = (*COLLECTION_METHODS, "PUT", "PATCH")
UNMAPPED_METHODS = ("OPTIONS", "PUT", "MKCOL", "LOCK")
#: Where nothing is and the URL ends in a slash; and where a file is, which has no such URL.
UNMAPPED_COLLECTION_METHODS = ("OPTIONS", "MKCOL")
NO_METHODS = ("OPTIONS",)

_XML = ("application/xml", "text/xml")


def put(request: Request, shares: Shares) -> Response:
    """RFC 9110 §9.3.4, RFC 4918 §9.7. 201 or 204 with the new ETag; the body becomes visible whole or not at all.

    What is still on its way is taken in before paths are reserved, after an early look. What is here already, a small
    body, is written down in no time: all of it is done in one go.
    """
    if "Content-Range" in request.headers:
        # RFC 9110 §14.5: a partial PUT that is not understood as one must not replace the whole.
        raise BadRequest("PUT replaces the whole file; send a part of it with PATCH and X-Update-Range.")
    guard = Guard(request, shares)
    path, share = request.path, guard.share
    if path == share.at:
        raise _exists(guard.existing())
    mtime = wanted_mtime(request)
    content: _Content | None = None
    if not request.body.is_here:
        with share.tree.spot(path) as spot:
            node = _replaceable(request, spot.node)
            guard.look(writing(path, node))
            content = _Content(request, share, spot)
        content.receive()
    try:
        while True:
            with guard.enter(path) as passage, share.tree.spot(path) as spot:
                node = _replaceable(request, spot.node)
                passage.check(writing(path, node))
                if content is None:
                    content = _Content(request, share, spot)
                    content.receive()
                if node is None:
                    # Of what was there before and went behind the server's back. Before the file is: a crash in between
                    # leaves nothing that is wrong.
                    share.properties.remove(passage.hold, path)
                try:
                    with share.charged(content.size - (0 if node is None else node.size)):
                        new = content.staged.commit(passage.hold, spot, replace=node is not None, mtime=mtime)
                except AlreadyThere:
                    continue  # somebody who does not pass the guard (a shell, a backup) made it first
                return written(new, created=node is None, mtime=mtime, now=request.now)
    finally:
        if content is not None:
            content.staged.discard()


class _Content:
    """What a PUT brings, made aside for `spot`."""

    def __init__(self, request: Request, share: Share, spot: Spot) -> None:
        self._upload = Upload(request, share, spot.node)
        self.staged = StagedFile(share.tree, spot)

    @property
    def size(self) -> int:
        return self._upload.size

    def receive(self) -> None:
        try:
            self.staged.receive(self._upload)
        except BaseException:
            self.staged.discard()
            raise


def mkcol(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.3, and RFC 5689: with a body it sets properties of the new collection, all of them or none."""
    guard = Guard(request, shares)
    path, share = request.path, guard.share
    claim = writing(path, None)

    def require_unmapped() -> None:
        node = share.tree.look(path).node
        if node is not None:
            raise _exists(node)

    require_unmapped()
    guard.look(claim)
    plan = _properties_of_new(request, guard)
    if not plan.ok:
        return Response(403, (_XML_ANSWER,), xml_out.mkcol_response(grouped(plan)))
    with guard.enter(path) as passage:
        require_unmapped()
        passage.check(claim)

        def rows() -> str:
            share.properties.patch(passage.hold, path, plan.changes)
            return ""

        try:
            if plan.changes:
                changes.create(
                    shares, passage.hold, path, lambda spot: share.tree.create_collection(passage.hold, spot), rows
                )
            else:
                share.properties.remove(passage.hold, path)
                with share.tree.spot(path) as spot:
                    share.tree.create_collection(passage.hold, spot)
        except AlreadyThere as error:
            raise MethodNotAllowed("There is a resource at this path already.", COLLECTION_METHODS) from error
    return Response(201)


def delete(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.6: all or nothing. One plain 423 names every lock in the way; nothing is half deleted.

    The space is given back before the answer, outside of the hold: who deletes in order to upload finds it free.
    """
    guard = Guard(request, shares)
    path, share = request.path, guard.share
    node = guard.existing()
    if node.is_collection and parse_depth(request.headers.get("Depth"), Depth.INFINITY) is not Depth.INFINITY:
        # RFC 4918 §9.6.1: DELETE on a collection acts as if Depth were infinity; another wish cannot be met.
        raise BadRequest("A collection can be deleted with Depth: infinity only.")
    require_removable(shares, path)
    with guard.enter(path) as passage:
        require_tree(request, shares, path, guard.existing(), Action.DELETE)
        passage.check(Claim(trees=(path,), members_of=(path.parent,)))
        removed = changes.delete(shares, passage.hold, path)
    share.give_back(removed.empty())
    return Response(204)


_XML_ANSWER = ("Content-Type", "application/xml; charset=utf-8")


def grouped(plan: Plan) -> list[tuple[int, str | None, list[properties.PropName]]]:
    """The outcomes of a plan, those of one kind together."""
    groups: dict[tuple[int, str | None], list[properties.PropName]] = {}
    for outcome in plan.outcomes:
        groups.setdefault((outcome.status, outcome.element), []).append(outcome.name)
    return [(status, element, names) for (status, element), names in groups.items()]


def _properties_of_new(request: Request, guard: Guard) -> Plan:
    """What the body of a MKCOL asks for. Raises UnsupportedMediaType (RFC 4918 §9.3.1) for one that is no DAV:mkcol."""
    limits = guard.share.limits
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if request.body.length != 0 and kind not in _XML:
        # A chunked body shows only by being read.
        if request.body.read(1):
            raise UnsupportedMediaType("MKCOL takes no body, or an XML one with a DAV: mkcol element.")
        return Plan(())
    data = xml.read_body(request.body, limits.xml)
    if not data:
        return Plan(())
    update, plain = xml.parse_mkcol(data)
    refused = () if plain else (Outcome(RESOURCETYPE, 403, "valid-resourcetype"),)  # RFC 5689 §3.3
    return properties.plan(update, limit=limits.property, refused=refused)


def _replaceable(request: Request, node: Node | None) -> Node | None:
    """What a PUT would replace. Raises MethodNotAllowed for a collection, and for a URL that means one; NotFound for a
    file that is addressed like one."""
    require_change(request, request.path, node)
    if node is not None and node.is_collection:
        raise _exists(node)
    if request.path.slash:
        if node is not None:
            raise NotFound("There is a file at this path, and no collection; leave out the slash at its end.")
        raise MethodNotAllowed("A collection is made with MKCOL.", UNMAPPED_COLLECTION_METHODS)
    return node


def _exists(node: Node) -> MethodNotAllowed:
    kind, allow = ("collection", COLLECTION_METHODS) if node.is_collection else ("file", FILE_METHODS)
    return MethodNotAllowed(f"There is a {kind} at this path already.", allow)


def post(request: Request, shares: Shares) -> Response:
    """No resource takes a POST (RFC 9110 §9.3.3, §15.5.6). Where it would be refused for a lock, it is told of that,
    as every method that changes something."""
    guard = Guard(request, shares)
    guard.look_at_own()
    node = guard.share.tree.stat(request.path)
    if node is None:
        raise MethodNotAllowed("Send a new file with PUT.", UNMAPPED_METHODS)
    allow = COLLECTION_METHODS if node.is_collection else FILE_METHODS
    raise MethodNotAllowed("There is nothing here that takes a POST; send a file with PUT.", allow)
