"""The head of a request: bytes → `Head`, or the refusal that says what is wrong with it (RFC 9112 §2 to §6).

The law of this module: there is one reading of every head. Field lines are taken apart by llhttp (httptools);
whether a head may be served at all is decided here, and what two parsers could read in two ways is refused:
bare CR or LF, folded lines, blanks before a colon, two lengths, a length beside a transfer coding, a coding
other than chunked. Names with "_" are dropped: WSGI cannot tell them from those with "-", which a proxy may
have vouched for.

Whoever reads on after a refusal of this module reads garbage: the connection is closed behind each of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from davserver.protocol.errors import (
    BadRequest,
    HeaderFieldsTooLarge,
    NotImplementedMethod,
    UriTooLong,
    VersionNotSupported,
)

#: Longest request-target. A path of PATH_MAX bytes, each of them percent-encoded, is 12 KiB.
TARGET_LIMIT = 16 * 1024
#: Most field lines in a head. Browsers send 20, Office 30.
FIELDS_LIMIT = 200
#: Empty lines that are passed over before a request (RFC 9112 §2.2): some clients end a body with one.
EMPTY_LINES = 8

_TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
# RFC 9112 §3: request-line = method SP request-target SP HTTP-version. Bytes of raw UTF-8 in the target are let
# pass, and decoded like percent-encoded ones.
_START_LINE = re.compile(rb"([%b]{1,64}) ([!-~\x80-\xff]{1,%d}) HTTP/([0-9])\.([0-9])\r\n" % (_TCHAR, TARGET_LIMIT))
# What a start line may look like while it is still on its way.
_START_OF_LINE = re.compile(
    rb"[%b]{1,64}(?: (?:[!-~\x80-\xff]{1,%d}(?: [HTP/0-9.]{0,8}\r?)?)?)?\Z" % (_TCHAR, TARGET_LIMIT)
)
# RFC 9110 §7.2, RFC 3986 §3.2.2: uri-host [ ":" port ]; empty where the target has no authority.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::[0-9]{0,5})?", re.ASCII)
_ABSOLUTE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)")
#: Fields of one value (RFC 4918 §10, RFC 9110 and ours): two of them have no meaning that both sides could agree on.
#: Dates are not among them: RFC 9110 §13.1.3 and §13.1.4 say what to make of those.
_SINGLE = frozenset(
    {
        "authorization", "content-range", "content-type", "depth", "destination", "if", "if-range", "lock-token",
        "oc-checksum", "overwrite", "range", "transaction-id", "x-expected-entity-length", "x-oc-mtime",
        "x-update-range",
    }
)  # fmt: skip
# llhttp refuses methods and targets that we want to answer ourselves: it is shown a start line that it knows.
_KNOWN_START = b"POST / HTTP/1.1\r\n"
_TLS_HANDSHAKE = b"\x16\x03"


class Head(NamedTuple):
    """A head that may be served."""

    method: str
    #: As it came; the scheme and authority of an absolute-form are in front of it.
    target: str
    #: HTTP/1.1; otherwise HTTP/1.0.
    is_11: bool
    #: By lower-case name, repeated ones joined by ", ". Not to be changed: other requests share it.
    fields: Mapping[str, str]
    #: The same under the names of a WSGI environ.
    environ: Mapping[str, str]
    #: Announced bytes of the body; None when it is chunked.
    length: int | None
    keep_alive: bool
    expects_continue: bool


#: Field names as they come → (lower-case name, name in a WSGI environ), None for those that are dropped.
_names: dict[bytes, tuple[str, str] | None] = {}
_NAMES_LIMIT = 2048


def _name(raw: bytes) -> tuple[str, str] | None:
    text = raw.decode("ascii").lower()
    upper = text.upper().replace("-", "_")
    known = upper if upper in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{upper}"
    names = None if "_" in text else (text, known)
    if len(_names) < _NAMES_LIMIT and len(raw) <= 64:
        _names[raw] = names
    return names


class _Fields:
    """What llhttp calls back."""

    __slots__ = ("count", "environ", "fields", "repeated")

    def __init__(self) -> None:
        #: A field of one value that came twice.
        self.repeated = ""
        self.fields: dict[str, str] = {}
        self.environ: dict[str, str] = {}
        self.count = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        try:
            names = _names[name]
        except KeyError:
            names = _name(name)
        self.count += 1
        if names is None:
            return
        text = value.decode("latin-1").strip(" \t")
        lower, key = names
        if lower in self.fields:
            if lower in _SINGLE:
                self.repeated = lower
            # RFC 9110 §5.3. Fields that must not be repeated turn out to be malformed by it. Cookies: RFC 9113 §8.2.3.
            text = f"{self.fields[lower]}{'; ' if lower == 'cookie' else ', '}{text}"
        self.fields[lower] = self.environ[key] = text


class HeadReader:
    """The heads of one connection, one after another, however the bytes arrive."""

    __slots__ = ("_limit", "_skipped", "buffer")

    def __init__(self, limit: int) -> None:
        """`limit`: largest head, in bytes."""
        self._limit = limit
        self._skipped = 0
        #: What has arrived and is not used up.
        self.buffer = b""

    def next(self) -> Head | None:
        """Take the next head out of the buffer; None while it is not whole. Raises what the client must be told."""
        buffer = self.buffer
        while buffer.startswith(b"\r\n"):
            buffer = self.buffer = buffer[2:]
            self._skipped += 1
            if self._skipped > EMPTY_LINES:
                raise BadRequest("There is no request here, only empty lines.")
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or end > self._limit:
            self._require_beginning(buffer)
            return None
        self.buffer = buffer[end + 4 :]
        self._skipped = 0
        return _parse(buffer[: end + 4])

    def _require_beginning(self, buffer: bytes) -> None:
        """Refuse what cannot become a head, or has become too long for one."""
        if not buffer or buffer == b"\r":
            return
        start = _START_LINE.match(buffer)
        if start is None and _START_OF_LINE.match(buffer[: TARGET_LIMIT + 128]) is None:
            raise _bad_start(buffer)
        if len(buffer) > self._limit:
            raise HeaderFieldsTooLarge(f"The head of a request may have {self._limit} bytes.")
        _require_line_ends(buffer)


def _parse(data: bytes) -> Head:
    """`data`: a start line, field lines, an empty line."""
    start = _START_LINE.match(data)
    if start is None:
        raise _bad_start(data)
    method, target, major, minor = start.groups()
    if major != b"1":
        raise VersionNotSupported("This server speaks HTTP/1.1 and HTTP/1.0.")
    is_11, lines = minor != b"0", data[start.end() :]
    read = _read_fields if len(lines) <= _REMEMBERED else _read_fields.__wrapped__
    rest: _Rest = read(lines, is_11)
    head = Head(method.decode("ascii"), target.decode("latin-1"), is_11, *rest)
    return head if target.startswith(b"/") and b"#" not in target and method != b"CONNECT" else _unusual(head)


def _unusual(head: Head) -> Head:
    """A target that is not simply a path (RFC 9112 §3.2)."""
    if head.method == "CONNECT":
        raise NotImplementedMethod("This server is no proxy.")
    if "#" in head.target:
        raise BadRequest("The request-target must not hold a fragment.")
    if head.target == "*":
        return head
    absolute = _ABSOLUTE_FORM.match(head.target)
    if absolute is None:
        raise BadRequest("The request-target must be a path, a URL or *.")
    # RFC 9112 §3.2.2: the target's authority replaces whatever Host says.
    host = absolute[1]
    if _HOST.fullmatch(host) is None:
        raise BadRequest("The host in the request-target is malformed.")
    return head._replace(fields={**head.fields, "host": host}, environ={**head.environ, "HTTP_HOST": host})


_Rest = tuple[Mapping[str, str], Mapping[str, str], int | None, bool, bool]

# A client repeats itself: its requests differ in the start line, and in little or nothing else. Larger heads, and
# more of them, would be memory for strangers to fill.
_REMEMBERED = 1024


@lru_cache(maxsize=512)
def _read_fields(lines: bytes, is_11: bool) -> _Rest:
    """All of a head but its start line: what `Head` has from `fields` on."""
    _require_line_ends(lines)
    found = _Fields()
    try:
        HttpRequestParser(found).feed_data(_KNOWN_START + lines)
    except HttpParserUpgrade:
        pass  # RFC 9110 §7.8: a server may ignore Upgrade
    except HttpParserError as error:
        raise BadRequest(
            "A header field of the request is malformed, or those that tell its body's length contradict each other."
        ) from error
    if found.count > FIELDS_LIMIT:
        raise HeaderFieldsTooLarge(f"A request may have {FIELDS_LIMIT} header fields.")
    if found.repeated:
        raise BadRequest(f"The header field {found.repeated} may be there once.")
    fields = found.fields
    _require_host(fields, is_11)
    options = {option.strip(" \t") for option in fields.get("connection", "").lower().split(",")}
    keep_alive = "close" not in options and (is_11 or "keep-alive" in options)
    # RFC 9110 §10.1.1: to a client of HTTP/1.0 no 100 is ever sent.
    expects = is_11 and fields.get("expect", "").lower() == "100-continue"
    return fields, found.environ, _length(fields, is_11), keep_alive, expects


def _require_host(fields: Mapping[str, str], is_11: bool) -> None:
    """RFC 9112 §3.2: a server MUST respond with 400 to a request that lacks Host, has two, or an invalid one."""
    host = fields.get("host")
    if host is None:
        if is_11:
            raise BadRequest("An HTTP/1.1 request needs a Host header field.")
    elif _HOST.fullmatch(host) is None:
        raise BadRequest("There must be one Host header field, with one name in it.")


def _length(fields: Mapping[str, str], is_11: bool) -> int | None:
    """RFC 9112 §6.3. None: chunked."""
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None:
        if length is not None:
            # §6.1: ought to be handled as an attempt of request smuggling.
            raise BadRequest("A request has a Content-Length or a Transfer-Encoding, not both.")
        if not is_11:
            raise BadRequest("HTTP/1.0 knows no Transfer-Encoding.")
        if coding.lower() != "chunked":
            raise BadRequest("The only Transfer-Encoding that is understood here is chunked, once.")
        return None
    if length is None:
        return 0
    # RFC 9110 §8.6: 1*DIGIT; int() would also take "+5", "0_5" and " 5 ".
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise BadRequest("There must be one Content-Length, a decimal number.")
    return int(length)


def _require_line_ends(data: bytes) -> None:
    """RFC 9112 §2.2: a recipient may take a bare LF for a line end; §11.2 says what comes of it. Not here."""
    ends = data.count(b"\r\n")
    if data.count(b"\n") != ends or data.count(b"\r") != ends + data.endswith(b"\r"):
        raise BadRequest("The lines of a request's head end with CR LF; there is a CR or LF by itself.")


def _bad_start(data: bytes) -> BadRequest | UriTooLong | VersionNotSupported:
    """What is wrong with a start line that is none."""
    if data.startswith(_TLS_HANDSHAKE):
        return BadRequest("This port speaks plain HTTP, and this is TLS: use http:// in place of https://.")
    line = data[: data.find(b"\n")] if b"\n" in data else data
    if re.match(rb"[%b]+ [!-~\x80-\xff]{%d}" % (_TCHAR, TARGET_LIMIT), line):
        return UriTooLong(f"A URL may have {TARGET_LIMIT} characters.")
    return BadRequest("The request line is malformed.")
