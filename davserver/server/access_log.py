"""One line a request. It never holds a token, a password or a query string."""

from __future__ import annotations

import logging

_log = logging.getLogger("davserver.access")


def is_logging() -> bool:
    """Is a line of a request of any use?"""
    return _log.isEnabledFor(logging.INFO)


def log_access(*, address: str, user: str, method: str, target: str, status: int, sent: int, seconds: float) -> None:
    """`target` is the request-target as it came; whatever is not printable ASCII in it, or in `user`, is escaped,
    so that nobody writes lines of his own into the log."""
    if not is_logging():
        return
    path = target.partition("?")[0]
    line = (
        f'{address or "-"} {_printable(user) or "-"} "{_printable(method)} {_printable(path)}" '
        f"{status} {sent} {seconds * 1000:.1f}ms"
    )
    # `Logger.info` would look for the line of code that calls it, which costs more than all the rest.
    _log.handle(logging.LogRecord(_log.name, logging.INFO, "", 0, line, None, None))


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
