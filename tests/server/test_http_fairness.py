"""Many at once, and slow ones: what they cost, and that nobody else pays for it.

What is asserted is who holds threads and that everybody is answered; how long that takes is the benchmark's to say.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from serving import Running, serving
from wire import Dav, Raw, lockinfo

from davserver.protocol.paths import DavPath
from davserver.server.http import connections
from davserver.server.http.server import Limits
from davserver.storage.node import OpenFile
from davserver.storage.tree import Tree

pytestmark = pytest.mark.slow

OPTIONS = b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n"
UPLOAD = "PUT /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegun"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path) as running:
        yield running


def many(running: Running, count: int, stack: ExitStack) -> list[Raw]:
    return [stack.enter_context(running.raw()) for _ in range(count)]


def until_busy(running: Running, threads: int, dav: Dav) -> None:
    """Ask something, again and again, until so many threads have stepped aside; each answer is a proof of life."""
    while running.server.requests.busy < threads:
        assert dav("OPTIONS", "/").status == 200


def test_connections_that_trickle_cost_no_thread(running: Running) -> None:
    dav = running.client()
    assert dav("PUT", "/f", b"x").status == 201
    with ExitStack() as stack:
        trickling = many(running, 300, stack)
        for byte in range(len(OPTIONS) - 1):
            for index, raw in enumerate(trickling):
                # heads, and small bodies behind whole heads
                data = OPTIONS if index % 2 else b"PUT /t HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789"
                raw.send(data[byte : byte + 1])
            answer = dav("GET", "/f")
            assert (answer.status, answer.body) == (200, b"x")
        assert running.server.requests.busy <= 2
        for raw in trickling[1::2]:
            raw.send(OPTIONS[-1:])
        assert {raw.answer()[0] for raw in trickling[1::2]} == {200}
    dav.close()


def test_a_thousand_kept_connections_cost_no_thread(running: Running) -> None:
    with ExitStack() as stack:
        kept = many(running, 1000, stack)
        for _ in range(2):
            for raw in kept:
                raw.send(OPTIONS)
            assert {raw.answer()[0] for raw in kept} == {200}
        assert running.server.requests.busy <= 2


def test_slow_uploads_do_not_stop_a_listing(running: Running) -> None:
    dav = running.client()
    with ExitStack() as stack:
        uploads = many(running, 500, stack)
        for index, raw in enumerate(uploads):
            raw.send(UPLOAD.format(f"u{index}").encode())
        until_busy(running, 501, dav)
        listing = dav.propfind("/", depth="1")
        assert listing.status == 207
        assert len(listing.hrefs()) == 1
        page = dav("GET", "/")
        assert page.status == 200
    dav.close()


def test_readers_that_stop_cost_no_thread(running: Running) -> None:
    dav = running.client()
    dav("PUT", "/big", b"x" * 20_000_000)
    with ExitStack() as stack:
        readers = [stack.enter_context(running.raw(receive_buffer=4096)) for _ in range(100)]
        for raw in readers:
            raw.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert {raw.head()[0] for raw in readers} == {200}
        assert dav("OPTIONS", "/").status == 200
        assert running.server.requests.busy <= 2
    dav.close()


def test_who_waits_for_the_disk_leaves_the_lead_to_those_who_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks that are asked for at the same time share a flush. The watch, which would help in a moment, sleeps here."""
    monkeypatch.setattr(connections, "TICK", 3.0)
    flush, flushing, go_on, answered = os.fdatasync, threading.Event(), threading.Event(), threading.Event()
    flushes: list[bool] = []

    def slow(fd: int) -> None:
        if flushing.is_set():
            flushes.append(answered.wait(1))
        else:
            flushing.set()
            assert go_on.wait(60)
        flush(fd)

    def lock(name: str) -> bytes:
        body = lockinfo()
        return f"LOCK /{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    with serving(tmp_path, durability="full") as running, ExitStack() as stack:
        for name in ("f", "g"):
            (running.root / name).write_bytes(b"x")
        first, second, reader = many(running, 3, stack)
        for raw in (first, second, reader):
            raw.send(OPTIONS)
            assert raw.answer()[0] == 200
        monkeypatch.setattr(os, "fdatasync", slow)
        first.send(lock("f"))
        assert flushing.wait(60)
        second.send(lock("g"))
        reader.send(b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n")
        go_on.set()
        assert reader.answer()[0] == 200
        answered.set()
        assert (first.answer()[0], second.answer()[0]) == (200, 200)
        assert flushes == [True]


def test_a_request_that_takes_long_holds_nobody_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs, a lock that is waited for: the watch gives the lead to another thread."""
    go_on, open_file = threading.Event(), Tree.open

    def slow(tree: Tree, path: DavPath) -> OpenFile:
        if path.name == "slow":
            assert go_on.wait(60)
        return open_file(tree, path)

    monkeypatch.setattr(Tree, "open", slow)
    dav = running.client()
    dav("PUT", "/slow", b"slow")
    dav("PUT", "/quick", b"quick")
    with ExitStack() as stack:
        waiting = many(running, 20, stack)
        for raw in waiting:
            raw.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            assert dav("GET", "/quick").body == b"quick"
        go_on.set()
        assert {raw.answer()[2] for raw in waiting} == {b"slow"}
    dav.close()


def test_when_every_thread_waits_others_are_told_at_once(tmp_path: Path) -> None:
    """503 with Retry-After; and when the first thread is free again, all is well."""
    with serving(tmp_path, server_limits=None, limits={"threads": 4}) as running, ExitStack() as stack:
        uploads = many(running, 3, stack)
        for index, raw in enumerate(uploads):
            raw.send(UPLOAD.format(f"u{index}").encode())
        refused = None
        while refused is None:
            with running.raw() as raw:
                raw.send(OPTIONS)
                status, fields, body = raw.answer()
                if status == 503:
                    refused = fields
                    assert b"busy" in body
                    assert raw.rest() == b""
        assert int(refused["retry-after"]) >= 1
        assert refused["connection"] == "close"
        uploads[0].close()
        dav = running.client()
        while dav("OPTIONS", "/").status == 503:
            pass
        assert dav("OPTIONS", "/").status == 200
        dav.close()


def test_the_connection_that_was_idle_longest_makes_room(tmp_path: Path) -> None:
    with serving(tmp_path, server_limits=Limits(connections=20)) as running, ExitStack() as stack:
        first, *others = many(running, 20, stack)
        for raw in (first, *others):
            raw.send(OPTIONS)
            assert raw.answer()[0] == 200
        with running.raw() as late:
            late.send(OPTIONS)
            assert late.answer()[0] == 200
            assert first.rest() == b""
            others[-1].send(OPTIONS)
            assert others[-1].answer()[0] == 200


def test_when_all_connections_are_in_use_others_are_told_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, server_limits=Limits(connections=20)) as running, ExitStack() as stack:
        for raw in many(running, 20, stack):
            raw.send(OPTIONS + b"OPT")  # once that is answered, the server has seen the next one begin
            assert raw.answer()[0] == 200
        with running.raw() as late:
            status, fields, _ = late.answer()
            assert (status, fields["connection"]) == (503, "close")
            assert int(fields["retry-after"]) >= 1


def test_a_listing_that_is_read_slowly_holds_one_thread_and_nobody_up(running: Running) -> None:
    dav = running.client()
    for number in range(3000):
        (running.root / f"a-name-that-is-rather-long-{number}").touch()
    with running.raw(receive_buffer=4096) as slow:
        slow.send(b"PROPFIND / HTTP/1.1\r\nHost: x\r\nDepth: 1\r\n\r\n")
        assert slow.head()[0] == 207
        for _ in range(50):
            assert dav("OPTIONS", "/").status == 200
        assert running.server.requests.busy <= 3
    dav.close()


def test_everything_at_once_and_each_answer_right(running: Running) -> None:
    """Uploads in one piece and in slow chunks, downloads whole and cut short, listings, clients that vanish."""
    big = b"0123456789abcdef" * 100_000
    (running.root / "big").write_bytes(big)
    wrong: list[object] = []

    def run(number: int) -> None:
        dav, mine = running.client(), f"/mine-{number}"
        for turn in range(12):
            content = b"%d:%d " % (number, turn) * (1 + 3000 * (turn % 4))
            pieces = iter([content[at : at + 5000] for at in range(0, len(content), 5000)])
            status = dav("PUT", mine, pieces if turn % 2 else content).status
            answers = [dav("GET", mine).body == content, dav("GET", "/big").body == big]
            answers += [dav.propfind("/", depth="1").status == 207, status in (201, 204)]
            if not all(answers):
                wrong.append((number, turn, status, answers))
            for rude in (b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n", UPLOAD.format("never").encode()):
                with running.raw() as raw:
                    raw.send(rude)
                    if turn % 3 == 0:
                        raw.wait(0.01)
        dav.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not (running.root / "never").exists()
    last = running.client()
    while len(running.server._connections) > 1:
        assert last("OPTIONS", "/").status == 200
    assert running.server.hold(0) == 0
    last.close()
