"""The tables of the state database, and how an older one is brought forward.

A version is the number of migrations that a database has had (`PRAGMA user_version`). One that is behind gets those
it lacks at the start, in one transaction; a migration that has been released is never changed again.

Paths are `DavPath.key`. Below "/a" is the range '/a/' <= path < '/a0', since "0" follows "/": no pattern matching,
so that "%" and "_" in names mean nothing.
"""

from __future__ import annotations

import sqlite3

from davserver.storage.state import StateError

#: Each a tuple of statements.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE locks (
            id INTEGER PRIMARY KEY,
            token TEXT NOT NULL,
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
            interval REAL,
            expires REAL,
            client_address TEXT NOT NULL,
            client_agent TEXT NOT NULL,
            reason TEXT,
            transaction_id TEXT,
            fence INTEGER,
            blocks_reads INTEGER NOT NULL,
            made TEXT,
            ended REAL,
            how TEXT,
            ended_by TEXT,
            ended_by_name TEXT,
            ended_reason TEXT,
            version TEXT,
            void INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
        # Few indexes, since each costs every LOCK a page to write. Tokens and ids are numbers that are never used
        # twice; a lock is found by where it is.
        "CREATE INDEX locks_root ON locks (root)",
        "CREATE INDEX locks_parent ON locks (parent)",
        "CREATE INDEX locks_transaction ON locks (transaction_id) WHERE transaction_id IS NOT NULL",
        "CREATE INDEX locks_blocking_reads ON locks (blocks_reads) WHERE blocks_reads = 1",
        # How many locks each principal has whose end is not noted.
        "CREATE TABLE holders (principal TEXT PRIMARY KEY, held INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        """
        CREATE TRIGGER lock_granted AFTER INSERT ON locks BEGIN
            INSERT INTO holders VALUES (NEW.principal, 1) ON CONFLICT DO UPDATE SET held = held + 1;
        END
        """,
        """
        CREATE TRIGGER lock_ended AFTER UPDATE OF ended ON locks WHEN (OLD.ended IS NULL) <> (NEW.ended IS NULL) BEGIN
            UPDATE holders SET held = held + iif(NEW.ended IS NULL, 1, -1) WHERE principal = NEW.principal;
        END
        """,
        """
        CREATE TRIGGER lock_dropped AFTER DELETE ON locks WHEN OLD.ended IS NULL BEGIN
            UPDATE holders SET held = held - 1 WHERE principal = OLD.principal;
        END
        """,
        """
        CREATE TABLE lock_events (
            id INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            what TEXT NOT NULL,
            lock_id INTEGER NOT NULL,
            root TEXT NOT NULL,
            collection INTEGER NOT NULL,
            kind TEXT NOT NULL,
            principal TEXT NOT NULL,
            display_name TEXT NOT NULL,
            expires REAL,
            reason TEXT,
            by TEXT,
            by_name TEXT
        ) STRICT
        """,
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
        # The latest time that was seen, unless the clock was set back (`jumps`: how many times). And what only ever
        # grows: the last lock's id, the last transaction's fence.
        """
        CREATE TABLE progress (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            latest REAL NOT NULL,
            jumps INTEGER NOT NULL,
            lock_id INTEGER NOT NULL,
            fence INTEGER NOT NULL
        ) STRICT
        """,
        "INSERT INTO progress VALUES (1, 0, 0, 0, 0)",
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
    (
        "CREATE TABLE identity (owner TEXT NOT NULL) STRICT",
        "INSERT INTO identity VALUES (lower(hex(randomblob(8))))",
        # The last lock event that each webhook has taken.
        "CREATE TABLE webhooks (name TEXT PRIMARY KEY, delivered INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        # What has happened to locks, for whoever watches over the server: in the row that LOCK and refresh write too.
        # An UNLOCK does not write it, and is not counted.
        "ALTER TABLE progress ADD COLUMN locked INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE progress ADD COLUMN refreshed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE progress ADD COLUMN expired INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE progress ADD COLUMN broken INTEGER NOT NULL DEFAULT 0",
        """
        CREATE TRIGGER lock_counted AFTER INSERT ON lock_events WHEN NEW.what <> 'released' BEGIN
            UPDATE progress SET
                locked = locked + (NEW.what = 'locked'), refreshed = refreshed + (NEW.what = 'refreshed'),
                expired = expired + (NEW.what = 'expired'), broken = broken + (NEW.what = 'broken');
        END
        """,
    ),
    (
        # Who guesses passwords; who, user and guess are keyed hashes.
        """
        CREATE TABLE login_failures (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            who BLOB NOT NULL,
            user BLOB NOT NULL,
            guess BLOB NOT NULL,
            pending INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX login_failures_who ON login_failures (who, at)",
        "CREATE INDEX login_failures_user ON login_failures (user, at)",
        "CREATE INDEX login_failures_at ON login_failures (at)",
        "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
        """
        CREATE TABLE app_passwords (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user TEXT NOT NULL,
            name TEXT NOT NULL,
            hash BLOB NOT NULL UNIQUE,
            scope TEXT NOT NULL,
            read_only INTEGER NOT NULL,
            created REAL NOT NULL,
            expires REAL,
            used REAL,
            used_from TEXT
        ) STRICT
        """,
        "CREATE INDEX app_passwords_user ON app_passwords (user)",
        # Grows when an app password is made or revoked: logins that are remembered are then forgotten.
        "CREATE TABLE access_changes (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL) STRICT",
        "INSERT INTO access_changes VALUES (1, 0)",
        """
        CREATE TRIGGER app_password_made AFTER INSERT ON app_passwords BEGIN
            UPDATE access_changes SET number = number + 1;
        END
        """,
        """
        CREATE TRIGGER app_password_revoked AFTER DELETE ON app_passwords BEGIN
            UPDATE access_changes SET number = number + 1;
        END
        """,
    ),
    (
        # Whatever goes with a lock that is granted or ends, the store does by itself: one statement for a LOCK, and one
        # for an UNLOCK. A lock that was released is remembered until somebody else takes its place.
        "DROP TRIGGER lock_granted",
        "DROP TRIGGER lock_ended",
        "DROP TRIGGER lock_counted",
        """
        CREATE TRIGGER lock_granted AFTER INSERT ON locks BEGIN
            UPDATE progress SET latest = max(latest, NEW.created), lock_id = NEW.id, locked = locked + 1;
            INSERT INTO holders VALUES (NEW.principal, 1) ON CONFLICT DO UPDATE SET held = held + 1;
            DELETE FROM locks
                WHERE root = NEW.root AND how = 'released' AND made IS NULL AND NEW.kind <> 'maintenance';
            INSERT INTO lock_events
                (at, what, lock_id, root, collection, kind, principal, display_name, expires, reason)
                VALUES (NEW.created, 'locked', NEW.id, NEW.root, NEW.collection, NEW.kind, NEW.principal,
                NEW.display_name, NEW.expires, NEW.reason);
        END
        """,
        # What is released after its time has expired.
        """
        CREATE TRIGGER lock_ended AFTER UPDATE OF ended ON locks WHEN (OLD.ended IS NULL) <> (NEW.ended IS NULL) BEGIN
            UPDATE holders SET held = held + iif(NEW.ended IS NULL, 1, -1) WHERE principal = NEW.principal;
            INSERT INTO lock_events
                (at, what, lock_id, root, collection, kind, principal, display_name, expires, reason, by, by_name)
                SELECT NEW.ended, iif(NEW.how = 'released' AND NEW.expires <= NEW.ended, 'expired', NEW.how), NEW.id,
                NEW.root, NEW.collection, NEW.kind, NEW.principal, NEW.display_name, NEW.expires,
                iif(NEW.ended_by IS NULL, NEW.reason, NEW.ended_reason), NEW.ended_by, NEW.ended_by_name
                WHERE NEW.ended IS NOT NULL;
        END
        """,
        """
        CREATE TRIGGER lock_counted AFTER INSERT ON lock_events WHEN NEW.what NOT IN ('locked', 'released') BEGIN
            UPDATE progress SET
                refreshed = refreshed + (NEW.what = 'refreshed'),
                expired = expired + (NEW.what = 'expired'), broken = broken + (NEW.what = 'broken');
        END
        """,
        # A server that went on with an older database, put in place of its own while it ran, did not count its locks.
        "UPDATE progress SET lock_id = max(lock_id, (SELECT coalesce(max(id), 0) FROM locks))",
    ),
)


def bring_forward(connection: sqlite3.Connection, path: str) -> None:
    """Give the database what it lacks, in one transaction. Raises StateError when it is of a newer version."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version > len(MIGRATIONS):
            raise StateError(
                f"The state database {path} was written by a newer davserver (version {version}, this one knows "
                f"{len(MIGRATIONS)}). Start that one, or choose another state folder."
            )
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
