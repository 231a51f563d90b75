"""The server under any WSGI application, and under what the kernel and the network may do to it."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from wire import Raw

from davserver.protocol.errors import Refused
from davserver.protocol.messages import FileSlice
from davserver.server.http.connection import DavConnection
from davserver.server.http.connections import Connections
from davserver.server.http.gateway import FileWrapper
from davserver.server.http.inbound import Pace
from davserver.server.http.server import DavServer, Limits
from davserver.server.listen import open_listeners

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def running(app: App, *, drain_seconds: int = 10, limits: Limits | None = None) -> Iterator[DavServer]:
    listeners = open_listeners("127.0.0.1", 0, {})
    server = DavServer(listeners.sockets, app, limits=limits or Limits(), drain_seconds=drain_seconds)
    server.prepare()
    loop = threading.Thread(target=server.serve)
    loop.start()
    try:
        yield server
    finally:
        server.stop()
        loop.join()


def raw(server: DavServer, **how: Any) -> Raw:
    host, port = server.bind_addr
    return Raw(host, port, **how)


def fine(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "4")])
    return (b"fine",)


# --- what an application may do (PEP 3333)


def a_list(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "4")])
    return [b"fi", b"", b"ne"]


def a_stream(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    yield b"fi"
    yield b"ne"


def by_write(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Length", "4")])
    write(b"fi")
    write(b"ne")
    return []


def nothing(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return iter(())


def changed_its_mind(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "100")])
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("500 Internal Server Error", [("Content-Length", "4")], sys.exc_info())
    return [b"oops"]


def file_read_by_a_middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """It passes on what it finds in the wrapper, and not the wrapper."""
    fd = os.memfd_create("zeros")
    os.ftruncate(fd, 600_000)
    start_response("200 OK", [("Content-Length", "600000")])
    told: list[int] = []
    wrapped = environ["wsgi.file_wrapper"](FileSlice(fd, 0, 600_000, lambda: os.close(fd), told.append))
    try:
        yield from wrapped
    finally:
        wrapped.close()
        assert told == [600_000]


@pytest.mark.parametrize(
    ("app", "status", "body"),
    [
        (fine, 200, b"fine"),
        (a_list, 200, b"fine"),
        (a_stream, 200, b"fine"),
        (by_write, 200, b"fine"),
        (nothing, 200, b""),
        (changed_its_mind, 500, b"oops"),
        (file_read_by_a_middleware, 200, bytes(600_000)),
    ],
)
def test_answers_of_every_kind(app: App, status: int, body: bytes) -> None:
    with running(app) as server, raw(server) as client:
        for _ in range(2):
            client.send(GET)
            found, _, content = client.answer()
            assert (found, content) == (status, body)


def fails(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    raise ZeroDivisionError("nobody's business")


def fails_in_its_stream(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    raise ZeroDivisionError("nobody's business")
    yield b""


def never_starts(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return [b"x"]


def starts_twice(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return [b"x"]


def splits_the_answer(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("X", "a\r\n\r\nb")])
    return [b"x"]


@pytest.mark.parametrize("app", [fails, fails_in_its_stream, never_starts, starts_twice, splits_the_answer])
def test_a_fault_before_the_head_is_a_500(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with running(app) as server, raw(server) as client:
        client.send(GET)
        status, fields, body = client.answer()
        assert (status, fields["connection"]) == (500, "close")
        assert b"nobody" not in body
        assert client.rest() == b""
    assert "Error" in caplog.text


def fails_half_way(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    yield b"begun"
    raise ZeroDivisionError


def changes_its_mind_too_late(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    yield b"begun"
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("500 Internal Server Error", [], sys.exc_info())


@pytest.mark.parametrize("app", [fails_half_way, changes_its_mind_too_late])
def test_a_fault_behind_the_head_cuts_the_answer(app: App) -> None:
    """The client can tell: the last chunk is missing."""
    with running(app) as server, raw(server) as client:
        client.send(GET)
        assert client.head()[0] == 200
        assert client.rest() == b"5\r\nbegun\r\n"


def test_a_file_that_is_cut_meanwhile_ends_the_connection() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fd = os.memfd_create("short")
        start_response("200 OK", [("Content-Length", "100")])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](FileSlice(fd, 0, 100, lambda: os.close(fd)))
        return wrapped

    with running(app) as server, raw(server) as client:
        client.send(GET)
        assert client.rest() == b""
    with pytest.raises(EOFError):
        list(FileWrapper(FileSlice(os.memfd_create("short"), 0, 10, lambda: None)))


def test_what_the_application_is_told(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        told.append(environ)
        return fine(environ, start_response)

    with running(app) as server, raw(server) as client:
        for target, path, query in (
            ("/a%20b?c=%20d", "/a b", "c=%20d"),
            ("/", "/", ""),
            ("*", "/", ""),
            ("http://h/a/b?c", "/a/b", "c"),
            ("http://h", "/", ""),
            ("/%C3%BC", "/\xc3\xbc", ""),
        ):
            client.send(f"FROB {target} HTTP/1.1\r\nHost: x\r\nX-Field: y\r\n\r\n".encode())
            assert client.answer()[0] == 200
            environ = told.pop()
            assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
            assert environ["REQUEST_URI"] == target
            assert environ["REQUEST_METHOD"] == "FROB"
            assert environ["REMOTE_ADDR"] == "127.0.0.1"
            assert environ["HTTP_X_FIELD"] == "y"
            assert environ["wsgi.url_scheme"] == "http"


def test_what_one_request_does_to_its_environ_the_next_does_not_see() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert "mark" not in environ
        assert environ["HTTP_X"] == "y"
        environ["mark"] = environ["HTTP_X"] = "changed"
        return fine(environ, start_response)

    with running(app) as server, raw(server) as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n")
            assert client.answer()[0] == 200


# --- what may happen to it


def test_no_room_for_another_file_makes_it_rest_and_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [
        OSError(errno.EMFILE, "too many"),
        OSError(errno.ECONNABORTED, "gone"),
        OSError(errno.EMFILE, "too many"),
    ]

    def accept(self: socket.socket) -> Any:
        if failures:
            raise failures.pop(0)
        return real(self)

    real = socket.socket.accept
    with running(fine) as server:
        monkeypatch.setattr(socket.socket, "accept", accept)
        with raw(server) as client:
            client.send(GET)
            assert client.answer()[2] == b"fine"
    assert failures == []
    assert "too many" in caplog.text


def test_a_connection_that_the_poll_has_no_room_for_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(fine) as server:
        monkeypatch.setattr(Connections, "_enter", lambda *_: False)
        with raw(server) as client:
            assert client.rest() == b""
        monkeypatch.undo()
        with raw(server) as client:
            client.send(GET)
            assert client.answer()[2] == b"fine"


def test_a_fault_of_ours_ends_one_connection_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(fine) as server, raw(server) as other:
        other.send(GET)
        assert other.answer()[2] == b"fine"
        with monkeypatch.context() as patched, raw(server) as client:
            patched.setattr(DavConnection, "_serve", lambda *_: 1 / 0)
            client.send(GET)
            assert client.rest() == b""
        other.send(GET)
        assert other.answer()[2] == b"fine"
    assert "ZeroDivisionError" in caplog.text


def test_what_does_not_end_is_cut_off_at_the_end() -> None:
    waiting = threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        waiting.set()
        try:
            environ["wsgi.input"].read(10)
        finally:
            waiting.clear()
        return fine(environ, start_response)

    with running(app, drain_seconds=0) as server, raw(server) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert waiting.wait(20)
        server.stop()
        client.rest()
    assert not waiting.is_set()


def test_a_reader_that_stops_is_given_up() -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ended.set()

    ended = threading.Event()
    with running(app, limits=Limits(pace=Pace(1000, 0.2))) as server, raw(server, receive_buffer=4096) as client:
        client.send(GET)
        assert ended.wait(20)


@pytest.mark.slow
def test_what_is_not_whole_may_not_fill_the_memory() -> None:
    with running(fine, limits=Limits(held=100_000)) as server, ExitStack() as stack:
        part = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"x" * 30_000
        clients = [stack.enter_context(raw(server)) for _ in range(5)]
        for client in clients:
            client.send(part)
        refused = [client for client in clients if client.wait(0.5) or client.has_answer]
        assert len(refused) == 2
        for client in refused:
            status, fields, _ = client.answer()
            assert (status, fields["connection"]) == (503, "close")
        for client in set(clients) - set(refused):
            client.send(b"x" * 20_000)
            assert client.answer()[2] == b"fine"
        while server.hold(0):  # the answer is sent before its request is forgotten
            client.send(GET)
            assert client.answer()[2] == b"fine"


def test_nobody_waits_for_a_body_when_everybody_would_wait_with_him(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other thread can be had. What the answer does not need is not waited for, what it needs is refused; the thread
    goes on by itself, and others after it."""

    def reading(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read(10)
        except Refused as refused:
            told.append(refused)
        return a_stream(environ, start_response)

    told: list[Refused] = []
    begun = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for app in (a_stream, reading):
        with running(app) as server, raw(server) as client, raw(server) as slow:
            client.send(GET)
            assert client.answer()[2] == b"fine"
            with monkeypatch.context() as patched:
                patched.setattr(type(server.requests), "promote", lambda _: False)
                slow.send(begun)
                assert slow.answer()[2] == b"fine"
                assert slow.rest() == b""
                client.send(begun + b"0\r\n\r\n")
                assert client.answer()[2] == b"fine"
            client.send(GET)
            assert client.answer()[2] == b"fine"
    assert [refused.status for refused in told] == [503]


def test_the_seams_of_cheroot_are_what_they_were() -> None:
    with running(fine) as server:
        assert server.can_add_keepalive_connection
        assert server.scheme == "http"
        assert server.bind_addr[0] == "127.0.0.1"
        server.error_log("said", traceback=False)
    assert not server.can_add_keepalive_connection
