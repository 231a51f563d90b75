"""Changes of files and rows together: all of it or nothing, and nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from world import (
    COLOUR,
    HOLD,
    Nothing,
    World,
    mounted,
    names,
    path,
    read,
    staged_names,
    write,
)

from davserver.protocol.errors import Busy, InsufficientStorage, InternalError, LockConflict, NotFound, Refused
from davserver.protocol.locks import ANYBODY, Depth, LockRequest, Scope
from davserver.protocol.paths import ROOT
from davserver.protocol.properties import RemoveProperty
from davserver.storage import changes, copying, rename
from davserver.storage.hold import Unproven
from davserver.storage.journal import Intent, Kind
from davserver.storage.node import AlreadyThere, OtherDevice
from davserver.storage.recovery import Recorded, recover_all, settle
from davserver.storage.share import Shares
from davserver.storage.staged import StagedCopy, StagedFile
from davserver.storage.staging import FOLDER
from davserver.storage.tree import Tree


@pytest.fixture(params=["kernel", "fallbacks"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """With what the kernel offers, and with what is used where it does not; durable, and not."""
    modern = request.param == "kernel"
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root", tmp_path / "state", durable=modern, use_openat2=modern, use_tmpfile=modern)
    yield world
    assert world.journal.all() == []
    world.close()


@pytest.fixture(params=[True, False], ids=["exchange", "no exchange"])
def exchanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With renameat2, and on a file system that knows none of its flags."""
    if not request.param:

        def refuse(*_: object) -> None:
            raise OSError(22, "EINVAL")

        monkeypatch.setattr(rename, "_renameat2", refuse)
    return bool(request.param)


def plant(world: World) -> None:
    for folder in ("a", "a/b", "z"):
        (world.root / folder).mkdir()
    for file in ("f", "a/1", "a/b/2", "z/old"):
        (world.root / file).write_text(file)
        world.colour(f"/{file}", file)
    world.colour("/a", "a")


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("source", "target", "replacing", "expected"),
    [
        ("/f", "/g", False, b"f"),
        ("/f", "/a/1", True, b"f"),
        ("/f", "/a", True, b"f"),
        ("/a", "/new", False, None),
        ("/a", "/z", True, None),
        ("/a", "/f", True, None),
    ],
)
@pytest.mark.parametrize("how", ["move", "copy"])
def test_move_and_copy(
    how: str, source: str, target: str, replacing: bool, expected: bytes | None, world: World, exchanging: bool
) -> None:
    """RFC 4918 §9.8.2, §9.9.1: with the properties, and none of those that were at the destination."""
    plant(world)
    before = world.colours
    if how == "move":
        removed = world.move(source, target, replacing=replacing)
        assert world.tree.stat(path(source)) is None
    else:
        removed = world.copy(source, target, replacing=replacing)
        assert world.tree.stat(path(source)) is not None
    removed.empty()
    if expected is None:
        assert names(world.tree, target) == ["1", "b"]
        assert read(world.tree, f"{target}/b/2") == b"a/b/2"
    else:
        assert read(world.tree, target) == expected
    assert staged_names(world.root) == []

    def within(key: str, top: str) -> bool:
        return key == top or key.startswith(top + "/")

    moved = {target + key[len(source) :]: value for key, value in before.items() if within(key, source)}
    stayed = {
        key: value
        for key, value in before.items()
        if not within(key, target) and not (how == "move" and within(key, source))
    }
    assert world.colours == stayed | moved


@pytest.mark.parametrize("source", ["/f", "/a"])
def test_a_taken_destination_is_not_replaced_by_mistake(source: str, world: World, exchanging: bool) -> None:
    plant(world)
    before = world.colours
    for target in ("/z", "/a/1"):
        for change in (world.copy, world.move) if source == "/f" else (world.copy,):
            with pytest.raises(AlreadyThere):
                change(source, target, replacing=False)
    assert names(world.tree, "/z") == ["old"]
    assert staged_names(world.root) == []
    assert world.colours == before


