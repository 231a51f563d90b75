"""LockKeeper: what is tidied up after locks that are over, and what is left alone."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from lockworld import ALICE, BOB, Clock, World, path
from world import staged_names

from davserver.protocol.errors import Forbidden, Unavailable
from davserver.protocol.locks import ABSENT, Claim, Depth, End, Ending, Scope
from davserver.protocol.properties import DeadProperty, PropName, SetProperty
from davserver.storage import changes, gate
from davserver.storage.gate import Gate
from davserver.storage.journal import Intent, Kind
from davserver.storage.lock_events import What
from davserver.storage.lock_keeper import BATCH, RELEASED_SECONDS, LockKeeper
from davserver.storage.share import Shares
from davserver.storage.staging import FOLDER
from davserver.storage.tree import Tree


def ended(world: World, root: str) -> list[End | None]:
    return [lock.end for lock in world.locks.around(path(root)).ended]


def test_an_expired_lock_is_noted_with_the_version_of_its_file(world: World, clock: Clock) -> None:
    world.file("/f").write_text("x")
    lock = world.lock("/f", timeout=200)
    clock.now += 200
    world.keeper.sweep()
    version = world.keeper.version(path("/f"))
    assert version is not None
    assert ended(world, "/f") == [End(Ending.EXPIRED, lock.expires or 0, version=version)]
    assert [event.what for event in world.events.after(0)] == [What.LOCKED, What.EXPIRED]
    world.keeper.sweep()
    assert len(world.events.after(0)) == 2


def test_an_empty_file_stays_while_its_maker_has_it_checked_out(world: World, clock: Clock) -> None:
    world.make("/f", timeout=200)
    clock.now += 200
    checkout = world.service.check_out(path("/f"), ALICE, 300, "mine")
    world.keeper.sweep()
    assert world.file("/f").exists()
    assert world.locks.active() == [checkout]
    world.service.end(checkout.id, ALICE)
    world.keeper.sweep()
    assert not world.file("/f").exists()


def test_whoever_ends_a_lock_is_not_refused_because_of_what_can_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PATIENCE", 0.05)
    first, second = world.make("/f"), world.make("/g")
    with Gate(str(world.folder)).reserve([path("/f"), path("/g")]):
        assert world.service.end(first.id, ALICE) == first
        with pytest.raises(Unavailable):
            world.keeper.tidy(first)
        world.locks.release(path("/g"), second.token, ALICE)
        world.keeper.tidy_if_possible(second)
    assert world.locks.active() == []
    assert world.file("/f").exists()
    world.keeper.sweep()
    assert not world.file("/f").exists()
    assert not world.file("/g").exists()


def test_what_was_changed_behind_our_back_before_anybody_looked_is_not_forgiven(
    tmp_path: Path, stack: ExitStack
) -> None:
    world = World(tmp_path, stack, clock := Clock())
    world.file("/f").write_text("x")
    clock.now -= 1000  # long before that
    lock = world.lock("/f", timeout=200)
    clock.now += 200
    world.keeper.sweep()
    (end,) = ended(world, "/f")
    assert end is not None
    assert (end.at, end.void) == (lock.expires, True)


def test_of_a_file_that_is_gone_nothing_is_forgiven(world: World, clock: Clock) -> None:
    world.lock("/f", timeout=200)
    clock.now += 200
    world.keeper.sweep()
    (end,) = ended(world, "/f")
    assert end is not None
    assert end.void


def test_a_lock_that_is_renewed_while_the_sweep_looks_at_its_file_is_left_alone(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.file("/f").write_text("x")
    lock = world.lock("/f", timeout=200)
    clock.now += 200
    look = Tree.version

    def renew(tree: Tree, *where: object) -> object:
        claim = Claim(writes=(path("/f"),))
        with world.locks.hold([path("/f")], principal=ALICE, tokens=frozenset()) as hold:
            view = world.locks.view(claim)
            hold.check(claim, view)
            if view.ended:
                hold.settle(claim, view, view.ended[0])
        return look(tree, *where)  # type: ignore[arg-type]

    monkeypatch.setattr(Tree, "version", renew)
    world.keeper.sweep()
    assert [held.token for held in world.locks.active()] == [lock.token]


@pytest.mark.parametrize("how", ["expiry", "release", "break"])
def test_an_empty_file_goes_with_the_lock_that_made_it(how: str, world: World, clock: Clock) -> None:
    lock = world.make("/f", timeout=200)
    if how == "expiry":
        clock.now += 200
        assert world.file("/f").exists()
        world.keeper.sweep()
    elif how == "release":
        world.locks.release(lock.root, lock.token, ALICE)
        world.keeper.tidy(lock)
    else:
        world.service.break_lock(lock.id, BOB, "why")
    assert not world.file("/f").exists()
    (found,) = world.locks.around(path("/f")).ended
    assert found.made is None
    assert found.end is not None
    assert found.end.version == ABSENT
    assert os.listdir(world.root) == [FOLDER]
    assert staged_names(world.root) == []


def test_what_somebody_has_left_half_done_is_ended_first(world: World) -> None:
    lock = world.make("/f")
    intent = world.shares.journal.record(Intent(Kind.DELETE, path("/f"), inode=1))
    world.locks.release(lock.root, lock.token, ALICE)
    world.keeper.tidy(lock)
    assert world.file("/f").exists()
    world.shares.journal.drop(intent)
    world.keeper.sweep()
    assert not world.file("/f").exists()


def test_a_file_that_somebody_wrote_stays(world: World, clock: Clock) -> None:
    world.make("/f", timeout=200)
    world.file("/f").write_text("content")
    clock.now += 200
    world.keeper.sweep()
    world.keeper.sweep()
    assert world.file("/f").read_text() == "content"
    assert [lock.made for lock in world.locks.around(path("/f")).ended] == [None]


@pytest.mark.parametrize("how", ["expiry", "release"])
def test_a_file_that_somebody_gave_properties_stays(how: str, world: World, clock: Clock) -> None:
    """Its content is nothing still; they are what was written, and were acknowledged."""
    lock = world.make("/f", timeout=200)
    with world.locks.hold([path("/f")], principal=ALICE, tokens=frozenset({lock.token})) as hold:
        hold.check(Claim(writes=(path("/f"),)))
        colour = DeadProperty(PropName("urn:x", "colour"), b"<colour xmlns='urn:x'>red</colour>")
        changes.patch(world.shares, hold, path("/f"), (SetProperty(colour, "red"),), None)
    if how == "expiry":
        clock.now += 200
        world.keeper.sweep()
    else:
        world.locks.release(lock.root, lock.token, ALICE)
        world.keeper.tidy(lock)
    assert world.file("/f").exists()
    assert list(world.shares.properties.of(path("/f"))) == [colour.name]
    assert [lock.made for lock in world.locks.around(path("/f")).ended] == [None]


def test_a_lock_that_made_nothing_removes_nothing(world: World) -> None:
    world.file("/f").touch()
    lock = world.lock("/f")
    world.locks.release(lock.root, lock.token, ALICE)
    world.keeper.tidy(lock)
    assert world.file("/f").exists()


def test_while_somebody_else_holds_it_the_file_stays(world: World) -> None:
    first = world.make("/f", scope=Scope.SHARED)
    second = world.lock("/f", scope=Scope.SHARED, principal=BOB)
    world.locks.release(first.root, first.token, ALICE)
    world.keeper.tidy(first)
    world.keeper.sweep()
    assert world.file("/f").exists()
    world.locks.release(second.root, second.token, BOB)
    world.keeper.sweep()
    assert not world.file("/f").exists()


def test_while_somebody_holds_the_folder_its_members_stay(world: World) -> None:
    """RFC 4918 §7.4: a lock on a collection protects its membership."""
    lock = world.make("/f")
    folder = world.lock("/", principal=BOB)
    world.locks.release(lock.root, lock.token, ALICE)
    world.keeper.tidy(lock)
    assert world.file("/f").exists()
    world.locks.release(folder.root, folder.token, BOB)
    world.keeper.sweep()
    assert not world.file("/f").exists()


def test_it_is_remembered_for_as_long_as_it_takes(world: World, clock: Clock) -> None:
    """However long somebody else holds it: without the row nobody would know that the file is litter."""
    lock = world.make("/f", scope=Scope.SHARED, timeout=10)
    other = world.lock("/f", scope=Scope.SHARED, principal=BOB, timeout=None)
    clock.now += 10 * world.locks.policy.grace
    world.keeper.sweep()
    assert [found.id for found in world.locks.around(path("/f")).ended] == [lock.id]
    world.locks.release(other.root, other.token, BOB)
    world.keeper.sweep()
    assert not world.file("/f").exists()


def test_what_cannot_be_removed_stays_and_is_told_once(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Forbidden("The server's file system does not permit this.")

    lock = world.make("/f")
    world.locks.release(lock.root, lock.token, ALICE)
    monkeypatch.setattr(changes, "delete", refuse)
    world.keeper.sweep()
    world.keeper.sweep()
    assert caplog.text.count("an empty file that a LOCK made, stays") == 1
    assert world.file("/f").exists()


def test_a_share_that_is_not_served_any_more(world: World, clock: Clock) -> None:
    world.make("/f", timeout=10)
    clock.now += 10
    keeper = LockKeeper(Shares([replace(world.share, at=path("/elsewhere"))]))
    assert keeper.node(path("/f")) is None
    assert keeper.version(path("/f")) is None
    keeper.sweep()
    assert world.file("/f").exists()


def test_versions(world: World) -> None:
    assert world.keeper.version(path("/f")) == ABSENT
    world.file("/f").write_text("x")
    first = world.keeper.version(path("/f"))
    world.file("/f").chmod(0o600)  # nothing that an ETag would tell
    assert world.keeper.version(path("/f")) not in (first, ABSENT, None)


def test_rows_are_dropped_when_nobody_will_ask_for_them(world: World, clock: Clock) -> None:
    def rows() -> list[str]:
        return [row[0] for row in world.state.query("SELECT root FROM locks ORDER BY root")]

    for name in "abcd":
        world.file(f"/{name}").touch()
    released = world.lock("/a")
    world.lock("/b", timeout=10)
    broken = world.lock("/c", timeout=None)
    kept = world.lock("/d", timeout=None)
    world.locks.release(released.root, released.token, ALICE)
    world.service.break_lock(broken.id, BOB, "why")
    clock.now += RELEASED_SECONDS - 1
    world.keeper.sweep()
    assert rows() == ["/a", "/b", "/c", "/d"]
    clock.now += 1
    world.keeper.sweep()
    assert rows() == ["/b", "/c", "/d"]
    clock.now += world.locks.policy.grace
    world.keeper.sweep()
    assert rows() == ["/d"]
    assert world.locks.active() == [kept]
    assert world.state.query("SELECT * FROM holders WHERE held <> 0") == [("alice", 1)]


def test_a_sweep_of_very_many(world: World, clock: Clock) -> None:
    lock = world.lock("/x")
    with world.state.transaction():
        for number in range(2, BATCH + 300):
            world.locks._table.insert(replace(lock, id=number, token=f"t{number}", root=path(f"/{number}")))
    clock.now += 600
    world.keeper.sweep()
    assert world.state.query("SELECT count(*) FROM locks WHERE ended IS NULL") == [(0,)]
    clock.now += world.locks.policy.grace
    world.keeper.sweep()
    assert world.state.query("SELECT count(*) FROM locks") == [(0,)]


def test_a_sweep_that_finds_nothing_writes_nothing(world: World) -> None:
    world.lock("/f", depth=Depth.INFINITY)
    before = world.state._local.connection.total_changes
    world.keeper.sweep()
    assert world.state._local.connection.total_changes == before
