"""What is fuzzed: each parser that strangers feed. A target takes bytes, and raises nothing but a refusal.

What a parser accepts must also hold what its module promises; an assertion here is a finding as well as a traceback is.
Beside each target are the seeds that it starts from.
"""
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from davserver.protocol import conditions, dates, digests, headers, xml
from davserver.protocol.errors import Refused
from davserver.protocol.headers import ETag
from davserver.protocol.locks import Depth
from davserver.protocol.messages import Headers
from davserver.protocol.paths import DavPath
from davserver.protocol.properties import plan
from davserver.server.http.bodies import ChunkedBody
from davserver.server.http.head import HeadReader

Target = Callable[[bytes], None]
_HOSTS = frozenset({"x", "files.example:8080"})
_STATE = conditions.ResourceState(True, ETag("a"), frozenset({"urn:x"}), 1_000_000_000)


def _text(data: bytes) -> str:
    """As the HTTP side hands over what came: one character for each byte."""
    return data.decode("latin-1")


def path(data: bytes) -> None:
    found = DavPath.parse(_text(data))
    assert DavPath.parse(found.href()) == found
    assert all(name not in ("", ".", "..") and "/" not in name and "\0" not in name for name in found.segments)
    assert DavPath.from_key(found.key) == found


def destination(data: bytes) -> None:
    for prefix in ("", "/dav"):
        with suppress(Refused):
            found = headers.parse_destination(_text(data), prefix, _HOSTS)
            assert ".." not in found.segments


def fields(data: bytes) -> None:
    """The short ones."""
    text = _text(data)
    parsers: tuple[Callable[[str], object], ...] = (
        lambda value: headers.parse_depth(value, Depth.INFINITY),
        headers.parse_timeout,
        headers.parse_overwrite,
        headers.parse_lock_token,
        headers.parse_etags,
        dates.parse_http_date,
        headers.parse_update_range,
        lambda value: headers.parse_preferences(value, value),
        lambda value: headers.accepts(value, ("application/xml", "application/json", "text/html")),
        lambda value: conditions.if_range_allows(value, _STATE),
    )
    for parse in parsers:
        with suppress(Refused):
            parse(text)


def byte_ranges(data: bytes) -> None:
    for length in (0, 1, 1000):
        with suppress(Refused):
            for first, last in headers.parse_range(_text(data), length) or []:
                assert 0 <= first <= last < length


def if_header(data: bytes) -> None:
    header = conditions.parse_if(_text(data), "")
    conditions.evaluate_if(header, DavPath.parse("/f"), lambda _: _STATE)


def preconditions(data: bytes) -> None:
    """Fields in lines."""
    lines = (line.partition(":") for line in _text(data).split("\n"))
    found = Headers({name: value for name, _, value in lines})
    with suppress(Refused):
        digests.parse_digests(found, whole=True)
    for method in ("GET", "PUT"):
        wanted = conditions.parse_preconditions(found, "", method)
        with suppress(Refused):
            conditions.submitted_tokens(found, wanted, method)
            conditions.check(wanted, method, DavPath.parse("/f"), lambda _: _STATE)


def xml_bodies(data: bytes) -> None:
    for parse in (xml.parse_propfind, xml.parse_lockinfo, xml.parse_mkcol):
        with suppress(Refused):
            parse(data)
    update = xml.parse_propertyupdate(data)
    assert len(plan(update).changes) <= len(update)


def request_head(data: bytes) -> None:
    """Whatever the packets, the same heads come of it, or the same refusal."""
    outcomes = []
    for size in (len(data) or 1, 1 + len(data) // 3):
        reader, heads = HeadReader(4096), []
        with suppress(Refused):
            for start in range(0, len(data), size):
                reader.buffer += data[start : start + size]
                while (head := reader.next()) is not None:
                    assert "\n" not in head.target
                    assert "\r" not in "".join(head.fields.values())
                    heads.append(head)
        outcomes.append(heads)
    assert outcomes[0] == outcomes[1]


class _Stream:
    """A connection on which everything has arrived."""

    has_arrived = True

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        block, self._data = self._data[:size], self._data[size:]
        return block

    def readline(self, size: int) -> bytes:
        end = self._data.find(b"\n", 0, size)
        return self.read(size if end < 0 else end + 1)


def chunked(data: bytes) -> None:
    """In whatever pieces it is read, the same content comes of it."""
    contents = []
    for size in (1 << 16, 3):
        body, content = ChunkedBody(_Stream(data)), b""
        with suppress(Refused):
            while block := body.read(size):
                assert len(block) <= size
                content += block
        contents.append((content, body.at_end, body.broken))
    assert contents[0] == contents[1] or contents[0][2], contents


TARGETS: dict[str, tuple[Target, tuple[bytes, ...]]] = {
    "path": (path, (b"/a/b%20c/", b"/%C3%BC//x;y", b"/%2e%2e/")),
    "destination": (destination, (b"http://x/a%20b", b"/dav/f", b"http://u@files.example:8080/dav/a?b#c")),
    "fields": (
        fields,
        (b"infinity", b"Second-600, Infinite", b"T", b"<urn:uuid:1>", b'W/"a", "b", *', b"Sun, 06 Nov 1994 08:49:37 GMT",
         b"bytes=5-9", b"append", b"return=minimal, depth-noroot", b"text/html;q=0.5, */*"),
    ),
    "byte_ranges": (byte_ranges, (b"bytes=0-1,5-,-3", b"bytes=-0")),
    "if_header": (if_header, (b'</f> (Not <urn:x> ["a"]) ([W/"b"])', b"(<urn:x>) (Not <DAV:no-lock>)")),
    "preconditions": (
        preconditions,
        (b'If-Match: "a", *\nIf-None-Match: W/"b"\nIf: (<urn:x>)', b"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n"
         b"Lock-Token: <urn:x>", b"Content-Digest: sha-256=:AAAA:\nOC-Checksum: MD5:00\nRepr-Digest: sha-512=:A=:"),
    ),
    "xml_bodies": (
        xml_bodies,
        (b'<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><x xmlns="urn:y"/></D:prop></D:propfind>',
         b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner>Jane</owner></lockinfo>',
         b'<propertyupdate xmlns="DAV:"><set><prop><a xml:lang="en">b<c/></a></prop></set><remove><prop><d/></prop></remove>'
         b"</propertyupdate>", b'<mkcol xmlns="DAV:"><set><prop><resourcetype><collection/></resourcetype></prop></set></mkcol>'),
    ),
    "request_head": (
        request_head,
        (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPUT / HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
         b"\r\nGET http://x/a HTTP/1.1\r\nHost: y\r\nTransfer-Encoding: chunked\r\nConnection: close, TE\r\n\r\n"),
    ),
    "chunked": (chunked, (b"5\r\nhello\r\n0\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n")),
}  # fmt: skip