@pytest.mark.parametrize("how", ["move", "copy"])
def test_a_replacement_that_cannot_come_leaves_the_old_one(
    how: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where names cannot be exchanged: the old one stepped aside, the new one fails, the old one is back."""
    plant(world)
    before = world.colours
    monkeypatch.setattr("davserver.storage.rename.exchange", lambda *_, **__: False)
    real, calls = os.rename, []

    def fail_second(*arguments: object, **keywords: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(5, "EIO")
        real(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(Refused):
        (world.move if how == "move" else world.copy)("/a", "/z", replacing=True)
    monkeypatch.undo()
    assert names(world.tree, "/z") == ["old"]
    assert names(world.tree, "/a") == ["1", "b"]
    assert staged_names(world.root) == []
    assert world.colours == before


def test_two_names_of_one_file_are_moved_onto_each_other(world: World) -> None:
    """rename(2) does nothing then, and says it is done."""
    plant(world)
    os.link(world.root / "f", world.root / "g")
    world.move("/f", "/g", replacing=True).empty()
    assert names(world.tree) == ["a", "g", "z"]
    assert read(world.tree, "/g") == b"f"
    assert world.colours["/g"] == "f"


def test_another_spelling_of_the_same_name(world: World) -> None:
    plant(world)
    world.move("/f", "/F", replacing=False, respelt=True).empty()
    assert names(world.tree) == ["F", "a", "z"]
    assert world.colours["/F"] == "f"


def test_a_file_without_rows_is_moved_and_removed_without_a_word_to_the_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No intent, no transaction: a full or missing database does not keep a file from being moved away."""
    plant(world)
    for name in ("x", "y"):
        write(world.tree, f"/{name}", b"plain")

    def refuse() -> None:
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr(world.state, "transaction", refuse)
    world.move("/x", "/y", replacing=True).empty()
    world.move("/y", "/n", replacing=False).empty()
    world.delete("/n").empty()
    monkeypatch.undo()
    assert names(world.tree) == ["a", "f", "z"]


def test_removal_is_one_step_and_follows_no_link(world: World, tmp_path: Path) -> None:
    plant(world)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").touch()
    (world.root / "a" / "link").symlink_to(tmp_path / "outside")
    removed = world.delete("/a")
    assert names(world.tree) == ["f", "z"]
    assert (removed + world.delete("/f")).empty() == len("a/1") + len("a/b/2") + len("f")
    assert staged_names(world.root) == []
    assert (tmp_path / "outside" / "x").exists()
    assert set(world.colours) == {"/z/old"}
    for missing in ("/a", "/a/1"):
        with pytest.raises(Refused):
            world.delete(missing)
        with pytest.raises(Refused):
            world.move(missing, "/z/new", replacing=False)


def test_a_copy_keeps_what_a_file_is_and_leaves_out_what_is_none(world: World, tmp_path: Path) -> None:
    plant(world)
    root = world.root
    (tmp_path / "secret").write_text("secret")
    (root / "a" / "link").symlink_to(tmp_path / "secret")
    (root / "a" / ".davserver~x").touch()
    os.mkfifo(root / "a" / "pipe")
    os.chmod(root / "a/1", 0o600)
    os.utime(root / "a/1", (1_600_000_000, 1_600_000_000))
    world.copy("/a", "/c", replacing=False).empty()
    assert sorted(os.listdir(root / "c")) == ["1", "b"]
    status = os.stat(root / "c/1")
    assert (stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0o600, 1_600_000_000)
    original, copied = world.tree.stat(path("/a/1")), world.tree.stat(path("/c/1"))
    assert original is not None
    assert copied is not None
    assert original.etag != copied.etag


def test_a_copy_that_is_not_recursive_is_a_folder_alone(world: World) -> None:
    """RFC 4918 §9.8.3: with its properties, and without those of its members."""
    plant(world)
    world.copy("/a", "/c", replacing=False, recursive=False)
    assert names(world.tree, "/c") == []
    assert {key: value for key, value in world.colours.items() if key.startswith("/c")} == {"/c": "a"}


def test_what_is_no_file_cannot_be_copied(world: World) -> None:
    os.mkfifo(world.root / "pipe")
    for source in ("/missing", "/pipe"):
        with pytest.raises(NotFound):
            world.copy(source, "/c", replacing=False)
    assert staged_names(world.root) == []


def test_a_copy_of_many_files_is_synced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One syncfs costs about as much as a few fsyncs, and 10,000 of these take minutes. What it says counts."""
    (tmp_path / "root" / "a").mkdir(parents=True)
    world = World(tmp_path / "root", tmp_path / "state", durable=True)
    for number in range(30):
        (world.root / "a" / str(number)).touch()
    real, synced = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd)))
    world.copy("/a", "/b", replacing=False)
    assert len(synced) == 1  # of the folder that got a new member
    monkeypatch.setattr(copying, "_syncfs_tells", lambda: False)
    world.copy("/a", "/c", replacing=False)
    assert len(synced) == 1 + 31 + 1
    monkeypatch.undo()

    class Failing:
        @staticmethod
        def syncfs(fd: int) -> int:
            return -1

    monkeypatch.setattr(copying, "_libc", Failing)
    with pytest.raises(Refused):
        world.copy("/a", "/d", replacing=False)
    assert names(world.tree) == ["a", "b", "c"]
    assert staged_names(world.root) == []
    world.close()


@pytest.mark.slow
def test_a_tree_deeper_than_the_stack_is_copied_and_removed(world: World) -> None:
    fd = os.open(world.root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    world.copy("/d", "/c", replacing=False)
    world.delete("/d").empty()
    world.delete("/c").empty()
    assert names(world.tree) == staged_names(world.root) == []


def test_what_vanishes_while_a_tree_is_copied_is_not_copied(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(world)
    real = os.scandir

    def vanishing(folder: int) -> Any:
        entries = list(real(folder))
        if (world.root / "a" / "1").exists():
            for file in ("a/1", "a/b/2"):
                (world.root / file).unlink()
            (world.root / "a" / "b").rmdir()
        return contextlib.nullcontext(entries)

    monkeypatch.setattr(copying.os, "scandir", vanishing)
    world.copy("/a", "/c", replacing=False)
    monkeypatch.undo()
    assert names(world.tree, "/c") == ["b"]
    assert names(world.tree, "/c/b") == []


def test_a_file_system_mounted_in_a_folder_outlives_it(world: World) -> None:
    """What lies on another file system is not cleared with the folder that it was mounted in."""
    (world.root / "d" / "m").mkdir(parents=True)
    with mounted(world.root / "d" / "m", "size=1m") as inner:
        (inner / "f").touch()
        removed = world.delete("/d")
        removed.empty()
        assert names(world.tree) == []
        (place,) = (world.root / FOLDER).glob("*/*/m")
        assert (place / "f").exists()
        os.rename(place.parent, world.root / "d")


def test_nothing_changes_without_the_proof(world: World) -> None:
    plant(world)
    shares, nothing = world.shares, Nothing()
    slot = world.tree.stage(path("/g"), world.tree.look(path("/g")).device).new_slot()
    with copying.stage_copy(world.tree, path("/f"), world.tree, slot, recursive=True) as copy:
        attempts: list[Callable[[], object]] = [
            lambda: changes.delete(shares, nothing, path("/f")),
            lambda: changes.move(shares, nothing, path("/f"), path("/g"), replacing=False, respelt=False),
            lambda: changes.install(shares, nothing, copy, path("/f"), path("/g"), replacing=False, recursive=True),
            lambda: changes.carry(shares, nothing, copy, path("/f"), path("/g"), replacing=False),
            lambda: changes.patch(shares, nothing, path("/f"), (RemoveProperty(COLOUR),), None),
        ]
        for attempt in attempts:
            with pytest.raises(Unproven):
                attempt()
    assert names(world.tree) == ["a", "f", "z"]
    with pytest.raises(Unproven):
        Recorded(Intent(Kind.DELETE, path("/a"))).require(path("/b"))


# --- with locks


def test_locks_end_with_what_they_protect(world: World) -> None:
    """RFC 4918 §7.5, §7.6, §9.6, §9.9."""
    plant(world)
    for where in ("/a", "/a/b/2", "/f", "/z/old"):
        world.lock(where)
    world.move("/a", "/m", replacing=False)
    assert world.locked == ["/f", "/z/old"]
    world.copy("/m", "/z", replacing=True)
    assert world.locked == ["/f"]
    world.delete("/f")
    assert world.locked == []


def lock_and_make(world: World, where: str) -> str:
    """As LOCK does on an unmapped URL."""
    request = LockRequest(path(where), Depth.ZERO, Scope.EXCLUSIVE, ANYBODY, None, 3600)
    with world.locks.hold((path(where),), principal=ANYBODY, tokens=frozenset()) as hold:
        tokens: list[str] = []

        def rows() -> str:
            tokens.append(world.locks.acquire(hold, request).token)
            return tokens[0]

        with world.tree.spot(path(where)) as there, StagedFile(world.tree, there) as staged:
            changes.create(world.shares, HOLD, path(where), lambda spot: staged.commit(HOLD, spot, replace=False), rows)
    return tokens[0]


def test_what_is_made_and_its_lock_come_together_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.colour("/n", "of what went behind the server's back")
    lock_and_make(world, "/n")
    assert (names(world.tree), world.locked, world.colours) == (["n"], ["/n"], {})
    with pytest.raises(LockConflict):
        lock_and_make(world, "/n")
    with pytest.raises(Refused):
        lock_and_make(world, "/missing/n")
    monkeypatch.setattr(StagedFile, "commit", failing(28))
    with pytest.raises(InsufficientStorage):
        lock_and_make(world, "/full")
    monkeypatch.undo()
    (world.root / "taken").touch()
    with pytest.raises(AlreadyThere):
        lock_and_make(world, "/taken")
    assert world.locked == ["/n"]


# --- the time of change


def test_properties_and_time_change_together_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write(world.tree, "/f", b"x", mtime=1_000_000_000)

    def patch(mtime: int | None) -> None:
        changes.patch(world.shares, HOLD, path("/f"), (), mtime)

    patch(1_100_000_000)
    node = world.tree.stat(path("/f"))
    assert node is not None
    assert node.last_modified == 1_100_000_000
    assert node.etag != before.etag
    monkeypatch.setattr(world.properties, "patch", failing(28))
    with pytest.raises(OSError, match="space"):
        patch(1_200_000_000)
    assert world.tree.stat(path("/f")) == node
    monkeypatch.undo()
    with pytest.raises(NotFound):
        changes.patch(world.shares, HOLD, path("/gone"), (), 1)


def test_the_time_of_another_version_is_left_alone(world: World) -> None:
    """Of a PROPPATCH that was killed: the file may be another by now, by the hand of an outsider."""
    node = write(world.tree, "/f", b"x", mtime=1_000_000_000)
    for inode, mtime in ((node.inode + 1, 1_000_000_000), (node.inode, 1_100_000_000)):
        intent = Intent(Kind.TOUCH, path("/f"), inode=inode, mtime_ns=1_100_000_000 * 10**9)
        settle(world.shares, world.journal.record(intent))
        found = world.tree.stat(path("/f"))
        assert found is not None
        assert found.last_modified == mtime


# --- between file systems


def test_a_move_between_file_systems_is_a_copy_and_a_removal(world: World, tmp_path: Path) -> None:
    plant(world)
    with mounted(tmp_path / "other", "size=4m") as other:
        world.mount("/o", other)
        with pytest.raises(OtherDevice):
            world.move("/a", "/o/a", replacing=False)
        world.carry("/a", "/o/a", replacing=False).empty()
        assert names(world.tree) == ["f", "z"]
        assert read(world.shares.of(path("/o")).tree, "/o/a/b/2") == b"a/b/2"
        assert world.colours == {
            "/f": "f", "/z/old": "z/old", "/o/a": "a", "/o/a/1": "a/1", "/o/a/b/2": "a/b/2"
        }  # fmt: skip
        world.carry("/z", "/o/a", replacing=True).empty()
        assert world.colours == {"/f": "f", "/o/a/old": "z/old"}
        (world.root / "big").write_bytes(b"x" * 5_000_000)
        with pytest.raises(InsufficientStorage):
            world.carry("/big", "/o/big", replacing=False)
        with pytest.raises(AlreadyThere):
            world.carry("/f", "/o/a", replacing=False)
        assert names(world.tree) == ["big", "f"]
        assert staged_names(world.root) == staged_names(other) == []
        with pytest.raises(Busy):
            mount_point = world.root / "inner"
            mount_point.mkdir()
            with mounted(mount_point, "size=1m"):
                world.delete("/inner")
        for tree in world.trees[1:]:
            tree.close()
        del world.trees[1:]


def test_a_move_between_shares_of_one_file_system_is_a_rename(world: World, tmp_path: Path) -> None:
    plant(world)
    (tmp_path / "second").mkdir()
    world.mount("/s", tmp_path / "second")
    inode = (world.root / "a").stat().st_ino
    world.move("/a", "/s/a", replacing=False)
    assert (tmp_path / "second" / "a").stat().st_ino == inode
    assert world.colours["/s/a/b/2"] == "a/b/2"


def test_what_cannot_be_ended_now_is_told_and_left(world: World, caplog: pytest.LogCaptureFixture) -> None:
    intent = world.journal.record(Intent(Kind.DELETE, path("/.davserver~x"), inode=1))
    recover_all(world.shares)
    assert "an interrupted delete of /.davserver~x is still open" in caplog.text
    assert world.journal.all() == [intent]
    world.journal.drop(intent)


def test_a_disk_that_is_not_mounted_has_lost_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Then a share has nothing in it, not even a stage; what its intents are about comes back with it."""
    write(world.tree, "/f", b"x")
    world.colour("/f", "blue")
    intent = world.journal.record(Intent(Kind.DELETE, path("/f"), inode=1))
    for tree in world.trees:
        tree.close()
    world.trees.clear()
    (world.root / "f").unlink()
    shutil.rmtree(world.root / FOLDER, ignore_errors=True)
    tree = Tree(str(world.root), ROOT, durable=False)
    world.trees.append(tree)
    recover_all(Shares([replace(next(iter(world.shares)), tree=tree)]))
    assert "is its disk mounted?" in caplog.text
    assert (world.journal.all(), world.colours) == ([intent], {"/f": "blue"})
    world.journal.drop(intent)


def test_a_copy_that_may_not_last_leaves_its_source(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MOVE between file systems: the copy has come, and the fsync of its folder fails."""
    write(world.tree, "/f", b"x")
    world.colour("/f", "blue")
    (tmp_path / "second").mkdir()
    world.mount("/s", tmp_path / "second")
    target = world.shares.of(path("/s")).tree
    real, failed = StagedCopy.commit, failing(5)

    def commit(*arguments: object, **options: object) -> object:
        real(*arguments, **options)  # type: ignore[arg-type]
        return failed()

    monkeypatch.setattr(StagedCopy, "commit", commit)
    with pytest.raises(InternalError):
        world.carry("/f", "/s/f", replacing=False)
    assert (names(world.tree), names(target, "/s")) == (["f"], ["f"])
    assert (world.colours, world.journal.all()) == ({"/f": "blue"}, [])
