"""The table: docs/performance.md."""

from __future__ import annotations

import datetime
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from load import CYCLES, Result

#: What each line is compared with.
AGAINST = "Apache"
OURS = "davserver"

#: What limits each line, as profiles show it (py-spy, perf, strace -c).
LIMITS = {
    "get": "the interpreter. A request is seven system calls (epoll_wait, recv, openat2, fstat, pread, close, send), "
    "and about a hundred calls of Python functions. One thread of a worker does all of it: two that hand the "
    "interpreter to each other do half as many. A Python that was built with profile-guided optimisation, as those of "
    "Debian and of the Docker images are, does up to half as many again as one that was not.",
    "propfind": "the interpreter, as for GET, and the parsing of the body.",
    "put": "the file system. ext4 begins to write a file out when it is renamed over another one, which takes longer "
    "than all the rest of the request.",
    "put_new": "two thirds of it are system calls: the file is made aside, stamped and linked to its name, between "
    "reservations of its path.",
    "lock": "the transaction that each LOCK and each UNLOCK is. The other servers keep locks in memory, or in a file "
    "that they do not wait for.",
    "office": "its LOCK, its UNLOCK and its PUT, as above.",
    "shuffle": "three changes, each of which reserves paths and asks for locks and properties.",
    "list": "one stat and a few microseconds of Python for each member.",
    "GET": "the copying of the kernel; the file goes to the socket by sendfile.",
    "PUT": "the disk. A block takes two system calls, a recv and a write.",
}


@dataclass
class Measured:
    versions: dict[str, str]
    connections: int
    cycles: dict[str, dict[str, Result]] = field(default_factory=dict)
    growth: dict[str, dict[str, dict[int, Result]]] = field(default_factory=dict)
    large: dict[str, dict[str, Result]] = field(default_factory=dict)
    mib: int = 0
    rest: float = 0.0
    uploading: float = 0.0


#: Where the part of another run begins: `make bench-files`.
FOLDERS = "## Large folders"


def write(path: Path, measured: Measured) -> None:
    path.parent.mkdir(exist_ok=True)
    _, heading, folders = (path.read_text() if path.exists() else "").partition(FOLDERS)
    path.write_text("\n".join(_lines(measured)) + "\n" + (f"\n{heading}{folders}" if heading else ""))


def write_folders(path: Path, lines: list[str]) -> None:
    before = path.read_text().partition(FOLDERS)[0].rstrip()
    path.write_text("\n".join([before, "", FOLDERS, "", *lines]) + "\n")


def machine() -> str:
    return (
        f"Measured on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d} on {os.cpu_count()} cores ({_processor()}), "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()} ({_build()})"
    )


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(head), _rule(head), *map(_row, rows)]


def _lines(measured: Measured) -> list[str]:
    names = list(measured.versions)
    head = ["", *names, f"{OURS} : {AGAINST}"]
    lines = [
        "# Performance",
        "",
        "<!-- Written by `make bench`; what it says of causes stands in tests/bench/report.py. -->",
        "",
        f"{machine()}; load and servers share the cores. "
        + ", ".join(f"{name} {version}" for name, version in measured.versions.items() if "," not in name)
        + ". All serve from one file system; none writes a log of requests, and none but the second column makes a "
        "change safe from a power cut before it is acknowledged.",
        "",
        f"## {measured.connections} connections",
        "",
        "Cycles in a second; the median of all rounds, in which the servers take turns.",
        "",
        _row(head),
        _rule(head),
    ]
    lines += [_row([CYCLES[cycle], *_cells(results, names)]) for cycle, results in measured.cycles.items()]
    lines += [
        _row([f"{name} of {measured.mib:,} MiB, MiB/s", *_cells(results, names)])
        for name, results in measured.large.items()
    ]
    if any(result.wrong for results in measured.cycles.values() for result in results.values()):
        lines += ["", "In brackets: how many of 1,000 answers were no success, or never came."]
    lines += ["", "## From 1 connection to many", ""]
    for cycle, by_peer in measured.growth.items():
        counts = list(next(iter(by_peer.values())))
        lines += [CYCLES[cycle] + ", cycles in a second (the 99th percentile of a request, ms):", ""]
        table = ["", *(f"{count}" for count in counts)]
        lines += [_row(table), _rule(table)]
        lines += [
            _row([name, *(f"{result.rate:,.0f} ({result.p99_ms:,.1f})" for result in results.values())])
            for name, results in by_peer.items()
        ]
        lines.append("")
    if measured.rest:
        lines += [
            "## Memory",
            "",
            f"A worker holds {measured.rest:.0f} MiB at rest, and {measured.uploading:.0f} MiB at most while ten "
            f"clients upload {measured.mib:,} MiB each at the same time.",
            "",
        ]
    lines += ["## What limits each line", ""]
    large = {name: f"{name} of a large file" for name in ("GET", "PUT")}
    lines += [f"* **{CYCLES.get(name) or large[name]}**: {why}" for name, why in LIMITS.items()]
    return lines


def _cells(results: dict[str, Result], names: list[str]) -> list[str]:
    cells = [f"{results[name].rate:,.0f}{_wrong(results[name])}" for name in names]
    if OURS in results and AGAINST in results and results[AGAINST].rate:
        cells.append(f"{results[OURS].rate / results[AGAINST].rate:.2f}")
    else:
        cells.append("")
    return cells


def _wrong(result: Result) -> str:
    return f" [{result.wrong}]" if result.wrong else ""


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(cells: list[str]) -> str:
    return "|---" + "|--:" * (len(cells) - 1) + "|"


def _build() -> str:
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"built {'with' if optimised else 'without'} profile-guided optimisation"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine() or sys.platform
