"""From a request to the WSGI application, and from what that returns to bytes on the connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from cheroot.wsgi import Gateway

from davserver.protocol.messages import FileSlice
from davserver.server.http.answer import Plan, plan
from davserver.server.http.bodies import RequestBody
from davserver.server.http.head import Head
from davserver.server.http.inbound import Inbound
from davserver.server.http.proxies import FORWARDED, TrustedProxies, forget_forwarded

if TYPE_CHECKING:
    from davserver.server.http.connection import DavConnection

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class FileWrapper:
    """`wsgi.file_wrapper` (PEP 3333): marks a body that is a part of a file."""

    def __init__(self, part: FileSlice) -> None:
        self.part = part
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        """For whatever stands between the application and us and wants the bytes themselves."""
        offset, left = self.part.offset, self.part.length
        while left:
            block = os.pread(self.part.fd, min(left, 256 * 1024), offset)
            if not block:
                raise EOFError("the file was cut while it was being sent")
            yield block
            offset += len(block)
            left -= len(block)
            self._sent += len(block)

    def close(self) -> None:
        self.part.close()
        if self.part.sent is not None:
            self.part.sent(self._sent)


class Later:
    """`davserver.later`: an answer that somebody must wait for the disk to give. Other connections have their turn
    before."""

    def __init__(self, answer: Callable[[], Iterable[bytes]]) -> None:
        self.answer = answer


class Exchange:
    """One request, and what has been decided of its answer."""

    __slots__ = ("body", "close", "conn", "head", "inbound", "server")

    def __init__(self, conn: DavConnection, head: Head, body: RequestBody, inbound: Inbound | None) -> None:
        self.server = conn.server
        self.conn = conn
        self.head = head
        self.body = body
        self.inbound = inbound
        #: The connection ends with the answer. True until the answer's head says otherwise.
        self.close = True


class DavGateway(Gateway):
    """WSGI for one exchange."""

    req: Exchange

    def __init__(self, req: Exchange) -> None:
        self.req = req
        self._status = ""
        self._headers: Sequence[tuple[str, str]] = ()
        self._plan: Plan | None = None
        self._later: Later | None = None

    @property
    def is_waiting(self) -> bool:
        """The answer is to be had by `go_on`."""
        return self._later is not None

    @property
    def has_begun(self) -> bool:
        """The head of the answer is decided, and may have gone out."""
        return self._plan is not None

    def respond(self) -> None:
        answer = self.req.server.wsgi_app(self.get_environ(), self.start_response)
        if isinstance(answer, Later):
            self._later = answer
        else:
            self._pass(answer)

    def go_on(self) -> None:
        """It may take a while."""
        later, self._later = self._later, None
        if later is not None:
            self._pass(later.answer())

    def _pass(self, answer: Iterable[bytes]) -> None:
        exchange = self.req
        if isinstance(answer, FileWrapper):
            exchange.conn.send_file(self._decide().head, answer.part)
        elif isinstance(answer, tuple):
            exchange.conn.send(self._decide().head + b"".join(answer))
        else:
            self._stream(answer)

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        exchange = self.req
        head, conn = exchange.head, exchange.conn
        target = head.target
        path, _, query = target.partition("?")
        if not path.startswith("/"):
            # RFC 9112 §3.2.2, §3.2.4: absolute-form and asterisk-form.
            path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
        environ: dict[str, Any] = {**conn.environ, **head.environ}
        environ["REQUEST_METHOD"] = head.method
        environ["REQUEST_URI"] = target
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
        environ["QUERY_STRING"] = query
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if head.is_11 else "HTTP/1.0"
        environ["wsgi.input"] = exchange.body
        environ["davserver.fields"] = head.fields
        if conn.own_hosts is not None and not conn.own_hosts.include(head.fields.get("host", "")):
            environ["davserver.misnamed"] = True
        if not FORWARDED.isdisjoint(head.fields):
            if conn.proxies is None:
                environ["davserver.fields"] = forget_forwarded(head.fields, environ)
            else:
                _hear(conn.proxies, head.fields, environ)
        return environ

    def start_response(
        self, status: str, headers: Sequence[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333. The head goes out with the first bytes of the body."""
        if self._status and exc_info is None:
            raise RuntimeError("start_response was called a second time without exc_info")
        if exc_info is not None and self._plan is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        self._status, self._headers = status, headers
        return self.write

    def write(self, chunk: bytes) -> None:
        """Send a part of the body, behind the head if that has not gone yet; wait for a client that is slow."""
        if self._plan is None:
            begun = self._decide()
            data = begun.head + self._framed(chunk)
        else:
            data = self._framed(chunk)
        self.req.conn.send_waiting(data)

    def _stream(self, answer: Iterable[bytes]) -> None:
        try:
            for chunk in answer:
                if chunk:
                    self.write(chunk)
            if self._plan is None:
                self.req.conn.send(self._decide().head + self._end())
            elif self._plan.chunked:
                self.req.conn.send(self._end())
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def _framed(self, chunk: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._plan is not None and self._plan.chunked else chunk

    def _end(self) -> bytes:
        return b"0\r\n\r\n" if self._plan is not None and self._plan.chunked else b""

    def _decide(self) -> Plan:
        exchange = self.req
        if not self._status:
            raise RuntimeError("the application returned without start_response")
        decided = self._plan = plan(
            self._status,
            self._headers,
            method=exchange.head.method,
            is_11=exchange.head.is_11,
            close=not exchange.conn.may_keep(exchange),
            server=exchange.server.server_name,
        )
        exchange.close = decided.close
        # Nothing more is read for this request; what is sent must not block.
        exchange.conn.channel.end_bulk()
        return decided


def _hear(proxies: TrustedProxies, fields: Mapping[str, str], environ: dict[str, Any]) -> None:
    """A proxy of ours speaks for its client. X-Forwarded-Host stays for whoever compares hosts."""
    forwarded = fields.get("x-forwarded-for")
    if forwarded is not None:
        environ["REMOTE_ADDR"] = proxies.client(forwarded, environ["REMOTE_ADDR"])
    scheme = fields.get("x-forwarded-proto", "").rpartition(",")[2].strip(" \t").lower()
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
