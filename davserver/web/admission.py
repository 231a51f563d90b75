"""Admission: what is asked of every request that writes, before anything else.

What a browser does in the name of its user is refused unless it comes from a page of this server: a browser sends
the login by itself, wherever the page is from. (And what writes must be JSON, which no plain form of HTML can send.)
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from davserver.protocol.errors import Forbidden, Locked
from davserver.protocol.locks import Kind
from davserver.protocol.paths import ROOT
from davserver.storage.share import Shares
from davserver.web.caller import Caller

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def require_same_origin(caller: Caller) -> None:
    """Raises Forbidden. Pages that the settings allow count as this server's."""
    if not caller.trusts_page:
        require_this_server()


def require_this_server() -> None:
    """Raises Forbidden. Programs send neither field; browsers of today both, older ones Origin alone."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        trusted = site in ("same-origin", "none")
    elif origin is not None:
        trusted = urlsplit(origin).netloc.lower() in _hosts()
    else:
        trusted = True
    if not trusted:
        raise Forbidden(
            "This request comes from a page of another site. (A proxy in between must pass Host on, or say "
            "X-Forwarded-Host.)"
        )


def _hosts() -> set[str]:
    names = f"{request.headers.get('Host', '')},{request.headers.get('X-Forwarded-Host', '')}".split(",")
    return {name.strip().lower() for name in names if name.strip()}


def require_no_maintenance(shares: Shares, caller: Caller) -> None:
    """During a maintenance of the whole server nobody else changes anything, here as little as in WebDAV. Raises
    Locked. What is left is breaking that maintenance itself, for those who may."""
    stopping = [
        lock
        for lock in shares.locks.covering(ROOT)
        if lock.kind is Kind.MAINTENANCE and lock.principal != caller.principal
    ]
    named = (request.view_args or {}).get("number")
    breaks = request.endpoint == "breakLock" and any(lock.id == named for lock in stopping)
    if stopping and not breaks:
        raise Locked(ROOT, stopping)
