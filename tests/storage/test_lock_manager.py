"""LockManager: grants, refusals, and the hold, on a real database and a real gate."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from lockworld import ALICE, BOB, Clock, World, path

from davserver.protocol.errors import Conflict, Forbidden, LockConflict, Locked, NotFound, PreconditionFailed
from davserver.protocol.locks import (
    ANYBODY,
    Claim,
    Depth,
    End,
    Ending,
    Kind,
    Lock,
    LockRequest,
    Principal,
    Scope,
)
from davserver.protocol.paths import ROOT
from davserver.storage.hold import Unproven
from davserver.storage.lock_events import LockEvents
from davserver.storage.lock_manager import new_token


def blocking(world: World, claim: Claim, *, tokens: frozenset[str] = frozenset()) -> set[str]:
    """Keys of the roots that stop a claim of Alice's."""
    try:
        world.locks.require_passed(claim, world.locks.view(claim), ALICE, tokens)
    except Locked as locked:
        return {found.root.key for found in locked.locks}
    return set()


def test_a_lock_is_what_was_asked_for(world: World, clock: Clock) -> None:
    granted = world.lock("/docs/", depth=Depth.INFINITY, owner=b'<o xmlns="DAV:"/>', made="etag")
    now = clock.now
    assert granted.token.startswith("urn:uuid:")
    assert (granted.created, granted.refreshed, granted.expires) == (now, now, now + 600)
    assert (granted.id, granted.made) == (1, "etag")
    (found,) = world.locks.active()
    assert found == granted
    assert found.root.slash
    assert found.principal.display_name == "Alice Smith"
    assert (found.client_address, found.client_agent) == ("::1", "test")
    assert world.locks.by_id(1) == granted
    with pytest.raises(NotFound):
        world.locks.by_id(2)


def test_numbers_are_never_used_twice(world: World) -> None:
    first = world.lock("/a")
    world.locks.release(path("/a"), first.token, ALICE)
    world.lock("/a")  # which drops the row of the first
    with world.state.transaction():
        world.state.query("DELETE FROM locks")
    assert world.lock("/a").id == 3


def test_tokens_are_never_alike() -> None:
    assert len({new_token() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (("/a", Depth.ZERO, Scope.EXCLUSIVE), ("/a", Depth.ZERO, Scope.EXCLUSIVE), True),
        (("/a", Depth.ZERO, Scope.EXCLUSIVE), ("/a", Depth.ZERO, Scope.SHARED), True),
        (("/a", Depth.ZERO, Scope.SHARED), ("/a", Depth.ZERO, Scope.SHARED), False),
        (("/a", Depth.ZERO, Scope.EXCLUSIVE), ("/a/b", Depth.ZERO, Scope.EXCLUSIVE), False),
        (("/a", Depth.INFINITY, Scope.EXCLUSIVE), ("/a/b/c", Depth.ZERO, Scope.EXCLUSIVE), True),
        (("/a/b/c", Depth.ZERO, Scope.EXCLUSIVE), ("/a", Depth.INFINITY, Scope.EXCLUSIVE), True),
        (("/a/b/c", Depth.ZERO, Scope.SHARED), ("/a", Depth.INFINITY, Scope.SHARED), False),
        (("/a/b/c", Depth.ZERO, Scope.EXCLUSIVE), ("/a", Depth.ZERO, Scope.EXCLUSIVE), False),
        (("/", Depth.INFINITY, Scope.EXCLUSIVE), ("/x", Depth.ZERO, Scope.SHARED), True),
        (("/x", Depth.ZERO, Scope.SHARED), ("/", Depth.INFINITY, Scope.EXCLUSIVE), True),
        (("/a_b", Depth.INFINITY, Scope.EXCLUSIVE), ("/aXb", Depth.ZERO, Scope.EXCLUSIVE), False),
        (("/a_b/c", Depth.ZERO, Scope.EXCLUSIVE), ("/aXb", Depth.INFINITY, Scope.EXCLUSIVE), False),
        (("/a%25/x", Depth.ZERO, Scope.EXCLUSIVE), ("/ab", Depth.INFINITY, Scope.EXCLUSIVE), False),
        (("/a%27%3B--", Depth.INFINITY, Scope.EXCLUSIVE), ("/a%27%3B--/x", Depth.ZERO, Scope.EXCLUSIVE), True),
        (("/a0", Depth.ZERO, Scope.EXCLUSIVE), ("/a", Depth.INFINITY, Scope.EXCLUSIVE), False),
        (("/a.txt", Depth.ZERO, Scope.EXCLUSIVE), ("/a", Depth.INFINITY, Scope.EXCLUSIVE), False),
        (("/%C3%BC/%F0%9F%98%80", Depth.ZERO, Scope.EXCLUSIVE), ("/%C3%BC", Depth.INFINITY, Scope.SHARED), True),
    ],
)
def test_which_locks_stand_together(
    first: tuple[str, Depth, Scope], second: tuple[str, Depth, Scope], conflict: bool, world: World
) -> None:
    """RFC 4918 §6.2, §9.10.5."""
    held = world.lock(first[0], depth=first[1], scope=first[2], principal=BOB)
    if conflict:
        with pytest.raises(LockConflict) as refused:
            world.lock(second[0], depth=second[1], scope=second[2])
        assert refused.value.locks == (held,)
        assert world.locks.active() == [held]
    else:
        granted = world.lock(second[0], depth=second[1], scope=second[2])
        assert world.locks.active() == [held, granted]


