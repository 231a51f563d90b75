"""A socket that never blocks unless it is asked to wait; the same whether there is TLS on it or not.

The law of this module: no call waits, except `wait`, `receive_bulk` and `send_bulk`. What cannot be done now is None
(or 0 bytes), and `wants` says what to wait for: with TLS a read may have to write first, and the other way round.
An error of the connection is OSError, its end b"".
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from contextlib import suppress
from select import EPOLLIN, EPOLLOUT, POLLIN, POLLOUT, poll

#: Bytes of one read: a whole small request, and no more than a thread's arena gives back.
BLOCK = 64 * 1024
#: Bytes handed to the kernel in one sendfile, or read from a file for TLS.
FILE_BLOCK = 1 << 20
_TLS_BLOCK = 128 * 1024
#: The same where a thread stays with it, which looks after each whether the client is fast: so long it may be kept by
#: one that takes a bit now and then.
_BULK_BLOCK = 256 * 1024
#: Bytes that such a thread lets wait in the socket. Where there are more the kernel sends as the client acknowledges,
#: which on one machine is in the client's time, and of what has long left the processor's caches.
_UNSENT = 32 * 1024


class Channel:
    """A TCP or Unix socket."""

    __slots__ = ("_bulk", "_is_sending", "socket", "wants")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.wants = EPOLLIN
        self._bulk = 0.0
        self._is_sending = False

    def begin(self) -> bool:
        """What must happen before the first request: here nothing. False: not finished, see `wants`."""
        return True

    @property
    def is_pending(self) -> bool:
        """Has something arrived that the kernel no longer tells of?"""
        return False

    def receive(self, size: int = BLOCK) -> bytes | None:
        """b"" at the end of the connection, None when nothing is there yet."""
        try:
            return self.socket.recv(size)
        except BlockingIOError:
            self.wants = EPOLLIN
            return None

    def receive_bulk(self, size: int, seconds: float, *, whole: bool) -> bytes | None:
        """Wait up to `seconds`; None when nothing came. `whole`: for all of `size` bytes, which makes one system
        call of a block of an upload."""
        sock = self.socket
        if self._bulk != seconds:
            sock.setblocking(True)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _interval(seconds))
            self._bulk = seconds
        try:
            return sock.recv(size, socket.MSG_WAITALL if whole else 0)
        except BlockingIOError:
            return None

    @property
    def is_bulk(self) -> bool:
        """Would `receive` block?"""
        return bool(self._bulk)

    def end_bulk(self) -> None:
        """Never block again."""
        if self._bulk or self._is_sending:
            if self._is_sending:
                # 0: as the system has it.
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 0)
            self._bulk, self._is_sending = 0.0, False
            self.socket.setblocking(False)

    def send(self, data: bytes | memoryview, *, more: bool = False) -> int:
        """Bytes that were taken, perhaps not all of them. `more`: the rest of the answer follows at once."""
        try:
            sent = self.socket.send(data, socket.MSG_MORE if more else 0)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.wants = EPOLLOUT
        return sent

    def send_file(self, fd: int, offset: int, count: int) -> int | None:
        """Bytes that went from the file to the socket without a copy; None when there is no room, 0 at its end."""
        try:
            return os.sendfile(self.socket.fileno(), fd, offset, min(count, FILE_BLOCK))
        except BlockingIOError:
            self.wants = EPOLLOUT
            return None

    @property
    def is_local(self) -> bool:
        """Is the client, or its proxy, on this machine, and `send_bulk` the fastest?"""
        sock = self.socket
        return sock.family != socket.AF_UNIX and bool(sock.getpeername()[0] == sock.getsockname()[0])

    def send_bulk(self, fd: int, offset: int, count: int, seconds: float) -> int | None:
        """As `send_file`, but waits up to `seconds` for room, and again after each bit. None: there was none."""
        sock = self.socket
        if not self._is_sending:
            self._is_sending = True
            sock.setblocking(True)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _interval(seconds))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        try:
            return os.sendfile(sock.fileno(), fd, offset, min(count, _BULK_BLOCK))
        except BlockingIOError:
            return None

    def wait(self, seconds: float) -> bool:
        """Until the socket is ready for what it `wants`; False when that took longer."""
        waiter = poll()
        waiter.register(self.socket, POLLIN if self.wants == EPOLLIN else POLLOUT)
        return bool(waiter.poll(seconds * 1000))

    def finish(self) -> None:
        """Say that nothing more will come (RFC 9112 §9.6); the other side may still be heard."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Wake whoever waits for this socket in another thread: it has ended."""
        with suppress(OSError):
            # Not TLS's own, which takes itself apart under the hands of the other thread.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self.socket.close()


class TlsChannel(Channel):
    """A socket with TLS on it. The handshake is driven like everything else: nobody waits for a slow one."""

    __slots__ = ("_agreed", "_finished", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._tls = self.socket = context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        self._agreed = self._finished = False

    def begin(self) -> bool:
        """Raises OSError when there is no agreement, NotTls when the other side speaks plain HTTP."""
        if self._agreed:
            return True
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.wants = EPOLLIN
        except ssl.SSLWantWriteError:
            self.wants = EPOLLOUT
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                raise NotTls from error
            raise
        else:
            self._agreed = True
        return self._agreed

    @property
    def is_pending(self) -> bool:
        return self._tls.pending() > 0

    def receive(self, size: int = BLOCK) -> bytes | None:
        if self._finished:
            # What still comes is read so that it does not reset the connection, and means nothing.
            return super().receive(size)
        try:
            return self._tls.recv(size)
        except ssl.SSLWantReadError:
            self.wants = EPOLLIN
        except ssl.SSLWantWriteError:
            self.wants = EPOLLOUT
        return None

    def receive_bulk(self, size: int, seconds: float, *, whole: bool) -> bytes | None:  # noqa: ARG002
        data = self.receive(size)
        return self.receive(size) if data is None and self.wait(seconds) else data

    def send(self, data: bytes | memoryview, *, more: bool = False) -> int:  # noqa: ARG002
        self.wants = EPOLLOUT
        try:
            return self._tls.send(data)
        except ssl.SSLWantWriteError:
            pass
        except ssl.SSLWantReadError:
            self.wants = EPOLLIN
        return 0

    is_local = False

    def send_file(self, fd: int, offset: int, count: int) -> int | None:
        raise NotImplementedError("what goes through TLS must be read first: `read_file`")

    def send_plain(self, data: bytes) -> None:
        """The last that is said to somebody who does not speak TLS."""
        self._finished = True
        self.socket = _plain(self._tls)
        with suppress(OSError):
            self.socket.send(data)
        super().finish()

    def finish(self) -> None:
        """close_notify (RFC 8446 §6.1): the other side can tell this end from a cut."""
        if self._finished:
            return
        self._finished = True
        if self._agreed:
            # unwrap says it at once, and then wants to wait for the answer.
            with suppress(OSError, ValueError):
                self._tls.unwrap()
        self.socket = _plain(self._tls)
        super().finish()

    def close(self) -> None:
        self.finish()
        super().close()


def _interval(seconds: float) -> bytes:
    """struct timeval."""
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


def _plain(tls: ssl.SSLSocket) -> socket.socket:
    """The socket below. It is the same descriptor still."""
    plain = socket.socket(tls.family, tls.type, tls.proto, fileno=tls.detach())
    plain.setblocking(False)
    return plain


class NotTls(OSError):
    """Plain HTTP on a port that speaks TLS."""


def read_file(fd: int, offset: int, count: int) -> bytes:
    """A block of a file, where it cannot go by `send_file`."""
    return os.pread(fd, min(count, _TLS_BLOCK), offset)
