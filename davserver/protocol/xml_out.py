"""XML out: values → bytes, in the one form that every client reads.

The law of this module, each line of it for a client: the prefix is `D:`, declared at the root (Infuse); no
indentation (Explorer's 1 MB limit); href first in a response (Finder), the 200 propstat first and its status
literally `HTTP/1.1 200 OK` (LibreOffice); lockroot last in an activelock (LibreOffice takes the last href of
a response for the resource's own).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

from davserver.protocol.holder import Viewer, holder_label
from davserver.protocol.locks import Kind, Lock
from davserver.protocol.properties import DAV, PropName
from davserver.protocol.reasons import reason

DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>\n'

#: Bytes that a multistatus collects before it sends them on.
_BLOCK = 32 * 1024

# XML 1.0 §2.2: what no escape can express.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def is_xml_text(text: str) -> bool:
    """Can XML carry this text at all?"""
    return _NOT_XML.search(text) is None


_UNUSUAL = re.compile('[&<>"\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_MARKUP = re.compile('[&<>"\t\n\r]')
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


def escape(text: str) -> str:
    """For element content and for attribute values in double quotes, where a parser makes blanks of line ends."""
    return _MARKUP.sub(lambda found: _ESCAPED[found[0]], text)


def escaped(text: str) -> str | None:
    """`escape`, or None for what XML cannot carry. Quick for the usual name, which needs neither."""
    if _UNUSUAL.search(text) is None:
        return text
    return escape(text) if is_xml_text(text) else None


def printable(text: str) -> str:
    """Escaped, with a replacement character for what XML cannot carry: for names that are shown to people."""
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def href(url: str) -> bytes:
    return f"<D:href>{escape(url)}</D:href>".encode()


def href_for_libreoffice(href: str) -> str:
    """The href of a member of a listing, as markup: a "&" in it is plain, in CDATA.

    LibreOffice 7.4 saves a document whose name holds "&" without its lock, and is refused, unless it was opened by a
    URL with the plain character; and it reads "&amp;" as " & ", which is not there.
    """
    return f"<![CDATA[{href.replace('%26', '&')}]]>" if "%26" in href else href


def empty_element(name: PropName) -> bytes:
    """A property's name, as an element without content."""
    if name.namespace == DAV:
        return f"<D:{name.local}/>".encode()
    if not name.namespace:
        return f'<{name.local} xmlns=""/>'.encode()
    return f'<x:{name.local} xmlns:x="{escape(name.namespace)}"/>'.encode()


def error_element(element: str, hrefs: Iterable[str] = (), detail: bytes = b"") -> bytes:
    """RFC 4918 §16: D:error with a precondition element, the hrefs it names, and details after it."""
    return b"<D:error>%b%b</D:error>" % (_condition(element, hrefs), detail)


def _condition(element: str, hrefs: Iterable[str]) -> bytes:
    tag, inner = element.encode(), b"".join(map(href, hrefs))
    return b"<D:%b>%b</D:%b>" % (tag, inner, tag) if inner else b"<D:%b/>" % tag


def error_body(element: str, hrefs: Iterable[str] = (), detail: bytes = b"") -> bytes:
    """`error_element` as a document of its own."""
    return _document("error", _condition(element, hrefs) + detail)


def prop_response(properties: bytes) -> bytes:
    """RFC 4918 §9.10.1: the body of a LOCK answer."""
    return _document("prop", properties)


def _document(name: str, content: bytes) -> bytes:
    tag = name.encode()
    return b'%b<D:%b xmlns:D="DAV:">%b</D:%b>' % (DECLARATION, tag, content, tag)


def propstat_response(
    url: str,
    found: bytes,
    missing: Sequence[PropName] = (),
    other: Sequence[tuple[int, str | None, Sequence[PropName]]] = (),
) -> bytes:
    """One resource in a 207. `found`: property elements; `missing`: 404; `other`: (status, error element, names).

    With nothing to say of any property there still is a propstat (RFC 4918 §14.24).
    """
    return b"<D:response>%b%b</D:response>" % (href(url), _propstats(found, missing, other))


def mkcol_response(outcomes: Sequence[tuple[int, str | None, Sequence[PropName]]]) -> bytes:
    """RFC 5689 §5.2: why a collection was not made, as a document of its own."""
    return _document("mkcol-response", _propstats(b"", (), outcomes))


