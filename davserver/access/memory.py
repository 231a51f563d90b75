"""What is remembered of logins, so that a hash is not paid with every request; and of whom nobody asks again whether
they may try.

Everything is bounded, and what was remembered longest ago goes first. What is right is remembered however it is spelt:
nobody who writes one login in many ways drives out those of others, and no wrong one does.
"""

from __future__ import annotations

import os
import threading
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from davserver.access.access import Identity, Used

_REMEMBERED = 4096
#: Places of one login, from which it was right.
_PLACES = 16
_T = TypeVar("_T")


class Known(NamedTuple):
    """A login that was right."""

    identity: Identity
    #: When it must be verified again.
    until: float
    used: Used | None = None
    places: tuple[str, ...] = ()

    def seen_from(self, place: str) -> Known:
        others = [each for each in self.places if each != place]
        return self._replace(places=(*others[1 - _PLACES :], place))


class Memory:
    """Of one set of accounts. Reading takes no lock."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._changing = threading.Lock()
        #: Grows when accounts change: what was verified before is not remembered after.
        self.generation = 0
        #: By the address and the field as it was sent, or by what a proxy says.
        self.fields: dict[bytes, Known] = {}
        #: By name and password.
        self.passwords: dict[bytes, Known] = {}
        #: By address, nonce and name.
        self.sessions: dict[bytes, Known] = {}
        #: By name and password: until when they need not be verified again.
        self._wrong: dict[bytes, float] = {}

    def keyed(self, data: bytes) -> bytes:
        # Keyed by a secret of this process: the memory is no table of passwords.
        return blake2b(data, key=self._key, digest_size=24).digest()

    def put(self, memory: dict[bytes, _T], key: bytes, value: _T, generation: int) -> None:
        """Remember it in one of them. `generation`: from before it was verified."""
        with self._changing:
            if generation != self.generation:
                return
            memory.pop(key, None)
            while len(memory) >= _REMEMBERED:
                memory.pop(next(iter(memory)))
            memory[key] = value

    def put_wrong(self, key: bytes, until: float, generation: int) -> None:
        with self._changing:
            self.passwords.pop(key, None)  # it may have been right before
        self.put(self._wrong, key, until, generation)

    def is_wrong(self, key: bytes, now: float) -> bool:
        return self._wrong.get(key, now) > now

    def expire(self, *, own_passwords: bool) -> None:
        """All that is known must be verified again. `own_passwords`: also those that users log in with themselves."""
        with self._changing:
            self.generation += 1
            self.fields.clear()
            self._wrong.clear()
            for memory in self.passwords, self.sessions:
                for key, known in memory.items():
                    if own_passwords or known.used is not None:
                        memory[key] = known._replace(until=float("-inf"))
