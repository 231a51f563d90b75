"""Whom a lock stops. The rules of RFC 4918 §6 and §7 as tables, and against oracles that spell out every path."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.locks import (
    ABSENT,
    ANYBODY,
    Claim,
    Depth,
    End,
    Ending,
    Kind,
    Lock,
    LockPolicy,
    LockRequest,
    Principal,
    Scope,
    StaleBreak,
    conflicts,
    covers,
    is_forgivable,
    is_unchanged,
    missing_tokens,
    passes,
    readers_stopped,
)
from davserver.protocol.paths import ROOT, DavPath

ALICE, BOB = Principal("alice", "Alice"), Principal("bob")
EXCLUSIVE, SHARED = Scope.EXCLUSIVE, Scope.SHARED
ZERO, INFINITY = Depth.ZERO, Depth.INFINITY


def at(text: str) -> DavPath:
    return DavPath.parse(text)


def make(
    token: str,
    root: DavPath | str,
    depth: Depth = ZERO,
    scope: Scope = EXCLUSIVE,
    principal: Principal = ALICE,
    kind: Kind = Kind.WRITE,
    expires: float | None = 100.0,
) -> Lock:
    path = root if isinstance(root, DavPath) else at(root)
    return Lock(token, path, depth, scope, kind, principal, None, 0.0, 0.0, expires)


def wish(root: DavPath | str, depth: Depth = ZERO, scope: Scope = EXCLUSIVE, kind: Kind = Kind.WRITE) -> LockRequest:
    path = root if isinstance(root, DavPath) else at(root)
    return LockRequest(path, depth, scope, BOB, None, 600, kind)


# --- the values


def test_a_lock_has_depth_zero_or_infinity() -> None:
    with pytest.raises(ValueError, match="depth"):
        make("t", "/a", Depth.ONE)


@pytest.mark.parametrize(
    ("expires", "now", "active", "left"),
    [
        (100.0, 0.0, True, 100),
        (100.0, 0.5, True, 100),
        (100.0, 98.0, True, 2),
        (100.0, 99.9, True, 1),
        (100.0, 100.0, False, 1),
        (100.0, 101.0, False, 1),
        (None, 1e12, True, None),
    ],
)
def test_a_lock_protects_nothing_from_the_second_it_expires(
    expires: float | None, now: float, active: bool, left: int | None
) -> None:
    lock = make("t", "/a", expires=expires)
    assert lock.is_active(now) is active
    assert lock.seconds_left(now) == left


def test_the_href_of_a_locked_collection_ends_in_a_slash() -> None:
    assert make("t", "/a b/").href("/dav") == "/dav/a%20b/"
    assert make("t", "/a b").href("") == "/a%20b"


def test_a_principal_is_its_name() -> None:
    assert Principal("alice", "Alice") == Principal("alice", "Alice Smith")
    assert ANYBODY.is_anonymous
    assert not ALICE.is_anonymous


def test_how_a_lock_ended() -> None:
    held = make("t", "/a", expires=100.0)
    assert held.ending(99.9) is None
    assert held.ending(100.0) == End(Ending.EXPIRED, 100.0)
    assert make("t", "/a", expires=None).ending(1e12) is None
    broken = replace(held, end=End(Ending.BROKEN, 50.0, BOB, "holiday"))
    assert not broken.is_active(50.0)
    assert broken.ending(200.0) == broken.end
    assert held.granted == 100
    assert make("t", "/a", expires=None).granted is None


@pytest.mark.parametrize(
    ("interval", "kind", "expires", "now", "stale"),
    [
        (100.0, Kind.WRITE, 1000.0, 199.9, False),
        (100.0, Kind.WRITE, 1000.0, 200.0, True),
        (100.0, Kind.WRITE, 1000.0, 1000.0, False),  # gone, not stale
        (None, Kind.WRITE, 1000.0, 999.9, False),  # never refreshed: who knows
        (0.5, Kind.WRITE, 1000.0, 119.9, False),  # twice at once, and not again so far
        (0.5, Kind.WRITE, 1000.0, 120.0, True),
        (0.5, Kind.WRITE, 100.0, 99.9, False),
        (100.0, Kind.CHECKOUT, 1000.0, 500.0, False),
        (100.0, Kind.WRITE, None, 500.0, False),
    ],
)
def test_a_client_that_misses_two_refreshes_has_probably_gone(
    interval: float | None, kind: Kind, expires: float | None, now: float, stale: bool
) -> None:
    assert replace(make("t", "/a", kind=kind, expires=expires), interval=interval).is_stale(now) is stale


@pytest.mark.parametrize(
    ("who", "breaks", "rule", "now", "may_write", "may"),
    [
        (ALICE, True, StaleBreak.BREAKERS, 0.0, False, True),
        (BOB, False, StaleBreak.BREAKERS, 500.0, True, False),
        (BOB, False, StaleBreak.WRITERS, 500.0, True, True),
        (BOB, False, StaleBreak.WRITERS, 500.0, False, False),
        (BOB, False, StaleBreak.WRITERS, 50.0, True, False),
        (ANYBODY, True, StaleBreak.WRITERS, 500.0, True, False),
    ],
)
def test_who_may_break_a_lock(
    who: Principal, breaks: bool, rule: StaleBreak, now: float, may_write: bool, may: bool
) -> None:
    policy = LockPolicy(stale_break=rule)
    lock = replace(make("t", "/a", principal=BOB, expires=1000.0), interval=100.0)
    assert policy.may_break(lock, who, now, may_write=may_write, breaks=breaks) is may


EXPIRED = End(Ending.EXPIRED, 100.0, version="v1")


@pytest.mark.parametrize(
    ("lock", "now", "forgivable"),
    [
        (make("t", "/a"), 99.0, False),  # not ended
        (make("t", "/a"), 100.0, True),  # nobody noted it yet
        (make("t", "/a"), 159.9, True),
        (make("t", "/a"), 160.0, False),  # forgotten
        (make("t", "/a/"), 100.0, False),  # a collection
        (make("t", "/a", kind=Kind.CHECKOUT), 100.0, False),
        (make("t", "/a", kind=Kind.TRANSACTION), 100.0, False),
        (replace(make("t", "/a"), end=EXPIRED), 120.0, True),
        (replace(make("t", "/a"), end=replace(EXPIRED, how=Ending.BROKEN)), 120.0, True),
        (replace(make("t", "/a"), end=replace(EXPIRED, how=Ending.RELEASED)), 120.0, False),
        (replace(make("t", "/a"), end=replace(EXPIRED, void=True)), 120.0, False),
        (replace(make("t", "/a", expires=None), end=replace(EXPIRED, how=Ending.BROKEN)), 120.0, True),
    ],
)
def test_whose_late_save_might_be_kept(lock: Lock, now: float, forgivable: bool) -> None:
    assert is_forgivable(lock, now, 60) is forgivable


@pytest.mark.parametrize(
    ("lock", "version", "changed", "same"),
    [
        (make("t", "/a"), "v1", 50.0, True),
        (make("t", "/a"), "v1", 100.5, False),
        (make("t", "/a"), "v1", 99.99, False),  # the kernel's stamps lag behind
        (make("t", "/a"), ABSENT, 0.0, False),  # somebody removed it
        (replace(make("t", "/a"), end=EXPIRED), "v1", 500.0, True),  # somebody looked: what it was is known
        (replace(make("t", "/a"), end=EXPIRED), "v2", 50.0, False),
        (replace(make("t", "/a"), end=replace(EXPIRED, version=ABSENT)), ABSENT, 0.0, True),
        (replace(make("t", "/a", expires=None)), "v1", 0.0, False),
    ],
)
def test_whether_the_file_is_as_it_was(lock: Lock, version: str, changed: float, same: bool) -> None:
    assert is_unchanged(lock, 120.0, version, changed) is same


@pytest.mark.parametrize(
    ("wishes", "granted"),
    [
        ((), 1800),
        ((3600,), 3600),
        ((None, 4100000000), 86400),
        ((4100000000,), 86400),
        ((99999999999,), 86400),
        ((0,), 180),
        ((1,), 180),
        ((180,), 180),
        ((86400,), 86400),
        ((600, 60), 600),
    ],
)
def test_timeouts_granted(wishes: tuple[int | None, ...], granted: int) -> None:
    """RFC 4918 §10.7: the first wish counts, cut to what the policy allows."""
    assert LockPolicy().grant(wishes) == granted


def test_a_policy_has_its_own_numbers() -> None:
    policy = LockPolicy(default=60, minimum=10, maximum=120)
    assert [policy.grant(wishes) for wishes in ((), (1,), (50,), (None,))] == [60, 10, 50, 120]


# --- covers, passes


@pytest.mark.parametrize(
    ("root", "depth", "path", "covered"),
    [
        ("/a", ZERO, "/a", True),
        ("/a", ZERO, "/a/b", False),
        ("/a", ZERO, "/", False),
        ("/a", INFINITY, "/a", True),
        ("/a", INFINITY, "/a/b/c", True),
        ("/a", INFINITY, "/ab", False),
        ("/a/b", INFINITY, "/a", False),
        ("/", INFINITY, "/a", True),
        ("/", ZERO, "/", True),
    ],
)
def test_what_a_lock_covers(root: str, depth: Depth, path: str, covered: bool) -> None:
    """RFC 4918 §6.1."""
    assert covers(make("t", root, depth), at(path)) is covered


@pytest.mark.parametrize(
    ("kind", "principal", "token", "passed"),
    [
        (Kind.WRITE, ALICE, True, True),
        (Kind.WRITE, ALICE, False, False),
        (Kind.WRITE, BOB, True, False),
        (Kind.WRITE, BOB, False, False),
        (Kind.CHECKOUT, ALICE, False, True),
        (Kind.CHECKOUT, ALICE, True, True),
        (Kind.CHECKOUT, BOB, True, False),
        (Kind.MAINTENANCE, ALICE, False, True),
        (Kind.MAINTENANCE, BOB, True, False),
        (Kind.TRANSACTION, ALICE, True, True),
        (Kind.TRANSACTION, ALICE, False, False),
        (Kind.TRANSACTION, BOB, True, False),
    ],
)
def test_who_passes_a_lock(kind: Kind, principal: Principal, token: bool, passed: bool) -> None:
    """RFC 4918 §6.4: another's token is worth nothing."""
    tokens = frozenset({"t"}) if token else frozenset({"other"})
    assert passes(make("t", "/a", kind=kind), principal, tokens) is passed


