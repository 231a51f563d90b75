"""Accounts: who may log in, and with what password. Passwords are kept as argon2 hashes only."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from davserver.protocol.locks import Principal

#: Seconds that a verified login is remembered: argon2 is paid once, not with every request.
CACHE_SECONDS = 300.0
_CACHE_SIZE = 1024


def hash_password(password: str) -> str:
    """argon2id, in the PHC form that the configuration holds."""
    return PasswordHasher().hash(password)


def is_password_hash(text: str) -> bool:
    """Is this a hash that `Accounts` can verify?"""
    try:
        PasswordHasher().check_needs_rehash(text)
    except InvalidHashError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    password_hash: str
    display_name: str = ""


class Accounts:
    """Verifies logins. An unknown name costs what a wrong password costs."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self._accounts = dict(accounts)
        self._hasher = PasswordHasher()
        # Any account's parameters will do: the time it takes is what must be alike.
        example = next(iter(self._accounts.values()), None)
        self._dummy = example.password_hash if example is not None else hash_password(os.urandom(16).hex())
        self._key = os.urandom(32)
        self._verified: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._accounts)

    def verify(self, name: str, password: str, now: float) -> Principal | None:
        """The principal, or None. `now` in seconds, for the memory of verified logins."""
        account = self._accounts.get(name)
        # Keyed by a secret of this process: the memory is no table of passwords.
        message = f"{len(name)}:{name}{password}".encode("utf-8", "surrogatepass")
        known = hmac.new(self._key, message, hashlib.sha256).digest()
        if account is not None and self._verified.get(known, 0.0) > now:
            return Principal(name, account.display_name)
        right = self._is_right(self._dummy if account is None else account.password_hash, password)
        if account is None or not right:
            return None
        self._remember(known, now)
        return Principal(name, account.display_name)

    def _is_right(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password.encode("utf-8", "surrogatepass"))
        except VerificationError:
            return False

    def _remember(self, known: bytes, now: float) -> None:
        with self._lock:
            if len(self._verified) >= _CACHE_SIZE:
                self._verified = {key: end for key, end in self._verified.items() if end > now}
                while len(self._verified) >= _CACHE_SIZE:
                    self._verified.pop(next(iter(self._verified)))
            self._verified[known] = now + CACHE_SECONDS