def test_a_conflict_names_every_lock_in_the_way(world: World) -> None:
    held = [world.lock(f"/a/{name}", principal=BOB) for name in "bcd"]
    world.lock("/z", principal=BOB)
    with pytest.raises(LockConflict) as refused:
        world.lock("/a", depth=Depth.INFINITY)
    assert list(refused.value.locks) == held


def test_a_claim_is_stopped_by_what_protects_it(world: World) -> None:
    world.lock("/c/", principal=BOB)
    world.lock("/c/d/e", principal=BOB)
    world.lock("/deep/", depth=Depth.INFINITY, principal=BOB)
    assert blocking(world, Claim(writes=(path("/c/f"),))) == set()
    assert blocking(world, Claim(members_of=(path("/c"),))) == {"/c"}
    assert blocking(world, Claim(writes=(path("/c/d/e"),))) == {"/c/d/e"}
    assert blocking(world, Claim(trees=(path("/c/d"),))) == {"/c/d/e"}
    assert blocking(world, Claim(trees=(path("/c"),), members_of=(ROOT,))) == {"/c", "/c/d/e"}
    assert blocking(world, Claim(trees=(ROOT,))) == {"/c", "/c/d/e", "/deep"}
    assert blocking(world, Claim(writes=(path("/deep/er/and/deeper"),))) == {"/deep"}
    assert blocking(world, Claim()) == set()


def test_only_its_own_principal_passes_with_a_token(world: World) -> None:
    mine, theirs = world.lock("/mine"), world.lock("/theirs", principal=BOB)
    tokens = frozenset({mine.token, theirs.token})
    assert blocking(world, Claim(writes=(path("/mine"),)), tokens=tokens) == set()
    assert blocking(world, Claim(writes=(path("/mine"),))) == {"/mine"}
    assert blocking(world, Claim(writes=(path("/theirs"),)), tokens=tokens) == {"/theirs"}


def test_refresh_restarts_the_time_for_the_holder_alone(world: World, clock: Clock) -> None:
    held = world.lock("/a/", depth=Depth.INFINITY)
    begun = clock.now
    clock.now += 100
    refreshed = world.locks.refresh(path("/a/b"), held.token, ALICE, 900)
    assert (refreshed.token, refreshed.created, refreshed.interval) == (held.token, begun, 100)
    assert (refreshed.refreshed, refreshed.expires) == (begun + 100, begun + 1000)
    for token, principal, where in (
        (held.token, BOB, "/a"),
        ("urn:uuid:other", ALICE, "/a"),
        (held.token, ALICE, "/b"),
    ):
        with pytest.raises(PreconditionFailed) as refused:
            world.locks.refresh(path(where), token, principal, 900)
        assert refused.value.element == "lock-token-matches-request-uri"
    assert world.locks.active() == [refreshed]
    clock.now = begun + 999
    last = world.locks.refresh(path("/a"), held.token, ALICE, 900)  # at the last moment
    assert last.interval == 899
    clock.now = begun + 999 + 900
    with pytest.raises(PreconditionFailed):
        world.locks.refresh(path("/a"), held.token, ALICE, 900)


