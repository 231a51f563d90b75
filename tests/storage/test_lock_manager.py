"""LockManager: grants, refusals, and the hold, on a real database and a real gate."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.protocol.errors import Conflict, Forbidden, LockConflict, Locked, PreconditionFailed
from davserver.protocol.locks import ANYBODY, Claim, Depth, Lock, LockPolicy, LockRequest, Principal, Scope
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage.gate import Gate
from davserver.storage.hold import Unproven
from davserver.storage.lock_manager import LockManager, new_token
from davserver.storage.sqlite import SqliteState

ALICE, BOB = Principal("alice", "Alice Smith"), Principal("bob")
NOW = 1_000_000.0


def path(text: str) -> DavPath:
    return DavPath.parse(text)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    state = SqliteState(str(tmp_path), durable=False)
    yield state
    state.close()


@pytest.fixture
def locks(state: SqliteState, tmp_path: Path) -> LockManager:
    return LockManager(state, Gate(str(tmp_path)), LockPolicy())


def lock(
    locks: LockManager,
    root: str,
    *,
    depth: Depth = Depth.ZERO,
    scope: Scope = Scope.EXCLUSIVE,
    principal: Principal = ALICE,
    timeout: int = 600,
    now: float = NOW,
    owner: bytes | None = None,
) -> Lock:
    request = LockRequest(
        path(root), depth, scope, principal, owner, timeout, client_address="::1", client_agent="test"
    )
    with locks.hold([request.root], principal=principal, tokens=frozenset(), now=now) as hold:
        return locks.acquire(hold, request, now)


def blocking(locks: LockManager, claim: Claim, *, tokens: frozenset[str] = frozenset(), now: float = NOW) -> set[str]:
    """Keys of the roots that stop a claim of Alice's."""
    try:
        locks.check(claim, principal=ALICE, tokens=tokens, now=now)
    except Locked as locked:
        return {found.root.key for found in locked.locks}
    return set()


def test_a_lock_is_what_was_asked_for(locks: LockManager) -> None:
    granted = lock(locks, "/docs/", depth=Depth.INFINITY, owner=b'<o xmlns="DAV:"/>')
    assert granted.token.startswith("urn:uuid:")
    assert (granted.created, granted.refreshed, granted.expires) == (NOW, NOW, NOW + 600)
    assert granted.id > 0
    (found,) = locks.active(NOW)
    assert found == granted
    assert found.root.slash
    assert found.principal.display_name == "Alice Smith"
    assert (found.client_address, found.client_agent) == ("::1", "test")


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
    first: tuple[str, Depth, Scope], second: tuple[str, Depth, Scope], conflict: bool, locks: LockManager
) -> None:
    """RFC 4918 §6.2, §9.10.5."""
    held = lock(locks, first[0], depth=first[1], scope=first[2], principal=BOB)
    if conflict:
        with pytest.raises(LockConflict) as refused:
            lock(locks, second[0], depth=second[1], scope=second[2])
        assert refused.value.locks == (held,)
        assert locks.active(NOW) == [held]
    else:
        granted = lock(locks, second[0], depth=second[1], scope=second[2])
        assert locks.active(NOW) == [held, granted]


def test_a_conflict_names_every_lock_in_the_way(locks: LockManager) -> None:
    held = [lock(locks, f"/a/{name}", principal=BOB) for name in "bcd"]
    lock(locks, "/z", principal=BOB)
    with pytest.raises(LockConflict) as refused:
        lock(locks, "/a", depth=Depth.INFINITY)
    assert list(refused.value.locks) == held


def test_a_claim_is_stopped_by_what_protects_it(locks: LockManager) -> None:
    lock(locks, "/c/", principal=BOB)
    lock(locks, "/c/d/e", principal=BOB)
    lock(locks, "/deep/", depth=Depth.INFINITY, principal=BOB)
    assert blocking(locks, Claim(writes=(path("/c/f"),))) == set()
    assert blocking(locks, Claim(members_of=(path("/c"),))) == {"/c"}
    assert blocking(locks, Claim(writes=(path("/c/d/e"),))) == {"/c/d/e"}
    assert blocking(locks, Claim(trees=(path("/c/d"),))) == {"/c/d/e"}
    assert blocking(locks, Claim(trees=(path("/c"),), members_of=(ROOT,))) == {"/c", "/c/d/e"}
    assert blocking(locks, Claim(trees=(ROOT,))) == {"/c", "/c/d/e", "/deep"}
    assert blocking(locks, Claim(writes=(path("/deep/er/and/deeper"),))) == {"/deep"}
    assert blocking(locks, Claim()) == set()


