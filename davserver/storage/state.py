"""What the lock manager and the property store need of a database, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class StateError(Exception):
    """The state cannot be used at all; the message is for the operator and ends the start."""


class State(Protocol):
    """One database, used from any thread, shared with other processes.

    Every call raises `Unavailable` when the database cannot be reached or is damaged, and
    `InsufficientStorage` when it cannot grow.
    """

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement with `?` placeholders; its rows, which others may be given as well: nobody changes them."""

    def change(self, sql: str, parameters: Sequence[object]) -> int:
        """Within a transaction: run one statement; how many rows it has changed, without what triggers have."""

    def transaction(self, *, owed: bool = False) -> AbstractContextManager[None]:
        """What this thread does inside happens as a whole, or, when the block raises, not at all.

        An inner transaction joins the outer one. Writers of other threads and processes wait. It is on the disk at the
        end of the block; `owed`: or, where the thread says that it sees to it (`owe`), later.
        """

    def owe(self) -> None:
        """Until `owed` this thread tells nobody that something has happened."""

    def owed(self) -> Callable[[], None] | None:
        """What is to be called before anybody is told, by whatever thread: it returns when all that was `owed` is on
        the disk, and raises Unavailable when it may not be. None: nothing was. Those who wait at the same time share
        the work."""

    def before_waiting(self, call: Callable[[], None]) -> None:
        """`call` it whenever a thread is going to wait for the disk: what it has committed others see already."""

    def close(self) -> None:
        """Give the database back. Nothing may be asked afterwards."""
