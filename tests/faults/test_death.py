"""SIGKILL under a mixed load: to a worker, to the parent, or to all of them, at random moments, round after round.

Afterwards nothing is torn, no change that was acknowledged is lost, no lock is lost or has risen, nothing strays, and
the server works again by itself. The moments are random, so that they are others in each run: the seed is told when one
fails. DEATH_ROUNDS asks for more.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from mixed import Work, start
from serving import Process

from davserver.cli import main

ROUNDS = int(os.environ.get("DEATH_ROUNDS", "25"))
CLIENTS, WORKERS = 6, 2
#: Longest time that the work of a round goes on, in seconds.
LONGEST = 0.4
#: Who is killed, and how often.
VICTIMS = {"all": 5, "worker": 5, "parent": 1}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + 15 * ROUNDS)]


def gone(pids: list[int]) -> bool:
    """Within 20 seconds: they end by themselves."""
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def replaced(server: Process, victim: int) -> bool:
    """Within 20 seconds: there are as many workers as before, and it is not one of them."""
    end = time.monotonic() + 20
    while len(server.workers) < WORKERS or victim in server.workers:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def settled(server: Process) -> bool:
    """Within 20 seconds: what was interrupted is ended, by the worker that takes the place of the dead one."""
    end = time.monotonic() + 20
    with contextlib.closing(sqlite3.connect(f"file:{server.state}/state.db?mode=ro", uri=True)) as state:
        while state.execute("SELECT count(*) FROM intents").fetchone() != (0,):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
    return True


def kill(server: Process, whom: str, chance: random.Random) -> None:
    """And let it come up again: by itself where the parent lives."""
    if whom == "worker":
        victim = chance.choice(server.workers)
        os.kill(victim, signal.SIGKILL)
        assert replaced(server, victim), "no new worker came"
        return
    if whom == "parent":
        workers = server.workers
        os.kill(server.pid, signal.SIGKILL)
        assert gone(workers), "a worker outlives its parent"
    server.kill()
    began = time.monotonic()
    server.start()
    assert time.monotonic() - began < 60  # on a machine that has much else to do


def test_rounds_of_kills_under_a_mixed_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    config = tmp_path / "davserver.yaml"
    config.write_text(json.dumps({"workers": WORKERS, "log": {"access": False}}))
    works = [Work(f"/{number}", seed + number) for number in range(CLIENTS)]
    victims: Counter[str] = Counter()
    cut = 0
    with Process(tmp_path, "-c", str(config), "--log-level", "warning") as server:
        assert len(server.workers) == WORKERS
        for work in works:
            assert server.client()("MKCOL", work.folder).status == 201
        for number in range(ROUNDS):
            (whom,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
            moment = chance.uniform(0, LONGEST)
            victims[whom] += 1
            enough = threading.Event()
            threads = start([(work, server.client()) for work in works], enough)
            time.sleep(moment)  # not to wait for something: the moment of the kill is what is tried
            try:
                kill(server, whom, chance)
                enough.set()
                for thread in threads:
                    thread.join()
                assert settled(server), "what was interrupted stays so"
                cut += sum(work.coming is not None for work in works)
                client = server.client()
                for work in works:
                    work.check(client, server.root)
                if whom != "worker":
                    assert not list((server.root / ".davserver~stage").glob("*/*")), "left in the stage"
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}, {whom} after {moment:.3f} s: {error}") from error
            finally:
                enough.set()
        capsys.readouterr()
        # Nothing is left half done, and no row is of something that is not there.
        assert main(["state", "check", str(server.root), "--state", str(server.state)]) == 0, capsys.readouterr().out
    assert [work.failed for work in works if work.failed] == []
    done = sum((Counter(work.done) for work in works), Counter())
    assert all(done[kind] > ROUNDS for kind in ("PUT", "PROPPATCH", "MOVE", "LOCK", "UNLOCK")), (seed, done)
    assert cut > ROUNDS // 3, f"hardly any request was cut off: {cut}"
    print(f"seed {seed}: {victims.total()} rounds, {dict(victims)}, {cut} requests cut off, acknowledged {dict(done)}")
