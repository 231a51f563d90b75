"""App passwords through the API."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiworld import SETTINGS, User
from inprocess import Local, local

NOW = 1_800_000_000.0
RULES: list[dict[str, Any]] = [
    {"path": "/hers", "who": "alice", "allow": "rw"},
    {"path": "/hers", "who": "everyone", "allow": "none"},
    {"path": "/drop", "who": "carol", "allow": "w"},
    {"path": "/", "who": "authenticated", "allow": "rw"},
]


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(tmp_path: Path, clock: Clock) -> Iterator[Local]:
    with local(tmp_path, clock=clock, **SETTINGS, rules=RULES, administrators=["bob"]) as client:
        for folder in "/photos", "/hers", "/drop":
            assert User(client, "alice").dav("MKCOL", folder).status in (201, 403)
        yield client


def made(user: User, **body: Any) -> dict[str, Any]:
    answer = user("POST", "/app-passwords", {"name": "phone", **body})
    assert answer.status == 201, answer.body
    told: dict[str, Any] = answer.json
    return told


def test_one_is_made_used_shown_and_revoked(alice: User, client: Local, clock: Clock) -> None:
    answer = alice("POST", "/app-passwords", {"name": " phone ", "path": "/photos/", "seconds": 3600})
    assert answer.status == 201
    assert answer.headers["location"] == "/-/api/v1/app-passwords/1"
    told = answer.json
    secret = told.pop("password")
    assert told == {
        "id": 1, "user": "alice", "name": "phone", "path": "/photos", "read_only": False,
        "created": "2027-01-15T08:00:00Z", "expires": "2027-01-15T09:00:00Z",
    }  # fmt: skip
    phone = User(client, "alice", secret)
    assert phone.dav("PUT", "/photos/1.jpg", b"x").status == 201
    assert phone.dav("PUT", "/f", b"x").status == 404
    used = alice("GET", "/app-passwords/1").json
    assert used == told | {"last_used": "2027-01-15T08:00:00Z", "last_used_from": "127.0.0.1"}
    assert alice("GET", "/app-passwords").json == {"app_passwords": [used]}
    assert secret.encode() not in alice("GET", "/app-passwords").body
    clock.now += 2
    assert alice("DELETE", "/app-passwords/1").status == 204
    clock.now += 2
    assert phone.dav("GET", "/photos/1.jpg").status == 401
    assert alice("DELETE", "/app-passwords/1").status == 404


def test_it_ends_when_it_was_said_to(alice: User, client: Local, clock: Clock) -> None:
    phone = User(client, "alice", made(alice, seconds=60)["password"])
    assert phone.dav("PROPFIND", "/", Depth="0").status == 207
    clock.now += 61
    assert phone.dav("PROPFIND", "/", Depth="0").status == 401
    assert [each["expires"] for each in alice("GET", "/app-passwords").json["app_passwords"]] == [
        "2027-01-15T08:01:00Z"
    ]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "body.name"),
        ({"name": ""}, 422, "body.name"),
        ({"name": "x" * 101}, 422, "body.name"),
        ({"name": "  "}, 400, "Name the device"),
        ({"name": "a\nb"}, 400, "Name the device"),
        ({"name": "x", "read_only": "yes"}, 422, "body.read_only"),
        ({"name": "x", "seconds": 0}, 422, "body.seconds"),
        ({"name": "x", "path": "photos"}, 422, "body.path"),
        ({"name": "x", "path": "/a/../b"}, 400, "segment"),
        ({"name": "x", "path": "/-/api"}, 403, "keeps"),
        ({"name": "x", "user": "bob"}, 422, "body.user"),
    ],
)
def test_what_cannot_be_made(body: dict[str, Any], status: int, said: str, alice: User) -> None:
    answer = alice("POST", "/app-passwords", body)
    assert answer.status == status, answer.body
    assert said in answer.body.decode()
    assert alice("GET", "/app-passwords").json == {"app_passwords": []}


def test_a_scope_does_not_tell_what_is_there(carol: User) -> None:
    for path in "/hers", "/hers/x":
        assert carol("POST", "/app-passwords", {"name": "x", "path": path}).status == 404
    assert made(carol, path="/drop")["path"] == "/drop"  # where she may use something, seen or not
    assert made(carol, path="/new")["path"] == "/new"


def test_others_are_an_administrators_business(alice: User, bob: User, carol: User) -> None:
    number = made(alice)["id"]
    for who in "alice", "nobody":
        assert carol("GET", f"/app-passwords?user={who}").status == 403
    assert carol("GET", "/app-passwords?user=carol").json == {"app_passwords": []}
    for method in "GET", "DELETE":
        assert carol(method, f"/app-passwords/{number}").status == 404
    assert [each["id"] for each in bob("GET", "/app-passwords?user=alice").json["app_passwords"]] == [number]
    assert bob("GET", "/app-passwords?user=nobody").json == {"app_passwords": []}
    assert bob("GET", "/app-passwords").json == {"app_passwords": []}
    assert bob("GET", f"/app-passwords/{number}").json["user"] == "alice"
    assert bob("DELETE", f"/app-passwords/{number}").status == 204
    assert alice("GET", "/app-passwords").json == {"app_passwords": []}


@pytest.mark.parametrize("narrowed", [{}, {"path": "/photos"}, {"read_only": True}])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_an_app_password_manages_none(who: str, narrowed: dict[str, Any], client: Local) -> None:
    """Not even an administrator's: what was narrowed could widen itself."""
    user = User(client, who)
    found = made(user, **narrowed)
    device = User(client, who, found["password"])
    for method, path, body in (
        ("POST", "/app-passwords", {"name": "another"}),
        ("GET", "/app-passwords", None),
        ("GET", "/app-passwords?user=alice", None),
        ("GET", f"/app-passwords/{found['id']}", None),
        ("DELETE", f"/app-passwords/{found['id']}", None),
    ):
        answer = device(method, path, body)
        assert (answer.status, answer.json["title"]) == (403, "Forbidden"), (method, path)
    assert len(user("GET", "/app-passwords").json["app_passwords"]) == 1


