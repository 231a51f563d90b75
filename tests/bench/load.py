"""What is measured, and how: cycles of small requests by wrk, large files by curl, memory by the kernel."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from peers import Peer

SCRIPT = Path(__file__).with_name("cycles.lua")
#: Cycles of `cycles.lua` and what they are called.
CYCLES = {
    "get": "GET of 1 KiB",
    "propfind": "PROPFIND, Depth 0",
    "put": "PUT of 4 KiB over an old file",
    "put_new": "PUT of 4 KiB, a new file",
    "lock": "LOCK, UNLOCK",
    "office": "PROPFIND, LOCK, GET, PUT, UNLOCK (a document is edited)",
    "shuffle": "PUT, MOVE, DELETE",
    "list": "PROPFIND of a folder of 1,000",
}


@dataclass(frozen=True)
class Result:
    #: Cycles, or MiB, in a second.
    rate: float
    median_ms: float = 0.0
    p99_ms: float = 0.0
    #: Answers that were no success, and connections that were cut.
    wrong: int = 0
    #: Microseconds of processor time that the server took for one cycle: other load on the machine does not change it.
    cpu_us: float = 0.0
    #: Cycles in a second of which every request was answered with success.
    clean: float = 0.0


def furnish(peer: Peer) -> None:
    """What the cycles read. Through the server, so that each keeps it as it likes."""
    client = http.client.HTTPConnection(peer.host, timeout=60)

    def ask(method: str, path: str, body: bytes | None = None) -> None:
        client.request(method, path, body)
        answer = client.getresponse()
        answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{peer.name}: {method} {path}: {answer.status}")

    ask("PUT", "/small", os.urandom(1024))
    ask("MKCOL", "/thousand/")
    for number in range(1000):
        ask("PUT", f"/thousand/file%20number%20{number}.txt", b"content of %d" % number)
    client.close()


def run_cycle(peer: Peer, cycle: str, connections: int, seconds: int) -> Result:
    before = cpu_seconds(peer.processes())
    done = subprocess.run(
        ["wrk", f"-t{connections}", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(SCRIPT),
         f"http://{peer.host}"],
        env={**os.environ, "CYCLE": cycle, "FOLDER": "/", "HOST": peer.host, "RUN": f"{time.time_ns():x}"},
        capture_output=True, text=True, check=True, timeout=seconds + 120,
    )  # fmt: skip
    spent = cpu_seconds(peer.processes()) - before
    said = json.loads(done.stdout.splitlines()[-1])
    return Result(
        said["cycles"] / said["seconds"],
        said["median_ms"],
        said["p99_ms"],
        said["wrong"] + said["cut"],
        spent * 1e6 / max(said["cycles"], 1),
        said["clean"] / said["seconds"],
    )


def transfer(peer: Peer, file: Path, *, upload: bool) -> Result:
    """A large file, once up or down; MiB in a second."""
    url = f"http://{peer.host}/large"
    command = ["curl", "-sS", "-f", "-o", os.devnull, *(["-T", str(file)] if upload else []), url]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, timeout=600)
    return Result(file.stat().st_size / 2**20 / (time.perf_counter() - began), wrong=int(done.returncode != 0))


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that these processes have taken so far, in user and in kernel mode."""
    # proc_pid_stat(5): fields 14 to 17, the last two of children that have ended. The name before them may hold blanks.
    spent = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15] for pid in pids]
    return sum(int(ticks) for fields in spent for ticks in fields) / os.sysconf("SC_CLK_TCK")


def memory(pids: list[int]) -> list[float]:
    """MiB that each process holds by itself or with others: its resident set."""
    sizes = []
    for pid in pids:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        sizes.append(int(fields["VmRSS"].split()[0]) / 1024)
    return sizes


def uploads_at_once(peer: Peer, file: Path, count: int) -> float:
    """The most that any process of the server holds while `count` clients upload, in MiB."""
    most = 0.0
    with ThreadPoolExecutor(count) as pool:
        running = [
            pool.submit(
                subprocess.run,
                ["curl", "-sS", "-f", "-o", os.devnull, "-T", str(file), f"http://{peer.host}/large-{number}"],
                capture_output=True, check=True,
            )
            for number in range(count)
        ]  # fmt: skip
        while not all(job.done() for job in running):
            most = max(most, *memory(peer.processes()))
            time.sleep(0.05)
        for job in running:
            job.result()
    return most
