"""Lock events: told in order, to every process, and of nothing that did not happen."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from lockworld import ALICE, BOB, Clock, World, path

from davserver.protocol.locks import Claim, Depth, Kind, LockRequest, Scope
from davserver.storage import lock_events
from davserver.storage.deliveries import Deliveries
from davserver.storage.lock_events import LockEvents, What


def test_everything_that_happens_to_a_lock(world: World, tmp_path: Path, stack: ExitStack, clock: Clock) -> None:
    observer = World(tmp_path, stack, clock).events
    assert (observer.newest(), observer.after(0)) == (0, [])
    lock = world.lock("/d/", depth=Depth.INFINITY, timeout=300)
    world.locks.refresh(path("/d"), lock.token, ALICE, 400)
    world.locks.release(path("/d"), lock.token, ALICE)
    broken = world.lock("/f")
    world.service.break_lock(broken.id, BOB, "holiday")
    world.lock("/g", timeout=10)
    clock.now += 10
    world.lock("/g", principal=BOB)
    told = observer.after(0)
    assert [event.number for event in told] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert observer.newest() == 8
    assert [(event.what, event.root.key, event.principal) for event in told] == [
        (What.LOCKED, "/d", ALICE),
        (What.REFRESHED, "/d", ALICE),
        (What.RELEASED, "/d", ALICE),
        (What.LOCKED, "/f", ALICE),
        (What.BROKEN, "/f", ALICE),
        (What.LOCKED, "/g", ALICE),
        (What.EXPIRED, "/g", ALICE),
        (What.LOCKED, "/g", BOB),
    ]
    assert told[0].root.slash
    assert (told[0].expires, told[1].expires) == (lock.expires, lock.created + 400)
    assert (told[4].by, told[4].reason, told[4].lock_id) == (BOB, "holiday", broken.id)
    assert [event.number for event in observer.after(6)] == [7, 8]
    assert [event.number for event in observer.after(0, limit=2)] == [1, 2]
    assert not any(lock.token in repr(event) for event in told)


def test_what_goes_with_a_tree_is_told(world: World, clock: Clock) -> None:
    world.lock("/t/a", timeout=10)
    world.lock("/t/b")
    released = world.lock("/t/c")
    world.locks.release(released.root, released.token, ALICE)
    newest = world.events.newest()
    clock.now += 10
    tokens = frozenset(lock.token for lock in world.locks.active())
    with world.locks.hold([path("/t")], principal=ALICE, tokens=tokens) as hold:
        hold.check(Claim(trees=(path("/t"),)))
        with world.state.transaction():
            world.locks.forget(hold, path("/t"))
    assert [(event.what, event.root.key) for event in world.events.after(newest)] == [
        (What.EXPIRED, "/t/a"),
        (What.RELEASED, "/t/b"),
    ]


def test_what_did_not_happen_is_not_told(world: World) -> None:
    request = LockRequest(path("/f"), Depth.ZERO, Scope.EXCLUSIVE, ALICE, None, 60, Kind.WRITE)
    with (
        pytest.raises(ZeroDivisionError),
        world.locks.hold([path("/f")], principal=ALICE, tokens=frozenset()) as hold,
        world.state.transaction(),
    ):
        world.locks.acquire(hold, request)
        raise ZeroDivisionError
    assert world.events.after(0) == []


def test_who_waits_is_told_when_there_is_something(world: World) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            world.lock("/f")

    events = LockEvents(world.state, sleep=sleep)
    assert [event.what for event in events.wait(0, 60)] == [What.LOCKED]
    assert len(slept) == 3
    assert [event.what for event in events.wait(0, 60)] == [What.LOCKED]  # there already
    assert len(slept) == 3
    assert events.wait(1, 0.5) == []
    assert sum(slept[3:]) == pytest.approx(0.5)


def test_old_ones_are_dropped_and_numbers_go_on(world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop_old(before: float) -> None:
        world.events.drop_old(before, before)

    drop_old(clock.now)
    for _ in range(3):
        lock = world.lock("/f")
        world.locks.release(lock.root, lock.token, ALICE)
    drop_old(clock.now)  # not older than that
    assert world.events.newest() == len(world.events.after(0)) == 6
    monkeypatch.setattr(lock_events, "KEEP_EVENTS", 4)
    drop_old(clock.now)
    assert [event.number for event in world.events.after(0)] == [3, 4, 5, 6]
    drop_old(clock.now + 1)
    assert [event.number for event in world.events.after(0)] == [6]
    drop_old(clock.now + 1)
    world.lock("/g")
    assert [event.number for event in world.events.after(0)] == [6, 7]


def test_what_a_webhook_has_not_taken_is_kept_for_longer(world: World, clock: Clock) -> None:
    deliveries = Deliveries(world.state, str(world.folder))
    deliveries.know(["slow", "quick"])
    for _ in range(3):
        lock = world.lock("/f")
        world.locks.release(lock.root, lock.token, ALICE)

    def left(before: float, undelivered_before: float) -> list[int]:
        world.events.drop_old(before, undelivered_before)
        return [event.number for event in world.events.after(0)]

    assert left(clock.now + 1, clock.now) == [1, 2, 3, 4, 5, 6]
    deliveries.note("quick", 6)
    deliveries.note("slow", 2)
    assert left(clock.now + 1, clock.now) == [3, 4, 5, 6]
    assert left(clock.now + 1, clock.now) == [3, 4, 5, 6]
    assert left(clock.now + 1, clock.now + 1) == [6]
    deliveries.close()
