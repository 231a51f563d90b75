"""Fuzz one parser, guided by the code it covers: `python tests/fuzz/run.py TARGET [libFuzzer options]`.

With `-max_total_time=60` it ends after a minute. An input that fails is written down beside this file, in `crashes`,
where `tests/faults/test_fuzz.py` finds it from then on.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["davserver.protocol", "davserver.server.http"]):
    from targets import TARGETS

    from davserver.protocol.errors import Refused

CRASHES = Path(__file__).parent / "crashes"


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"{__doc__}\nTargets: {', '.join(TARGETS)}")
    name = sys.argv.pop(1)
    target, seeds = TARGETS[name]

    def once(data: bytes) -> None:
        with suppress(Refused):
            target(data)

    CRASHES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, f"-artifact_prefix={CRASHES}/{name}-", "-timeout=5", corpus], once)
        atheris.Fuzz()


main()
