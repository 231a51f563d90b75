"""Histories of locks: whatever happens in whatever order, every guarantee holds after every step."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from davserver.protocol.errors import LockConflict, Locked, PreconditionFailed, Refused
from davserver.protocol.locks import Claim, Depth, Lock, LockPolicy, LockRequest, Principal, Scope
from davserver.protocol.paths import DavPath
from davserver.storage.gate import Gate
from davserver.storage.lock_manager import LockManager
from davserver.storage.sqlite import SqliteState

PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/a_b", "/aXb", "/a0", "/b"]).map(DavPath.parse)
PEOPLE = st.sampled_from([Principal("alice"), Principal("bob")])
DEPTHS = st.sampled_from([Depth.ZERO, Depth.INFINITY])
SCOPES = st.sampled_from(list(Scope))


def protects(lock: Lock, path: DavPath) -> bool:
    """Written out again, as RFC 4918 §6.1 puts it, on the text of the paths."""
    below = path.key.startswith(lock.root.key.rstrip("/") + "/")
    return lock.root.key == path.key or (lock.depth is Depth.INFINITY and below)


def overlap(one: Lock, two: Lock) -> bool:
    return protects(one, two.root) or protects(two, one.root)


class Histories(RuleBasedStateMachine):
    """Two managers of one store, as two processes would have; beside them a list, the model."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.managers = []
        for _ in range(2):
            state = SqliteState(folder, durable=False)
            self.stack.callback(state.close)
            self.managers.append(LockManager(state, Gate(folder), LockPolicy()))
        self.now = 1000.0
        self.model: list[Lock] = []
        self.dead: list[Lock] = []

    def teardown(self) -> None:
        self.stack.close()

    def alive(self) -> list[Lock]:
        return [lock for lock in self.model if lock.expires is not None and self.now < lock.expires]

    def end(self, lock: Lock) -> None:
        self.model.remove(lock)
        self.dead.append(lock)

    @rule(which=st.integers(0, 1), root=PATHS, depth=DEPTHS, scope=SCOPES, who=PEOPLE, timeout=st.integers(1, 40))
    def acquire(self, which: int, root: DavPath, depth: Depth, scope: Scope, who: Principal, timeout: int) -> None:
        manager = self.managers[which]
        wanted = LockRequest(root, depth, scope, who, None, timeout)
        probe = Lock("", root, depth, scope, wanted.kind, who, None, 0, 0, None)
        stand_in_the_way = [
            lock
            for lock in self.alive()
            if overlap(lock, probe) and not (scope is Scope.SHARED and lock.scope is Scope.SHARED)
        ]
        with manager.hold([root], principal=who, tokens=frozenset(), now=self.now) as hold:
            try:
                granted = manager.acquire(hold, wanted, self.now)
            except LockConflict as conflict:
                assert set(conflict.locks) == set(stand_in_the_way)
                return
        assert stand_in_the_way == []
        assert granted.expires == self.now + timeout
        self.model.append(granted)

    @rule(which=st.integers(0, 1), number=st.integers(0, 50), path=PATHS, who=PEOPLE, timeout=st.integers(1, 40))
    def refresh(self, which: int, number: int, path: DavPath, who: Principal, timeout: int) -> None:
        known = self.model + self.dead
        if not known:
            return
        lock = known[number % len(known)]
        allowed = lock in self.alive() and lock.principal == who and protects(lock, path)
        try:
            refreshed = self.managers[which].refresh(path, lock.token, who, timeout, self.now)
        except PreconditionFailed:
            assert not allowed
            return
        assert allowed
        assert (refreshed.token, refreshed.expires) == (lock.token, self.now + timeout)
        self.model[self.model.index(lock)] = refreshed

    @rule(which=st.integers(0, 1), number=st.integers(0, 50), path=PATHS, who=PEOPLE)
    def release(self, which: int, number: int, path: DavPath, who: Principal) -> None:
        known = self.model + self.dead
        if not known:
            return
        lock = known[number % len(known)]
        allowed = lock in self.alive() and lock.principal == who and protects(lock, path)
        try:
            self.managers[which].release(path, lock.token, who, self.now)
        except Refused:
            assert not allowed
            return
        assert allowed
        self.end(lock)

    @rule(which=st.integers(0, 1), root=PATHS, who=PEOPLE, all_tokens=st.booleans())
    def remove_tree(self, which: int, root: DavPath, who: Principal, all_tokens: bool) -> None:
        """What DELETE does: every lock in the tree must be passed, and ends."""
        tokens = frozenset(lock.token for lock in self.model) if all_tokens else frozenset()
        inside = [lock for lock in self.alive() if root.contains(lock.root)]
        touched = [lock for lock in self.alive() if protects(lock, root) or lock in inside]
        manager = self.managers[which]
        with manager.hold([root], principal=who, tokens=tokens, now=self.now) as hold:
            try:
                hold.check(Claim(trees=(root,)))
            except Locked as locked:
                assert set(locked.locks) <= set(touched)
                return
            # Whoever got through holds an own lock wherever there is an exclusive one.
            assert all(lock.principal == who and all_tokens for lock in touched if lock.scope is Scope.EXCLUSIVE)
            manager.forget(hold, root)
        for lock in [lock for lock in self.model if root.contains(lock.root)]:
            self.end(lock)

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        for lock in [lock for lock in self.model if lock not in self.alive()]:
            self.end(lock)

    @rule(which=st.integers(0, 1))
    def sweep(self, which: int) -> None:
        self.managers[which].sweep(self.now)

    @invariant()
    def both_processes_see_the_same_locks(self) -> None:
        for manager in self.managers:
            assert set(manager.active(self.now)) == set(self.alive())

    @invariant()
    def no_exclusive_lock_overlaps_another(self) -> None:
        active = self.managers[0].active(self.now)
        for index, one in enumerate(active):
            for two in active[index + 1 :]:
                assert not overlap(one, two) or one.scope is two.scope is Scope.SHARED

    @invariant()
    def nobody_writes_through_a_lock(self) -> None:
        tokens = frozenset(lock.token for lock in self.model + self.dead)
        for text in ("/", "/a", "/a/b/c", "/aXb"):
            path = DavPath.parse(text)
            stopping = [lock for lock in self.alive() if protects(lock, path)]
            for who in (Principal("alice"), Principal("bob")):
                own = any(lock.principal == who for lock in stopping)
                for brought, may in ((frozenset[str](), not stopping), (tokens, not stopping or own)):
                    try:
                        self.managers[1].check(Claim(writes=(path,)), principal=who, tokens=brought, now=self.now)
                    except Locked as locked:
                        assert not may
                        assert set(locked.locks) == set(stopping)
                    else:
                        assert may


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
