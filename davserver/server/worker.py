"""One worker process: it opens the state for itself, serves, and ends when it is told to or its parent is gone."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from mmap import mmap

from davserver.server.heap import give_back
from davserver.server.http.balance import Balance
from davserver.server.http.server import DavServer
from davserver.server.reload import take_over
from davserver.settings import Settings, SettingsError

_log = logging.getLogger("davserver")

#: Threads wait for slow clients and disks; none of them goes deep.
_STACK = 512 * 1024
#: Seconds between two times that free memory is given back.
_TIDY = 15.0

Open = Callable[[Settings, Balance, ExitStack], DavServer]


def work(
    settings: Settings,
    memory: mmap,
    number: int,
    ready: int,
    parent: int,
    open_server: Open,
    reread: Callable[[], Settings] | None,
) -> None:
    """The life of worker `number`. `ready` is written to once it serves; `parent` ends with the parent."""
    threading.stack_size(_STACK)
    # Nobody touches what was loaded before the fork: its pages stay shared, and collections pass it by.
    gc.freeze()
    told = _signals(signal.SIGTERM, signal.SIGHUP)
    with ExitStack() as stack:
        balance = Balance(memory, number)
        server = open_server(settings, balance, stack)
        loop = threading.Thread(target=server.serve, name="davserver-watch")
        loop.start()
        balance.tell(0)
        os.write(ready, b"r")
        os.close(ready)
        try:
            while _next(told, parent) is signal.SIGHUP:
                _reload(server, reread)
        finally:
            balance.leave()
            server.stop()
            loop.join()


def _signals(*numbers: int) -> int:
    """A descriptor that brings these signals, one byte each."""
    # Ctrl-C reaches every process of the terminal; the parent tells us what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # they were held back since before the fork
    return reading


def _next(told: int, parent: int) -> signal.Signals:
    """What is to be done next; SIGTERM also when the parent has gone. Nothing else is done meanwhile but to tidy up."""
    waiter = select.poll()
    waiter.register(told, select.POLLIN)
    waiter.register(parent, select.POLLIN)
    while not (ready := [fd for fd, _ in waiter.poll(_TIDY * 1000)]):
        give_back()
    return signal.Signals(os.read(told, 1)[0]) if told in ready else signal.SIGTERM


def _reload(server: DavServer, reread: Callable[[], Settings] | None) -> None:
    if reread is not None:
        try:
            take_over(server, reread())
        except SettingsError as error:
            _log.error("the settings stay as they are: %s", error)
