"""The tables of the state database, and how an older one is brought forward.

A version is the number of migrations that a database has had (`PRAGMA user_version`). One that is behind gets those
it lacks at the start, in one transaction; a migration that has been released is never changed again.

Paths are `DavPath.key`. Below "/a" is the range '/a/' <= path < '/a0', since "0" follows "/": no pattern matching,
so that "%" and "_" in names mean nothing.
"""

from __future__ import annotations

#: Each a tuple of statements.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE locks (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            token TEXT NOT NULL UNIQUE,
            root TEXT NOT NULL,
            parent TEXT,
            collection INTEGER NOT NULL,
            depth TEXT NOT NULL,
            scope TEXT NOT NULL,
            kind TEXT NOT NULL,
            principal TEXT NOT NULL,
            display_name TEXT NOT NULL,
            owner BLOB,
            created REAL NOT NULL,
            refreshed REAL NOT NULL,
            expires REAL,
            client_address TEXT NOT NULL,
            client_agent TEXT NOT NULL,
            reason TEXT,
            transaction_id TEXT,
            blocks_reads INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX locks_root ON locks (root)",
        "CREATE INDEX locks_parent ON locks (parent)",
        """
        CREATE TABLE properties (
            path TEXT NOT NULL,
            namespace TEXT NOT NULL,
            local TEXT NOT NULL,
            parent TEXT,
            xml BLOB NOT NULL,
            PRIMARY KEY (path, namespace, local)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX properties_parent ON properties (parent)",
        """
        CREATE TABLE clock (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            latest REAL NOT NULL
        ) STRICT
        """,
        "INSERT INTO clock VALUES (1, 0)",
    ),
    (
        """
        CREATE TABLE intents (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            path TEXT NOT NULL,
            source TEXT,
            inode TEXT NOT NULL,
            other TEXT NOT NULL,
            aside TEXT NOT NULL,
            mtime_ns INTEGER NOT NULL,
            token TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE usage (
            share TEXT PRIMARY KEY,
            bytes INTEGER NOT NULL,
            moved INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
    ),
)
