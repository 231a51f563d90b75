"""LockHold: the proof that locks were checked, and are as they were found until the hold ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from davserver.protocol.locks import Claim, Lock, Principal, covers
from davserver.protocol.paths import DavPath
from davserver.storage.hold import Unproven

if TYPE_CHECKING:
    from davserver.storage.gate import Reservation
    from davserver.storage.lock_manager import LockManager


@dataclass(frozen=True, slots=True)
class View:
    """What is locked around some paths, at one moment."""

    now: float
    active: tuple[Lock, ...] = ()
    #: Locks that ended, and are remembered.
    ended: tuple[Lock, ...] = ()
    keys: frozenset[str] = field(default=frozenset(), repr=False)
    #: One of them has expired at a time that the store has not noted yet. Who acts on it must note it: the clock
    #: could jump back.
    unnoted: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing is locked there, nor was of late."""
        return not self.active and not self.ended

    def covering(self, path: DavPath) -> list[Lock]:
        """Active locks that protect `path`, of which `knows` must be true."""
        return [lock for lock in self.active if covers(lock, path)]

    def knows(self, path: DavPath) -> bool:
        return path.key in self.keys


class Unsettled(Exception):
    """Somebody who died may have left something half done about the paths of a hold, in which nobody has looked for
    it yet."""


class LockHold:
    """Reserved paths, and what was proven about them: nothing before it is entered, and nothing after it was left.
    Implements `storage.hold.Hold`."""

    def __init__(
        self,
        manager: LockManager,
        reservation: Reservation,
        reserved: tuple[DavPath, ...],
        principal: Principal,
        tokens: frozenset[str],
    ) -> None:
        self._manager = manager
        self._reservation, self._wanted = reservation, reserved
        self._reserved: tuple[DavPath, ...] = ()
        #: What others have left half done about the paths was looked for. Otherwise no lock is granted while there is
        #: anything half done at all.
        self.is_settled = True
        self._principal, self._tokens = principal, tokens
        self._proven: list[DavPath] = []
        self._trees: list[DavPath] = []

    def __enter__(self) -> LockHold:
        self._reservation.__enter__()
        self._reserved = self._wanted
        return self

    def __exit__(self, *_: object) -> None:
        self._reserved = ()
        self._proven, self._trees = [], []
        self._reservation.__exit__()

    def check(self, claim: Claim, view: View | None = None) -> None:
        """Raises Locked. Returning proves the claim's writes and trees, as far as they are reserved.

        `view`: what was seen of the claim's paths in this hold; looked at here where it is not given.
        """
        self._manager.require_passed(claim, view or self._manager.view(claim), self._principal, self._tokens)
        self._proven += (path for path in claim.writes if path in self._reserved)
        self._trees += (path for path in claim.trees if path in self._reserved)

    def settle(self, claim: Claim, view: View, forgiven: Lock | None = None) -> None:
        """After everything was checked and before anything is changed: what is changed now makes the tokens of
        ended locks worthless. One that is forgiven counts this once; if its lock only expired, it is taken anew."""
        self._manager.settle(claim, view, forgiven)

    def require(self, path: DavPath) -> None:
        if path not in self._proven and not any(tree.contains(path) for tree in self._trees):
            raise Unproven(f"the locks on {path} were not checked in this hold")

    def require_reserved(self, path: DavPath) -> None:
        if path not in self._reserved:
            raise Unproven(f"{path} is not reserved in this hold")

    def require_settled(self) -> None:
        if not self.is_settled:
            raise Unsettled
