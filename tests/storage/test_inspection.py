"""Where files and state do not agree: found, and mended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from world import World, path, write

from davserver.storage.inspection import Problem, inspect, mend
from davserver.storage.journal import Intent, Kind
from davserver.storage.staging import FOLDER, Stage


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root", tmp_path / "state", hide=["hidden*"])
    for name in ("f", "g", "locked"):
        write(world.tree, f"/{name}", b"x")
        world.colour(f"/{name}", name)
    world.lock("/locked")
    yield world
    world.close()


def found(world: World, **options: bool) -> list[tuple[Problem, str, bool]]:
    return [(each.problem, each.path.key, each.mendable) for each in inspect(world.shares, **options)]


def mend_all(world: World, **options: bool) -> list[bool]:
    return [mend(world.shares, finding) for finding in list(inspect(world.shares, **options))]


def test_files_and_state_that_agree(world: World) -> None:
    world.colour("/", "of the root")
    (world.root / "hidden").touch()
    world.colour("/hidden", "of what is there and not served")
    assert found(world) == []


def test_what_went_behind_the_servers_back(world: World) -> None:
    os.unlink(world.root / "f")
    os.unlink(world.root / "locked")
    world.colour("/gone/deep", "x")
    assert found(world) == [
        (Problem.PROPERTIES, "/f", True),
        (Problem.PROPERTIES, "/gone/deep", True),
        (Problem.PROPERTIES, "/locked", True),
        (Problem.LOCK, "/locked", True),
    ]
    assert mend_all(world) == [True] * 4
    assert found(world) == []
    assert world.colours == {"/g": "g"}
    assert world.locked == []


def test_what_came_back_before_it_was_mended_is_left_alone(world: World) -> None:
    os.unlink(world.root / "f")
    os.unlink(world.root / "locked")
    findings = list(inspect(world.shares))
    (world.root / "f").touch()
    (world.root / "locked").touch()
    assert all(mend(world.shares, finding) for finding in findings)
    assert set(world.colours) == {"/f", "/g", "/locked"}
    assert world.locked == ["/locked"]


def test_a_disk_that_is_not_mounted_loses_nothing(world: World) -> None:
    for name in ("f", "g", "locked"):
        os.unlink(world.root / name)
    assert {mendable for _, _, mendable in found(world)} == {False}
    assert not any(mend_all(world))
    assert set(world.colours) == {"/f", "/g", "/locked"}
    assert all(mend_all(world, force=True))
    assert found(world) == []


def test_an_interrupted_change_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = world.journal.record(Intent(Kind.DELETE, path("/f"), inode=12345))
    copy = world.journal.record(Intent(Kind.COPY, path("/n"), inode=12345))
    world.properties.stage(path("/g"), copy.staged, recursive=True)
    world.journal.record(Intent(Kind.MOVE, path("/m"), path("/g"), inode=12345))
    assert found(world) == [
        (Problem.INTENT, "/f", True),
        (Problem.INTENT, "/n", True),
        (Problem.INTENT, "/m", True),
    ]
    assert [each.detail for each in inspect(world.shares)] == ["delete", "copy", "move of /g"]
    assert all(mend_all(world))
    assert found(world) == []
    assert set(world.colours) == {"/g", "/locked"}
    # What cannot be looked at now is left for later.
    world.journal.record(Intent(Kind.DELETE, path("/hidden/x"), inode=1))
    assert not any(mend_all(world))
    assert intent not in world.journal.all()


def test_properties_of_a_copy_that_never_came(world: World) -> None:
    world.properties.stage(path("/g"), "copy 99", recursive=True)
    assert found(world) == [(Problem.PROPERTIES, "/", True)]
    assert mend_all(world) == [True]
    assert set(world.colours) == {"/f", "/g", "/locked"}


def test_leftovers_of_dead_processes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    top = os.open(world.root, os.O_RDONLY)
    living = Stage(top)
    os.close(living.new_file()[0])
    dead = world.root / FOLDER / "dead"
    (dead / "tree").mkdir(parents=True)
    (world.root / FOLDER / "a file").touch()
    assert [each.detail for each in inspect(world.shares)] == ["dead/tree"]
    assert mend_all(world) == [True]
    assert found(world) == []
    living.close()
    os.close(top)
    (dead / "tree").mkdir(parents=True)
    monkeypatch.setattr(world.tree, "open_stage", lambda **_: (_ for _ in ()).throw(OSError(13, "")))
    assert not any(mend_all(world))


def test_many_rows_are_gone_through_in_parts(world: World) -> None:
    for number in range(1500):
        world.colour(f"/many/{number:04}", "x")
    assert len(found(world)) == 1500
    assert all(mend_all(world))
    assert set(world.colours) == {"/f", "/g", "/locked"}
