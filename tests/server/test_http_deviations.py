"""HTTP, where stock WsgiDAV 4.4.0 on cheroot bends: each test fails on its behaviour."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from serving import QUICK, Running, serving
from wire import Dav


@pytest.fixture
def file(dav: Dav, folder: str) -> str:
    path = f"{folder}/f.txt"
    assert dav("PUT", path, b"0123456789").status == 201
    return path


@pytest.mark.parametrize(
    ("value", "status", "body"),
    [
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=5-2", 200, b"0123456789"),
        ("bytes=-0", 416, None),
        ("bytes=10-", 416, None),
        ("bytes=-3", 206, b"789"),
        ("bytes=-30", 206, b"0123456789"),
        ("bytes=2-", 206, b"23456789"),
        ("bytes=0-0", 206, b"0"),
        ("bytes=99-,2-3", 206, b"23"),
    ],
)
def test_ranges(value: str, status: int, body: bytes | None, dav: Dav, file: str) -> None:
    """RFC 9110 §14.1, §14.2."""
    answer = dav("GET", file, Range=value)
    assert answer.status == status
    if body is None:
        assert answer.headers["content-range"] == "bytes */10"
    else:
        assert answer.body == body


def test_several_ranges_come_as_several_parts(dav: Dav, file: str) -> None:
    """RFC 9110 §14.6."""
    answer = dav("GET", file, Range="bytes=0-1,8-9")
    assert answer.status == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = answer.body.split(f"--{boundary}".encode())
    assert [part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") for part in parts[1:-1]] == [b"01", b"89"]
    assert [b"Content-Range: bytes 0-1/10" in parts[1], b"Content-Range: bytes 8-9/10" in parts[2]] == [True, True]
    assert parts[-1] == b"--\r\n"


def test_204_and_304_have_no_content_length(dav: Dav, file: str) -> None:
    """RFC 9110 §8.6, §15.4.5."""
    written = dav("PUT", file, b"x")
    assert written.status == 204
    assert "content-length" not in written.headers
    same = dav("GET", file, If_None_Match=written.headers["etag"])
    assert same.status == 304
    assert "content-length" not in same.headers
    assert same.headers["etag"] == written.headers["etag"]
    assert "date" in same.headers


@pytest.mark.parametrize(("method", "path"), [("PUT", ""), ("MKCOL", "/f.txt"), ("MKCOL", "")])
def test_405_says_what_is_allowed(method: str, path: str, dav: Dav, folder: str, file: str) -> None:
    """RFC 9110 §15.5.6."""
    answer = dav(method, folder + path, b"")
    assert answer.status == 405
    assert "PROPFIND" in answer.headers["allow"].split(", ")


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "PUT", "DELETE", "OPTIONS", "LOCK"])
@pytest.mark.parametrize("path", ["/../x", "/%2e%2e/x", "/a/..%2fx", "/a%00b", "/a%2Fb", "/%zz", "/%ff", "/."])
def test_a_bad_path_is_answered_whole(method: str, path: str, server: Running) -> None:
    """What was announced is sent, and the connection goes on."""
    with server.raw() as raw:
        for _ in range(2):
            raw.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            status, fields, body = raw.answer()
            assert status == 400
            assert len(body) == int(fields["content-length"]) > 0


@pytest.mark.parametrize("headers", ["", 'If-Match: "x"\r\n', "If: nonsense\r\n"])
def test_head_never_has_a_body(headers: str, server: Running, file: str) -> None:
    """RFC 9110 §9.3.2: a body after HEAD puts the connection out of step."""
    with server.raw() as raw:
        for path in (file, file + "-missing", "/%00"):
            raw.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
            assert raw.answer(head=True)[0] in (200, 400, 404, 412)
        raw.send(b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.answer()[0] == 200


def test_a_refused_chunked_body_does_not_become_the_next_request(server: Running, dav: Dav, file: str) -> None:
    assert dav.lock(file).status == 200
    with server.raw() as raw:
        chunk = b"5\r\nhello\r\n"
        raw.send(f"PUT {file} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunk * 100)
        raw.send(b"0\r\nTrailer: yes\r\n\r\n")
        raw.send(b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.answer()[0] == 423
        assert raw.answer()[0] == 200


def test_trailers_do_not_become_the_next_request(server: Running, folder: str) -> None:
    with server.raw() as raw:
        raw.send(f"PUT {folder}/t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        raw.send(b"3;ext=1\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET " + folder.encode() + b"/t HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.answer()[0] == 201
        assert raw.answer()[2] == b"abc"


def test_a_big_refused_body_ends_in_an_answer_and_a_clean_close(server: Running, dav: Dav, file: str) -> None:
    assert dav.lock(file).status == 200
    with server.raw() as raw:
        raw.send(f"PUT {file} HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n".encode())
        raw.send(b"x" * 8_000_000)
        status, fields, _ = raw.answer()
        assert status == 423
        assert fields["connection"] == "close"
        assert raw.rest() == b""


def test_a_doomed_upload_is_not_invited(server: Running, dav: Dav, folder: str, file: str) -> None:
    """RFC 9110 §10.1.1: the answer comes in place of 100 Continue; where it may go on, 100 comes first."""
    assert dav.lock(file).status == 200
    head = "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n"
    with server.raw() as raw:
        raw.send(head.format(file, 1_000_000_000).encode())
        status, fields, _ = raw.answer()
        assert status == 423
        assert fields["connection"] == "close"
    with server.raw() as raw:
        raw.send(head.format(f"{folder}/new", 3).encode())
        assert raw.head()[0] == 100
        raw.send(b"abc")
        assert raw.answer()[0] == 201


def test_a_slash_after_a_file_is_not_the_file(dav: Dav, file: str) -> None:
    for method in ("GET", "HEAD", "PROPFIND", "DELETE"):
        assert dav(method, f"{file}/").status == 404
    assert dav("GET", file).status == 200


def test_a_file_that_shrinks_while_its_parts_are_sent_ends_the_connection(
    server: Running, dav: Dav, folder: str
) -> None:
    """RFC 9112 §6.3: what was announced never comes, and the next answer must not be taken for it."""
    size = 30_000_000
    dav("PUT", f"{folder}/large", b"x" * size)
    with server.raw(receive_buffer=65536) as raw:
        raw.send(
            f"GET {folder}/large HTTP/1.1\r\nHost: x\r\nRange: bytes=0-{size // 2},{size // 2 + 1}-\r\n\r\n"
            f"OPTIONS {folder}/large HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        begun = raw.read(1000)
        os.truncate(server.root / folder[1:] / "large", 1000)
        answer = begun + raw.rest()
    assert answer.startswith(b"HTTP/1.1 206 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert len(answer) < size


@pytest.mark.parametrize("name", ["docs", "Docs", "ÜBER"])
def test_a_share_may_have_any_name(name: str, tmp_path: Path) -> None:
    from urllib.parse import quote

    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "f").write_text("here")
    with serving(tmp_path, shares={f"/{name}": {"directory": str(tmp_path / "files")}}) as running:
        client = running.client()
        assert client("GET", f"/{quote(name)}/f").body == b"here"
        assert client("GET", f"/{quote(name.swapcase())}/f").status == 404
        assert client.propfind("/", depth="1").hrefs() == ["/", f"/{quote(name)}/"]
        assert client("PUT", "/f", b"x").status == 403
        client.close()


def test_a_collection_page_keeps_the_share_and_escapes_names(dav: Dav, folder: str) -> None:
    dav("PUT", f"{folder}/%22%3E%27%3Cb%3E.txt", b"x")
    for slash in ("", "/"):
        page = dav("GET", folder + slash)
        assert page.status == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert b"<b>" not in page.body
        assert f'href="{folder}/%22%3E'.encode() in page.body


@pytest.mark.parametrize("value", ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer", "Digest x", ""])
def test_a_malformed_login_is_no_login(value: str, tmp_path: Path) -> None:

    users = {"alice": {"password": QUICK.hash("wonder")}}
    with serving(tmp_path, users=users) as running:
        client = running.client(Authorization=value)
        answer = client("GET", "/")
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        assert client("OPTIONS", "/any/where").status == 200
        client.close()


def test_a_query_means_nothing_to_the_login(dav: Dav, file: str) -> None:
    assert dav("GET", f"{file}?logout=1").status == 200


def test_options_is_decoded_like_any_other_method(dav: Dav, folder: str) -> None:
    """cheroot leaves the path of OPTIONS encoded; LibreOffice then edits without a lock."""
    dav("MKCOL", f"{folder}/a%20b")
    dav("PUT", f"{folder}/a%20b/%C3%BC.odt", b"x")
    for path, listed in ((f"{folder}/a%20b/%C3%BC.odt", "PUT"), (f"{folder}/a%20b", "PROPFIND"), ("/no/such", "LOCK")):
        answer = dav("OPTIONS", path)
        assert answer.status == 200
        assert answer.headers["dav"].startswith("1, 2, 3")
        assert answer.headers["ms-author-via"] == "DAV"
        assert {listed, "LOCK"} <= set(answer.headers["allow"].split(", "))
        assert answer.headers["content-length"] == "0"
    assert dav("OPTIONS", "*").status == 200
