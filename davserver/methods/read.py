"""OPTIONS, GET and HEAD: nothing here changes anything; of locks only a maintenance may stand in their way."""

from __future__ import annotations

from functools import lru_cache

from davserver.methods.folder_page import folder_page
from davserver.methods.guard import Guard
from davserver.methods.partial import MEDIA_TYPE
from davserver.methods.permits import is_visible, require_content
from davserver.methods.ranges import Multipart
from davserver.methods.upload import validators
from davserver.methods.write import (
    COLLECTION_METHODS,
    FILE_METHODS,
    NO_METHODS,
    UNMAPPED_COLLECTION_METHODS,
    UNMAPPED_METHODS,
)
from davserver.protocol.conditions import ResourceState, if_range_allows
from davserver.protocol.errors import NotFound, UriTooLong
from davserver.protocol.headers import parse_range
from davserver.protocol.media_types import media_type, runs_scripts
from davserver.protocol.messages import Action, FileSlice, Request, Response
from davserver.protocol.paths import DavPath
from davserver.storage.node import Node
from davserver.storage.share import Share, Shares

READ_METHODS = frozenset({"OPTIONS", "GET", "HEAD", "PROPFIND"})
LOCK_METHODS = frozenset({"LOCK", "UNLOCK"})


def options(request: Request, shares: Shares) -> Response:
    """RFC 9110 §9.3.7, RFC 4918 §10.1. 200 at every path, mapped or not, and without a login: Explorer asks at
    the root, Office at the parent of the document, gvfs at every parent, all before they log in."""
    share = shares.of(request.path)
    visible = is_visible(request, request.path)
    try:
        node = share.tree.stat(request.path) if visible else None
    except UriTooLong:
        node = None  # no file can have such a name; OPTIONS is answered at every path all the same
    slash = request.path.slash
    allow: tuple[str, ...]
    if not visible:
        allow = (*FILE_METHODS, "MKCOL")  # it does not tell whether anything is there
    elif node is None:
        allow = UNMAPPED_COLLECTION_METHODS if slash else UNMAPPED_METHODS
    elif node.is_collection:
        allow = COLLECTION_METHODS
    else:
        allow = NO_METHODS if slash else FILE_METHODS
    if not may_change(request, share):
        allow = tuple(method for method in allow if method in READ_METHODS)
    lockable = may_lock(request, share, request.path)
    if not lockable:
        allow = tuple(method for method in allow if method not in LOCK_METHODS)
    return Response(
        200,
        (
            # Finder mounts read-only, and Office opens read-only without an error, where class 2 is missing.
            ("DAV", "1, 2, 3, extended-mkcol, sabredav-partialupdate" if lockable else "1, 3"),
            ("MS-Author-Via", "DAV"),
            ("Allow", ", ".join(allow)),
            ("Accept-Ranges", "bytes"),
            *((("Accept-Patch", MEDIA_TYPE),) if "PATCH" in allow else ()),  # RFC 5789 §3.1
        ),
    )


def get(request: Request, shares: Shares) -> Response:
    """RFC 9110 §9.3.1, and HEAD (§9.3.2): the same answer, whose body the server leaves out."""
    guard = Guard(request, shares)
    guard.require_readable(request.path)
    # Opened before anything is decided: what is answered is the version that the preconditions were asked of.
    file = guard.share.tree.open(request.path)
    node = file.node
    if request.path.slash and not node.is_collection:
        raise NotFound("There is no collection at this path.")
    require_content(request, request.path, node)
    fresh = guard.fresh(node)
    if node.is_collection:
        # Never 304: the page shows members, which change without their folder.
        return folder_page(request, guard.shares)
    if not fresh:
        # RFC 9110 §15.4.5: the fields a 200 would have had.
        return Response(304, validators(node, is_past=node.last_modified <= request.now))
    return _content(request, node, FileSlice(file.fd, 0, node.size, file.close))


def may_change(request: Request, share: Share) -> bool:
    rights = request.permissions.rights(request.path)
    return not share.read_only and (rights not in ((), (Action.READ,)) or _differs(request, request.path))


def may_lock(request: Request, share: Share, path: DavPath) -> bool:
    """There, or somewhere below: what Finder mounts is writable as a whole, or not at all."""
    return not share.read_only and (request.permissions.allows(Action.LOCK, path) or _differs(request, path))


def _differs(request: Request, path: DavPath) -> bool:
    return request.permissions.whole(path) is None


def _content(request: Request, node: Node, whole: FileSlice) -> Response:
    kind = media_type(request.path.name)
    headers = _fields(node, kind, is_past=node.last_modified <= request.now)
    ranges = _ranges(request, node)
    if ranges is None:
        return Response(200, (*headers, ("Content-Type", kind)), whole)
    if len(ranges) == 1:
        first, last = ranges[0]
        part = (("Content-Type", kind), ("Content-Range", f"bytes {first}-{last}/{node.size}"))
        return Response(206, headers + part, FileSlice(whole.fd, first, last - first + 1, whole.close))
    parts = Multipart(whole, ranges, kind, boundary=f"{node.mtime_ns:x}{node.inode:x}")
    length = (("Content-Type", parts.content_type), ("Content-Length", str(parts.length)))
    return Response(206, headers + length, iter(parts))


@lru_cache(maxsize=1024)
def _fields(node: Node, kind: str, *, is_past: bool) -> tuple[tuple[str, str], ...]:
    """What is said of one version of a file, whoever asks for however much of it."""
    fields = (*validators(node, is_past=is_past), ("Accept-Ranges", "bytes"), ("X-Content-Type-Options", "nosniff"))
    # What somebody uploaded must not run in the server's origin.
    return (*fields, ("Content-Security-Policy", "sandbox")) if runs_scripts(kind) else fields


def _ranges(request: Request, node: Node) -> list[tuple[int, int]] | None:
    """RFC 9110 §14.2: of GET only, and only of the version that If-Range names. None: all of it."""
    wanted = request.headers.get("Range")
    if wanted is None or request.method != "GET":
        return None
    state = ResourceState(True, node.etag, frozenset(), node.last_modified)
    return parse_range(wanted, node.size) if if_range_allows(request.headers.get("If-Range"), state) else None
