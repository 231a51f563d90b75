"""Writes docs/testing.md: every client and every fault that is tried, from the tests themselves. `make docs`.

What a test module is about is what its docstring says: `name: what is checked.` Its figures are the tests that pytest
finds in it, and the defaults of the variables that ask for more.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "testing.md"
CLIENTS, FAULTS, ACCESS = (Path(__file__).with_name(name) for name in ("clients", "faults", "access"))
#: Test modules that try nothing: they hold tables to what is there.
_TABLES = {"test_promises", "test_cannot"}

HEAD = """# How it is tested

<!-- Written by `make docs` from the tests themselves. -->

What stands here runs with every change, on a machine with two cores, within minutes; where a program that a test needs
is not installed, the test says so and is skipped. Longer, on your own machine:

<!-- not run: takes hours -->
```sh
make test                    # everything, once
make soak                    # an hour of load, 300 rounds of kills, 100 power cuts
make soak SOAK_SECONDS=600   # ten minutes of load
make fuzz FUZZ_SECONDS=3600  # an hour for each parser
```

Measured so, by two workers on two cores that were busy with other tests all the while: in an hour of load 674,662
edits and 6.4 million requests, no wrong answer and no lost lock; what memory fell back to between the rushes went from
39.4 MiB in the first fifth to 41.2 MiB in the last.

Moments of kills and power cuts are random and others in each run. When one fails it tells the seed.
"""


def described(file: Path) -> tuple[str, str]:
    """(What it is about, what is checked), from the first paragraph of a module's docstring."""
    module = re.match(r'"""(.*?)(?:\n\n|""")', file.read_text(), re.DOTALL)
    if module is None:
        raise ValueError(f"{file} does not say what it is")
    text = " ".join(module[1].split()).removesuffix(".")
    name, colon, checked = text.partition(": ")
    if not colon:
        name, _, checked = text.partition(", ")
    return name, checked[:1].upper() + checked[1:]


def asked(file: Path) -> Iterator[str]:
    """Variables that ask for more, with their defaults."""
    found = re.findall(r'^(\w+) = int\(os\.environ\.get\("(\w+)", "(\d+)"\)\)', file.read_text(), re.MULTILINE)
    for name, variable, default in found:
        yield f"{default} {name.lower()} (`{variable}`)"


def collected() -> dict[str, int]:
    """How many tests each module of clients and faults has, by its name."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", str(CLIENTS), str(FAULTS)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return {Path(name).stem: int(count) for name, count in re.findall(r"^(\S+\.py): (\d+)$", run.stdout, re.MULTILINE)}


def table(folder: Path, head: str, counts: Mapping[str, int]) -> Iterator[str]:
    yield from (f"| {head} | What is checked | Tests |", "|---|---|---|")
    for file in sorted(folder.glob("test_*.py")):
        if file.stem in _TABLES:
            continue
        name, checked = described(file)
        figures = ", ".join([str(counts.get(file.stem, 0)), *asked(file)])
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (name, checked, figures)) + " |"


def loaded(file: Path) -> ModuleType | None:
    """A module of tests by its path; None where there is none."""
    if not file.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"page_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def cannot() -> Iterator[str]:
    """Clients that no test can run, and what stands for them."""
    module = loaded(CLIENTS / "cannot.py")
    if module is None:
        return
    yield from ("", "What cannot be run, and what its tests are instead:", "")
    yield from ("| Client | Why | Recorded requests that are played |", "|---|---|---|")
    for name, each in module.CANNOT.items():
        yield f"| {name} | {each.reason} | {', '.join(each.replays)} |"


def promises() -> Iterator[str]:
    kept: dict[str, list[str]] = {}
    for file in (FAULTS / "test_promises.py", ACCESS / "test_promises_of_people.py"):
        module = loaded(file)
        kept |= {} if module is None else module.KEPT
    order = {letter: place for place, letter in enumerate("FLRS")}
    yield from ("| Promise | Tests that fail where it is not kept |", "|---|---|")
    for promise in sorted(kept, key=lambda text: (order[text[0]], int(text.split()[0][1:]))):
        yield f"| {promise} | {', '.join(f'`{test}`' for test in kept[promise])} |"


def page(counts: Mapping[str, int]) -> str:
    lines = [HEAD, "## Clients", "", *table(CLIENTS, "Client", counts), *cannot(), ""]
    lines += ["## Faults", "", *table(FAULTS, "Fault", counts), ""]
    lines += ["## Promises", "", "Of files (F), locks (L), resources (R) and security (S).", "", *promises(), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(collected()))
