"""Transactions over several workers: all of the paths or none, one holder at a time, fences that only grow."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiworld import USERS, User
from serving import Process

PATHS = [f"/{name}" for name in ("a", "b", "c", "b/below", "d", "d/e/f")]
ROUNDS = 25


class Holders:
    """Who believes to hold what, by the moments between the answer that granted it and the request that ends it."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()
        self.fences: list[int] = []
        self.troubles: list[str] = []

    @contextmanager
    def holding(self, name: str, paths: list[str], fence: int) -> Iterator[None]:
        with self._lock:
            for path in paths:
                for other, holder in self._held.items():
                    if path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
                        self.troubles.append(f"{name} got {path} while {holder} had {other}")
                self._held[path] = name
            self.fences.append(fence)
        yield
        with self._lock:
            for path in paths:
                del self._held[path]


def work(server: Process, number: int, holders: Holders, tally: dict[str, int]) -> None:
    user, chance = User(server.client(), ("alice", "carol")[number % 2]), random.Random(number)
    last = 0
    for _ in range(ROUNDS):
        some = chance.sample(PATHS, 3)
        wanted = [path for path in some if not any(path.startswith(f"{other}/") for other in some)]
        begun = user("POST", "/transactions", {"paths": wanted, "seconds": 60})
        if begun.status == 423:
            tally["refused"] += 1
            in_the_way = begun.json["locks"][0]["path"]
            assert user("GET", f"/locks?path={in_the_way}&wait=1").status in (200, 204)
            continue
        assert begun.status == 201, begun.body
        said: dict[str, Any] = begun.json
        name, fence = said["transaction_id"], said["fencing_number"]
        with holders.holding(name, wanted, fence):
            assert [lock["path"].rstrip("/") for lock in said["locks"]] == wanted
            assert fence > last
            last = fence
            # It may write, and whoever does not name it may not: not even the same user.
            mine = f"{wanted[0]}/file-{number}"
            assert user.dav("PUT", mine, name.encode(), Transaction_Id=name).status in (201, 204)
            assert user.dav("PUT", mine, b"x").status == 423
            assert user.dav("GET", mine).body == name.encode()
        assert user("DELETE", f"/transactions/{name}").status == 204
        tally["done"] += 1


@pytest.mark.slow
def test_transactions_exclude_each_other_over_workers(tmp_path: Path) -> None:
    config = tmp_path / "davserver.yaml"
    users = {name: USERS[name] for name in ("alice", "carol")}
    config.write_text(yaml.safe_dump({"users": users, "workers": 3, "durability": "relaxed"}))
    with Process(tmp_path, "-c", str(config)) as server:
        for path in PATHS:
            (server.root / path[1:]).mkdir(parents=True, exist_ok=True)
        holders, tallies = Holders(), [{"done": 0, "refused": 0} for _ in range(6)]
        failures: list[BaseException] = []

        def run(number: int) -> None:
            try:
                work(server, number, holders, tallies[number])
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=100)
        assert not failures
        assert holders.troubles == []
        assert len(set(holders.fences)) == len(holders.fences) == sum(tally["done"] for tally in tallies)
        assert all(tally["done"] + tally["refused"] == ROUNDS for tally in tallies)
        assert sum(tally["done"] for tally in tallies) > 0
        assert sum(tally["refused"] for tally in tallies) > 0
        assert User(server.client(), "alice")("GET", "/locks").json == {"locks": []}
