"""HTTP as it goes over the wire: every byte of a request said, every byte of the answer seen."""

from __future__ import annotations

import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Running, serving
from wire import Dav, Raw

from davserver.server.http.inbound import Pace
from davserver.server.http.server import Limits


@pytest.fixture
def file(dav: Dav, folder: str) -> str:
    path = f"{folder}/f.txt"
    assert dav("PUT", path, b"0123456789").status == 201
    return path


@pytest.fixture
def raw(server: Running) -> Iterator[Raw]:
    with server.raw() as raw:
        yield raw


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode("latin-1")


# --- what is refused


SMUGGLED = "DELETE {} HTTP/1.1\r\nHost: x\r\n\r\n"
FRAMINGS = [
    "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: {n}\r\n\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {n}\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\nContent-Length: 0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 0, {n}\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length : {n}\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: +{n}\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n {n}\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "PUT /f HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: x\n\r\n",
    "GET /f HTTP/1.1\r\nHost: x\r\n\n",
    "GET /f HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: x\r\nX: y\rContent-Length: 5\r\n\r\n",
    "GET /f HTTP/1.1\r\nHost: x\r\nX\0: y\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    "PUT /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
    "GET /f HTTP/2.0\r\nHost: x\r\n\r\n",
    "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /f#x HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("how", ["whole", "byte by byte"])
@pytest.mark.parametrize("framing", FRAMINGS, ids=range(len(FRAMINGS)))
def test_a_request_with_two_readings_gets_one_answer_and_the_end(
    framing: str, how: str, server: Running, dav: Dav, folder: str, file: str
) -> None:
    """What stands behind it is not taken for the next request."""
    hidden = SMUGGLED.format(file)
    data = (framing.replace("/f", f"{folder}/new").replace("{n}", str(len(hidden))) + hidden).encode("latin-1")
    with server.raw() as raw:
        if how == "whole":
            raw.send(data)
        else:
            raw.trickle(data)
        status, fields, body = raw.answer()
        assert 400 <= status <= 505, framing
        assert fields["connection"] == "close"
        assert body
        assert raw.rest() == b""
    assert dav("GET", file).status == 200
    assert dav("GET", f"{folder}/new").status == 404


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, 400, "http://"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "URL"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431, "head"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 300 + b"\r\n", 431, "fields"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "Host"),
        (b"garbage\r\n\r\n", 400, "request line"),
        (b"\r\n" * 20, 400, "empty"),
    ],
)
def test_a_refusal_says_what_is_wrong(sent: bytes, status: int, said: str, raw: Raw) -> None:
    raw.send(sent)
    found, fields, body = raw.answer()
    assert found == status
    assert said in body.decode()
    assert fields["content-type"] == "text/plain; charset=utf-8"
    assert raw.rest() == b""


@pytest.mark.parametrize(
    "end", [b"", b"GET / HTTP/1.1\r\nHost", b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_a_client_that_says_no_more_gets_its_answer_and_the_end(end: bytes, raw: Raw) -> None:
    raw.send(end)
    raw.stop_sending()
    status, fields, _ = raw.answer()
    if end:
        assert status == 400
        assert fields["connection"] == "close"
    assert raw.rest() == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("FROB", "/", 501),
        ("TRACE", "/", 501),
        ("get", "/", 501),
        ("REPORT", "/", 501),
        ("GET", "*", 400),
        ("PUT", "*", 400),
    ],
)
def test_methods_and_targets_that_mean_nothing_here(method: str, path: str, status: int, raw: Raw) -> None:
    """They are well formed: the connection goes on."""
    for _ in range(2):
        raw.send(head(method, path, "Content-Length: 3") + b"abc")
        found, fields, _ = raw.answer()
        assert found == status
        assert "connection" not in fields


def test_an_absolute_form_means_its_path_and_its_host(raw: Raw, file: str, folder: str) -> None:
    """RFC 9112 §3.2.2: whatever Host says."""
    raw.send(head("GET", f"http://other:81{file}"))
    assert raw.answer()[2] == b"0123456789"
    raw.send(head("OPTIONS", "http://other"))
    assert raw.answer()[0] == 200
    raw.send(head("MOVE", f"http://other:81{file}", f"Destination: http://other:81{folder}/moved"))
    assert raw.answer()[0] == 201
    raw.send(head("MOVE", f"http://other:81{folder}/moved", f"Destination: http://x{file}"))
    assert raw.answer()[0] == 502


