"""gzip for answers that the server makes up itself: XML, JSON and pages. Never for files, whole or in part.

Listings shrink to a tenth. The fastest level costs less than a slow line saves, and on a fast line clients such
as Explorer and Finder do not ask for it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache

from davserver.protocol.messages import FileSlice, Response

#: What is shorter fits into one packet anyway.
_WORTH = 1024
_LEVEL = 1
_KINDS = ("application/xml", "text/xml", "application/json", "text/html")
# RFC 9110 §12.4.2: a weight of 0 is "not acceptable".
_GZIP = re.compile(r"(?:x-)?gzip[ \t]*(?:;[ \t]*q=(?:0?\.0*[1-9][0-9]*|1(?:\.0*)?))?", re.IGNORECASE)
_VARY = ("Vary", "Accept-Encoding")


def compressed(response: Response, accept_encoding: str | None, agent: str) -> Response:
    """The response as the client would like it. Its length must not have been said yet."""
    body = response.body
    if isinstance(body, FileSlice) or (isinstance(body, bytes) and len(body) < _WORTH):
        return response
    if not any(name == "Content-Type" and value.startswith(_KINDS) for name, value in response.headers):
        return response
    headers = (*response.headers, _VARY)
    # The Windows redirector says nothing of gzip; where something between says it, it must not get any.
    if accept_encoding is None or not _accepts_gzip(accept_encoding) or agent.startswith("Microsoft-WebDAV-MiniRedir"):
        return Response(response.status, headers, body)
    headers = (*headers, ("Content-Encoding", "gzip"))
    if isinstance(body, bytes):
        packer = _packer()
        return Response(response.status, headers, packer.compress(body) + packer.flush())
    return Response(response.status, headers, _packed(body))


def _packed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    packer = _packer()
    try:
        for block in blocks:
            data = packer.compress(block)
            if data:
                yield data
        yield packer.flush()
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            close()


def _packer() -> zlib._Compress:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


@lru_cache(maxsize=256)
def _accepts_gzip(field: str) -> bool:
    return any(_GZIP.fullmatch(item.strip(" \t")) for item in field.split(","))
