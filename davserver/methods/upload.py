"""The content of a PUT or PATCH on its way in: its limits and digests are judged as it comes, and before it comes as
far as it is announced."""

from __future__ import annotations

import math

from davserver.protocol.dates import format_http_date
from davserver.protocol.digests import Verifier, parse_digests
from davserver.protocol.errors import BadRequest
from davserver.protocol.messages import Request, Response
from davserver.storage.node import Node
from davserver.storage.share import Share

#: Bytes that are taken in without asking first whether the disk has room: they are as quickly read as refused.
_SMALL = 64 * 1024


class Upload:
    """A `Body` that raises when it is not what was announced, or more than there is room for.

    `replaced`: what it will take the place of. `keeps`: bytes of that which stay, beside the content.
    """

    def __init__(self, request: Request, share: Share, replaced: Node | None, *, keeps: int = 0) -> None:
        """Raises ContentTooLarge, InsufficientStorage, before any of the content is read."""
        self._body = request.body
        self._share, self._folder = share, request.path.parent
        self._replaced = 0 if replaced is None else replaced.size
        self._keeps = keeps
        self._expected = _expected_length(request)
        self._verifier = Verifier(parse_digests(request.headers, whole=request.method == "PUT"))
        self.is_here = request.body.is_here
        self.size = 0
        self.length = request.body.length if self._expected is None else self._expected
        self._checked = _SMALL
        self._check((self.length or 0) + keeps)

    def read(self, size: int) -> bytes:
        block = self._body.read(size)
        if not block:
            self._end()
            return b""
        self.size += len(block)
        self._verifier.update(block)
        self._check(self.size + self._keeps)
        return block

    def _check(self, size: int) -> None:
        """What was announced is checked once; without that, each time it has doubled."""
        limit = self._share.limits.file
        if size > self._checked or (limit is not None and size > limit):
            self._share.require_room(self._folder, size, replaced=self._replaced)
            self._checked = 2 * size if self.length is None else max(size, self.length + self._keeps)

    def _end(self) -> None:
        if self._expected is not None and self.size != self._expected:
            raise BadRequest("The body is not as long as X-Expected-Entity-Length says.")
        self._verifier.check()


def _expected_length(request: Request) -> int | None:
    """X-Expected-Entity-Length: what the macOS WebDAV file system announces beside a chunked body."""
    value = request.headers.get("X-Expected-Entity-Length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None


def wanted_mtime(request: Request) -> int | None:
    """X-OC-Mtime (rclone, gvfs, ownCloud clients): seconds since the epoch; what is no time is ignored."""
    try:
        seconds = float(request.headers.get("X-OC-Mtime", "nan"))
    except ValueError:
        return None
    return math.floor(seconds) if 0 <= seconds < 1 << 34 else None


def validators(node: Node, *, is_past: bool) -> tuple[tuple[str, str], ...]:
    """`is_past`: it was not modified at a time to come, which a client may have set and DAV:getlastmodified tells, but
    the field must not name (RFC 9110 §8.8.2.1)."""
    etag = ("ETag", str(node.etag))
    return (etag, ("Last-Modified", format_http_date(node.last_modified))) if is_past else (etag,)


def written(node: Node, *, created: bool, mtime: int | None, now: float) -> Response:
    """The answer to content that was stored. Finder and davfs2 ask again where ETag and Last-Modified are missing."""
    headers = [*validators(node, is_past=mtime is None or mtime <= now)]
    if mtime is not None:
        headers.append(("X-OC-Mtime", "accepted"))
    return Response(201 if created else 204, tuple(headers))
