"""The part of docs/performance.md that is about locks, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

REPORT = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN = "<!-- Written by `make bench-locks`: -->"
END = "<!-- end of what `make bench-locks` wrote -->"


def found_in(report: Path) -> list[str]:
    """The part as it stands there; nothing where there is none."""
    text = report.read_text() if report.exists() else ""
    if BEGIN not in text or END not in text:
        return []
    return [BEGIN, *text.partition(BEGIN)[2].partition(END)[0].strip("\n").splitlines(), END]


def put_in(report: Path, lines: Sequence[str]) -> None:
    """In the place of what was there before, or at the end."""
    text = report.read_text() if report.exists() else "# Performance\n"
    part = "\n".join([BEGIN, "## Locks", "", *lines]).rstrip("\n") + f"\n{END}"
    if found_in(report):
        before, _, rest = text.partition(BEGIN)
        text = before + part + rest.partition(END)[2]
    else:
        text = f"{text.rstrip()}\n\n{part}\n"
    report.write_text(text)
