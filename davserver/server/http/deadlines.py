"""When each connection must have got on: a heap that is told of earlier deadlines at once, of later ones never.

A connection's `deadline` moves with every request; moving an entry each time would cost more than it is worth.
An entry whose time has come is looked at again, and goes back when the deadline is later by now.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Any

from davserver.server.http.connection import DavConnection

_ENDLESS = float("inf")
#: Entries of closed connections that are let lie about before the heap is made anew.
_DEAD = 1000


class Deadlines:
    """One entry for each connection, as a rule. Used by one thread at a time."""

    def __init__(self) -> None:
        self._heap: list[list[Any]] = []
        self._order = count()
        self._dead = 0

    def watch(self, conn: DavConnection) -> None:
        """To be called when a connection begins to be polled, and when its deadline may have moved forward."""
        if conn.deadline < conn.timer:
            self.forget(conn)
            conn.timer = conn.deadline
            conn.entry = [conn.timer, next(self._order), conn]
            heapq.heappush(self._heap, conn.entry)

    def forget(self, conn: DavConnection) -> None:
        """It is watched no more."""
        if conn.entry is None:
            return
        conn.entry[2] = None
        conn.timer, conn.entry = _ENDLESS, None
        self._dead += 1
        if self._dead > max(_DEAD, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2] is not None]
            heapq.heapify(self._heap)
            self._dead = 0

    def passed(self, now: float) -> Iterator[DavConnection]:
        """Those whose deadline has passed. They are watched no more."""
        while self._heap and self._heap[0][0] <= now:
            conn = heapq.heappop(self._heap)[2]
            if conn is None:
                self._dead -= 1
                continue
            conn.timer, conn.entry = _ENDLESS, None
            if conn.deadline > now:
                self.watch(conn)
            else:
                yield conn

    def first(self) -> Iterator[DavConnection]:
        """Some of those whose time comes first, roughly in that order."""
        yield from (entry[2] for entry in self._heap[:64] if entry[2] is not None)
