"""cheroot's server with our classes in its seams.

Kept of cheroot: the server object with its settings and its life cycle (prepare, serve, stop), the classes that
stand for a connection, a gateway, a thread pool and a connection manager, and TLS as an adapter. Replaced in
them is what bends under load or under attack: parsing (`head`), bodies and `100 Continue` (`bodies`, `inbound`),
answers (`answer`, `outgoing`), who polls and who serves (`connections`, `threads`).
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from socket import AF_UNIX, socket
from typing import Any

from cheroot.wsgi import Server

from davserver.server.http.balance import Balance
from davserver.server.http.channel import Channel, TlsChannel
from davserver.server.http.connection import DavConnection
from davserver.server.http.connections import Connections
from davserver.server.http.gateway import DavGateway
from davserver.server.http.inbound import Pace
from davserver.server.http.own_hosts import OwnHosts
from davserver.server.http.proxies import TrustedProxies
from davserver.server.http.threads import Threads
from davserver.server.http.tls import TlsAdapter

_log = logging.getLogger("davserver.http")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, may take."""

    #: Largest head of a request, in bytes.
    header: int = 32 * 1024
    #: Seconds that a head may take, and a connection to bring its first one.
    head_seconds: float = 20
    #: Seconds that a connection is kept between two requests. Finder keeps six, and asks every minute.
    idle_seconds: float = 120
    pace: Pace = field(default_factory=lambda: Pace(1024, 120))
    #: Requests that may wait for something at the same time: each of them holds a thread.
    threads: int = 1000
    connections: int = 20_000
    #: Bytes of heads and small bodies that are not whole yet, of all connections together.
    held: int = 64 * 2**20


class DavServer(Server):
    """Serves an application on sockets that listen already."""

    ConnectionClass = DavConnection

    def __init__(
        self,
        listeners: Sequence[socket],
        app: Callable[..., Iterable[bytes]],
        *,
        limits: Limits,
        drain_seconds: int,
        proxies: TrustedProxies | None = None,
        own_hosts: OwnHosts | None = None,
        tls: TlsAdapter | None = None,
        server_name: str = "davserver",
        balance: Balance | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        """`on_stop`: called when the server begins to end, so that requests which wait for something are answered."""
        address = listeners[0].getsockname()
        super().__init__(address if isinstance(address, str) else address[:2], app, shutdown_timeout=drain_seconds)
        self.listeners = listeners
        self.limits = limits
        self.gateway = DavGateway
        self.server_name = server_name
        self.ssl_adapter = tls
        self.proxies = proxies or TrustedProxies(())
        self.own_hosts = own_hosts or OwnHosts(())
        self.timeout = limits.idle_seconds
        for listener in listeners:
            listener.setblocking(False)
        self._connections = Connections(self, listeners, balance or Balance())
        self.requests = Threads(self._connections.lead, limits.threads)
        self.step_aside = self._connections.step_aside
        self.step_aside_for_others = self._connections.step_aside_for_others
        self._on_stop = on_stop
        self._held, self._holding = 0, threading.Lock()
        #: What is the same for every request.
        self.environ: dict[str, Any] = {
            "ACTUAL_SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": "",
            "SERVER_NAME": "" if isinstance(address, str) else address[0],
            "SERVER_PORT": "" if isinstance(address, str) else str(address[1]),
            "SERVER_SOFTWARE": server_name,
            "wsgi.errors": sys.stderr,
            "wsgi.input_terminated": True,
            "wsgi.multiprocess": True,
            "wsgi.multithread": True,
            "wsgi.run_once": False,
            "wsgi.url_scheme": "http" if tls is None else "https",
            "wsgi.version": (1, 0),
        }

    @property
    def scheme(self) -> str:
        return "http" if self.ssl_adapter is None else "https"

    def open_channel(self, sock: socket) -> Channel:
        return Channel(sock) if self.ssl_adapter is None else TlsChannel(sock, self.ssl_adapter.context)

    def hold(self, more: int) -> int:
        """So many bytes more are kept of what is not whole yet; how many that makes."""
        with self._holding:
            self._held += more
            return self._held

    def prepare(self) -> None:
        """The sockets listen already."""
        self.ready = True

    def serve(self) -> None:
        """Returns after `stop`, when the last request is answered."""
        self.requests.start()
        self._connections.watch()
        self.requests.stop(1)
        self._connections.close()

    def stop(self) -> None:
        """Answer the requests under way, which have `drain_seconds`, and end."""
        if self.ready:
            self.ready = False
            if self._on_stop is not None:
                self._on_stop()
            self._connections.stop(self.shutdown_timeout)

    @property
    def can_add_keepalive_connection(self) -> bool:
        return self.ready

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        _log.log(level, "%s", msg, exc_info=traceback)


def address_of(listener: socket) -> str:
    """ "127.0.0.1:8080", "[::1]:8080" or "unix:/run/davserver.sock"."""
    if listener.family == AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