def test_only_its_own_principal_passes_with_a_token(locks: LockManager) -> None:
    mine, theirs = lock(locks, "/mine"), lock(locks, "/theirs", principal=BOB)
    tokens = frozenset({mine.token, theirs.token})
    assert blocking(locks, Claim(writes=(path("/mine"),)), tokens=tokens) == set()
    assert blocking(locks, Claim(writes=(path("/mine"),))) == {"/mine"}
    assert blocking(locks, Claim(writes=(path("/theirs"),)), tokens=tokens) == {"/theirs"}


def test_refresh_restarts_the_time_for_the_holder_alone(locks: LockManager) -> None:
    held = lock(locks, "/a/", depth=Depth.INFINITY)
    refreshed = locks.refresh(path("/a/b"), held.token, ALICE, 900, NOW + 100)
    assert (refreshed.token, refreshed.created) == (held.token, NOW)
    assert (refreshed.refreshed, refreshed.expires) == (NOW + 100, NOW + 1000)
    assert locks.active(NOW + 999) == [refreshed]
    for token, principal, where in (
        (held.token, BOB, "/a"),
        ("urn:uuid:other", ALICE, "/a"),
        (held.token, ALICE, "/b"),
    ):
        with pytest.raises(PreconditionFailed) as refused:
            locks.refresh(path(where), token, principal, 900, NOW + 100)
        assert refused.value.element == "lock-token-matches-request-uri"
    with pytest.raises(PreconditionFailed):
        locks.refresh(path("/a"), held.token, ALICE, 900, NOW + 1000)


def test_release_is_for_the_holder_and_within_reach(locks: LockManager) -> None:
    held = lock(locks, "/a/", depth=Depth.ZERO)
    with pytest.raises(Conflict) as missed:
        locks.release(path("/a/b"), held.token, ALICE, NOW)
    assert missed.value.element == "lock-token-matches-request-uri"
    with pytest.raises(Forbidden):
        locks.release(path("/a"), held.token, BOB, NOW)
    assert locks.active(NOW) == [held]
    assert locks.release(path("/a"), held.token, ALICE, NOW) == held
    assert locks.active(NOW) == []
    with pytest.raises(Conflict):
        locks.release(path("/a"), held.token, ALICE, NOW)


def test_an_expired_lock_protects_nothing_from_that_second(locks: LockManager, state: SqliteState) -> None:
    held = lock(locks, "/a", principal=BOB, timeout=10)
    assert blocking(locks, Claim(writes=(path("/a"),)), now=NOW + 9.9) == {"/a"}
    assert blocking(locks, Claim(writes=(path("/a"),)), now=NOW + 10) == set()
    again = lock(locks, "/a", now=NOW + 10)
    assert locks.active(NOW + 10) == [again]
    assert state.query("SELECT count(*) FROM locks WHERE token = ?", (held.token,)) == [(0,)]


def test_sweeping_drops_the_rows_of_expired_locks(locks: LockManager, state: SqliteState) -> None:
    lock(locks, "/a", timeout=10)
    kept = lock(locks, "/b", timeout=100)
    locks.sweep(NOW + 50)
    assert state.query("SELECT token FROM locks") == [(kept.token,)]


def test_a_clock_that_jumps_back_revives_nothing(locks: LockManager, tmp_path: Path) -> None:
    lock(locks, "/a", timeout=10)
    lock(locks, "/b", timeout=1000, now=NOW + 500)
    assert [found.root.key for found in locks.active(NOW)] == ["/b"]
    # Nor for another process of the same store.
    state = SqliteState(str(tmp_path), durable=False)
    assert [f.root.key for f in LockManager(state, Gate(str(tmp_path)), LockPolicy()).active(NOW)] == ["/b"]
    state.close()


def test_locks_survive_the_process(locks: LockManager, state: SqliteState, tmp_path: Path) -> None:
    held = lock(locks, "/a")
    state.close()
    again = SqliteState(str(tmp_path), durable=False)
    manager = LockManager(again, Gate(str(tmp_path)), LockPolicy())
    assert manager.active(NOW + 1) == [held]
    assert manager.release(path("/a"), held.token, ALICE, NOW + 1) == held
    again.close()


