"""A server that webhooks are sent to: what came is taken from it one by one."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Delivery:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    def __init__(self) -> None:
        self._came: queue.Queue[Delivery] = queue.Queue()
        #: Answers still to be given, (status, header fields, body); 204 when there are none left.
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.port = 0
        self.scheme = "http"
        #: Set while deliveries are to be answered.
        self.open = threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?x=1"

    def next(self) -> Delivery:
        return self._came.get(timeout=30)

    def numbers(self, count: int) -> list[int]:
        """Ids of the next events."""
        return [self.next().json["id"] for _ in range(count)]

    def until(self, last: int) -> list[int]:
        """Ids of what comes, up to that event."""
        came = self.numbers(1)
        while came[-1] != last:
            came += self.numbers(1)
        return came

    @property
    def is_empty(self) -> bool:
        return self._came.empty()

    def take(self, delivery: Delivery) -> tuple[int, dict[str, str], bytes]:
        answer = self.answers.pop(0) if self.answers else (204, {}, b"")
        self._came.put(delivery)
        self.open.wait(30)
        return answer


@contextmanager
def receiving(certificate: Path | None = None) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, fields, content = receiver.take(Delivery(self.path, dict(self.headers), body))
            with suppress(OSError):  # who was cut off does not listen
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that went away, or does not trust us

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
            receiver.scheme = "https"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.open.set()
            server.shutdown()
            thread.join()


@contextmanager
def deaf() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
