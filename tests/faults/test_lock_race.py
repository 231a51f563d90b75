"""Eight clients race for the same few paths against four worker processes, over real HTTP; what they saw is checked.

The moments are random, so that they are others in each run: the seed is told when one fails. RACE_SECONDS asks for a
longer race than the usual one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from lockhistory import Op, violations
from serving import QUICK, Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 4 * int(os.environ.get("RACE_SECONDS", "12")))]

SECONDS = int(os.environ.get("RACE_SECONDS", "12"))
CLIENTS, WORKERS = 8, 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    users = {f"u{number}": {"password": QUICK.hash(f"u{number}")} for number in range(CLIENTS)}
    config = tmp_path / "davserver.yaml"
    config.write_text(json.dumps({"users": users, "workers": WORKERS, "durability": "relaxed"}))
    (tmp_path / "share" / "d" / "e").mkdir(parents=True)
    with Process(tmp_path, "-c", str(config), "--log-level", "warning") as process:
        assert len(process.workers) == WORKERS
        yield process


def ticks(pid: int) -> int:
    """What a process has computed so far, in ticks of the kernel's clock."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def test_a_race_for_the_same_paths_is_explained_by_locks_that_hold(server: Process, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    before = {pid: ticks(pid) for pid in server.workers}
    files = [tmp_path / f"history-{number}" for number in range(CLIENTS)]
    racers = []
    for number, file in enumerate(files):
        with file.open("wb") as out:
            command = [sys.executable, str(Path(__file__).with_name("racer.py")), str(server.port), str(number)]
            racers.append(subprocess.Popen([*command, str(seed + number), str(SECONDS)], stdout=out))
    assert [racer.wait(SECONDS + 300) for racer in racers] == [0] * CLIENTS
    history = [_op(json.loads(line)) for file in files for line in file.read_text().splitlines()]
    found = violations(history)
    assert found == [], f"seed {seed}: {len(found)} violations, the first: {found[0]}"
    # It was a race, and not a walk: locks and writes were granted, and refused because of one another.
    happened = Counter((op.kind, op.status) for op in history)
    for what in (("LOCK", 200), ("LOCK", 423), ("PUT", 204), ("PUT", 423), ("PUT", 412), ("UNLOCK", 204)):
        assert happened[what] >= 10, (seed, happened)
    assert {op.status // 100 for op in history} <= {0, 2, 4}, (seed, happened)
    assert sum(ticks(pid) > before[pid] for pid in server.workers) >= 2
    # Nobody holds anything any more, and nothing strays.
    assert server.client(Authorization="Basic dTA6dTA=").propfind("/", "lockdiscovery").find("//D:activelock") == []
    assert not list((server.root / ".davserver~stage").glob("*/*"))
    print(f"{len(history)} requests: {dict(sorted(happened.items()))}")


def _op(fields: dict[str, object]) -> Op:
    return Op(**{**fields, "tokens": tuple(fields["tokens"])})  # type: ignore[arg-type]


def test_a_slow_upload_that_began_before_the_lock_ends_in_423(server: Process) -> None:
    """Whatever worker it came to: the lock is granted at once, by another one, and stops it."""
    first, second = (server.client(Authorization=f"Basic {login}") for login in ("dTA6dTA=", "dTE6dTE="))
    assert first("PUT", "/f", b"old").status == 201
    for number in range(2 * WORKERS):
        half, granted = threading.Event(), threading.Event()
        answers: list[int] = []

        def blocks(half: threading.Event = half, granted: threading.Event = granted) -> Iterator[bytes]:
            yield b"n" * 300_000
            half.set()
            assert granted.wait(20)
            yield b"n" * 300_000

        def upload(number: int = number, answers: list[int] = answers, half: threading.Event = half) -> None:
            path = "/f" if number % 2 else "/new"
            answers.append(server.client(Authorization="Basic dTA6dTA=")("PUT", path, blocks()).status)

        uploading = threading.Thread(target=upload)
        uploading.start()
        assert half.wait(20)
        locked = second.lock("/", Depth="infinity") if number % 4 < 2 else second.lock("/f" if number % 2 else "/new")
        granted.set()
        uploading.join()
        second.close()  # and come to another worker
        assert locked.status in (200, 201)
        assert answers == [423]
        assert (server.root / "f").read_bytes() == b"old"
        assert second("UNLOCK", "/" if number % 4 < 2 else "/f" if number % 2 else "/new",
                      Lock_Token=f"<{locked.token}>").status == 204  # fmt: skip
        assert sorted(os.listdir(server.root)) in (["d", "f"], [".davserver~stage", "d", "f"])
