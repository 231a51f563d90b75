"""GET /locks, GET and DELETE /locks/{id}."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from apiworld import BASE, Limited, User, below, restrict
from inprocess import Local, local
from serving import QUICK
from wire import Answer

from davserver.access.permissions import Everywhere
from davserver.protocol.messages import Action
from davserver.protocol.paths import DavPath
from davserver.storage import lock_service
from davserver.storage.lock_keeper import LockKeeper


def ids(answer: Answer) -> list[int]:
    assert answer.status == 200, answer.body
    return [lock["id"] for lock in answer.json["locks"]]


def paths(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [lock["path"] for lock in answer.json["locks"]]


def test_a_lock_is_shown_whole_and_without_its_token(alice: User, bob: User, carol: User) -> None:
    granted = alice.lock("/a b.txt", User_Agent="LibreOffice", Timeout="Second-1740")
    assert granted.status == 201
    (seen,) = carol("GET", "/locks").json["locks"]
    assert {name: seen[name] for name in ("id", "path", "scope", "depth", "kind", "locked_by")} == {
        "id": 1, "path": "/a%20b.txt", "scope": "exclusive", "depth": "0", "kind": "write", "locked_by": "Alice Smith",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", seen["locked_until"])
    assert (seen["probably_stale"], seen["can_break"]) == (False, False)
    assert not {"client", "lock_reason", "transaction_id", "fencing_number", "blocks_reads"} & set(seen)
    # Who holds it, or may break it, sees who it is that holds it.
    for user in alice, bob:
        (own,) = user("GET", "/locks").json["locks"]
        assert own["can_break"]
        assert own["client"] == {"address": "127.0.0.1", "agent": "LibreOffice"}
    one = carol("GET", "/locks/1")
    assert one.json == seen
    for answer in one, carol("GET", "/locks"), bob("GET", "/locks"):
        assert granted.token.encode() not in answer.body
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [1, 2, 3, 4]),
        ("?path=/d", [1, 2]),
        ("?path=/d/", [1, 2]),
        ("?path=/d/f", [2]),
        ("?path=/d%2Ff", [2]),
        ("?path=/x/y/z", [4]),
        ("?path=/", [1, 2, 3, 4]),
        ("?path=/nothing", []),
        ("?holder=alice", [1, 3]),
        ("?holder=nobody", []),
        ("?kind=write", [1, 2, 3]),
        ("?kind=transaction", [4]),
        ("?kind=write&holder=carol&path=/d", [2]),
        ("?stale=true", []),
        ("?stale=false", [1, 2, 3, 4]),
        ("?after=2", [3, 4]),
        ("?after=9223372036854775807", []),
        ("?limit=3", [1, 2, 3]),
        ("?path=/d&wait=0&kind=checkout", []),
        ("?path=/d&wait=0&holder=nobody", []),
        ("?path=/d/f&wait=0&after=2", []),
    ],
)
def test_filters(query: str, found: list[int], alice: User, carol: User) -> None:
    alice.dav("MKCOL", "/d")
    alice.dav("PUT", "/d/f")
    alice.lock("/d/")
    carol.lock("/d/f")
    alice.lock("/e")
    assert carol("POST", "/transactions", {"paths": ["/x"]}).status == 201
    assert ids(alice("GET", "/locks" + query)) == found


def test_pages_lead_from_one_to_the_next(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_service, "PAGE", 3)
    assert alice("POST", "/transactions", {"paths": [f"/f{number}" for number in range(10)]}).status == 201
    alice.lock("/other")
    url: str | None = "/locks?limit=4&kind=transaction&path=/&stale=false"
    seen: list[list[int]] = []
    while url is not None:
        page = alice("GET", url)
        seen.append(ids(page))
        url = page.json.get("next")
        if url is not None:
            assert url.startswith(f"{BASE}/locks?")
            url = url.removeprefix(BASE)
    assert seen == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_what_may_not_be_read_is_not_there(client: Local, alice: User, bob: User, carol: User) -> None:
    alice.dav("MKCOL", "/secret")
    alice.lock("/secret/f")
    alice.lock("/open")

    restrict(client, "carol", Limited(lambda _, path: path.segments[:1] != ("secret",)))
    assert paths(carol("GET", "/locks")) == ["/open"]
    assert carol("GET", "/locks/1").status == carol("DELETE", "/locks/1?reason=x").status == 404
    assert carol("GET", "/locks?path=/secret/f").status == 404
    assert paths(bob("GET", "/locks")) == ["/secret/f", "/open"]
    # A lock from above that protects what one may read is shown to who asks for that.
    restrict(client, "carol", below("/secret/f"))
    assert paths(carol("GET", "/locks?path=/secret/f")) == ["/secret/f"]
    assert alice("DELETE", "/locks/1").status == 204
    assert alice("POST", "/transactions", {"paths": ["/secret"]}).status == 201
    assert paths(carol("GET", "/locks?path=/secret/f")) == ["/secret/"]
    assert carol("GET", "/locks").json == {"locks": []}
    assert carol("GET", "/transactions/txn-1").status == carol("DELETE", "/transactions/txn-1").status == 404
    assert carol("POST", "/transactions", {"paths": ["/secret/f", "/other"]}).status == 403


def test_names_are_told_to_whom_the_settings_say(tmp_path: Path) -> None:
    users = {name: {"password": QUICK.hash(name)} for name in ("alice", "carol")}
    with local(tmp_path, users=users, anonymous="ro", locks={"reveal_holder": "users"}) as client:
        alice, carol, stranger = (User(client, name) for name in ("alice", "carol", None))
        alice.lock("/f")
        assert carol("GET", "/locks").json["locks"][0]["locked_by"] == "alice"
        assert "locked_by" not in stranger("GET", "/locks").json["locks"][0]
        # Nor is it to be found out by asking for the name.
        assert ids(carol("GET", "/locks?holder=alice")) == [1]
        assert ids(stranger("GET", "/locks?holder=alice")) == []
        assert ids(stranger("GET", "/locks?path=/f&holder=alice&wait=0")) == []
        assert carol("GET", "/locks?path=/f&holder=alice&wait=0").status == 204
        # Somebody who might be more is asked to log in.
        assert stranger("DELETE", "/locks/1?reason=x").status == 401
        assert carol("DELETE", "/locks/1?reason=x").status == 403


def test_breaking_takes_the_right_and_a_reason(alice: User, bob: User, carol: User) -> None:
    alice.dav("PUT", "/f", b"x")
    token = alice.lock("/f").token
    refused = carol("DELETE", "/locks/1?reason=holiday")
    assert (refused.status, refused.json["title"]) == (403, "Forbidden")
    for without in "/locks/1", "/locks/1?reason=":
        assert bob("DELETE", without).status == 400
    assert bob("DELETE", "/locks/1?reason=Alice%20is%20on%20holiday").status == 204
    assert bob("DELETE", "/locks/1?reason=again").status == 404
    assert ids(bob("GET", "/locks")) == []
    # Alice's save is still accepted, since nobody else has written.
    assert alice.dav("PUT", "/f", b"mine", If=f"(<{token}>)").status == 204


def test_a_reason_may_come_as_json(alice: User, bob: User) -> None:
    alice.lock("/f")
    assert bob("DELETE", "/locks/1", {"reason": 5}).status == 422
    assert bob("DELETE", "/locks/1", {"reason": "holiday"}).status == 204


def test_what_is_broken_of_a_transaction_is_all_of_it(alice: User, bob: User) -> None:
    assert alice("POST", "/transactions", {"paths": ["/a", "/b"]}).status == 201
    assert bob("DELETE", "/locks/2?reason=it%20hangs").status == 204
    assert ids(alice("GET", "/locks")) == []


@pytest.mark.slow
def test_ones_own_lock_needs_no_reason(alice: User, bob: User) -> None:
    alice.lock("/f")
    assert alice("POST", "/transactions", {"paths": ["/a", "/b"]}).status == 201
    assert alice("DELETE", "/locks/1").status == alice("DELETE", "/locks/3").status == 204
    assert ids(alice("GET", "/locks")) == []
    for number, query in (4, ""), (5, "?reason=done"):
        assert bob("POST", "/maintenance", {"reason": "backup"}).status == 201
        assert bob("DELETE", f"/locks/{number}{query}").status == 204
    told = bob("GET", "/events?after=0&seconds=1").body.decode()
    assert [told.count(f"event: {what}\n") for what in ("released", "broken")] == [4, 1]


def test_on_an_open_share_nobody_owns_a_lock_by_being_nobody(tmp_path: Path) -> None:
    with local(tmp_path) as client:
        stranger = User(client, None)
        client.lock("/f")
        assert stranger("GET", "/locks/1").json["can_break"] is False
        assert stranger("DELETE", "/locks/1?reason=x").status == 403


def test_a_reader_may_look_and_no_more(client: Local, alice: User, carol: User) -> None:
    alice.dav("PUT", "/f", b"x")
    restrict(client, "carol", Everywhere((Action.READ,)))
    assert carol("POST", "/checkouts", {"path": "/f"}).status == 403
    assert carol("POST", "/transactions", {"paths": ["/f"]}).status == 403
    assert ids(carol("GET", "/locks")) == []


def test_ids_that_are_none(alice: User) -> None:
    for number in "0", "99", "-1", "x", "9223372036854775807", "9223372036854775808", "1" * 400, "%31%2f":
        for kind in "locks", "checkouts", "maintenance":
            assert alice("GET", f"/{kind}/{number}").status in (400, 404)
    for name in "txn-9", "txn-", "x", "%00", "txn-" + "9" * 400:
        assert alice("GET", f"/transactions/{name}").status in (400, 404)


@contextmanager
def of_writers(folder: Path) -> Iterator[tuple[Local, list[float]]]:
    """Where who may write breaks what is stale; and the time, to be turned."""
    users = {name: {"password": QUICK.hash(name)} for name in ("alice", "carol")}
    now, locks = [1e9], {"stale_break": "writers"}
    with local(folder, clock=lambda: now[0], users=users, anonymous="none", locks=locks) as client:
        yield client, now


def test_who_may_write_may_break_what_is_stale_where_the_settings_say_so(tmp_path: Path) -> None:
    with of_writers(tmp_path) as (client, now):
        alice, carol = (User(client, name) for name in ("alice", "carol"))
        token = alice.lock("/f").token
        assert carol("DELETE", "/locks/1?reason=x").status == 403
        assert carol("GET", "/locks/1").json["can_break"] is False
        # A client that refreshes after a while, and then not for two of these whiles, has probably gone.
        now[0] += 100
        assert alice.dav("LOCK", "/f", If=f"(<{token}>)").status == 200
        now[0] += 199
        assert ids(carol("GET", "/locks?stale=true")) == []
        now[0] += 1
        assert ids(carol("GET", "/locks?stale=true")) == [1]
        assert carol("GET", "/locks/1").json["can_break"] is True
        restrict(client, "carol", Everywhere((Action.READ,)))
        assert carol("DELETE", "/locks/1?reason=x").status == 403
        restrict(client, "carol", Everywhere(tuple(Action)))
        assert carol("DELETE", "/locks/1?reason=gone").status == 204


def test_what_is_refreshed_while_somebody_breaks_it_is_not_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with of_writers(tmp_path) as (client, now):
        alice, carol = (User(client, name) for name in ("alice", "carol"))
        token = alice.lock("/f").token
        version = LockKeeper.version

        def refresh(keeper: LockKeeper, path: DavPath) -> str | None:
            monkeypatch.undo()
            assert alice.dav("LOCK", "/f", If=f"(<{token}>)").status == 200
            return version(keeper, path)

        now[0] += 100
        assert alice.dav("LOCK", "/f", If=f"(<{token}>)").status == 200
        now[0] += 200
        assert carol("GET", "/locks/1").json["can_break"] is True
        monkeypatch.setattr(LockKeeper, "version", refresh)
        assert carol("DELETE", "/locks/1?reason=gone").status == 403
        assert carol.dav("PUT", "/f", b"x").status == 423
