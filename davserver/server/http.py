"""cheroot's connection and request classes, where stock cheroot bends.

Kept: sockets, threads, connection management, head parsing. Changed through its own seams
(`ConnectionClass`, `RequestHandlerClass`, gateway):
  * `100 Continue` is sent when the application first reads the body, not before it may refuse;
  * bodies are `server.bodies`: streamed, strict, and a short one is an error;
  * a body that was refused is drained in small blocks up to a limit; beyond it the answer says
    `Connection: close`, and the connection lingers so that Explorer and Finder get to see the answer;
  * an answer's own `Connection: close` is obeyed;
  * a file is sent with sendfile through `wsgi.file_wrapper` (PEP 3333).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from io import FileIO
from typing import Any

from cheroot.makefile import MakeFile
from cheroot.server import HeaderReader, HTTPConnection, HTTPRequest
from cheroot.wsgi import Gateway_10, Server

from davserver.protocol.errors import BadRequest
from davserver.protocol.messages import FileSlice
from davserver.server.bodies import RequestBody, drain, open_body

_log = logging.getLogger("davserver.http")

#: Bytes of a refused body that are read to keep the connection; a client that sends more is cut off.
DRAIN_LIMIT = 1 << 20
#: Bytes and seconds that a closing connection goes on reading, so that the answer is not lost to a reset.
LINGER_LIMIT = 64 << 20
LINGER_SECONDS = 5.0
#: Seconds without a byte before a connection is given up: Finder pauses 30 s in an upload, phones longer.
SOCKET_TIMEOUT = 120
#: Open connections beyond which each is closed after its answer.
MAX_CONNECTIONS = 900


class FileWrapper:
    """`wsgi.file_wrapper`: marks a body that is a part of a file."""

    def __init__(self, part: FileSlice) -> None:
        self.part = part

    def __iter__(self) -> Iterator[bytes]:
        offset, left = self.part.offset, self.part.length
        while left:
            block = os.pread(self.part.fd, min(left, 256 * 1024), offset)
            if not block:
                raise EOFError("the file was cut while it was being sent")
            yield block
            offset += len(block)
            left -= len(block)

    def close(self) -> None:
        self.part.close()


class _FieldReader(HeaderReader):
    """Drops field names with "_": WSGI cannot tell them from those with "-", which a proxy may have vouched for."""

    def _allow_header(self, key_name: bytes) -> bool:
        return b"_" not in key_name


class DavRequest(HTTPRequest):
    """One request on a connection."""

    def __init__(self, server: Any, conn: Any, proxy_mode: bool = False, strict_mode: bool = True) -> None:
        super().__init__(server, conn, proxy_mode, strict_mode)
        self.expects_continue = False
        self.header_reader = self._read_header_fields

    def _read_header_fields(self, rfile: Any, fields: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        fields = _FieldReader()(rfile, fields)
        # Taken away before cheroot sees it: it would send the 100 at once.
        expectation = fields.pop(b"Expect", b"")
        self.expects_continue = expectation.lower() == b"100-continue" and self.response_protocol == "HTTP/1.1"
        return fields

    def respond(self) -> None:
        try:
            self.rfile = self.body = open_body(
                self.conn.rfile,
                length=self._field(b"Content-Length"),
                chunked=self.chunked_read,
                proceed=self._proceed if self.expects_continue else None,
            )
        except BadRequest as error:
            self.close_connection = True
            self.simple_response("400 Bad Request", error.message)
            return
        self.server.gateway(self).respond()
        if self.ready:
            self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")
        if self.close_connection and not self.body.at_end and not self.body.broken:
            self._linger()

    def send_headers(self) -> None:
        """Settle what is left of the request before the answer's head goes out (RFC 9112 §9.3, §9.6)."""
        if any(name.lower() == b"connection" and b"close" in value.lower() for name, value in self.outheaders):
            self.close_connection = True
        if not self.close_connection and not self._settle(self.body):
            self.close_connection = True
        super().send_headers()

    def _settle(self, body: RequestBody) -> bool:
        """Is the connection ready for the next request?"""
        if body.at_end:
            return True
        if body.broken or body.is_awaited:
            # A client that was not told to continue may or may not send its body: nobody can know.
            return False
        if body.length is not None and body.length > DRAIN_LIMIT:
            return False
        return drain(body, DRAIN_LIMIT)

    def _linger(self) -> None:
        """RFC 9112 §9.6: closing with unread data in the socket would reset the connection, and the client
        would lose the answer. Say that nothing more comes, then read on for a moment."""
        sock, deadline, left = self.conn.socket, time.monotonic() + LINGER_SECONDS, LINGER_LIMIT
        try:
            sock.shutdown(socket.SHUT_WR)
            while left > 0 and (remaining := deadline - time.monotonic()) > 0:
                sock.settimeout(remaining)
                data = sock.recv(65536)
                if not data:
                    return
                left -= len(data)
        except OSError:
            return  # the client has gone: what was lingered for is over

    def _proceed(self) -> None:
        self.conn.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _field(self, name: bytes) -> str | None:
        value = self.inheaders.get(name)
        return None if value is None else value.decode("latin-1")


class DavGateway(Gateway_10):
    """WSGI, with bodies of ours in and files out by sendfile."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ["wsgi.input"] = self.req.body
        environ["wsgi.input_terminated"] = True
        environ["wsgi.file_wrapper"] = FileWrapper
        return environ

    def respond(self) -> None:
        response = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            if isinstance(response, FileWrapper):
                self.req.ensure_headers_sent()
                self._send_file(response.part)
            else:
                for chunk in response:
                    if chunk:
                        self.write(chunk)
            self.req.ensure_headers_sent()
        finally:
            if hasattr(response, "close"):
                response.close()

    def _send_file(self, part: FileSlice) -> None:
        if part.length:
            with FileIO(part.fd, "rb", closefd=False) as file:
                sent = self.req.conn.socket.sendfile(file, part.offset, part.length)
            if sent != part.length:
                # The file shrank: the announced length cannot be kept, so the connection must not be either.
                self.req.close_connection = True


class DavConnection(HTTPConnection):
    RequestHandlerClass = DavRequest

    def __init__(self, server: Any, sock: Any, makefile: Any = MakeFile) -> None:
        super().__init__(server, sock, makefile)
        server.connections.add(self)

    def close(self) -> None:
        self.server.connections.discard(self)
        super().close()


class DavServer(Server):
    """cheroot's server with our classes, logging through `logging`."""

    ConnectionClass = DavConnection

    def __init__(self, address: tuple[str, int], app: Any, *, threads: int, drain_seconds: int) -> None:
        super().__init__(
            address,
            app,
            numthreads=threads,
            server_name="davserver",
            request_queue_size=128,
            timeout=SOCKET_TIMEOUT,
            shutdown_timeout=drain_seconds,
        )
        self.gateway = DavGateway
        self.connections: set[DavConnection] = set()
        self.max_request_header_size = 32 * 1024

    @property
    def can_add_keepalive_connection(self) -> bool:
        """May a connection stay open after its answer? cheroot counts with a lock that all threads queue for."""
        return self.ready and len(self.connections) < MAX_CONNECTIONS

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        _log.log(level, "%s", msg, exc_info=traceback)
