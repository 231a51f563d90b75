"""Connections shared out among worker processes that listen on one socket.

All of them hear of a new connection. One that has more connections than another leaves it to that one, if that
one waits for just such news: it will be there at once. Without that the first to wake takes all, and of two cores
one idles. (A socket for each worker, by SO_REUSEPORT, would leave it to chance: four connections fall evenly to two
workers three times in eight, and those that wait at a worker that dies are lost.)
"""

from __future__ import annotations

import os
from mmap import mmap
from time import monotonic

#: What stands for a worker that is not there.
ABSENT = 2**31 - 1
#: Seconds that one connection is left to another worker before it is accepted after all.
_PATIENCE = 0.002


class Balance:
    """The connections of each worker, and which of them wait, in memory that all share."""

    def __init__(self, memory: mmap | None = None, mine: int = 0) -> None:
        """`memory`: from `shared`; without it there is one worker. `mine`: which of them this one is."""
        self._memory = memory or bytearray(8)
        self._has_left = False
        cells = memoryview(self._memory).cast("i")
        self._counts, self._waiting = cells[: len(cells) // 2], cells[len(cells) // 2 :]
        self._mine = mine
        self._is_alone = len(self._counts) == 1
        #: Since when a connection has been left to others.
        self._left = 0.0
        #: Connections to accept at a time.
        self.batch = 16 if self._is_alone else 1

    @staticmethod
    def shared(workers: int) -> mmap:
        """Memory for some workers, none of which is there yet. Survives a fork."""
        memory = mmap(-1, 2 * 4 * workers)
        for number in range(workers):
            Balance.absent(memory, number)
        return memory

    @staticmethod
    def absent(memory: mmap | bytearray, number: int) -> None:
        """A worker is not there, or not any more: nothing must be left to it."""
        cells = memoryview(memory).cast("i")
        cells[number] = ABSENT
        cells[len(cells) // 2 + number] = 0

    def leave(self) -> None:
        """This worker accepts nothing any more."""
        self._has_left = True
        Balance.absent(self._memory, self._mine)

    def tell(self, count: int) -> None:
        """So many connections has this worker."""
        if not self._has_left:
            self._counts[self._mine] = count

    def wait(self, waits: bool) -> None:
        """Whoever leads in this worker waits for news, or serves a request."""
        self._waiting[self._mine] = waits and not self._has_left

    @property
    def number(self) -> int:
        """Which of the workers this one is."""
        return self._mine

    @property
    def counts(self) -> list[int]:
        """Connections of each worker that is there."""
        return [count for count in self._counts if count != ABSENT]

    @property
    def is_my_turn(self) -> bool:
        """Is this worker to accept the connection that it heard of?"""
        if self._is_alone:
            return True
        mine = self._counts[self._mine]
        if any(waits and count < mine for waits, count in zip(self._waiting, self._counts, strict=True)):
            now = monotonic()
            self._left = self._left or now
            if now - self._left < _PATIENCE:
                os.sched_yield()
                return False
        self._left = 0.0
        return True
