"""The machine's clock is set, forth and back: no lock is revived, and none lasts longer than it was granted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from lockworld import ALICE, BOB, Clock, World, path

from davserver.protocol.errors import InsufficientStorage, PreconditionFailed, Unavailable
from davserver.protocol.locks import Claim, Depth, Ending, Kind, Lock
from davserver.storage.lock_events import What

YEAR = 365 * 86400.0


@pytest.fixture
def other(world: World, tmp_path: Path, stack: ExitStack, clock: Clock) -> World:
    """Another process of the same store, which has seen the time that it is."""
    return World(tmp_path, stack, clock)


def roots(world: World) -> list[str]:
    return [lock.root.key for lock in world.locks.active()]


@contextmanager
def ahead(clock: Clock, seconds: float = YEAR) -> Iterator[None]:
    """Somebody sets the clock, and after a while sets it right again."""
    clock.now += seconds
    yield
    clock.now -= seconds


def refresh(world: World, lock: Lock, timeout: int) -> Lock:
    return world.locks.refresh(lock.root, lock.token, lock.principal, timeout)


def test_what_was_granted_while_the_clock_was_a_year_ahead_does_not_last_a_year(
    world: World, other: World, clock: Clock
) -> None:
    old = world.lock("/old", timeout=None)
    with ahead(clock):
        new = world.lock("/new", timeout=600)
        refresh(world, old, 900)
        clock.now += 5
    for process in (world, other):
        assert {lock.root.key: lock.expires for lock in process.locks.active()} == {
            "/new": clock.now + 600, "/old": clock.now + 900,
        }  # fmt: skip
        assert {(lock.created <= clock.now, lock.refreshed) for lock in process.locks.active()} == {(True, clock.now)}
        assert process.locks.now() == clock.now
    clock.now += 599.5
    assert roots(other) == ["/old", "/new"]
    clock.now += 1
    assert roots(world) == ["/old"]
    with pytest.raises(PreconditionFailed):
        refresh(other, new, 600)
    clock.now += 300
    assert roots(other) == []


def test_a_year_ahead_makes_nobody_look_alive_for_ever(world: World, clock: Clock) -> None:
    """How often its client refreshes is what a lock is judged by; a jump is no pause of the client's."""
    held = world.lock("/a", timeout=int(2 * YEAR))
    with ahead(clock):
        refresh(world, held, 600)
    assert world.locks.active()[0].interval == 600


@pytest.mark.parametrize("how", ["noted", "acted upon", "looked at"])
def test_what_had_expired_stays_so(how: str, world: World, other: World, clock: Clock) -> None:
    held = world.lock("/a", timeout=1000)
    with ahead(clock, 5000):
        if how == "noted":
            world.lock("/b", timeout=10_000)
        elif how == "acted upon":
            claim = Claim(writes=(path("/a"),))
            with world.locks.hold([path("/a")], principal=BOB, tokens=frozenset()) as hold:
                view = world.locks.view(claim)
                hold.check(claim, view)
                hold.settle(claim, view)
        else:
            assert roots(world) == []
    expected = ["/b"] if how == "noted" else []
    assert roots(world) == expected
    assert roots(other) == expected
    with pytest.raises(PreconditionFailed):
        refresh(other, held, 600)


def test_its_end_is_told_once_and_lies_not_in_the_future(world: World, other: World, clock: Clock) -> None:
    held = world.lock("/a", timeout=1000)
    with ahead(clock):
        world.lock("/b", timeout=1000)
        released = world.lock("/c")
        world.locks.release(path("/c"), released.token, ALICE)
    other.locks.active()
    world.locks.active()
    ended = other.locks.by_id(held.id)
    assert ended.end is not None
    assert (ended.end.how, ended.end.at, ended.end.void) == (Ending.EXPIRED, clock.now, False)
    assert world.locks.by_id(released.id).end == other.locks.by_id(released.id).end
    events = world.events.after(0)
    assert [event.lock_id for event in events if event.what is What.EXPIRED] == [held.id]
    assert all(event.at <= clock.now for event in events)
    # Not remembered any longer than others, either.
    clock.now += world.locks.policy.grace
    world.keeper.sweep()
    assert world.locks.around(path("/c")).ended == ()


