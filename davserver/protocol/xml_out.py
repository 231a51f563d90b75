"""XML out: values → bytes, in the one form that every client reads.

The law of this module, each line of it for a client: the prefix is `D:`, declared at the root (Infuse); no
indentation (Explorer's 1 MB limit); href first in a response (Finder), the 200 propstat first and its status
literally `HTTP/1.1 200 OK` (LibreOffice); lockroot last in an activelock (LibreOffice takes the last href of
a response for the resource's own).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from lxml import etree

from davserver.protocol.locks import Lock, Principal
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


def escape(text: str) -> str:
    """For element content and attribute values."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def printable(text: str) -> str:
    """Escaped, with a replacement character for what XML cannot carry: for names that are shown to people."""
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def href(url: str) -> bytes:
    return f"<D:href>{escape(url)}</D:href>".encode()


def empty_element(name: PropName) -> bytes:
    """A property's name, as an element without content."""
    if name.namespace == DAV:
        return f"<D:{name.local}/>".encode()
    if not name.namespace:
        return f'<{name.local} xmlns=""/>'.encode()
    return f'<x:{name.local} xmlns:x="{escape(name.namespace)}"/>'.encode()


def error_element(element: str, hrefs: Iterable[str] = (), detail: bytes = b"") -> bytes:
    """RFC 4918 §16: D:error with a precondition element, the hrefs it names, and details after it."""
    inner = b"".join(map(href, hrefs))
    condition = (
        b"<D:%b>%b</D:%b>" % (element.encode(), inner, element.encode()) if inner else f"<D:{element}/>".encode()
    )
    return b"<D:error>%b%b</D:error>" % (condition, detail)


def document(element: bytes) -> bytes:
    """A `<D:…>` element as a document of its own."""
    end = min(index for index in (element.find(mark) for mark in (b">", b"/>", b" ")) if index > 0)
    return DECLARATION + element[:end] + b' xmlns:D="DAV:"' + element[end:]


def prop_response(properties: bytes) -> bytes:
    """RFC 4918 §9.10.1: the body of a LOCK answer."""
    return document(b"<D:prop>%b</D:prop>" % properties)


def propstat_response(
    url: str,
    found: bytes,
    missing: Sequence[PropName] = (),
    other: Sequence[tuple[int, str | None, Sequence[PropName]]] = (),
) -> bytes:
    """One resource in a 207. `found`: property elements; `missing`: 404; `other`: (status, error element, names).

    With nothing to say of any property there still is a propstat (RFC 4918 §14.24).
    """
    parts = [b"<D:response>", href(url)]
    if found or not (missing or other):
        parts.append(_propstat(200, found))
    parts += [_propstat(status, b"".join(map(empty_element, names)), element) for status, element, names in other]
    if missing:
        parts.append(_propstat(404, b"".join(map(empty_element, missing))))
    parts.append(b"</D:response>")
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


def lockdiscovery(locks: Iterable[Lock], viewer: Principal, now: float, root: Callable[[Lock], str]) -> bytes:
    """RFC 4918 §15.8. A token is shown to the principal whose lock it is, and to nobody else (§6.4, §20.7)."""
    return b"<D:lockdiscovery>%b</D:lockdiscovery>" % b"".join(_activelock(lock, viewer, now, root) for lock in locks)


def _activelock(lock: Lock, viewer: Principal, now: float, root: Callable[[Lock], str]) -> bytes:
    own = lock.principal == viewer
    seconds = lock.seconds_left(now)
    owner = (
        lock.owner if own and lock.owner is not None else f"<D:owner>{printable(holder_name(lock))}</D:owner>".encode()
    )
    token = b"<D:locktoken>%b</D:locktoken>" % href(lock.token) if own else b""
    return b"<D:activelock>%b%b<D:timeout>%b</D:timeout>%b%b</D:activelock>" % (
        lock_kind(lock),
        owner,
        b"Infinite" if seconds is None else b"Second-%d" % seconds,
        token,
        b"<D:lockroot>%b</D:lockroot>" % href(root(lock)),
    )


def lock_kind(lock: Lock) -> bytes:
    """Scope, type and depth. Every kind of lock stops writers, so `write` is the type of all (RFC 4918 §6.1)."""
    return (
        f"<D:lockscope><D:{lock.scope.value}/></D:lockscope><D:locktype><D:write/></D:locktype>"
        f"<D:depth>{lock.depth.value}</D:depth>"
    ).encode()


# Owners that name a program and no person: LibreOffice sends its own name, Finder a URL of Apple.
_PROGRAMS = ("LibreOffice - ", "http://ucb.openoffice.org", "http://www.apple.com/webdav_fs")


def holder_name(lock: Lock) -> str:
    """Who holds the lock, for others: where people log in their display name, else what the client calls its owner."""
    if not lock.principal.is_anonymous:
        return lock.principal.display_name or lock.principal.name
    text = owner_text(lock.owner)
    return text if text and not text.startswith(_PROGRAMS) else "another user"


def owner_text(owner: bytes | None) -> str:
    """The text of an owner element, whatever elements it stands in."""
    if owner is None:
        return ""
    return " ".join("".join(map(str, etree.fromstring(owner).itertext())).split())
