"""Soundness: is a database damaged? As far as can be told in the time that a start may take."""

from __future__ import annotations

import logging
import sqlite3
import time

#: Seconds that a look at the database may take at the start. One with 100,000 locks takes 0.4.
CHECK_SECONDS = 2.0
#: Steps of SQLite's machine between two looks at the clock meanwhile.
CHECK_STEPS = 100_000

_log = logging.getLogger("davserver")


def damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with it; None: nothing that was found in time."""
    deadline = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_STEPS)
    try:
        ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        _log.info("the state database is large; only a part of it was looked through")
        return None
    finally:
        connection.set_progress_handler(None, 0)
    return None if found == "ok" else str(found)
