"""`make bench-locks`: what a lock check costs whatever is locked, how fast locks come and go, what 100,000 take.

LOCK and UNLOCK are measured over HTTP, one worker beside Apache in turn; the rest without HTTP, where what is measured
is not lost in the noise of it. The table stands in docs/performance.md between two marks; the rest of that page is
`make bench`'s, which leaves it there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from inprocess import Local, local
from load import Result, memory, run_cycle
from lockworld import path
from page import REPORT, put_in
from peers import Apache, Davserver

from davserver.protocol.locks import Claim, Depth, Kind, Lock, Principal, Scope
from davserver.storage.lock_manager import LockManager, new_token
from davserver.storage.lock_table import LockTable
from davserver.storage.share import Shares

COUNTS = (0, 1_000, 100_000)
#: Rounds of the checks; the median counts.
ROUNDS = 51


class OneWorker(Davserver):
    name = "davserver, relaxed"
    settings = {**Davserver.settings, "workers": 1}  # noqa: RUF012


class OneWorkerDurable(Davserver):
    name = "davserver, full"
    settings = {"log": {"access": False}, "workers": 1}  # noqa: RUF012


def main() -> int:
    if sys.argv[1:2] == ["hold"]:
        return hold_many(Path(sys.argv[2]), int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--parts", nargs="*", default=["checks", "cycles", "memory"])
    options = parser.parse_args()
    parts = {"checks": checks, "cycles": lambda: cycles(options.rounds, options.seconds), "memory": memory_of_many}
    lines = [line for part in options.parts for line in parts[part]()]
    print("\n".join(lines))
    if len(options.parts) == len(parts):
        put_in(REPORT, "make bench-locks", ["## Locks", "", *lines])
        print(f"\nwritten to {REPORT}")
    return 0


# --- what a check costs


def lock_many(shares: Shares, start: int, count: int) -> None:
    """As if this many clients had locked each a file, in folders of a hundred."""
    table, now = LockTable(shares.state), shares.locks.now()
    made = Lock("", path("/"), Depth.ZERO, Scope.EXCLUSIVE, Kind.WRITE, Principal(""), None, now, now, now + 86400)
    with shares.state.transaction():
        last = table.standing(path("/"), (), Principal("")).number
        for number in range(start, start + count):
            table.insert(
                replace(
                    made, token=new_token(), root=path(f"/locked/{number // 100}/document-{number}.docx"),
                    owner=b'<D:owner xmlns:D="DAV:"><D:href>DOMAIN\\somebody</D:href></D:owner>',
                    id=last + 1 + number - start, principal=Principal(f"u{number % 500}"),
                    client_address="192.0.2.7", client_agent="Microsoft-WebDAV-MiniRedir/10.0.19045",
                )
            )  # fmt: skip


def checks() -> list[str]:
    """Three stores take turns in short rounds, so that what the machine does beside falls on all of them."""
    figures: dict[str, list[list[float]]] = {}
    with ExitStack() as stack:
        asked = [questions(*furnished(stack, count)) for count in COUNTS]
        for each in zip(*asked, strict=True):
            what, _, times = each[0]
            figures[what] = [[seconds(act, times) for _, act, _ in each] for _ in range(ROUNDS)]
    lines = [
        "Microseconds of processor time, with so many active locks in the store (growth: the median of all rounds):"
    ]
    lines += ["", "| | " + " | ".join(f"{count:,}" for count in COUNTS) + " | growth |", "|---|--:|--:|--:|--:|"]
    for what, rounds in figures.items():
        cells = " | ".join(f"{statistics.median(column) * 1e6:,.0f}" for column in zip(*rounds, strict=True))
        growth = statistics.median(each[-1] / each[0] for each in rounds) - 1
        lines.append(f"| {what} | {cells} | {growth:+.0%} |")
    return [*lines, ""]


def furnished(stack: ExitStack, count: int) -> tuple[Local, LockManager, str]:
    """An application with so many locks; and the token of one more, on mine.txt."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-locks-")))
    app = stack.enter_context(local(folder))
    shares: Shares = app.app.application._shares  # type: ignore[attr-defined]
    for collection in ("/locked", "/locked/0"):
        app("MKCOL", collection)
    for file in ("/locked/0/free.txt", "/locked/0/mine.txt"):
        app("PUT", file, b"x" * 4096)
    lock_many(shares, 0, count)
    return app, shares.locks, app.lock("/locked/0/mine.txt").token


def questions(app: Local, locks: LockManager, token: str) -> list[tuple[str, Callable[[], object], int]]:
    """Each as a request asks it, and whole requests."""
    free, mine = path("/locked/0/free.txt"), path("/locked/0/mine.txt")
    nobody, content = Principal(""), b"x" * 4096

    def check(target: object, tokens: frozenset[str]) -> None:
        claim = Claim(writes=(target,))  # type: ignore[arg-type]
        with locks.hold([target], principal=nobody, tokens=tokens) as hold:  # type: ignore[list-item]
            view = locks.view(claim)
            hold.check(claim, view)
            hold.settle(claim, view)

    return [
        ("The gate and the check of a PUT, nothing locked", lambda: check(free, frozenset()), 100),
        ("The same on a file that one has locked", lambda: check(mine, frozenset({token})), 100),
        ("A whole PUT of 4 KiB, without HTTP", lambda: app("PUT", "/locked/0/free.txt", content), 20),
        ("A whole LOCK and UNLOCK, without HTTP", lambda: lock_and_unlock(app), 20),
    ]


