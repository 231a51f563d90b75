"""Changes whose rows cannot be changed after their rename: undone, or, where that cannot be, finished later."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from world import World, names, read, staged_names, write

from davserver.protocol.errors import Forbidden, Refused, Unavailable, Unfinished
from davserver.storage import changes, rename, staged
from davserver.storage.journal import Journal
from davserver.storage.recovery import recover_all

Change = Callable[[World], object]
CHANGES: dict[str, Change] = {
    "delete": lambda world: world.delete("/f"),
    "move": lambda world: world.move("/f", "/new", replacing=False),
    "move over": lambda world: world.move("/f", "/g", replacing=True),
    "move over what has gone": lambda world: world.move("/f", "/new", replacing=True),
    "another spelling": lambda world: world.move("/f", "/F", replacing=False, respelt=True),
    "copy": lambda world: world.copy("/f", "/new", replacing=False),
    "copy over": lambda world: world.copy("/f", "/g", replacing=True),
    "copy of what has no rows": lambda world: world.copy("/plain", "/g", replacing=True),
    "carry": lambda world: world.carry("/f", "/new", replacing=False),
    "carry over": lambda world: world.carry("/f", "/g", replacing=True),
}
BEFORE = {"f": b"f", "g": b"g", "plain": b"plain"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "root", tmp_path / "state")
    for name, content in BEFORE.items():
        write(world.tree, f"/{name}", content)
    for name in ("f", "g"):
        world.colour(f"/{name}", name)
    yield world
    world.close()


def unavailable(*_: object) -> None:
    raise Unavailable("injected")


def contents(world: World) -> dict[str, bytes]:
    return {name: read(world.tree, f"/{name}") for name in names(world.tree)}


@pytest.mark.parametrize("name", CHANGES)
def test_rows_that_cannot_be_changed_undo_the_rename(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "drop", unavailable)
    with pytest.raises(Unavailable) as refused:
        CHANGES[name](world)
    assert refused.value.message == "injected"  # and not that something has happened
    assert contents(world) == BEFORE
    monkeypatch.undo()
    recover_all(world.shares)
    assert world.journal.all() == []
    assert contents(world) == BEFORE
    assert world.colours == {"/f": "f", "/g": "g"}
    assert staged_names(world.root) == []
    CHANGES[name](world)
    assert contents(world) != BEFORE


@pytest.mark.parametrize("name", ["move over", "copy over", "carry over"])
def test_what_cannot_be_undone_is_finished_later(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that cannot exchange names, a file that was replaced in one rename is gone."""
    monkeypatch.setattr(rename, "exchange", lambda *_: False)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "drop", unavailable)
        with pytest.raises(Unfinished):
            CHANGES[name](world)
        assert contents(world)["g"] == b"f"
    recover_all(world.shares)
    assert world.journal.all() == []
    after = contents(world)
    assert after == {"g": b"f", "plain": b"plain"} | ({"f": b"f"} if name == "copy over" else {})
    assert world.colours == {f"/{name}": "f" for name in after if name != "plain"}


@pytest.mark.parametrize("known", [True, False])
def test_a_commit_that_may_have_been_made_is_not_undone(
    known: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made, and could not be written to the disk; or the state cannot even be asked."""
    real = Journal.drop

    def has(*_: object) -> bool:
        if known:
            return False
        raise Unavailable("injected")

    def drop(journal: Journal, intent: object) -> None:
        real(journal, intent)  # type: ignore[arg-type]
        raise Unavailable("injected")

    monkeypatch.setattr(Journal, "has", has)
    monkeypatch.setattr(Journal, "drop", drop)
    with pytest.raises(Unfinished):
        world.move("/f", "/new", replacing=False)
    monkeypatch.undo()
    assert sorted(contents(world)) == ["g", "new", "plain"]
    recover_all(world.shares)
    assert world.colours == {"/g": "g", "/new": "f"}


def test_a_name_that_somebody_has_taken_is_not_taken_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(*_: object) -> None:
        (world.root / "f").write_text("of a stranger")
        raise Unavailable("injected")

    monkeypatch.setattr(Journal, "drop", drop)
    with pytest.raises(Unfinished):
        world.move("/f", "/new", replacing=False)
    monkeypatch.undo()
    recover_all(world.shares)
    assert contents(world) == {**BEFORE, "f": b"of a stranger", "new": b"f"}
    assert world.colours == {"/g": "g", "/new": "f"}


def test_an_old_file_that_cannot_step_aside_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names were exchanged already: they are exchanged again."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, "EACCES")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(Forbidden):
        world.move("/f", "/g", replacing=True)
    monkeypatch.undo()
    assert contents(world) == BEFORE
    assert world.colours == {"/f": "f", "/g": "g"}
    assert world.journal.all() == []


@pytest.mark.parametrize("name", ["move", "carry"])
def test_what_failed_first_is_what_is_told(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the rename nor the rows: nothing was changed, and an intent stays that has nothing to finish."""

    def fail(*_: object) -> None:
        raise OSError(errno.EACCES, "EACCES")

    for module in (changes, staged):
        monkeypatch.setattr(module, "rename_new", fail)
    monkeypatch.setattr(Journal, "drop", unavailable)
    with pytest.raises(Forbidden):
        CHANGES[name](world)
    monkeypatch.undo()
    assert contents(world) == BEFORE
    recover_all(world.shares)
    assert world.journal.all() == []
    assert world.colours == {"/f": "f", "/g": "g"}


def test_a_copy_that_cannot_be_read_is_no_copy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.root / "d").mkdir()
    (world.root / "d" / "x").touch()
    real = os.open

    def open_(path: object, *arguments: object, **named: object) -> int:
        if path == "x":
            raise OSError(errno.EIO, "EIO")
        return real(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_)
    with pytest.raises(Refused):
        world.copy("/d", "/e", replacing=False)
    monkeypatch.undo()
    assert names(world.tree) == ["d", "f", "g", "plain"]
    assert staged_names(world.root) == []
