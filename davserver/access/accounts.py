"""Accounts: who may log in, and how that is known of them.

`AccountSource` is all that a source has to be: the settings are one, files of Apache are others. A directory
service joins as one more source, whose accounts carry a `Credential` that asks it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from davserver.access.hashes import Credential, PasswordHash, encoded, hash_password
from davserver.protocol.locks import Principal


class Algorithm(Enum):
    """What Digest hashes with (RFC 7616 §6.1), under its name in a challenge. In the order of preference."""

    SHA_256 = "SHA-256"
    MD5 = "MD5"

    def hash(self, text: bytes) -> str:
        function = hashlib.sha256 if self is Algorithm.SHA_256 else hashlib.md5
        return function(text, usedforsecurity=False).hexdigest()

    @classmethod
    def of(cls, digest: str) -> Algorithm:
        """By the length of what it makes. Raises ValueError for what is no digest of either."""
        found = {64: cls.SHA_256, 32: cls.MD5}.get(len(digest))
        if found is None or set(digest) - set("0123456789abcdef"):
            raise ValueError("no MD5 or SHA-256 in hexadecimal")
        return found


def ha1(algorithm: Algorithm, name: str, realm: str, password: str) -> str:
    """RFC 7616 §3.4.2: what is kept of a password for Digest. It is as good as the password in this realm."""
    return algorithm.hash(encoded(f"{name}:{realm}:{password}"))


@dataclass(frozen=True, slots=True)
class DigestSecret:
    """A password of which only its HA1 is known."""

    name: str
    realm: str
    algorithm: Algorithm
    hashed: str

    def matches(self, password: bytes) -> bool:
        found = self.algorithm.hash(encoded(f"{self.name}:{self.realm}:") + password)
        return hmac.compare_digest(found, self.hashed)


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    #: None: nobody logs in to it with a password; a proxy may vouch for its user.
    credential: Credential | None = None
    display_name: str = ""
    groups: frozenset[str] = frozenset()
    #: HA1 for each algorithm of Digest that it may log in with.
    digests: Mapping[Algorithm, str] = field(default_factory=dict)

    @property
    def principal(self) -> Principal:
        return Principal(self.name, self.display_name or self.name)

    def with_(self, other: Account) -> Account:
        """What one source knows, and what another one adds."""
        return Account(
            self.name,
            self.credential or other.credential,
            self.display_name or other.display_name,
            self.groups | other.groups,
            {**other.digests, **self.digests},
        )


class AccountSource(Protocol):
    def find(self, name: str) -> Account | None:
        """The account of that name, exactly. Raises nothing."""

    def changed(self) -> bool:
        """Has it changed since it was asked this last? Asked once a second at most, and may look at a disk."""

    def names(self) -> Collection[str]:
        """Of all accounts; empty where a source cannot tell."""


class Listed:
    """Accounts that are written down in the settings."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._accounts = {account.name: account for account in accounts}

    def find(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def changed(self) -> bool:
        return False

    def names(self) -> Collection[str]:
        return self._accounts.keys()


class Directory:
    """Accounts of all sources together: what an earlier source knows of somebody comes before what a later one adds.

    `groups`: members by the name of their group, beside what the accounts say themselves.
    """

    def __init__(
        self,
        sources: Iterable[AccountSource] = (),
        groups: Mapping[str, Collection[str]] | None = None,
        *,
        proxied: bool = False,
    ) -> None:
        """`proxied`: a proxy may vouch for anybody, so that logins exist without accounts."""
        self._sources = list(sources)
        self._groups = {group: frozenset(members) for group, members in (groups or {}).items()}
        self._proxied = proxied
        self._key = os.urandom(32)
        self._decoys = self._known()

    def __bool__(self) -> bool:
        """May anybody log in at all?"""
        return self._proxied or bool(self._sources)

    def find(self, name: str) -> Account | None:
        """With all of its groups. None: nobody knows it."""
        found: Account | None = None
        for source in self._sources:
            account = source.find(name)
            if account is not None:
                found = account if found is None else found.with_(account)
        return None if found is None else self._grouped(found)

    def vouched(self, name: str) -> Account:
        """The account of somebody for whom a proxy vouches; it need not be written down anywhere."""
        return self.find(name) or self._grouped(Account(name))

    def names(self) -> list[str]:
        return sorted({name for source in self._sources for name in source.names()})

    def members(self, wanted: Iterable[str]) -> frozenset[str]:
        """Names of users and @groups → names of users."""
        found = set()
        for name in wanted:
            if not name.startswith("@"):
                found.add(name)
                continue
            group = name[1:]
            found |= self._groups.get(group, frozenset())
            found |= {known for known in self.names() if group in (self.find(known) or Account(known)).groups}
        return frozenset(found)

    def groups(self) -> frozenset[str]:
        """Names of those that are written down, or that somebody who is listed is in."""
        accounts = (self.find(name) for name in self.names())
        return frozenset(self._groups).union(*(account.groups for account in accounts if account is not None))

    def changed(self) -> bool:
        """Has any source changed since this was asked last?"""
        changed = [source.changed() for source in self._sources]
        if any(changed):
            self._decoys = self._known()
        return any(changed)

    def decoy(self, name: str) -> Credential:
        """What a password is compared with where nobody has that name: it must take as long as it would if somebody
        had. Accounts may be hashed in several ways, so each unknown name gets one of theirs, always the same one."""
        if not self._decoys:
            self._decoys = [PasswordHash(hash_password(os.urandom(16).hex()))]
        chosen = hmac.digest(self._key, encoded(name), "sha256")
        return self._decoys[int.from_bytes(chosen[:8], "big") % len(self._decoys)]

    def algorithms(self) -> list[Algorithm]:
        """Of Digest: those that everybody who may use it can answer to. A client takes the first one that it knows."""
        found = [account.digests for name in self.names() if (account := self.find(name)) and account.digests]
        return [algorithm for algorithm in Algorithm if found and all(algorithm in digests for digests in found)]

    def _grouped(self, account: Account) -> Account:
        more = frozenset(group for group, members in self._groups.items() if account.name in members)
        return account.with_(Account(account.name, groups=more)) if more else account

    def _known(self) -> list[Credential]:
        found = (self.find(name) for name in self.names())
        return [account.credential for account in found if account is not None and account.credential is not None]
