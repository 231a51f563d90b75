"""From settings to a listening server, and from a signal to a clean end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack

from davserver.server.compose import open_app
from davserver.server.http import DavServer
from davserver.settings import Settings

#: Threads that answer requests. One Finder opens six connections, one gvfs up to 32.
THREADS = 32
#: Seconds that requests in flight are given at the end.
DRAIN_SECONDS = 10

_log = logging.getLogger("davserver")


def serve(settings: Settings, folder: str, *, on_ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. `on_ready` gets the base URL once it listens.

    `folder` is the state folder. Raises OSError where the address cannot be listened on or a folder cannot be
    used, StateError where the state cannot.
    """
    with ExitStack() as stack:
        server = open_server(settings, folder, stack)
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        loop = threading.Thread(target=server.serve, name="davserver")
        loop.start()
        try:
            on_ready(f"http://{_authority(server)}{settings.prefix}/")
            stopping.wait()
            _log.info("stopping: requests in flight have %d seconds to finish", DRAIN_SECONDS)
        finally:
            server.stop()
            loop.join()
    return 0


def open_server(settings: Settings, folder: str, stack: ExitStack) -> DavServer:
    """A server whose socket listens and whose loop is still to be run. What it opens is closed with `stack`."""
    app = open_app(settings, folder, stack)
    server = DavServer((settings.host, settings.port), app, threads=THREADS, drain_seconds=DRAIN_SECONDS)
    server.prepare()
    return server


def _authority(server: DavServer) -> str:
    host, port = server.bind_addr
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
