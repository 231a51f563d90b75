"""`make bench`: ours and every other server that is installed, in turn in one run, and the table that comes of it.

The servers run one at a time per measurement and take turns in every round, so that what the machine does beside
falls on all of them; what counts is the median of the rounds, and of the ratios within each round. The processor time
that a server takes for a cycle tells most where the machine has other things to do.

BENCH_PYTHON names another interpreter of the same version for the servers that are written in Python: that of the
distribution, where this one is not built as they are (`make bench BENCH_PYTHON=/usr/bin/python3`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from load import CYCLES, Result, furnish, memory, run_cycle, transfer, uploads_at_once
from peers import PEERS, Davserver, Peer
from report import Measured, write

REPORT = Path(__file__).parents[2] / "docs" / "performance.md"
#: Cycles whose growth with the number of connections is measured, and for whom.
GROWTH = ("get", "propfind", "put", "office")
GROWTH_PEERS = ("davserver", "Apache", "nginx")
#: Seconds without a request until memory is looked at: workers give back what is free a few times a minute.
QUIET = 20


def main() -> int:
    options = _options()
    for tool in ("wrk", "curl"):
        if shutil.which(tool) is None:
            print(f"make bench needs {tool}.", file=sys.stderr)
            return 1
    chosen = [peer for peer in PEERS if peer.program() and (not options.only or peer.name in options.only)]
    beside = os.getloadavg()[1]
    with tempfile.TemporaryDirectory(prefix="davserver-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        peers = [stack.enter_context(peer(folder).running()) for peer in chosen]
        for peer in peers:
            furnish(peer)
        measured = Measured(versions={peer.name: peer.version() for peer in peers}, connections=options.connections)
        measured.beside = beside
        measured.rest = max((memory_of_workers(peer) for peer in peers if type(peer) is Davserver), default=0.0)
        _cycles(measured, peers, options)
        _growth(measured, [peer for peer in peers if peer.name in GROWTH_PEERS], options)
        _large(measured, peers, folder, options)
    if not options.only:
        write(REPORT, measured)
        print(f"\nwritten to {REPORT}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], metavar="SERVER", help="and write no report")
    parser.add_argument("--cycles", nargs="*", default=list(CYCLES), choices=list(CYCLES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--growth", type=int, nargs="*", default=[1, 4, 16, 64], help="numbers of connections")
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file; 0: none")
    return parser.parse_args()


def _cycles(measured: Measured, peers: list[Peer], options: argparse.Namespace) -> None:
    for cycle in options.cycles:
        rounds: dict[str, list[Result]] = {peer.name: [] for peer in peers}
        for _ in range(options.rounds):
            for peer in peers:
                rounds[peer.name].append(run_cycle(peer, cycle, options.connections, options.seconds))
        measured.cycles[cycle] = {name: _median(results) for name, results in rounds.items()}
        measured.compare(cycle, rounds)
        _tell(CYCLES[cycle], measured.cycles[cycle])
        print("  " + " · ".join(f"{of:.2f} x {name}" for name, of in measured.ratios[cycle].items()), flush=True)


def _growth(measured: Measured, peers: list[Peer], options: argparse.Namespace) -> None:
    for cycle in GROWTH if options.growth else ():
        measured.growth[cycle] = {peer.name: {} for peer in peers}
        for connections in options.growth:
            for peer in peers:
                results = [run_cycle(peer, cycle, connections, options.seconds) for _ in range(2)]
                measured.growth[cycle][peer.name][connections] = _median(results)
        for name, by_connections in measured.growth[cycle].items():
            _tell(f"{CYCLES[cycle]}, {name}", {f"{count}": result for count, result in by_connections.items()})


def _large(measured: Measured, peers: list[Peer], folder: Path, options: argparse.Namespace) -> None:
    if not options.mib:
        return
    file = folder / "large"
    with file.open("wb") as out:
        block = os.urandom(1 << 20)
        for _ in range(options.mib):
            out.write(block)
    measured.mib = options.mib
    for upload in (True, False):
        rounds: dict[str, list[Result]] = {peer.name: [] for peer in peers}
        for _ in range(3):
            for peer in peers:
                # Each follows itself: one that empties the old file before it writes the new one leaves none of the
                # memory it used to whoever comes next, who takes twice as long where the host has to give it anew.
                transfer(peer, file, upload=upload)
                rounds[peer.name].append(transfer(peer, file, upload=upload))
        name = "PUT" if upload else "GET"
        measured.large[name] = {peer: _median(results) for peer, results in rounds.items()}
        measured.compare(name, rounds)
        _tell(f"{name} of {options.mib} MiB, MiB/s", measured.large[name])
    for peer in peers:
        if type(peer) is Davserver:
            time.sleep(QUIET)
            measured.after = memory_of_workers(peer)
            measured.uploading = uploads_at_once(peer, file, 10)
            print(
                f"MiB of a worker: {measured.rest:.0f}, after all that {measured.after:.0f}, "
                f"with ten uploads {measured.uploading:.0f}"
            )


def memory_of_workers(peer: Peer) -> float:
    """MiB of the worker that holds most."""
    _, *workers = peer.processes()
    return max(memory(workers))


def _median(results: list[Result]) -> Result:
    return Result(
        statistics.median(result.rate for result in results),
        statistics.median(result.median_ms for result in results),
        statistics.median(result.p99_ms for result in results),
        sum(result.wrong for result in results),
        statistics.median(result.cpu_us for result in results),
    )


def _tell(what: str, results: dict[str, Result]) -> None:
    cells = []
    for name, result in results.items():
        wrong = f" ({result.wrong} wrong)" if result.wrong else ""
        cpu = f" [{result.cpu_us:,.0f} µs]" if result.cpu_us else ""
        cells.append(f"{name} {result.rate:,.0f}{cpu}{wrong}")
    print(f"{what}: {' · '.join(cells)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