def test_release_is_for_the_holder_and_within_reach(world: World) -> None:
    held = world.lock("/a/", depth=Depth.ZERO)
    with pytest.raises(Conflict) as missed:
        world.locks.release(path("/a/b"), held.token, ALICE)
    assert missed.value.element == "lock-token-matches-request-uri"
    with pytest.raises(Conflict):
        world.locks.release(path("/a"), "urn:uuid:other", ALICE)
    with pytest.raises(Forbidden):
        world.locks.release(path("/a"), held.token, BOB)
    assert world.locks.active() == [held]
    assert world.locks.release(path("/a"), held.token, ALICE) == held
    assert world.locks.active() == []


def test_most_locks_are_released_without_a_look_at_them(world: World, clock: Clock) -> None:
    """One statement, after which all is as `release` leaves it."""
    one, other = world.lock("/a/", depth=Depth.INFINITY, timeout=10), world.lock("/b", timeout=10)
    clock.now += 9.9
    before = LockEvents(world.state).newest()
    assert world.locks.release_own(path("/a"), one.token, ALICE)
    world.locks.release(path("/b"), other.token, ALICE)
    ends = [world.locks.by_id(lock.id).end for lock in (one, other)]
    assert ends == [End(Ending.RELEASED, clock.now)] * 2
    first, second = LockEvents(world.state).after(before, 10)
    assert first == replace(second, number=first.number, lock_id=one.id, root=one.root)
    assert world.state.query("SELECT held FROM holders") == [(0,)]


def test_what_is_no_such_lock_is_not_released_like_that(world: World, clock: Clock) -> None:
    held, made = world.lock("/a/", depth=Depth.INFINITY), world.lock("/made", made="etag")
    expired, released = world.lock("/expired", timeout=10), world.lock("/released")
    world.locks.release(path("/released"), released.token, ALICE)
    clock.now += 10
    before = LockEvents(world.state).newest()
    for where, token, principal in (
        ("/a/b", held.token, ALICE),  # covered, and not where the lock is
        ("/a", "urn:uuid:other", ALICE),
        ("/a", held.token, BOB),
        ("/made", made.token, ALICE),  # its empty file is to be seen to
        ("/expired", expired.token, ALICE),  # at that very second
        ("/released", released.token, ALICE),
        ("/nothing", held.token, ALICE),
        ("/", held.token, ALICE),
    ):
        assert not world.locks.release_own(path(where), token, principal)
    assert LockEvents(world.state).newest() == before
    assert world.locks.active() == [held, made]


def test_a_clock_that_is_behind_the_stores_releases_nothing_without_a_look(world: World, clock: Clock) -> None:
    """Another process may have seen the lock expire, by a clock that is ahead by a moment."""
    held = world.lock("/a", timeout=10)
    clock.now += 9.5
    with world.state.transaction():
        world.state.query("UPDATE progress SET latest = ?", (clock.now + 0.6,))
    assert not world.locks.release_own(path("/a"), held.token, ALICE)
    assert world.locks.release(path("/a"), held.token, ALICE) == held
    assert world.locks.by_id(held.id).end == End(Ending.RELEASED, clock.now + 0.6)  # after it had expired


def test_releasing_again_is_no_error_for_the_one_who_held_it(world: World, clock: Clock) -> None:
    """A client whose connection broke cannot know whether its UNLOCK was heard."""
    released, expired = world.lock("/a"), world.lock("/b", timeout=10)
    broken = world.lock("/c")
    with world.locks.hold([path("/c")], principal=BOB, tokens=frozenset()) as hold:
        world.locks.break_all(hold, [broken], End(Ending.BROKEN, 0, BOB, "why"), {})
    world.locks.release(path("/a"), released.token, ALICE)
    clock.now += 10
    for lock in (released, expired, broken):
        assert world.locks.release(lock.root, lock.token, ALICE).token == lock.token
        with pytest.raises(Forbidden):
            world.locks.release(lock.root, lock.token, BOB)
    assert world.locks.by_id(broken.id).end == End(Ending.BROKEN, clock.now - 10, BOB, "why", void=True)
    assert world.locks.by_id(expired.id).end == End(Ending.RELEASED, clock.now)


