"""The head of a request: one reading of it, however its bytes arrive, and a refusal for what has two."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from davserver.protocol.errors import (
    BadRequest,
    HeaderFieldsTooLarge,
    NotImplementedMethod,
    Refused,
    UriTooLong,
    VersionNotSupported,
)
from davserver.server.http.head import EMPTY_LINES, FIELDS_LIMIT, TARGET_LIMIT, Head, HeadReader

LIMIT = 32 * 1024
TAIL = b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n"


def read(*pieces: bytes) -> tuple[Head | None, bytes]:
    """The head that is whole after these pieces, and what is left of them."""
    reader = HeadReader(LIMIT)
    for piece in pieces:
        reader.buffer += piece
        head = reader.next()
        if head is not None:
            return head, reader.buffer
    return None, reader.buffer


def in_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def ways(data: bytes) -> list[tuple[Head | None, bytes]]:
    """Whole, byte by byte, and with a tail."""
    head, rest = read(data + TAIL)
    return [read(data), read(*in_bytes(data)), (head, rest.removesuffix(TAIL))]


def request(fields: str = "Host: x\r\n", line: str = "GET / HTTP/1.1") -> bytes:
    return f"{line}\r\n{fields}\r\n".encode("latin-1")


@pytest.mark.parametrize(
    ("data", "method", "target", "length", "keep", "expects"),
    [
        (request(), "GET", "/", 0, True, False),
        (b"\r\n\r\n" + request(), "GET", "/", 0, True, False),
        (request("", "GET /a%20b?q=1 HTTP/1.0"), "GET", "/a%20b?q=1", 0, False, False),
        (request("Connection: Keep-Alive\r\n", "GET / HTTP/1.0"), "GET", "/", 0, True, False),
        (request("Host: x\r\nConnection: close\r\n"), "GET", "/", 0, False, False),
        (request("Host: x\r\nConnection: TE , Close\r\n"), "GET", "/", 0, False, False),
        (request("Host: x\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"), "GET", "/", 0, True, False),
        (request("Host: x\r\nContent-Length: 12\r\n", "PUT /f HTTP/1.1"), "PUT", "/f", 12, True, False),
        (request("Host: x\r\nContent-Length: 007\r\n", "PUT /f HTTP/1.1"), "PUT", "/f", 7, True, False),
        (request("Host: x\r\nTransfer-Encoding: Chunked\r\n", "PUT /f HTTP/1.1"), "PUT", "/f", None, True, False),
        (request("Host: x\r\nExpect: 100-Continue\r\n", "PUT /f HTTP/1.1"), "PUT", "/f", 0, True, True),
        (request("Expect: 100-continue\r\n", "PUT /f HTTP/1.0"), "PUT", "/f", 0, False, False),
        (request("Host:\r\n", "OPTIONS * HTTP/1.1"), "OPTIONS", "*", 0, True, False),
        (request("Host: [::1]:8080\r\n", "FROB~!x / HTTP/1.1"), "FROB~!x", "/", 0, True, False),
        (request(line="GET /\xc3\xbc HTTP/1.1"), "GET", "/\xc3\xbc", 0, True, False),
    ],
)
def test_a_head_is_read_alike_whole_byte_by_byte_and_with_a_tail(
    data: bytes, method: str, target: str, length: int | None, keep: bool, expects: bool
) -> None:
    for head, rest in ways(data):
        assert head is not None
        assert rest == b""
        found = (head.method, head.target, head.length, head.keep_alive, head.expects_continue)
        assert found == (method, target, length, keep, expects)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ("Depth:1\r\n", "depth", "1"),
        ("DEPTH: \t 1 \t\r\n", "depth", "1"),
        ("Depth:\r\n", "depth", ""),
        ('If-Match: "a"\r\nIf-Match: "b"\r\n', "if-match", '"a", "b"'),
        ("Cookie: a=1\r\nCookie: b=2\r\n", "cookie", "a=1; b=2"),
        ("X-Bytes: \xe4\x80\xff\r\n", "x-bytes", "\xe4\x80\xff"),
        ("Destination: /a b \xc3\xbc\r\n", "destination", "/a b \xc3\xbc"),
    ],
)
def test_fields(fields: str, name: str, value: str) -> None:
    for head, _ in ways(request(f"Host: x\r\n{fields}")):
        assert head is not None
        assert head.fields == {"host": "x", name: value}
        assert head.environ == {"HTTP_HOST": "x", f"HTTP_{name.upper().replace('-', '_')}": value}


def test_content_type_and_length_have_their_wsgi_names() -> None:
    head, _ = read(request("Host: x\r\nContent-Type: a/b\r\nContent-Length: 1\r\n"))
    assert head is not None
    assert head.environ == {"HTTP_HOST": "x", "CONTENT_TYPE": "a/b", "CONTENT_LENGTH": "1"}


def test_names_with_an_underscore_are_dropped() -> None:
    """WSGI could not tell X_Forwarded_For from the field that a proxy has set."""
    head, _ = read(request("Host: x\r\nX_Forwarded_For: 1\r\nContent_Length: 5\r\nIf_: x\r\n"))
    assert head is not None
    assert head.fields == {"host": "x"}
    assert head.length == 0


def test_an_absolute_form_replaces_the_host() -> None:
    """RFC 9112 §3.2.2."""
    head, _ = read(request("Host: front\r\n", "GET http://user@Back:81/a?b HTTP/1.1"))
    assert head is not None
    assert head.target == "http://user@Back:81/a?b"
    assert head.fields["host"] == head.environ["HTTP_HOST"] == "Back:81"


REFUSED = [
    # request lines
    (b"GET /\r\n\r\n", BadRequest),
    (b"GET\r\n\r\n", BadRequest),
    (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", BadRequest),
    (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b" GET / HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET / http/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET / HTTP/1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET / HTTP/11.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", VersionNotSupported),
    (b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", VersionNotSupported),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VersionNotSupported),
    (b"GET /#frag HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET path HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", NotImplementedMethod),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BadRequest),
    (b"\x00" * 20, BadRequest),
    (b"SSH-2.0-OpenSSH_9.6\r\n", BadRequest),
    # line ends
    (b"GET / HTTP/1.1\nHost: x\n\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\n\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\nGET /evil HTTP/1.1\r\n\r\n", BadRequest),
    (b"\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    # fields
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\tA: b\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA\xe4: b\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x7f\r\n\r\n", BadRequest),
    # Host (RFC 9112 §3.2)
    (b"GET / HTTP/1.1\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", BadRequest),
    (b"GET / HTTP/1.1\r\nHost: h:80x\r\n\r\n", BadRequest),
    (b"GET http://a@b@c/ HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    (b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n", BadRequest),
    # lengths (RFC 9112 §6.3)
    *(
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n" % value, BadRequest)
        for value in (
            b"-1", b"+5", b"0_5", b"0x5", b"5 5", b"5, 5", b"5,5", b"", b"five", b"5.0", b"1e3", b"\xb2",
            b"9" * 19, b"9" * 5000, b"18446744073709551616",
        )
    ),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n", BadRequest),
    # codings (RFC 9112 §6.1)
    (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", BadRequest),
    *(
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n" % value, BadRequest)
        for value in (
            b"", b"identity", b"gzip", b"xchunked", b"chunkedx", b"chunked,", b", chunked", b"chunked, chunked",
            b"chunked, gzip", b"gzip, chunked", b"chunked;q=1", b'"chunked"', b"\x0bchunked", b"chunked\x0b",
        )
    ),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
    (b"PUT / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
    # limits
    (b"\r\n" * (EMPTY_LINES + 1), BadRequest),
    (b"GET /" + b"a" * TARGET_LIMIT + b" HTTP/1.1\r\nHost: x\r\n\r\n", UriTooLong),
    (b"GET /" + b"a" * TARGET_LIMIT, UriTooLong),
    (b"A" * 65, BadRequest),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * LIMIT + b"\r\n\r\n", HeaderFieldsTooLarge),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * LIMIT, HeaderFieldsTooLarge),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * FIELDS_LIMIT + b"\r\n", HeaderFieldsTooLarge),
]  # fmt: skip


@pytest.mark.parametrize(("data", "refusal"), REFUSED, ids=[repr(data[:60])[2:-1] for data, _ in REFUSED])
def test_what_can_be_read_in_two_ways_is_refused(data: bytes, refusal: type[Refused]) -> None:
    for pieces in ([data], [data + TAIL], in_bytes(data) if len(data) < 2000 else [data[:1000], data[1000:]]):
        with pytest.raises(refusal):
            read(*pieces)


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("Depth", "0", "1"),
        ("Depth", "0", "0"),
        ("Destination", "/a", "/b"),
        ("Overwrite", "T", "F"),
        ("Lock-Token", "<urn:a:b>", "<urn:a:c>"),
        ("If", "(<urn:a:b>)", "(<urn:a:c>)"),
        ("Authorization", "Basic YTpi", "Basic YTpj"),
        ("Range", "bytes=0-1", "bytes=2-3"),
        ("If-Range", '"a"', '"b"'),
        ("Content-Type", "text/plain", "text/html"),
        ("Transaction-Id", "a", "b"),
        ("X-Expected-Entity-Length", "1", "2"),
    ],
)
def test_a_field_of_one_value_may_be_there_once(field: str, one: str, other: str) -> None:
    with pytest.raises(BadRequest, match=field.lower()):
        read(request(f"Host: x\r\n{field}: {one}\r\n{field.upper()}: {other}\r\n"))


@pytest.mark.parametrize("field", ["Timeout", "If-Match", "If-None-Match", "Accept", "Prefer", "X-Forwarded-For"])
def test_a_list_may_be_in_several_lines(field: str) -> None:
    head, _ = read(request(f'Host: x\r\n{field}: "a"\r\n{field}: "b"\r\n'))
    assert head is not None
    assert head.fields[field.lower()] == '"a", "b"'


@pytest.mark.parametrize(
    "start",
    [b"", b"G", b"GET", b"GET ", b"GET /", b"GET / ", b"GET / HT", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r",
     b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost", b"GET / HTTP/1.1\r\nHost: x\r\n\r", b"\r", b"\r\n"],
)  # fmt: skip
def test_a_beginning_is_waited_for(start: bytes) -> None:
    for pieces in ([start], in_bytes(start)):
        head, _ = read(*pieces)
        assert head is None


def test_a_head_up_to_the_limit_is_read() -> None:
    start, end = b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"\r\n\r\n"
    head, _ = read(start + b"b" * (LIMIT - len(start)) + end)
    assert head is not None
    head, _ = read(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (FIELDS_LIMIT - 1) + b"\r\n")
    assert head is not None


def test_heads_follow_one_another() -> None:
    reader = HeadReader(LIMIT)
    reader.buffer = request() + TAIL + b"\r\n" + TAIL + b"GET"
    targets = [head.target for head in iter(reader.next, None)]
    assert targets == ["/", "/next", "/next"]
    assert reader.buffer == b"GET"


TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
#: RFC 9112 §2.1 to §5, as far as framing goes, written down once more and without any parser.
ORACLE = re.compile(
    rb"(?:\r\n)*" + TOKEN + rb" [!-~\x80-\xff]+ HTTP/1\.[0-9]\r\n(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)
PIECE = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"PUT /a HTTP/1.0\r\n", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"Host: x\r\n",
     b"Content-Length: 3\r\n", b"Content-Length:3", b"Transfer-Encoding: chunked\r\n", b"A", b"A: b\r\n", b",", b"\xff",
     b"Connection: close\r\n"]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=80), st.lists(PIECE, max_size=12).map(b"".join)))
@example(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
def test_any_bytes_are_a_head_or_a_refusal_or_a_beginning(data: bytes) -> None:
    """Nothing else is ever raised; what is accepted obeys the grammar; and pieces change nothing."""

    def outcome(*pieces: bytes) -> object:
        try:
            head, _ = read(*pieces)
        except Refused as refused:
            return type(refused)
        return head

    whole = outcome(data)
    assert outcome(*in_bytes(data)) == whole or isinstance(whole, type)
    if isinstance(whole, Head):
        assert ORACLE.match(data)
        assert not ("content-length" in whole.fields and "transfer-encoding" in whole.fields)
        assert "host" in whole.fields or not whole.is_11
