"""All connections of one server, and the poll that tells which of them can go on.

The law of this module: whoever polls holds the *lead*. While it serves a connection, that connection has the
*seat*. Whoever takes it out of there has decided (`dict.pop` is one step): the leader itself, when it is done; the
leader before it waits (`step_aside`); or the watch, when it has taken long. In the last two cases the connection
leaves the poll, another thread leads, and the one that serves brings the connection back when it is done.

What is idle or trickles in costs no thread: epoll, level-triggered, with one entry for each connection.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Iterable
from socket import socket
from time import monotonic, sleep
from typing import TYPE_CHECKING

from cheroot.connections import ConnectionManager

from davserver.server.http.balance import Balance
from davserver.server.http.connection import DavConnection
from davserver.server.http.deadlines import Deadlines

if TYPE_CHECKING:
    from davserver.server.http.server import DavServer

_log = logging.getLogger("davserver.http")

#: Seconds after which whoever serves a connection has taken long, and another thread leads: between one and two of it.
TICK = 0.005
#: Ticks without a request after which the watch sleeps.
_QUIET = 200
#: Events of one poll.
_EVENTS = 64
#: Seconds between two looks at the deadlines.
_LOOK = 1.0
#: Seconds that a listener rests when no connection can be accepted.
_REST = 0.1
#: Connections beyond the limit that are being told so.
_TURNED_AWAY = 64
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Connections(ConnectionManager):
    """Accepts, polls, and gives each connection its turn."""

    def __init__(self, server: DavServer, listeners: Iterable[socket], balance: Balance) -> None:
        self.server = server
        self._balance = balance
        self._epoll = select.epoll()
        #: What the poll knows of, by file descriptor.
        self._polled: dict[int, DavConnection] = {}
        #: All there are, also those that a thread has taken aside.
        self._all: set[DavConnection] = set()
        #: Those that can go on although the kernel does not say so.
        self._ready: deque[DavConnection] = deque()
        self._deadlines = Deadlines()
        self._looked = 0.0
        #: The connection that the leader serves, if any.
        self._seat: dict[DavConnection, bool] = {}
        self._turns = 0
        #: The thread that has taken the lead last.
        self._leader = 0
        # Held by whoever changes who leads, what is polled from outside of the lead, or the deadlines.
        self._lock = threading.RLock()
        self._alarm = threading.Semaphore(0)
        self._is_watched = False
        self._stopping = False
        self._drained = threading.Event()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        #: Whoever rings holds it: a bell that was closed meanwhile would be somebody else's file by now.
        self._ringing = threading.Lock()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._listeners = {listener.fileno(): listener for listener in listeners}
        #: Listeners that rest, and until when.
        self._resting: dict[int, float] = {}
        for fd in self._listeners:
            self._epoll.register(fd, select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._all)

    # --- the lead

    def lead(self) -> None:
        """Poll and serve. Returns when another thread leads, or when there is nothing left to do."""
        self._leader = threading.get_ident()
        polled, ready, poll, wait = self._polled, self._ready, self._epoll.poll, self._balance.wait
        while not self._stopping or self._drain():
            wait(True)
            for fd, _ in poll(self._patience(), _EVENTS):
                conn = polled.get(fd)
                if conn is None:
                    self._hear(fd)
                elif not self._serve(conn):
                    return
            for _ in range(len(ready)):
                conn = ready.popleft()
                if polled.get(conn.fd) is conn and not self._serve(conn):
                    return
            now = monotonic()
            if now - self._looked > _LOOK:
                self._looked = now
                self._expire(now)
            if self._resting:
                self._rouse(now)

    def _serve(self, conn: DavConnection) -> bool:
        """Give a connection its turn. False: the lead was lost over it."""
        self._seat[conn] = True
        self._turns += 1
        self._balance.wait(False)
        if not self._is_watched:
            self._is_watched = True
            self._alarm.release()
        keep = conn.communicate()
        if self._seat.pop(conn, False):
            self._settle(conn, keep)
            return True
        if self._leads_still(conn):
            # Back in the seat, and back in the poll if there was room.
            self._settle(conn, keep and self._polled.get(conn.fd) is conn)
            return True
        self._bring_back(conn, keep)
        return False

    def _leads_still(self, conn: DavConnection) -> bool:
        """Somebody took the seat: wait until he is done with that. True: he found no thread, and gave it back."""
        with self._lock:
            return self._seat.pop(conn, False)

    def _settle(self, conn: DavConnection, keep: bool) -> None:
        """What a turn in the lead, or a deadline, has come to."""
        if not keep:
            self._end(conn)
            return
        if conn.wants != conn.polled_for:
            conn.polled_for = conn.wants
            self._epoll.modify(conn.fd, conn.wants)
        if conn.deadline < conn.timer:
            with self._lock:
                self._deadlines.watch(conn)
        if conn.is_ready:
            self._ready.append(conn)

    def _bring_back(self, conn: DavConnection, keep: bool) -> None:
        """What was served aside is polled again."""
        with self._lock:
            if keep:
                keep = self._enter(conn)
            if keep and conn.is_ready:
                self._ready.append(conn)
        if not keep:
            self._end(conn)
        if conn.is_ready or self._stopping:
            self._ring()

    def _patience(self) -> float:
        """Seconds that a poll may last."""
        if self._ready:
            # Without a spare thread some of them can only try again.
            return 0 if self.server.requests.has_spare else TICK
        if self._resting:
            return _REST
        return _LOOK if self._all else -1

    # --- who leads

    def step_aside(self, conn: DavConnection) -> bool:
        """The thread that serves `conn` is going to wait: let another one lead. False: none can be had, and everybody
        waits with it."""
        if conn in self._seat:
            with self._lock:
                self._replace_leader(conn)
        return conn not in self._seat

    def step_aside_for_others(self) -> None:
        """Whoever calls is going to wait for the disk, perhaps: let another thread lead if there is work for it."""
        if threading.get_ident() != self._leader:
            return
        for conn in tuple(self._seat):
            if self._ready or any(fd != conn.fd for fd, _ in self._epoll.poll(0, 2)):
                self.step_aside(conn)

    def watch(self) -> None:
        """See to it that the lead never rests with a thread that takes long over a request. Runs until the end."""
        while not self._drained.is_set():
            self._alarm.acquire()
            quiet, seen = 0, -1
            while quiet < _QUIET and not self._drained.is_set():
                sleep(TICK)
                if self._turns != seen:
                    quiet, seen = 0, self._turns
                    continue
                quiet += 1
                conn = next(iter(self._seat.copy()), None)
                if conn is not None:
                    quiet = 0
                    with self._lock:
                        if self._turns == seen:
                            self._replace_leader(conn)
            self._is_watched = False
            if self._seat or self._turns != seen:
                # A turn began while the watch was falling asleep: nobody would wake it for that one.
                self._alarm.release()

    def _replace_leader(self, conn: DavConnection) -> None:
        """Take `conn` out of the seat and the poll, if it still sits there, and let another thread lead."""
        threads = self.server.requests
        if not threads.has_spare or not self._seat.pop(conn, False):
            return
        self._leave(conn)
        if not threads.promote():
            self._enter(conn)
            self._seat[conn] = True

    def _enter(self, conn: DavConnection) -> bool:
        """False when the kernel has no room for it."""
        conn.polled_for = conn.wants
        try:
            self._epoll.register(conn.fd, conn.wants)
        except OSError as error:
            _log.warning("a connection cannot be polled: %s", error.strerror)
            return False
        self._polled[conn.fd] = conn
        self._deadlines.watch(conn)
        return True

    def _leave(self, conn: DavConnection) -> None:
        del self._polled[conn.fd]
        self._epoll.unregister(conn.fd)

    def _end(self, conn: DavConnection) -> None:
        with self._lock:
            self._polled.pop(conn.fd, None)
            self._all.discard(conn)
            self._deadlines.forget(conn)
        conn.close()
        self._balance.tell(len(self._all))
        if self._stopping:
            self._ring()

    # --- what is no request

    def _hear(self, fd: int) -> None:
        if fd == self._bell:
            os.eventfd_read(self._bell)
        elif fd in self._listeners:
            self._accept(fd)

    def _ring(self) -> None:
        """Wake the leader."""
        with self._ringing:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _accept(self, fd: int) -> None:
        if self._balance.is_my_turn:
            for _ in range(self._balance.batch):
                if not self._accept_one(fd):
                    return

    def _accept_one(self, fd: int) -> bool:
        try:
            sock, address = self._listeners[fd].accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_ROOM and _is_readable(fd) and not self._make_room():
                _log.warning("no connection can be accepted: %s", error.strerror)
                self._rest(fd)
            return False  # otherwise the client went away before it was accepted
        try:
            self._admit(sock, address)
        except OSError as error:
            _log.debug("a connection ended as it began: %s", error)
            sock.close()
        return True

    def _admit(self, sock: socket, address: object) -> None:
        limit = self.server.limits.connections
        crowded = len(self._all) >= limit and not self._make_room()
        if crowded and len(self._all) >= limit + _TURNED_AWAY:
            sock.close()
            return
        host, port = address[:2] if isinstance(address, tuple) else ("", 0)
        conn = self.server.ConnectionClass(self.server, sock, host, port, self.server.environ)
        with self._lock:
            self._all.add(conn)
            keep = self._enter(conn)
        self._balance.tell(len(self._all))
        if crowded or not keep:
            self._settle(conn, keep and conn.turn_away())

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest. False when all are in use."""
        with self._lock:
            idle = next(
                (conn for conn in self._deadlines.first() if conn.is_idle and self._polled.get(conn.fd) is conn), None
            )
        if idle is not None:
            self._end(idle)
        return idle is not None

    def _rest(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._resting[fd] = monotonic() + _REST

    def _rouse(self, now: float) -> None:
        for fd in [fd for fd, until in self._resting.items() if until <= now]:
            del self._resting[fd]
            self._epoll.register(fd, select.EPOLLIN)

    def _expire(self, threshold: float) -> None:
        """End, or answer, those whose deadline has passed."""
        with self._lock:
            passed = list(self._deadlines.passed(threshold))
        for conn in passed:
            if self._polled.get(conn.fd) is conn:  # otherwise a thread has it, and keeps the time itself
                self._settle(conn, conn.expire())

    # --- the end

    def stop(self, seconds: float = 0) -> None:
        """Accept nothing more, close what is idle, and wait until the requests under way are answered; after
        `seconds` cut them off."""
        self._stopping = True
        self._ring()
        if not self._drained.wait(seconds):
            with self._lock:
                left = list(self._all)
            _log.warning("%d connections were cut off at the end", len(left))
            for conn in left:
                conn.channel.abort()
            self._drained.wait(_LOOK)
        self._drained.set()
        self._alarm.release()

    def _drain(self) -> bool:
        """Is there anything left to wait for?"""
        for fd in list(self._listeners):
            if fd not in self._resting:
                self._epoll.unregister(fd)
            self._listeners.pop(fd).close()
        self._resting.clear()
        for conn in list(self._polled.values()):
            if conn.is_idle:
                self._end(conn)
        if self._all and not self._drained.is_set():
            return True
        self._drained.set()
        return False

    def close(self) -> None:
        """Whatever is left. Nobody may lead any more."""
        for conn in list(self._all):
            self._end(conn)
        self._epoll.close()
        with self._ringing:
            os.close(self._bell)
            self._bell = -1


def _is_readable(listener: int) -> bool:
    """Does anybody wait to be accepted? Without room for a descriptor the kernel does not even look."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