def test_an_expired_lock_protects_nothing_from_that_second(world: World, clock: Clock) -> None:
    held = world.lock("/a", principal=BOB, timeout=10)
    clock.now += 9.9
    assert blocking(world, Claim(writes=(path("/a"),))) == {"/a"}
    clock.now = held.created + 10
    assert blocking(world, Claim(writes=(path("/a"),))) == set()
    again = world.lock("/a")
    assert world.locks.active() == [again]


def test_who_acts_on_an_expiry_notes_the_time_of_it(
    world: World, tmp_path: Path, stack: ExitStack, clock: Clock
) -> None:
    """Somebody wrote where the lock had expired; when the clock jumps back, it must not have stood all the time."""
    world.lock("/a/", depth=Depth.INFINITY, timeout=10)
    clock.now += 10
    claim = Claim(writes=(path("/a/b"),))
    with world.locks.hold([path("/a/b")], principal=BOB, tokens=frozenset()) as hold:
        view = world.locks.view(claim)
        assert view.unnoted
        hold.check(claim, view)
        hold.settle(claim, view)
        assert not world.locks.view(claim).unnoted
    clock.now -= 10
    assert World(tmp_path, stack, clock).locks.active() == []


def test_locks_survive_the_process(world: World, tmp_path: Path, stack: ExitStack, clock: Clock) -> None:
    held = world.lock("/a")
    world.state.close()
    again = World(tmp_path, stack, clock)
    clock.now += 1
    assert again.locks.active() == [held]
    assert again.locks.release(path("/a"), held.token, ALICE) == held


def test_forgetting_ends_the_locks_at_and_below_a_root(world: World) -> None:
    for root in ("/a/", "/a/b", "/a/b/c", "/ab", "/b"):
        world.lock(root)
    tokens = frozenset(found.token for found in world.locks.active())
    with world.locks.hold([path("/a")], principal=ALICE, tokens=tokens) as hold:
        with pytest.raises(Unproven):
            world.locks.forget(hold, path("/a"))
        hold.check(Claim(trees=(path("/a"),)))
        world.locks.forget(hold, path("/a"), below_only=True)
        assert [found.root.key for found in world.locks.active()] == ["/a", "/ab", "/b"]
        world.locks.forget(hold, path("/a"))
        world.locks.forget(hold, path("/a"))
    assert [found.root.key for found in world.locks.active()] == ["/ab", "/b"]


def test_what_is_about_a_name_is_not_forgotten_with_what_had_it(world: World) -> None:
    for kind in Kind:
        world.lock(f"/a/{kind.value}", kind=kind)
    tokens = frozenset(found.token for found in world.locks.active())
    with world.locks.hold([path("/a")], principal=ALICE, tokens=tokens) as hold:
        hold.check(Claim(trees=(path("/a"),)))
        world.locks.forget(hold, path("/a"))
    assert [found.kind for found in world.locks.active()] == [kind for kind in Kind if kind is not Kind.WRITE]


def test_one_principal_may_hold_so_many_locks_and_no_more(tmp_path: Path, stack: ExitStack, clock: Clock) -> None:
    world = World(tmp_path, stack, clock, per_principal=3)
    held = [world.lock(f"/{name}", timeout=600) for name in "abc"]
    with pytest.raises(Forbidden, match="You hold 3 locks already"):
        world.lock("/d")
    world.lock("/d", principal=BOB)
    world.locks.release(path("/a"), held[0].token, ALICE)
    world.lock("/e")
    with pytest.raises(Forbidden):
        world.lock("/f")
    clock.now += 600
    world.keeper.sweep()
    world.lock("/f")


# --- ended locks: what their tokens are still worth


def late(world: World, root: str, forgiven: Lock | None = None, **claim: object) -> None:
    """A write at `root`, in the steps in which the guard does it."""
    wanted = Claim(writes=(path(root),)) if not claim else Claim(**claim)  # type: ignore[arg-type]
    paths = (*wanted.writes, *wanted.trees)
    with world.locks.hold(paths, principal=ALICE, tokens=frozenset()) as hold:
        view = world.locks.view(wanted)
        hold.check(wanted, view)
        hold.settle(wanted, view, forgiven)


def remembered(world: World, root: str) -> list[tuple[Ending, bool]]:
    """(how, void) of the ended locks at `root`."""
    view = world.locks.around(path(root))
    ends = [lock.ending(view.now) for lock in view.ended]
    return [(end.how, end.void) for end in ends if end is not None]


