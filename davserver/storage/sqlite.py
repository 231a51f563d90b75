"""The state in a SQLite database: WAL, one connection for each thread, writers in line (`write_queue`).

`durable`: a commit is on the disk before it is acknowledged. SQLite itself only writes it (`synchronous=NORMAL`,
which keeps the database whole whatever happens); what makes it last is one fdatasync of the write-ahead log
after the commit, when the next writer may go on already. So writers at work together share one, where
`synchronous=FULL` makes each of them wait for a disk of its own. Whoever reads a commit that is not on the disk
yet and builds on it waits for a later fdatasync of the same file, which covers both. Where nothing but an answer
follows, whoever gives it sees to the flush before he does (`unflushed`). Who only reads flushes nothing: a PUT of
plain content may pass because of an UNLOCK that is not on the disk yet. After a power cut that lock is there again,
whose holder was never told that it was released.

The files may be taken away while the server runs, or replaced by others. A connection to a file that is no
longer the one at its path would answer from what nobody else sees: so nobody is answered until a database is there
again, which is then used. A database is made at the start only, never in place of one that is gone. Nor is a
connection to a file that was replaced ever closed: SQLite would remove the write-ahead log of its successor, which
it knows by name. (What nothing mends but a new start is a log that was deleted from under its database.)

What was read is remembered until anybody commits anything (`wal_index`): most requests ask for what few ever change.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from urllib.parse import quote

from davserver.protocol.errors import InsufficientStorage, Refused, Unavailable
from davserver.storage.at_thread_end import AtThreadEnd
from davserver.storage.log_flush import LogFlush
from davserver.storage.remembered import Remembered, Rows, is_small
from davserver.storage.schema import MIGRATIONS, bring_forward
from davserver.storage.soundness import damage
from davserver.storage.state import StateError
from davserver.storage.state_files import Identities, StateFiles
from davserver.storage.unflushed import Unflushed
from davserver.storage.wal_index import WalIndex
from davserver.storage.write_queue import WriteQueue

#: Bytes in a page of a new database. A commit writes whole pages, and of a lock it writes half a dozen.
_PAGE = 2048
#: Bytes of pages in the write-ahead log before SQLite starts it over, which takes two flushes of the disk.
_LOG = 4_096_000
#: Seconds that whoever has the turn waits for a stranger who writes without standing in line.
BUSY_SECONDS = 2.0
#: Seconds between two looks at whether the files are still in place, for readers. Writers look every time.
_LOOK_SECONDS = 0.05
#: KiB of pages that each connection keeps: there is one for each thread, and the kernel keeps them all anyway.
_CACHE_KIB = 512
#: Connections of threads that have ended, kept for those that come. The rest of them is closed.
_SPARE = 4

_log = logging.getLogger("davserver")


class SqliteState:
    """`State` in `folder`/state.db. Raises StateError when it cannot be opened, is damaged or of a newer version."""

    def __init__(self, folder: str, *, durable: bool) -> None:
        self._place = StateFiles(folder)
        self._path = self._place.database
        self._local = threading.local()
        self._connections: set[sqlite3.Connection] = set()
        #: Those of them that no thread has now.
        self._spare: list[sqlite3.Connection] = []
        self._opening = threading.RLock()
        #: Grows whenever another database is found in place; connections of an earlier one are given up.
        self._generation = 0
        #: What is open; None while a new one is being opened.
        self._files: Identities | None = None
        self._looked = 0.0
        self._index: WalIndex | None = None
        self._remembered = Remembered(b"")
        self._flush = LogFlush(self._place.log) if durable else None
        #: Told how many seconds each change took, with its wait for a turn and for the disk.
        self.took: Callable[[float], None] = lambda _: None
        self._before_waiting: Callable[[], None] = lambda: None
        self._unflushed = Unflushed(self._flush_now, lambda began: self.took(time.perf_counter() - began))
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            who = f"uid {os.geteuid()}, gid {os.getegid()}"
            raise StateError(f"The state folder {folder} is not there or cannot be written ({who}).")
        with ExitStack() as undo:
            undo.callback(self._give_back)
            try:
                self._queue = WriteQueue(folder)
                undo.callback(self._queue.close)
                self._place.keep_private()
                # Never used again. While it is open, closing another one is not closing the last one, at which
                # SQLite would carry the log over into a database that may be damaged.
                anchor = self._connect("rwc")
                self._create(anchor)
                self._check(anchor)
                self._adopt(anchor)
                self._place.keep_room()
            except (sqlite3.Error, OSError) as error:
                raise StateError(f"The state database {self._path} cannot be opened: {error}.") from error
            undo.pop_all()

    def query(self, sql: str, parameters: Sequence[object] = ()) -> Rows:
        try:
            own: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if own is not None and own.in_transaction:
                return own.execute(sql, parameters).fetchall()
            connection = self._connection()
            if not sql.startswith(("SELECT", "WITH")):
                if getattr(self._local, "is_writing", False):
                    raise _away()  # the transaction that this belongs to has failed before, and was given up
                return connection.execute(sql, parameters).fetchall()
            return self._read(connection, sql, tuple(parameters))
        except _OUR_FAULTS:
            raise
        except sqlite3.DatabaseError as error:
            raise self._refusal_of(error) from error

    def change(self, sql: str, parameters: Sequence[object]) -> int:
        connection: sqlite3.Connection | None = self._local.connection
        if connection is None or not connection.in_transaction:
            raise _away()  # it has failed before, and was given up or rolled back
        try:
            return connection.execute(sql, parameters).rowcount
        except _OUR_FAULTS:
            raise
        except sqlite3.DatabaseError as error:
            raise self._refusal_of(error) from error

    def transaction(self, *, owed: bool = False) -> AbstractContextManager[None]:
        outer: sqlite3.Connection | None = getattr(self._local, "connection", None)
        return _JOINED if outer is not None and outer.in_transaction else _Transaction(self, owed)

    def owe(self) -> None:
        if self._flush is not None:
            self._unflushed.owe()

    def owed(self) -> Callable[[], None] | None:
        return None if self._flush is None else self._unflushed.owed()

    def before_waiting(self, call: Callable[[], None]) -> None:
        if self._flush is not None:
            self._before_waiting = call

    def close(self) -> None:
        with self._opening:
            self._give_back()
            self._queue.close()

    # --- inside

    def _flush_now(self) -> None:
        if self._flush is not None:
            self._flush.now(self._generation)

    def _give_back(self) -> None:
        """Every connection, and what the log is flushed through. Of a start that failed no files are known."""
        is_in_place = self._files is not None and self._place.in_place() == self._files
        for connection in self._connections:
            if is_in_place:
                connection.close()
            else:
                _abandon(connection)
        self._connections.clear()
        self._spare.clear()
        if is_in_place and self._index is not None:
            self._index.leave()
        self._index = None
        if self._flush is not None:
            self._flush.close()

    def _begin(self) -> sqlite3.Connection:
        """Begin to write, on the files that are in place now."""
        self._looked = 0.0
        try:
            connection = self._connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                self._queue.note_trouble()
                raise
        except sqlite3.DatabaseError as error:
            raise self._refusal_of(error) from error
        if self._flush is not None and self._flush.is_doubtful:
            try:
                self._flush.renew(self._generation)
            except BaseException:
                _roll_back(connection)
                raise
        return connection

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._refusal_of(error) from error

    def _committed(self, number: int, *, began: float, changed: bool, owed: bool) -> None:
        """Out of the turn: what is left to do of a commit before anybody is told of it."""
        if self._flush is not None:
            if owed and self._unflushed.add(number, began):
                return  # also where nothing was changed: an UNLOCK that comes twice tells of what the first one did
            if changed:
                self._before_waiting()
                self._flush_now()
        self.took(time.perf_counter() - began)

    def _read(self, connection: sqlite3.Connection, sql: str, parameters: tuple[object, ...]) -> Rows:
        """Outside of a transaction. What is remembered is what the connection would find: the index says so."""
        index, remembered, question = self._index, self._remembered, (sql, parameters)
        state = None if index is None else index.now()
        if state == remembered.state:
            known = remembered.answers.get(question)
            if known is not None:
                return known
        rows = connection.execute(sql, parameters).fetchall()
        if index is not None and state is not None and is_small(rows) and index.now() == state:
            # Nothing was committed between the two looks, so this is an answer of that very state.
            if remembered.state != state or remembered.is_full:
                remembered = self._remembered = Remembered(state)
            remembered.answers[question] = rows
        return rows

    def _connection(self) -> sqlite3.Connection:
        """This thread's, outside of a transaction, to the files in place. Raises sqlite3.Error, Unavailable."""
        local = self._local
        connection: sqlite3.Connection | None = getattr(local, "connection", None)
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        if connection is not None and local.generation == self._generation:
            return connection
        with self._opening:
            connection = self._spare.pop() if self._spare else self._connect("rw")
            local.connection, local.generation = connection, self._generation
            local.end = AtThreadEnd(partial(self._take_back, connection))
            ((page,),) = connection.execute("PRAGMA page_size").fetchall()
            connection.execute(f"PRAGMA wal_autocheckpoint={_LOG // page}")
            ((version,),) = connection.execute("PRAGMA user_version").fetchall()
            if version != len(MIGRATIONS):
                self._give_up(connection)
                raise Unavailable("The server's state was replaced by one of another version.")
            if self._files is None:
                try:
                    self._adopt(connection)
                except (Refused, sqlite3.Error):
                    self._give_up(connection)
                    raise
        return connection

    def _look(self) -> None:
        """Are the files still those that are open? Raises Unavailable when they are away."""
        found = self._place.in_place()
        if self._files is not None and found != self._files:
            with self._opening:
                if found is None or self._files is None or found[0] == self._files[0]:
                    _log.error("the state database %s, or its log, was taken away", self._path)
                    raise _away()
                _log.error("the state database %s was replaced by another one", self._path)
                self._spare.clear()
                while self._connections:
                    _abandon(self._connections.pop())
                self._generation += 1
                self._files = self._index = None
        self._looked = time.monotonic()

    def _adopt(self, connection: sqlite3.Connection) -> None:
        """What this connection has opened is what is in place."""
        connection.execute("SELECT latest FROM progress").fetchall()  # which also opens the write-ahead log
        files = self._place.in_place()
        if files is None:
            raise _away()
        try:
            if self._flush is not None:
                self._flush.open(self._generation)
            self._index = WalIndex.of(self._place.index)
        except OSError as error:
            self._generation += 1  # closing the connection removes the log that was opened
            raise _away() from error
        self._files = files
        self._looked = time.monotonic()

    def _connect(self, mode: str) -> sqlite3.Connection:
        # check_same_thread: only `close`, at the end of the server, touches another thread's connection.
        connection = sqlite3.connect(
            f"file:{quote(self._path)}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        except sqlite3.Error:  # it is no database, and nothing of it is open yet
            connection.close()
            raise
        self._connections.add(connection)
        return connection

    def _give_up(self, connection: sqlite3.Connection) -> None:
        self._local.connection = None
        self._connections.discard(connection)
        with suppress(sqlite3.Error):
            connection.close()

    def _take_back(self, connection: sqlite3.Connection) -> None:
        """The thread that had it has ended, or has another one. Those that were given up are no longer known."""
        with self._opening:
            if connection not in self._connections:
                return
            if len(self._spare) < _SPARE and not connection.in_transaction:
                self._spare.append(connection)
                return
            # The spare ones have the same file open: so this is not the last one, at which SQLite would carry the
            # log over and remove it.
            self._connections.discard(connection)
        with suppress(sqlite3.Error):
            connection.close()

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA page_size={_PAGE}")  # a database that is there already keeps its own
        connection.execute("PRAGMA journal_mode=WAL")
        with self._queue.turn():
            bring_forward(connection, self._path)

    def _check(self, connection: sqlite3.Connection) -> None:
        found = damage(connection)
        if found is not None:
            raise StateError(
                f"The state database {self._path} is damaged: {found}. Put back a copy of the state folder, or move "
                "the database away to begin without locks and properties."
            )

    def _refusal_of(self, error: sqlite3.DatabaseError) -> Refused:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return InsufficientStorage("There is no space left for the server's state.")
        _log.error("the state database %s: %s", self._path, error)
        connection = getattr(self._local, "connection", None)
        if code != sqlite3.SQLITE_BUSY and connection is not None:
            self._give_up(connection)  # what it keeps of the file is not to be trusted
        return _away()


class _Transaction:
    """See `State.transaction`."""

    __slots__ = ("_began", "_changes", "_connection", "_owed", "_state")

    def __init__(self, state: SqliteState, owed: bool) -> None:
        self._state, self._owed = state, owed

    def __enter__(self) -> None:
        state = self._state
        self._began = time.perf_counter()
        state._queue.enter()
        try:
            self._connection = connection = state._begin()
        except BaseException:
            state._queue.leave()
            raise
        self._changes = connection.total_changes
        state._local.is_writing = True

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        state, connection = self._state, self._connection
        state._local.is_writing = False
        try:
            if kind is None:
                state._commit(connection)
                changed = connection.total_changes != self._changes
                number = state._unflushed.count()
            else:
                _roll_back(connection)
        except BaseException:
            _roll_back(connection)
            raise
        finally:
            state._queue.leave()
        if kind is None:
            state._committed(number, began=self._began, changed=changed, owed=self._owed)


def _roll_back(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # one that was given up has nothing to roll back
        if connection.in_transaction:
            connection.execute("ROLLBACK")


_OUR_FAULTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError)
#: A transaction within another one.
_JOINED: AbstractContextManager[None] = nullcontext()


def _away() -> Unavailable:
    return Unavailable("The server's state is not available now; nothing was changed.")


def _abandon(connection: sqlite3.Connection) -> None:
    """Never close it, not even at the end of the process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
