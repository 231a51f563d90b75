"""The one place that turns a refusal into an answer.

The law of this module: one form for each answer, chosen by what the client says it likes. Content-Length is not
set here: whoever sends the answer knows it exactly.
"""

from __future__ import annotations

from html import escape

from davserver.protocol.errors import Locked, Refused
from davserver.protocol.headers import accepts
from davserver.protocol.holder import Viewer
from davserver.protocol.locked import locked_html, locked_json, locked_xml, page, present, retry_after, to_json
from davserver.protocol.lost import lost_fields, lost_sentence
from davserver.protocol.messages import Response
from davserver.protocol.paths import DavPath
from davserver.protocol.reasons import reason
from davserver.protocol.xml_out import description, error_body

XML, JSON, HTML, TEXT = "application/xml", "application/json", "text/html", "text/plain"

_OFFERS = {XML: XML, "text/xml": XML, JSON: JSON, HTML: HTML}
_CONTENT_TYPE = {kind: f"{kind}; charset=utf-8" for kind in (XML, HTML, TEXT)} | {JSON: JSON}

# RFC 4918 §16: these elements hold hrefs, all others are empty.
_WITH_HREFS = frozenset({"lock-token-submitted", "no-conflicting-lock"})


def render(
    refused: Refused,
    *,
    accept: str | None,
    content_type: str | None,
    now: float,
    prefix: str,
    viewer: Viewer,
    path: DavPath | None = None,
) -> Response:
    """The form is chosen by Accept: XML unless the client prefers JSON or HTML. With no Accept, a request whose
    own body is JSON gets JSON. What has no element of RFC 4918 §16 is a sentence of plain text in place of XML.

    `content_type`: of the request; `viewer`: who reads the answer; `path`: what was asked for.
    """
    kind = _OFFERS[accepts(accept, tuple(_OFFERS))]
    if accept is None and (content_type or "").partition(";")[0].strip().lower() == JSON:
        kind = JSON
    headers = refused.headers
    if isinstance(refused, Locked):
        form = {XML: locked_xml, JSON: locked_json, HTML: locked_html}[kind]
        body = form(refused, viewer, now, prefix)
        seconds = retry_after(refused.locks, now)
        if seconds is not None:
            headers = (*headers, ("Retry-After", str(seconds)))
    else:
        kind, body = _other(refused, kind, viewer, now, prefix, path)
    if kind == HTML:
        headers = (*headers, ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
    own = (
        ("Content-Type", _CONTENT_TYPE[kind]),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    )
    return Response(refused.status, (*headers, *own), body)


def _other(
    refused: Refused, kind: str, viewer: Viewer, now: float, prefix: str, path: DavPath | None
) -> tuple[str, bytes]:
    lost = refused.lost
    message = refused.message if lost is None else f"{refused.message} {lost_sentence(lost, viewer, now)}"
    if kind == JSON:
        concerned = refused.paths[0] if refused.paths else path
        return JSON, to_json(
            {
                "error": reason(refused.status),
                "message": message,
                "path": None if concerned is None else concerned.href(prefix),
                "lost_lock": None if lost is None else present(lost_fields(lost, viewer, now, prefix)),
            }
        )
    if kind == HTML:
        return HTML, page(reason(refused.status), f"<p>{escape(message)}</p>")
    element = refused.element or (None if lost is None else "lock-token-matches-request-uri")
    if element is not None:
        named = refused.paths if element in _WITH_HREFS else ()
        detail = b"" if lost is None else b"<D:detail>%b</D:detail>" % description(message)
        return XML, error_body(element, [each.href(prefix) for each in named], detail)
    return TEXT, f"{message}\n".encode("utf-8", "replace")
