"""From settings to a listening server, and from a signal to a clean end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack

from davserver.access.access import Access
from davserver.server.app import DavApp
from davserver.server.http import DavServer
from davserver.settings import Settings

#: Threads that answer requests. One Finder opens six connections, one gvfs up to 32.
THREADS = 32
#: Seconds that requests in flight are given at the end.
DRAIN_SECONDS = 10.0

_log = logging.getLogger("davserver")


def serve(settings: Settings, *, on_ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. `on_ready` gets the base URL once it listens.

    Raises OSError where the address cannot be listened on, StateError where the state folder is unusable.
    """
    with ExitStack() as stack:
        shares = _open_shares(settings, stack)
        app = DavApp(shares, Access.of(settings), prefix=settings.prefix)
        server = DavServer((settings.host, settings.port), app, threads=THREADS, drain_seconds=DRAIN_SECONDS)
        server.prepare()
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        loop = threading.Thread(target=server.serve, name="davserver")
        loop.start()
        try:
            on_ready(_base_url(server, settings))
            stopping.wait()
        finally:
            _log.info("stopping: requests in flight have %d seconds to finish", DRAIN_SECONDS)
            server.stop()
            loop.join()
    return 0
