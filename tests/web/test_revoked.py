"""What is taken away while the server runs is gone within a second: powers, rights and logins, also of those who listen
or wait already."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from apiworld import BASE, User, login
from inprocess import local
from requests.auth import HTTPDigestAuth
from serving import QUICK, Process, Running, serving
from test_waiting import Stream, until, watch_of

from davserver.access import access as logins
from davserver.access.access import LOOK_SECONDS
from davserver.access.accounts import Algorithm, ha1
from davserver.server.reload import take_over
from davserver.settings import Settings
from davserver.web import events

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


def test_whoever_loses_the_right_ends_what_they_hold_and_keeps_it_no_longer(people: People, tmp_path: Path) -> None:
    clock = Clock()
    rules = [
        {"path": "/gone", "who": "@crew", "allow": "rw"},
        {"path": "/left", "who": "@crew", "allow": "rw"},
        {"path": "/left", "who": "carol", "allow": "r"},
        {"path": "/", "who": "alice", "allow": "rw"},
    ]
    people.write(carol=["crew"])
    with local(tmp_path, clock=clock, rules=rules, **people.settings | {"anonymous": None}) as client:
        alice, carol = User(client, "alice"), User(client, "carol")
        for folder in "/gone", "/left":
            assert alice.dav("MKCOL", folder).status == 201
            assert alice.dav("PUT", f"{folder}/f", b"x").status == 201
        held = {
            carol("POST", "/checkouts", {"path": "/gone/f"}).headers["location"]: 404,
            carol("POST", "/checkouts", {"path": "/left/f"}).headers["location"]: 403,
            carol("POST", "/transactions", {"paths": ["/left/new", "/gone/new"]}).headers["location"]: 403,
        }
        held = {location.removeprefix(BASE): status for location, status in held.items()}
        for location in held:
            assert carol("PATCH", location, {"seconds": 60}).status == 200
        people.write()
        clock.now += LOOK_SECONDS
        before = {location: carol("GET", location).body for location in held}
        for location, status in held.items():
            assert alice("PATCH", location, {"seconds": 60}).json["detail"].endswith("somebody else's.")
            assert carol("PATCH", location, {"seconds": 2592000}).status == status, location
            assert carol("GET", location).body == before[location]
            assert carol("DELETE", location).status == 204


@pytest.mark.parametrize("named", POWERS)
def test_whoever_loses_their_powers_ends_their_maintenance(
    named: dict[str, Any], people: People, tmp_path: Path
) -> None:
    clock = Clock()
    people.write(bob=["boss"])
    with local(tmp_path, clock=clock, **people.settings, **named) as client:
        bob = User(client, "bob")
        assert bob("POST", "/maintenance", {"path": "/x", "reason": "x", "seconds": 60}).status == 201
        assert bob("PATCH", "/maintenance/1", {"seconds": 60}).status == 200
        people.write()
        clock.now += LOOK_SECONDS
        assert bob("PATCH", "/maintenance/1", {"seconds": 3600}).status == 403
        assert bob("DELETE", "/maintenance/1").status == 204


# --- whoever listens, and whoever waits


@contextmanager
def listening(server: Running, authorization: str) -> Iterator[Stream]:
    with server.raw() as raw:
        yield Stream(raw, "?seconds=20", f"Authorization: {authorization}\r\n")


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts are looked at with each request, and streams say often that they live."""
    monkeypatch.setattr(logins, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)


def device(alice: User) -> tuple[str, int]:
    made = alice("POST", "/app-passwords", {"name": "phone"}).json
    return login("alice", made["password"])["Authorization"], made["id"]


Take = Callable[[Running, People, int], object]


def _revoke(server: Running, _: People, number: int) -> None:
    assert User(server.client(), "alice")("DELETE", f"/app-passwords/{number}").status == 204


def _remove(_: Running, people: People, number: int) -> None:
    people.write(leave_out="alice")


def _reload(server: Running, people: People, number: int) -> None:
    take_over(server.server, Settings(users={"bob": {"password": HASHES["bob"]}}, anonymous="none"))


