"""One line a request, and one for each login that failed. Neither ever holds a token, a password or a query string."""

from __future__ import annotations

import logging
from typing import NamedTuple

_log = logging.getLogger("davserver.access")


class AccessEntry(NamedTuple):
    """What the log tells of a request, in the order in which it does. Whatever is not printable ASCII is escaped."""

    address: str
    user: str
    method: str
    path: str
    status: int
    bytes: int
    milliseconds: float

    def __str__(self) -> str:
        return (
            f'{self.address or "-"} {self.user or "-"} "{self.method} {self.path}" '
            f"{self.status} {self.bytes} {self.milliseconds:.1f}ms"
        )


def is_logging() -> bool:
    """Is a line of a request of any use?"""
    return _log.isEnabledFor(logging.INFO)


def log_access(*, address: str, user: str, method: str, target: str, status: int, sent: int, seconds: float) -> None:
    """`target` is the request-target as it came; whatever is not printable ASCII in it, or in `user`, is escaped,
    so that nobody writes lines of his own into the log."""
    if not is_logging():
        return
    path = target.partition("?")[0]
    entry = AccessEntry(
        address, printable(user), printable(method), printable(path), status, sent, round(seconds * 1000, 1)
    )
    # `Logger.info` would look for the line of code that calls it, which costs more than all the rest.
    _log.handle(logging.LogRecord(_log.name, logging.INFO, "", 0, entry, None, None))


def printable(text: str) -> str:
    """Nobody writes lines of his own into the log."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
