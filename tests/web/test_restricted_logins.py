"""An app password that is narrower than its user is narrower everywhere, whoever its user is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiworld import SETTINGS, User
from inprocess import Local, local


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Local]:
    """bob breaks locks and is an administrator."""
    with local(tmp_path, **SETTINGS, administrators=["bob"]) as client:
        alice = User(client, "alice")
        assert alice.dav("MKCOL", "/docs").status == 201
        for file in "/docs/f", "/docs/g", "/h":
            assert alice.dav("PUT", file, b"x").status == 201
        yield client


def device(client: Local, name: str, **narrowed: Any) -> User:
    answer = User(client, name)("POST", "/app-passwords", {"name": "device", **narrowed})
    return User(client, name, answer.json["password"])


def held(bob: User, alice: User) -> dict[str, str]:
    """One of each kind, by resources: the first is alice's, all others are bob's."""
    lock = alice("POST", "/checkouts", {"path": "/docs/f"})
    checkout = bob("POST", "/checkouts", {"path": "/docs/g"})
    transaction = bob("POST", "/transactions", {"paths": ["/docs/new"]})
    maintenance = bob("POST", "/maintenance", {"path": "/docs/later", "reason": "x"})
    for answer in lock, checkout, transaction, maintenance:
        assert answer.status == 201, answer.body
    return {
        "lock": f"/locks/{lock.json['id']}",
        "own": f"/locks/{checkout.json['id']}",
        "checkout": f"/checkouts/{checkout.json['id']}",
        "transaction": f"/transactions/{transaction.json['transaction_id']}",
        "maintenance": f"/maintenance/{maintenance.json['id']}",
        "own maintenance": f"/locks/{maintenance.json['id']}",
    }


#: What somebody with every power asks of the API.
CHANGES: list[tuple[str, str, Any]] = [
    ("DELETE", "{lock}?reason=x", None),
    ("DELETE", "{lock}", {"reason": "x"}),
    ("DELETE", "{own}", None),
    ("DELETE", "{own maintenance}", None),
    ("POST", "/checkouts", {"path": "/h"}),
    ("PATCH", "{checkout}", {"seconds": 60}),
    ("DELETE", "{checkout}", None),
    ("POST", "/transactions", {"paths": ["/h"]}),
    ("PATCH", "{transaction}", {"seconds": 60}),
    ("DELETE", "{transaction}", None),
    ("POST", "/maintenance", {"path": "/h", "reason": "x"}),
    ("POST", "/maintenance", {"path": "/docs", "reason": "x", "break_locks": True}),
    ("PATCH", "{maintenance}", {"seconds": 60}),
    ("DELETE", "{maintenance}", None),
    ("POST", "/app-passwords", {"name": "x"}),
    ("DELETE", "/app-passwords/1", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_one_that_only_reads_changes_nothing(
    method: str, path: str, body: Any, client: Local, alice: User, bob: User
) -> None:
    names = held(bob, alice)
    before = bob("GET", "/locks").json
    reading = device(client, "bob", read_only=True)
    answer = reading(method, path.format_map(names), body)
    assert answer.status == 403, answer.body
    assert "may only read" in answer.json["detail"]
    assert bob("GET", "/locks").json == before


def test_every_change_of_the_api_is_among_them(client: Local, stranger: User) -> None:
    paths = stranger("GET", "/openapi.json").json["paths"]
    all_changes = {(method.upper(), path) for path, item in paths.items() for method in item if method != "get"}
    spelt = {
        **dict.fromkeys(("{lock}", "{own}", "{own maintenance}"), "/locks/{number}"),
        "{checkout}": "/checkouts/{number}",
        "{maintenance}": "/maintenance/{number}",
        "{transaction}": "/transactions/{transaction_id}",
        "/app-passwords/1": "/app-passwords/{number}",
    }
    tried = {(method, spelt.get(path.partition("?")[0], path)) for method, path, _ in CHANGES}
    assert tried == all_changes


def test_one_that_only_reads_changes_no_file_and_ends_no_lock(client: Local, alice: User, bob: User) -> None:
    lock = bob.lock("/docs/g")
    token = lock.token
    names = held_transaction = bob("POST", "/transactions", {"paths": ["/docs/new"]}).json
    reading = device(client, "bob", read_only=True)
    transaction = {"Transaction_Id": held_transaction["transaction_id"]}
    for method, path, fields in (
        ("PUT", "/h", {}),
        ("PUT", "/new", {}),
        ("PUT", "/docs/new", transaction),
        ("PUT", "/docs/g", {"If": f"(<{token}>)"}),
        ("MKCOL", "/n", {}),
        ("DELETE", "/h", {}),
        ("COPY", "/h", {"Destination": "/i"}),
        ("MOVE", "/h", {"Destination": "/i"}),
        ("PROPPATCH", "/h", {}),
        ("LOCK", "/h", {}),
        ("LOCK", "/docs/g", {"If": f"(<{token}>)"}),  # a refresh
        ("UNLOCK", "/docs/g", {"Lock_Token": f"<{token}>"}),
        ("PATCH", "/h", {"Content_Type": "application/x-sabredav-partialupdate", "X_Update_Range": "append"}),
        ("POST", "/h", {}),
    ):
        answer = reading.dav(method, path, b"", **fields)
        assert answer.status == 403, (method, path, answer.status, answer.body)
    assert reading.dav("GET", "/h").body == b"x"
    assert {each["id"] for each in reading("GET", "/locks").json["locks"]} == {1, *(e["id"] for e in names["locks"])}
    assert not any(each["can_break"] for each in reading("GET", "/locks").json["locks"])
    assert bob.dav("UNLOCK", "/docs/g", Lock_Token=f"<{token}>").status == 204


def test_one_for_a_part_gives_no_powers_and_nothing_outside(client: Local, alice: User, bob: User) -> None:
    names = held(bob, alice)
    part = device(client, "bob", path="/docs")
    assert part("DELETE", f"{names['lock']}?reason=x").status == 403
    for method, path, body in (
        ("POST", "/maintenance", {"path": "/docs/x", "reason": "x"}),
        ("PATCH", names["maintenance"], {"seconds": 60}),
        ("DELETE", names["maintenance"], None),
        ("DELETE", names["own maintenance"], None),
    ):
        answer = part(method, path, body)
        assert (answer.status, "not for app passwords" in answer.body.decode()) == (403, True), (method, path)
    for path in "/h", "/":
        assert part("POST", "/checkouts", {"path": path}).status in (403, 404)
    can_break = {each["path"]: each["can_break"] for each in part("GET", "/locks").json["locks"]}
    assert can_break["/docs/f"] is False
    # What anybody may do with what is theirs they may do inside it.
    assert part("DELETE", names["checkout"]).status == 204
    assert part("POST", "/checkouts", {"path": "/docs/g"}).status == 201
    assert part("DELETE", names["transaction"]).status == 204


def test_outside_of_a_part_locks_are_not_even_seen(client: Local, alice: User) -> None:
    number = alice("POST", "/checkouts", {"path": "/h"}).json["id"]
    part = device(client, "alice", path="/docs")
    assert part("GET", "/locks").json == {"locks": []}
    for method, path in ("GET", f"/locks/{number}"), ("DELETE", f"/checkouts/{number}"):
        assert part(method, path).status == 404


def test_a_transaction_that_is_partly_outside_is_not_ended(client: Local, alice: User) -> None:
    begun = alice("POST", "/transactions", {"paths": ["/docs/f", "/h"]}).json
    inside, outside = (f"/locks/{lock['id']}" for lock in begun["locks"])
    part, whole = device(client, "alice", path="/docs"), device(client, "alice")
    assert part("GET", outside).status == part("DELETE", outside).status == 404
    assert part("DELETE", f"/transactions/{begun['transaction_id']}").status == 404
    assert part("GET", inside).json["can_break"] is False
    for suffix in "", "?reason=x":
        refused = part("DELETE", inside + suffix)
        assert (refused.status, "app password" in refused.json["detail"]) == (403, True)
    assert alice("GET", f"/transactions/{begun['transaction_id']}").json == begun
    assert whole("GET", inside).json["can_break"] is True
    assert whole("DELETE", inside).status == 204
    assert alice("GET", "/locks").json == {"locks": []}


def test_a_stale_lock_is_not_broken_by_who_may_not_write_there(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    settings = {**SETTINGS, "locks": {"stale_break": "writers"}}
    with local(tmp_path, clock=lambda: now[0], **settings) as client:
        alice = User(client, "alice")
        alice.dav("PUT", "/h", b"x")
        lock = alice.lock("/h", Timeout="Second-86400")
        for _ in range(3):  # its client refreshes it once a minute, and then no more
            now[0] += 60
            assert alice.dav("LOCK", "/h", If=f"(<{lock.token}>)", Timeout="Second-86400").status == 200
        now[0] += 7200
        reading, whole = device(client, "carol", read_only=True), device(client, "carol")
        assert reading("DELETE", "/locks/1?reason=x").status == 403
        assert whole("DELETE", "/locks/1?reason=x").status == 204


def test_one_that_may_what_its_user_may_has_the_powers_too(client: Local, alice: User, bob: User) -> None:
    names = held(bob, alice)
    whole = device(client, "bob")
    assert whole("DELETE", f"{names['lock']}?reason=x").status == 204
    assert whole("DELETE", names["maintenance"]).status == 204
