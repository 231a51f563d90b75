"""The API on the wire: whole connections, byte by byte, with WebDAV on them too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiworld import BASE, SETTINGS, login
from serving import Running, serving

AUTH, BOBS = (f"Authorization: {login(name)['Authorization']}\r\n" for name in ("alice", "bob"))
JSON = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("server"), **SETTINGS) as running:
        (running.root / "f").write_text("x")
        yield running


def request(
    method: str, path: str, headers: str = "", body: bytes = b"", *, host: str = "Host: x\r\n", auth: str = AUTH
) -> bytes:
    return f"{method} {path} HTTP/1.1\r\n{host}{auth}{headers}\r\n".encode() + body


def posted(path: str, body: bytes, headers: str = "") -> bytes:
    return request("POST", BASE + path, f"{JSON}Content-Length: {len(body)}\r\n{headers}", body)


GET_LOCKS = request("GET", f"{BASE}/locks")
#: What is asked, and the status; the connection must then be good for another request.
KEPT = [
    (GET_LOCKS, 200),
    (request("GET", f"http://x{BASE}/locks"), 200),
    (request("GET", f"{BASE}/locks?limit=0"), 422),
    (request("GET", f"{BASE}/nothing"), 404),
    (request("GET", f"{BASE}/locks/1", "Accept: text/html\r\n"), 404),
    (request("DELETE", f"{BASE}/locks", "Content-Length: 3\r\n", b"abc"), 405),
    (request("OPTIONS", f"{BASE}/locks"), 200),
    (request("GET", f"{BASE}/openapi.json", "Accept-Encoding: gzip\r\n"), 200),
    (posted("/checkouts", b"{"), 400),
    (posted("/checkouts", b"{}"), 422),
    (posted("/checkouts", b'{"path": "/nothing"}'), 404),
    (posted("/nothing", b'{"path": "/f"}'), 404),
    (posted("/checkouts", b'{"path": "/f"}', "Sec-Fetch-Site: cross-site\r\n"), 403),
    (request("POST", f"{BASE}/checkouts", "Content-Length: 2\r\n", b"{}"), 415),
    (request("POST", f"{BASE}/checkouts", "Content-Length: 0\r\n"), 415),
    (request("POST", f"{BASE}/checkouts", f"{JSON}Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"), 422),
    # A body that is refused may hold another request, which must not be carried out.
    (request("PUT", f"{BASE}/locks", f"Content-Length: {len(GET_LOCKS)}\r\n", GET_LOCKS), 405),
    (request("PROPFIND", "/-/", "Content-Length: 0\r\n"), 404),
    (request("PUT", "/f", "Content-Length: 1\r\n", b"y"), 204),
]


@pytest.mark.parametrize(("sent", "status"), KEPT)
def test_a_connection_goes_on_after_every_answer(sent: bytes, status: int, server: Running) -> None:
    with server.raw() as raw:
        raw.send(sent)
        answered, fields, body = raw.answer()
        assert (answered, fields.get("connection")) == (status, None)
        if status >= 400:
            assert fields["content-type"] == "application/problem+json"
            assert json.loads(body)["status"] == status
        raw.send(GET_LOCKS)
        assert raw.answer()[0] == 200


@pytest.mark.slow
def test_letters_stand_in_a_query_as_they_are(server: Running) -> None:
    (server.root / "größe.txt").write_text("x")
    with server.raw() as raw:

        def asked(sent: bytes) -> tuple[int, Any]:
            raw.send(sent)
            status, _, body = raw.answer()
            return status, json.loads(body or b"null")

        status, lock = asked(posted("/checkouts", '{"path": "/größe.txt"}'.encode()))
        assert status == 201
        for name in "größe.txt", "gr%C3%B6%C3%9Fe.txt", "gr%C3%B6ße.txt":
            assert asked(request("GET", f"{BASE}/locks?path=/{name}"))[1]["locks"] == [lock], name
            assert asked(request("GET", f"{BASE}/locks?path=/{name}&wait=1"))[0] == 204, name
        for query in b"gr\xf6\xdfe.txt", b"gr\xc3", b"gr\xc3%B6":
            status, refused = asked(request("GET", f"{BASE}/locks?path=/").replace(b"path=/", b"path=/" + query))
            assert (status, "UTF-8" in refused["detail"]) == (400, True), query
        assert asked(request("DELETE", f"{BASE}/locks/{lock['id']}", auth=BOBS))[0] == 400
        assert asked(request("DELETE", f"{BASE}/locks/{lock['id']}?reason=für+dich", auth=BOBS))[0] == 204
    with server.raw() as raw:
        raw.send(request("GET", f"{BASE}/events?after=0&seconds=1"))
        assert '"break_reason":"für dich"'.encode() in raw.answer()[2]


def test_what_was_sent_at_once_is_answered_in_order(server: Running) -> None:
    with server.raw() as raw:
        raw.send(b"".join(sent for sent, _ in KEPT))
        assert [raw.answer()[0] for _ in KEPT] == [status for _, status in KEPT]


def test_a_byte_at_a_time(server: Running) -> None:
    with server.raw() as raw:
        raw.trickle(posted("/checkouts", b'{"path": "/nothing"}'))
        assert raw.answer()[0] == 404


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (f"{JSON}Content-Length: 2000000\r\nExpect: 100-continue\r\n", b"", 413),
        (f"{JSON}Content-Length: 2000000\r\n", b"[", 413),
        (f"{JSON}Content-Length: 99999999999999\r\n", b"[", 413),
        (f"{JSON}Transfer-Encoding: chunked\r\n", b"100001\r\n" + b"[" * 0x100001 + b"\r\n", 413),
        (f"{JSON}Transfer-Encoding: chunked\r\n", b"zz\r\n", 400),
        ("Content-Type: text/plain\r\nContent-Length: 5\r\nExpect: 100-continue\r\n", b"", 415),
    ],
)
def test_a_body_that_is_not_taken_is_not_read(headers: str, body: bytes, status: int, server: Running) -> None:
    """Where more may be on its way the connection ends, and no body is asked for that is refused."""
    with server.raw() as raw:
        raw.send(request("POST", f"{BASE}/checkouts", headers, body))
        answered, fields, said = raw.answer()
        assert (answered, fields["connection"]) == (status, "close")
        assert json.loads(said)["status"] == status


def test_a_body_that_ends_early(server: Running) -> None:
    with server.raw() as raw:
        raw.send(request("POST", f"{BASE}/checkouts", f"{JSON}Content-Length: 99\r\n", b"{"))
        raw.stop_sending()
        status, fields, _ = raw.answer()
        assert (status, fields["connection"]) == (400, "close")
        assert raw.rest() == b""


@pytest.mark.slow
def test_a_stream_over_http_1_0_ends_with_its_connection(server: Running) -> None:
    with server.raw() as raw:
        raw.send(f"GET {BASE}/events?after=0&seconds=1 HTTP/1.0\r\n{AUTH}\r\n".encode())
        status, fields = raw.head()
        assert (status, fields["connection"]) == (200, "close")
        assert "transfer-encoding" not in fields
        assert raw.rest().startswith(b"retry: 2000\n\n")


@pytest.mark.slow
def test_a_stream_leaves_the_connection_for_the_next_request(server: Running) -> None:
    with server.raw() as raw:
        raw.send(request("GET", f"{BASE}/events?seconds=1") + GET_LOCKS)
        assert raw.answer()[2] == b"retry: 2000\n\n"
        assert raw.answer()[0] == 200


def test_a_head_has_no_body(server: Running) -> None:
    with server.raw() as raw:
        for path, length in ("/locks", "12"), ("/locks/1", None), ("/events", None):
            raw.send(request("HEAD", BASE + path))
            status, fields, _ = raw.answer(head=True)
            assert status in (200, 404)
            assert length is None or fields["content-length"] == length


def test_a_host_that_is_none(server: Running) -> None:
    with server.raw() as raw:
        raw.send(request("GET", f"{BASE}/locks", host="Host: a..b:99999\r\n"))
        assert raw.answer()[0] in (200, 400)


def test_below_a_prefix(tmp_path: Path) -> None:
    with serving(tmp_path, **SETTINGS, prefix="/dav") as server, server.raw() as raw:
        for path, status in (f"/dav{BASE}/locks", 200), (f"{BASE}/locks", 404), ("/dav/-/api", 404):
            raw.send(request("GET", path))
            assert raw.answer()[0] == status
