"""Who waits: long polls and event streams, on a real server."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiworld import BASE, USERS, User, below, login, restrict
from inprocess import Local
from serving import Process, Running, serving
from wire import Answer, Raw

from davserver.protocol.errors import Unavailable
from davserver.storage.lock_events import LockEvents
from davserver.web import events
from davserver.web.events import EventStream
from davserver.web.watch import Watch


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    # With a user whose password costs nothing to check, the start is quicker.
    with serving(tmp_path, limits={"waiting": 3}, users={"alice": USERS["alice"]}, anonymous="rw") as running:
        yield running


def watch_of(running: Running) -> Watch:
    """Of a server that has been asked by the API at least once."""
    watch: Watch = running.server.wsgi_app._terminal.beside._watch  # type: ignore[attr-defined]
    return watch


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        os.sched_yield()


class Waiter:
    """A long poll in a thread of its own."""

    def __init__(self, running: Running | Process, query: str) -> None:
        self.answers: list[Answer] = []
        self._thread = threading.Thread(
            target=lambda: self.answers.append(User(running.client(), None)("GET", f"/locks?{query}"))
        )
        self._thread.start()

    @property
    def answer(self) -> Answer:
        self._thread.join(timeout=60)
        return self.answers[0]


class Stream:
    """An event stream on a socket."""

    def __init__(self, raw: Raw, query: str = "", headers: str = "") -> None:
        self.raw = raw
        raw.send(f"GET {BASE}/events{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        self.status, self.fields = raw.head()
        self._text = ""
        if self.status == 200:
            assert self._chunk() == "retry: 2000\n\n"

    def _chunk(self) -> str:
        size = int(self.raw._file.readline(), 16)
        text = self.raw.read(size).decode()
        self.raw._file.readline()
        return text

    def next(self) -> tuple[str, Any]:
        """Name and data of the next event; ("", None) at the end."""
        while "\n\n" not in self._text:
            chunk = self._chunk()
            if not chunk:
                return "", None
            self._text += chunk
        block, _, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if not fields:
            return self.next()
        data = json.loads(fields["data"])
        assert fields.get("id", str(data.get("id", ""))) == str(data.get("id", ""))
        return fields["event"], data


# --- long polls


def test_it_answers_when_the_path_is_free(server: Running) -> None:
    dav = server.client()
    other, token = dav.lock("/other").token, dav.lock("/f").token
    waiter = Waiter(server, "path=/f&wait=60")
    until(lambda: watch_of(server)._waiting == 1 if server.server.wsgi_app._terminal.beside._watch else False)
    assert dav("UNLOCK", "/other", Lock_Token=f"<{other}>").status == 204  # an event, but not the one
    assert not waiter.answers
    assert dav("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 204
    assert (waiter.answer.status, waiter.answer.json) == (200, {"locks": []})


@pytest.mark.slow
def test_it_answers_when_the_lock_expires(server: Running) -> None:
    api = User(server.client(), None)
    assert api("POST", "/transactions", {"paths": ["/d"], "seconds": 1}).status == 201
    assert api("GET", "/locks?path=/d/f&wait=60").json == {"locks": []}


@pytest.mark.slow
def test_the_end_of_the_time_is_204(server: Running) -> None:
    server.client().lock("/f")
    answer = User(server.client(), None)("GET", "/locks?path=/f&wait=1")
    assert (answer.status, answer.body) == (204, b"")
    assert "content-type" not in answer.headers


def test_there_are_so_many_seats_and_the_rest_goes_on(server: Running) -> None:
    dav = server.client()
    tokens = [dav.lock(f"/{number}").token for number in range(3)]
    waiters = [Waiter(server, f"path=/{number}&wait=60") for number in range(3)]
    api = User(server.client(), None)
    api("GET", "/locks")
    until(lambda: watch_of(server)._waiting == 3)
    for method, target in ("GET", "/locks?path=/0&wait=60"), ("GET", "/events"):
        refused = api(method, target)
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        assert refused.json["detail"].startswith("Too many wait for locks already")
    # Whoever need not wait needs no seat, and nobody else is held up.
    assert api("GET", "/locks?path=/free&wait=60").status == 200
    assert dav("PUT", "/free", b"x").status == 201
    for number, token in enumerate(tokens):
        assert dav("UNLOCK", f"/{number}", Lock_Token=f"<{token}>").status == 204
    assert [waiter.answer.status for waiter in waiters] == [200, 200, 200]
    assert api("HEAD", "/events").status == 200
    until(lambda: watch_of(server)._taken == 0)


def test_the_end_of_the_server_ends_them(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.client().lock("/f")
        with server.raw() as raw:
            stream = Stream(raw)
            waiter = Waiter(server, "path=/f&wait=60")
            until(lambda: watch_of(server)._waiting == 2)
            began = time.monotonic()
            server.server.stop()
            assert stream.next() == ("", None)
            assert waiter.answer.status == 204
            assert time.monotonic() - began < 10  # the drain time


# --- streams


def test_a_stream_tells_what_happens_as_it_happens(server: Running) -> None:
    dav = server.client()
    dav.lock("/before")
    with server.raw() as raw:
        stream = Stream(raw)
        assert stream.fields["content-type"] == "text/event-stream; charset=utf-8"
        assert (stream.fields["cache-control"], stream.fields["x-accel-buffering"]) == ("no-store", "no")
        token = dav.lock("/a%20b", Timeout="Second-600").token
        name, data = stream.next()
        assert name == "locked"
        assert data == {
            "id": 2, "event": "locked", "at": data["at"], "lock_id": 2, "path": "/a%20b", "kind": "write",
            "locked_until": data["locked_until"],
        }  # fmt: skip
        assert dav("UNLOCK", "/a%20b", Lock_Token=f"<{token}>").status == 204
        name, data = stream.next()
        assert (name, data["id"], "locked_until" in data) == ("released", 3, False)


@pytest.mark.parametrize(
    ("query", "headers", "told"),
    [
        ("?after=0", "", [1, 2, 3, 4]),
        ("?after=0&path=/d", "", [1, 2]),
        ("?after=0&path=/d/e", "", [1, 2]),
        ("?after=0&path=/x", "", [3, 4]),
        ("?after=2", "", [3, 4]),
        ("?after=0", "Last-Event-ID: 3\r\n", [4]),
        ("", "Last-Event-ID: 1\r\n", [2, 3, 4]),
        ("", "Last-Event-ID: nonsense\r\n", []),
        ("", "", []),
    ],
)
def test_a_stream_begins_where_it_is_told_to(query: str, headers: str, told: list[int], server: Running) -> None:
    dav = server.client()
    dav("MKCOL", "/d")
    for path in "/d/e", "/x":
        token = dav.lock(path).token
        dav("UNLOCK", path, Lock_Token=f"<{token}>")
    with server.raw() as raw:
        stream = Stream(raw, query, headers)
        assert dav.lock("/", Depth="infinity").status == 200
        seen = []
        while (number := stream.next()[1]["id"]) != 5:
            seen.append(number)
    assert seen == told


def test_a_stream_says_what_it_missed(server: Running) -> None:
    dav = server.client()
    for number in range(3):
        dav.lock(f"/{number}")
    app = server.server.wsgi_app
    app._terminal._shares.state.query("DELETE FROM lock_events WHERE id < 3")  # type: ignore[attr-defined]
    with server.raw() as raw:
        stream = Stream(raw, "?after=1")
        assert stream.next() == ("missed", {})
        assert stream.next()[1]["id"] == 3


@pytest.mark.slow
def test_who_may_not_read_is_told_nothing(client: Local, alice: User, carol: User) -> None:

    alice.dav("MKCOL", "/secret")
    alice.lock("/secret/f")
    alice.lock("/open")
    restrict(client, "carol", below("/open"))
    answer = carol("GET", "/events?after=0&seconds=1")
    assert answer.body.count(b"event:") == 1
    assert b'"/open"' in answer.body
    assert alice("GET", "/events?after=0&seconds=1").body.count(b"event:") == 2
    assert carol("GET", "/events?path=/secret").status == 404


def test_a_client_that_has_gone_leaves_its_seat(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    for _ in range(2):
        streams = [server.raw() for _ in range(3)]
        assert [Stream(raw).status for raw in streams] == [200, 200, 200]
        for raw in streams:
            raw.close()
        until(lambda: watch_of(server)._taken == 0)


def test_a_quiet_stream_shows_that_it_lives(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    with server.raw() as raw:
        stream = Stream(raw)
        assert {stream._chunk() for _ in range(3)} == {": still here\n\n"}


def test_a_stream_ends_when_the_state_is_away() -> None:
    class Away(LockEvents):
        def __init__(self) -> None:
            pass

        def newest(self) -> int:
            return 0

        def after(self, number: int, limit: int = 1000) -> list[Any]:
            raise Unavailable("The state is away.")

    watch = Watch(lambda: 0, 1)
    stream = EventStream(Away(), watch, after=None, seconds=60, told=lambda _: None, ask_again=lambda: None)
    assert list(stream) == [b"retry: 2000\n\n"]
    stream.close()
    stream.close()
    assert watch._taken == 0


@pytest.mark.slow
def test_workers_tell_of_each_other(tmp_path: Path) -> None:
    """And end their streams when the server is told to stop."""
    config = tmp_path / "davserver.yaml"
    config.write_text(yaml.safe_dump({"users": {"alice": USERS["alice"]}, "workers": 3}))
    head = f"Authorization: {login('alice')['Authorization']}\r\n"
    with Process(tmp_path, "-c", str(config)) as server:
        raws = [server.raw() for _ in range(6)]
        streams = [Stream(raw, headers=head) for raw in raws]
        for number in range(6):
            assert User(server.client(), "alice").lock(f"/{number}").status == 201
        for stream in streams:
            assert [stream.next()[1]["id"] for _ in range(6)] == [1, 2, 3, 4, 5, 6]
        with ThreadPoolExecutor() as pool:
            ends = [pool.submit(stream.next) for stream in streams]
            assert server.stop() == 0
            assert [end.result(timeout=30) for end in ends] == [("", None)] * 6
        assert "cut off" not in "".join(server.output)
        for raw in raws:
            raw.close()


# --- the watch


def test_one_looks_for_many() -> None:
    looks: list[int] = []

    def newest() -> int:
        looks.append(1)
        return 7 if len(looks) > 2 else 0

    watch = Watch(newest, 50)
    with ThreadPoolExecutor(50) as pool:
        waits = [pool.submit(watch.wait, 6, 60.0) for _ in range(50)]
        assert {wait.result(timeout=30) for wait in waits} == {7}
    assert len(looks) < 50
    assert watch.wait(6, 60) == 7  # known already
    assert watch.wait(7, 0.01) == 7
    watch.stop()
    assert watch.wait(7, 60) == 7
    with pytest.raises(Unavailable):
        watch.sit()


def test_a_state_that_is_away_wakes_nobody() -> None:
    answers: list[int | Exception] = [Unavailable("The state is away."), ZeroDivisionError(), 3]

    def newest() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = Watch(newest, 1)
    assert watch.wait(2, 60) == 3
    watch.stop()
    Watch(newest, 1).stop()


def test_a_server_that_stops_before_it_was_asked(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        app = server.server.wsgi_app
        app.stop_waiting()
        User(server.client(), None)("GET", "/locks")
        assert watch_of(server).has_ended