def test_a_transaction_is_passed_by_its_name_too() -> None:
    lock = replace(make("t", "/a", kind=Kind.TRANSACTION), transaction_id="txn-1")
    assert passes(lock, ALICE, frozenset({"txn-1"}))
    assert not passes(lock, BOB, frozenset({"txn-1"}))
    assert not passes(lock, ALICE, frozenset({"txn-2"}))
    assert not passes(replace(lock, transaction_id=None), ALICE, frozenset({"txn-1"}))


# --- conflicts


@pytest.mark.parametrize(
    ("wanted", "there", "conflict"),
    [
        (wish("/a"), make("t", "/a"), True),
        (wish("/a"), make("t", "/a", scope=SHARED), True),
        (wish("/a", scope=SHARED), make("t", "/a"), True),
        (wish("/a", scope=SHARED), make("t", "/a", scope=SHARED), False),
        (wish("/a/b"), make("t", "/a"), False),
        (wish("/a/b"), make("t", "/a", INFINITY), True),
        (wish("/a"), make("t", "/a/b"), False),
        (wish("/a", INFINITY), make("t", "/a/b"), True),
        (wish("/a", INFINITY, SHARED), make("t", "/a/b", scope=SHARED), False),
        (wish("/a", INFINITY), make("t", "/ab"), False),
        (wish("/", INFINITY), make("t", "/x/y/z"), True),
    ],
)
def test_which_locks_cannot_stand_together(wanted: LockRequest, there: Lock, conflict: bool) -> None:
    """RFC 4918 §6.2, §7.4, §9.10.5. The principal does not matter: nobody holds two exclusive locks at one path."""
    assert conflicts(wanted, [there]) == ([there] if conflict else [])


