"""App passwords: one for each device or program of a user, which can be taken away by itself.

One may be narrower than its user (a path, reading only) and may end by itself. It is long and made by chance, so one
SHA-256 of it is enough to keep: nobody guesses what was hashed, and a login costs no argon2.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from davserver.access.permissions import Scoped
from davserver.protocol.errors import BadRequest, InsufficientStorage, NotFound, Unavailable
from davserver.protocol.messages import Permissions, Reach
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage.state import State

#: Seconds between two notes of when it was last used.
NOTED_SECONDS = 60.0
#: Of one user.
MOST = 100
#: Characters of a name.
NAME_LIMIT = 100

_PREFIX = "davp"
#: No letters that are taken for others; 26 of 5 bits each are 130 bits.
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_LENGTH = 26
_COLUMNS = "id, user, name, scope, read_only, created, expires, used, used_from"


@dataclass(frozen=True, slots=True)
class AppPassword:
    """What is known of one: all but itself."""

    id: int
    user: str
    name: str
    scope: DavPath
    read_only: bool
    created: float
    expires: float | None
    used: float | None
    used_from: str | None

    def is_valid(self, now: float) -> bool:
        return self.expires is None or now < self.expires


class InUse:
    """An app password that somebody has logged in with."""

    def __init__(self, state: State, password: AppPassword) -> None:
        self._state, self._password = state, password
        self._noted = float("-inf")

    @property
    def until(self) -> float:
        return float("inf") if self._password.expires is None else self._password.expires

    @property
    def reach(self) -> Reach:
        if self._password.read_only:
            return Reach.READING
        return Reach.DEVICE if self._password.scope.is_root else Reach.PART

    def narrowed(self, permissions: Permissions) -> Permissions:
        password = self._password
        if self.reach is Reach.DEVICE:
            return permissions
        return Scoped(permissions, password.scope, password.read_only)

    def touch(self, now: float, address: str) -> None:
        """It is used. Written down once a minute, whichever worker comes first."""
        if 0 <= now - self._noted < NOTED_SECONDS:
            return
        self._noted = now
        with suppress(Unavailable, InsufficientStorage), self._state.transaction():
            self._state.query(
                "UPDATE app_passwords SET used = ?, used_from = ? WHERE id = ? "
                "AND (used IS NULL OR used NOT BETWEEN ? AND ?)",
                (now, address, self._password.id, now - NOTED_SECONDS + 1, now),
            )


class AppPasswords:
    """Those of all users of one state. Everything raises Unavailable where that is away."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._changes: int | None = None

    def create(
        self,
        user: str,
        name: str,
        now: float,
        *,
        scope: DavPath = ROOT,
        read_only: bool = False,
        expires: float | None = None,
    ) -> tuple[AppPassword, str]:
        """A new one, and the password itself, which is never told again. Raises BadRequest, InsufficientStorage."""
        name = name.strip()
        if not name or len(name) > NAME_LIMIT or not name.isprintable():
            raise BadRequest(f"Name the device or program: one line of at most {NAME_LIMIT} characters.")
        if expires is not None and expires <= now:
            raise BadRequest("It would have ended before it begins.")
        letters = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        with self._state.transaction():
            ((count,),) = self._state.query("SELECT count(*) FROM app_passwords WHERE user = ?", (user,))
            if count >= MOST and not self._forget_ended(user, now):
                raise BadRequest(f"{user} has {MOST} app passwords already; revoke some of them first.")
            rows = self._state.query(
                "INSERT INTO app_passwords (user, name, hash, scope, read_only, created, expires) "  # noqa: S608
                f"VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
                (user, name, _hash(letters), scope.key, int(read_only), now, expires),
            )
        return _row(rows[0]), "-".join([_PREFIX, *(letters[at : at + 5] for at in range(0, _LENGTH, 5))])

    def _forget_ended(self, user: str, now: float) -> bool:
        """Make room. Those that have ended are shown for as long as there is."""
        ended = self._state.query(
            "DELETE FROM app_passwords WHERE user = ? AND expires <= ? RETURNING id",
            (user, now),
        )
        return bool(ended)

    def list(self, user: str | None = None) -> list[AppPassword]:
        """Of one user, or of all; the oldest first. Those that have ended are among them."""
        rows = self._state.query(
            f"SELECT {_COLUMNS} FROM app_passwords WHERE ? IN (user, '') ORDER BY user, id",  # noqa: S608
            (user or "",),
        )
        return [_row(row) for row in rows]

    def find(self, number: int, user: str | None = None) -> AppPassword:
        """The one of that number. `user`: only if it is theirs. Raises NotFound."""
        rows = self._state.query(
            f"SELECT {_COLUMNS} FROM app_passwords WHERE id = ? AND ? IN (user, '')",  # noqa: S608
            (number, user or ""),
        )
        if not rows:
            raise _none(number)
        return _row(rows[0])

    def revoke(self, number: int, user: str | None = None) -> AppPassword:
        """Take it away; every worker forgets it within a second. `user`: only if it is theirs. Raises NotFound."""
        with self._state.transaction():
            rows = self._state.query(
                f"DELETE FROM app_passwords WHERE id = ? AND ? IN (user, '') RETURNING {_COLUMNS}",  # noqa: S608
                (number, user or ""),
            )
        if not rows:
            raise _none(number)
        return _row(rows[0])

    def revoke_all(self, user: str) -> int:
        """All of a user's; how many there were."""
        with self._state.transaction():
            return len(self._state.query("DELETE FROM app_passwords WHERE user = ? RETURNING id", (user,)))

    # --- for logins

    def login(self, name: str, password: str, now: float) -> InUse | None:
        """None: it is no app password of that user. What does not look like one is not even asked for."""
        letters = _letters_of(password)
        if letters is None:
            return None
        rows = self._state.query(
            f"SELECT {_COLUMNS} FROM app_passwords WHERE hash = ? AND user = ?",  # noqa: S608
            (_hash(letters), name),
        )
        found = [_row(row) for row in rows]
        return InUse(self._state, found[0]) if found and found[0].is_valid(now) else None

    def changed(self) -> bool:
        """Has one been made or revoked since this was asked last? Where the state is away nobody can tell."""
        try:
            ((number,),) = self._state.query("SELECT number FROM access_changes")
        except Unavailable:
            if self._changes is None:
                self._changes = -1  # who logs in before the first number is known is not known for it
            return False
        before, self._changes = self._changes, number
        return before is not None and before != number


def _letters_of(password: str) -> str | None:
    """People type it with and without the dashes."""
    plain = password.replace("-", "").replace(" ", "").lower()
    letters = plain.removeprefix(_PREFIX)
    if not plain.startswith(_PREFIX) or len(letters) != _LENGTH or set(letters) - set(_LETTERS):
        return None
    return letters


def _none(number: int) -> NotFound:
    return NotFound(f"There is no app password {number}.")


def _hash(letters: str) -> bytes:
    return hashlib.sha256(letters.encode()).digest()


def _row(row: tuple[Any, ...]) -> AppPassword:
    number, user, name, scope, read_only, created, expires, used, used_from = row
    return AppPassword(number, user, name, DavPath.from_key(scope), bool(read_only), created, expires, used, used_from)
