"""The one place that turns a refusal into an answer."""

from __future__ import annotations

import json
from html import escape

from davserver.protocol.errors import Locked, Refused
from davserver.protocol.headers import accepts
from davserver.protocol.locked import locked_html, locked_json, locked_xml, page, retry_after
from davserver.protocol.messages import Response
from davserver.protocol.paths import DavPath
from davserver.protocol.reasons import reason
from davserver.protocol.xml_out import document, error_element

XML, JSON, HTML = "application/xml", "application/json", "text/html"


def render(refused: Refused, *, accept: str | None, content_type: str | None, now: float, prefix: str) -> Response:
    """The form is chosen by Accept: XML unless the client prefers JSON or HTML. With no Accept, a request whose
    own body is JSON gets JSON. What has no element of RFC 4918 §16 is a sentence of plain text in place of XML.
    """
    kind = accepts(accept, (XML, JSON, HTML))
    if accept is None and (content_type or "").partition(";")[0].strip().lower() == JSON:
        kind = JSON
    if isinstance(refused, Locked):
        form = {XML: locked_xml, JSON: locked_json, HTML: locked_html}[kind]
        body, headers = form(refused, now, prefix), refused.headers
        seconds = retry_after(refused.locks, now)
        if seconds is not None:
            headers = (*headers, ("Retry-After", str(seconds)))
    else:
        kind, body = _other(refused, kind, prefix)
        headers = refused.headers
    if kind == HTML:
        headers = (*headers, ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
    charset = "" if kind == JSON else "; charset=utf-8"
    return Response(refused.status, (*headers, ("Content-Type", kind + charset), ("Cache-Control", "no-store")), body)


def _other(refused: Refused, kind: str, prefix: str) -> tuple[str, bytes]:
    if kind == JSON:
        fields: dict[str, object] = {"error": reason(refused.status), "message": refused.message}
        if refused.paths:
            fields["path"] = refused.paths[0].href(prefix)
        return JSON, json.dumps(fields).encode()
    if kind == HTML:
        return HTML, page(reason(refused.status), f"<p>{escape(refused.message)}</p>")
    if refused.element is not None:
        return XML, document(error_element(refused.element, [path.href(prefix) for path in _named(refused)]))
    return "text/plain", f"{refused.message}\n".encode()


def _named(refused: Refused) -> tuple[DavPath, ...]:
    """RFC 4918 §16: only some elements hold hrefs; the others are empty."""
    return refused.paths if refused.element in ("lock-token-submitted", "no-conflicting-lock") else ()
