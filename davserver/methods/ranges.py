"""multipart/byteranges: several ranges of one file in one answer (RFC 9110 §14.6)."""

from __future__ import annotations

import os
from collections.abc import Iterator

from davserver.protocol.messages import FileSlice

BLOCK = 256 * 1024


class Multipart:
    """The parts of `whole` named by `ranges`, produced block by block; its length is known beforehand."""

    def __init__(self, whole: FileSlice, ranges: list[tuple[int, int]], kind: str, boundary: str) -> None:
        self._whole = whole
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self._parts = [
            (
                f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n"
                f"Content-Range: bytes {first}-{last}/{whole.length}\r\n\r\n".encode(),
                first,
                last,
            )
            for first, last in ranges
        ]
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        self.length = len(self._end) + sum(len(head) + last - first + 1 for head, first, last in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        try:
            for head, first, last in self._parts:
                yield head
                yield from blocks(self._whole.fd, first, last - first + 1)
            yield self._end
        finally:
            self._whole.close()


def blocks(fd: int, offset: int, length: int) -> Iterator[bytes]:
    """`length` bytes of `fd` from `offset`, in blocks. Raises EOFError if the file was cut meanwhile: the length of the
    answer has been said, so nothing but the end of the connection tells that it is not whole (RFC 9112 §6.3)."""
    while length:
        block = os.pread(fd, min(length, BLOCK), offset)
        if not block:
            raise EOFError("the file was cut while it was being sent")
        yield block
        offset += len(block)
        length -= len(block)
