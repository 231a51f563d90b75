"""What is taken away while the server runs is gone within a second."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiworld import User
from inprocess import local
from serving import QUICK, Process

from davserver.access.access import LOOK_SECONDS

HASHES = {name: QUICK.hash(name) for name in ("alice", "bob", "carol")}


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class People:
    """Those of auth.users_file, each with the password that is their name."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "users.yaml"
        self.write()

    def write(self, *, leave_out: str = "", **groups: list[str]) -> None:
        """From now on they are in these groups."""
        found = {
            name: {"password": password, "groups": groups.get(name, [])}
            for name, password in HASHES.items()
            if name != leave_out
        }
        new = self.file.with_suffix(".new")
        new.write_text(yaml.safe_dump(found))
        new.replace(self.file)

    @property
    def settings(self) -> dict[str, Any]:
        return {"auth": {"users_file": str(self.file)}, "anonymous": "none"}


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path)


POWERS: list[dict[str, Any]] = [{"locks": {"breakers": ["@boss"]}}, {"administrators": ["@boss"]}]


def powers(user: User, number: int) -> list[object]:
    """What somebody is told who would break that lock, and set maintenance."""
    return [
        user("GET", f"/locks/{number}").json["can_break"],
        user("POST", "/maintenance", {"path": "/elsewhere", "reason": "x", "seconds": 60}).status,
        user("DELETE", f"/locks/{number}?reason=x").status,
    ]


@pytest.mark.parametrize("named", POWERS)
def test_whoever_leaves_the_group_breaks_nothing_more(named: dict[str, Any], people: People, tmp_path: Path) -> None:
    clock = Clock()
    people.write(bob=["boss"])
    with local(tmp_path, clock=clock, **people.settings, **named) as client:
        alice, bob, carol = (User(client, name) for name in HASHES)
        assert alice.lock("/f").status == 201
        assert bob("GET", "/locks/1").json["can_break"] is True
        people.write(carol=["boss"])
        clock.now += LOOK_SECONDS
        assert powers(bob, 1) == [False, 403, 403]
        assert powers(carol, 1) == [True, 201, 204]


@pytest.mark.slow
@pytest.mark.parametrize("named", POWERS)
def test_every_worker_knows_within_a_second(named: dict[str, Any], people: People, tmp_path: Path) -> None:
    config = tmp_path / "davserver.yaml"
    config.write_text(yaml.safe_dump({**people.settings, **named, "workers": 3, "log": {"access": False}}))
    people.write(bob=["boss"])
    with Process(tmp_path, "-c", str(config)) as server, ExitStack() as stack:

        def connected(name: str) -> User:
            client = server.client()
            stack.callback(client.close)
            return User(client, name)

        assert connected("alice").lock("/f").status == 201
        # Connections stay with their worker, and there are enough for all of them.
        bobs, carols = [connected("bob") for _ in range(12)], [connected("carol") for _ in range(12)]
        assert {bob("GET", "/locks/1").json["can_break"] for bob in bobs} == {True}
        assert {carol("GET", "/locks/1").json["can_break"] for carol in carols} == {False}
        people.write(carol=["boss"])
        time.sleep(LOOK_SECONDS)  # what is promised, and no more
        assert {tuple(powers(bob, 1)) for bob in bobs} == {(False, 403, 403)}
        assert {carol("GET", "/locks/1").json["can_break"] for carol in carols} == {True}
