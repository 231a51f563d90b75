"""Backup and restore of the state, with servers at work on it, and without.

A backup is the database as it was at one moment, in one file; whoever writes meanwhile does not wait. A restore is one
transaction on the database in place: every process that serves sees either what was before or what was restored, and
nobody has to be stopped. What it replaces is kept beside it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import quote

from davserver.storage.schema import MIGRATIONS, bring_forward
from davserver.storage.sqlite import SqliteState
from davserver.storage.state import StateError
from davserver.storage.write_queue import WriteQueue

#: In the state folder: what was there before the last restore.
BEFORE = "before-restore.db"


def back_up(folder: str, target: str) -> None:
    """Write the state in `folder` to the file `target`, in place of what is there, once it is whole and on the disk.

    Raises StateError.
    """
    partial = f"{target}.part"
    with _told(f"The state cannot be copied to {target}"):
        # It holds tokens: nobody else may read it, not even while it grows.
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        try:
            with closing(_open(_database(folder), "rw")) as source, closing(_open(partial, "rw")) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, and nothing that belongs to it
                _require_sound(copy, target)
            _sync(partial)
            os.replace(partial, target)
            _sync(os.path.dirname(os.path.abspath(target)))
        finally:
            for leftover in (partial, f"{partial}-journal", f"{partial}-wal", f"{partial}-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(leftover)


def restore(folder: str, source: str) -> bool:
    """Put the state in the file `source` in place of that in `folder`. Was there one? It is kept as `BEFORE`.

    Raises StateError for what is no state, is damaged, or was written by a newer version; then nothing is changed.
    """
    with _told(f"{source} cannot be restored"), closing(_open(source, "ro")) as copy:
        _require_sound(copy, source)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        replaces = os.path.exists(_database(folder))
        if replaces:
            back_up(folder, os.path.join(folder, BEFORE))
        with closing(SqliteState(folder, durable=True)):  # while it is open, the log is not carried over
            _replace(folder, copy, keeps_owner=replaces)
    return replaces


def _replace(folder: str, copy: sqlite3.Connection, *, keeps_owner: bool) -> None:
    """Who wants to write meanwhile waits in line, and goes on with what was restored. `keeps_owner`: it stays the state
    that it was, since those at work on it have its name on their stages."""
    partial = os.path.join(folder, "restoring.db")
    with closing(_open(_database(folder), "rw")) as live, _fit_for(live, copy, partial) as fit:
        live.execute("PRAGMA synchronous=FULL")
        with closing(WriteQueue(folder)) as queue, queue.turn():
            owner = live.execute("SELECT owner FROM identity").fetchone()
            fit.backup(live)
            if keeps_owner:
                live.execute("UPDATE identity SET owner = ?", owner)


@contextmanager
def _fit_for(live: sqlite3.Connection, copy: sqlite3.Connection, partial: str) -> Iterator[sqlite3.Connection]:
    """The copy, written anew to `partial` where its pages are of another size, of which SQLite copies none, or where it
    is of an older version: who stands in line writes to it as soon as it is in place, so it is brought forward before.
    """
    ((size,),) = live.execute("PRAGMA page_size").fetchall()
    if copy.execute("PRAGMA page_size").fetchall() == [(size,)] and (
        copy.execute("PRAGMA user_version").fetchall() == [(len(MIGRATIONS),)]
    ):
        yield copy
        return
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        copy.execute(f"PRAGMA page_size={size}")
        copy.execute("VACUUM INTO ?", (partial,))
        with closing(_open(partial, "rw")) as fit:
            bring_forward(fit, partial)
            yield fit
    finally:
        for leftover in (partial, f"{partial}-journal"):
            with suppress(FileNotFoundError):
                os.unlink(leftover)


def _database(folder: str) -> str:
    return os.path.join(folder, "state.db")


def _open(path: str, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.path.abspath(path))}?mode={mode}", uri=True, timeout=10, isolation_level=None
    )


def _require_sound(connection: sqlite3.Connection, name: str) -> None:
    """Raises StateError."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not version or not {"locks", "properties"} <= tables:
        raise StateError(f"{name} is no state of davserver's.")
    if version > len(MIGRATIONS):
        raise StateError(f"{name} is of a newer davserver (version {version}, this one knows {len(MIGRATIONS)}).")
    found = connection.execute("PRAGMA quick_check(1)").fetchall()
    if found != [("ok",)]:
        raise StateError(f"{name} is damaged: {found[0][0]}.")


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(f"{what}: {error}.") from error
    except OSError as error:
        raise StateError(f"{what}: {error.strerror or error}.") from error
