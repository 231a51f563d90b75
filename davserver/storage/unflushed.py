"""Unflushed: commits that nobody is told of until they are on the disk, so that several of them share one flush.

A thread says that it owes (`owe`), commits, and asks what is left to do before it tells anybody (`owed`). When that is
done, by whatever thread, the commits that others have made meanwhile are on the disk as well, and theirs is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

#: Of a thread that owes nothing yet: the number of a commit, and when its transaction began.
_NOTHING = (0, 0.0)


class Unflushed:
    """Those of one process."""

    def __init__(self, flush: Callable[[], None], took: Callable[[float], None]) -> None:
        """`flush` returns when all commits are on the disk, or raises Unavailable. `took` is told since when."""
        self._flush, self._took = flush, took
        self._local = threading.local()
        #: How many there were, and up to which of them all are known to be on the disk.
        self._commits = self._settled = 0

    def owe(self) -> None:
        """This thread tells nobody of what it commits before `owed`."""
        if getattr(self._local, "debt", None) is None:
            self._local.debt = _NOTHING

    def owed(self) -> Callable[[], None] | None:
        """What is to be called before anybody is told; None: nothing."""
        debt: tuple[int, float] | None = getattr(self._local, "debt", None)
        self._local.debt = None
        return None if debt is None or debt is _NOTHING else partial(self._settle, *debt)

    def count(self) -> int:
        """The number of a commit, by whoever has just made it and still has his turn to write."""
        self._commits += 1
        return self._commits

    def add(self, number: int, began: float) -> bool:
        """Leave the flush of that commit to this thread's `owed`. False where it owes nothing."""
        if getattr(self._local, "debt", None) is None:
            return False
        self._local.debt = number, began
        return True

    def _settle(self, number: int, began: float) -> None:
        if number > self._settled:
            covered = self._commits
            self._flush()
            self._settled = max(self._settled, covered)
        self._took(began)
