"""StateFiles: the files of the state database: what stands at their paths, who may read them, and room for the log."""

from __future__ import annotations

import os
from contextlib import suppress

#: Bytes kept for the log. So what frees space (DELETE, UNLOCK) can still be written down when the disk is full.
_ROOM = 4_500_000

#: Device and inode of the database, and of its log where there is one.
Identities = tuple[tuple[int, int], tuple[int, int] | None]


class StateFiles:
    """Those in one state folder."""

    def __init__(self, folder: str) -> None:
        self.database = os.path.join(folder, "state.db")
        #: SQLite's write-ahead log, and the index of it, which all connections map.
        self.log, self.index = f"{self.database}-wal", f"{self.database}-shm"

    def in_place(self) -> Identities | None:
        """What stands at the paths of the database and its log; None where there is no database."""
        database, log = _identity(self.database), _identity(self.log)
        return None if database is None else (database, log)

    def keep_private(self) -> None:
        """It holds lock tokens. SQLite gives the log and its index the mode of the database, whatever the umask."""
        with suppress(FileExistsError):
            os.close(os.open(self.database, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for path in (self.database, self.log, self.index):
            with suppress(FileNotFoundError, PermissionError):  # another account's, who has seen to it
                os.chmod(path, 0o600)

    def keep_room(self) -> None:
        """What lies behind the last valid frame of a log means nothing to SQLite, so zeros may lie there."""
        with suppress(OSError), open(self.log, "r+b") as log:
            os.posix_fallocate(log.fileno(), 0, _ROOM)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
