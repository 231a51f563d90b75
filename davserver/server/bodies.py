"""The content of a request, off the wire: streamed, never whole in memory, and honest about its end.

RFC 9112 §6.3 and §7.1. Both readers implement `protocol.messages.Body`. Whatever cannot be read as the
framing announced it raises `IncompleteBody` (the connection is then closed, since nobody knows where the
next request would begin); a sender that stalls raises `RequestTimeout`.

`100 Continue` is sent when a body is first read, and only then: a request that is refused before that is
answered at once, and the client keeps its gigabyte (RFC 9110 §10.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from davserver.protocol.errors import BadRequest, IncompleteBody, RequestTimeout

_BLOCK = 64 * 1024
# RFC 9112 §7.1: chunk-size is hexadecimal digits alone, which int() is too lenient for.
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[^\r\n]*)?\r\n\Z")
_LINE_LIMIT = 4096
_TRAILER_LIMIT = 64


class Stream(Protocol):
    """What is read from: a buffered socket file."""

    def read(self, size: int) -> bytes: ...

    def readline(self, size: int) -> bytes: ...


class _Reader:
    """What both framings share: the `100 Continue`, and time-outs told as refusals."""

    def __init__(self, stream: Stream, proceed: Callable[[], None] | None) -> None:
        self._stream = stream
        self._proceed = proceed
        self.broken = False

    @property
    def is_awaited(self) -> bool:
        """The client waits for a 100 Continue that it has not been sent."""
        return self._proceed is not None

    def _take(self, size: int) -> bytes:
        if self._proceed is not None:
            proceed, self._proceed = self._proceed, None
            proceed()
        try:
            data = self._stream.read(size)
        except TimeoutError as error:
            self.broken = True
            raise RequestTimeout("The request body stopped coming.") from error
        except OSError as error:
            raise self._end("The connection broke while the request body was being sent.") from error
        if not data and size:
            raise self._end("The request body ended before its announced length.")
        return data

    def _line(self) -> bytes:
        try:
            line = self._stream.readline(_LINE_LIMIT)
        except TimeoutError as error:
            self.broken = True
            raise RequestTimeout("The request body stopped coming.") from error
        except OSError as error:
            raise self._end("The connection broke while the request body was being sent.") from error
        if not line.endswith(b"\r\n"):
            raise self._end("The chunked request body is malformed.")
        return line

    def _end(self, message: str) -> IncompleteBody:
        self.broken = True
        return IncompleteBody(message)


class LengthBody(_Reader):
    """A body framed by Content-Length (RFC 9112 §6.2)."""

    def __init__(self, stream: Stream, length: int, proceed: Callable[[], None] | None = None) -> None:
        super().__init__(stream, proceed if length else None)
        self.length = length
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

    def __init__(self, stream: Stream, proceed: Callable[[], None] | None = None) -> None:
        super().__init__(stream, proceed)
        self._left = 0
        self.at_end = False

    def read(self, size: int) -> bytes:
        if self.at_end:
            return b""
        if not self._left:
            self._take(0)  # the 100 Continue, before the first line is waited for
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
        return int(head[1], 16)

    def _trailers(self) -> None:
        for _ in range(_TRAILER_LIMIT):
            if self._line() == b"\r\n":
                return
        raise self._end("The chunked request body has too many trailer fields.")


RequestBody = LengthBody | ChunkedBody


def open_body(
    stream: Stream, *, length: str | None, chunked: bool, proceed: Callable[[], None] | None = None
) -> RequestBody:
    """The body that the head announces. Raises BadRequest for a Content-Length that is none."""
    if chunked:
        return ChunkedBody(stream, proceed)
    if length is None:
        return LengthBody(stream, 0)
    # RFC 9110 §8.6: 1*DIGIT; int() would also take "+5", "0_5" and " 5 ".
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise BadRequest("Content-Length must be a decimal number.")
    return LengthBody(stream, int(length), proceed)


def drain(body: RequestBody, limit: int) -> bool:
    """Read and drop what is left, up to `limit` bytes, in small blocks. True when the end was reached."""
    while not body.at_end and limit > 0:
        try:
            limit -= len(body.read(min(_BLOCK, limit)))
        except (IncompleteBody, RequestTimeout):
            return False
    return body.at_end
