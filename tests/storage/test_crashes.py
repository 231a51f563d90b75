"""SIGKILL after every step: at the next start all of a change has happened, or nothing of it.

A child process makes the change and kills itself after the Nth call that may have left a trace on the disk or in the
database; N goes through all of them. Then the parent does what a start does, and compares.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from inprocess import local
from test_changes import lock_and_make
from world import HOLD, World, path, staged_names, write

from davserver.protocol.properties import DeadProperty, PropName, SetProperty
from davserver.storage import changes
from davserver.storage.recovery import recover_all

#: What leaves traces: system calls by their names in `os`, and every statement to the database.
CALLS = {
    "rename",
    "link",
    "mkdir",
    "open",
    "write",
    "unlink",
    "rmdir",
    "utime",
    "symlink",
    "copy_file_range",
    "execute",
}


def plant(world: World) -> None:
    for folder in ("a", "a/b", "z"):
        (world.root / folder).mkdir()
    for file in ("f", "g", "plain", "a/1", "a/b/2", "z/old"):
        (world.root / file).write_text(file)
    for where in ("/f", "/a", "/a/1", "/a/b/2", "/z/old", "/new", "/n"):
        world.colour(where, where)
    for where in ("/a/b/2", "/z/old", "/f"):
        world.lock(where)


def make_collection(world: World) -> None:
    change = SetProperty(DeadProperty(PropName("urn:x", "size"), b"9"), "9")

    def rows() -> str:
        world.properties.patch(HOLD, path("/made"), (change,))
        return ""

    changes.create(world.shares, HOLD, path("/made"), lambda spot: world.tree.create_collection(HOLD, spot), rows)


def put_new(world: World) -> None:
    """As PUT does: what is known of a name that went behind the server's back is forgotten before the file is there."""
    world.properties.remove(HOLD, path("/n"))
    write(world.tree, "/n", b"new")


def touch(world: World) -> None:
    change = SetProperty(DeadProperty(PropName("urn:x", "size"), b"9"), "9")
    changes.patch(world.shares, HOLD, path("/g"), (change,), 1_500_000_000)


CHANGES: dict[str, Callable[[World], Any]] = {
    "overwrite": lambda world: write(world.tree, "/g", b"another content"),
    "create with properties": make_collection,
    "create with a lock": lambda world: lock_and_make(world, "/locked"),
    "delete file": lambda world: world.delete("/f").empty(),
    "delete folder": lambda world: world.delete("/a").empty(),
    "delete file without rows": lambda world: world.delete("/plain").empty(),
    "move file": lambda world: world.move("/f", "/h", replacing=False).empty(),
    "move file over file": lambda world: world.move("/f", "/g", replacing=True).empty(),
    "move file over folder": lambda world: world.move("/f", "/z", replacing=True).empty(),
    "move folder": lambda world: world.move("/a", "/m", replacing=False).empty(),
    "move folder over folder": lambda world: world.move("/a", "/z", replacing=True).empty(),
    "move folder over file": lambda world: world.move("/a", "/f", replacing=True).empty(),
    "move file without rows": lambda world: world.move("/plain", "/h", replacing=False).empty(),
    "copy file": lambda world: world.copy("/f", "/h", replacing=False).empty(),
    "copy file over file": lambda world: world.copy("/f", "/g", replacing=True).empty(),
    "copy folder over folder": lambda world: world.copy("/a", "/z", replacing=True).empty(),
    "carry folder": lambda world: world.carry("/a", "/m", replacing=False).empty(),
    "carry folder over folder": lambda world: world.carry("/a", "/z", replacing=True).empty(),
    "properties and time": touch,
}


@dataclass(frozen=True)
class Snapshot:
    files: dict[str, tuple[str, int | None]]
    colours: dict[str, str]
    locked: list[str]


def snapshot(world: World) -> Snapshot:
    files: dict[str, tuple[str, int | None]] = {}
    for folder, folders, names in os.walk(world.root):
        folders[:] = [name for name in folders if not name.startswith(".davserver~")]
        files.update({str(Path(folder, name).relative_to(world.root)): ("folder", None) for name in folders})
        for name in names:
            file = Path(folder, name)
            seconds = int(file.stat().st_mtime)
            files[str(file.relative_to(world.root))] = (file.read_text(), seconds if seconds == 1_500_000_000 else None)
    return Snapshot(files, world.colours, sorted(world.locked))


