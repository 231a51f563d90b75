"""The state in a SQLite database: WAL, one connection for each thread.

`durable`: a commit is on the disk before it is acknowledged (`synchronous=FULL`); otherwise it survives a
killed process but not a power cut (`NORMAL`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from davserver.protocol.errors import InsufficientStorage, Refused, Unavailable
from davserver.storage.schema import MIGRATIONS
from davserver.storage.state import StateError

#: Bytes that are kept for the write-ahead log: what it grows to before SQLite starts it over (1000 pages). So what
#: frees space (DELETE, UNLOCK) can still be written down when the disk is full.
_ROOM = 4_500_000

#: Seconds that a writer waits for another before it gives up with 503.
BUSY_SECONDS = 5.0


class SqliteState:
    """`State` in `folder`/state.db. Raises StateError when it cannot be opened or is of a newer version."""

    def __init__(self, folder: str, *, durable: bool) -> None:
        self._path = os.path.join(folder, "state.db")
        self._synchronous = "FULL" if durable else "NORMAL"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        try:
            self._create(self._connection())
            self._keep_room()
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"The state database {self._path} cannot be opened: {error}.") from error

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _refusing():
            return self._connection().execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with _refusing():
            connection = self._connection()
            outer = connection.in_transaction
            if not outer:
                connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            if not outer:
                with _refusing():
                    connection.execute("COMMIT")
        finally:
            if not outer and connection.in_transaction:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._opening:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # check_same_thread: only `close`, at the end of the server, touches another thread's connection.
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            with self._opening:
                self._connections.append(connection)
            self._local.connection = connection
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            ((version,),) = connection.execute("PRAGMA user_version").fetchall()
            if version > len(MIGRATIONS):
                raise StateError(
                    f"The state database {self._path} was written by a newer davserver (version {version}, this one "
                    f"knows {len(MIGRATIONS)}). Start that one, or choose another state folder."
                )
            for migration in MIGRATIONS[version:]:
                for statement in migration:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        os.chmod(self._path, 0o600)  # it holds lock tokens

    def _keep_room(self) -> None:
        """What lies behind the last valid frame of a log means nothing to SQLite, so zeros may lie there."""
        with suppress(OSError), open(f"{self._path}-wal", "r+b") as log:
            os.posix_fallocate(log.fileno(), 0, _ROOM)


@contextmanager
def _refusing() -> Iterator[None]:
    """SQLite's errors as refusals: nothing is ever written unchecked because the state was away."""
    try:
        yield
    except Refused:
        raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise InsufficientStorage("There is no space left for the server's state.") from error
        raise Unavailable("The server's state is not available now; nothing was changed.") from error
    except sqlite3.Error as error:
        raise Unavailable("The server's state is not available now; nothing was changed.") from error
