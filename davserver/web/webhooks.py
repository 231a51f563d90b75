"""Webhooks: lock events, told to other servers over HTTP.

Each event is a POST of its JSON, in the order in which things happened. What is not taken (any answer but 2xx, or
none) is sent again, later and later, and what comes after it waits; a redirect is not followed. A day later it is
dropped with the events themselves. No request ever waits for any of this: it reads what requests have written.

Who receives it can tell that it comes from here and now: the signature is the HMAC-SHA256, keyed with the secret that
both know, of the moment, a full stop and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import SHUT_RDWR
from urllib.parse import urlsplit

from davserver import __version__
from davserver.protocol.errors import Refused
from davserver.protocol.holder import OPERATOR
from davserver.protocol.paths import DavPath
from davserver.storage.deliveries import Deliveries
from davserver.storage.lock_events import LockEvent, LockEvents, What
from davserver.web.events import event_model

#: Seconds between two looks: for a turn that another process has, and for events.
TURN_SECONDS, LOOK_SECONDS = 2.0, 0.25
#: Seconds that a receiver may let pass without a sign of life.
PATIENCE = 10.0
#: Seconds between two attempts: this, doubled with each, and never more than that.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
#: Bytes of an answer that are read, to keep the connection.
_ANSWER = 64 * 1024
_BATCH = 100
#: Seconds that an attempt under way is given at the end, and once more after it was cut off.
_GRACE = 1.0

_log = logging.getLogger("davserver")


@dataclass(frozen=True, slots=True)
class Webhook:
    name: str
    url: str
    key: bytes
    #: Which events, and of locks where.
    events: frozenset[What]
    path: DavPath

    def wants(self, event: LockEvent) -> bool:
        near = self.path.contains(event.root) or event.root.contains(self.path)
        return near and event.what in self.events


def signature(key: bytes, moment: str, body: bytes) -> str:
    """The value of Davserver-Signature; `moment` is that of Davserver-Timestamp."""
    return "sha256=" + hmac.new(key, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()


class Webhooks:
    """All webhooks of one process: a thread for each, most of which find that it is another process's turn."""

    def __init__(
        self,
        hooks: Sequence[Webhook],
        events: LockEvents,
        deliveries: Deliveries,
        *,
        prefix: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stopping = threading.Event()
        self._couriers = [_Courier(hook, events, deliveries, prefix, clock, self._stopping) for hook in hooks]

    def start(self) -> None:
        for courier in self._couriers:
            courier.start()

    def stop(self) -> None:
        """An attempt under way may end; one that takes long is cut off, and made again after the next start."""
        self._stopping.set()
        deadline = time.monotonic() + _GRACE
        for courier in self._couriers:
            courier.join(max(deadline - time.monotonic(), 0.0))
        for courier in self._couriers:
            courier.cut_off()
            courier.join(_GRACE)


class _Courier(threading.Thread):
    """One webhook."""

    def __init__(
        self,
        hook: Webhook,
        events: LockEvents,
        deliveries: Deliveries,
        prefix: str,
        clock: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        super().__init__(name=f"webhook-{hook.name}", daemon=True)
        self._hook, self._events, self._deliveries = hook, events, deliveries
        self._prefix, self._clock, self._stopping = prefix, clock, stopping
        self._connection: http.client.HTTPConnection | None = None
        self._failures = 0
        #: The last event that was looked at.
        self._passed = 0

    def run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = self._go_on() if self._deliveries.take(self._hook.name) else TURN_SECONDS
            except Refused as refused:
                _log.warning("webhook %s: %s", self._hook.name, refused.message)
                pause = TURN_SECONDS
            except Exception:
                _log.exception("webhook %s failed", self._hook.name)
                pause = LONGEST_PAUSE
        self._hang_up()

    def cut_off(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(SHUT_RDWR)

    def _go_on(self) -> float:
        """Deliver what there is. Seconds until the next look."""
        name, noted = self._hook.name, self._deliveries.last(self._hook.name)
        if noted is None:
            return LONGEST_PAUSE  # another server on this state knows nothing of it
        self._passed = last = max(noted, self._passed)
        some = self._events.after(last, _BATCH)
        if not some:
            self._hang_up()
            return LOOK_SECONDS
        if some[0].number > last + 1:
            _log.warning("webhook %s: %d events were dropped undelivered", name, some[0].number - last - 1)
        for event in some:
            if self._stopping.is_set():
                break
            if self._hook.wants(event):
                trouble = self._deliver(event)
                if trouble is not None:
                    return self._failed(event, trouble)
                self._failures = 0
                self._deliveries.note(name, event.number)
            elif event.number >= noted + _BATCH:
                # What is passed over is noted now and then: looking at it once more does no harm.
                self._deliveries.note(name, event.number)
                noted = event.number
            self._passed = event.number
        return 0.0

    def _failed(self, event: LockEvent, trouble: str) -> float:
        self._hang_up()
        pause = min(FIRST_PAUSE * (1 << self._failures), LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 20)
        _log.warning("webhook %s: event %d: %s; again in %d s", self._hook.name, event.number, trouble, pause)
        return pause

    def _deliver(self, event: LockEvent) -> str | None:
        """What went wrong; None: it was taken."""
        body = event_model(event, OPERATOR, self._prefix).model_dump_json(exclude_none=True).encode()
        moment = str(int(self._clock()))
        fields = {
            "Content-Type": "application/json",
            "User-Agent": f"davserver/{__version__}",
            "Davserver-Event": event.what.value,
            "Davserver-Delivery": str(event.number),
            "Davserver-Timestamp": moment,
            "Davserver-Signature": signature(self._hook.key, moment, body),
        }
        url = urlsplit(self._hook.url)
        try:
            connection = self._connect()
            connection.request("POST", (url.path or "/") + (f"?{url.query}" if url.query else ""), body, fields)
            answer = connection.getresponse()
            rest = answer.read(_ANSWER + 1)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            return f"{type(error).__name__}: {error}"
        if len(rest) > _ANSWER:
            self._hang_up()
        return None if 200 <= answer.status < 300 else f"it was answered {answer.status}"

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            url = urlsplit(self._hook.url)
            host, port = url.hostname or "", url.port
            if url.scheme == "https":
                context = ssl.create_default_context()
                self._connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
        return self._connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
