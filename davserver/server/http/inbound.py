"""What a connection brings beyond the head: bytes that are here already, then bytes that are waited for.

A client may pause, and may be slow, within limits (`Pace`): whoever waits holds a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from davserver.server.http.bodies import NobodyToWait
from davserver.server.http.channel import BLOCK, Channel

#: Seconds between two looks at how a body comes along.
_LOOK = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a body may be."""

    #: Bytes in a second, on average. What it falls behind must never exceed `pause`.
    rate: int
    #: Seconds without a byte: Finder pauses 30 s in an upload, a phone that changes networks longer.
    pause: float


class Inbound:
    """The bytes of one request's body, read in order. Implements `bodies.Stream`."""

    __slots__ = ("_at", "_began", "_channel", "_data", "_ended", "_last", "_received", "_step_aside", "pace")

    def __init__(
        self, channel: Channel, data: bytes, *, ended: bool, pace: Pace, step_aside: Callable[[], bool]
    ) -> None:
        """`data`: what has arrived already; `ended`: nothing more will come. `step_aside` is called before a wait;
        False: nobody else would be served meanwhile."""
        self._channel = channel
        self._data, self._at = data, 0
        self._ended = ended
        self.pace = pace
        self._step_aside = step_aside
        self._began = self._last = 0.0
        self._received = 0

    @property
    def rest(self) -> bytes:
        """What arrived beyond what was read."""
        return self._data[self._at :]

    @property
    def has_arrived(self) -> bool:
        """Is there something to read at once?"""
        return self._at < len(self._data)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end of the connection. Raises TimeoutError, NobodyToWait, OSError."""
        at, data = self._at, self._data
        if at < len(data):
            self._at = min(at + size, len(data))
            return data if self._at - at == len(data) else data[at : self._at]
        return b"" if self._ended else self._more(size, whole=True)

    def readline(self, size: int) -> bytes:
        """Up to and with the next LF, at most `size` bytes; without an LF at the end of the connection."""
        while True:
            end = self._data.find(b"\n", self._at, self._at + size)
            if end >= 0:
                break
            if len(self._data) - self._at >= size or self._ended:
                end = min(self._at + size, len(self._data)) - 1
                break
            more = self._more(BLOCK, whole=False)
            self._ended = not more
            self._data, self._at = self.rest + more, 0
        line = self._data[self._at : end + 1]
        self._at = end + 1
        return line

    def _more(self, size: int, *, whole: bool) -> bytes:
        data = None if self._channel.is_bulk else self._channel.receive(size)
        if data is None:
            return self._wait(size, whole=whole)
        self._received += len(data)
        return data

    def _wait(self, size: int, *, whole: bool) -> bytes:
        if not self._step_aside():
            raise NobodyToWait("no thread can be had that waits for the body")
        pace, now = self.pace, monotonic()
        self._began = self._began or now
        self._last = now
        while True:
            data = self._channel.receive_bulk(size, min(_LOOK, pace.pause), whole=whole)
            now = monotonic()
            if data:
                self._received += len(data)
                self._last = now
            if now - self._last >= pace.pause or now - self._began > pace.pause + self._received / pace.rate:
                raise TimeoutError("the body comes too slowly")
            if data is not None:
                return data