def test_forgetting_ends_the_locks_at_and_below_a_root(locks: LockManager) -> None:
    for root in ("/a/", "/a/b", "/a/b/c", "/ab", "/b"):
        lock(locks, root)
    tokens = frozenset(found.token for found in locks.active(NOW))
    with locks.hold([path("/a")], principal=ALICE, tokens=tokens, now=NOW) as hold:
        with pytest.raises(Unproven):
            locks.forget(hold, path("/a"))
        hold.check(Claim(trees=(path("/a"),)))
        locks.forget(hold, path("/a"), below_only=True)
        assert [found.root.key for found in locks.active(NOW)] == ["/a", "/ab", "/b"]
        locks.forget(hold, path("/a"))
        locks.forget(hold, path("/a"))
    assert [found.root.key for found in locks.active(NOW)] == ["/ab", "/b"]


def test_members_and_their_locks_in_one_go(locks: LockManager) -> None:
    above = lock(locks, "/", depth=Depth.INFINITY, scope=Scope.SHARED)
    member = lock(locks, "/a/b", scope=Scope.SHARED)
    lock(locks, "/a/b/c", scope=Scope.SHARED)
    covering, rooted = locks.of_members(path("/a"), NOW)
    assert covering == [above]
    assert rooted == {"b": [member]}
    assert locks.of_members(ROOT, NOW) == ([above], {})


def test_a_hold_proves_what_it_checked_and_nothing_else(locks: LockManager) -> None:
    with locks.hold([path("/a"), path("/t")], principal=ALICE, tokens=frozenset(), now=NOW) as hold:
        with pytest.raises(Unproven):
            hold.require(path("/a"))
        hold.check(Claim(writes=(path("/a"), path("/not/reserved")), trees=(path("/t"),)))
        hold.require(path("/a"))
        hold.require(path("/t/below"))
        for unproven in ("/a/b", "/not/reserved", "/"):
            with pytest.raises(Unproven):
                hold.require(path(unproven))
        with pytest.raises(Unproven):
            locks.acquire(hold, LockRequest(path("/b"), Depth.ZERO, Scope.SHARED, ALICE, None, 600), NOW)


def test_a_check_inside_a_hold_sees_what_was_locked_before_it(locks: LockManager) -> None:
    lock(locks, "/a", principal=BOB)
    with (
        locks.hold([path("/a")], principal=ALICE, tokens=frozenset(), now=NOW) as hold,
        pytest.raises(Locked) as refused,
    ):
        hold.check(Claim(writes=(path("/a"),)))
    assert refused.value.path == path("/a")


def test_the_store_is_asked_by_index_whatever_it_holds(locks: LockManager, state: SqliteState) -> None:
    """100,000 locks: a check reads the rows of a path's ancestors and no others."""
    with state.transaction():
        for number in range(100_000):
            state.query(
                "INSERT INTO locks (token, root, parent, collection, depth, scope, kind, principal, display_name, "
                "created, refreshed, expires, client_address, client_agent, blocks_reads) "
                "VALUES (?, ?, ?, 0, '0', 'exclusive', 'write', 'bob', '', 0, 0, 9e9, '', '', 0)",
                (f"t{number}", f"/d/{number % 300}/f{number}", f"/d/{number % 300}"),
            )
    plan = " ".join(
        row[3]
        for where in ("root IN ('/', '/d')", "root >= '/d/' AND root < '/d0'", "parent = '/d'")
        for row in state.query(f"EXPLAIN QUERY PLAN SELECT token FROM locks WHERE {where}")
    )
    assert "SCAN" not in plan
    assert blocking(locks, Claim(writes=(path("/d/7/f7"),))) == {"/d/7/f7"}
    assert blocking(locks, Claim(writes=(path("/d/7/f8"),))) == set()
    assert len(locks.of_members(path("/d/7"), NOW)[1]) == 334


@pytest.mark.parametrize("depth", [Depth.ZERO, Depth.INFINITY])
def test_of_many_threads_one_gets_the_lock(depth: Depth, locks: LockManager) -> None:
    ready, granted, refused = threading.Barrier(16), [], []

    def race(number: int) -> None:
        ready.wait()
        try:
            granted.append(lock(locks, "/a" if number % 2 else "/a/", depth=depth, principal=Principal(str(number))))
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


def test_anybody_is_one_principal(locks: LockManager) -> None:
    held = lock(locks, "/a", principal=ANYBODY)
    locks.check(
        Claim(writes=(path("/a"),)), principal=Principal("", "whoever"), tokens=frozenset({held.token}), now=NOW
    )
