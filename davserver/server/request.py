"""From a WSGI environ to a `Request`, and from a `Response` to what WSGI sends.

The request-target is taken raw and decoded once, by `DavPath`: cheroot leaves the path of OPTIONS encoded and
decodes all others, and LibreOffice then edits without a lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from davserver.protocol.errors import NotFound
from davserver.protocol.headers import path_below
from davserver.protocol.locks import Principal
from davserver.protocol.messages import Body, Client, FileSlice, Headers, Permissions, Reach, Request, Response
from davserver.protocol.paths import ROOT, DavPath

_ABSOLUTE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def target_path(environ: Mapping[str, Any], prefix: str) -> DavPath:
    """The path that the request-target names, below `prefix` (RFC 9112 §3.2). Raises BadRequest, NotFound."""
    target: str = environ["REQUEST_URI"]
    options = environ["REQUEST_METHOD"] == "OPTIONS"
    if target == "*" and options:
        return ROOT  # RFC 9112 §3.2.4: the server as a whole
    if not target.startswith("/"):
        absolute = _ABSOLUTE_FORM.match(target)
        if absolute is not None:
            target = target[absolute.end() :]
    raw = target.partition("?")[0] or "/"
    path = path_below(raw, prefix)
    if path is not None:
        return path
    if options:
        return ROOT  # Explorer asks at the host's root, wherever the share is
    raise NotFound(f"There is nothing here; this server's files are below {prefix}/.")


def header_fields(environ: Mapping[str, Any]) -> Headers:
    """Our own server hands them over as it has them; any other, as WSGI says."""
    ours: Mapping[str, str] | None = environ.get("davserver.fields")
    if ours is not None:
        return Headers.of_lower_case(ours)
    fields = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if name in environ:
            fields[name.replace("_", "-")] = environ[name]
    return Headers(fields)


def open_request(
    environ: Mapping[str, Any],
    *,
    path: DavPath,
    headers: Headers,
    principal: Principal,
    permissions: Permissions,
    reach: Reach,
    now: float,
    prefix: str,
) -> Request:
    body: Body = environ["wsgi.input"]
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        headers=headers,
        body=body,
        principal=principal,
        permissions=permissions,
        client=client_of(environ),
        now=now,
        prefix=prefix,
        hosts=_hosts(environ),
        reach=reach,
    )


def client_of(environ: Mapping[str, Any]) -> Client:
    return Client(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))


def _hosts(environ: Mapping[str, Any]) -> frozenset[str]:
    """What the client may call this server in a Destination; nothing where that is not known, so that any name is
    taken for ours.

    A proxy passes Host on, or tells the name that the client used in X-Forwarded-Host; from anybody but a proxy of
    ours that field does not get here. Some do neither, as nginx without `proxy_set_header Host`: what they write into
    Host is their own name for this server. They are known as proxies of ours, or by speaking HTTP/1.0, which no
    client that moves files has spoken since there is WebDAV.
    """
    forwarded: str = environ.get("HTTP_X_FORWARDED_HOST", "")
    if not forwarded and (environ.get("davserver.proxied") or environ.get("SERVER_PROTOCOL") == "HTTP/1.0"):
        return frozenset()
    return _names(environ.get("HTTP_HOST", ""), forwarded)


@lru_cache(maxsize=64)
def _names(host: str, forwarded: str) -> frozenset[str]:
    names = f"{host},{forwarded}".split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())


def framed(response: Response, *, head: bool) -> Response:
    """The response with its length said where it is known, and without a body where there must be none.

    A stream that ends within its first block is sent as one piece with a length; a longer one is chunked.
    """
    status, headers, body = response
    if status in (204, 304):
        _discard(body)  # RFC 9110 §8.6, §15.3.5: neither content nor Content-Length
        return Response(status, headers)
    if isinstance(body, FileSlice):
        headers = (*headers, ("Content-Length", str(body.length)))
    else:
        if not isinstance(body, bytes) and not head and not _has_length(headers):
            body = _first_block(body)
        if isinstance(body, bytes):
            headers = (*headers, ("Content-Length", str(len(body))))
    if head:
        _discard(body)  # RFC 9110 §9.3.2
        body = b""
    return Response(status, headers, body)


def _first_block(stream: Iterator[bytes]) -> bytes | Iterator[bytes]:
    blocks = []
    for block in stream:
        blocks.append(block)
        if len(blocks) == 2:
            return _joined(blocks, stream)
    return b"".join(blocks)


def _joined(blocks: list[bytes], stream: Iterator[bytes]) -> Iterator[bytes]:
    yield from blocks
    yield from stream


def _has_length(headers: tuple[tuple[str, str], ...]) -> bool:
    return any(name == "Content-Length" for name, _ in headers)


def _discard(body: bytes | Iterator[bytes] | FileSlice) -> None:
    if isinstance(body, FileSlice) or hasattr(body, "close"):
        body.close()