def test_a_late_save_renews_a_lock_that_expired(world: World, clock: Clock) -> None:
    held = world.lock("/f", timeout=200)
    clock.now += 300
    (ended,) = world.locks.around(path("/f")).ended
    late(world, "/f", ended)
    (renewed,) = world.locks.active()
    assert (renewed.token, renewed.refreshed, renewed.expires) == (held.token, clock.now, clock.now + 200)
    assert remembered(world, "/f") == []


def test_a_late_save_renews_also_when_the_end_was_noted(world: World, clock: Clock) -> None:
    world.file("/f").write_text("x")
    held = world.lock("/f", timeout=200)
    clock.now += 300
    world.keeper.sweep()
    (ended,) = world.locks.around(path("/f")).ended
    assert ended.end is not None
    late(world, "/f", ended)
    assert [lock.token for lock in world.locks.active()] == [held.token]


def test_a_late_save_after_a_break_renews_nothing_and_counts_once(world: World, clock: Clock) -> None:
    held = world.lock("/f")
    with world.locks.hold([path("/f")], principal=BOB, tokens=frozenset()) as hold:
        assert world.locks.break_all(hold, [held], End(Ending.BROKEN, 0, BOB, "why"), {held.id: "v"}) == [held]
        assert world.locks.break_all(hold, [held], End(Ending.BROKEN, 0, BOB, "again"), {}) == []
    assert remembered(world, "/f") == [(Ending.BROKEN, False)]
    (ended,) = world.locks.around(path("/f")).ended
    assert ended.end == End(Ending.BROKEN, clock.now, BOB, "why", "v")
    late(world, "/f", ended)
    assert world.locks.active() == []
    assert remembered(world, "/f") == [(Ending.BROKEN, True)]


HARMLESS = ["read", "maintenance", "sibling", "lock of a sibling", "lock of the parent"]


@pytest.mark.parametrize("how", [Ending.EXPIRED, Ending.BROKEN])
@pytest.mark.parametrize(
    "what",
    ["write", "tree", "lock", "shared lock", "lock above", *HARMLESS],
)
def test_what_makes_the_token_of_an_ended_lock_worthless(how: Ending, what: str, world: World, clock: Clock) -> None:
    """Somebody writes to what it covered, or locks it. Looking does not, nor does what goes on beside it; nor a
    maintenance, which everybody must be able to sleep through."""
    held = world.lock("/d/f", timeout=100)
    if how is Ending.BROKEN:
        with world.locks.hold([held.root], principal=BOB, tokens=frozenset()) as hold:
            world.locks.break_all(hold, [held], End(Ending.BROKEN, 0, BOB), {})
    else:
        clock.now += 100
    doings = {
        "write": lambda: late(world, "/d/f"),
        "tree": lambda: late(world, "/d", trees=(path("/d"),)),
        "lock": lambda: world.lock("/d/f"),
        "shared lock": lambda: world.lock("/d/f", scope=Scope.SHARED, principal=BOB),
        "lock above": lambda: world.lock("/d/", depth=Depth.INFINITY, principal=BOB),
        "read": lambda: world.locks.around(path("/d/f")),
        "maintenance": lambda: world.lock("/", depth=Depth.INFINITY, principal=BOB, kind=Kind.MAINTENANCE),
        "sibling": lambda: late(world, "/d/g", writes=(path("/d/g"),), members_of=(path("/d"),)),
        "lock of a sibling": lambda: world.lock("/d/g"),
        "lock of the parent": lambda: world.lock("/d/"),
    }
    doings[what]()
    if what in HARMLESS:
        assert remembered(world, "/d/f") == [(how, False)]
    else:
        assert remembered(world, "/d/f") == ([(how, True)] if how is Ending.BROKEN else [])


def test_a_lock_that_made_a_file_is_remembered_until_the_file_was_seen_to(world: World, clock: Clock) -> None:
    first = world.make("/f", timeout=100)
    clock.now += 100
    second = world.lock("/f", principal=BOB)
    (void,) = world.locks.around(path("/f")).ended
    assert (void.id, void.made, void.end) == (first.id, first.made, End(Ending.EXPIRED, first.expires or 0, void=True))
    world.locks.release(path("/f"), second.token, BOB)
    world.lock("/f")
    assert [lock.id for lock in world.locks.around(path("/f")).ended] == [first.id]


