"""WalIndex, and what the state remembers by it: never older than what anybody has committed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.protocol.errors import Unavailable
from davserver.storage import remembered
from davserver.storage.sqlite import SqliteState
from davserver.storage.wal_index import WalIndex

VALID = bytes([1] * 48)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    state = SqliteState(str(tmp_path), durable=False)
    yield state
    state.close()


def executed(state: SqliteState) -> list[str]:
    """What SQLite is asked from now on."""
    statements: list[str] = []
    state._connection().set_trace_callback(statements.append)
    return statements


def latest(state: SqliteState) -> float:
    ((found,),) = state.query("SELECT latest FROM progress WHERE id = ?", (1,))
    return float(found)


@pytest.mark.parametrize(
    ("header", "is_valid"),
    [
        (VALID * 2, True),
        (VALID + bytes([2] * 48), False),  # somebody is between the two copies
        (bytes(96), False),  # nobody has made it yet
    ],
)
def test_a_header_counts_when_it_is_whole(tmp_path: Path, header: bytes, is_valid: bool) -> None:
    (tmp_path / "shm").write_bytes(header)
    index = WalIndex.of(str(tmp_path / "shm"))
    assert index.now() == (header if is_valid else None)
    index.leave()


def test_all_of_a_process_share_one_descriptor(tmp_path: Path) -> None:
    """Whoever closed one of several would take SQLite's locks away."""
    (tmp_path / "shm").write_bytes(VALID * 2)
    one, two = WalIndex.of(str(tmp_path / "shm")), WalIndex.of(str(tmp_path / "shm"))
    assert one is two
    one.leave()
    assert two.now() == VALID * 2
    two.leave()
    assert WalIndex.of(str(tmp_path / "shm")) is not one


def test_what_is_asked_again_is_not_asked_of_sqlite(state: SqliteState) -> None:
    latest(state)
    statements = executed(state)
    assert latest(state) == latest(state) == 0
    assert statements == []


def test_a_commit_is_seen_at_once(state: SqliteState) -> None:
    assert latest(state) == 0
    with state.transaction():
        state.query("UPDATE progress SET latest = 1")
        assert latest(state) == 1
    assert latest(state) == 1
    state.query("UPDATE progress SET latest = 2")  # a transaction of its own
    assert latest(state) == 2


def test_what_was_rolled_back_was_never_there(state: SqliteState) -> None:
    assert latest(state) == 0
    with pytest.raises(RuntimeError), state.transaction():
        state.query("UPDATE progress SET latest = 1")
        latest(state)
        raise RuntimeError
    assert latest(state) == 0


def test_another_state_on_the_same_folder_may_close(state: SqliteState, tmp_path: Path) -> None:
    """The locks of this one must stand: a third that came alone would take the shared memory for its own."""
    other = SqliteState(str(tmp_path), durable=False)
    latest(other)
    other.close()
    held = Path("/proc/locks").read_text().splitlines()
    inode = (tmp_path / "state.db-shm").stat().st_ino
    mine = [line for line in held if f":{inode} " in line and f" {os.getpid()} " in line]
    assert any(line.rstrip().endswith("128 128") for line in mine), held


def test_a_strangers_commit_is_seen_at_once(state: SqliteState, tmp_path: Path) -> None:
    """Whoever writes, in whatever process, by whatever program: after its commit nobody reads what was before."""
    program = (
        "import sqlite3, sys\n"
        f"db = sqlite3.connect({str(tmp_path / 'state.db')!r}, isolation_level=None, timeout=10)\n"
        "for number in range(1, 2001):\n"
        "    db.execute('UPDATE progress SET latest = ?', (number,))\n"
        "    sys.stdout.write(f'{number}\\n'); sys.stdout.flush()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout is not None
        for line in stranger.stdout:
            assert latest(state) >= int(line)
            assert latest(state) >= int(line)
    assert latest(state) == 2000


def test_after_the_log_was_carried_over_and_begun_anew(state: SqliteState, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    for number in range(1, 6):
        other.execute("UPDATE progress SET latest = ?", (number,))
        assert latest(state) == number
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert latest(state) == number
    state.close()
    other.close()


def test_large_answers_and_many_are_not_kept(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST", 10)
    for number in range(35):
        state.query("SELECT ?", (number,))
        assert len(state._remembered.answers) <= 10
    before = dict(state._remembered.answers)
    state.query("SELECT ?", ("x" * 5000,))
    state.query("SELECT value FROM json_each(?)", ("[1,2,3,4,5,6,7,8,9]",))
    assert state._remembered.answers == before


def test_without_an_index_nothing_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> WalIndex:
        raise FileNotFoundError(path)

    monkeypatch.setattr(WalIndex, "of", missing)
    with pytest.raises(Unavailable):
        SqliteState(str(tmp_path), durable=False)
