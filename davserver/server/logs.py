"""Where log lines go, which of them, and what they look like."""

from __future__ import annotations

import logging
import time
from typing import TextIO

from davserver.settings import Settings


def log_to(stream: TextIO, settings: Settings) -> None:
    """Everything that davserver has to say, one line each."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines())
    logger = logging.getLogger("davserver")
    logger.addHandler(handler)
    logger.propagate = False
    # Nobody asks a record for these, and each request makes one.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    set_log_level(settings)


def set_log_level(settings: Settings) -> None:
    logging.getLogger("davserver").setLevel(settings.log.level.upper())
    logging.getLogger("davserver.access").setLevel(logging.NOTSET if settings.log.access else logging.WARNING)


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