def test_an_asterisk_is_for_options(raw: Raw) -> None:
    raw.send(head("OPTIONS", "*"))
    status, fields, _ = raw.answer()
    assert status == 200
    assert fields["dav"].startswith("1, 2, 3")


PIECES = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"PUT /any HTTP/1.1\r\n", b"LOCK /any HTTP/1.0\r\n", b"Host: x\r\n", b"\r\n", b"\n", b"\r",
     b"Content-Length: 5\r\n", b"Content-Length: 500000\r\n", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n",
     b"0\r\n\r\n", b"hello", b"Expect: 100-continue\r\n", b"If: (((\r\n", b"Depth: 1\r\n", b"Connection: close\r\n",
     b"\0", b"\xff", b":", b"<", b" "]
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(PIECES, max_size=20).map(b"".join))
def test_whatever_is_sent_every_connection_ends_and_the_server_lives(data: bytes, server: Running) -> None:
    with server.raw() as raw, suppress(ConnectionError):
        raw.send(data)
        raw.stop_sending()
        answers = raw.rest()
        assert answers == b"" or answers.startswith(b"HTTP/1.1 ")
        assert b"HTTP/1.1 500" not in answers
    with server.raw() as raw:
        raw.send(head("OPTIONS", "/"))
        assert raw.answer()[0] == 200


# --- manners


def test_every_answer_has_a_date_and_no_version(raw: Raw, file: str) -> None:
    for method, path in (("GET", file), ("OPTIONS", "/"), ("GET", "/no"), ("HEAD", file), ("FROB", "/")):
        raw.send(head(method, path))
        _, fields, _ = raw.answer(head=method == "HEAD")
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", fields["date"])
        assert fields["server"] == "davserver"


@pytest.mark.parametrize("name", ["", "files"])
def test_the_server_field_is_the_operators(name: str, tmp_path: Path) -> None:
    with serving(tmp_path, server_header=name) as running, running.raw() as raw:
        raw.send(head("OPTIONS", "/"))
        assert raw.answer()[1].get("server", "") == name


@pytest.mark.parametrize(
    ("line", "connection", "kept"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "close", False),
        ("HTTP/1.1", "Close, TE", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "keep-alive", True),
    ],
)
def test_the_connection_ends_when_the_client_says_so(
    line: str, connection: str, kept: bool, raw: Raw, file: str
) -> None:
    """RFC 9112 §9.3, §9.6."""
    for _ in range(2 if kept else 1):
        raw.send(f"GET {file} {line}\r\nHost: x\r\nConnection: {connection}\r\n\r\n".encode())
        status, fields, body = raw.answer()
        assert (status, body) == (200, b"0123456789")
        expected = ("keep-alive" if line == "HTTP/1.0" else None) if kept else "close"
        assert fields.get("connection") == expected
    if not kept:
        assert raw.rest() == b""


def test_a_stream_to_http_1_0_ends_with_the_connection(raw: Raw, dav: Dav, folder: str) -> None:
    for number in range(300):
        dav("PUT", f"{folder}/a-name-that-is-rather-long-{number}", b"")
    raw.send(f"PROPFIND {folder}/ HTTP/1.0\r\nDepth: 1\r\n\r\n".encode())
    status, fields = raw.head()
    assert status == 207
    assert "transfer-encoding" not in fields
    assert fields["connection"] == "close"
    assert raw.rest().endswith(b"</D:multistatus>")


def test_requests_that_come_together_are_answered_in_order(raw: Raw, file: str, folder: str) -> None:
    """RFC 9112 §9.3.2."""
    wanted = []
    data = b""
    for number in range(50):
        data += head("PUT", f"{folder}/p{number}", "Content-Length: 3") + b"%03d" % number
        data += head("PUT", f"{folder}/p{number}", "Transfer-Encoding: chunked") + b"3\r\n%03d\r\n0\r\n\r\n" % number
        data += b"\r\n" + head("GET", f"{folder}/p{number}")
        wanted += [(201, b""), (204, b""), (200, b"%03d" % number)]
    raw.send(data)
    for status, body in wanted:
        found = raw.answer()
        assert (found[0], found[2]) == (status, body)