def test_all_conflicts_are_named() -> None:
    locks = [make("1", "/a/b"), make("2", "/c"), make("3", "/a/d", scope=SHARED)]
    assert conflicts(wish("/a", INFINITY), iter(locks)) == [locks[0], locks[2]]


# --- missing_tokens


def stopping(claim: Claim, locks: list[Lock], principal: Principal = ALICE, *tokens: str) -> set[str]:
    return {lock.token for lock in missing_tokens(claim, locks, principal, frozenset(tokens))}


def test_nothing_stops_where_nothing_is_locked() -> None:
    everything = Claim((at("/a"),), (at("/b"),), (at("/c"),))
    assert stopping(everything, []) == set()
    assert stopping(Claim(), [make("t", "/a")]) == set()


@pytest.mark.parametrize(
    ("claim", "blocked"),
    [
        (Claim(writes=(at("/c"),)), True),
        (Claim(writes=(at("/c/f"),)), False),  # the content of a member is not the collection's membership
        (Claim(writes=(at("/c/new"),), members_of=(at("/c"),)), True),
        (Claim(trees=(at("/c/f"),), members_of=(at("/c"),)), True),
        (Claim(writes=(at("/c/d/f"),), members_of=(at("/c/d"),)), False),
        (Claim(trees=(at("/"),)), True),
        (Claim(writes=(at("/"),), members_of=(at("/"),)), False),
    ],
)
def test_a_depth_zero_lock_protects_a_collection_and_its_membership(claim: Claim, blocked: bool) -> None:
    """RFC 4918 §7.4."""
    lock = make("t", "/c/", ZERO)
    assert stopping(claim, [lock], BOB) == ({"t"} if blocked else set())
    assert stopping(claim, [lock], ALICE, "t") == set()


