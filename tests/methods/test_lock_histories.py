"""Histories of locks: whatever happens in whatever order, two processes do what a naive model says, and every
guarantee holds after every step."""

from __future__ import annotations

import io
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from lockmodel import GRACE, UNIVERSE, Held, Model, inside, parent, plain
from lockworld import ADMIN, ALICE, BOB, Clock, World
from wire import lockinfo

from davserver.access.permissions import READ_WRITE
from davserver.methods import locking, namespace, write
from davserver.protocol.errors import LockConflict, NotFound, PreconditionFailed, Refused
from davserver.protocol.locks import Depth, Kind, Lock, Principal, Scope
from davserver.protocol.messages import Client, Headers, Request
from davserver.protocol.paths import DavPath
from davserver.storage.share import Shares

pytestmark = pytest.mark.slow

WHICH = st.integers(0, 1)
PATHS = st.sampled_from(UNIVERSE)
FILES = st.sampled_from(["/f", "/d/f", "/d/g", "/d/e/f"])
PEOPLE = st.sampled_from([ALICE, BOB])
DEPTHS = st.sampled_from([Depth.ZERO, Depth.INFINITY])
SCOPES = st.sampled_from(list(Scope))
SECONDS = st.integers(180, 400)
PICK = st.integers(0, 3)
#: Now and then everything, which leaves nothing to do for the others.
SMALL = st.sampled_from(["/f", "/d/f", "/d/g", "/d/e/", "/d/e/f", "/d/f", "/d/g", "/d/"])


class Body:
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.length = len(data)
        self.is_here = True

    def read(self, size: int) -> bytes:
        return self._data.read(size)


