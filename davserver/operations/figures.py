"""Figures: what each worker counts, in memory that all of them share, so that any of them can tell the sum.

A worker writes to cells of its own, and a worker that takes the place of one that died goes on with its cells: nothing
that was counted is lost. Adding to a cell is not atomic between threads, so it is done under a mutex of the worker;
nothing is awaited inside, and nobody else ever takes it.

What passes here passes with every request: counting one takes less than two microseconds and no system call.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from mmap import mmap
from threading import Lock
from typing import NamedTuple

#: As they are told; any other method of a client counts as "other".
METHODS = (
    "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "MKCOL", "DELETE", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK",
    "UNLOCK", "POST", "other",
)  # fmt: skip
#: Upper bounds in seconds; what is above the last one is counted too.
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STEP_SECONDS = (0.00001, 0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

_STATUSES = 500  # 100 to 599


class Distribution(NamedTuple):
    """How long something took: how many times up to each bound (not more), and above all; seconds in all."""

    bounds: Sequence[float]
    counts: Sequence[int]
    seconds: float


def _width(bounds: Sequence[float]) -> int:
    return len(bounds) + 2  # one for what is above the last bound, one for the sum


# Where each figure lies among the cells of a worker.
_PID, _REFUSED, _SENT, _RECEIVED = range(4)
_REQUESTS = 4
_SECONDS = _REQUESTS + len(METHODS) * _STATUSES
_GATE = _SECONDS + len(METHODS) * _width(REQUEST_SECONDS)
_STORE = _GATE + _width(STEP_SECONDS)
_CELLS = _STORE + _width(STEP_SECONDS)
_BYTES = 8
#: Of each method where its statuses lie, less the first one, and where its seconds do.
_PLACES = {
    name: (_REQUESTS + index * _STATUSES - 100, _SECONDS + index * _width(REQUEST_SECONDS))
    for index, name in enumerate(METHODS)
}
_OTHER = _PLACES["other"]
_SUM, _STEP_SUM = len(REQUEST_SECONDS) + 1, len(STEP_SECONDS) + 1


class Figures:
    """Figures of all workers; this one adds to its own."""

    def __init__(self, memory: mmap | bytearray | None = None, mine: int = 0) -> None:
        """`memory`: from `shared`; without it there is one worker. `mine`: which of them this one is."""
        self._all = memoryview(bytearray(_CELLS * _BYTES) if memory is None else memory).cast("Q")
        self._cells = self._all[mine * _CELLS : (mine + 1) * _CELLS]
        self._cells[_PID] = os.getpid()
        self._mutex = Lock()

    @staticmethod
    def shared(workers: int) -> mmap:
        """Memory for some workers, all zero. Survives a fork."""
        return mmap(-1, workers * _CELLS * _BYTES)

    # --- counting

    def count_request(self, method: str, status: int, seconds: float, sent: int, received: int) -> None:
        """A request was answered, to its last byte."""
        cells = self._cells
        statuses, place = _PLACES.get(method, _OTHER)
        with self._mutex:
            cells[statuses + status] += 1
            cells[place + bisect_left(REQUEST_SECONDS, seconds)] += 1
            cells[place + _SUM] += int(seconds * 1e9)
            if sent:
                cells[_SENT] += sent
            if received:
                cells[_RECEIVED] += received

    def count_refused(self) -> None:
        """A lock of somebody else was in the way."""
        with self._mutex:
            self._cells[_REFUSED] += 1

    def count_gate(self, seconds: float) -> None:
        """So long somebody waited until the paths of a change were his alone."""
        self._step(_GATE, seconds)

    def count_store(self, seconds: float) -> None:
        """So long a change of the state took, with its wait for a turn and for the disk."""
        self._step(_STORE, seconds)

    def _step(self, place: int, seconds: float) -> None:
        cells = self._cells
        with self._mutex:
            cells[place + bisect_left(STEP_SECONDS, seconds)] += 1
            cells[place + _STEP_SUM] += int(seconds * 1e9)

    # --- telling the sum

    @property
    def workers(self) -> list[int]:
        """Their process ids, by number; 0: it has never been there."""
        return [self._all[first + _PID] for first in self._firsts()]

    @property
    def requests(self) -> Mapping[tuple[str, int], int]:
        """By method and status, as far as there were any."""
        found = {}
        for method, name in enumerate(METHODS):
            place = _REQUESTS + method * _STATUSES
            sums = [0] * _STATUSES
            for first in self._firsts():
                row = self._all[first + place : first + place + _STATUSES]
                if any(row):
                    sums = [total + count for total, count in zip(sums, row, strict=True)]
            found.update({(name, 100 + status): count for status, count in enumerate(sums) if count})
        return found

    @property
    def seconds(self) -> Mapping[str, Distribution]:
        """By method, of those that came at all."""
        found = {
            name: self._distribution(_SECONDS + method * _width(REQUEST_SECONDS), REQUEST_SECONDS)
            for method, name in enumerate(METHODS)
        }
        return {name: distribution for name, distribution in found.items() if any(distribution.counts)}

    @property
    def gate(self) -> Distribution:
        return self._distribution(_GATE, STEP_SECONDS)

    @property
    def store(self) -> Distribution:
        return self._distribution(_STORE, STEP_SECONDS)

    @property
    def refused(self) -> int:
        return self._sum(_REFUSED)

    @property
    def sent(self) -> int:
        return self._sum(_SENT)

    @property
    def received(self) -> int:
        return self._sum(_RECEIVED)

    def _firsts(self) -> Iterator[int]:
        return iter(range(0, len(self._all), _CELLS))

    def _sum(self, place: int) -> int:
        return sum(self._all[first + place] for first in self._firsts())

    def _distribution(self, place: int, bounds: Sequence[float]) -> Distribution:
        counts = [self._sum(place + index) for index in range(len(bounds) + 1)]
        return Distribution(bounds, counts, self._sum(place + len(bounds) + 1) / 1e9)