# --- several at once


def acquire(world: World, *roots: str, kind: Kind = Kind.TRANSACTION, breaking: End | None = None) -> list[Lock]:
    requests = [
        LockRequest(path(root), Depth.INFINITY, Scope.EXCLUSIVE, ALICE, None, 60, kind, reason="r") for root in roots
    ]
    with world.locks.hold([request.root for request in requests], principal=ALICE, tokens=frozenset()) as hold:
        return world.locks.acquire_all(hold, requests, breaking=breaking)


def test_all_or_none(world: World) -> None:
    world.lock("/c", principal=BOB)
    with pytest.raises(LockConflict) as refused:
        acquire(world, "/a", "/b", "/c")
    assert [lock.root.key for lock in refused.value.locks] == ["/c"]
    assert [lock.root.key for lock in world.locks.active()] == ["/c"]
    assert [lock.root.key for lock in acquire(world, "/a", "/a/b", "/b")] == ["/a", "/a/b", "/b"]


def test_a_transaction_has_a_name_and_a_fence_that_only_grows(world: World) -> None:
    first, second = acquire(world, "/a", "/b"), acquire(world, "/c")
    assert {(lock.transaction_id, lock.fence) for lock in first} == {("txn-1", 1)}
    assert [(lock.transaction_id, lock.fence) for lock in second] == [("txn-2", 2)]
    assert world.locks.of_transaction("txn-1") == first
    world.locks.release_all(first)
    assert world.locks.of_transaction("txn-1") == []
    assert [lock.fence for lock in acquire(world, "/a")] == [3]
    assert [lock.fence for lock in acquire(world, "/x", kind=Kind.CHECKOUT)] == [None]


def test_what_is_in_the_way_may_be_broken(world: World, clock: Clock) -> None:
    held = [world.lock("/a/b", principal=BOB), world.lock("/a/c", principal=BOB)]
    acquire(world, "/a", kind=Kind.MAINTENANCE, breaking=End(Ending.BROKEN, 0, ALICE, "backup"))
    assert [lock.kind for lock in world.locks.active()] == [Kind.MAINTENANCE]
    ends = [world.locks.by_id(lock.id).end for lock in held]
    assert ends == [End(Ending.BROKEN, clock.now, ALICE, "backup")] * 2


def test_extending_is_for_all_or_none(world: World, clock: Clock) -> None:
    locks = acquire(world, "/a", "/b")
    clock.now += 30
    extended = world.locks.extend_all(locks, 100)
    assert [lock.expires for lock in extended] == [clock.now + 100] * 2
    assert world.locks.active() == extended
    assert [lock.expires for lock in world.locks.extend_all(locks, None)] == [None, None]
    world.locks.release_all(locks[:1])
    world.locks.release_all(locks[:1])
    with pytest.raises(PreconditionFailed):
        world.locks.extend_all(locks, 100)
    with world.state.transaction():
        world.state.query("DELETE FROM locks WHERE id = ?", (locks[0].id,))
    with pytest.raises(PreconditionFailed):
        world.locks.extend_all(locks, 100)
    assert [lock.expires for lock in world.locks.active()] == [None]


def test_a_maintenance_may_keep_readers_out_too(world: World) -> None:
    request = LockRequest(path("/a/"), Depth.INFINITY, Scope.EXCLUSIVE, ALICE, None, None, Kind.MAINTENANCE,
                          reason="r", blocks_reads=True)  # fmt: skip
    with world.locks.hold([path("/a")], principal=ALICE, tokens=frozenset()) as hold:
        world.locks.acquire(hold, request)
    for text, below, principal, stopped in (
        ("/a/b", False, BOB, True),
        ("/a/b", False, ALICE, False),
        ("/", False, BOB, False),
        ("/", True, BOB, True),
        ("/b", True, BOB, False),
    ):
        try:
            world.locks.require_readable(path(text), principal, below=below)
        except Locked as locked:
            assert stopped
            assert locked.path == path(text)
        else:
            assert not stopped


