"""The parts of the HTTP side that can be looked at by themselves."""

from __future__ import annotations

import os
import resource
import socket
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import serving

from davserver.protocol.messages import FileSlice, Response
from davserver.server import limits
from davserver.server.compression import compressed
from davserver.server.http.answer import plan
from davserver.server.http.balance import Balance
from davserver.server.http.channel import Channel
from davserver.server.http.connection import DavConnection
from davserver.server.http.deadlines import Deadlines
from davserver.server.http.inbound import Inbound, Pace
from davserver.server.http.outgoing import SMALL_FILE, FileCut, Outgoing
from davserver.server.http.proxies import TrustedProxies, forget_forwarded
from davserver.server.http.threads import Threads
from davserver.server.listen import open_listeners
from davserver.server.reload import differences
from davserver.settings import Settings

# --- the head of an answer


def planned(status: str = "200 OK", *headers: tuple[str, str], **how: Any) -> tuple[list[str], bool, bool]:
    made = plan(status, headers, **{"method": "GET", "is_11": True, "close": False, "server": "s", **how})
    assert made.head.endswith(b"\r\n\r\n")
    lines = made.head.decode("latin-1").split("\r\n")[:-2]
    return [line for line in lines if not line.startswith("Date: ")], made.chunked, made.close


LENGTH = ("Content-Length", "3")
CLOSE, KEPT = "Connection: close", "Connection: keep-alive"


@pytest.mark.parametrize(
    ("status", "headers", "how", "lines", "chunked", "close"),
    [
        ("200 OK", [LENGTH], {}, ["Content-Length: 3", "Server: s"], False, False),
        ("200 OK", [("content-length", "3")], {}, ["content-length: 3", "Server: s"], False, False),
        ("200 OK", [LENGTH], {"server": ""}, ["Content-Length: 3"], False, False),
        ("200 OK", [], {}, ["Transfer-Encoding: chunked", "Server: s"], True, False),
        ("200 OK", [], {"method": "HEAD"}, ["Server: s"], False, False),
        ("204 No Content", [], {}, ["Server: s"], False, False),
        ("304 Not Modified", [], {}, ["Server: s"], False, False),
        ("200 OK", [LENGTH], {"close": True}, ["Content-Length: 3", "Server: s", CLOSE], False, True),
        ("200 OK", [LENGTH, ("Connection", "Close")], {}, ["Content-Length: 3", "Server: s", CLOSE], False, True),
        ("200 OK", [LENGTH], {"is_11": False}, ["Content-Length: 3", "Server: s", KEPT], False, False),
        ("200 OK", [], {"is_11": False}, ["Server: s", CLOSE], False, True),
    ],
)  # fmt: skip
def test_how_an_answer_goes_out(
    status: str, headers: list[tuple[str, str]], how: dict[str, Any], lines: list[str], chunked: bool, close: bool
) -> None:
    """RFC 9112 §6.3, §9.3, §9.6."""
    assert planned(status, *headers, **how) == ([f"HTTP/1.1 {status}", *lines], chunked, close)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\r\n\r\nbody"])