def _propstats(
    found: bytes, missing: Sequence[PropName], other: Sequence[tuple[int, str | None, Sequence[PropName]]]
) -> bytes:
    parts = []
    if found or not (missing or other):
        parts.append(_propstat(200, found))
    parts += [
        _propstat(status, b"".join(map(empty_element, names)), element)
        for status, element, names in sorted(other, key=lambda group: group[0] != 200)
    ]
    if missing:
        parts.append(_propstat(404, b"".join(map(empty_element, missing))))
    return b"".join(parts)


def _propstat(status: int, properties: bytes, element: str | None = None) -> bytes:
    error = b"" if element is None else error_element(element)
    return b"<D:propstat><D:prop>%b</D:prop>%b%b</D:propstat>" % (properties, _status(status), error)


def status_response(url: str, status: int, error: bytes = b"") -> bytes:
    """A resource in a 207 that has one status as a whole."""
    return b"<D:response>%b%b%b</D:response>" % (href(url), _status(status), error)


def _status(status: int) -> bytes:
    return f"<D:status>HTTP/1.1 {status} {reason(status)}</D:status>".encode()


def multistatus(responses: Iterable[bytes]) -> Iterator[bytes]:
    """RFC 4918 §13, as it is produced, in blocks."""
    parts, size = [DECLARATION, b'<D:multistatus xmlns:D="DAV:">'], 0
    for response in responses:
        parts.append(response)
        size += len(response)
        if size >= _BLOCK:
            yield b"".join(parts)
            parts, size = [], 0
    parts.append(b"</D:multistatus>")
    yield b"".join(parts)


def lockdiscovery(locks: Iterable[Lock], viewer: Viewer, now: float, root: Callable[[Lock], str]) -> bytes:
    """RFC 4918 §15.8. A token is shown to the principal whose lock it is, and to nobody else (§6.4, §20.7).

    `root`: a lock's root as an href, as it stands in XML.
    """
    inner = b"".join(_activelock(lock, viewer, now, root(lock)) for lock in locks)
    return b"<D:lockdiscovery>%b</D:lockdiscovery>" % inner if inner else b"<D:lockdiscovery/>"


def _activelock(lock: Lock, viewer: Viewer, now: float, root: str) -> bytes:
    token = b"<D:locktoken>%b</D:locktoken>" % href(lock.token) if lock.principal == viewer.principal else b""
    owner = shown_owner(lock, viewer)
    return b"<D:activelock>%b%b%b%b%b</D:activelock>" % (lock_kind(lock), owner, timeout(lock, now), token, _root(root))


def lockinfo(lock: Lock, viewer: Viewer, now: float, root: str) -> bytes:
    """What somebody who is stopped by a lock is told of it: never its token. `root`: an href, as it stands in XML."""
    return b"<D:lockinfo>%b%b%b%b</D:lockinfo>" % (
        lock_kind(lock),
        _owner(holder_label(lock, viewer)),
        timeout(lock, now),
        _root(root),
    )


def description(text: str) -> bytes:
    """RFC 4918 §14.25: a sentence for people."""
    return f"<D:responsedescription>{printable(text)}</D:responsedescription>".encode()


def lock_kind(lock: Lock) -> bytes:
    """Scope, type and depth. Every kind of lock stops writers, so `write` is the type of all (RFC 4918 §6.1)."""
    return _lock_kind(lock.scope.value, lock.depth.value)


@cache
def _lock_kind(scope: str, depth: str) -> bytes:
    return (
        f"<D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype><D:depth>{depth}</D:depth>"
    ).encode()


def timeout(lock: Lock, now: float) -> bytes:
    """RFC 4918 §14.29: the seconds that are left, at least 1."""
    seconds = lock.seconds_left(now)
    return b"<D:timeout>%b</D:timeout>" % (b"Infinite" if seconds is None else b"Second-%d" % seconds)


def shown_owner(lock: Lock, viewer: Viewer) -> bytes:
    """The owner element: verbatim, or nothing, to the principal that gave it with its LOCK; a name to others.

    LibreOffice reads text that stands directly in an element with a prefix, and its own has none: where all are one
    principal it would show "Unknown user" for what another LibreOffice holds.
    """
    is_own = lock.principal == viewer.principal and lock.kind is Kind.WRITE
    if is_own and "LibreOffice" not in viewer.agent:
        return lock.owner or b""
    return _owner(holder_label(lock, viewer))


def _owner(name: str) -> bytes:
    return f"<D:owner>{printable(name)}</D:owner>".encode()


def _root(markup: str) -> bytes:
    return f"<D:lockroot><D:href>{markup}</D:href></D:lockroot>".encode()
