"""Files of accounts: htpasswd and htdigest of Apache, and the one that `davserver user` keeps.

Each is read again when it has changed. One that cannot be read any more, or makes no sense, leaves things as they were:
nobody who writes a file in two steps locks everybody out in between.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping

from davserver.access.accounts import Account, Algorithm, DigestSecret
from davserver.access.hashes import PasswordHash
from davserver.names import require_user_name

_log = logging.getLogger("davserver")

#: The text of a file → its accounts by name. Raises ValueError, whose message is for the operator.
Parse = Callable[[str], Mapping[str, Account]]


class AccountFile:
    """An `AccountSource`. Raises OSError, ValueError when the file cannot be used at the start."""

    def __init__(self, path: str, parse: Parse) -> None:
        self._path, self._parse = path, parse
        self._signature = self._look()
        self._accounts = self._read()

    def find(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def names(self) -> Collection[str]:
        return self._accounts.keys()

    def changed(self) -> bool:
        signature = self._look()
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            self._accounts = self._read()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            _log.error("%s: its accounts stay as they were: %s", self._path, why)
            return False
        _log.info("%s: %d accounts", self._path, len(self._accounts))
        return True

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Mapping[str, Account]:
        with open(self._path, encoding="utf-8") as file:
            return self._parse(file.read())


def htpasswd(text: str) -> Mapping[str, Account]:
    """Lines of "name:hash", as `htpasswd` writes them. A line that cannot be used is told of, and left out."""
    accounts = {}
    for number, (name, *rest) in _lines(text):
        try:
            require_user_name(name)
            accounts[name] = Account(name, PasswordHash.parse(rest[0] if rest else ""))
        except ValueError as error:
            _log.warning("htpasswd, line %d: %s cannot log in: %s", number, name or "?", error)
    return accounts


def htdigest(realm: str) -> Parse:
    """Lines of "name:realm:HA1", as `htdigest` writes them (MD5), or with SHA-256. Other realms are others' business.

    A user may have a line of each kind.
    """

    def parse(text: str) -> Mapping[str, Account]:
        accounts: dict[str, Account] = {}
        for number, (name, *rest) in _lines(text):
            if len(rest) != 2 or rest[0] != realm:
                continue
            hashed = rest[1].lower()
            try:
                require_user_name(name)
                algorithm = Algorithm.of(hashed)
            except ValueError as error:
                _log.warning("htdigest, line %d: %s cannot log in: %s", number, name or "?", error)
                continue
            account = Account(name, DigestSecret(name, realm, algorithm, hashed), digests={algorithm: hashed})
            accounts[name] = accounts[name].with_(account) if name in accounts else account
        return accounts

    return parse


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip().split(":")
