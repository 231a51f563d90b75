"""CORS (the Fetch standard): what a browser lets pages of other origins do here. Off where no origin is allowed.

Apps that run in a browser (Obsidian, Joplin on the web, webdav of npm) ask beforehand, without credentials, whether
they may; and they read of an answer only what is exposed, of a 401 and a 404 as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from davserver.protocol.messages import Response

_METHODS = "OPTIONS, GET, HEAD, PUT, PATCH, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, POST"
#: What clients send; a browser asks for what it does not send by itself.
_HEADERS = (
    "Authorization, Depth, Destination, Overwrite, If, If-Match, If-None-Match, If-Modified-Since, "
    "If-Unmodified-Since, If-Range, Range, Content-Type, Content-Range, Content-Digest, Repr-Digest, Digest, "
    "Cache-Control, Pragma, Timeout, Lock-Token, Transaction-Id, Prefer, Brief, X-OC-Mtime, OC-Checksum, "
    "X-Update-Range, X-Expected-Entity-Length, X-Requested-With, Accept, Accept-Language, User-Agent"
)
#: What a page may read beside the plainest.
_EXPOSED = (
    "ETag, DAV, Lock-Token, Content-Length, Content-Range, Accept-Ranges, Last-Modified, Location, Allow, "
    "MS-Author-Via, X-OC-Mtime, Retry-After, WWW-Authenticate, Preference-Applied"
)
_VARY = ("Vary", "Origin")


class Cors:
    def __init__(self, origins: Iterable[str], *, allow_credentials: bool) -> None:
        allowed = frozenset(origin.lower() for origin in origins)
        self._all, self._origins = "*" in allowed, allowed
        self._credentials = (("Access-Control-Allow-Credentials", "true"),) if allow_credentials else ()

    def preflight(self, environ: Mapping[str, Any]) -> Response | None:
        """The answer to a browser that asks whether a page may; None for everything else. It needs no login: a browser
        sends none with it."""
        if environ["REQUEST_METHOD"] != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return None
        if not self._allowed(environ.get("HTTP_ORIGIN")):
            return None
        return Response(
            204,
            (
                ("Access-Control-Allow-Methods", _METHODS),
                ("Access-Control-Allow-Headers", _HEADERS),
                ("Access-Control-Max-Age", "86400"),
            ),
        )

    def fields(self, environ: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """What is added to an answer, whatever it is, so that the page may read it. Caches are told that it depends."""
        allowed = self._allowed(environ.get("HTTP_ORIGIN"))
        return (*allowed, ("Access-Control-Expose-Headers", _EXPOSED)) if allowed else (_VARY,)

    def trusts(self, environ: Mapping[str, Any]) -> bool:
        """Does the request come from a page that may act in the name of its user? Not where all pages may ask: these
        are told to send no login."""
        origin = environ.get("HTTP_ORIGIN")
        return origin is not None and origin.lower() in self._origins

    def _allowed(self, origin: str | None) -> tuple[tuple[str, str], ...]:
        if origin is None or not (self._all or origin.lower() in self._origins):
            return ()
        # It is one of the settings, or we have it from a field, which holds no line break.
        named = "*" if self._all else origin
        return (("Access-Control-Allow-Origin", named), *self._credentials, *(() if self._all else (_VARY,)))
