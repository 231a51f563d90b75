"""Rules, administrators, app passwords and CORS count for the API as they do for WebDAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiworld import SETTINGS, User
from inprocess import Local, local

RULES: list[dict[str, Any]] = [
    {"path": "/locked/secret", "who": "bob", "allow": "rw"},
    {"path": "/locked/secret", "who": "carol", "allow": "none"},
    {"path": "/locked", "who": "carol", "allow": "rw"},
    {"path": "/read", "who": "carol", "allow": "r"},
    {"path": "/unlockable", "who": "carol", "allow": "rw", "lock": False},
    {"path": "/inbox", "who": "carol", "allow": "w"},
    {"path": "/", "who": "alice", "allow": "rw"},
    {"path": "/", "who": "bob", "allow": "r"},
]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Local]:
    with local(
        tmp_path,
        **SETTINGS,
        rules=RULES,
        administrators=["alice"],
        cors={"allowed_origins": ["https://app.example"], "allow_credentials": True},
    ) as client:
        alice = User(client, "alice")
        for folder in "/locked", "/locked/secret", "/locked/open", "/read", "/unlockable", "/inbox":
            assert alice.dav("MKCOL", folder).status == 201
        for file in "/locked/open/f", "/locked/secret/f", "/read/f", "/unlockable/f", "/inbox/f":
            assert alice.dav("PUT", file, b"x").status == 201
        yield client


def test_what_may_not_be_changed_may_not_be_locked(carol: User) -> None:
    for path, status in (
        ("/locked/open", 201),
        ("/locked/open/f", 423),  # within what was just locked
        ("/locked", 403),  # there is something in it that is not hers
        ("/read/f", 403),
        ("/locked/secret/f", 404),
        ("/locked/secret/new", 404),
        ("/elsewhere", 404),
        ("/read/new", 403),
    ):
        answer = carol("POST", "/transactions", {"paths": [path]})
        assert answer.status == status, (path, answer.body)
    assert carol("POST", "/checkouts", {"path": "/read/f"}).status == 403


@pytest.mark.parametrize("path", ["/unlockable", "/unlockable/f", "/unlockable/new"])
def test_where_nobody_may_lock_nothing_is_held(path: str, carol: User) -> None:
    assert carol.lock(path).status == 403
    assert carol("POST", "/transactions", {"paths": [path]}).status == 403
    # Of what is not there a check-out says nothing else than WebDAV does, which may not lock it either.
    assert carol("POST", "/checkouts", {"path": path}).status == 403
    assert carol.dav("PUT", "/unlockable/another", b"x").status == 201


def test_a_drop_box_is_not_held_by_those_who_drop(alice: User, carol: User) -> None:
    for path, status in ("/inbox", 403), ("/inbox/f", 403), ("/inbox/new", 201):
        assert carol("POST", "/transactions", {"paths": [path]}).status == status, path
    assert carol("POST", "/checkouts", {"path": "/inbox"}).status == 403
    assert alice("POST", "/checkouts", {"path": "/read"}).status == 201
    assert alice.dav("PUT", "/inbox/another", b"x").status == 201


@pytest.mark.slow
def test_locks_are_seen_where_one_may_read(alice: User, carol: User) -> None:
    for path in "/locked/secret/f", "/read/f", "/locked/open/f":
        assert alice("POST", "/checkouts", {"path": path}).status == 201
    assert [lock["path"] for lock in carol("GET", "/locks").json["locks"]] == ["/read/f", "/locked/open/f"]
    assert carol("GET", "/locks?path=/locked/secret").status == 404
    events = carol("GET", "/events?after=0&seconds=1").body
    assert b"secret" not in events
    assert events.count(b"event: locked") == 2


def test_administrators_set_maintenance(alice: User, bob: User, carol: User) -> None:
    assert carol("POST", "/maintenance", {"reason": "x"}).status == 403
    for user, path in (alice, "/locked"), (bob, "/read"):  # bob may break locks
        assert user("POST", "/maintenance", {"reason": "x", "path": path}).status == 201


def test_a_page_that_the_settings_allow_may_write(alice: User) -> None:
    for origin, status in ("https://app.example", 201), ("https://other.example", 403), ("null", 403):
        path = f"/read/{status}-{len(origin)}"
        answer = alice("POST", "/transactions", {"paths": [path]}, Origin=origin, Sec_Fetch_Site="cross-site")
        assert answer.status == status
        assert answer.headers.get("access-control-allow-origin") == (origin if status == 201 else None)