class Histories(RuleBasedStateMachine):
    """Two processes of one store; beside them the model."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        # Far ahead of the kernel's clock: no file has changed after the end of any lock, as far as its stamps tell.
        self.clock = Clock(4e9)
        self.processes = [World(folder, self.stack, self.clock, grace=GRACE) for _ in range(2)]
        self.root = self.processes[0].root
        self.model = Model(self.clock.now)
        (self.root / "d" / "e").mkdir(parents=True)
        for path, content in self.model.files.items():
            (self.root / path[1:]).write_text(str(content))

    def teardown(self) -> None:
        self.stack.close()

    def ask(
        self, which: int, function: object, method: str, path: str, who: Principal, body: bytes = b"", **fields: str
    ) -> tuple[int, str]:
        """(status, lock token) of a request."""
        process = self.processes[which]
        headers = Headers({name.replace("_", "-"): value for name, value in fields.items()})
        request = Request(
            method, DavPath.parse(path), headers, Body(body), who, READ_WRITE, Client("::1", "x"), self.clock.now
        )
        try:
            response = function(request, Shares([process.share]))  # type: ignore[operator]
        except Refused as refused:
            return refused.status, ""
        return response.status, dict(response.headers).get("Lock-Token", "").strip("<>")

    def pick(self, number: int, *, ended: bool = True) -> Held | None:
        """0 is the youngest: hypothesis likes small numbers, and what was just done matters most."""
        known = self.model.locks if ended else self.model.active()
        return known[-1 - number % len(known)] if known else None

    def remember(self, lock: Lock, *, made: int | None = None) -> None:
        root = lock.root.key + ("/" if lock.root.slash and not lock.root.is_root else "")
        self.model.granted(
            Held(
                lock.token, lock.id, root, lock.depth, lock.scope, lock.kind, lock.principal, lock.granted,
                lock.expires, transaction=lock.transaction_id, made=made,
            )
        )  # fmt: skip

    def find(self, token: str) -> Lock:
        return next(lock for lock in self.processes[0].locks.active() if lock.token == token)

    # --- WebDAV

    @rule(which=WHICH, path=FILES, scope=SCOPES, who=PEOPLE, seconds=SECONDS)
    def lock_file(self, which: int, path: str, scope: Scope, who: Principal, seconds: int) -> None:
        self.lock(which, path, Depth.ZERO, scope, who, seconds)

    @rule(which=WHICH, path=SMALL | PATHS, depth=DEPTHS, scope=SCOPES, who=PEOPLE, seconds=SECONDS)
    def lock_any(self, which: int, path: str, depth: Depth, scope: Scope, who: Principal, seconds: int) -> None:
        self.lock(which, path, depth, scope, who, seconds)

    def lock(self, which: int, path: str, depth: Depth, scope: Scope, who: Principal, seconds: int) -> None:
        model, new = self.model, not self.model.exists(path)
        depth = depth if path in model.folders else Depth.ZERO
        status, token = self.ask(
            which,
            locking.lock,
            "LOCK",
            path,
            who,
            lockinfo(scope.value),
            Depth=depth.value,
            Timeout=f"Second-{seconds}",
        )
        in_the_way = model.in_the_way(path, depth, scope, Kind.WRITE, who)
        if new and (path.endswith("/") or not model.exists(parent(path))):
            assert status == 409
        elif new and model.stopping(who, set(), {path, parent(path)}):
            assert status == 423
        elif in_the_way:
            below = all(plain(held.root) != plain(path) and inside(held.root, path) for held in in_the_way)
            assert status == (207 if below else 423)
        else:
            assert status == (201 if new else 200)
            if new:
                model.changed({path})
                model.files[path] = model.new_content(empty=True)
            self.remember(self.find(token), made=model.files[path] if new else None)

    @rule(which=WHICH, number=PICK, path=PATHS, who=PEOPLE, own=st.booleans(), seconds=SECONDS)
    def refresh(self, which: int, number: int, path: str, who: Principal, own: bool, seconds: int) -> None:
        held = self.pick(number)
        if held is None:
            return
        path, who = (held.root, held.who) if own else (path, who)
        status, _ = self.ask(
            which, locking.lock, "LOCK", path, who, If=f"(<{held.token}>)", Timeout=f"Second-{seconds}"
        )
        if held.ended is None and held.who == who and held.protects(path):
            assert status == 200
            # What a person or a program has said how long it is to last is not changed by a client.
            self.model.renewed(held, seconds if held.kind is Kind.WRITE else held.granted)
        else:
            assert status == 412

    @rule(which=WHICH, number=PICK, path=PATHS, who=PEOPLE, own=st.booleans())
    def unlock(self, which: int, number: int, path: str, who: Principal, own: bool) -> None:
        held = self.pick(number)
        if held is None:
            return
        path, who = (held.root, held.who) if own else (path, who)
        status, _ = self.ask(which, locking.unlock, "UNLOCK", path, who, Lock_Token=f"<{held.token}>")
        if not held.protects(path):
            assert status == 409
        elif held.ended is not None:
            assert status in ((204, 409) if held.who == who else (403, 409))  # 409: nobody remembers it
            if status == 204:
                self.model.done_with(held)
        elif held.who != who:
            assert status == 403
        else:
            assert status == 204
            self.model.end(held, "released")

    @rule(which=WHICH, number=PICK, how=st.sampled_from(["If", "Lock-Token"]))
    def save(self, which: int, number: int, how: str) -> None:
        """By the holder, with the token, however long the lock is over."""
        held = self.pick(number)
        if held is not None and held.kind is Kind.WRITE and not held.root.endswith("/"):
            self.put(which, held.root, held.who, number, how)

    @rule(
        which=WHICH,
        path=FILES,
        who=PEOPLE,
        other=PEOPLE,
        scope=SCOPES,
        broken=st.booleans(),
        meanwhile=st.lists(
            st.sampled_from(["write", "lock", "shared", "folder", "maintenance", "sweep", "check out", "delete"]),
            max_size=2,
        ),
    )
    def save_after_the_end(
        self, which: int, path: str, who: Principal, other: Principal, scope: Scope, broken: bool, meanwhile: list[str]
    ) -> None:
        """A lock ends, others do this and that, and its holder comes back."""
        known = len(self.model.locks)
        self.lock(which, path, Depth.ZERO, scope, who, 180)
        if len(self.model.locks) == known:
            return
        held = self.model.locks[-1]
        if broken:
            self.break_this(which, held)
        elif held.expires is not None:
            self.clock.now = max(self.clock.now, held.expires)
            self.settle()
        doings = {
            "write": lambda: self.put(which, held.root, other, 0, "none"),
            "lock": lambda: self.lock(which, held.root, Depth.ZERO, Scope.EXCLUSIVE, other, 180),
            "shared": lambda: self.lock(which, held.root, Depth.ZERO, Scope.SHARED, other, 180),
            "folder": lambda: self.lock(which, parent(held.root), Depth.INFINITY, Scope.EXCLUSIVE, other, 180),
            "maintenance": lambda: self.maintain(which, parent(held.root), 1, breaking=True),
            "check out": lambda: self.check_out(which, held.root, other, 180),
            "sweep": lambda: self.sweep(1 - which),
            "delete": lambda: self.delete(which, held.root, other, 0, submit=False),
        }
        for doing in meanwhile:
            doings[doing]()
            self.settle()
        for each in self.model.active():
            if each.kind is Kind.MAINTENANCE or each.who == other:
                self.clock.now = max(self.clock.now, each.expires or 0.0)
        self.settle()
        if held in self.model.locks:
            self.put(1 - which, held.root, held.who, self.model.locks[::-1].index(held), "If")

    def settle(self) -> None:
        self.both_processes_see_the_same_locks()
        self.no_two_hold_the_same()
        self.every_file_holds_what_was_last_written()

    @rule(which=WHICH, path=FILES, who=PEOPLE, number=PICK, how=st.sampled_from(["none", "If", "Lock-Token", "id"]))
    def write(self, which: int, path: str, who: Principal, number: int, how: str) -> None:
        self.put(which, path, who, number, how)

    def put(self, which: int, path: str, who: Principal, number: int, how: str) -> None:
        model, held, brought, fields = self.model, self.pick(number), set[str](), {}
        if how == "id" and held is not None and held.transaction is not None:
            brought, fields = {held.transaction}, {"Transaction-Id": held.transaction}
        elif how in ("If", "Lock-Token") and held is not None:
            brought = {held.token}
            fields = {how: f"(<{held.token}>)" if how == "If" else f"<{held.token}>"}
        content, new = model.new_content(), path not in model.files
        status, _ = self.ask(which, write.put, "PUT", path, who, str(content).encode(), **fields)
        forgiven = model.forgiven(path, who, brought)
        ids = {held.transaction for held in model.active() if held.who == who}
        alive = {held.token for held in model.active() if held.protects(path)} | ids
        if not model.exists(parent(path)):
            assert status == 409
        elif brought and not brought & alive and forgiven is None:
            assert status == 412  # whatever stands there now: a token that is dead is dead
        elif model.stopping(who, brought, {path, parent(path)} if new else {path}):
            assert status == 423
        else:
            assert status == (201 if new else 204)
            model.changed({path}, forgiven)
            model.files[path] = content

    @rule(which=WHICH, path=st.sampled_from(["/d/e/", "/d/f", "/d/g", "/f", "/d/"]), who=PEOPLE, number=PICK,
          submit=st.booleans())  # fmt: skip
    def delete(self, which: int, path: str, who: Principal, number: int, submit: bool) -> None:
        model, held = self.model, self.pick(number, ended=False)
        fields, brought = {}, set[str]()
        if submit and held is not None:
            fields, brought = {"If": f"<{plain(held.root)}> (<{held.token}>)"}, {held.token}
        status, _ = self.ask(which, write.delete, "DELETE", path, who, **fields)
        if not model.exists(path):
            assert status == 404
        elif model.stopping(who, brought, model.tree(path) | {parent(path)}):
            assert status == 423
        else:
            assert status == 204
            model.drop(path)

    @rule(which=WHICH, path=st.sampled_from(["/d/", "/d/e/"]), who=PEOPLE)
    def mkcol(self, which: int, path: str, who: Principal) -> None:
        model = self.model
        status, _ = self.ask(which, write.mkcol, "MKCOL", path, who)
        if model.exists(path):
            assert status == 405
        elif not model.exists(parent(path)):
            assert status == 409
        elif model.stopping(who, set(), {path, parent(path)}):
            assert status == 423
        else:
            assert status == 201
            model.changed({path})
            model.folders.add(path)

    @rule(which=WHICH, source=FILES, goal=FILES, who=PEOPLE)
    def move(self, which: int, source: str, goal: str, who: Principal) -> None:
        model = self.model
        if source == goal:
            return
        status, _ = self.ask(which, namespace.move, "MOVE", source, who, Destination=goal)
        changed = {source, goal, parent(source)} | (set() if model.exists(goal) else {parent(goal)})
        if not model.exists(source):
            assert status == 404
        elif not model.exists(parent(goal)):
            assert status == 409
        elif model.stopping(who, set(), changed):
            assert status == 423
        else:
            assert status == (204 if model.exists(goal) else 201)
            content = model.files[source]
            model.drop(source)
            model.drop(goal)
            model.files[goal] = content

    # --- people and programs

    @rule(which=WHICH, path=SMALL, who=PEOPLE, seconds=SECONDS)
    def check_out(self, which: int, path: str, who: Principal, seconds: int) -> None:
        try:
            lock = self.processes[which].service.check_out(DavPath.parse(path), who, seconds, "mine")
        except NotFound:
            assert not self.model.exists(path)
        except LockConflict as conflict:
            depth = Depth.INFINITY if path in self.model.folders else Depth.ZERO
            in_the_way = self.model.in_the_way(path, depth, Scope.EXCLUSIVE, Kind.CHECKOUT, who)
            assert {lock.token for lock in conflict.locks} == {held.token for held in in_the_way} != set()
        else:
            depth = Depth.INFINITY if path in self.model.folders else Depth.ZERO
            assert self.model.in_the_way(path, depth, Scope.EXCLUSIVE, Kind.CHECKOUT, who) == []
            self.remember(lock)

    @rule(which=WHICH, paths=st.lists(SMALL, min_size=1, max_size=3, unique=True), who=PEOPLE, seconds=SECONDS)
    def begin(self, which: int, paths: list[str], who: Principal, seconds: int) -> None:
        model = self.model
        fences = [held.transaction for held in model.locks if held.transaction]
        wanted = {path: Depth.ZERO if path in model.files else Depth.INFINITY for path in paths}
        in_the_way = [
            held for path, depth in wanted.items()
            for held in model.in_the_way(path, depth, Scope.EXCLUSIVE, Kind.TRANSACTION, who)
        ]  # fmt: skip
        try:
            transaction = self.processes[which].service.begin(
                [DavPath.parse(path) for path in paths], who, seconds, "pay"
            )
        except LockConflict:
            assert in_the_way
            return
        assert in_the_way == []
        assert all(int((fence or "").removeprefix("txn-")) < transaction.fence for fence in fences)
        for lock in transaction.locks:
            self.remember(lock)

    @rule(which=WHICH, number=PICK, seconds=SECONDS, who=PEOPLE)
    def renew(self, which: int, number: int, seconds: int, who: Principal) -> None:
        held = self.pick(number)
        if held is None or held.transaction is None:
            return
        together = [each for each in self.model.locks if each.transaction == held.transaction]
        alive = [each for each in together if each.ended is None]
        try:
            self.processes[which].service.renew(held.transaction, who, seconds)
        except Refused:
            assert held.who != who or not alive
            return
        assert held.who == who
        for each in alive:
            self.model.renewed(each, seconds)

    @rule(which=WHICH, number=PICK, who=PEOPLE)
    def end(self, which: int, number: int, who: Principal) -> None:
        held = self.pick(number)
        if held is None:
            return
        try:
            self.processes[which].service.end(held.number, who)
        except Refused:
            assert held.ended is not None or held.who != who
            return
        assert held.ended is None
        assert held.who == who
        self.model.end(held, "released")

    @rule(which=WHICH, number=PICK)
    def break_lock(self, which: int, number: int) -> None:
        held = self.pick(number)
        if held is not None:
            self.break_this(which, held)

    def break_this(self, which: int, held: Held) -> None:
        try:
            self.processes[which].service.break_lock(held.number, ADMIN, "because")
        except NotFound:
            assert held.ended is not None
            return
        assert held.ended is None
        together = [
            each
            for each in self.model.active()
            if each is held or (held.transaction is not None and each.transaction == held.transaction)
        ]
        for each in together:
            each.ended, each.ended_at = "broken", self.model.now
        for each in together:
            self.model.tidy(each)

    @rule(which=WHICH, path=st.sampled_from(["/", "/d/", "/d/e/"]), seconds=st.integers(1, 50), breaking=st.booleans())
    def maintain(self, which: int, path: str, seconds: int, breaking: bool) -> None:
        model = self.model
        in_the_way = model.in_the_way(path, Depth.INFINITY, Scope.EXCLUSIVE, Kind.MAINTENANCE, ADMIN)
        try:
            lock = self.processes[which].service.maintain(
                DavPath.parse(path), ADMIN, seconds, "backup", breaking=breaking
            )
        except LockConflict:
            assert in_the_way
            assert not breaking
            return
        assert breaking or not in_the_way
        for held in in_the_way:
            held.ended, held.ended_at = "broken", model.now
        self.remember(lock)

    # --- time

    @rule(seconds=st.sampled_from([10, 60, 200, 350]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(seconds=st.integers(1, 300))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.clock.now -= seconds

    @rule(
        seconds=st.sampled_from([1, 100, 10_000]),
        which=WHICH,
        path=FILES,
        scope=SCOPES,
        who=PEOPLE,
        number=PICK,
    )
    def the_clock_is_ahead_for_a_while(
        self, seconds: int, which: int, path: str, scope: Scope, who: Principal, number: int
    ) -> None:
        self.clock.now += seconds
        self.settle()
        self.lock(which, path, Depth.ZERO, scope, who, 300)
        self.refresh(1 - which, number, path, who, True, 300)
        self.clock.now -= seconds

    @rule(which=WHICH)
    def sweep(self, which: int) -> None:
        self.processes[which].keeper.sweep()
        self.model.sweep()

    # --- after every step

    @invariant()
    def both_processes_see_the_same_locks(self) -> None:
        self.model.advance(self.clock.now)
        expected = {(held.token, held.expires) for held in self.model.active()}
        for process in self.processes:
            assert {(lock.token, lock.expires) for lock in process.locks.active()} == expected

    @invariant()
    def no_two_hold_the_same(self) -> None:
        self.model.check()

    @invariant()
    def every_file_holds_what_was_last_written(self) -> None:
        found = {}
        for file in self.root.rglob("*"):
            if file.is_file() and ".davserver~" not in str(file):
                found["/" + str(file.relative_to(self.root))] = file.read_text()
        assert found == {
            path: "" if content in self.model.empty else str(content) for path, content in self.model.files.items()
        }

    @invariant()
    def the_store_has_counted_right(self) -> None:
        state = self.processes[0].state
        rows = state.query("SELECT principal, count(*) FROM locks WHERE ended IS NULL GROUP BY principal")
        assert sorted(rows) == sorted(state.query("SELECT principal, held FROM holders WHERE held <> 0"))

    @invariant()
    def nobody_renews_a_lock_that_is_over(self) -> None:
        for held in self.model.locks:
            if held.ended is not None:
                try:
                    self.processes[1].locks.refresh(DavPath.parse(held.root), held.token, held.who, 600)
                except PreconditionFailed:
                    continue
                raise AssertionError("a dead token refreshed a lock")


Histories.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase
