"""The content of a request, off the wire: streamed, never whole in memory, and honest about its end.

RFC 9112 §6.2 and §7.1. Both readers implement `protocol.messages.Body`. Whatever cannot be read as the
framing announced it raises `IncompleteBody` (the connection is then closed, since nobody knows where the
next request would begin); a sender that stalls raises `RequestTimeout`.

`100 Continue` is sent when a body is first read, and only then: a request that is refused before that is
answered at once, and the client keeps its gigabyte (RFC 9110 §10.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from davserver.protocol.errors import IncompleteBody, Overloaded, Refused, RequestTimeout

_BLOCK = 64 * 1024
# RFC 9112 §7.1: chunk-size is hexadecimal digits alone, which int() is too lenient for.
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[^\r\n]*)?\r\n\Z")
# RFC 9112 §7.1.2, RFC 9110 §5: trailer fields are field lines like those of the head.
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n\Z")
_LINE_LIMIT = 4096
_TRAILER_LIMIT = 64
#: Bytes of chunk extensions in one body (RFC 9112 §7.1.1 wants a limit). Nobody is known to send any.
_EXTENSIONS_LIMIT = 16 * 1024


class NobodyToWait(TimeoutError):
    """What is not here yet would have to be waited for by the thread that everybody else needs."""


class Stream(Protocol):
    """What is read from. Raises TimeoutError when it comes too slowly (NobodyToWait when nobody can wait for it), and
    OSError when it breaks."""

    def read(self, size: int) -> bytes: ...

    def readline(self, size: int) -> bytes: ...

    @property
    def has_arrived(self) -> bool:
        """Would `read` return at once?"""


class _Reader:
    """What both framings share: the `100 Continue`, and time-outs told as refusals."""

    def __init__(self, stream: Stream, proceed: Callable[[], None] | None) -> None:
        self._stream = stream
        self._proceed = proceed
        self.broken = False
        #: Bytes of the content that have been read.
        self.taken = 0

    @property
    def is_awaited(self) -> bool:
        """The client waits for a 100 Continue that it has not been sent."""
        return self._proceed is not None

    def _invite(self) -> None:
        if self._proceed is not None:
            proceed, self._proceed = self._proceed, None
            try:
                proceed()
            except OSError as error:
                raise self._end("The connection broke before the request body was sent.") from error

    def _take(self, size: int) -> bytes:
        self._invite()
        try:
            data = self._stream.read(size)
        except TimeoutError as error:
            raise self._late(error) from error
        except OSError as error:
            raise self._end("The connection broke while the request body was being sent.") from error
        if not data:
            raise self._end("The request body ended before its announced length.")
        self.taken += len(data)
        return data

    def _line(self) -> bytes:
        try:
            line = self._stream.readline(_LINE_LIMIT)
        except TimeoutError as error:
            raise self._late(error) from error
        except OSError as error:
            raise self._end("The connection broke while the request body was being sent.") from error
        if not line.endswith(b"\r\n"):
            raise self._end("The chunked request body is malformed.")
        return line

    def _late(self, error: TimeoutError) -> Refused:
        self.broken = True
        if isinstance(error, NobodyToWait):
            return Overloaded("The server is busy; try again in a moment.", 1)
        return RequestTimeout("The request body stopped coming, or came too slowly.")

    def _end(self, message: str) -> IncompleteBody:
        self.broken = True
        return IncompleteBody(message)


class LengthBody(_Reader):
    """A body framed by Content-Length (RFC 9112 §6.2)."""

    def __init__(
        self, stream: Stream, length: int, proceed: Callable[[], None] | None = None, *, is_here: bool = False
    ) -> None:
        super().__init__(stream, proceed if length else None)
        self.length = length
        self.is_here = is_here or not length
        self._left = length

    @property
    def at_end(self) -> bool:
        return self._left == 0

    def read(self, size: int) -> bytes:
        if not self._left:
            return b""
        data = self._take(min(size, self._left))
        self._left -= len(data)
        return data


class ChunkedBody(_Reader):
    """A chunked body (RFC 9112 §7.1). A chunk of any size is passed on in pieces; trailers are dropped."""

    length = None
    is_here = False

    def __init__(self, stream: Stream, proceed: Callable[[], None] | None = None) -> None:
        super().__init__(stream, proceed)
        self._left = 0
        self._extensions = 0
        self.at_end = False

    def read(self, size: int) -> bytes:
        data = self._piece(size)
        if len(data) == size or self.at_end or not self._stream.has_arrived:
            return data
        # Small chunks are put together as far as they are here: whoever writes them away pays for each block.
        pieces, left = [data], size - len(data)
        while left and not self.at_end and self._stream.has_arrived:
            pieces.append(self._piece(left))
            left -= len(pieces[-1])
        return b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        """From one chunk; b"" at the end."""
        if self.at_end:
            return b""
        if not self._left:
            self._invite()
            self._left = self._chunk_size()
            if not self._left:
                self._trailers()
                self.at_end = True
                return b""
        data = self._take(min(size, self._left))
        self._left -= len(data)
        if not self._left and self._line() != b"\r\n":
            raise self._end("The chunked request body is malformed.")
        return data

    def _chunk_size(self) -> int:
        head = _CHUNK_HEAD.match(self._line())
        if head is None:
            raise self._end("The chunked request body is malformed.")
        self._extensions += len(head[2] or b"")
        if self._extensions > _EXTENSIONS_LIMIT:
            raise self._end("The chunked request body has too many chunk extensions.")
        return int(head[1], 16)

    def _trailers(self) -> None:
        for _ in range(_TRAILER_LIMIT):
            line = self._line()
            if line == b"\r\n":
                return
            if _TRAILER.match(line) is None:
                raise self._end("The chunked request body has a malformed trailer field.")
        raise self._end("The chunked request body has too many trailer fields.")


RequestBody = LengthBody | ChunkedBody


class _Nothing:
    """The stream of a body that is empty: never read."""

    def read(self, size: int) -> bytes:
        raise NotImplementedError

    def readline(self, size: int) -> bytes:
        raise NotImplementedError

    has_arrived = False


#: The body of a request that has none.
NO_BODY = LengthBody(_Nothing(), 0)


def drain(body: RequestBody, limit: int) -> bool:
    """Read and drop what is left, up to `limit` bytes, in small blocks. True when the end was reached."""
    while not body.at_end and limit > 0:
        try:
            limit -= len(body.read(min(_BLOCK, limit))) or 1
        except (IncompleteBody, RequestTimeout, Overloaded):
            return False
    return body.at_end