def test_requests_that_trickle_in_are_answered(raw: Raw, folder: str) -> None:
    raw.trickle(head("PUT", f"{folder}/t", "Content-Length: 3") + b"abc" + head("GET", f"{folder}/t"))
    assert raw.answer()[0] == 201
    assert raw.answer()[2] == b"abc"


def test_head_has_the_fields_of_get_and_no_body(raw: Raw, file: str, folder: str) -> None:
    for path in (file, f"{folder}/", "/missing"):
        raw.send(head("GET", path))
        status, wanted, _ = raw.answer()
        raw.send(head("HEAD", path))
        found, fields, _ = raw.answer(head=True)
        assert found == status
        for name in ("content-type", "etag", "last-modified"):
            assert fields.get(name) == wanted.get(name)


def test_head_of_a_folder_keeps_the_connection(raw: Raw, file: str, folder: str) -> None:
    """Its page is made up as it is sent, with no length told; what HEAD answers ends with its head all the same."""
    raw.send(head("HEAD", f"{folder}/") + head("GET", file))
    status, fields, _ = raw.answer(head=True)
    assert (status, fields.get("connection")) == (200, None)
    assert raw.answer()[0] == 200


@pytest.mark.parametrize("target", ["/{file}", "//{file}", "http://x/{file}", "http://x//{file}", "HTTP://x:80/{file}"])
def test_targets_that_mean_the_same_file(raw: Raw, file: str, target: str) -> None:
    raw.send(head("GET", target.format(file=file.lstrip("/"))))
    assert raw.answer()[0] == 200


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"NONSENSE\r\n\r\n", '"- -" 400'),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", '"- -" 505'),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Field: 1\r\n\r\n", '"- -" 400'),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", '"- -" 414'),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", '"GET /%zz" 400'),
        (b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", '"BREW /pot" 501'),
        (b"GET /missing?secret=1 HTTP/1.1\r\nHost: x\r\n\r\n", '"GET /missing" 404'),
    ],
)
def test_every_refusal_leaves_a_line(raw: Raw, caplog: pytest.LogCaptureFixture, data: bytes, line: str) -> None:
    caplog.set_level("INFO", "davserver.access")
    raw.send(data)
    assert raw.answer()[0] >= 400
    end = time.monotonic() + 20  # the line is written when the answer has gone out
    while not [record.message for record in caplog.records if line in record.message]:
        assert time.monotonic() < end, caplog.messages
        time.sleep(0.01)


def test_a_download_that_is_given_up_is_logged_with_what_was_sent(
    server: Running, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "davserver.access")
    size = 200_000_000
    with (server.root / folder.strip("/") / "big").open("wb") as big:
        big.truncate(size)
    with server.raw(receive_buffer=4096) as reader:
        reader.send(head("GET", f"{folder}/big"))
        assert reader.head()[0] == 200
        reader.read(100_000)
    while not (lines := [record.message for record in caplog.records if "/big" in record.message]):
        server.client()("OPTIONS", "/")
    sent = int(lines[0].split()[-2])
    assert 100_000 <= sent < size


# --- bodies


def test_a_large_upload_and_download_are_whole(server: Running, folder: str) -> None:
    content = bytes(range(256)) * 40_000
    with server.raw() as raw:
        raw.send(head("PUT", f"{folder}/big", f"Content-Length: {len(content)}") + content)
        assert raw.answer()[0] == 201
        raw.send(head("GET", f"{folder}/big") + head("OPTIONS", "/"))
        assert raw.answer()[2] == content
        assert raw.answer()[0] == 200
        raw.send(head("GET", f"{folder}/big", "Range: bytes=1000000-9000000"))
        status, _, body = raw.answer()
        assert (status, body) == (206, content[1_000_000:9_000_001])