def open_world(place: Path, root: str = "root") -> World:
    return World(place / root, place / "state", durable=False, owned=True)


def run(place: Path, change: Callable[[World], Any], last: int | None, root: str = "root") -> int:
    """Make the change in a child that is killed after its `last` call; how many calls it made, 0 when it was killed."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        world = open_world(place, root)
        calls = 0

        def count(frame: FrameType, event: str, called: Any) -> None:
            nonlocal calls
            if event == "c_return":
                traces = called.__name__ in CALLS
            else:
                traces = event == "return" and frame.f_code.co_name == "_renameat2"
            calls += traces
            if traces and calls == last:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        try:
            change(world)
        finally:
            sys.setprofile(None)
            os.write(tell, str(calls).encode())
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        calls_made = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert bool(calls_made) is os.WIFEXITED(status)
    return int(calls_made or 0)


def restart(place: Path, root: str = "root") -> Snapshot:
    """What a start does, and what is there then."""
    world = open_world(place, root)
    try:
        recover_all(world.shares)
        for tree in world.trees:
            tree.close()
        world.trees.clear()
        assert world.journal.all() == []
        found = snapshot(world)
    finally:
        world.close()
    again = open_world(place, root)
    assert staged_names(again.root) == []
    again.close()
    return found


@pytest.fixture
def template(tmp_path: Path) -> Path:
    place = tmp_path / "template"
    (place / "root").mkdir(parents=True)
    world = open_world(place)
    plant(world)
    world.close()
    return place


CASES = [(name, True) for name in CHANGES] + [(name, False) for name in CHANGES if "over" in name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "exchanging"), CASES, ids=[f"{name}{'' if ok else ', no exchange'}" for name, ok in CASES]
)
def test_all_or_nothing_wherever_it_is_killed(
    name: str, exchanging: bool, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`exchanging`: the file system can exchange two names. Every second time the recovery is killed as well."""
    if not exchanging:
        monkeypatch.setattr("davserver.storage.rename.exchange", lambda *_, **__: False)
    before = restart_copy(template, tmp_path / "before")
    shutil.copytree(template, tmp_path / "after")
    calls = run(tmp_path / "after", CHANGES[name], None)
    after = restart(tmp_path / "after")
    assert before != after
    outcomes = []
    for last in range(1, calls + 1):
        place = tmp_path / "round"
        shutil.copytree(template, place)
        assert run(place, CHANGES[name], last) == 0
        if last % 2:
            run(place, lambda world: recover_all(world.shares), last // 2 % 20 + 1)
        found = restart(place)
        shutil.rmtree(place)
        assert found in (before, after), f"killed after call {last} of {calls}"
        outcomes.append(found == after)
    assert outcomes == sorted(outcomes)  # once it has happened it has
    assert set(outcomes) == {True, False}


def restart_copy(template: Path, place: Path) -> Snapshot:
    shutil.copytree(template, place)
    return restart(place)


@pytest.mark.slow
def test_who_comes_upon_what_a_dead_process_left_ends_it(tmp_path: Path) -> None:
    """Worker processes share files and state; one dies, and the others do not wait for a restart."""
    with local(tmp_path) as dav:
        for name, target in (("a", "b"), ("c", "d")):
            dav("PUT", f"/{name}", b"content")
            dav.proppatch(f"/{name}", f'<D:set><D:prop><colour xmlns="urn:x">{name}</colour></D:prop></D:set>')
            place = tmp_path / "copied"
            last = 1
            while True:
                # Killed between the rename and the rows.
                shutil.copytree(tmp_path, place, ignore=shutil.ignore_patterns("copied"))
                killed = lambda world, name=name, target=target: world.move(f"/{name}", f"/{target}", replacing=False)  # noqa: E731
                run(place, killed, last, root="share")
                moved = (place / "share" / target).exists()
                shutil.rmtree(place)
                if moved:
                    break
                last += 1
            run(tmp_path, killed, last, root="share")
        assert dav("PUT", "/a", b"another").status == 201
        assert dav.propfind("/a", "colour", namespace="urn:x").texts("//D:status") == ["HTTP/1.1 404 Not Found"]
        assert dav("DELETE", "/d").status == 204
        for path_, colour in (("/b", ["a"]),):
            assert [
                e.text for e in dav.propfind(path_, "colour", namespace="urn:x").find("//*[local-name()='colour']")
            ] == colour