def lock_and_unlock(app: Local) -> None:
    locked = app.lock("/locked/0/free.txt")
    released = app("UNLOCK", "/locked/0/free.txt", Lock_Token=f"<{locked.token}>")
    assert (locked.status, released.status) == (200, 204)


def seconds(act: Callable[[], object], times: int) -> float:
    """Processor time of one: what others do on the machine meanwhile counts less."""
    began = time.thread_time()
    for _ in range(times):
        act()
    return (time.thread_time() - began) / times


# --- how fast locks come and go


def cycles(rounds: int, seconds: int) -> list[str]:
    if shutil.which("wrk") is None:
        raise SystemExit("make bench-locks needs wrk.")
    kinds = [kind for kind in (OneWorker, OneWorkerDurable, Apache) if kind.program()]
    lines = [
        "LOCK and UNLOCK of one document for each connection: cycles in a second, and the processor time of one; the "
        f"median of {rounds} rounds, in which the servers take turns. Only cycles count of which both requests were "
        "answered with success.", "",
        "| connections | " + " | ".join(f"{kind.name} | µs" for kind in kinds)
        + " | relaxed : Apache | full : Apache |",
        "|--:" * (2 * len(kinds) + 3) + "|",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="davserver-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        peers = [stack.enter_context(kind(folder).running()) for kind in kinds]
        for connections in (1, 4):
            found: dict[str, list[Result]] = {peer.name: [] for peer in peers}
            for _ in range(rounds):
                for peer in peers:
                    found[peer.name].append(run_cycle(peer, "lock", connections, seconds))
            lines.append(_cycles_row(connections, found))
    wrong = "In square brackets: how many answers were no success, in all rounds."
    return [*lines, "", *([wrong, ""] if "[" in "".join(lines[3:]) else [])]


def _cycles_row(connections: int, found: dict[str, list[Result]]) -> str:
    cells = [f"{connections}"]
    for results in found.values():
        wrong = sum(result.wrong for result in results)
        cells.append(f"{statistics.median(each.clean for each in results):,.0f}" + (f" [{wrong}]" if wrong else ""))
        cells.append(f"{statistics.median(each.cpu_us for each in results):,.0f}")
    for name in (OneWorker.name, OneWorkerDurable.name):
        if Apache.name in found:
            pairs = zip(found[name], found[Apache.name], strict=True)
            ratio = statistics.median(ours.clean / max(theirs.clean, 1) for ours, theirs in pairs)
            cells.append(f"{ratio:.2f}")
        else:
            cells.append("")
    return "| " + " | ".join(cells) + " |"


# --- what they take


def memory_of_many() -> list[str]:
    """In a process of its own, which then works like a worker: checks, listings, a sweep."""
    with tempfile.TemporaryDirectory(prefix="bench-locks-") as name:
        with local(Path(name)) as app:
            lock_many(app.app.application._shares, 0, COUNTS[-1])  # type: ignore[attr-defined]
        sizes = [
            subprocess.run(
                [sys.executable, __file__, "hold", name, str(requests)], capture_output=True, text=True, check=True
            ).stdout.split()
            for requests in (0, 2000)
        ]
        database = (Path(name) / "state" / "state.db").stat().st_size / 2**20
    (start, _), (_, after) = sizes
    return [
        f"With {COUNTS[-1]:,} active locks the database is {database:,.0f} MiB; a worker that has just started holds "
        f"{start} MiB, and one that has answered some thousand requests about them {after} MiB.", "",
    ]  # fmt: skip


def hold_many(folder: Path, requests: int) -> int:
    with local(folder) as app:
        app("OPTIONS", "/")
        (before,) = memory([os.getpid()])
        app("MKCOL", "/locked")
        app("MKCOL", "/locked/0")
        for number in range(requests):
            name = f"/locked/0/{number % 100}"
            assert app("PUT", name, b"x").status in (201, 204)
            lock_and_unlock_of(app, name)
            assert app.propfind("/locked/0", depth="1").status == 207 if number % 100 == 0 else True
            assert app("PUT", f"/locked/0/document-{number % 100}.docx", b"x").status == 423
        (after,) = memory([os.getpid()])
    print(f"{before:.0f} {after:.0f}")
    return 0


def lock_and_unlock_of(app: Local, name: str) -> None:
    assert app("UNLOCK", name, Lock_Token=f"<{app.lock(name).token}>").status == 204


if __name__ == "__main__":
    sys.exit(main())