def test_members_and_their_locks_in_one_go(world: World) -> None:
    above = world.lock("/", depth=Depth.INFINITY, scope=Scope.SHARED)
    member = world.lock("/a/b", scope=Scope.SHARED)
    world.lock("/a/b/c", scope=Scope.SHARED)
    covering, rooted = world.locks.of_members(path("/a"))
    assert covering == [above]
    assert rooted == {"b": [member]}
    assert world.locks.of_members(ROOT) == ([above], {})


def test_a_hold_proves_what_it_checked_and_nothing_else(world: World) -> None:
    with world.locks.hold([path("/a"), path("/t")], principal=ALICE, tokens=frozenset()) as hold:
        with pytest.raises(Unproven):
            hold.require(path("/a"))
        hold.check(Claim(writes=(path("/a"), path("/not/reserved")), trees=(path("/t"),)))
        hold.require(path("/a"))
        hold.require(path("/t/below"))
        for unproven in ("/a/b", "/not/reserved", "/"):
            with pytest.raises(Unproven):
                hold.require(path(unproven))
        with pytest.raises(Unproven):
            world.locks.acquire(hold, LockRequest(path("/b"), Depth.ZERO, Scope.SHARED, ALICE, None, 600))
    with pytest.raises(Unproven):
        hold.require(path("/a"))  # it was left: what was true then may not be any more
    with pytest.raises(Unproven):
        hold.require_reserved(path("/a"))


def test_a_check_inside_a_hold_sees_what_was_locked_before_it(world: World) -> None:
    world.lock("/a", principal=BOB)
    with (
        world.locks.hold([path("/a")], principal=ALICE, tokens=frozenset()) as hold,
        pytest.raises(Locked) as refused,
    ):
        hold.check(Claim(writes=(path("/a"),)))
    assert refused.value.path == path("/a")


def test_the_store_is_asked_by_index_whatever_it_holds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check, a LOCK, a refresh, an UNLOCK, a listing and a read ask for is found without a look at all rows."""
    asked: list[str] = []
    query = world.state.query

    def listen(sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        asked.append(sql)
        return query(sql, parameters)

    monkeypatch.setattr(world.state, "query", listen)
    held = world.lock("/a/", depth=Depth.INFINITY)
    world.locks.refresh(path("/a"), held.token, ALICE, 600)
    late(world, "/b")
    assert (
        sum(sql.startswith(("SELECT", "WITH")) for sql in asked) == 4
    )  # LOCK: what is around, how many; refresh 1, check 1
    late(world, "/t", trees=(path("/t"),))
    world.locks.of_members(path("/a"))
    world.locks.require_readable(path("/b"), BOB)
    world.locks.of_transaction("txn-1")
    world.locks.by_id(held.id)
    world.locks.release(path("/a"), held.token, ALICE)
    for sql in set(asked):
        plan = [row[3] for row in query(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?"))]
        assert not [step for step in plan if step.startswith("SCAN locks")], (sql, plan)
    assert any("root IN" in sql for sql in asked)
    assert any("CROSS JOIN locks ON root" in sql for sql in asked)


def test_a_claim_of_very_many_paths(world: World) -> None:
    world.lock("/d/700", principal=BOB)
    roots = tuple(path(f"/d/{number}") for number in range(1200))
    assert blocking(world, Claim(writes=roots, trees=(path("/x"),))) == {"/d/700"}
    world.lock("/x/y", principal=BOB)
    assert blocking(world, Claim(writes=roots, trees=(path("/x"),))) == {"/d/700", "/x/y"}


@pytest.mark.parametrize("depth", [Depth.ZERO, Depth.INFINITY])
def test_of_many_threads_one_gets_the_lock(depth: Depth, world: World) -> None:
    ready, granted, refused = threading.Barrier(16), [], []

    def race(number: int) -> None:
        ready.wait()
        try:
            granted.append(world.lock("/a" if number % 2 else "/a/", depth=depth, principal=Principal(str(number))))
        except LockConflict as conflict:
            refused.append(conflict)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 1
    assert len(refused) == 15
    assert all(conflict.locks == tuple(granted) for conflict in refused)


def test_anybody_is_one_principal(world: World) -> None:
    held = world.lock("/a", principal=ANYBODY)
    claim = Claim(writes=(path("/a"),))
    view = world.locks.view(claim)
    world.locks.require_passed(claim, view, Principal("", "whoever"), frozenset({held.token}))
