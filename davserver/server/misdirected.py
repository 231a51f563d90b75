"""Misdirected: who is let in for being on this machine calls it by its own name; a web page of elsewhere cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from davserver.access.access import Access, Identity
from davserver.protocol.errors import MisdirectedRequest, Unauthorized


def require_own_name(environ: Mapping[str, Any], identity: Identity, access: Access, now: float) -> None:
    """Raises MisdirectedRequest, or Unauthorized where a login would do. The server has found out about the name."""
    if not identity.principal.is_anonymous or "davserver.misnamed" not in environ:
        return
    message = (
        f'Host says "{environ["HTTP_HOST"][:99]}", and whoever does not log in must call this machine by its own name. '
        "Use localhost, or the address. Behind a reverse proxy, name it in trusted_proxies, or have people log in."
    )
    if access.could_be_more(identity):
        raise Unauthorized(message, access.unauthorized(now).challenges)
    raise MisdirectedRequest(message)