@pytest.mark.parametrize("path", ["/c", "/c/f", "/c/d/f"])
def test_a_depth_infinity_lock_protects_all_below(path: str) -> None:
    locks = [make("t", "/c/", INFINITY)]
    for claim in (Claim(writes=(at(path),)), Claim(trees=(at(path),)), Claim(members_of=(at(path),))):
        assert stopping(claim, locks) == {"t"}
        assert stopping(claim, locks, BOB, "t") == {"t"}
        assert stopping(claim, locks, ALICE, "t") == set()


def test_a_tree_that_goes_away_must_pass_each_lock_below() -> None:
    """RFC 4918 §9.6.1, §9.9: and submitting the token is enough (§7.5)."""
    locks = [make("1", "/t/a"), make("2", "/t/b/c"), make("3", "/tx")]
    assert stopping(Claim(trees=(at("/t"),)), locks) == {"1", "2"}
    assert stopping(Claim(trees=(at("/t"),)), locks, ALICE, "1") == {"2"}
    assert stopping(Claim(trees=(at("/t"),)), locks, ALICE, "1", "2") == set()
    assert stopping(Claim(writes=(at("/t"),)), locks) == set()


def test_of_shared_locks_any_single_one_is_enough() -> None:
    """RFC 4918 §6.2."""
    locks = [make("1", "/f", scope=SHARED), make("2", "/f", scope=SHARED, principal=BOB)]
    claim = Claim(writes=(at("/f"),))
    assert stopping(claim, locks, ALICE, "1") == set()
    assert stopping(claim, locks, BOB, "2") == set()
    assert stopping(claim, locks, ALICE) == {"1", "2"}
    assert stopping(claim, locks, ALICE, "2") == {"1", "2"}
    assert stopping(claim, locks, ANYBODY, "1", "2") == {"1", "2"}


def test_a_shared_lock_of_depth_zero_opens_nothing_below_it() -> None:
    """Bob may replace /t/a itself, but what it holds is Alice's to protect: he may not delete it all."""
    locks = [make("1", "/t/a/", INFINITY, SHARED), make("2", "/t/a/", ZERO, SHARED, BOB)]
    assert stopping(Claim(writes=(at("/t/a"),)), locks, BOB, "2") == set()
    assert stopping(Claim(writes=(at("/t/a/x"),)), locks, BOB, "2") == {"1"}
    assert stopping(Claim(trees=(at("/t/a"),)), locks, BOB, "2") == {"1"}
    assert stopping(Claim(trees=(at("/t"),)), locks, BOB, "2") == {"1"}
    assert stopping(Claim(trees=(at("/t"),)), locks, ALICE, "1") == set()


def test_below_a_file_there_is_nothing_to_protect() -> None:
    """Bob's own lock of it is enough, also to delete it: RFC 4918 §6.2."""
    locks = [make("1", "/t/", INFINITY, SHARED), make("2", "/t/f", ZERO, SHARED, BOB)]
    assert stopping(Claim(trees=(at("/t/f"),)), locks, BOB, "2") == set()
    assert stopping(Claim(trees=(at("/t/g"),)), locks, BOB, "2") == {"1"}


def test_a_lock_is_named_once() -> None:
    lock = make("t", "/c", INFINITY)
    claim = Claim((at("/c/a"), at("/c/b")), (at("/c"),), (at("/c"),))
    assert missing_tokens(claim, iter([lock]), BOB, frozenset()) == [lock]


def test_ten_thousand_locked_members_are_no_burden() -> None:
    locks = [make(str(number), f"/t/{number % 97}/{number}") for number in range(10_000)]
    begin = time.process_time()
    assert len(stopping(Claim(trees=(at("/t"),)), locks)) == 10_000
    assert time.process_time() - begin < 4


