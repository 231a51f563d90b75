"""Check-outs, transactions and maintenance over HTTP."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from apiworld import BASE, SETTINGS, USERS, User, below, restrict
from inprocess import Local, local
from serving import QUICK


@pytest.fixture(autouse=True)
def _files(alice: User) -> None:
    alice.dav("MKCOL", "/d")
    for path in "/f", "/d/g":
        assert alice.dav("PUT", path, b"x").status == 201


# --- check-outs


def test_the_life_of_a_check_out(alice: User, carol: User) -> None:
    made = alice("POST", "/checkouts", {"path": "/d", "seconds": 3600, "reason": "until\n Friday"})
    assert (made.status, made.headers["location"]) == (201, f"{BASE}/checkouts/1")
    assert (made.json["kind"], made.json["depth"], made.json["path"]) == ("checkout", "infinity", "/d/")
    assert made.json["lock_reason"] == "until Friday"
    # It stops others, whatever they write with, and is joined by its holder's own programs.
    assert carol.dav("PUT", "/d/g", b"y").status == 423
    assert alice.dav("PUT", "/d/g", b"y").status == 204
    assert alice.lock("/d/g").status == 200
    assert carol("GET", "/checkouts/1").json["locked_by"] == "Alice Smith"
    extended = alice("PATCH", "/checkouts/1", {"seconds": 7200})
    assert extended.status == 200
    assert extended.json["locked_until"] > made.json["locked_until"]
    assert carol("PATCH", "/checkouts/1", {"seconds": 9}).status == carol("DELETE", "/checkouts/1").status == 403
    assert alice("DELETE", "/checkouts/1").status == 204
    for method, body in ("GET", None), ("PATCH", {"seconds": 9}), ("DELETE", None):
        assert alice(method, "/checkouts/1", body).status == 404
    assert carol.dav("PUT", "/d/new", b"y").status == 201


def test_a_check_out_lasts_whatever_its_holder_does_with_the_name(alice: User, carol: User) -> None:
    """R14, R42 of the replays: Excel on a drive, and KeePass, save beside it and rename twice."""
    assert alice("POST", "/checkouts", {"path": "/f", "seconds": 3600}).status == 201
    for name in ("/new.tmp", "/newer.tmp"):
        assert alice.dav("PUT", name, b"new").status == 201
    assert alice.dav("MOVE", "/f", Destination="/old.tmp").status == 201
    assert carol.dav("PUT", "/f", b"y").status == 423
    assert alice.dav("MOVE", "/new.tmp", Destination="/f").status == 201
    assert carol.dav("PUT", "/f", b"y").status == 423
    assert alice.dav("MOVE", "/newer.tmp", Destination="/f").status == 204
    assert alice.dav("DELETE", "/f").status == 204
    assert carol.dav("PUT", "/f", b"y").status == 423
    assert alice("GET", "/checkouts/1").status == 200
    assert carol.dav("PUT", "/old.tmp", b"y").status == 204
    assert alice("DELETE", "/checkouts/1").status == 204
    assert carol.dav("PUT", "/f", b"y").status == 201


def test_a_transaction_goes_on_whatever_it_moves_and_removes(alice: User, carol: User) -> None:
    made = alice("POST", "/transactions", {"paths": ["/d", "/d.new", "/f"], "seconds": 60}).json
    within = {"Transaction-Id": made["transaction_id"]}
    assert alice.dav("MKCOL", "/d.new", **within).status == 201
    assert alice.dav("MOVE", "/d", Destination="/d.old", **within).status == 201
    assert carol.dav("MKCOL", "/d").status == 423
    assert alice.dav("MOVE", "/d.new", Destination="/d", **within).status == 201
    assert alice.dav("DELETE", "/f", **within).status == 204
    assert carol.dav("PUT", "/f", b"y").status == carol.dav("PUT", "/d/g", b"y").status == 423
    assert alice("GET", f"/transactions/{made['transaction_id']}").json["paths"] == made["paths"]
    assert alice("DELETE", f"/transactions/{made['transaction_id']}").status == 204
    assert carol.dav("PUT", "/f", b"y").status == carol.dav("PUT", "/d/g", b"y").status == 201


def test_a_maintenance_outlives_what_it_is_about(alice: User, bob: User) -> None:
    assert bob("POST", "/maintenance", {"path": "/d", "reason": "a restore"}).status == 201
    assert bob.dav("DELETE", "/d").status == 204
    assert alice.dav("MKCOL", "/d").status == 423
    assert bob.dav("MKCOL", "/d").status == 201
    assert alice.dav("PUT", "/d/g", b"y").status == 423


def test_a_check_out_needs_a_login_and_a_file(tmp_path: Path, alice: User) -> None:
    nothing = alice("POST", "/checkouts", {"path": "/nothing"})
    assert (nothing.status, nothing.json["detail"]) == (404, "There is nothing at this path.")
    folder = tmp_path / "open"
    folder.mkdir()
    with local(folder, users={"alice": USERS["alice"]}, anonymous="rw") as client:
        stranger = User(client, None)
        client("PUT", "/f")
        assert stranger("POST", "/checkouts", {"path": "/f"}).status == 401


def test_what_is_in_the_way_of_a_check_out_is_named(alice: User, carol: User) -> None:
    carol.lock("/d/g")
    refused = alice("POST", "/checkouts", {"path": "/d"})
    assert refused.status == 423
    assert refused.headers["content-type"] == "application/json"
    assert int(refused.headers["retry-after"]) == refused.json["retry_after"]
    assert (refused.json["error"], refused.json["locked_by"]) == ("Locked", "carol")
    assert [lock["path"] for lock in refused.json["locks"]] == ["/d/g"]


def test_a_check_out_is_one_kind_of_resource(alice: User, bob: User) -> None:
    assert alice("POST", "/checkouts", {"path": "/f"}).status == 201
    assert alice("GET", "/maintenance/1").status == bob("DELETE", "/maintenance/1").status == 404


# --- transactions


def test_the_life_of_a_transaction(alice: User, carol: User) -> None:
    begun = alice("POST", "/transactions", {"paths": ["/f", "/d", "/new"], "reason": "Payment processing"})
    assert (begun.status, begun.headers["location"]) == (201, f"{BASE}/transactions/txn-1")
    assert begun.json["paths"] == ["/f", "/d/", "/new"]
    assert (begun.json["transaction_id"], begun.json["fencing_number"]) == ("txn-1", 1)
    assert {lock["locked_until"] for lock in begun.json["locks"]} == {begun.json["locked_until"]}
    named = {"Transaction_Id": "txn-1"}
    # Its id passes the gate for its principal, in every method, and for nobody else.
    assert alice.dav("PUT", "/f", b"y").status == 423
    assert carol.dav("PUT", "/f", b"y", **named).status == 412
    assert alice.dav("PUT", "/f", b"y", **named).status == 204
    assert alice.dav("MKCOL", "/d/h", **named).status == 201
    assert alice.dav("MOVE", "/d/g", Destination="/d/h/g", **named).status == 201
    assert alice.dav("COPY", "/d/h/g", Destination="/new", **named).status == 201
    assert alice.dav("DELETE", "/d/h", **named).status == 204
    assert carol("PATCH", "/transactions/txn-1", {"seconds": 9}).status == 403
    assert carol("DELETE", "/transactions/txn-1").status == 403
    renewed = alice("PATCH", "/transactions/txn-1", {"seconds": 7200})
    assert renewed.status == 200
    assert renewed.json["locked_until"] > begun.json["locked_until"]
    assert carol("GET", "/transactions/txn-1").json["locked_by"] == "Alice Smith"
    assert alice("DELETE", "/transactions/txn-1").status == 204
    for method, body in ("GET", None), ("PATCH", {"seconds": 9}), ("DELETE", None):
        assert alice(method, "/transactions/txn-1", body).status == 404
    # A program whose transaction has ended must not go on as if it had not.
    assert alice.dav("PUT", "/f", b"z", **named).status == 412
    assert carol.dav("PUT", "/f", b"z").status == 204
    assert alice("POST", "/transactions", {"paths": ["/f"]}).json["fencing_number"] == 2


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("PROPFIND", {"Depth": "0"}, 207),
        ("PUT", {}, 412),
        ("DELETE", {}, 412),
        ("COPY", {"Destination": "/new"}, 412),
        ("MOVE", {"Destination": "/new"}, 412),
        ("LOCK", {}, 412),
    ],
)
def test_after_the_end_of_a_transaction(method: str, fields: dict[str, str], status: int, alice: User) -> None:
    """Who still names it reads, and changes nothing."""
    named = alice("POST", "/transactions", {"paths": ["/other"]}).json["transaction_id"]
    assert alice("DELETE", f"/transactions/{named}").status == 204
    ask = alice.lock if method == "LOCK" else partial(alice.dav, method)
    assert ask("/f", Transaction_Id=named, **fields).status == status


def test_all_or_nothing(alice: User, carol: User) -> None:
    carol.lock("/d/g")
    refused = alice("POST", "/transactions", {"paths": ["/f", "/other", "/d"]})
    assert refused.status == 423
    assert [lock["path"] for lock in alice("GET", "/locks").json["locks"]] == ["/d/g"]
    # A path that is none, or may not be written, is as much of an obstacle.
    for bad, status in ("no/slash", 422), ("/a/../b", 400), ("/%zz", 400), ("/-/x", 403), ("/a%00", 400):
        assert alice("POST", "/transactions", {"paths": ["/f", bad]}).status == status
    assert len(alice("GET", "/locks").json["locks"]) == 1


def test_a_path_said_twice_is_one(alice: User) -> None:
    begun = alice("POST", "/transactions", {"paths": ["/f", "/f", "//f", "/%66"]})
    assert begun.json["paths"] == ["/f"]


def test_paths_as_people_write_them(alice: User) -> None:
    begun = alice("POST", "/transactions", {"paths": ["/My größe €.txt", "/a%20b", "/c?d#e"]})
    assert begun.json["paths"] == ["/My%20gr%C3%B6%C3%9Fe%20%E2%82%AC.txt", "/a%20b", "/c%3Fd%23e"]
    again = alice("GET", f"/locks?path={begun.json['paths'][0]}")
    assert len(again.json["locks"]) == 1


def test_many_paths_in_one(alice: User) -> None:
    paths = [f"/many/{number:04}" for number in range(1000)]
    begun = alice("POST", "/transactions", {"paths": paths})
    assert begun.json["paths"] == paths
    assert alice("POST", "/transactions", {"paths": [*paths, "/more"]}).status == 422
    assert alice("DELETE", "/transactions/txn-1").status == 204


def test_a_write_into_somebodys_transaction_is_told_which(alice: User, carol: User) -> None:
    """Wherever it comes from: over WebDAV, as PATCH of a JSON document, to the API."""
    alice("POST", "/transactions", {"paths": ["/f"], "reason": "Payment processing in progress", "seconds": 60})
    answers = [
        carol.dav("PUT", "/f", b"y", Accept="application/json"),
        carol.dav("PATCH", "/f", b"{}", Content_Type="application/json"),
        carol.dav("POST", "/f", b"{}", Content_Type="application/json"),
        carol("POST", "/checkouts", {"path": "/f"}),
        carol("POST", "/transactions", {"paths": ["/g", "/f"]}),
    ]
    for answer in answers:
        assert answer.status == 423
        assert answer.headers["content-type"] == "application/json"
        said = answer.json
        assert (said["lock_reason"], said["transaction_id"]) == ("Payment processing in progress", "txn-1")
        assert 0 < said["retry_after"] <= 60
        assert said["message"] == "/f is being changed by transaction txn-1."


# --- maintenance


def maintain(user: User, **body: Any) -> Any:
    return user("POST", "/maintenance", {"reason": "nightly backup", **body})


def test_the_life_of_a_maintenance(alice: User, bob: User) -> None:
    made = maintain(bob, seconds=3600, path="/d")
    assert (made.status, made.headers["location"]) == (201, f"{BASE}/maintenance/1")
    assert (made.json["kind"], made.json["path"], made.json["lock_reason"]) == ("maintenance", "/d/", "nightly backup")
    assert alice.dav("PUT", "/d/g", b"y").status == 423
    assert alice.dav("PUT", "/f", b"y").status == bob.dav("PUT", "/d/g", b"y").status == 204
    assert alice.dav("GET", "/d/g").status == 200
    longer = bob("PATCH", "/maintenance/1", {"seconds": 90_000})
    assert longer.json["locked_until"] > made.json["locked_until"]
    assert alice("GET", "/maintenance/1").status == 200
    assert alice("PATCH", "/maintenance/1", {"seconds": 9}).status == alice("DELETE", "/maintenance/1").status == 403
    assert bob("DELETE", "/maintenance/1").status == 204
    assert bob("GET", "/maintenance/1").status == 404
    assert alice.dav("PUT", "/d/g", b"y").status == 204


def test_maintenance_without_an_end_that_blocks_reads(alice: User, bob: User) -> None:
    made = maintain(bob, blocks_reads=True)
    assert "locked_until" not in made.json
    assert made.json["blocks_reads"] is True
    assert alice.dav("GET", "/f").status == 423
    assert alice("GET", "/locks").status == 200  # to see why
    refused = alice("POST", "/checkouts", {"path": "/f"})
    assert refused.status == 423
    assert "retry-after" not in refused.headers
    assert "locked_until" not in refused.json


def test_maintenance_is_not_for_everybody(alice: User, bob: User, stranger: User) -> None:
    assert maintain(alice).status == 403
    assert maintain(stranger).status == 401
    assert bob("POST", "/maintenance", {"reason": "  "}).status == 400


def test_locks_in_the_way_of_a_maintenance(alice: User, bob: User, tmp_path: Path) -> None:
    token = alice.lock("/d/g").token
    # A file that changed in the same moment would not be known to be as it was.
    while time.time() < (tmp_path / "share" / "d" / "g").stat().st_ctime + 0.1:
        pass
    refused = maintain(bob)
    assert (refused.status, refused.json["locked_by"]) == (423, "Alice Smith")
    assert maintain(bob, break_locks=True).status == 201
    assert [lock["kind"] for lock in alice("GET", "/locks").json["locks"]] == ["maintenance"]
    assert bob("DELETE", "/maintenance/2").status == 204
    assert alice.dav("PUT", "/d/g", b"saved", If=f"(<{token}>)").status == 204


def test_every_write_to_the_api_waits_for_the_end_of_the_maintenance(alice: User, bob: User) -> None:
    assert alice("POST", "/checkouts", {"path": "/f"}).status == 201
    maintain(bob, seconds=3600, break_locks=True)
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/checkouts", {"path": "/f"}),
        ("PATCH", "/checkouts/1", {"seconds": 9}),
        ("DELETE", "/checkouts/1", None),
        ("POST", "/transactions", {"paths": ["/f"]}),
        ("PATCH", "/transactions/txn-1", {"seconds": 9}),
        ("DELETE", "/transactions/txn-1", None),
        ("POST", "/maintenance", {"reason": "mine"}),
        ("DELETE", "/locks/1?reason=x", None),
        ("PUT", "/locks", {}),
        ("PATCH", "/orders/123", {"paid": True}),
        ("POST", "/checkouts", {"nonsense": 1}),
    ]
    for method, path, body in requests:
        answer = alice(method, path, body)
        assert answer.status == 423, (method, path)
        said = answer.json
        assert said["maintenance_mode"] is True
        assert (said["locked_by"], said["lock_reason"]) == ("bob", "nightly backup")
        assert said["locked_until"].endswith("Z")
        assert 3500 < said["retry_after"] <= 3600
        assert said["message"] == "/ is locked for maintenance: nightly backup."
        assert int(answer.headers["retry-after"]) == said["retry_after"]
    # Reading goes on, and so does who has set it.
    assert alice("GET", "/locks").status == 200
    assert bob("POST", "/transactions", {"paths": ["/f"]}).status == 423  # its own maintenance is in the way of that
    assert bob("DELETE", "/maintenance/2").status == 204
    assert alice("POST", "/checkouts", {"path": "/f"}).status == 201


def test_a_maintenance_that_somebody_left_on_can_be_broken(tmp_path: Path) -> None:
    """By who may break locks, and nothing else goes on meanwhile."""
    folder = tmp_path / "second"
    folder.mkdir()
    with local(folder, **{**SETTINGS, "locks": {"breakers": ["bob", "carol"]}}) as client:
        bob, carol, alice = (User(client, name) for name in ("bob", "carol", "alice"))
        maintain(bob)
        assert carol("DELETE", "/maintenance/1").status == 423
        assert alice("DELETE", "/locks/1?reason=x").status == 403
        assert carol("DELETE", "/locks/1").status == 400
        assert carol("DELETE", "/locks/2?reason=x").status == 423
        assert carol("DELETE", "/locks/1?reason=forgotten").status == 204
        maintain(bob, path="/sub")
        assert carol("DELETE", "/maintenance/2").status == 403


def test_whoever_may_set_a_maintenance_can_end_it_and_need_not_read_what_it_stops(tmp_path: Path) -> None:
    settings = {
        **SETTINGS, "administrators": ["carol"], "anonymous": None,
        "rules": [{"path": "/open", "who": "authenticated", "allow": "rw"},
                  {"path": "/", "who": "dave", "allow": "rw"}],
        "users": {**SETTINGS["users"], "dave": {"password": QUICK.hash("dave")}},
    }  # fmt: skip
    folder = tmp_path / "second"
    folder.mkdir()
    with local(folder, **settings) as client:
        alice, bob, carol, dave = (User(client, name) for name in ("alice", "bob", "carol", "dave"))
        assert dave.dav("MKCOL", "/open").status == 201
        narrow = carol("POST", "/app-passwords", {"name": "phone", "path": "/open"}).json["password"]
        wide = carol("POST", "/app-passwords", {"name": "laptop"}).json["password"]
        for number, who in enumerate((bob, carol, User(client, "carol", wide)), 1):
            maintain(who)
            assert who("GET", f"/maintenance/{number}").json["can_break"] is True
            assert [each["id"] for each in who("GET", "/locks").json["locks"]] == [number]
            for other in alice, User(client, "carol", narrow):
                assert other("GET", f"/maintenance/{number}").status == 404
                assert other("GET", "/locks").json == {"locks": []}
            assert who("PATCH", f"/maintenance/{number}", {"seconds": 60}).status == 200
            assert who("DELETE", f"/maintenance/{number}").status == 204
        maintain(bob)
        assert carol("DELETE", "/locks/4?reason=forgotten").status == 204


def test_whoever_may_read_a_file_no_more_can_end_their_lock_of_it(client: Local, alice: User) -> None:
    assert alice("POST", "/checkouts", {"path": "/f"}).status == 201
    restrict(client, "alice", below("/elsewhere"))
    assert alice("DELETE", "/checkouts/1").status == 204


def test_a_share_that_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir()
    (tmp_path / "ro" / "f").write_text("x")
    shares = {"/": {"directory": str(tmp_path / "ro"), "read_only": True}}
    with local(tmp_path, shares=shares) as client:
        refused = User(client, None)("POST", "/transactions", {"paths": ["/f"]})
        assert (refused.status, refused.json["detail"]) == (403, "This share is read-only.")
