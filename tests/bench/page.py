"""docs/performance.md: each bench writes its own part of it, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

REPORT = Path(__file__).parents[2] / "docs" / "performance.md"


def put_in(report: Path, command: str, lines: Sequence[str]) -> None:
    """What `command` has to say: in the place of what it said before, or at the end."""
    begin, end = f"<!-- Written by `{command}`: -->", f"<!-- end of what `{command}` wrote -->"
    report.parent.mkdir(exist_ok=True)
    text = report.read_text() if report.exists() else "# Performance\n"
    part = "\n".join([begin, *lines]).rstrip("\n") + f"\n{end}"
    before, found, rest = text.partition(begin)
    if found and end in rest:
        report.write_text(before + part + rest.partition(end)[2])
    else:
        report.write_text(f"{text.rstrip()}\n\n{part}\n")
