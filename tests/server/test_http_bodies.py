"""Request bodies off the wire: RFC 9112 §6.2 and §7.1, strict, in pieces of any size, and never a wrong end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.protocol.errors import IncompleteBody, RequestTimeout
from davserver.server.http.bodies import NO_BODY, ChunkedBody, LengthBody, drain


class Wire:
    """A stream that brings its bytes in pieces; then it ends, breaks or stalls."""

    def __init__(self, data: bytes, piece: int = 1 << 20, end: OSError | None = None) -> None:
        self.data, self.piece, self.end = data, piece, end
        self.largest = 0

    @property
    def has_arrived(self) -> bool:
        return bool(self.data)

    def read(self, size: int) -> bytes:
        self.largest = max(self.largest, size)
        return self._take(min(size, self.piece))

    def readline(self, size: int) -> bytes:
        end = self.data.find(b"\n", 0, size)
        return self._take(size if end < 0 else end + 1)

    def _take(self, size: int) -> bytes:
        if not self.data and self.end is not None:
            raise self.end
        data, self.data = self.data[:size], self.data[size:]
        return data


def whole(body: LengthBody | ChunkedBody, size: int = 7) -> bytes:
    return b"".join(iter(lambda: body.read(size), b""))


PIECES = pytest.mark.parametrize("piece", [1, 3, 1 << 20])


@PIECES
def test_a_body_of_known_length_ends_there(piece: int) -> None:
    wire = Wire(b"0123456789next", piece)
    body = LengthBody(wire, 10)
    assert body.length == 10
    assert not body.at_end
    assert whole(body) == b"0123456789"
    assert body.at_end
    assert wire.data == b"next"


@PIECES
@pytest.mark.parametrize("missing", [1, 9, 10])
def test_a_body_that_ends_early_is_an_error(piece: int, missing: int) -> None:
    body = LengthBody(Wire(b"0123456789"[: 10 - missing], piece), 10)
    with pytest.raises(IncompleteBody):
        whole(body)
    assert body.broken
    assert not body.at_end


def test_no_body_is_never_read() -> None:
    assert NO_BODY.read(10) == b""
    assert NO_BODY.at_end
    assert NO_BODY.length == 0


@PIECES
@pytest.mark.parametrize(
    "data",
    [
        b"a\r\n0123456789\r\n0\r\n\r\n",
        b"A\r\n0123456789\r\n0\r\n\r\n",
        b"00a\r\n0123456789\r\n000\r\n\r\n",
        b"1\r\n0\r\n3\r\n123\r\n6\r\n456789\r\n0\r\n\r\n",
        b"a;name\r\n0123456789\r\n0;last=1\r\n\r\n",
        b'a ;name="v; w"\r\n0123456789\r\n0\r\n\r\n',
        b"a\t\r\n0123456789\r\n0\r\n\r\n",
        b"a\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
    ],
)
def test_chunks(data: bytes, piece: int) -> None:
    wire = Wire(data + b"next", piece)
    body = ChunkedBody(wire)
    assert body.length is None
    assert whole(body) == b"0123456789"
    assert body.at_end
    assert body.read(5) == b""
    assert wire.data == b"next"


@PIECES
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"a\r\n01234",
        b"a\r\n0123456789",
        b"a\r\n0123456789\r\n",
        b"a\r\n0123456789\r\n0\r\n",
        b"\r\n\r\n",
        b"0\n\r\n",
        b"a\n0123456789\r\n0\r\n\r\n",
        b"a\r0123456789\r\n0\r\n\r\n",
        b"a\r\n0123456789\n0\r\n\r\n",
        b"a\r\n0123456789X\r\n0\r\n\r\n",
        b"a\r\n012345678\r\n0\r\n\r\n",
        b"a\r\n0123456789\r\n0\r\n\n",
        b"+a\r\n0123456789\r\n0\r\n\r\n",
        b"-1\r\n0123456789\r\n0\r\n\r\n",
        b"0xa\r\n0123456789\r\n0\r\n\r\n",
        b"a_0\r\n0123456789\r\n0\r\n\r\n",
        b" a\r\n0123456789\r\n0\r\n\r\n",
        b"g\r\n0123456789\r\n0\r\n\r\n",
        b"a,b\r\n0123456789\r\n0\r\n\r\n",
        b"a b\r\n0123456789\r\n0\r\n\r\n",
        b"\xb2\r\n00\r\n0\r\n\r\n",
        b"a\x00\r\n0123456789\r\n0\r\n\r\n",
        b"10000000000000000\r\n",
        b"fffffffffffffffff\r\n0\r\n\r\n",
        b"a;x\ny\r\n0123456789\r\n0\r\n\r\n",
        b"a;x\ry\r\n0123456789\r\n0\r\n\r\n",
        b"a;" + b"x" * 5000 + b"\r\n0123456789\r\n0\r\n\r\n",
        b"0\r\nGET /evil HTTP/1.1\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nX: a\0b\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * 65 + b"\r\n",
        b"0\r\nX: " + b"y" * 5000 + b"\r\n\r\n",
    ],
)
def test_broken_chunks_are_an_error_and_never_an_end(data: bytes, piece: int) -> None:
    body = ChunkedBody(Wire(data, piece))
    with pytest.raises(IncompleteBody):
        whole(body)
    assert body.broken
    assert not body.at_end


def test_many_extensions_are_refused() -> None:
    body = ChunkedBody(Wire(b"1;" + b"x" * 4000 + b"\r\na\r\n" + (b"1;" + b"x" * 4000 + b"\r\na\r\n") * 5))
    with pytest.raises(IncompleteBody):
        whole(body)


def test_a_large_chunk_is_passed_on_in_pieces() -> None:
    wire = Wire(b"f0000\r\n" + b"x" * 0xF0000 + b"\r\n0\r\n\r\n")
    body = ChunkedBody(wire)
    assert sum(map(len, iter(lambda: body.read(10_000), b""))) == 0xF0000
    assert wire.largest == 10_000


def test_small_chunks_that_are_here_are_put_together() -> None:
    body = ChunkedBody(Wire(b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"))
    assert [len(body.read(600)), len(body.read(600)), len(body.read(600))] == [600, 400, 0]


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=8),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_whatever_the_chunks_and_the_pieces_the_content_is_the_same(chunks: list[bytes], piece: int, size: int) -> None:
    data = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    wire = Wire(data + b"next", piece)
    assert whole(ChunkedBody(wire), size) == b"".join(chunks)
    assert wire.data == b"next"


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    body = ChunkedBody(Wire(data))
    try:
        whole(body)
    except IncompleteBody:
        assert body.broken
    else:
        assert body.at_end


@pytest.mark.parametrize(
    ("end", "refusal"), [(TimeoutError(), RequestTimeout), (ConnectionResetError(), IncompleteBody)]
)
def test_a_stall_and_a_cut_are_told_apart(end: OSError, refusal: type[Exception]) -> None:
    for body in (
        LengthBody(Wire(b"01", end=end), 10),
        ChunkedBody(Wire(b"a\r\n01", end=end)),
        ChunkedBody(Wire(b"", end=end)),
    ):
        with pytest.raises(refusal):
            whole(body)
        assert body.broken


def test_the_100_is_said_once_when_the_body_is_first_read() -> None:
    said: list[int] = []
    for body in (
        LengthBody(Wire(b"0123456789"), 10, lambda: said.append(1)),
        ChunkedBody(Wire(b"a\r\n0123456789\r\n0\r\n\r\n"), lambda: said.append(1)),
    ):
        assert body.is_awaited
        assert not said
        whole(body, 3)
        assert not body.is_awaited
        assert said == [1]
        said.clear()
    assert not LengthBody(Wire(b""), 0, lambda: said.append(1)).is_awaited


def test_a_100_that_cannot_be_said_is_a_cut() -> None:
    def fail() -> None:
        raise BrokenPipeError

    with pytest.raises(IncompleteBody):
        LengthBody(Wire(b"0123456789"), 10, fail).read(5)


def test_draining_has_a_limit() -> None:
    wire = Wire(b"x" * 100_000)
    body = LengthBody(wire, 100_000)
    assert not drain(body, 60_000)
    assert len(wire.data) == 40_000
    assert drain(body, 60_000)
    assert drain(ChunkedBody(Wire(b"1\r\nx\r\n" * 100 + b"0\r\n\r\n")), 1000)
    assert not drain(ChunkedBody(Wire(b"1\r\nx\r\n" * 100)), 1000)
    assert not drain(LengthBody(Wire(b"x", end=TimeoutError()), 10), 1000)
