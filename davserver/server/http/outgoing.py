"""An answer on its way out. What the socket does not take now waits here, and costs no thread."""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLOUT
from time import monotonic

from davserver.protocol.messages import FileSlice
from davserver.server.http.channel import Channel, TlsChannel, read_file

#: A file up to this size goes out with its head, in one send.
SMALL_FILE = 64 * 1024
#: Bytes that one turn sends before it looks at others.
_TURN = 4 << 20
#: A file of this size a thread sends, to a client on this machine.
_LARGE = 2 << 20
#: Seconds that it waits for room in the socket, and bytes in a second below which it leaves the client to the poll: one
#: that reads slowly, or stops, costs a thread for less than a second.
_PATIENCE = 0.1
_FAST = 10 << 20


class FileCut(OSError):
    """The file became shorter than what was announced: this connection cannot be kept."""


class Outgoing:
    """Bytes, then a part of a file."""

    __slots__ = ("_channel", "_count", "_data", "_fd", "_offset", "_part", "_step_aside")

    def __init__(self, channel: Channel, step_aside: Callable[[], bool]) -> None:
        """`step_aside` is called before a wait; False: nobody else would be served meanwhile."""
        self._channel = channel
        self._step_aside = step_aside
        self._data: memoryview | None = None
        self._fd = self._offset = self._count = 0
        #: What is being sent; None between two answers, and where an answer is bytes alone.
        self._part: FileSlice | None = None

    def put(self, data: bytes) -> bool:
        """Send, and keep what is left for `flush`. True when nothing is."""
        sent = self._channel.send(data)
        if sent == len(data):
            return True
        self._data = memoryview(data)[sent:]
        return False

    def put_file(self, head: bytes, part: FileSlice) -> bool:
        """Send a head and a part of a file, which is closed at the end. True when all of it has gone."""
        self._part, self._count = part, part.length
        if part.length <= SMALL_FILE:
            content = read_file(part.fd, part.offset, part.length)
            if len(content) != part.length:
                raise FileCut("the file was cut while it was being sent")
            whole = self.put(head + content)
            self._count = 0
            return whole and self._finish()
        self._fd, self._offset = part.fd, part.offset
        sent = self._channel.send(head, more=True)
        if sent < len(head):
            self._data = memoryview(head)[sent:]
            return False
        self._rush()
        return self.flush()

    @property
    def is_empty(self) -> bool:
        return self._data is None and self._part is None

    def flush(self, turn: int = _TURN) -> bool:
        """Send on. True when all has gone. False: the channel says what to wait for; that may be nothing, since
        one turn sends `turn` bytes of a file and no more. Raises OSError."""
        channel = self._channel
        while True:
            if self._data is not None:
                sent = channel.send(self._data)
                if sent < len(self._data):
                    self._data = self._data[sent:]
                    return False
                self._data = None
            if not self._count:
                return self._finish()
            if turn <= 0:
                channel.wants = EPOLLOUT
                return False
            if isinstance(channel, TlsChannel):
                self._data = memoryview(read_file(self._fd, self._offset, self._count))
                sent = len(self._data)
            else:
                went = channel.send_file(self._fd, self._offset, self._count)
                if went is None:
                    return False
                sent = went
            self._move(sent)
            turn -= sent

    def _rush(self) -> None:
        """Send as much as a client that is near takes without a pause."""
        channel = self._channel
        if self._count < _LARGE or not channel.is_local or not self._step_aside():
            return
        is_fast = True
        try:
            while self._count and is_fast:
                began = monotonic()
                sent = channel.send_bulk(self._fd, self._offset, self._count, _PATIENCE)
                if sent is None:
                    break
                self._move(sent)
                is_fast = sent >= _FAST * (monotonic() - began)
        finally:
            channel.end_bulk()

    def _move(self, sent: int) -> None:
        if not sent:
            raise FileCut("the file was cut while it was being sent")
        self._offset += sent
        self._count -= sent

    def _finish(self) -> bool:
        """Nothing more of this answer goes out."""
        part = self._part
        if part is not None:
            self._part = None
            # What waits is the end of the head and the content behind it: more than the content, and none has gone.
            left = self._count + (0 if self._data is None else len(self._data))
            part.close()
            if part.sent is not None:
                part.sent(max(part.length - left, 0))
        self._data, self._count = None, 0
        return True

    def drop(self) -> None:
        """Give up: the connection has ended."""
        self._finish()