def test_a_line_end_in_a_field_never_goes_out(value: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        planned("200 OK", ("X", value), LENGTH)
    with pytest.raises(ValueError, match="line end"):
        planned(f"200 {value}", LENGTH)


# --- proxies


@pytest.mark.parametrize(
    ("trusted", "address", "yes"),
    [
        ([], "127.0.0.1", False),
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["10.0.0.0/8", "fd00::/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["fd00::/8"], "fd00::1%eth0", True),
        (["unix"], "", True),
        (["127.0.0.1"], "", False),
        (["unix"], "127.0.0.1", False),
        (["10.0.0.0/8"], "nonsense", False),
    ],
)
def test_who_is_a_proxy_of_ours(trusted: list[str], address: str, yes: bool) -> None:
    assert TrustedProxies(trusted).trusts(address) is yes


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("203.0.113.9:4711, 10.0.0.7", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.0.0.8, 10.0.0.7", "10.0.0.8"),
        ("spoofed, 10.0.0.7", "10.0.0.7"),
        ("unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
        (",,", "10.0.0.1"),
        ("<script>, 203.0.113.9", "203.0.113.9"),
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_vouches_away(forwarded: str, client: str) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client(forwarded, "10.0.0.1") == client


def test_what_strangers_forward_is_forgotten() -> None:
    fields = {"x-forwarded-for": "1", "x-forwarded-host": "2", "host": "h"}
    environ = {"HTTP_X_FORWARDED_FOR": "1", "HTTP_X_FORWARDED_HOST": "2", "HTTP_HOST": "h"}
    assert forget_forwarded(fields, environ) == {"host": "h"}
    assert environ == {"HTTP_HOST": "h"}
    assert len(fields) == 3  # other requests share it


# --- gzip


@pytest.mark.parametrize(
    ("field", "packed"),
    [
        (None, False), ("", False), ("identity", False), ("br", False), ("gzip;q=0", False), ("gzip;q=0.0", False),
        ("*", False), ("gzip", True), ("GZIP", True), ("x-gzip", True), ("deflate, gzip;q=0.5", True),
        ("gzip;q=1.0, *;q=0", True), ("gzip ; q=0.001", True),
    ],
)  # fmt: skip
def test_who_accepts_gzip(field: str | None, packed: bool) -> None:
    response = Response(207, (("Content-Type", "application/xml; charset=utf-8"),), b"<a/>" * 1000)
    headers = dict(compressed(response, field, "").headers)
    assert headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "response",
    [
        Response(200, (("Content-Type", "application/xml"),), b"short"),
        Response(200, (("Content-Type", "application/xml"),), FileSlice(0, 0, 5000, lambda: None)),
        Response(200, (("Content-Type", "multipart/byteranges; boundary=x"),), b"x" * 5000),
        Response(200, (), b"x" * 5000),
    ],
)
def test_what_is_not_compressed(response: Response) -> None:
    assert compressed(response, "gzip", "") is response


# --- sharing connections out


def test_the_worker_with_the_fewest_connections_accepts() -> None:
    memory = Balance.shared(3)
    first, second = Balance(memory, 0), Balance(memory, 1)
    first.tell(2)
    assert first.is_my_turn  # the others are not there
    second.tell(1)
    assert first.is_my_turn  # the second has fewer, and is busy
    second.wait(True)
    assert (first.is_my_turn, second.is_my_turn) == (False, True)
    while not first.is_my_turn:
        pass  # it does not wait for ever
    second.tell(2)
    assert (first.is_my_turn, second.is_my_turn) == (True, True)
    second.leave()
    second.tell(0)
    second.wait(True)
    assert first.is_my_turn  # the second accepts nothing any more, whatever it has
    assert first.batch == 1
    alone = Balance()
    alone.tell(5)
    assert alone.is_my_turn
    assert alone.batch > 1


# --- deadlines


class Timed:
    """A connection as `Deadlines` knows it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.timer = float("inf")
        self.entry: list[Any] | None = None


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("wefp"), st.integers(0, 20)), max_size=60))
def test_deadlines_pass_when_they_do(steps: list[tuple[int, str, int]]) -> None:
    """w: watched, with a deadline that may move; e: moved later without a word; f: it ended; p: time goes on."""
    deadlines, now = Deadlines(), 0
    conns = [Timed(100.0) for _ in range(5)]
    watched: set[int] = set()
    for which, step, amount in steps:
        conn = conns[which]
        match step:
            case "w":
                conn.deadline = now + amount
                deadlines.watch(cast(DavConnection, conn))
                watched.add(which)
            case "e":
                conn.deadline += amount
            case "f" if which in watched:
                deadlines.forget(cast(DavConnection, conn))
                watched.discard(which)
                conns[which] = Timed(0.0)
            case "p":
                now += amount
                due = {number for number in watched if conns[number].deadline <= now}
                passed = {conns.index(cast(Any, conn)) for conn in deadlines.passed(now)}
                assert passed == due
                watched -= due
        assert {conns.index(cast(Any, conn)) for conn in deadlines.first()} == watched


def test_ended_connections_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for _ in range(10_000):
        conn = Timed(100.0)
        deadlines.watch(cast(DavConnection, conn))
        deadlines.forget(cast(DavConnection, conn))
    assert len(deadlines._heap) < 3000


# --- threads


def test_the_lead_goes_from_thread_to_thread_and_never_beyond_the_limit() -> None:
    leading, lost = threading.Semaphore(0), threading.Semaphore(0)
    who: list[threading.Thread] = []

    def lead() -> None:
        who.append(threading.current_thread())
        leading.release()
        assert lost.acquire(timeout=20)

    threads = Threads(lead, 3)
    threads.start()
    assert leading.acquire(timeout=20)
    for _ in range(2):
        assert threads.promote()
        assert leading.acquire(timeout=20)
    assert len(set(who)) == 3
    assert not threads.has_spare
    assert not threads.promote()
    lost.release()
    while not threads.has_spare:
        pass
    assert threads.idle == 1
    assert threads.promote()  # the one that fell asleep, not a fourth
    assert leading.acquire(timeout=20)
    assert len(set(who)) == 3
    lost.release(3)
    threads.stop(20)
    assert threads.busy == 0
    assert not threads.promote()


def test_a_thread_that_fails_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = [ZeroDivisionError("a fault"), None]
    done = threading.Event()

    def lead() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        done.set()

    threads = Threads(lead, 1)
    threads.start()
    assert done.wait(20)
    threads.stop(20)
    assert "ZeroDivisionError" in caplog.text


def test_a_thread_that_cannot_be_started_is_no_leader(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = Threads(lambda: None, 3)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert not threads.promote()
    assert threads.busy == 0
    assert "no thread could be started" in caplog.text


def test_a_thread_that_has_slept_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davserver.server.http.threads._SLEEP", 0.01)
    threads = Threads(lambda: None, 3)
    threads.start()
    while threads.busy or threads.idle:
        pass
    assert threads.promote()
    threads.stop(20)


# --- bytes in and out


def pair() -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return Channel(ours), theirs


def never() -> bool:
    """Of a thread that must not wait."""
    raise AssertionError("nothing here is worth a thread")


def test_what_the_socket_does_not_take_waits() -> None:
    channel, theirs = pair()
    outgoing = Outgoing(channel, never)
    data = bytes(range(256)) * 4000
    assert not outgoing.put(data)
    assert not outgoing.is_empty
    received = b""
    while not outgoing.flush():
        received += theirs.recv(1 << 20)
    channel.finish()
    received += b"".join(iter(lambda: theirs.recv(1 << 20), b""))
    assert received == data
    channel.close()
    theirs.close()


@pytest.mark.parametrize("size", [0, 10, SMALL_FILE, SMALL_FILE + 1, 9_000_000])
def test_a_part_of_a_file_goes_out_behind_its_head(size: int, tmp_path: Path) -> None:
    channel, theirs = pair()
    file = tmp_path / "f"
    file.write_bytes(b"ab" + b"0123456789" * (size // 10 + 1))
    fd = os.open(file, os.O_RDONLY)
    closed: list[int] = []
    told: list[int] = []
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: theirs.recv(1 << 20), b"")))
    reader.start()
    outgoing = Outgoing(channel, never)
    whole = outgoing.put_file(b"head", FileSlice(fd, 2, size, lambda: closed.append(1), told.append))
    while not whole:
        assert channel.wait(20)
        whole = outgoing.flush()
    channel.finish()
    reader.join()
    assert b"".join(received) == b"head" + (b"0123456789" * (size // 10 + 1))[:size]
    assert (closed, told) == ([1], [size])
    assert outgoing.is_empty
    os.close(fd)
    channel.close()
    theirs.close()


@pytest.mark.parametrize("size", [SMALL_FILE, 9_000_000])
def test_of_an_answer_that_is_given_up_it_is_told_what_has_gone(size: int) -> None:
    """No more than the kernel took, and no byte of the head."""
    channel, theirs = pair()
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    fd = os.memfd_create("zeros")
    os.ftruncate(fd, size)
    told: list[int] = []
    outgoing = Outgoing(channel, never)
    assert not outgoing.put_file(b"h" * 1000, FileSlice(fd, 0, size, lambda: os.close(fd), told.append))
    outgoing.drop()
    channel.close()
    received = sum(map(len, iter(lambda: theirs.recv(1 << 20), b"")))
    assert told == [received - 1000]
    theirs.close()


def test_a_head_that_does_not_fit_is_no_content() -> None:
    channel, theirs = pair()
    while channel.send(b"x" * 4096):
        pass
    told: list[int] = []
    outgoing = Outgoing(channel, never)
    assert not outgoing.put_file(b"head", FileSlice(-1, 0, SMALL_FILE + 1, lambda: None, told.append))
    outgoing.drop()
    assert told == [0]
    channel.close()
    theirs.close()


@pytest.mark.parametrize("size", [100, SMALL_FILE + 100])
def test_a_file_that_became_shorter_ends_the_connection(size: int, tmp_path: Path) -> None:
    channel, theirs = pair()
    (tmp_path / "f").write_bytes(b"short")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    closed: list[int] = []
    told: list[int] = []
    outgoing = Outgoing(channel, never)
    with pytest.raises(FileCut):
        outgoing.put_file(b"head", FileSlice(fd, 0, size, lambda: closed.append(1), told.append))
    outgoing.drop()
    assert closed == [1]
    assert told == [0 if size <= SMALL_FILE else len(b"short")]
    os.close(fd)
    channel.close()
    theirs.close()


def test_a_body_may_pause_and_may_not_stop() -> None:
    channel, theirs = pair()
    aside: list[int] = []
    inbound = Inbound(channel, b"abc\nd", ended=False, pace=Pace(1, 0.1), step_aside=lambda: aside.append(1))
    assert inbound.has_arrived
    assert inbound.readline(10) == b"abc\n"
    assert inbound.read(10) == b"d"
    assert not inbound.has_arrived
    assert aside == []
    theirs.send(b"efg\nh")
    assert inbound.readline(2) == b"ef"
    assert inbound.readline(10) == b"g\n"
    assert inbound.rest == b"h"
    assert inbound.read(1) == b"h"
    with pytest.raises(TimeoutError):
        inbound.read(1)
    assert aside == [1]
    theirs.close()
    assert inbound.read(1) == b""
    assert inbound.readline(5) == b""
    channel.close()


# --- sockets


def test_listening(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "::1", f"unix:{tmp_path / 's'}"):
        listeners = open_listeners(host, 0, {})
        (listener,) = listeners.sockets
        with socket.socket(listener.family) as client:
            client.connect(listener.getsockname())
        listeners.close()
        listeners.close()
    assert not (tmp_path / "s").exists()
    (tmp_path / "file").touch()
    for host, port in ((f"unix:{tmp_path / 'file'}", 0), ("192.0.2.1", 0), ("no.such.host.invalid", 0)):
        with pytest.raises(OSError, match=r"."):
            open_listeners(host, port, {})
    assert (tmp_path / "file").exists()
    first = open_listeners("127.0.0.1", 0, {})
    with pytest.raises(OSError, match="in use"):
        open_listeners("127.0.0.1", first.sockets[0].getsockname()[1], {})
    first.close()
    for environ in ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid())}):
        open_listeners("127.0.0.1", 0, environ).close()


# --- auto


def test_auto_is_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    for text, cores in (
        ("max 100000\n", 6),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("900000 100000\n", 6),
        ("?", 6),
    ):
        quota.write_text(text)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
        assert limits.cores(str(quota)) == cores
    assert limits.cores("/no/such/file") == 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert limits.worker_count(Settings()) in (1, 2, 3, 4, 5, 6, 7, 8)
    assert limits.worker_count(Settings(workers=12)) == 12


def test_limits_of_settings() -> None:
    found = limits.limits_of(
        Settings(limits={"header": "8KiB", "body_min_rate": "500B", "threads": 7, "connections": 9}), 1024
    )
    assert (found.header, found.pace.rate, found.threads, found.connections) == (8192, 500, 7, 9)
    assert limits.limits_of(Settings(), 1 << 17).connections == 20_000
    assert 16 <= limits.limits_of(Settings(), 1024).connections < 1024


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"),
    [
        (1024, 4096, 4096),
        (1024, resource.RLIM_INFINITY, 1 << 17),
        (1 << 20, 1 << 20, 1 << 20),
        (1024, 1 << 30, 1 << 17),
    ],
)
def test_as_many_files_as_are_permitted(soft: int, hard: int, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: changed.append(limit))
    assert limits.raise_open_files() == wanted
    assert changed == ([] if soft == wanted else [(wanted, hard)])


def test_what_waits_for_the_next_start() -> None:
    old = Settings()
    assert differences(old, Settings(users={}, log={"level": "debug"}, anonymous="ro")) == []
    assert differences(old, Settings(port=1, workers=3)) == ["port", "workers"]
    assert differences(old, Settings(tls={"cert": "/c"})) == ["tls"]
    assert differences(Settings(tls={"cert": "/b"}), Settings(tls={"cert": "/c"})) == []
    assert differences(old, Settings(locks={"breakers": ["@boss"]})) == []
    assert differences(old, Settings(locks={"breakers": ["@boss"], "max_timeout": "12h"})) == ["locks"]


def test_the_end_may_come_before_it_is_told(tmp_path: Path) -> None:
    """A leader that sees the end by itself closes everything; who then rings for it would write to another's file."""
    with serving(tmp_path) as running:
        pass
    running.server._connections.stop()
