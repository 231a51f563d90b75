"""Throttling: who guesses passwords is slowed down, and in the end refused for a while. All workers count together.

Each wrong login of an address is counted, and forgotten `ban_time` later. From the fifth on the next attempt must
wait, twice as long each time; after `ban_after` of them nothing is looked at until the last is forgotten. Whoever has
logged in is not stopped: their login has been right from there before, and nobody asks here.

The same wrong login again and again counts once: that is a drive that was mounted with a mistyped password, not
somebody who guesses. With Digest nobody can tell whether two wrong logins were made of the same password, not even two
with one nonce: looking at the second for free would be a free guess. So there the wrong logins of one name from one
address are taken for such a drive from the third on: the address is not blamed for more, and nobody else there is
stopped. Instead the next one of that name must wait, longer each time, until there are no more of them in `ban_time`
than an address may have before it is banned. For many names at once that does not help, and no drive begins many at
the same moment: for those the address is blamed.

An attempt is counted before it is verified and given back when it was right: so a thousand
attempts at the same moment are no way around the count.

Addresses of one IPv6 network (/64) are one. Where the address is that of a proxy nobody named, or not known, many share
it: there each user name is counted by itself. A name that is tried from many addresses is slowed down as well, from new
attempts of any address, and never for long: a right login from elsewhere must work.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from davserver.protocol.errors import InsufficientStorage, TooManyRequests, Unavailable
from davserver.storage.state import State

#: Failures after which an address waits.
SLOW_AFTER = 5
#: Wrong Digest logins of one name that its address is blamed for. Fewer than SLOW_AFTER: a drive stops nobody else.
DIGEST_BLAMED = 2
#: Those that it is not blamed for, of all names: as many times `ban_after`. One drive makes fewer than that.
DIGEST_FORGIVEN = 2
#: Seconds for which those count where many are tried at the same moment, as if their address were blamed for them.
FORGIVEN_COUNT = 60.0
#: Failures of one name, from whatever addresses, after which its next attempt waits; and the longest wait.
NAME_SLOW_AFTER = 50
NAME_LONGEST_WAIT = 30.0
#: Rows that are kept: nobody fills the disk by guessing.
_KEPT = 100_000


#: What becomes of an attempt (`pending` of its row): it was wrong; nobody knows yet; it was wrong, and its address is
#: not blamed for it.
_WRONG, _PENDING, _FORGIVEN = 0, 1, 2


class _Guess(NamedTuple):
    """`key`: of what was tried; with Digest of whose login it is meant to be."""

    key: bytes
    is_digest: bool


class Attempt:
    def __init__(self, *, is_new: bool) -> None:
        #: This very guess was not counted before; with Digest: its address may be blamed for it.
        self.is_new = is_new
        self.right = False

    def succeeded(self) -> None:
        self.right = True


class Throttle:
    """Failed logins, in the state database."""

    def __init__(
        self,
        state: State,
        *,
        ban_after: int,
        ban_time: float,
        key: bytes,
        shared: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`key`: a secret that all workers share, so that what is kept of guesses and names tells nothing. `shared`: do
        many come from that address?"""
        self._state = state
        self._ban_after, self._ban_time = ban_after, ban_time
        self._key, self._shared = key, shared

    @contextmanager
    def attempt(self, address: str, name: str, guess: bytes | None, now: float) -> Iterator[Attempt]:
        """Somebody tries to log in; inside it is found out whether they may. `guess` stands for all that they sent;
        None: with Digest, which does not tell.

        Raises TooManyRequests when it is not even to be looked at. Where the state is away nothing is counted: the
        rest of the server goes on as well.
        """
        place = None if self._shared(address) else network_of(address)
        who = self._keyed(b"who", f"\0{name}" if place is None else place)
        user = self._keyed(b"user", name)
        tried = _Guess(self._keyed(b"guess", b"\0digest\0" + user if guess is None else guess), guess is None)
        try:
            is_new = self._begin(who, user, tried, now)
        except (Unavailable, InsufficientStorage):
            yield Attempt(is_new=True)
            return
        attempt = Attempt(is_new=is_new)
        try:
            yield attempt
        finally:
            with suppress(Unavailable, InsufficientStorage), self._state.transaction():
                if attempt.right:
                    # They know the password after all: what they mistyped before is forgiven.
                    self._state.query("DELETE FROM login_failures WHERE who = ? AND user = ?", (who, user))
                elif is_new or tried.is_digest:
                    self._failed(who, tried, now, is_blamed=is_new)

    def _failed(self, who: bytes, guess: _Guess, now: float, *, is_blamed: bool) -> None:
        query = self._state.query
        outcome = _WRONG
        if not is_blamed:
            ((forgiven,),) = query(
                "SELECT count(*) FROM login_failures WHERE who = ? AND pending = ?", (who, _FORGIVEN)
            )
            if forgiven < DIGEST_FORGIVEN * self._ban_after:
                outcome = _FORGIVEN
        # Of several that were tried at the same moment with Digest each settles one, whichever: they are alike.
        query(
            "UPDATE login_failures SET pending = ? WHERE id = "
            "(SELECT max(id) FROM login_failures WHERE who = ? AND guess = ? AND pending = ?)",
            (outcome, who, guess.key, _PENDING),
        )
        ((failed,),) = query("SELECT count(*) FROM login_failures WHERE who = ? AND pending = ?", (who, _WRONG))
        if failed >= self._ban_after:
            # All are forgotten together, ban_time from now.
            query("UPDATE login_failures SET at = ? WHERE who = ?", (now, who))

    def _begin(self, who: bytes, user: bytes, guess: _Guess, now: float) -> bool:
        """Count it. Is it a new guess; with Digest: one that its address is blamed for, if it is wrong?"""
        query = self._state.query
        with self._state.transaction():
            # A clock that was set back must not leave anybody banned for longer than ban_time.
            query("UPDATE login_failures SET at = ? WHERE at > ?", (now, now))
            query("DELETE FROM login_failures WHERE at <= ?", (now - self._ban_time,))
            is_new, until = self._look(who, user, guess, now)
            if until <= now and (is_new or guess.is_digest):
                query(
                    "INSERT INTO login_failures (at, who, user, guess, pending) VALUES (?, ?, ?, ?, ?)",
                    (now, who, user, guess.key, _PENDING),
                )
                query("DELETE FROM login_failures WHERE id <= (SELECT max(id) FROM login_failures) - ?", (_KEPT,))
        if until > now:
            seconds = math.ceil(until - now)
            wait = "1 second" if seconds == 1 else f"{seconds} seconds"
            raise TooManyRequests(f"Too many logins have failed; try again in {wait}.", seconds)
        return is_new

    def _look(self, who: bytes, user: bytes, guess: _Guess, now: float) -> tuple[bool, float]:
        """Is it a new guess (with Digest: is its address blamed for it), and when may it be looked at?"""
        ((failed, pending, forgiven, last, same, blamed, settled, last_same),) = self._state.query(
            "SELECT coalesce(sum(pending = ?1), 0), coalesce(sum(pending = ?2), 0), "
            "coalesce(sum(pending = ?3 AND at > ?6), 0), max(iif(pending <> ?3, at, NULL)), "
            "coalesce(sum(guess = ?4), 0), coalesce(sum(guess = ?4 AND pending = ?1), 0), "
            "coalesce(sum(guess = ?4 AND pending <> ?2), 0), max(iif(guess = ?4, at, NULL)) "
            "FROM login_failures WHERE who = ?5",
            (_WRONG, _PENDING, _FORGIVEN, guess.key, who, now - FORGIVEN_COUNT),
        )
        until = now
        if failed >= self._ban_after:
            until = last + self._ban_time
        elif failed >= SLOW_AFTER:
            until = last + _wait(failed, self._ban_time)
        if same and not guess.is_digest:
            return False, until
        if guess.is_digest and settled >= SLOW_AFTER:
            until = max(until, last_same + _wait(settled, self._ban_time / self._ban_after))
        # Many at the same moment: first it must be known what becomes of them.
        if failed + pending + (forgiven if pending >= SLOW_AFTER else 0) >= self._ban_after:
            until = max(until, now + 1)
        ((of_name, last),) = self._state.query("SELECT count(*), max(at) FROM login_failures WHERE user = ?", (user,))
        if of_name >= NAME_SLOW_AFTER:
            until = max(until, last + _wait(of_name - NAME_SLOW_AFTER + SLOW_AFTER, NAME_LONGEST_WAIT))
        if not guess.is_digest:
            return True, until
        # Whoever tries so many at the same moment is no drive.
        under_way = same - settled
        return blamed + under_way < DIGEST_BLAMED or (under_way > 0 and same >= SLOW_AFTER), until

    def _keyed(self, kind: bytes, value: str | bytes) -> bytes:
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        return blake2b(data, key=self._key, digest_size=16, person=kind).digest()


def _wait(failed: int, longest: float) -> float:
    """Seconds: twice as long each time."""
    return min(2.0 ** min(failed - SLOW_AFTER, 60), longest)


@lru_cache(1024)
def network_of(address: str) -> str | None:
    """Where somebody comes from; None where it cannot be told, since many come from there."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback:
        return None
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
