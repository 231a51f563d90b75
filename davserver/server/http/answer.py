"""The head of an answer: status and header fields → bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from time import time
from typing import NamedTuple

from davserver.protocol.headers import format_http_date


class Plan(NamedTuple):
    """How an answer goes out, as its header fields and the request decide it."""

    head: bytes
    #: The body goes in chunks (RFC 9112 §7.1).
    chunked: bool
    #: The connection ends with the answer.
    close: bool


def plan(
    status: str, headers: Sequence[tuple[str, str]], *, method: str, is_11: bool, close: bool, server: str
) -> Plan:
    """`close`: the connection ends with this answer, whatever the fields say."""
    lines = [f"HTTP/1.1 {status}\r\n"]
    measured = chunked = False
    for name, value in headers:
        # Most names are told apart from those that matter here by their length.
        if len(name) == 14 and name.lower() == "content-length":
            measured = True
        elif len(name) == 10 and name.lower() == "connection":
            # A hop-by-hop field is ours to send; what the application means by it is obeyed (RFC 9112 §9.6).
            close = close or "close" in value.lower()
            continue
        lines.append(f"{name}: {value}\r\n")
    if not measured and _may_have_body(status, method):
        # RFC 9112 §6.3: a length that nobody knows is told by chunks, or by the end of the connection.
        chunked, close = is_11, close or not is_11
        if chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise ValueError("a header field of the answer holds a line end")
    return Plan((text + _last_lines(int(time()), server, close, is_11)).encode("latin-1"), chunked, close)


def _may_have_body(status: str, method: str) -> bool:
    """RFC 9110 §6.4.1."""
    return method != "HEAD" and status[:3] not in ("204", "304") and not status.startswith("1")


@lru_cache(maxsize=16)
def _last_lines(now: int, server: str, close: bool, is_11: bool) -> str:
    """What is the same for all answers of one second."""
    lines = [f"Date: {format_http_date(now)}"]  # RFC 9110 §6.6.1
    if server:
        lines.append(f"Server: {server}")
    if close:
        lines.append("Connection: close")
    elif not is_11:
        lines.append("Connection: keep-alive")
    return "\r\n".join([*lines, "", ""])
