"""Health: is this server alive, and is it ready to serve?

Alive is whatever answers. Ready is who could take a change now: the state store can be written, each folder that is
served is the one that was opened at the start and can be written where it should, and there is room left.

Anybody may ask, so an answer names no path, and asking often costs no more than asking once in a while.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from davserver.protocol.errors import Refused

#: Seconds for which what was found is told again.
KEEP_SECONDS = 1.0

_log = logging.getLogger("davserver")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that the server works with."""

    directory: str
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What is not as it should be, by what it is about; nothing where all is well."""

    troubles: tuple[tuple[str, str], ...] = ()

    @property
    def is_ready(self) -> bool:
        return not self.troubles

    def about(self, part: str) -> bool:
        """Is this part as it should be?"""
        return all(found != part for found, _ in self.troubles)


STATE, DATA, SPACE = "state", "data", "space"
#: What is looked at, as it is named in answers.
PARTS = (STATE, DATA, SPACE)


class Health:
    """Looks at the state and the folders of one server."""

    def __init__(
        self,
        touch_state: Callable[[], None],
        state_folder: str,
        folders: Sequence[Folder],
        *,
        free_space: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`touch_state` writes to the state, and raises a refusal when it cannot. Raises OSError when a folder is
        not there."""
        self._touch_state = touch_state
        self._state_folder = state_folder
        self._folders = [(folder, _identity(folder.directory)) for folder in folders]
        self._free_space = free_space
        self._clock = clock
        self._lock = threading.Lock()
        self._report, self._until = Report(), -1.0

    def look(self) -> Report:
        """How things are, as of `KEEP_SECONDS` ago at most. Whatever changes is logged."""
        with self._lock:
            if self._clock() >= self._until:
                before, self._report = self._report, Report(tuple(self._troubles()))
                self._until = self._clock() + KEEP_SECONDS
                for part, trouble in self._report.troubles:
                    if (part, trouble) not in before.troubles:
                        _log.error("not ready: %s", trouble)
                if before.troubles and self._report.is_ready:
                    _log.info("ready again")
            return self._report

    def _troubles(self) -> list[tuple[str, str]]:
        found = []
        try:
            self._touch_state()
        except Refused as refused:
            found.append((STATE, f"the state in {self._state_folder} cannot be written: {refused.message}"))
        for folder, identity in self._folders:
            try:
                if _identity(folder.directory) != identity:
                    found.append((DATA, f"{folder.directory} is another folder than at the start"))
                elif folder.writable:
                    try_writing(folder.directory)
            except OSError as error:
                found.append((DATA, f"{folder.directory} cannot be written: {error.strerror}"))
        written = [self._state_folder, *(folder.directory for folder, _ in self._folders if folder.writable)]
        for directory in dict.fromkeys(written):
            free = _free(directory)
            if free is not None and free < self._free_space:
                found.append((SPACE, f"{directory} has {free} bytes left"))
        return found


def try_writing(directory: str) -> None:
    """Make a file without a name, and forget it. Raises OSError."""
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        # A file system that has no files without a name; and network ones say EISDIR.
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        if not os.access(directory, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), directory) from error


def _identity(directory: str) -> tuple[int, int]:
    found = os.stat(directory)
    return found.st_dev, found.st_ino


def _free(directory: str) -> int | None:
    """Bytes; None where they cannot be told, or have no limit."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize if status.f_blocks else None