def test_what_expired_before_the_jump_keeps_its_moment(world: World, clock: Clock) -> None:
    held = world.lock("/a", timeout=100)
    clock.now += 300
    with ahead(clock):
        world.lock("/b")
    world.locks.active()
    end = world.locks.by_id(held.id).end
    assert end is not None
    assert end.at == held.expires


def test_no_process_brings_back_the_time_that_was_wrong(world: World, other: World, clock: Clock) -> None:
    """Each remembers what it has seen. The first to notice tells the others that it counts no more."""
    with ahead(clock):
        assert world.locks.now() == other.locks.now() == clock.now
        world.lock("/a")
    assert world.locks.now() == clock.now
    assert world.state.query("SELECT latest, jumps FROM progress") == [(clock.now, 1)]
    clock.now += 10
    held = other.lock("/b", timeout=600)
    assert (held.created, held.expires) == (clock.now, clock.now + 600)
    assert other.state.query("SELECT latest, jumps FROM progress") == [(clock.now, 1)]
    assert world.locks.now() == clock.now
    assert roots(world) == roots(other) == ["/a", "/b"]


def test_who_has_not_seen_the_wrong_time_finds_it_in_the_store(world: World, other: World, clock: Clock) -> None:
    with ahead(clock):
        world.lock("/a", timeout=600)
    held = other.lock("/b", timeout=600)  # looks at no row that tells the time, until it notes its own
    assert held.expires == clock.now + 600
    assert {lock.expires for lock in other.locks.active()} == {clock.now + 600}


def test_who_starts_afterwards_finds_it_too(world: World, tmp_path: Path, stack: ExitStack, clock: Clock) -> None:
    with ahead(clock):
        world.lock("/a", timeout=600)
    world.state.close()
    clock.now += 20
    fresh = World(tmp_path, stack, clock)
    assert fresh.locks.now() == clock.now
    assert [lock.expires for lock in fresh.locks.active()] == [clock.now + 600]


def test_again_and_again(world: World, other: World, clock: Clock) -> None:
    world.lock("/a", timeout=600)
    for number in range(1, 4):
        with ahead(clock, 300):
            refresh(world if number % 2 else other, world.locks.active()[0], 600)
        for process in (other, world):
            assert [lock.expires for lock in process.locks.active()] == [clock.now + 600]
    assert world.state.query("SELECT jumps FROM progress") == [(3,)]


def test_for_a_moment_time_stands_still(world: World, other: World, clock: Clock) -> None:
    world.lock("/a", timeout=600)
    began = clock.now
    clock.now -= 0.9
    assert world.locks.now() == began
    assert other.lock("/b", timeout=600).expires == began + 600
    clock.now += 1
    assert world.locks.now() == clock.now
    assert world.state.query("SELECT jumps FROM progress") == [(0,)]


def test_a_lock_without_an_end_has_none(world: World, clock: Clock) -> None:
    with ahead(clock):
        world.lock("/", depth=Depth.INFINITY, timeout=None, kind=Kind.MAINTENANCE)
    (lock,) = world.locks.active()
    assert (lock.expires, lock.refreshed) == (None, clock.now)


@pytest.mark.parametrize("refusal", [Unavailable("away"), InsufficientStorage("full")])
def test_where_it_cannot_be_noted_time_stands_still(
    refusal: Exception, world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading goes on, no lock is lost, and nothing is granted for a year once it can be written again."""
    with ahead(clock):
        wrong = clock.now
        world.lock("/a", timeout=600)

    @contextmanager
    def refuse() -> Iterator[None]:
        raise refusal
        yield

    with monkeypatch.context() as broken:
        broken.setattr(world.state, "transaction", refuse)
        assert world.locks.now() == wrong
        assert roots(world) == ["/a"]
    assert world.locks.now() == clock.now
    assert [lock.expires for lock in world.locks.active()] == [clock.now + 600]


def test_a_clock_that_is_set_back_between_check_and_change(world: World, clock: Clock) -> None:
    """Nobody may act on the end of a lock that has not come, by the clock that counts now."""
    world.lock("/a", timeout=1000)
    claim = Claim(writes=(path("/a"),))
    clock.now += 2000
    with world.locks.hold([path("/a")], principal=BOB, tokens=frozenset()) as hold:
        view = world.locks.view(claim)
        hold.check(claim, view)
        clock.now -= 2000
        with pytest.raises(Unavailable):
            hold.settle(claim, view)
