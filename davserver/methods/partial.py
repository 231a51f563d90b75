"""PATCH with X-Update-Range, as sabre/dav has it: a part of a file is replaced, or something is put at its end.

The file is one whole version before, and another whole version after: the new one is made aside from the old one and
the part, and takes its place in one step. Where the file system can share blocks between files that costs little;
elsewhere it costs a copy of the file.
"""

from __future__ import annotations

from davserver.methods.guard import Guard, writing
from davserver.methods.upload import Upload, wanted_mtime, written
from davserver.methods.write import COLLECTION_METHODS
from davserver.protocol.errors import Conflict, LengthRequired, MethodNotAllowed, UnsupportedMediaType
from davserver.protocol.headers import parse_update_range
from davserver.protocol.messages import Request, Response
from davserver.protocol.paths import DavPath
from davserver.storage.node import Node
from davserver.storage.patching import stage_patch
from davserver.storage.share import Share, Shares
from davserver.storage.staged import StagedFile

MEDIA_TYPE = "application/x-sabredav-partialupdate"

#: Times that a new version is made of what others have changed meanwhile.
_TRIES = 5


def patch(request: Request, shares: Shares) -> Response:
    """RFC 5789; 204 with the new ETag."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        # Whoever sends JSON to what is locked is told of the lock: it is what must go first.
        Guard(request, shares).look_at_own()
        raise UnsupportedMediaType(f"PATCH takes a part of a file, as {MEDIA_TYPE}.", accept_patch=MEDIA_TYPE)
    where = parse_update_range(request.headers.get("X-Update-Range"))
    length = request.body.length
    if length is None:
        raise LengthRequired("PATCH needs a Content-Length.")
    guard = Guard(request, shares)
    path, share = request.path, guard.share
    mtime = wanted_mtime(request)
    node = _file(guard)
    guard.look(writing(path, node))
    offset = where.offset(length, node.size)
    with _received(request, share, path, node, keeps=max(offset, node.size - length)) as part:
        for _ in range(_TRIES):
            offset = where.offset(length, node.size)
            staged = stage_patch(share.tree, path, node, part, offset, length)
            with staged, guard.enter(path) as passage, share.tree.spot(path) as spot:
                base, node = node, _file(guard)
                passage.check(writing(path, node))
                if spot.node == base:
                    with share.charged(max(offset + length, base.size) - base.size):
                        new = staged.commit(passage.hold, spot, replace=True, mtime=mtime)
                    return written(new, created=False, mtime=mtime, now=request.now)
    raise Conflict("The file is being changed by others all the time; try again.", paths=[path])


def _file(guard: Guard) -> Node:
    node = guard.existing()
    if node.is_collection:
        raise MethodNotAllowed("A collection has no parts to replace.", COLLECTION_METHODS)
    return node


def _received(request: Request, share: Share, path: DavPath, node: Node, *, keeps: int) -> StagedFile:
    """The part alone. Raises what the body raises, ContentTooLarge, InsufficientStorage."""
    with share.tree.spot(path) as spot:
        upload = Upload(request, share, node, keeps=keeps)
        part = StagedFile(share.tree, spot)
    try:
        part.receive(upload)
    except BaseException:
        part.discard()
        raise
    return part
