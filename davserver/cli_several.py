"""Commands that do the same to several things by their numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from davserver.protocol.errors import NotFound


def to_each(numbers: Iterable[int], act: Callable[[int], None]) -> int:
    """One that is not there is told, and keeps none of the others from it. Returns the exit code."""
    code = 0
    for number in dict.fromkeys(numbers):
        try:
            act(number)
        except NotFound as refused:
            print(f"davserver: {refused}", file=sys.stderr)
            code = 1
    return code
