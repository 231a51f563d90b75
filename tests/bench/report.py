"""The table: docs/performance.md."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from load import CYCLES, Result
from page import put_in
from peers import PYTHON

#: What each line is compared with.
AGAINST = "Apache"
OURS = "davserver"

#: What limits each line, as profiles show it (py-spy, perf, strace -c).
LIMITS = {
    "get": "the interpreter. A request is seven system calls (epoll_wait, recv, open, fstat, pread, send, close), no "
    "query, and 200 calls of functions, of Python's or of C's, which take three quarters of its time; a fifth "
    "of that is HTTP. No single one of them stands out. One thread of a worker does all of it: two that hand "
    "the interpreter to each other do half as many. A Python that was built with profile-guided optimisation, "
    "as those of Debian and of the Docker images are, does a quarter to a half more than one that was not.",
    "propfind": "the interpreter, as for GET, with 360 calls of functions; the body is parsed once for all requests "
    "that send the same, and the store is asked for nothing until somebody has changed something in it.",
    "put": "the file system, and then the interpreter (450 calls, 20 system calls). ext4 begins to write a file out "
    "when it is renamed over another one. On an ext4 without a journal, such as a virtual machine may have, a "
    "third of a PUT goes into looking for an inode that was not freed in the last minutes, whatever the "
    "server.",
    "put_new": "the interpreter (490 calls), and the system calls: the file is made aside, stamped and linked to its "
    "name, between reservations of its path.",
    "lock": "the interpreter: 680 calls for the two requests, over half of the time. SQLite takes a quarter, the "
    "kernel a fifth. LOCK is a transaction of two statements, UNLOCK of one, and of several workers one at a time has "
    "it, which bounds what more workers bring. With `durability: full` those that come while the disk is waited for "
    "share the next wait, three or four of them. Apache keeps locks in a file, which it does not flush, and refuses "
    "some of them when several clients lock at once; the others keep them in memory.",
    "office": "its LOCK, its UNLOCK and its PUT, as above.",
    "shuffle": "the interpreter (1,570 calls). Each of the three changes reserves paths, looks again under the "
    "reservation, and asks for locks and properties.",
    "list": "a third of it is the folder and one stat for each member, the rest three microseconds of Python each.",
    "GET": "the copying of the kernel; the file goes to the socket by sendfile, to a client on the same machine from a "
    "thread of its own.",
    "PUT": "the disk. A block takes two system calls, a recv and a write.",
}

#: Shares of what the peer does that are aimed at.
AIMS = {
    "get": 1.0, "propfind": 0.7, "put": 1.0, "put_new": 1.0, "lock": 1.5, "office": 1.5, "shuffle": 1.0, "list": 1.3,
    "GET": 0.95, "PUT": 1.0,
}  # fmt: skip


@dataclass
class Measured:
    versions: dict[str, str]
    connections: int
    cycles: dict[str, dict[str, Result]] = field(default_factory=dict)
    growth: dict[str, dict[str, dict[int, Result]]] = field(default_factory=dict)
    large: dict[str, dict[str, Result]] = field(default_factory=dict)
    #: By line and peer: what ours does as a multiple of the peer's, the median over the rounds.
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    mib: int = 0
    #: MiB of a worker: before any of the cycles, when all is done, and while it has ten uploads.
    rest: float = 0.0
    after: float = 0.0
    uploading: float = 0.0
    #: Programs that wanted a core before anything was measured.
    beside: float = 0.0

    def compare(self, line: str, rounds: dict[str, list[Result]]) -> None:
        ours = rounds.get(OURS, [])
        self.ratios[line] = {
            name: statistics.median(mine.rate / theirs.rate for mine, theirs in zip(ours, results, strict=True))
            for name, results in rounds.items()
            if name != OURS and ours and all(result.rate for result in results)
        }


#: Where the part of another run begins: `make bench-files`.


def write(path: Path, measured: Measured) -> None:
    put_in(path, "make bench", _lines(measured))


def machine() -> str:
    return (
        f"Measured on {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d} on {os.cpu_count()} cores ({_processor()}), "
        f"Linux {platform.release().partition('-')[0]}, {_python()}"
    )


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(head), _rule(head), *map(_row, rows)]


def _lines(measured: Measured) -> list[str]:
    names = list(measured.versions)
    head = ["", *names, f": {AGAINST}", "aimed at"]
    lines = [
        "<!-- What it says of causes stands in tests/bench/report.py. -->",
        "",
        f"{machine()}; load and servers share the cores. "
        + ", ".join(f"{name} {version}" for name, version in measured.versions.items() if "," not in name)
        + ". All serve from one file system; none writes a log of requests, and none but the second column makes a "
        "change safe from a power cut before it is acknowledged.",
        "",
        f"## {measured.connections} connections",
        "",
        f'Cycles in a second; the median of all rounds, in which the servers take turns. ": {AGAINST}" is what '
        f"{OURS} does as a multiple of that, the median of the ratios within each round." + _beside(measured),
        "",
        _row(head),
        _rule(head),
    ]
    lines += [
        _row([CYCLES[cycle], *_cells(results, names), *_against(measured, cycle)])
        for cycle, results in measured.cycles.items()
    ]
    lines += [
        _row([f"{name} of {measured.mib:,} MiB, MiB/s", *_cells(results, names), *_against(measured, name)])
        for name, results in measured.large.items()
    ]
    if any(result.wrong for results in measured.cycles.values() for result in results.values()):
        lines += ["", "In brackets: how many answers of all rounds were no success, or never came."]
    lines += [
        "",
        "## Processor time",
        "",
        "Microseconds that the processes of a server take for one cycle, in user and in kernel mode together. Other "
        "load on the machine slows a server down, and changes this much less.",
        "",
        _row(["", *names]),
        _rule(["", *names]),
    ]
    lines += [
        _row([CYCLES[cycle], *(f"{results[name].cpu_us:,.0f}" for name in names)])
        for cycle, results in measured.cycles.items()
    ]
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
            f"A worker holds {measured.rest:.0f} MiB at rest, {measured.after:.0f} MiB when all of the above is behind "
            f"it, and {measured.uploading:.0f} MiB at most while ten clients upload {measured.mib:,} MiB each at the "
            "same time.",
            "",
        ]
    lines += ["## What limits each line", ""]
    large = {name: f"{name} of a large file" for name in ("GET", "PUT")}
    lines += [f"* **{CYCLES.get(name) or large[name]}**: {why}" for name, why in LIMITS.items()]
    return lines


def _beside(measured: Measured) -> str:
    if measured.beside < 1:
        return ""
    return (
        f" The machine had other things to do: {measured.beside:.0f} programs wanted its cores beside. "
        "A server of few processes gets less of such a machine than one of many threads, and whatever runs on cold "
        "caches takes longer; the processor time below depends on that less."
    )


def _cells(results: dict[str, Result], names: list[str]) -> list[str]:
    return [f"{results[name].rate:,.0f}{_wrong(results[name])}" for name in names]


def _against(measured: Measured, line: str) -> list[str]:
    ratio = measured.ratios[line].get(AGAINST)
    return ["" if ratio is None else f"{ratio:.2f}", f"{AIMS[line]:.2f}"]


def _wrong(result: Result) -> str:
    return f" [{result.wrong}]" if result.wrong else ""


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(cells: list[str]) -> str:
    return "|---" + "|--:" * (len(cells) - 1) + "|"


def _python() -> str:
    """Which interpreter runs the servers that are written in Python."""
    asked = "import platform, sysconfig; print(platform.python_version(), sysconfig.get_config_var('CONFIG_ARGS'))"
    done = subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, check=True)
    version, _, arguments = done.stdout.partition(" ")
    if "--enable-optimizations" in arguments:
        return f"Python {version} (built with profile-guided optimisation)"
    return f"Python {version}" + (" (that of the distribution)" if PYTHON.startswith("/usr/bin/") else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine() or sys.platform
