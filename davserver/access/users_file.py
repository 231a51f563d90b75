"""The file of users that `davserver user` keeps: YAML, as it stands below `users` in the configuration.

Who changes it takes a lock beside it and puts a whole new file in its place: a server that reads it sees the old one or
the new one, and two people who add a user at once lose neither.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import yaml

_HEAD = "# Users of davserver, kept by `davserver user`. Comments are lost when it changes the file.\n"

Users = dict[str, dict[str, Any]]


class UsersFile:
    """Raises OSError, and ValueError for a file that makes no sense."""

    def __init__(self, path: str, check: Callable[[str], object]) -> None:
        """`check` raises ValueError for a text that a server would not take."""
        self._path, self._check = path, check

    def read(self) -> Users:
        """Nothing where there is no file yet."""
        try:
            with open(self._path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return {}
        self._check(text)
        return yaml.safe_load(text) or {}

    @contextmanager
    def changing(self) -> Iterator[Users]:
        """What is made of the users inside is written at its end, or nothing where that raises."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with open(self._path + ".lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            users = self.read()
            yield users
            text = _HEAD + yaml.safe_dump(users, allow_unicode=True, sort_keys=True)
            self._check(text)
            self._replace(text)

    def _replace(self, text: str) -> None:
        temporary = f"{self._path}.{os.getpid()}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                with suppress(FileNotFoundError):
                    # The server may run as somebody else, who could read the old one.
                    was = os.stat(self._path)
                    os.fchmod(file.fileno(), was.st_mode & 0o777)
                    with suppress(PermissionError):
                        os.fchown(file.fileno(), was.st_uid, was.st_gid)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
