"""Where log lines go, which of them, and what they look like: text for people, or JSON lines for programs."""

from __future__ import annotations

import json
import logging
import time
from typing import TextIO

from davserver.server.access_log import AccessEntry
from davserver.settings import Settings

#: The parts of the log, by the loggers of them; what is none of these is the server's own.
_PARTS = {"davserver.access": "access", "davserver.audit": "audit", "davserver.http": "http"}


def log_to(stream: TextIO, settings: Settings) -> None:
    """Everything that davserver has to say, one line each."""
    logger = logging.getLogger("davserver")
    logger.addHandler(logging.StreamHandler(stream))
    logger.propagate = False
    # Nobody asks a record for these, and each request makes one.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    set_up_log(settings)


def set_up_log(settings: Settings) -> None:
    """Level and form, as they are to be from now on."""
    logger = logging.getLogger("davserver")
    for handler in logger.handlers:
        handler.setFormatter(_JsonLines() if settings.log.format == "json" else _Lines())
    logger.setLevel(settings.log.level.upper())
    logging.getLogger("davserver.access").setLevel(logging.NOTSET if settings.log.access else logging.WARNING)
    # What an auditor looks for is told at every level.
    logging.getLogger("davserver.audit").setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """`2026-06-15 15:30:00,123 INFO message`. The second is written once, and not for every line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._second, self._text = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        second = int(record.created)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = second
        return f"{self._text},{int(record.msecs):03}"


class _JsonLines(logging.Formatter):
    """`{"time": "2026-06-15T15:30:00.123Z", "level": "info", "log": "server", "message": "…"}`; a request's line has
    its parts in place of a message."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(record.created)))
        told: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "log": _PARTS.get(record.name, "server"),
        }
        if isinstance(record.msg, AccessEntry):
            told.update(record.msg._asdict())
        else:
            told["message"] = record.getMessage()
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)
