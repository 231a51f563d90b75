"""The head of an answer: status and header fields → bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from time import time
from typing import NamedTuple

from davserver.protocol.dates import format_http_date


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
    text = f"HTTP/1.1 {status}\r\n" + "".join([f"{name}: {value}\r\n" for name, value in headers])
    if text.count("\n") != len(headers) + 1 or text.count("\r") != len(headers) + 1:
        raise ValueError("a header field of the answer holds a line end")
    found = text.lower()
    if "\nconnection:" in found:
        # A hop-by-hop field is ours to send; what the application means by it is obeyed (RFC 9112 §9.6).
        meant = [value for name, value in headers if name.lower() == "connection"]
        kept = [field for field in headers if field[0].lower() != "connection"]
        ends = close or any("close" in value.lower() for value in meant)
        return plan(status, kept, method=method, is_11=is_11, close=ends, server=server)
    chunked = False
    if "\ncontent-length:" not in found and _may_have_body(status, method):
        # RFC 9112 §6.3: a length that nobody knows is told by chunks, or by the end of the connection.
        chunked, close = is_11, close or not is_11
        if chunked:
            text += "Transfer-Encoding: chunked\r\n"
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
