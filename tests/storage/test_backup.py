"""Backup and restore of the state, beside servers at work and without."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from lockworld import World
from serving import Process, Running, serving

from davserver.cli import main
from davserver.server.compose import open_app
from davserver.settings import Settings
from davserver.storage import backup
from davserver.storage.backup import BEFORE, back_up, restore
from davserver.storage.schema import MIGRATIONS
from davserver.storage.sqlite import SqliteState
from davserver.storage.state import StateError

COLOUR = '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>'


def colour(server: Running, path: str) -> list[str]:
    return [element.text or "" for element in server.client().propfind(path, "colour", namespace="urn:x").find(
        "//*[local-name()='colour']")]  # fmt: skip


def test_two_servers_with_the_same_locks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "state.backup"
    (tmp_path / "one").mkdir()
    with serving(tmp_path / "one") as one:
        dav = one.client()
        assert dav("PUT", "/f", b"x").status == 201
        assert dav.proppatch("/f", COLOUR).status == 207
        token = dav.lock("/f", Timeout="Second-3600").token
        options = ["--directory", str(one.root), "--state", str(one.state)]
        assert main(["state", "backup", str(file), *options]) == 0
        assert dav("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 204  # after it, and not in it
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["one", "state.backup"]
    # On another machine: the files copied, and a state that there was not yet.
    two = tmp_path / "two"
    two.mkdir()
    shutil.copytree(tmp_path / "one" / "share", two / "share")
    assert main(["state", "restore", str(file), "--directory", str(two / "share"), "--state", str(two / "state")]) == 0
    assert "What was there before" not in capsys.readouterr().out
    with serving(two) as other:
        dav = other.client()
        assert dav("PUT", "/f", b"y").status == 423
        assert dav("PUT", "/f", b"y", If=f"(<{token}>)").status == 204
        assert colour(other, "/f") == ["red"]
        assert main(["state", "check", str(other.root), "--state", str(other.state)]) == 0


def test_restored_beside_a_server_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "state.backup"
    with serving(tmp_path) as server:
        options = ["--directory", str(server.root), "--state", str(server.state)]
        dav, other = server.client(), server.client()
        for name in ("/f", "/g"):
            assert dav("PUT", name, b"x").status == 201
        token = dav.lock("/f", Timeout="Second-3600").token
        assert dav.proppatch("/f", COLOUR, If=f"(<{token}>)").status == 207
        assert main(["state", "backup", str(file), *options]) == 0
        assert dav("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 204
        assert dav.lock("/g").status == 200
        assert dav.proppatch("/f", COLOUR.replace("red", "blue")).status == 207
        assert main(["state", "restore", str(file), *options]) == 0
        assert f"What was there before is in {server.state}/{BEFORE}" in capsys.readouterr().out
        assert other("PUT", "/f", b"y").status == 423
        assert other("PUT", "/f", b"y", If=f"(<{token}>)").status == 204
        assert other("PUT", "/g", b"y").status == 204
        assert colour(server, "/f") == ["red"]
        assert dav.lock("/g").status == 200
        # And back again.
        assert main(["state", "restore", f"{server.state}/{BEFORE}", *options]) == 0
        assert other("PUT", "/f", b"z").status == 204
        assert colour(server, "/f") == ["blue"]


@pytest.mark.slow
def test_what_another_server_backed_up_is_restored_beside_one_at_work(tmp_path: Path) -> None:
    """It stays the state that its workers work on: one that is replaced starts."""
    file, one = str(tmp_path / "state.backup"), tmp_path / "one"
    one.mkdir()
    with serving(one) as other:
        assert other.client().lock("/f").status == 201
        back_up(str(other.state), file)
    with serving(tmp_path) as server:
        restore(str(server.state), file)
        assert server.client()("PUT", "/f", b"x").status == 423
        settings = Settings(shares={"/": {"directory": str(server.root)}}, durability="relaxed")
        with ExitStack() as stack:
            open_app(settings, str(server.state), stack, working=False)
        where = ["--directory", str(server.root), "--state", str(server.state)]
        assert main(["maintenance", "on", "/g", "--reason", "r", *where]) == 0


def test_under_load_every_backup_is_of_one_moment(tmp_path: Path) -> None:
    """Each writer takes a lock and sets a property in turn, so at any moment each has one of them or both."""
    with Process(tmp_path) as server:
        stop, wrong = threading.Event(), []

        def write(number: int) -> None:
            dav = server.client()
            path = f"/f{number}"
            dav("PUT", path, b"x")
            while not stop.is_set():
                lock = dav.lock(path)
                done = dav.proppatch(path, COLOUR, If=f"(<{lock.token}>)").status
                end = dav("UNLOCK", path, Lock_Token=f"<{lock.token}>").status
                if (lock.status, done, end) != (200, 207, 204):
                    wrong.append((lock.status, done, end))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for round_ in range(5):
            back_up(str(server.state), str(tmp_path / f"backup-{round_}"))
            copy = tmp_path / f"restored-{round_}"
            assert not restore(str(copy), str(tmp_path / f"backup-{round_}"))
            state = SqliteState(str(copy), durable=False)
            assert state.query("PRAGMA integrity_check") == [("ok",)]
            held = state.query("SELECT count(*) FROM locks WHERE ended IS NULL")[0][0]
            assert held == state.query("SELECT coalesce(sum(held), 0) FROM holders")[0][0]
            state.close()
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert server.stop() == 0


def test_what_cannot_be_restored_changes_nothing(tmp_path: Path) -> None:
    folder, file = tmp_path / "state", tmp_path / "file"
    folder.mkdir()
    SqliteState(str(folder), durable=False).close()
    before = (folder / "state.db").read_bytes()

    def refused(said: str) -> None:
        with pytest.raises(StateError, match=said):
            restore(str(folder), str(file))
        assert (folder / "state.db").read_bytes() == before
        assert not (folder / BEFORE).exists()

    refused("cannot be restored: unable to open")
    file.write_bytes(b"no database at all, but long enough to be one" * 100)
    refused("file is not a database")
    file.unlink()
    sqlite3.connect(file).close()
    refused("is no state of davserver's")
    file.unlink()
    back_up(str(folder), str(file))
    other = sqlite3.connect(file)
    other.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    other.close()
    refused("is of a newer davserver")
    file.unlink()
    back_up(str(folder), str(file))
    pages = bytearray(file.read_bytes())
    whole = bytes(pages)
    pages[4096 * 3 : 4096 * 6] = os.urandom(4096 * 3)
    file.write_bytes(pages)
    refused("is damaged|malformed")
    file.write_bytes(whole[:2048] + os.urandom(2048) + whole[4096:])  # one page, of a table
    refused("is damaged")


def test_a_state_of_an_older_version_is_brought_forward(tmp_path: Path) -> None:
    file = tmp_path / "old"
    old = sqlite3.connect(file, isolation_level=None)
    for statement in MIGRATIONS[0]:
        old.execute(statement)
    old.execute("PRAGMA user_version=1")
    old.close()
    restore(str(tmp_path / "state"), str(file))
    state = SqliteState(str(tmp_path / "state"), durable=False)
    assert state.query("PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert state.query("SELECT count(*) FROM intents") == [(0,)]
    state.close()


def older(file: Path, version: int) -> None:
    """A state as a server of an older version left it, whose last lock nobody has counted."""
    old = sqlite3.connect(file, isolation_level=None)
    for migration in MIGRATIONS[:version]:
        for statement in migration:
            old.execute(statement)
    old.execute(f"PRAGMA user_version={version}")
    old.execute(
        "INSERT INTO locks (id, token, root, parent, collection, depth, scope, kind, principal, display_name, created, "
        "refreshed, client_address, client_agent, blocks_reads, ended, how) VALUES (7, 't', '/old', '/', 0, '0', "
        "'exclusive', 'write', 'bob', 'Bob', 0, 0, '', '', 0, 1, 'broken')"
    )
    old.close()


def test_who_writes_to_what_was_just_restored_finds_it_brought_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that waits in line has its turn before the restore is over."""
    older(tmp_path / "old", len(MIGRATIONS) - 1)
    with ExitStack() as stack:
        world = World(tmp_path, stack, time.time)
        assert world.lock("/before").id == 1
        replace = backup._replace

        def and_then(*arguments: object, **more: object) -> None:
            replace(*arguments, **more)  # type: ignore[arg-type]
            numbers.append(world.lock("/meanwhile").id)

        numbers: list[int] = []
        monkeypatch.setattr(backup, "_replace", and_then)
        assert restore(str(world.folder), str(tmp_path / "old"))
        numbers += [world.lock("/f").id, world.lock("/g").id]
        assert numbers == [8, 9, 10]
        assert world.state.query("SELECT lock_id FROM progress") == [(10,)]
        assert sorted(os.listdir(world.folder)) == [
            BEFORE, "gate", "state.db", "state.db-shm", "state.db-wal", "writers"
        ]  # fmt: skip


def test_where_it_cannot_be_written_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "share").mkdir()
    options = ["--directory", str(tmp_path / "share"), "--state", str(tmp_path / "state")]
    assert main(["state", "backup", str(tmp_path / "file"), *options]) == 1
    assert "There is no state in" in capsys.readouterr().err
    (tmp_path / "state").mkdir()
    SqliteState(str(tmp_path / "state"), durable=False).close()
    assert main(["state", "backup", str(tmp_path / "missing" / "file"), *options]) == 1
    assert "cannot be copied to" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["share", "state"]
