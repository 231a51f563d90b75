"""Remembered: what a database has answered, for as long as nobody has changed anything in it.

Most requests ask for what few ever change. `wal_index` tells whether anything was committed since.
"""

from __future__ import annotations

from typing import Any

Rows = list[tuple[Any, ...]]
#: A statement and its parameters.
Question = tuple[str, tuple[object, ...]]

#: Answers that are remembered, and what one of them may have: rows, and characters or bytes in them.
_MOST, _FEW_ROWS, _FEW_BYTES = 1024, 8, 4096


class Remembered:
    """Answers of one state of the database."""

    __slots__ = ("answers", "state")

    def __init__(self, state: bytes) -> None:
        self.state = state
        self.answers: dict[Question, Rows] = {}

    @property
    def is_full(self) -> bool:
        return len(self.answers) >= _MOST


def is_small(rows: Rows) -> bool:
    """May it be remembered? Properties can be large, and there are many of them."""
    return len(rows) <= _FEW_ROWS and (
        sum(len(value) for row in rows for value in row if isinstance(value, str | bytes)) <= _FEW_BYTES
    )
