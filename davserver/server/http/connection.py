"""A connection: what can be done on it now is done, and nothing is waited for by whoever polls.

`communicate` takes every step that needs no waiting: the handshake of TLS, a head, a small body, the
application, the answer, the next request that is here already, the end. What must be waited for, the poll waits
for (`wants`, `deadline`). Two things are waited for by a thread, which steps aside first so that another one
polls: a large body, and a client that reads a streamed answer slowly. An answer that must wait for the disk is given
when the others that are there have had their turn (`Later`): what they change shares the wait.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from select import EPOLLIN
from socket import socket
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from cheroot.server import HTTPConnection

from davserver.protocol.errors import BadRequest, InternalError, Refused, RequestTimeout, Unavailable
from davserver.protocol.holder import OPERATOR
from davserver.protocol.messages import FileSlice
from davserver.protocol.reasons import reason
from davserver.protocol.refusal import render
from davserver.server.access_log import log_access
from davserver.server.http.answer import plan
from davserver.server.http.bodies import NO_BODY, ChunkedBody, LengthBody, RequestBody, drain
from davserver.server.http.channel import NotTls, TlsChannel
from davserver.server.http.gateway import Exchange, FileWrapper, Later
from davserver.server.http.head import Head, HeadReader
from davserver.server.http.inbound import Inbound, Pace
from davserver.server.http.outgoing import Outgoing
from davserver.server.http.own_hosts import is_loopback

if TYPE_CHECKING:
    from davserver.server.http.gateway import DavGateway
    from davserver.server.http.server import DavServer

_log = logging.getLogger("davserver.http")

#: A body up to this size is waited for before the request is begun: it costs no thread, however slow it is.
SMALL_BODY = 64 * 1024
#: Bytes and seconds of a refused body that are read to keep the connection; a client that sends more is cut off.
DRAIN_LIMIT = 1 << 20
DRAIN_SECONDS = 5
#: Bytes and seconds that a closing connection goes on reading, so that the answer is not lost to a reset.
LINGER_LIMIT = 64 << 20
LINGER_SECONDS = 5
#: Requests that are here already and are served in one turn, before others have theirs.
_TURN = 16
_ENDLESS = float("inf")


class DavConnection(HTTPConnection):
    """One connection, used by one thread at a time."""

    def __init__(self, server: DavServer, sock: socket, address: str, port: int, environ: Mapping[str, Any]) -> None:
        """`environ`: what is the same for every request of the server."""
        self.server = server
        self.remote_addr, self.remote_port = address, port
        self.channel = server.open_channel(sock)
        self.proxies = server.proxies if server.proxies.trusts(address) else None
        #: Set where somebody gets in for being on this machine, and none of our proxies speaks for somebody else.
        local = address and self.proxies is None and is_loopback(self.channel.socket.getsockname()[0])
        self.own_hosts = server.own_hosts if local else None
        self.environ: dict[str, Any] = {
            **environ,
            "REMOTE_ADDR": address,
            "REMOTE_PORT": str(port),
            "davserver.proxied": self.proxies is not None,
            "wsgi.errors": sys.stderr,
            "wsgi.file_wrapper": FileWrapper,
            "davserver.later": Later,
        }
        self.reader = HeadReader(server.limits.header)
        self._outgoing = Outgoing(self.channel, self._step_aside)
        self._held = 0
        #: A whole head, whose small body is on its way.
        self._head: Head | None = None
        #: The request whose answer is on its way.
        self._exchange: Exchange | None = None
        #: Has that answer, when the disk has been waited for.
        self._waiting: DavGateway | None = None
        #: Nothing but the next request is waited for: no handshake, no answer on its way, no end.
        self._is_reading = False
        self._has_served = self._heard_all = False
        self._lingering: int | None = None
        now = monotonic()
        #: When the head or the body that is on its way began to come.
        self._began = now
        #: When the poll is to call `expire`.
        self.deadline = now + server.limits.head_seconds
        #: The event that the poll looks for.
        self.polled_for = EPOLLIN
        #: When the poll will look at `deadline`, and its note of that.
        self.timer = _ENDLESS
        self.entry: list[Any] | None = None
        #: More can be done at once: the kernel will not tell of what is here already.
        self.is_ready = False

    @property
    def fd(self) -> int:
        return self.channel.socket.fileno()

    @property
    def wants(self) -> int:
        """The event that this connection waits for."""
        return self.channel.wants

    @property
    def is_idle(self) -> bool:
        """Between two requests, and nothing of the next one has come: it may be closed without a loss."""
        return self._head is None and self._exchange is None and not self.reader.buffer and self._lingering is None

    def communicate(self) -> bool:
        """Go on as far as that takes no waiting. False: this connection has ended."""
        self.is_ready = False
        return self._attempt(self._go_on)

    def expire(self) -> bool:
        """The deadline has passed. False: this connection has ended."""
        return self._attempt(self._give_up)

    def turn_away(self) -> bool:
        """Answer that there is no room for this connection. False: it has ended."""
        return self._attempt(self._make_way)

    def _attempt(self, step: Callable[[], bool]) -> bool:
        """Whatever happens to one connection is nobody else's business."""
        try:
            try:
                return step()
            except Refused as refused:
                return self._refuse(refused)
            except NotTls:
                return self._speaks_plain()
        except OSError as error:
            # The client has gone, or its TLS is broken. Whatever was open for it is closed with the connection.
            _log.debug("connection from %s: %s", self.remote_addr or "the Unix socket", error)
        except Exception:
            _log.exception("a connection from %s failed", self.remote_addr or "the Unix socket")
        return False

    def close(self) -> None:
        self._outgoing.drop()
        if self._held:
            self._hold(0)
        self.channel.close()

    # --- what the gateway uses

    def send(self, data: bytes) -> None:
        self._outgoing.put(data)

    def send_file(self, head: bytes, part: FileSlice) -> None:
        self._outgoing.put_file(head, part)

    def send_waiting(self, data: bytes) -> None:
        """Returns when all of it has gone. Raises OSError, TimeoutError when the client has stopped reading."""
        if self._outgoing.put(data):
            return
        self._step_aside()
        while not self._outgoing.flush():
            if not self.channel.wait(self.server.limits.pace.pause):
                raise TimeoutError("the client stopped reading")

    def may_keep(self, exchange: Exchange) -> bool:
        """Settle what is left of the request before its answer's head goes out: is the connection ready for the
        next request then (RFC 9112 §9.3, §9.6)?"""
        if not exchange.head.keep_alive or not self.server.ready or self._heard_all:
            return False
        body = exchange.body
        if body.at_end:
            return True
        if body.broken or body.is_awaited or exchange.inbound is None:
            # A client that was not told to continue may or may not send its body: nobody can know.
            return False
        if body.length is not None and body.length > DRAIN_LIMIT:
            return False
        exchange.inbound.pace = Pace(DRAIN_LIMIT, DRAIN_SECONDS)
        return drain(body, DRAIN_LIMIT)

    # --- steps

    def _go_on(self) -> bool:
        if not self._is_reading:
            going = self._resume()
            if going is not None:
                return going
        received = False
        for _ in range(_TURN):
            if self._head is None and self.reader.buffer:
                self._head = self.reader.next()
            if self._head is not None and self._is_whole(self._head):
                going = self._serve(self._head)
            elif not received or self.channel.is_pending:
                received = True
                going = self._receive()
            else:
                self.channel.wants = EPOLLIN
                return self._await_request()
            if going is not None:
                return going
        self.is_ready = True
        return self._await_request()

    def _resume(self) -> bool | None:
        """What comes before the next request. None: it may come."""
        if self._lingering is not None:
            return self._linger()
        if self._waiting is not None:
            if not self.server.requests.has_spare:
                # The last thread polls: a disk that hangs must not keep it.
                self.is_ready = True
                return True
            gateway, self._waiting = self._waiting, None
            going = self._answer(gateway, gateway.go_on)
            if going is not None:
                return going
        elif self._exchange is not None:
            if not self._outgoing.flush():
                return self._await_client()
            if not self._is_over():
                return self._end()
        elif not self.channel.begin():
            return True
        self._is_reading = True
        return None

    def _receive(self) -> bool | None:
        """Some more of a request. None: go on with it; otherwise what `communicate` is to return."""
        reader = self.reader
        data = self.channel.receive()
        if data is None:
            return self._await_request()
        if data:
            if not reader.buffer and self._head is None:
                self._began = monotonic()
            reader.buffer = reader.buffer + data if reader.buffer else data
            return None
        self._heard_all = True
        if self._head is not None:
            return None  # its body has ended early, which the application is to find out
        if reader.buffer:
            raise BadRequest("The request ended before its head was whole.")
        return False

    def _is_whole(self, head: Head) -> bool:
        """May the request begin? Small bodies come first; who waits for a 100 must be told it, or refused, now."""
        length = head.length
        if not length or length > SMALL_BODY or self._heard_all:
            return True
        return head.expects_continue or len(self.reader.buffer) >= length

    def _serve(self, head: Head) -> bool | None:
        """One request. None: go on with the next one; otherwise what `communicate` is to return."""
        if not self.server.requests.has_spare:
            return self._refuse(Unavailable("The server is busy; try again in a moment.", 1))
        self._head = None
        self._has_served = True
        exchange = self._exchange = self._open(head)
        gateway = self.server.gateway(exchange)
        return self._answer(gateway, gateway.respond)

    def _answer(self, gateway: DavGateway, step: Callable[[], None]) -> bool | None:
        """What `_serve` is to return."""
        try:
            step()
        except OSError:
            raise
        except Exception:
            if gateway.has_begun:
                raise
            _log.exception("the application failed")
            return self._refuse(InternalError("The server failed; its log says why."))
        if gateway.is_waiting:
            self._waiting, self._is_reading, self.is_ready = gateway, False, True
            self.deadline = monotonic() + self.server.limits.idle_seconds
            return True
        if not self._outgoing.is_empty:
            return self._await_client()
        return None if self._is_over() else self._end()

    def _open(self, head: Head) -> Exchange:
        if head.length == 0:
            return Exchange(self, head, NO_BODY, None)
        inbound = Inbound(
            self.channel,
            self.reader.buffer,
            ended=self._heard_all,
            pace=self.server.limits.pace,
            step_aside=self._step_aside,
        )
        self.reader.buffer = b""
        proceed = self._proceed if head.expects_continue and not inbound.has_arrived else None
        body: RequestBody
        if head.length is None:
            body = ChunkedBody(inbound, proceed)
        else:
            body = LengthBody(inbound, head.length, proceed, is_here=len(inbound.rest) >= head.length)
        return Exchange(self, head, body, inbound)

    def _is_over(self) -> bool:
        """The answer has gone. True: the connection is ready for the next request."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            raise RuntimeError("there is no request that could be over")
        if exchange.inbound is not None:
            self.reader.buffer = exchange.inbound.rest
        if exchange.close and not exchange.body.at_end:
            self._lingering = LINGER_LIMIT
        return not exchange.close

    def _end(self) -> bool:
        """Close; where more may be on its way, say so and listen on for a moment (RFC 9112 §9.6): closing with
        unread data in the socket would reset the connection, and the client would lose the answer."""
        if self._lingering is None and not self.reader.buffer:
            return False
        self._lingering, self._is_reading = LINGER_LIMIT, False
        self.reader.buffer = b""
        if self._held:
            self._hold(0)
        self.channel.finish()
        self.deadline = monotonic() + LINGER_SECONDS
        return self._linger()

    def _linger(self) -> bool:
        while True:
            data = self.channel.receive()
            if data is None:
                return True
            self._lingering = (self._lingering or 0) - len(data)
            if not data or self._lingering <= 0:
                return False

    def _give_up(self) -> bool:
        unfinished = self._head is not None or bool(self.reader.buffer)
        if self._exchange is not None or self._lingering is not None or not unfinished:
            return False
        what = "head" if self._head is None else "body"
        raise RequestTimeout(f"The request's {what} stopped coming, or came too slowly.")

    def _make_way(self) -> bool:
        if isinstance(self.channel, TlsChannel):
            return False
        raise Unavailable("The server has too many connections; try again in a moment.")

    def _refuse(self, refused: Refused) -> bool:
        """Answer what is no request, and end."""
        self._head = self._exchange = None
        response = render(refused, accept=None, content_type=None, now=time(), prefix="", viewer=OPERATOR)
        if not isinstance(response.body, bytes):
            raise TypeError("a refusal is one piece")
        headers = (*response.headers, ("Content-Length", str(len(response.body))))
        status = f"{response.status} {reason(response.status)}"
        head = plan(status, headers, method="", is_11=True, close=True, server=self.server.server_name).head
        self._outgoing.put(head + response.body)
        self._log_refusal(response.status, len(response.body))
        self._lingering = LINGER_LIMIT
        return self._end()

    def _log_refusal(self, status: int, sent: int) -> None:
        """Of what never became a request."""
        log_access(
            address=self.remote_addr, user="", method="-", target="-",
            status=status, sent=sent, seconds=monotonic() - self._began,
        )  # fmt: skip

    def _speaks_plain(self) -> bool:
        if not isinstance(self.channel, TlsChannel):
            return False
        text = b"This port speaks TLS, and this was plain HTTP: use https:// in place of http://.\n"
        self.channel.send_plain(
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
        )
        self._log_refusal(400, len(text))
        self._lingering = LINGER_LIMIT
        return self._end()

    # --- what is waited for

    def _await_request(self) -> bool:
        now, limits = monotonic(), self.server.limits
        arrived = len(self.reader.buffer)
        if arrived != self._held:
            self._hold(arrived)
        if self._head is not None:
            self.deadline = min(now + limits.pace.pause, self._began + limits.pace.pause + arrived / limits.pace.rate)
        elif arrived:
            self.deadline = self._began + limits.head_seconds
        elif self._has_served:
            self.deadline = now + limits.idle_seconds
        return True

    def _hold(self, size: int) -> None:
        """Keep so many bytes of what is not whole yet. Raises Unavailable when all connections together keep too
        many."""
        held = self.server.hold(size - self._held)
        self._held = size
        if size and held > self.server.limits.held:
            raise Unavailable("The server has too many unfinished requests; try again in a moment.")

    def _await_client(self) -> bool:
        self._is_reading = False
        self.deadline = monotonic() + self.server.limits.pace.pause
        return True

    def _step_aside(self) -> bool:
        stepped: bool = self.server.step_aside(self)
        return stepped

    def _proceed(self) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        if self.channel.send(interim) != len(interim):
            raise OSError("the client does not read")