# --- the same, against oracles over a small world

PATHS = [DavPath(names) for depth in range(4) for names in product("ab", repeat=depth)]
ROOTS = [at(path) for path in ("/", "/a/", "/a/b/", "/b/")]  # few, so that locks meet; each has something below it
TOKENS = ["1", "2", "3", "4"]
LOCKS = st.lists(
    st.builds(
        make,
        st.just(""),
        st.sampled_from(ROOTS),
        st.sampled_from([ZERO, INFINITY]),
        st.sampled_from(list(Scope)),
        st.sampled_from([ALICE, BOB]),
        st.just(Kind.WRITE) | st.sampled_from(list(Kind)),
    ),
    max_size=4,
).map(
    lambda locks: [
        make(token, lock.root, lock.depth, lock.scope, lock.principal, lock.kind)
        for token, lock in zip(TOKENS, locks, strict=False)
    ]
)
CLAIMS = st.builds(Claim, *[st.lists(st.sampled_from(ROOTS), max_size=2).map(tuple) for _ in range(3)])


def protected(lock: Lock | LockRequest) -> set[DavPath]:
    return {path for path in PATHS if path == lock.root or (lock.depth is INFINITY and lock.root in path.ancestors)}


def stops(locks: list[Lock], path: DavPath, principal: Principal, tokens: frozenset[str]) -> set[str]:
    here = [lock for lock in locks if path in protected(lock)]
    passed = {lock.token for lock in here if passes(lock, principal, tokens)}
    shared = {lock.token for lock in here if lock.scope is SHARED}
    return {lock.token for lock in here if lock.scope is EXCLUSIVE} - passed | (set() if shared & passed else shared)


@pytest.mark.slow
@given(CLAIMS, LOCKS, st.frozensets(st.sampled_from(TOKENS)))
@settings(deadline=None, max_examples=600)
def test_a_claim_is_stopped_by_whatever_protects_a_path_it_changes(
    claim: Claim, locks: list[Lock], tokens: frozenset[str]
) -> None:
    changed = {
        *claim.writes,
        *claim.members_of,
        *(path for path in PATHS for tree in claim.trees if tree.contains(path)),
    }
    expected = set().union(*(stops(locks, path, ALICE, tokens) for path in changed))
    found = missing_tokens(claim, locks, ALICE, tokens)
    assert {lock.token for lock in found} == expected
    assert len(found) == len(expected)


@given(
    st.sampled_from(ROOTS),
    st.sampled_from([ZERO, INFINITY]),
    st.sampled_from(list(Scope)),
    st.sampled_from(list(Kind)),
    LOCKS,
)
@settings(deadline=None, max_examples=200)
def test_locks_conflict_that_protect_the_same_path_unless_both_are_shared(
    root: DavPath, depth: Depth, scope: Scope, kind: Kind, locks: list[Lock]
) -> None:
    """Bob asks. Beside his own check-outs and maintenance his own write locks may stand, and the other way round."""
    wanted = wish(root, depth, scope, kind)
    joined = {(Kind.WRITE, Kind.CHECKOUT), (Kind.WRITE, Kind.MAINTENANCE)}
    assert conflicts(wanted, locks) == [
        lock
        for lock in locks
        if protected(lock) & protected(wanted)
        and {lock.scope, scope} != {SHARED}
        and not (lock.principal == BOB and {(kind, lock.kind), (lock.kind, kind)} & joined)
    ]


@given(st.sampled_from(ROOTS), st.booleans(), LOCKS)
@settings(deadline=None, max_examples=100)
def test_reading_is_stopped_by_what_blocks_it_and_by_nothing_else(
    path: DavPath, below: bool, locks: list[Lock]
) -> None:
    blocking = [replace(lock, blocks_reads=True) for lock in locks[::2]]
    others = locks[1::2]
    read = {other for other in PATHS if other == path or (below and path.contains(other))}
    assert readers_stopped(path, blocking + others, ALICE, below=below) == [
        lock for lock in blocking if protected(lock) & read and lock.principal == BOB
    ]


@given(LOCKS)
@settings(deadline=None, max_examples=50)
def test_covers_says_what_is_protected(locks: list[Lock]) -> None:
    for lock in locks:
        assert {path for path in PATHS if covers(lock, path)} == protected(lock)


def test_the_world_of_the_oracles_is_not_empty() -> None:
    assert ROOT in ROOTS
    assert (len(PATHS), len(ROOTS)) == (15, 4)