def test_a_large_chunked_upload_is_whole(server: Running, folder: str) -> None:
    """As Finder sends it; and what comes right behind it is the next request."""
    content = bytes(range(256)) * 8000
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(chunk), chunk)
        for chunk in (content[at : at + 100_000] for at in range(0, len(content), 100_000))
    )
    with server.raw() as raw:
        fields = ("Transfer-Encoding: chunked", f"X-Expected-Entity-Length: {len(content)}")
        raw.send(head("PUT", f"{folder}/c", *fields) + chunks + b"0\r\n\r\n" + head("GET", f"{folder}/c"))
        assert raw.answer()[0] == 201
        assert raw.answer()[2] == content


def test_a_download_waits_for_a_slow_reader_and_holds_nobody_up(server: Running, dav: Dav, folder: str) -> None:
    content = b"0123456789abcdef" * 1_000_000
    dav("PUT", f"{folder}/big", content)
    with server.raw(receive_buffer=4096) as slow:
        slow.send(head("GET", f"{folder}/big") + head("OPTIONS", "/"))
        assert slow.head()[0] == 200
        for _ in range(20):
            assert dav("OPTIONS", "/").status == 200
        end = time.monotonic() + 20  # of the thread that has found out how slow it is
        while server.server.requests.busy > 1:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert slow.read(len(content)) == content
        assert slow.answer()[0] == 200


def test_a_100_is_only_sent_where_the_body_is_wanted(server: Running, dav: Dav, folder: str, file: str) -> None:
    """RFC 9110 §10.1.1. Not after a lock, a precondition, a missing parent, a wrong method or a wrong path."""
    assert dav.lock(file).status == 200
    expect = ("Content-Length: 1000000000", "Expect: 100-continue")
    for path, fields, status in (
        (file, (), 423),
        (f"{folder}/new", ("If-Match: *",), 412),
        (f"{folder}/no/parent", (), 409),
        (f"{folder}", (), 405),
        (f"{folder}/new", ("Content-Range: bytes 0-1/2",), 400),
        ("/%00", (), 400),
    ):
        with server.raw() as raw:
            raw.send(head("PUT", path, *fields, *expect))
            found, answered, _ = raw.answer()
            assert found == status
            assert answered["connection"] == "close"
            assert raw.rest() == b""


def test_http_1_0_never_gets_a_100(raw: Raw, folder: str) -> None:
    raw.send(f"PUT {folder}/f HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc".encode())
    assert raw.answer()[0] == 201


def test_a_body_that_is_here_needs_no_100(raw: Raw, folder: str) -> None:
    raw.send(head("PUT", f"{folder}/f", "Content-Length: 3", "Expect: 100-continue") + b"abc")
    assert raw.answer()[0] == 201


@pytest.mark.parametrize("size", [10, 100_000, 900_000])
def test_a_refused_body_is_drained_and_the_connection_goes_on(size: int, raw: Raw, dav: Dav, file: str) -> None:
    assert dav.lock(file).status == 200
    raw.send(head("PUT", file, f"Content-Length: {size}") + b"x" * size + head("GET", file))
    assert raw.answer()[0] == 423
    assert raw.answer()[2] == b"0123456789"


def test_a_refused_body_that_never_ends_is_cut_off(server: Running, dav: Dav, file: str) -> None:
    assert dav.lock(file).status == 200
    with server.raw() as raw:
        raw.send(head("PUT", file, "Transfer-Encoding: chunked") + b"10000\r\n" + b"x" * 65536 + b"\r\n")
        for _ in range(20):
            raw.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        status, fields, _ = raw.answer()
        assert (status, fields["connection"]) == (423, "close")


def test_a_short_body_changes_nothing(server: Running, dav: Dav, file: str) -> None:
    before = dav("GET", file)
    for data in (
        head("PUT", file, "Content-Length: 300000") + b"x" * 200_000,
        head("PUT", file, "Content-Length: 10") + b"x",
        head("PUT", file, "Transfer-Encoding: chunked") + b"5\r\nxx",
        head("PUT", file, "Transfer-Encoding: chunked") + b"5\r\nxxxxx\r\n",
    ):
        with server.raw() as raw:
            raw.send(data)
            raw.stop_sending()
            status, fields, _ = raw.answer()
            assert (status, fields["connection"]) == (400, "close")
        after = dav("GET", file)
        assert (after.body, after.headers["etag"]) == (before.body, before.headers["etag"])


# --- time


