"""SqliteState: transactions, threads, the disk, and what happens when the database is away."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from davserver.protocol.errors import InsufficientStorage, Unavailable
from davserver.storage import soundness, sqlite
from davserver.storage.log_flush import LogFlush
from davserver.storage.sqlite import SqliteState
from davserver.storage.state import StateError
from davserver.storage.wal_index import WalIndex

LATEST = "SELECT latest FROM progress"
SET = "UPDATE progress SET latest = ?"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    state = SqliteState(str(tmp_path), durable=True)
    put(state, 0)  # the first one writes the log again
    yield state
    state.close()


def put(state: SqliteState, value: int) -> None:
    with state.transaction():
        state.query(SET, (value,))


def in_thread(function: Callable[[], object]) -> list[object]:
    """What it returned or raised, on a connection of its own."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results


def test_a_transaction_happens_as_a_whole(state: SqliteState) -> None:
    with state.transaction():
        state.query(SET, (1,))
        with state.transaction():
            state.query("UPDATE progress SET latest = latest + 1")
    assert state.query(LATEST) == [(2,)]


def test_a_transaction_that_fails_leaves_nothing(state: SqliteState) -> None:
    with pytest.raises(ZeroDivisionError), state.transaction():
        state.query(SET, (1,))
        with state.transaction():
            state.query(SET, (2,))
        raise ZeroDivisionError
    assert state.query(LATEST) == [(0,)]


def test_each_thread_has_its_own_transaction(state: SqliteState) -> None:
    def add() -> None:
        for _ in range(50):
            with state.transaction():
                ((latest,),) = state.query(LATEST)
                state.query(SET, (latest + 1,))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.query(LATEST) == [(400,)]


