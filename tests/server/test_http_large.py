"""Large files on their way to a client on this machine, which a thread sends as fast as they are read."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from select import EPOLLOUT

import pytest

from davserver.protocol.messages import FileSlice
from davserver.server.http.channel import Channel
from davserver.server.http.outgoing import FileCut, Outgoing

LARGE = 30_000_000


def connected() -> tuple[Channel, socket.socket]:
    """On this machine, and by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    theirs.settimeout(20)
    return Channel(ours), theirs


@contextmanager
def zeros(size: int = LARGE) -> Iterator[int]:
    fd = os.memfd_create("zeros")
    os.ftruncate(fd, size)
    yield fd
    os.close(fd)


def read_all(theirs: socket.socket) -> int:
    return sum(map(len, iter(lambda: theirs.recv(1 << 20), b"")))


def is_as_before(channel: Channel) -> bool:
    """Does it wait for nothing, and keep as much in the socket as the system has it?"""
    unsent = channel.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    return not os.get_blocking(channel.socket.fileno()) and unsent == 0


def test_a_large_file_goes_to_this_machine_in_one_go() -> None:
    channel, theirs = connected()
    aside: list[int] = []
    told: list[int] = []
    outgoing = Outgoing(channel, lambda: not aside.append(1))
    with ThreadPoolExecutor(1) as pool, zeros() as fd:
        reading = pool.submit(read_all, theirs)
        whole = outgoing.put_file(b"head", FileSlice(fd, 0, LARGE, lambda: None, told.append))
        while not whole:  # the reader was slow, on a machine that has much to do
            assert channel.wait(20)
            whole = outgoing.flush()
        assert is_as_before(channel)
        channel.finish()
        assert reading.result() == LARGE + 4
    assert (aside, told) == ([1], [LARGE])
    assert outgoing.is_empty
    channel.close()
    theirs.close()


def test_where_nobody_can_take_over_a_large_file_waits() -> None:
    channel, theirs = connected()
    outgoing = Outgoing(channel, lambda: False)
    with zeros() as fd:
        assert not outgoing.put_file(b"head", FileSlice(fd, 0, LARGE, lambda: None))
        assert is_as_before(channel)
        outgoing.drop()
    channel.close()
    theirs.close()


def test_who_does_not_read_a_large_file_is_left_to_the_poll() -> None:
    channel, theirs = connected()
    told: list[int] = []
    outgoing = Outgoing(channel, lambda: True)
    with zeros() as fd:
        assert not outgoing.put_file(b"head", FileSlice(fd, 0, LARGE, lambda: None, told.append))
        assert channel.wants == EPOLLOUT
        assert is_as_before(channel)
        outgoing.drop()
    channel.close()
    assert told == [read_all(theirs) - 4]
    theirs.close()


def test_who_reads_a_large_file_slowly_is_left_to_the_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one who takes a bit before each wait is over."""
    monkeypatch.setattr("davserver.server.http.outgoing._FAST", 1 << 50)
    channel, theirs = connected()
    outgoing = Outgoing(channel, lambda: True)
    with ThreadPoolExecutor(1) as pool, zeros() as fd:
        reading = pool.submit(read_all, theirs)
        assert not outgoing.put_file(b"head", FileSlice(fd, 0, LARGE, lambda: None))
        assert is_as_before(channel)
        while not outgoing.flush():
            assert channel.wait(20)
        channel.finish()
        assert reading.result() == LARGE + 4
    channel.close()
    theirs.close()


def test_who_takes_a_bit_now_and_then_does_not_keep_a_thread() -> None:
    channel, theirs = connected()
    outgoing = Outgoing(channel, lambda: True)
    done = threading.Event()

    def sip() -> None:
        while not done.wait(0.09):
            theirs.recv(64 * 1024)

    with ThreadPoolExecutor(1) as pool, zeros() as fd:
        sipping = pool.submit(sip)
        began = time.monotonic()
        assert not outgoing.put_file(b"head", FileSlice(fd, 0, LARGE, lambda: None))
        took = time.monotonic() - began
        done.set()
        sipping.result()
        outgoing.drop()
    channel.close()
    theirs.close()
    assert took < 3  # it would be twenty seconds and more if all of it were sent


def test_a_large_file_that_becomes_shorter_ends_the_connection() -> None:
    channel, theirs = connected()
    outgoing = Outgoing(channel, lambda: True)
    with ThreadPoolExecutor(1) as pool, zeros(LARGE - 1) as fd:
        reading = pool.submit(read_all, theirs)
        with pytest.raises(FileCut):
            outgoing.put_file(b"head", FileSlice(fd, 0, LARGE, lambda: None))
            while channel.wait(20):
                outgoing.flush()
        outgoing.drop()
        channel.close()
        assert reading.result() == LARGE - 1 + 4
    theirs.close()


def test_who_goes_away_from_a_large_file_ends_the_connection() -> None:
    channel, theirs = connected()
    outgoing = Outgoing(channel, lambda: True)
    with ThreadPoolExecutor(1) as pool, zeros() as fd:
        leaving = pool.submit(lambda: (theirs.recv(100_000, socket.MSG_WAITALL), theirs.close()))
        with pytest.raises(ConnectionError):
            outgoing.put_file(b"head", FileSlice(fd, 0, LARGE, lambda: None))
            while channel.wait(20):
                outgoing.flush()
        leaving.result()
        outgoing.drop()
    channel.close()
