"""From settings to listening sockets and the processes that serve them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_address
from mmap import mmap
from socket import AF_UNIX, gethostname, socket

from davserver.operations.figures import Figures
from davserver.server.compose import open_app
from davserver.server.heap import share_one_heap
from davserver.server.http.balance import Balance
from davserver.server.http.own_hosts import OwnHosts
from davserver.server.http.proxies import TrustedProxies
from davserver.server.http.server import DavServer, address_of
from davserver.server.http.tls import TlsAdapter
from davserver.server.limits import limits_of, raise_open_files, seats_of, worker_count
from davserver.server.listen import Listeners, open_listeners
from davserver.server.people import directory_of
from davserver.server.reload import load_certificate
from davserver.server.unknown_names import unknown_names
from davserver.server.worker import work
from davserver.server.workers import Workers
from davserver.settings import Settings

#: Seconds that requests under way are given at the end.
DRAIN_SECONDS = 10

_log = logging.getLogger("davserver")


def serve(
    settings: Settings, folder: str, *, on_ready: Callable[[str], None], reread: Callable[[], Settings] | None = None
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. `on_ready` gets the base URL once it listens; `reread`
    brings the settings as they are now, for SIGHUP, or raises SettingsError.

    `folder` is the state folder. Raises OSError where the address cannot be listened on or a folder cannot be
    used, SettingsError where the certificate cannot, StateError where the state cannot.
    """
    share_one_heap()  # before the trial has threads; workers inherit it
    with ExitStack() as stack:
        listeners = open_listeners(settings.host, settings.port, os.environ)
        stack.callback(listeners.close)
        tls = _tls(settings)
        # Whatever cannot be opened is told now, once, and not by each worker over and over.
        with ExitStack() as trial:
            open_app(settings, folder, trial, working=False)
            _warn_of_names(settings)
        open_files = raise_open_files()

        count = worker_count(settings)
        memory_of_figures = Figures.shared(count)

        def open_worker(current: Settings, balance: Balance, inside: ExitStack) -> DavServer:
            figures = Figures(memory_of_figures, balance.number)
            return _open(current, folder, inside, listeners, tls, balance, open_files, figures)

        def reread_with_certificate() -> Settings:
            found = settings if reread is None else reread()
            _warn_of_names(found)
            if tls is not None:
                load_certificate(tls, found)  # a worker that starts later has it from here
            return found

        def live(current: Settings, memory: mmap, number: int, ready: int, parent: int) -> None:
            work(current, memory, number, ready, parent, open_worker, reread or (lambda: settings))

        workers = Workers(settings, count, live, drain_seconds=DRAIN_SECONDS)
        url = base_url(settings, listeners.sockets[0])
        return workers.run(
            on_ready=lambda: on_ready(url),
            reread=reread_with_certificate,
            close_listeners=listeners.close,
        )


def try_files(settings: Settings) -> list[str]:
    """Read the files that settings name, and change nothing; returns what is to be warned of. Raises SettingsError for
    the one that `serve` would."""
    _tls(settings)
    for hook in settings.webhooks.values():
        hook.key()
    return list(unknown_names(settings, directory_of(settings)))


def open_server(
    settings: Settings, folder: str, stack: ExitStack, *, clock: Callable[[], float] = time.time
) -> DavServer:
    """A server in this process, whose sockets listen and whose loop is still to be run. What it opens is closed
    with `stack`."""
    listeners = open_listeners(settings.host, settings.port, os.environ)
    stack.callback(listeners.close)
    files = raise_open_files()
    return _open(settings, folder, stack, listeners, _tls(settings), Balance(), files, Figures(), clock=clock)


def _open(
    settings: Settings,
    folder: str,
    stack: ExitStack,
    listeners: Listeners,
    tls: TlsAdapter | None,
    balance: Balance,
    open_files: int,
    figures: Figures,
    *,
    clock: Callable[[], float] = time.time,
) -> DavServer:
    limits = limits_of(settings, open_files)
    seats = seats_of(settings, limits)
    app = open_app(settings, folder, stack, clock=clock, seats=seats, figures=figures, balance=balance)
    server = DavServer(
        listeners.sockets,
        app,
        limits=limits,
        drain_seconds=DRAIN_SECONDS,
        proxies=TrustedProxies(settings.trusted_proxies),
        own_hosts=OwnHosts.of(gethostname(), settings.host),
        tls=tls,
        server_name=settings.server_header,
        balance=balance,
        on_stop=app.stop_waiting,
    )
    app.before_waiting(server.step_aside_for_others)
    server.prepare()
    return server


def _warn_of_names(settings: Settings) -> None:
    for told in unknown_names(settings, directory_of(settings)):
        _log.warning("%s", told)


def _tls(settings: Settings) -> TlsAdapter | None:
    if settings.tls.cert is None:
        return None
    adapter = TlsAdapter()
    load_certificate(adapter, settings)
    return adapter


def base_url(settings: Settings, listener: socket) -> str:
    """Where clients find the server; of a Unix socket, where a proxy does."""
    if listener.family == AF_UNIX:
        return address_of(listener)
    scheme = "http" if settings.tls.cert is None else "https"
    host, port = listener.getsockname()[:2]
    # Nobody can connect to "every address"; this one leads here from this machine.
    at = f"localhost:{port}" if ip_address(host).is_unspecified else address_of(listener)
    return f"{scheme}://{at}{settings.prefix}/"