def test_a_look_that_fails_otherwise_is_not_taken_for_a_long_one(tmp_path: Path, state: SqliteState) -> None:
    other = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN EXCLUSIVE")
    beside = sqlite3.connect(tmp_path / "other.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        state._check(beside)
    beside.close()
    other.close()


def test_a_connection_that_failed_is_not_used_again(state: SqliteState) -> None:
    before = state._connection()
    with pytest.raises(Unavailable):
        state.query("SELECT * FROM what_is_not_there")
    assert state._connection() is not before
    assert state.query("SELECT count(*) FROM progress") == [(1,)]


def open_here(folder: Path) -> int:
    """Files of the state that this process has open."""
    found = 0
    for entry in os.scandir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(entry.path).startswith(f"{folder}/state.db")
    return found


def test_threads_that_come_and_go_leave_nothing_open(tmp_path: Path, state: SqliteState) -> None:
    def many_at_once(count: int) -> None:
        together = threading.Barrier(count)

        def use() -> None:
            put(state, 1)
            assert state.query(LATEST) == [(1,)]
            together.wait(10)

        threads = [threading.Thread(target=use) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    many_at_once(sqlite._SPARE)
    before = open_here(tmp_path), len(state._connections)
    for _ in range(50):
        assert in_thread(lambda: state.query(LATEST)) == [[(1,)]]
    assert (open_here(tmp_path), len(state._connections)) == before
    for _ in range(3):
        many_at_once(5 * sqlite._SPARE)
    assert len(state._connections) == before[1]
    # SQLite closes the database itself only when nobody has a lock on it: what it keeps serves the next connection.
    assert open_here(tmp_path) <= before[0] + 4 * sqlite._SPARE
    put(state, 2)
    assert state.query(LATEST) == [(2,)]


def test_what_a_thread_had_of_a_database_that_was_replaced_serves_nobody(tmp_path: Path, state: SqliteState) -> None:
    put(state, 1)
    state.query("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(tmp_path / "state.db", tmp_path / "copy")
    put(state, 2)
    replaced, looked = threading.Event(), threading.Event()

    def use() -> list[tuple[object, ...]]:
        found = state.query(LATEST)
        looked.set()
        replaced.wait(10)
        return found

    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(use()))
    thread.start()
    assert looked.wait(10)
    assert in_thread(lambda: state.query(LATEST)) == [[(2,)]]  # one that is spare, of the first database
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    (tmp_path / "copy").rename(tmp_path / "state.db")
    put(state, 3)
    replaced.set()
    thread.join()
    assert results == [[(2,)]]
    assert in_thread(lambda: state.query(LATEST)) == [[(3,)]]
    assert in_thread(lambda: put(state, 4)) == [None]
    assert len(state._connections) == 2


def test_a_database_that_goes_as_it_is_found_is_away(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = state._connection()
    monkeypatch.setattr(state._place, "in_place", lambda: None)
    with pytest.raises(Unavailable):
        state._adopt(connection)


def test_a_fault_of_ours_is_no_trouble_of_the_state(state: SqliteState) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        put(state, None)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.ProgrammingError):
        state.query(LATEST, (1,))
    put(state, 1)


def test_it_may_be_closed_twice(tmp_path: Path) -> None:
    state = SqliteState(str(tmp_path), durable=True)
    put(state, 1)
    state.close()
    state.close()


# --- the disk


def test_what_is_committed_is_on_the_disk_before_it_is_acknowledged(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = os.stat(state._path + "-wal")
    flushed: list[tuple[int, int]] = []

    def flush(fd: int) -> None:
        flushed.append((os.fstat(fd).st_ino, os.fstat(fd).st_size))

    monkeypatch.setattr(os, "fdatasync", flush)
    put(state, 1)
    assert flushed == [(log.st_ino, os.stat(state._path + "-wal").st_size)]
    with state.transaction():
        state.query(LATEST)
    assert len(flushed) == 1  # nothing was changed, so there is nothing to flush
    assert os.stat(state._path).st_mode & 0o077 == 0
    assert state.query("PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("before", ["nothing", "an older one", "an older one that was left open"])
def test_nobody_else_reads_what_is_in_the_state(before: str, tmp_path: Path) -> None:
    """Lock tokens. Whatever the umask, and whoever owns the folder that it lies in."""
    names = ("state.db", "state.db-wal", "state.db-shm")
    umask = os.umask(0o022)
    try:
        if before != "nothing":
            SqliteState(str(tmp_path), durable=False).close()
            for name in names if before.endswith("open") else names[:1]:
                (tmp_path / name).touch()
                (tmp_path / name).chmod(0o644)
        state = SqliteState(str(tmp_path), durable=False)
        put(state, 1)
        modes = {name: os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)}
        state.close()
    finally:
        os.umask(umask)
    assert set(names) < set(modes)
    assert set(modes.values()) == {0o600}


def test_relaxed_flushes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: pytest.fail("flushed"))
    state = SqliteState(str(tmp_path), durable=False)
    put(state, 1)
    state.close()


def test_writers_at_work_together_share_a_flush(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three commits are made while the first is being flushed: one more flush is enough for all of them."""
    begun, go_on, flushes = threading.Event(), threading.Event(), []

    def flush(fd: int) -> None:
        flushes.append(fd)
        if len(flushes) == 1:
            begun.set()
            assert go_on.wait(10)

    monkeypatch.setattr(os, "fdatasync", flush)
    asked = state._flush
    assert asked is not None
    before = asked._asked
    threads = [threading.Thread(target=put, args=(state, number)) for number in range(4)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + 10
    while asked._asked < before + 4 and time.monotonic() < deadline:
        threads[1].join(0.01)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(flushes) == 2


def test_what_may_not_be_on_the_disk_is_not_acknowledged(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(Unavailable):
            put(state, 1)
    put(state, 2)


class Disk:
    """What of the log is on it, as the kernel tells: a flush fails once, and what it should have written is then
    taken for written, though it never was."""

    def __init__(self, state: SqliteState, patch: pytest.MonkeyPatch) -> None:
        self.log = f"{state._path}-wal"
        self.content = b""
        self.fails = False
        #: Of the log: what was written to it again since the last flush that failed.
        self.again: set[int] = set()
        self.lost = False
        self._pwrite = os.pwrite
        patch.setattr(os, "fdatasync", self.flush)
        patch.setattr(os, "pwrite", self.write)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if os.fstat(fd).st_ino == os.stat(self.log).st_ino:
            assert os.pread(fd, len(data), offset) == data, "the log is SQLite's: it is only written as it is"
            self.again.update(range(offset, offset + len(data), 512))
        return self._pwrite(fd, data, offset)

    def flush(self, _: int) -> None:
        if self.fails:
            self.lost, self.again = True, set()
            raise OSError(5, "Input/output error")
        now = Path(self.log).read_bytes()
        if not self.lost or self.again >= set(range(0, len(now), 512)):
            self.content, self.lost = now, False

    def value(self, folder: Path) -> object:
        """What a server finds after a power cut."""
        folder.mkdir()
        for suffix in ("", "-wal"):
            (folder / f"state.db{suffix}").write_bytes(Path(self.log.removesuffix("-wal") + suffix).read_bytes())
        (folder / "state.db-wal").write_bytes(self.content)
        state = SqliteState(str(folder), durable=True)
        ((value,),) = state.query(LATEST)
        state.close()
        return value


def test_after_a_flush_that_failed_none_is_believed_until_the_log_is_written_anew(
    tmp_path: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk = Disk(state, patch)
        put(state, 1)
        disk.fails = True
        with pytest.raises(Unavailable):
            put(state, 2)
        ((before,),) = state.query(LATEST)
        for _ in range(2):
            with pytest.raises(Unavailable):
                put(state, 3)
            assert state.query(LATEST) == [(before,)]  # it is refused before anything is committed
        disk.fails = False
        put(state, 4)
        content = disk.content
    disk.content = content
    assert disk.value(tmp_path / "after") == 4


def test_what_failed_before_somebody_else_began_is_not_believed_either(
    tmp_path: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that starts after a flush failed, or in place of one that was killed over it: the kernel tells it
    nothing."""
    with monkeypatch.context() as patch:
        disk = Disk(state, patch)
        disk.fails = True
        with pytest.raises(Unavailable):
            put(state, 1)
        disk.fails = False
        caplog.clear()
        other = SqliteState(str(tmp_path), durable=True)
        put(other, 2)
        put(other, 3)
        content = disk.content
        other.close()
    disk.content = content
    assert disk.value(tmp_path / "after") == 3
    assert caplog.text == ""  # nothing has failed that it knows of


def test_the_log_of_another_database_is_not_believed(
    tmp_path: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(state, 1)
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    other = SqliteState(str(tmp_path), durable=True)
    with monkeypatch.context() as patch:
        disk = Disk(state, patch)
        disk.fails = True
        with pytest.raises(Unavailable):
            put(other, 2)
        disk.fails = False
        put(state, 3)
        content = disk.content
    disk.content = content
    assert disk.value(tmp_path / "after") == 3
    other.close()


def test_a_log_that_cannot_be_written_anew_lets_nothing_pass(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(Unavailable):
            put(state, 1)
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(Unavailable):
        put(state, 2)
    monkeypatch.undo()
    put(state, 3)
    assert state.query(LATEST) == [(3,)]


def test_a_flush_that_fails_is_the_failure_of_all_who_wait_for_it(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells it once: the next flush would succeed."""
    begun, go_on, calls = threading.Event(), threading.Event(), []
    flush = state._flush
    assert flush is not None
    before = flush._asked

    def fail_once(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            begun.set()
            assert go_on.wait(20)
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail_once)
    results: list[object] = []
    threads = [threading.Thread(target=lambda n=n: results.extend(in_thread(lambda: put(state, n)))) for n in (1, 2)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    while flush._asked < before + 2:  # committed, and waiting for a flush
        threads[1].join(0.01)
    go_on.set()
    for thread in threads:
        thread.join()
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert len(calls) == 1


def test_a_full_disk_is_507(state: SqliteState) -> None:
    ((pages,),) = state.query("PRAGMA page_count")
    state.query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(InsufficientStorage), state.transaction():
        for number in range(10_000):
            state.query("INSERT INTO properties VALUES (?, 'n', 'l', NULL, ?)", (f"/{number}", b"x" * 1000))
    assert state.query("SELECT count(*) FROM properties") == [(0,)]
    state.query("PRAGMA max_page_count = 1000000")
    put(state, 1)


# --- the start


def test_a_newer_database_stops_the_start(tmp_path: Path, state: SqliteState) -> None:
    state.query("PRAGMA user_version = 99")
    state.close()
    with pytest.raises(StateError, match="newer davserver"):
        SqliteState(str(tmp_path), durable=True)


def test_a_folder_that_is_none_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be written"):
        SqliteState(str(tmp_path / "missing"), durable=True)
    (tmp_path / "state.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StateError, match="cannot be opened"):
        SqliteState(str(tmp_path), durable=True)
    (tmp_path / "writers").unlink()
    (tmp_path / "writers").mkdir()
    with pytest.raises(StateError, match="cannot be opened"):
        SqliteState(str(tmp_path), durable=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="cannot be written"):
        SqliteState(str(tmp_path), durable=True)


def fill(state: SqliteState) -> None:
    with state.transaction():
        for number in range(2000):
            state.query("INSERT INTO properties VALUES (?, 'n', 'l', NULL, ?)", (f"/{number}", b"x" * 500))
    state.query("PRAGMA wal_checkpoint(TRUNCATE)")


def damage(file: Path) -> None:
    with open(file, "r+b") as opened:
        opened.seek(4096 * 20)
        opened.write(os.urandom(4096 * 40))


def test_a_damaged_database_stops_the_start(tmp_path: Path, state: SqliteState) -> None:
    fill(state)
    state.close()
    damage(tmp_path / "state.db")
    with pytest.raises(StateError, match=r"is damaged|malformed"):
        SqliteState(str(tmp_path), durable=True)


def test_a_look_at_a_large_database_ends_in_time(
    tmp_path: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(state)
    monkeypatch.setattr(soundness, "CHECK_SECONDS", -1.0)
    caplog.set_level("INFO", "davserver")
    monkeypatch.setattr(soundness, "CHECK_STEPS", 10)
    again = SqliteState(str(tmp_path), durable=True)
    assert "only a part" in caplog.text
    assert again.query("SELECT count(*) FROM properties") == [(2000,)]
    again.close()


def test_what_else_goes_wrong_at_the_start_is_told(tmp_path: Path, state: SqliteState) -> None:
    """A table that is not ours, under the name of one that is."""
    with state.transaction():
        state.query("ALTER TABLE progress RENAME COLUMN latest TO other")
    state.close()
    with pytest.raises(StateError, match="cannot be opened"):
        SqliteState(str(tmp_path), durable=True)


def test_who_owes_waits_for_the_disk_before_he_tells(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []
    took: list[float] = []
    monkeypatch.setattr(os, "fdatasync", flushes.append)
    state.took = took.append

    def owing(number: int) -> Callable[[], None] | None:
        state.owe()
        with state.transaction(owed=True):
            state.query("UPDATE progress SET fence = ?", (number,))
        return state.owed()

    first = owing(1)
    state.owe()  # an answer within another one, which takes over what the outer one owes
    second = owing(2)
    assert state.owed() is None
    assert (first is None, second is None, flushes, took) == (False, False, [], [])
    assert first is not None
    assert second is not None
    second()
    first()
    assert (len(flushes), len(took)) == (1, 2)
    state.owe()
    put(state, 1)  # it does not say that it may be owed
    assert state.owed() is None
    with state.transaction(owed=True):  # nobody sees to it
        state.query("UPDATE progress SET fence = 3")
    assert len(flushes) == 3


def test_who_found_it_done_waits_as_well(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    """An UNLOCK that comes twice: what the first one released may not be on the disk when the second is answered."""
    flushes: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushes.append)

    def owing(sql: str) -> Callable[[], None] | None:
        state.owe()
        with state.transaction(owed=True):
            state.query(sql)
        return state.owed()

    first = owing("UPDATE progress SET fence = 1 WHERE fence = 0")
    (second,) = in_thread(lambda: owing("UPDATE progress SET fence = 1 WHERE fence = 0"))
    assert callable(second)
    assert flushes == []
    second()
    assert len(flushes) == 1
    assert first is not None
    first()
    assert len(flushes) == 1


def test_a_fault_of_ours_is_no_trouble_of_the_database(state: SqliteState) -> None:
    with pytest.raises(sqlite3.IntegrityError), state.transaction():
        state.query("INSERT INTO progress (id, latest, lock_id, fence) VALUES (2, 0, 0, 0)")


# --- the database is away while the server runs


def test_a_database_that_somebody_else_holds_is_503(
    tmp_path: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    state.query("PRAGMA busy_timeout = 50")
    with pytest.raises(Unavailable), state.transaction():
        raise AssertionError("nobody gets here")
    assert state.query(LATEST) == [(0,)]  # reading goes on
    other.execute("COMMIT")
    other.close()
    put(state, 1)
    assert state.query(LATEST) == [(1,)]


@pytest.mark.slow
def test_many_writers_do_not_wait_one_after_the_other_for_somebody_else(tmp_path: Path, state: SqliteState) -> None:
    """Two processes, six threads each: all are refused while the database is held, none later than in 5 s."""
    second = SqliteState(str(tmp_path), durable=True)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    took: list[float] = []

    def write(each: SqliteState) -> None:
        since = time.monotonic()
        with pytest.raises(Unavailable):
            put(each, 1)
        took.append(time.monotonic() - since)

    threads = [threading.Thread(target=write, args=(each,)) for each in (state, second) * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 12
    assert max(took) < 5
    other.execute("COMMIT")
    other.close()
    put(state, 1)
    put(second, 2)
    second.close()


def test_a_database_that_is_taken_away_is_503_until_it_is_back(tmp_path: Path, state: SqliteState) -> None:
    put(state, 1)
    away = tmp_path / "away"
    away.mkdir()
    for file in tmp_path.glob("state.db*"):
        shutil.move(file, away)
    with pytest.raises(Unavailable):
        put(state, 2)
    with pytest.raises(Unavailable):
        state.query(LATEST)
    (result,) = in_thread(lambda: put(state, 2))
    assert isinstance(result, Unavailable)
    assert list(tmp_path.glob("state.db*")) == []  # nobody made a new one in its place
    for file in away.iterdir():
        shutil.move(file, tmp_path)
    assert state.query(LATEST) == [(1,)]
    put(state, 2)
    assert in_thread(lambda: state.query(LATEST)) == [[(2,)]]


def test_a_database_that_is_deleted_is_503(tmp_path: Path, state: SqliteState) -> None:
    """What is still open would answer; but a server that starts now sees nothing of it."""
    put(state, 1)
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    with pytest.raises(Unavailable):
        put(state, 2)


def test_a_log_that_is_deleted_is_noticed(tmp_path: Path, state: SqliteState) -> None:
    put(state, 1)
    (tmp_path / "state.db-wal").unlink()
    for _ in range(2):
        with pytest.raises(Unavailable):
            put(state, 2)


def test_a_copy_that_is_put_back_is_used(tmp_path: Path, state: SqliteState) -> None:
    put(state, 1)
    state.query("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(tmp_path / "state.db", tmp_path / "copy")
    put(state, 2)
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    (tmp_path / "copy").rename(tmp_path / "state.db")
    with state.transaction():
        assert state.query(LATEST) == [(1,)]
        state.query(SET, (3,))
    assert in_thread(lambda: state.query(LATEST)) == [[(3,)]]


@pytest.mark.parametrize("fails", ["the index", "the log", "the folder"])
def test_a_copy_that_cannot_be_used_at_first_is_used_later(
    fails: str, tmp_path: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left, in the middle of it: nothing of the database that was replaced is used any more."""
    put(state, 1)
    state.query("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(tmp_path / "state.db", tmp_path / "copy")
    put(state, 2)
    assert state.query(LATEST) == [(2,)]  # which is remembered
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    (tmp_path / "copy").rename(tmp_path / "state.db")

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(sqlite, "_LOOK_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        if fails == "the index":
            patch.setattr(WalIndex, "of", fail)
        elif fails == "the log":
            patch.setattr(LogFlush, "open", fail)
        else:
            patch.setattr(os, "fsync", fail)
        for _ in range(3):
            with pytest.raises(Unavailable):
                state.query(LATEST)
            with pytest.raises(Unavailable):
                put(state, 5)
        assert len(state._connections) == 0
    assert state.query(LATEST) == [(1,)]
    put(state, 3)
    assert state.query(LATEST) == [(3,)]
    assert state._flush is not None
    assert os.fstat(state._flush._fd).st_ino == os.stat(f"{state._path}-wal").st_ino
    other = SqliteState(str(tmp_path), durable=True)
    put(other, 4)
    assert state.query(LATEST) == [(4,)]
    other.close()


def test_its_successor_keeps_its_log(tmp_path: Path) -> None:
    """SQLite knows a log by its name: closing the database that was replaced must not remove the other's."""
    state = SqliteState(str(tmp_path), durable=True)
    put(state, 1)
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    other = SqliteState(str(tmp_path), durable=True)
    put(other, 5)
    state.close()
    third = SqliteState(str(tmp_path), durable=True)
    assert third.query(LATEST) == [(5,)]
    third.close()
    other.close()


def test_a_commit_that_fails_is_refused_and_nothing_has_happened(state: SqliteState) -> None:
    put(state, 1)

    def forbid(action: int, what: str | None, *_: object) -> int:
        is_commit = action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT"
        return sqlite3.SQLITE_DENY if is_commit else sqlite3.SQLITE_OK

    state._local.connection.set_authorizer(forbid)
    with pytest.raises(Unavailable):
        put(state, 2)
    assert state.query(LATEST) == [(1,)]
    put(state, 3)  # on another connection, the one that failed is not trusted any more
    assert state.query(LATEST) == [(3,)]


def test_a_change_tells_how_many_rows_it_was(state: SqliteState) -> None:
    change = "UPDATE progress SET latest = ? WHERE latest <> ?"
    with state.transaction():
        assert state.change(change, (1, 1)) == 1
        assert state.change(change, (1, 1)) == 0
        with pytest.raises(sqlite3.IntegrityError):
            state.change("UPDATE progress SET latest = ?", (None,))
    with pytest.raises(Unavailable), state.transaction():
        state.change("UPDATE what_is_not_there SET latest = ?", (1,))
    assert state.query(LATEST) == [(1,)]


def test_a_connection_in_a_transaction_serves_no_other_thread(state: SqliteState) -> None:
    def begin() -> sqlite3.Connection:
        state.query(LATEST)
        connection: sqlite3.Connection = state._local.connection
        connection.execute("BEGIN IMMEDIATE")
        return connection

    (left,) = in_thread(begin)
    assert left not in state._spare
    put(state, 7)
    assert state.query(LATEST) == [(7,)]


def test_where_nothing_has_to_last_nothing_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    relaxed = SqliteState(str(tmp_path), durable=False)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    relaxed.owe()
    with relaxed.transaction(owed=True):
        relaxed.query("UPDATE progress SET latest = 2")
    assert relaxed.owed() is None
    relaxed._flush_now()
    relaxed.close()
    assert flushed == []


def test_nothing_more_happens_in_a_transaction_that_has_failed(state: SqliteState) -> None:
    """Whoever goes on although a statement was refused changes nothing by it."""
    put(state, 1)
    with pytest.raises(Unavailable), state.transaction():
        with pytest.raises(Unavailable):
            state.query("UPDATE what_is_not_there SET latest = 2")
        with pytest.raises(Unavailable):
            state.query("UPDATE progress SET latest = 3")
        with pytest.raises(Unavailable):
            state.change("UPDATE progress SET latest = ?", (4,))
    assert state.query(LATEST) == [(1,)]
    put(state, 5)
    assert state.query(LATEST) == [(5,)]


def test_one_of_another_version_is_not_used(tmp_path: Path, state: SqliteState) -> None:
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    other = sqlite3.connect(tmp_path / "state.db")
    other.execute("PRAGMA user_version = 99")
    other.execute("CREATE TABLE progress (latest)")
    other.close()
    with pytest.raises(Unavailable, match="another version"):
        put(state, 1)


@pytest.mark.parametrize("where", [0, 1])
def test_a_damaged_database_is_503_until_it_is_mended(where: int, tmp_path: Path, state: SqliteState) -> None:
    fill(state)
    whole = (tmp_path / "state.db").read_bytes()
    with open(tmp_path / "state.db", "r+b") as file:
        file.seek(where * 4096)
        file.write(os.urandom(len(whole) - where * 4096))
    count = "SELECT count(*) FROM properties WHERE xml IS NOT NULL"
    for _ in range(3):
        (result,) = in_thread(lambda: state.query(count))
        assert isinstance(result, Unavailable)
    open_connections = len(state._connections)
    for _ in range(5):
        in_thread(lambda: put(state, 2))
    assert len(state._connections) <= open_connections  # those that failed were closed
    with open(tmp_path / "state.db", "r+b") as file:
        file.write(whole)
    assert in_thread(lambda: state.query(count)) == [[(2000,)]]
    put(state, 2)
    assert state.query(LATEST) == [(2,)]
