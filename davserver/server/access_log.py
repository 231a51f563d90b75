"""One line a request. It never holds a token, a password or a query string."""

from __future__ import annotations

import logging

_log = logging.getLogger("davserver.access")


def log_access(*, address: str, user: str, method: str, target: str, status: int, sent: int, seconds: float) -> None:
    """`target` is the request-target as it came; whatever is not printable ASCII in it, or in `user`, is escaped,
    so that nobody writes lines of his own into the log."""
    if _log.isEnabledFor(logging.INFO):
        _log.info(
            '%s %s "%s %s" %d %d %.1fms',
            address or "-",
            _printable(user) or "-",
            _printable(method),
            _printable(target.partition("?")[0]),
            status,
            sent,
            seconds * 1000,
        )


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
