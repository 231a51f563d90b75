"""AtThreadEnd: what a thread had for itself is taken back when it has ended, whoever started it."""

from __future__ import annotations

from collections.abc import Callable


class AtThreadEnd:
    """Keep it in a `threading.local`, and nowhere else: it calls when the thread has ended, in that thread, or when
    another is kept in its place. The call must not use that `threading.local`, and nothing learns of what it raises."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __del__(self) -> None:
        self._call()