def test_who_is_not_logged_in_has_none(tmp_path: Path, stranger: User) -> None:
    assert stranger("GET", "/app-passwords").status == 401
    (tmp_path / "open").mkdir()
    with local(tmp_path / "open", **{**SETTINGS, "anonymous": "rw"}) as client:
        for method, body in ("GET", None), ("POST", {"name": "x"}):
            assert User(client, None)(method, "/app-passwords", body).status == 401


def test_where_they_are_off_there_are_none(tmp_path: Path) -> None:
    with local(tmp_path, **SETTINGS, auth={"app_passwords": False}) as client:
        alice = User(client, "alice")
        for method, path, body in ("GET", "", None), ("POST", "", {"name": "x"}), ("DELETE", "/1", None):
            assert alice(method, f"/app-passwords{path}", body).status == 404
    with local(tmp_path) as client:
        assert User(client, None)("POST", "/app-passwords", {"name": "x"}).status == 404


def test_nobody_has_any_number_of_them(alice: User) -> None:
    for _ in range(100):
        made(alice)
    answer = alice("POST", "/app-passwords", {"name": "one more"})
    assert (answer.status, "already" in answer.json["detail"]) == (400, True)


def test_the_audit_log_tells_who_did_what(alice: User, bob: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "davserver.audit")
    secret = made(alice, name='my "phone"', path="/photos", read_only=True, seconds=60)["password"]
    bob("DELETE", "/app-passwords/1")
    lines = [line for line in caplog.messages if line.startswith("app password 1")]
    end = 'path="/photos" read_only=True expires=2027-01-15T08:01:00Z'
    assert lines == [
        f'app password 1 of "alice" for "my \\x22phone\\x22" made by "alice" from 127.0.0.1: {end}',
        f'app password 1 of "alice" for "my \\x22phone\\x22" revoked by "bob" from 127.0.0.1: {end}',
    ]
    assert secret not in caplog.text
    assert secret.replace("-", "") not in caplog.text


def test_a_page_of_another_site_makes_none(alice: User) -> None:
    for fields in {"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}:
        assert alice("POST", "/app-passwords", {"name": "x"}, **fields).status == 403
    assert alice("GET", "/app-passwords").json == {"app_passwords": []}


def test_a_maintenance_does_not_keep_a_stolen_device_in(alice: User, bob: User) -> None:
    number = made(alice)["id"]
    assert bob("POST", "/maintenance", {"reason": "backup"}).status == 201
    assert alice("POST", "/checkouts", {"path": "/photos"}).status == 423
    assert alice("DELETE", f"/app-passwords/{number}").status == 204


def test_paths_are_those_of_urls(tmp_path: Path) -> None:
    with local(tmp_path, **SETTINGS, prefix="/dav") as client:
        alice = User(client, "alice")
        assert made(alice)["path"] == "/dav/"
        assert made(alice, path="/dav/")["path"] == "/dav/"
        assert made(alice, path="/dav/my photos")["path"] == "/dav/my%20photos"
        assert alice("POST", "/app-passwords", {"name": "x", "path": "/photos"}).status == 404
        bob = User(client, "bob")
        assert bob("POST", "/maintenance", {"reason": "all of it"}).json["path"] == "/dav/"


def test_while_the_state_is_away(alice: User, tmp_path: Path) -> None:
    assert alice("GET", "/app-passwords").status == 200
    (tmp_path / "state" / "state.db").rename(tmp_path / "away")
    for method, body in ("POST", {"name": "x"}), ("GET", None):  # a write looks for the file, and a read in a while
        answer = alice(method, "/app-passwords", body)
        assert (answer.status, answer.headers.get("retry-after")) == (503, "5")
