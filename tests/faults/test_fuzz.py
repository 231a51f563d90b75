"""Every parser that strangers feed: the seeds, what once failed, and a few seconds of what comes of them.

`make fuzz` goes on for longer.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from targets import TARGETS

from davserver.protocol.errors import Refused

FUZZ = Path(__file__).parent.parent / "fuzz"
SECONDS = 3


def once_failed() -> list[Path]:
    return sorted((FUZZ / "crashes").glob("*-*"))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    target, seeds = TARGETS[name]
    for seed in (*seeds, b"", b"\x00", b"\xff" * 1000, bytes(range(256))):
        with suppress(Refused):
            target(seed)


@pytest.mark.parametrize("file", once_failed(), ids=lambda file: file.name)
def test_what_once_failed(file: Path) -> None:
    with suppress(Refused):
        TARGETS[file.name.partition("-")[0]][0](file.read_bytes())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not made for this Python")
@pytest.mark.parametrize("name", TARGETS)
def test_a_few_seconds_of_fuzzing(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ / "run.py"), name, f"-max_total_time={SECONDS}", "-print_final_stats=1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 100
