"""Webhooks: real deliveries to a real server, without waiting as long as in earnest."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import signal
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from lockworld import ALICE, BOB, World, path
from receiver import Receiver, deaf, receiving
from serving import Process

from davserver.protocol.errors import Unavailable
from davserver.storage.deliveries import Deliveries
from davserver.storage.lock_events import LockEvents, What
from davserver.web import webhooks
from davserver.web.webhooks import Webhook, Webhooks, signature

KEY = b"a secret of sixteen"
TLS = Path(__file__).parent.parent / "server" / "tls" / "one.pem"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LOOK_SECONDS", 0.02), ("TURN_SECONDS", 0.05), ("FIRST_PAUSE", 0.02)):
        monkeypatch.setattr(webhooks, name, seconds)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def world(tmp_path: Path, stack: ExitStack) -> World:
    return World(tmp_path, stack, time.time)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def hook(url: str, events: frozenset[What] = frozenset(What), where: str = "/") -> Webhook:
    return Webhook("chat", url, KEY, events, path(where))


def calling(world: World, *hooks: Webhook, stack: ExitStack) -> Webhooks:
    """Another process that delivers what happens in `world`."""
    deliveries = Deliveries(world.state, str(world.folder))
    stack.callback(deliveries.close)
    deliveries.know([each.name for each in hooks])
    found = Webhooks(hooks, LockEvents(world.state), deliveries, prefix="/dav")
    stack.callback(found.stop)
    found.start()
    return found


def test_each_event_is_told_in_order_and_signed(world: World, receiver: Receiver, stack: ExitStack) -> None:
    calling(world, hook(receiver.url), stack=stack)
    lock = world.lock("/d/f")
    world.service.break_lock(lock.id, BOB, "holiday")
    first, second = receiver.next(), receiver.next()
    assert first.path == "/hook?x=1"
    assert first.json == {
        "id": 1, "event": "locked", "at": first.json["at"], "lock_id": lock.id, "path": "/dav/d/f", "kind": "write",
        "locked_by": "Alice Smith", "locked_until": first.json["locked_until"],
    }  # fmt: skip
    assert {name: second.json[name] for name in ("id", "event", "broken_by", "break_reason")} == {
        "id": 2, "event": "broken", "broken_by": "Bob", "break_reason": "holiday",
    }  # fmt: skip
    for delivery in first, second:
        head = delivery.headers
        assert (head["Content-Type"], head["Davserver-Event"]) == ("application/json", delivery.json["event"])
        assert head["Davserver-Delivery"] == str(delivery.json["id"])
        moment = head["Davserver-Timestamp"]
        assert abs(int(moment) - time.time()) < 60
        wanted = hmac.new(KEY, moment.encode() + b"." + delivery.body, hashlib.sha256).hexdigest()
        assert head["Davserver-Signature"] == f"sha256={wanted}" == signature(KEY, moment, delivery.body)
        assert lock.token.encode() not in delivery.body


def test_only_what_was_asked_for(world: World, receiver: Receiver, stack: ExitStack) -> None:
    calling(world, hook(receiver.url, frozenset({What.RELEASED}), "/d/e"), stack=stack)
    for where in "/x", "/d/e/f", "/dd", "/d":
        lock = world.lock(where)
        world.locks.release(lock.root, lock.token, ALICE)
    assert [receiver.next().json["path"] for _ in range(2)] == ["/dav/d/e/f", "/dav/d"]
    assert receiver.is_empty


def test_what_is_passed_over_is_noted_now_and_then(
    world: World, receiver: Receiver, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_BATCH", 5)
    found = calling(world, hook(receiver.url, frozenset({What.BROKEN})), stack=stack)
    for number in range(7):
        world.lock(f"/{number}")
    lock = world.lock("/f")
    world.service.break_lock(lock.id, BOB, "holiday")
    assert receiver.numbers(1) == [9]
    found.stop()
    deliveries = Deliveries(world.state, str(world.folder))
    stack.callback(deliveries.close)
    assert deliveries.last("chat") == 9
    deliveries.note("chat", 0)
    again = Webhooks([hook(receiver.url, frozenset({What.EXPIRED}))], world.events, deliveries)._couriers[0]
    assert (again._go_on(), deliveries.last("chat")) == (0.0, 5)
    assert (again._go_on(), deliveries.last("chat")) == (0.0, 5)
    assert again._go_on() == webhooks.LOOK_SECONDS


@pytest.mark.parametrize("status", [301, 302, 307, 400, 410, 500, 503])
def test_what_is_not_taken_is_sent_again_and_the_rest_waits(
    status: int, world: World, receiver: Receiver, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"} if status < 400 else {}
    receiver.answers += [(204, {}, b""), (status, elsewhere, b"no"), (status, elsewhere, b"x" * 100_000)]
    calling(world, hook(receiver.url), stack=stack)
    for where in "/a", "/b", "/c":
        world.lock(where)
    came = [receiver.next() for _ in range(5)]
    assert [delivery.json["id"] for delivery in came] == [1, 2, 2, 2, 3]
    assert {delivery.path for delivery in came} == {"/hook?x=1"}
    assert f"event 2: it was answered {status}; again in" in caplog.text
    assert KEY.decode() not in caplog.text


def test_pauses_grow_up_to_a_limit(world: World, receiver: Receiver, stack: ExitStack) -> None:
    """And a success makes them short again."""
    courier = Webhooks([hook(receiver.url)], world.events, Deliveries(world.state, str(world.folder)))._couriers[0]
    courier._deliveries.know(["chat"])
    stack.callback(courier._deliveries.close)
    world.lock("/f")
    (event,) = world.events.after(0)
    pauses = [courier._failed(event, "no") / webhooks.FIRST_PAUSE for _ in range(30)]
    assert pauses[:5] == [1, 2, 4, 8, 16]
    assert pauses[-1] * webhooks.FIRST_PAUSE == webhooks.LONGEST_PAUSE
    assert courier._go_on() == 0.0
    assert receiver.numbers(1) == [1]
    assert courier._failed(event, "no") == webhooks.FIRST_PAUSE
    courier._hang_up()


def test_several_processes_deliver_each_event_once(world: World, receiver: Receiver, stack: ExitStack) -> None:
    for _ in range(4):
        calling(world, hook(receiver.url), stack=stack)
    for number in range(20):
        world.lock(f"/{number}")
    assert receiver.numbers(20) == list(range(1, 21))
    assert receiver.is_empty


def test_who_comes_after_goes_on_where_it_was(world: World, receiver: Receiver, stack: ExitStack) -> None:
    world.lock("/before")
    with ExitStack() as life:
        calling(world, hook(receiver.url), stack=life)
        world.lock("/a")
        assert receiver.numbers(1) == [2]
    for where in "/b", "/c":
        world.lock(where)
    assert receiver.is_empty
    with ExitStack() as life:
        calling(world, hook(receiver.url), stack=life)
        assert receiver.numbers(2) == [3, 4]


def test_what_was_dropped_undelivered_is_told_in_the_log(
    world: World, receiver: Receiver, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    deliveries = Deliveries(world.state, str(world.folder))
    deliveries.know(["chat"])
    deliveries.close()
    for where in "/a", "/b", "/c":
        world.lock(where)
    world.state.query("DELETE FROM lock_events WHERE id < 3")
    calling(world, hook(receiver.url), stack=stack)
    assert receiver.numbers(1) == [3]
    assert "2 events were dropped undelivered" in caplog.text


def test_a_receiver_that_hangs_holds_nobody_up(world: World, stack: ExitStack) -> None:
    with deaf() as port:
        calling(world, hook(f"http://127.0.0.1:{port}/"), stack=stack)
        for number in range(5):
            lock = world.lock(f"/{number}")
            world.locks.release(lock.root, lock.token, ALICE)
        began = time.monotonic()
        stack.close()
    assert time.monotonic() - began < webhooks.PATIENCE


@pytest.mark.slow
def test_a_receiver_that_does_not_answer_is_cut_off_at_the_end(
    world: World, receiver: Receiver, stack: ExitStack
) -> None:
    """And is told again after the next start."""
    receiver.open.clear()
    with ExitStack() as life:
        calling(world, hook(receiver.url), stack=life)
        world.lock("/f")
        assert receiver.numbers(1) == [1]
        world.lock("/g")
    receiver.open.set()
    calling(world, hook(receiver.url), stack=stack)
    assert receiver.numbers(2) == [1, 2]


def test_a_receiver_that_is_not_there(world: World, receiver: Receiver, stack: ExitStack) -> None:
    caught: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            caught.append(record.getMessage())

    log, handler = logging.getLogger("davserver"), Handler()
    log.addHandler(handler)
    stack.callback(log.removeHandler, handler)
    with deaf() as port:
        pass
    for url in f"http://127.0.0.1:{port}/", "http://" + "a" * 70 + ".invalid/":
        with ExitStack() as life:
            calling(world, hook(url), stack=life)
            world.lock(f"/{port}{len(url)}")
            while not any("again in" in line for line in caught):
                os.sched_yield()
        caught.clear()
    calling(world, hook(receiver.url), stack=stack)
    assert receiver.numbers(2) == [1, 2]


def test_a_certificate_is_checked(
    world: World, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trouble: list[str] = []
    monkeypatch.setattr(webhooks._Courier, "_failed", lambda self, event, why: trouble.append(why) or 0.05)
    with receiving(TLS) as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        with ExitStack() as life:
            calling(world, hook(url), stack=life)
            world.lock("/f")
            while not trouble:
                os.sched_yield()
        assert "CERTIFICATE_VERIFY_FAILED" in trouble[0]
        assert receiver.is_empty
        context = ssl.create_default_context(cafile=str(TLS))
        context.check_hostname = False
        monkeypatch.setattr(ssl, "create_default_context", lambda: context)
        calling(world, hook(url), stack=stack)
        assert receiver.numbers(1) == [1]
        stack.close()


def test_a_state_that_is_away_is_waited_for(
    world: World, receiver: Receiver, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles: list[Exception] = [Unavailable("The state is away."), ZeroDivisionError()]
    monkeypatch.setattr(webhooks, "LONGEST_PAUSE", 0.02)
    after = LockEvents.after

    def failing(self: LockEvents, number: int, limit: int = 1000) -> Any:
        if troubles:
            raise troubles.pop(0)
        return after(self, number, limit)

    monkeypatch.setattr(LockEvents, "after", failing)
    calling(world, hook(receiver.url), stack=stack)
    world.lock("/f")
    assert receiver.numbers(1) == [1]
    assert not troubles


def test_one_that_the_state_does_not_know_any_more_rests(world: World, receiver: Receiver, stack: ExitStack) -> None:
    found = calling(world, hook(receiver.url), stack=stack)
    found.stop()
    other = Deliveries(world.state, str(world.folder))
    stack.callback(other.close)
    other.know([])
    assert found._couriers[0]._go_on() == webhooks.LONGEST_PAUSE


@pytest.mark.slow
def test_workers_that_are_killed_leave_none_out(tmp_path: Path) -> None:
    """Three workers, one of which delivers; they are killed one by one, and the server is started anew."""
    with receiving() as receiver:
        config = tmp_path / "davserver.yaml"
        config.write_text(yaml.safe_dump({"webhooks": {"chat": {"url": receiver.url, "secret": KEY.decode()}}}))
        arguments = ("-c", str(config))
        with Process(tmp_path, *arguments, environ={"DAVSERVER_WORKERS": "3"}) as server:
            seen: list[int] = []
            for round_ in range(4):
                for number in range(5):
                    assert server.client().lock(f"/{round_}-{number}").status == 201
                seen += receiver.until(round_ * 5 + 5)
                os.kill(server.workers[round_ % 3], signal.SIGKILL)
            server.kill()
            server.start()
            assert server.client().lock("/last").status == 201
            seen += receiver.until(21)
            assert server.stop() == 0
        # Nothing twice but what was under way when its worker died, which is told by its id.
        assert sorted(set(seen)) == list(range(1, 22))
        assert seen == sorted(seen)
