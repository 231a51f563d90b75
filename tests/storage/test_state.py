"""SqliteState: transactions, threads, and what happens when the database is away."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.protocol.errors import InsufficientStorage, Unavailable
from davserver.storage import sqlite
from davserver.storage.sqlite import SqliteState
from davserver.storage.state import StateError

LATEST = "SELECT latest FROM clock"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    state = SqliteState(str(tmp_path), durable=True)
    yield state
    state.close()


def test_a_transaction_happens_as_a_whole(state: SqliteState) -> None:
    with state.transaction():
        state.query("UPDATE clock SET latest = 1")
        with state.transaction():
            state.query("UPDATE clock SET latest = latest + 1")
    assert state.query(LATEST) == [(2,)]
    state.close()


def test_a_transaction_that_fails_leaves_nothing(state: SqliteState) -> None:
    with pytest.raises(ZeroDivisionError), state.transaction():
        state.query("UPDATE clock SET latest = 1")
        with state.transaction():
            state.query("UPDATE clock SET latest = 2")
        raise ZeroDivisionError
    assert state.query(LATEST) == [(0,)]
    state.close()


def test_each_thread_has_its_own_transaction(state: SqliteState) -> None:
    def add() -> None:
        for _ in range(50):
            with state.transaction():
                ((latest,),) = state.query(LATEST)
                state.query("UPDATE clock SET latest = ?", (latest + 1,))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.query(LATEST) == [(400,)]
    state.close()


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_durability_is_what_was_asked_for(durable: bool, level: int, tmp_path: Path) -> None:
    state = SqliteState(str(tmp_path), durable=durable)
    assert state.query("PRAGMA synchronous") == [(level,)]
    assert state.query("PRAGMA journal_mode") == [("wal",)]
    assert os.stat(tmp_path / "state.db").st_mode & 0o077 == 0
    state.close()


def test_a_newer_database_stops_the_start(tmp_path: Path, state: SqliteState) -> None:
    state.query("PRAGMA user_version = 99")
    state.close()
    with pytest.raises(StateError, match="newer davserver"):
        SqliteState(str(tmp_path), durable=True)


def test_a_folder_that_is_none_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be opened"):
        SqliteState(str(tmp_path / "missing"), durable=True)
    (tmp_path / "state.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StateError, match="cannot be opened"):
        SqliteState(str(tmp_path), durable=True)


def test_a_database_that_somebody_else_holds_is_503(
    tmp_path: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    state.query("PRAGMA busy_timeout = 50")
    with pytest.raises(Unavailable), state.transaction():
        raise AssertionError("nobody gets here")
    with pytest.raises(Unavailable):
        state.query("UPDATE clock SET latest = 1")
    assert state.query(LATEST) == [(0,)]  # reading goes on
    other.execute("COMMIT")
    other.close()
    state.query("UPDATE clock SET latest = 1")
    state.close()


def test_a_damaged_database_is_503(tmp_path: Path, state: SqliteState) -> None:
    state.query("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(tmp_path / "state.db", "r+b") as file:
        file.seek(0)
        file.write(os.urandom(os.path.getsize(tmp_path / "state.db")))
    caught: list[Unavailable] = []

    def ask() -> None:
        """On a connection of its own, which has read nothing yet."""
        try:
            state.query(LATEST)
        except Unavailable as refused:
            caught.append(refused)

    fresh = threading.Thread(target=ask)
    fresh.start()
    fresh.join()
    assert len(caught) == 1
    state.close()


def test_a_full_disk_is_507(state: SqliteState) -> None:
    ((pages,),) = state.query("PRAGMA page_count")
    state.query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(InsufficientStorage), state.transaction():
        for number in range(10_000):
            state.query("INSERT INTO properties VALUES (?, 'n', 'l', NULL, ?)", (f"/{number}", b"x" * 1000))
    assert state.query("SELECT count(*) FROM properties") == [(0,)]
    state.close()


def test_a_refusal_passes_through_unchanged() -> None:
    with pytest.raises(Unavailable, match="as it was"), sqlite._refusing():
        raise Unavailable("as it was")