WAYS: list[Take] = [_revoke, _remove, _reload]


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("taken", WAYS)
def test_a_stream_ends_with_its_login(taken: Take, people: People, tmp_path: Path) -> None:
    with serving(tmp_path, **people.settings) as server:
        alice, bob = User(server.client(), "alice"), User(server.client(), "bob")
        authorization, number = device(alice)
        with listening(server, authorization) as stream, listening(server, login("bob")["Authorization"]) as other:
            assert bob.lock("/1").status == 201
            assert stream.next()[1]["path"] == other.next()[1]["path"] == "/1"
            taken(server, people, number)
            began = time.monotonic()
            assert bob.lock("/2").status == 201
            assert stream.next() == ("", None)
            assert time.monotonic() - began < 10
            assert other.next()[1]["path"] == "/2"
            assert server.client()("GET", f"{BASE}/events", Authorization=authorization).status == 401


@pytest.mark.usefixtures("_at_once")
def test_a_stream_tells_what_its_listener_may_read_by_now(people: People, tmp_path: Path) -> None:
    rules = [
        {"path": "/plans", "who": ["@staff", "bob"], "allow": "rw"},
        {"path": "/plans", "who": "everyone", "allow": "none"},
        {"path": "/", "who": "authenticated", "allow": "rw"},
    ]
    people.write(alice=["staff"])
    with serving(tmp_path, rules=rules, **people.settings | {"anonymous": None}) as server:
        bob = User(server.client(), "bob")
        assert bob.dav("MKCOL", "/plans").status == 201
        with listening(server, login("alice")["Authorization"]) as stream:
            assert bob.lock("/plans/1").status == 201
            assert stream.next()[1]["path"] == "/plans/1"
            people.write()
            for path in "/plans/2", "/open":
                assert bob.lock(path).status == 201
            assert stream.next()[1]["path"] == "/open"


@pytest.mark.usefixtures("_at_once")
def test_a_stream_over_digest_lasts_for_as_long_as_its_login(tmp_path: Path) -> None:
    """Although a field of Digest is good for one request."""

    def users(password: str) -> dict[str, Any]:
        digest = [ha1(algorithm, "alice", "davserver", password) for algorithm in Algorithm]
        return {"alice": {"password": HASHES["alice"], "digest": digest}}

    auth = {"digest": True}
    with serving(tmp_path, users=users("x"), auth=auth, anonymous="none") as server:
        alice, url = User(server.client(), "alice"), f"{server.url.rstrip('/')}{BASE}/events?seconds=20"
        with requests.get(url, auth=HTTPDigestAuth("alice", "x"), stream=True, timeout=20) as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines(chunk_size=None)
            assert sum(next(lines) == b": still here" for _ in range(20)) > 5
            assert alice.lock("/1").status == 201
            assert b"id: 1" in lines
            take_over(server.server, Settings(users=users("another"), auth=auth, anonymous="none"))
            began = time.monotonic()
            assert [line for line in lines if line.startswith(b"id: ")] == []
            assert time.monotonic() - began < 10


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("taken", WAYS)
def test_whoever_waits_is_told_nothing_once_their_login_is_gone(taken: Take, people: People, tmp_path: Path) -> None:
    with serving(tmp_path, **people.settings) as server, ThreadPoolExecutor() as pool:
        bob = User(server.client(), "bob")
        authorization, number = device(User(server.client(), "alice"))
        lock = bob.lock("/f")
        target = f"{BASE}/locks?path=/f&wait=20"
        waiting = pool.submit(lambda: server.client()("GET", target, Authorization=authorization))
        until(lambda: watch_of(server)._waiting == 1)
        taken(server, people, number)
        assert bob.dav("UNLOCK", "/f", Lock_Token=f"<{lock.token}>").status == 204
        answer = waiting.result(timeout=30)
        assert answer.status == 401
        assert "basic" in answer.headers["www-authenticate"].lower()
