"""LockService: what people and programs do with locks beside WebDAV."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from lockworld import ADMIN, ALICE, BOB, Clock, World, path

from davserver.protocol.errors import BadRequest, Forbidden, LockConflict, NotFound, PreconditionFailed
from davserver.protocol.locks import ANYBODY, Depth, End, Ending, Kind, Lock, Scope
from davserver.protocol.messages import Client
from davserver.storage import lock_service
from davserver.storage.lock_service import LockFilter, one_line


def roots(world: World, wanted: LockFilter) -> list[str]:
    return [lock.root.key for lock in world.service.find(wanted)]


def test_finding(world: World, clock: Clock) -> None:
    (world.root / "d").mkdir()
    world.lock("/d/", depth=Depth.ZERO)
    stale = world.lock("/d/f", principal=BOB, timeout=600)
    world.lock("/x/", depth=Depth.INFINITY, timeout=None)
    clock.now += 60
    world.locks.refresh(path("/d/f"), stale.token, BOB, 600)
    clock.now += 120
    every = LockFilter()
    assert roots(world, every) == ["/d", "/d/f", "/x"]
    assert roots(world, LockFilter(path("/d"))) == ["/d", "/d/f"]
    assert roots(world, LockFilter(path("/d/f"))) == ["/d/f"]
    assert roots(world, LockFilter(path("/x/y/z"))) == ["/x"]
    assert roots(world, LockFilter(holder="bob")) == ["/d/f"]
    assert roots(world, LockFilter(kind=Kind.CHECKOUT)) == []
    assert roots(world, LockFilter(stale=True)) == ["/d/f"]
    assert roots(world, LockFilter(stale=False)) == ["/d", "/x"]
    clock.now += 550
    assert roots(world, every) == ["/x"]
    with pytest.raises(NotFound, match="has ended"):
        world.service.get(stale.id)
    with pytest.raises(NotFound, match="no lock 99"):
        world.service.get(99)


def test_finding_in_parts(world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_service, "PAGE", 2)
    ids = [world.lock(f"/d/{number}", principal=BOB if number % 2 else ALICE, timeout=600).id for number in range(5)]
    world.lock("/d/short", timeout=10)
    world.lock("/e")
    clock.now += 10
    page = world.service.page

    def numbers(part: tuple[list[Lock], int | None]) -> tuple[list[int], int | None]:
        return [lock.id for lock in part[0]], part[1]

    assert numbers(page(LockFilter(path("/d")), 3)) == (ids[:3], ids[2])
    assert numbers(page(LockFilter(path("/d")), 3, beyond=ids[2])) == (ids[3:], None)
    assert numbers(page(LockFilter(path("/d")), 5)) == (ids, None)
    assert numbers(page(LockFilter(holder="bob", kind=Kind.WRITE), 9)) == ([ids[1], ids[3]], None)
    assert numbers(page(LockFilter(stale=True), 9)) == ([], None)
    assert numbers(page(LockFilter(path("/")), 1, beyond=ids[-1])) == ([ids[-1] + 2], None)
    assert numbers(page(LockFilter(path("/e/f")), 9)) == ([], None)
    monkeypatch.setattr(lock_service, "LOOKS", 1)
    assert numbers(page(LockFilter(), 1, visible=lambda lock: lock.root.key == "/e")) == ([], ids[1])
    monkeypatch.setattr(lock_service, "LOOKS", 9)
    assert numbers(page(LockFilter(), 9, visible=lambda lock: lock.root.key == "/e")) == ([ids[-1] + 2], None)


# --- breaking


def test_breaking_needs_a_reason_and_leaves_a_line(
    world: World, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "davserver.audit")
    world.file("/f\nx").write_text("x")
    lock = world.lock("/f%0ax")
    for reason in ("", "  \n"):
        with pytest.raises(BadRequest):
            world.service.break_lock(lock.id, ADMIN, reason)
    with pytest.raises(BadRequest, match="at most 500"):
        world.service.break_lock(lock.id, ADMIN, "x" * 501)
    assert world.service.break_lock(lock.id, ADMIN, "Jane is\non holiday\x1b") == lock
    assert world.locks.active() == []
    assert world.locks.by_id(lock.id).end == End(
        Ending.BROKEN, clock.now, ADMIN, "Jane is on holiday\N{REPLACEMENT CHARACTER}", world.keeper.version(lock.root)
    )
    (line,) = [record.getMessage() for record in caplog.records if record.name == "davserver.audit"]
    assert line.startswith(rf"lock {lock.id} on /f\nx, held by alice, broken by local:root: Jane is on holiday")
    assert lock.token not in caplog.text
    with pytest.raises(NotFound):
        world.service.break_lock(lock.id, ADMIN, "again")


def test_a_lock_that_ends_while_it_is_broken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = world.lock("/f")
    version = type(world.keeper).version

    def release(*_: object) -> str | None:
        world.locks.release(lock.root, lock.token, ALICE)
        return version(world.keeper, lock.root)

    monkeypatch.setattr(type(world.keeper), "version", release)
    with pytest.raises(NotFound, match="has ended"):
        world.service.break_lock(lock.id, ADMIN, "why")
    assert world.locks.by_id(lock.id).end == End(Ending.RELEASED, lock.created)


def test_a_transaction_is_broken_as_a_whole(world: World) -> None:
    transaction = world.service.begin([path("/a"), path("/b")], ALICE, 60)
    world.service.break_lock(transaction.locks[1].id, ADMIN, "it hangs")
    assert world.locks.active() == []
    assert [world.locks.by_id(lock.id).end is not None for lock in transaction.locks] == [True, True]


# --- check-outs


def test_a_check_out_stops_others_and_is_joined_by_its_own(world: World, clock: Clock) -> None:
    (world.root / "d").mkdir()
    world.file("/d/f").write_text("x")
    held = world.service.check_out(path("/d"), ALICE, 3600, " until  Friday ", Client("::1", "Firefox"))
    assert (held.kind, held.depth, held.root.slash) == (Kind.CHECKOUT, Depth.INFINITY, True)
    assert (held.reason, held.expires, held.client_agent) == ("until Friday", clock.now + 3600, "Firefox")
    with pytest.raises(LockConflict):
        world.lock("/d/f", principal=BOB)
    with pytest.raises(LockConflict):
        world.service.check_out(path("/d/f"), BOB, 60)
    with pytest.raises(LockConflict):
        world.service.check_out(path("/d/f"), ALICE, 60)
    joined = world.lock("/d/f", principal=ALICE)
    assert world.locks.active() == [held, joined]
    world.service.end(held.id, ALICE)
    again = world.service.check_out(path("/d/f"), ALICE, 60)  # and the other way round
    assert (again.depth, world.locks.active()) == (Depth.ZERO, [joined, again])


def test_a_check_out_is_somebodys_and_for_a_while(tmp_path: Path, stack: ExitStack, clock: Clock) -> None:
    world = World(tmp_path, stack, clock, checkout=1000)
    world.file("/f").write_text("x")
    with pytest.raises(Forbidden, match="needs a login"):
        world.service.check_out(path("/f"), ANYBODY, 60)
    with pytest.raises(NotFound):
        world.service.check_out(path("/nothing"), ALICE, 60)
    with pytest.raises(BadRequest):
        world.service.check_out(path("/f"), ALICE, 0)
    held = world.service.check_out(path("/f"), ALICE, 9999)
    assert held.expires == clock.now + 1000
    clock.now += 10
    assert world.service.extend(held.id, ALICE, 500).expires == clock.now + 500
    assert world.service.extend(held.id, ALICE, None).expires == clock.now + 1000
    for refused in (lambda: world.service.extend(held.id, BOB, 5), lambda: world.service.end(held.id, BOB)):
        with pytest.raises(Forbidden):
            refused()
    assert world.service.end(held.id, ALICE).id == held.id
    with pytest.raises(NotFound):
        world.service.extend(held.id, ALICE, 5)


# --- transactions


def test_a_transaction_is_all_or_nothing(world: World) -> None:
    world.file("/f").write_text("x")
    other = world.lock("/b/c", principal=BOB)
    with pytest.raises(LockConflict) as refused:
        world.service.begin([path("/a"), path("/b")], ALICE, 60)
    assert refused.value.locks == (other,)
    assert world.locks.active() == [other]
    with pytest.raises(BadRequest):
        world.service.begin([], ALICE, 60)
    transaction = world.service.begin([path("/f"), path("/a"), path("/f"), path("/new/")], ALICE, 60, "pay")
    assert (transaction.id, transaction.fence) == ("txn-1", 1)
    assert [(lock.root.key, lock.depth, lock.root.slash) for lock in transaction.locks] == [
        ("/f", Depth.ZERO, False),
        ("/a", Depth.INFINITY, False),
        ("/new", Depth.INFINITY, True),
    ]
    assert {lock.reason for lock in transaction.locks} == {"pay"}


def test_a_transaction_is_renewed_and_ended_as_a_whole(world: World, clock: Clock) -> None:
    transaction = world.service.begin([path("/a"), path("/b")], ALICE, 60)
    assert world.service.transaction(transaction.id) == transaction
    clock.now += 30
    renewed = world.service.renew(transaction.id, ALICE, 10**9)
    assert {lock.expires for lock in renewed.locks} == {clock.now + world.locks.policy.maximum}
    assert (renewed.id, renewed.fence) == (transaction.id, transaction.fence)
    for refused in (
        lambda: world.service.renew(transaction.id, BOB, 60),
        lambda: world.service.finish(transaction.id, BOB),
    ):
        with pytest.raises(Forbidden):
            refused()
    world.service.finish(transaction.id, ALICE)
    assert world.locks.active() == []
    for gone in (
        lambda: world.service.transaction(transaction.id),
        lambda: world.service.renew(transaction.id, ALICE, 60),
        lambda: world.service.finish(transaction.id, ALICE),
    ):
        with pytest.raises(NotFound):
            gone()


def test_an_expired_transaction_is_not_renewed(world: World, clock: Clock) -> None:
    transaction = world.service.begin([path("/a")], ALICE, 60)
    clock.now += 60
    with pytest.raises(NotFound):
        world.service.renew(transaction.id, ALICE, 60)
    with pytest.raises(PreconditionFailed):
        world.locks.extend_all(transaction.locks, 60)


# --- maintenance


def test_a_maintenance_waits_for_others_or_breaks_them(
    world: World, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "davserver.audit")
    made = world.make("/f", principal=BOB, scope=Scope.SHARED)
    with pytest.raises(BadRequest):
        world.service.maintain(path("/"), ADMIN, 60, " ")
    with pytest.raises(LockConflict) as refused:
        world.service.maintain(path("/"), ADMIN, 60, "backup")
    assert refused.value.locks == (made,)
    lock = world.service.maintain(path("/"), ADMIN, 60, "backup", blocks_reads=True, breaking=True)
    assert (lock.kind, lock.depth, lock.expires, lock.blocks_reads) == (
        Kind.MAINTENANCE, Depth.INFINITY, clock.now + 60, True,
    )  # fmt: skip
    assert world.locks.active() == [lock]
    assert world.file("/f").exists()  # nothing is changed while it lasts
    assert world.service.end_maintenance(path("/"), ADMIN).id == lock.id
    world.keeper.sweep()
    assert not world.file("/f").exists()
    with pytest.raises(NotFound):
        world.service.end_maintenance(path("/"), ADMIN)
    assert [record.getMessage() for record in caplog.records if record.name == "davserver.audit"] == [
        f"lock {made.id} on /f, held by bob, broken by local:root: backup",
        f"maintenance {lock.id} on / set by local:root for 60 s: backup",
        f"maintenance {lock.id} on / ended by local:root",
    ]


def test_who_sets_a_maintenance_for_somebody_else_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "davserver.audit")
    made = world.make("/f", principal=BOB)
    lock = world.service.maintain(path("/"), ALICE, 60, "import", breaking=True, set_by=ADMIN)
    assert lock.principal == ALICE
    assert [record.getMessage() for record in caplog.records if record.name == "davserver.audit"] == [
        f"lock {made.id} on /f, held by bob, broken by local:root for alice: import",
        f"maintenance {lock.id} on / set by local:root for alice for 60 s: import",
    ]


def test_a_maintenance_may_be_without_an_end_and_of_a_part(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "davserver.audit")
    (world.root / "d").mkdir()
    lock = world.service.maintain(path("/d"), ANYBODY, None, "moving", breaking=True)
    assert lock.expires is None
    assert "set by an anonymous user without an end: moving" in caplog.text
    for other in ("/", "/d/e"):
        with pytest.raises(NotFound):
            world.service.end_maintenance(path(other), ADMIN)
    world.service.end_maintenance(path("/d"), ADMIN)


def test_reasons_are_lines() -> None:
    assert one_line("  a\n\tb  ") == "a b"
    assert one_line("") == ""
