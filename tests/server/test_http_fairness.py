"""Many at once, and slow ones: what they cost, and that nobody else pays for it.

What is asserted is who holds threads and that everybody is answered; how long that takes is the benchmark's to say.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
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
    """For longer than it takes to find out: a thread waits for a reader on this machine, which may be fast."""
    dav = running.client()
    dav("PUT", "/big", b"x" * 20_000_000)
    with ExitStack() as stack:
        readers = [stack.enter_context(running.raw(receive_buffer=4096)) for _ in range(100)]
        for raw in readers:
            raw.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert {raw.head()[0] for raw in readers} == {200}
        assert dav("OPTIONS", "/").status == 200
        end = time.monotonic() + 20
        while running.server.requests.busy > 1:
            assert time.monotonic() < end
            time.sleep(0.01)
    dav.close()


class Disk:
    """One that is slow with the first flush, until `go_on`. `then`: what it does at each later one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
        self.flushing, self.go_on = threading.Event(), threading.Event()
        self.later = 0
        self._then, self._flush = then, os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._slow)

    def _slow(self, fd: int) -> None:
        if self.flushing.is_set():
            self.later += 1
            self._then()
        else:
            self.flushing.set()
            assert self.go_on.wait(60)
        self._flush(fd)


def lock(name: str) -> bytes:
    body = lockinfo()
    return b"LOCK /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (name.encode(), len(body), body)


def connected(running: Running, count: int, stack: ExitStack) -> list[Raw]:
    """Connections that the server has accepted, and files "0", "1" …

    Its first change, which writes the log of the state again, is made.
    """
    found = many(running, count, stack)
    for number, raw in enumerate(found):
        (running.root / str(number)).write_bytes(b"x")
        raw.send(OPTIONS)
        assert raw.answer()[0] == 200
    dav = running.client()
    assert dav("UNLOCK", "/0", Lock_Token=f"<{dav.lock('/0').token}>").status == 204
    dav.close()
    return found


def test_who_waits_for_the_disk_leaves_the_lead_to_those_who_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch, which would help in a moment, sleeps here."""
    monkeypatch.setattr(connections, "TICK", 3.0)
    answered, seen = threading.Event(), list[bool]()
    with serving(tmp_path, durability="full") as running, ExitStack() as stack:
        first, second, reader = connected(running, 3, stack)
        disk = Disk(monkeypatch, lambda: seen.append(answered.wait(1)))
        first.send(lock("0"))
        assert disk.flushing.wait(60)
        second.send(lock("new"))  # its row must be on the disk before the file is made
        reader.send(b"GET /0 HTTP/1.1\r\nHost: x\r\n\r\n")
        disk.go_on.set()
        assert reader.answer()[0] == 200
        answered.set()
        assert (first.answer()[0], second.answer()[0]) == (200, 201)
        assert seen
        assert all(seen)


def test_locks_that_are_asked_for_at_the_same_time_share_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, durability="full") as running, ExitStack() as stack:
        first, *others = connected(running, 5, stack)
        disk = Disk(monkeypatch, lambda: None)
        first.send(lock("0"))
        assert disk.flushing.wait(60)
        for number, raw in enumerate(others, 1):
            raw.send(lock(str(number)) + OPTIONS)  # and the next request, which waits
        disk.go_on.set()
        assert first.answer()[0] == 200
        assert [raw.answer()[0] for raw in others for _ in range(2)] == [200] * 8
        assert disk.later < len(others)


def test_a_lock_whose_body_was_waited_for_is_answered_like_others(tmp_path: Path) -> None:
    """A thread that has stepped aside for the body gives the rest back to whoever leads."""
    head, _, body = lock("0").partition(b"\r\n\r\n")
    with serving(tmp_path, durability="full") as running, ExitStack() as stack:
        (raw,) = connected(running, 1, stack)
        for status in (200, 423):
            raw.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
            assert raw.head()[0] == 100
            raw.send(body + OPTIONS)
            assert raw.answer()[0] == status
            assert raw.answer()[0] == 200


def test_a_disk_that_hangs_does_not_take_the_last_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more who wait for it than threads: whoever asks something else is told at once that we are busy."""
    with serving(tmp_path, durability="full", limits={"threads": 4}) as running, ExitStack() as stack:
        waiting = connected(running, 8, stack)
        disk = Disk(monkeypatch, lambda: None)
        stack.callback(disk.go_on.set)

        def ask() -> int:
            with running.raw() as raw:
                raw.send(OPTIONS)
                return raw.answer()[0]

        for number, raw in enumerate(waiting):
            raw.send(lock(str(number)))
        assert disk.flushing.wait(60)
        while running.server.requests.busy < 4:
            assert ask() in (200, 503)
        assert {ask() for _ in range(20)} == {503}
        disk.go_on.set()
        told = [raw.answer()[0] for raw in waiting]
        assert set(told) <= {200, 503}
        assert told.count(200) >= 3


def test_nobody_is_told_of_a_lock_that_could_not_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with serving(tmp_path, durability="full") as running, ExitStack() as stack:
        first, *others = connected(running, 4, stack)
        disk = Disk(monkeypatch, fail)
        first.send(lock("0"))
        assert disk.flushing.wait(60)
        for number, raw in enumerate(others, 1):
            raw.send(lock(str(number)))
        disk.go_on.set()
        assert first.answer()[0] == 200
        for raw in others:
            status, fields, _ = raw.answer()
            assert (status, "lock-token" in fields) == (503, False)
        assert disk.later


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