QUICK = Limits(head_seconds=0.2, idle_seconds=0.2, pace=Pace(1_000_000, 0.2))


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose patience is short."""
    with serving(tmp_path_factory.mktemp("hasty"), server_limits=QUICK) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 0),
        (b"GET / HTTP/1.1\r\nHost: x", 408),
        (b"GET", 408),
        (head("PROPFIND", "/", "Content-Length: 50") + b"<", 408),
        (head("PUT", "/f", "Content-Length: 500000") + b"x", 408),
        (head("PUT", "/f", "Transfer-Encoding: chunked") + b"5\r\nx", 408),
        (head("PUT", "/f", "Transfer-Encoding: chunked") + b"5", 408),
    ],
)
def test_what_stops_coming_is_given_up(sent: bytes, status: int, hasty: Running) -> None:
    with hasty.raw() as raw:
        raw.send(sent)
        found, fields, body = raw.answer()
        assert found == status
        if status:
            assert fields["connection"] == "close"
            assert b"stopped coming" in body
        assert raw.rest() == b""
    assert not (hasty.root / "f").exists()


@pytest.mark.slow
def test_a_connection_is_not_kept_for_ever(hasty: Running) -> None:
    with hasty.raw() as raw:
        raw.send(head("OPTIONS", "/"))
        assert raw.answer()[0] == 200
        assert raw.rest() == b""


@pytest.mark.slow
def test_a_body_below_the_least_rate_is_given_up(hasty: Running) -> None:
    """It never pauses for as long as it might, and it is too slow all the same."""
    with hasty.raw() as raw:
        raw.send(head("PUT", "/f", "Content-Length: 10000000"))
        while not raw.has_answer:
            raw.trickle(b"x" * 10)
            raw.wait(0.01)
        assert raw.answer()[0] == 408
    assert not (hasty.root / "f").exists()


# --- gzip


def test_made_up_answers_are_compressed_for_who_accepts_it(dav: Dav, folder: str) -> None:
    for number in range(20):
        dav("PUT", f"{folder}/member-{number}", b"")
    plain = dav.propfind(f"{folder}/", depth="1")
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    packed = dav.propfind(f"{folder}/", depth="1", Accept_Encoding="deflate, gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert zlib.decompress(packed.body, 31).count(b"<D:response>") == 21
    assert len(packed.body) < len(plain.body) / 4
    windows = dav.propfind(
        f"{folder}/", depth="1", Accept_Encoding="gzip", User_Agent="Microsoft-WebDAV-MiniRedir/10.0.19045"
    )
    assert "content-encoding" not in windows.headers


def test_long_listings_are_compressed_as_they_go(dav: Dav, folder: str) -> None:
    for number in range(400):
        dav("PUT", f"{folder}/a-name-that-is-rather-long-{number}", b"")
    answer = dav.propfind(f"{folder}/", depth="1", Accept_Encoding="gzip")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert zlib.decompress(answer.body, 31).count(b"<D:response>") == 401


def test_files_are_never_compressed(dav: Dav, folder: str) -> None:
    dav("PUT", f"{folder}/f.xml", b"<a/>" * 1000)
    for fields in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=0-3,8-11"}):
        answer = dav("GET", f"{folder}/f.xml", Accept_Encoding="gzip", **fields)
        assert "content-encoding" not in answer.headers
        assert "vary" not in answer.headers


# --- who asks


def test_only_a_proxy_of_ours_speaks_for_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "davserver.access")
    fields = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "files.example", "X-Forwarded-Proto": "https"}
    for trusted, client, status in (([], "127.0.0.1", 502), (["127.0.0.0/8"], "203.0.113.9", 201)):
        caplog.clear()
        with serving(tmp_path, trusted_proxies=trusted) as running:
            dav = running.client()
            dav("PUT", "/f", b"x")
            moved = dav("MOVE", "/f", headers={**fields, "Destination": "https://files.example/g"})
            assert moved.status == status
            assert f'{client} - "MOVE /f" {status}' in caplog.text
            dav.close()


def test_a_unix_socket_serves(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (tmp_path / "state").mkdir()
    with serving(tmp_path, host=f"unix:{path}", trusted_proxies=["unix"]), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(head("OPTIONS", "/", "Connection: close"))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
