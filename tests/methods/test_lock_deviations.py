"""Locks, where stock WsgiDAV 4.4.0 bends: each test fails on its behaviour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import QUICK, Running, serving
from wire import Dav


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server where one logs in."""
    users = {name: {"password": QUICK.hash(name)} for name in ("alice", "bob")}
    with serving(tmp_path_factory.mktemp("people"), users=users) as running:
        yield running


def login(running: Running, name: str) -> Dav:
    from base64 import b64encode

    return running.client(Authorization="Basic " + b64encode(f"{name}:{name}".encode()).decode())


@pytest.fixture
def alice(people: Running) -> Iterator[Dav]:
    client = login(people, "alice")
    yield client
    client.close()


@pytest.fixture
def bob(people: Running) -> Iterator[Dav]:
    client = login(people, "bob")
    yield client
    client.close()


@pytest.fixture
def place(alice: Dav, tmp_path: Path) -> str:
    path = f"/{tmp_path.name}"
    assert alice("MKCOL", path).status == 201
    return path


def test_a_refused_lock_on_a_new_name_leaves_no_file(alice: Dav, bob: Dav, place: str, people: Running) -> None:
    """RFC 4918 §9.10.4; the empty file must not be made before the lock is granted."""
    assert alice.lock(place, Depth="infinity").status == 200
    refused = bob.lock(f"{place}/new.txt")
    assert refused.status == 423
    assert refused.find("//D:no-conflicting-lock")
    assert not (people.root / place[1:] / "new.txt").exists()


@pytest.mark.parametrize("method", ["LOCK", "PUT", "MKCOL", "COPY", "MOVE"])
def test_nobody_adds_a_member_to_a_collection_that_another_locked(
    method: str, alice: Dav, bob: Dav, place: str, people: Running
) -> None:
    """RFC 4918 §7.4: a depth-0 lock on a collection protects its membership."""
    assert bob("PUT", f"{place}-{method}", b"source").status == 201
    assert alice.lock(place).status == 200
    if method == "LOCK":
        refused = bob.lock(f"{place}/new.txt")
    elif method in ("COPY", "MOVE"):
        refused = bob(method, f"{place}-{method}", Destination=bob.url(f"{place}/new.txt"))
    else:
        refused = bob(method, f"{place}/new.txt", b"" if method == "PUT" else None)
    assert refused.status == 423
    assert refused.find("//D:lock-token-submitted")
    assert list((people.root / place[1:]).iterdir()) == []


@pytest.mark.parametrize("method", ["DELETE", "MOVE"])
def test_a_locked_collection_is_not_taken_apart(method: str, alice: Dav, bob: Dav, place: str) -> None:
    """RFC 4918 §7.4, §9.6.1: refused as a whole, with nothing of it gone, in one plain 423."""
    for name in ("a", "b"):
        assert alice("PUT", f"{place}/{name}", b"x").status == 201
    assert alice.lock(place).status == 200
    refused = bob(method, place, Destination=bob.url(f"{place}-moved"))
    assert refused.status == 423
    assert bob.propfind(place, depth="1").hrefs() == [f"{place}/", f"{place}/a", f"{place}/b"]


def test_a_lock_does_not_stay_behind_at_the_source_of_a_move(dav: Dav, folder: str) -> None:
    """RFC 4918 §7.6, §6.1 (8)."""
    dav("PUT", f"{folder}/a", b"x")
    token = dav.lock(f"{folder}/a").token
    assert dav("MOVE", f"{folder}/a", Destination=dav.url(f"{folder}/b"), If=f"(<{token}>)").status == 201
    assert dav("PUT", f"{folder}/a", b"new").status == 201
    assert dav("PUT", f"{folder}/b", b"free").status == 204
    assert dav.propfind(folder, "lockdiscovery", depth="1").find("//D:activelock") == []


def test_one_of_two_shared_holders_may_write_with_his_own_token(alice: Dav, bob: Dav, place: str) -> None:
    """RFC 4918 §6.2."""
    alice("PUT", f"{place}/f", b"x")
    mine = alice.lock(f"{place}/f", scope="shared").token
    assert bob.lock(f"{place}/f", scope="shared").status == 200
    assert alice("PUT", f"{place}/f", b"y", If=f"(<{mine}>)").status == 204
    assert alice("PUT", f"{place}/f", b"z").status == 423


def test_a_shared_lock_stands_above_a_shared_lock(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.10.5."""
    dav("PUT", f"{folder}/f", b"x")
    assert dav.lock(f"{folder}/f", scope="shared").status == 200
    assert dav.lock(folder, scope="shared", Depth="infinity").status == 200


def test_a_locked_child_does_not_stop_a_move_that_submits_its_token(dav: Dav, folder: str) -> None:
    """RFC 4918 §7.5, §9.9."""
    dav("MKCOL", f"{folder}/c")
    dav("PUT", f"{folder}/c/f", b"x")
    token = dav.lock(f"{folder}/c/f").token
    refused = dav("MOVE", f"{folder}/c", Destination=dav.url(f"{folder}/d"))
    assert refused.status == 423
    assert refused.texts("//D:lock-token-submitted/D:href") == [f"{folder}/c/f"]
    tagged = f"<{dav.url(f'{folder}/c/f')}> (<{token}>)"
    assert dav("MOVE", f"{folder}/c", Destination=dav.url(f"{folder}/d"), If=tagged).status == 201
    # And as what is overwritten.
    dav("MKCOL", f"{folder}/e")
    token = dav.lock(f"{folder}/d/f").token
    tagged = f"<{dav.url(f'{folder}/d/f')}> (<{token}>)"
    assert dav("MOVE", f"{folder}/e", Destination=dav.url(f"{folder}/d"), If=tagged).status == 204


def test_a_missing_token_and_a_conflict_are_told_apart(dav: Dav, folder: str) -> None:
    """RFC 4918 §16: lock-token-submitted for a write, no-conflicting-lock for a LOCK; hrefs as clients see them."""
    assert dav.lock(folder, Depth="infinity").status == 200
    write = dav("PUT", f"{folder}/f", b"x")
    assert write.texts("/D:error/D:lock-token-submitted/D:href") == [f"{folder}/"]
    assert write.find("//D:no-conflicting-lock") == []
    lock = dav.lock(f"{folder}/f")
    assert lock.texts("/D:error/D:no-conflicting-lock/D:href") == [f"{folder}/"]


def test_a_token_releases_only_where_its_lock_reaches(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.11.1: the depth-0 lock of /c does not cover /c/f."""
    dav("PUT", f"{folder}/f", b"x")
    token = dav.lock(folder).token
    refused = dav("UNLOCK", f"{folder}/f", Lock_Token=f"<{token}>")
    assert refused.status == 409
    assert refused.find("/D:error/D:lock-token-matches-request-uri")
    assert dav("UNLOCK", folder, Lock_Token=f"<{token}>").status == 204


def test_only_the_holder_refreshes(alice: Dav, bob: Dav, place: str) -> None:
    """RFC 4918 §6.4, §9.10.2: a token that somebody learned does not give him the lock."""
    alice("PUT", f"{place}/f", b"x")
    token = alice.lock(f"{place}/f", Timeout="Second-3600").token
    for header in (f"(<{token}>)", f"<{bob.url(f'{place}/f')}> (<{token}>)"):
        refused = bob("LOCK", f"{place}/f", If=header, Timeout="Second-1")
        assert refused.status == 412
        assert refused.find("/D:error/D:lock-token-matches-request-uri")
    assert bob("PUT", f"{place}/f", b"y", If=f"(<{token}>)").status == 423
    assert bob("UNLOCK", f"{place}/f", Lock_Token=f"<{token}>").status == 403
    refreshed = alice("LOCK", f"{place}/f", If=f"(<{token}>)", Timeout="Second-1200")
    assert refreshed.status == 200
    assert refreshed.texts("//D:timeout") == ["Second-1200"]
    assert refreshed.texts("//D:locktoken/D:href") == [token]
    for depth in "0", "1", "infinity", "what":  # RFC 4918 §9.10.2: to be ignored
        assert alice("LOCK", f"{place}/f", If=f"(<{token}>)", Depth=depth).status == 200


def test_a_condition_sees_the_locks_of_everybody(alice: Dav, bob: Dav, place: str) -> None:
    """RFC 4918 §10.4.4: whose lock it is decides whether one may write, not whether the condition is true."""
    alice("PUT", f"{place}/f", b"x")
    token = bob.lock(f"{place}/f").token
    assert alice("GET", f"{place}/f", If=f"(<{token}>)").status == 200
    assert alice("GET", f"{place}/f", If=f"(Not <{token}>)").status == 412
    assert alice("PUT", f"{place}/f", b"y", If=f"(<{token}>)").status == 423


def test_members_show_the_lock_that_covers_them(dav: Dav, folder: str, server: Running) -> None:
    """RFC 4918 §15.8; also when the file behind a lock is gone from the disk."""
    dav("PUT", f"{folder}/f", b"x")
    dav("PUT", f"{folder}/g", b"x")
    token = dav.lock(folder, Depth="infinity").token
    listing = dav.propfind(folder, "lockdiscovery", depth="1")
    assert listing.texts("//D:locktoken/D:href") == [token] * 3
    assert listing.texts("//D:lockroot/D:href") == [f"{folder}/"] * 3
    (server.root / folder[1:] / "f").unlink()
    assert dav.propfind(folder, "lockdiscovery", depth="1").hrefs() == [f"{folder}/", f"{folder}/g"]


def test_a_token_is_a_uuid_uri(dav: Dav, folder: str) -> None:
    """RFC 4918 §6.5, App. C."""
    from uuid import UUID

    token = dav.lock(f"{folder}/new").token
    assert token.startswith("urn:uuid:")
    assert UUID(token.removeprefix("urn:uuid:")).version == 4


def test_many_clients_lock_and_unlock_at_once_and_nobody_gets_an_error(server: Running, dav: Dav, folder: str) -> None:
    """No answer but the right ones, and never two holders at a time."""
    dav("PUT", f"{folder}/f", b"x")
    statuses: list[int] = []
    holders: list[str] = []
    overlaps: list[str] = []

    def race() -> None:
        client = server.client()
        for _ in range(40):
            locked = client.lock(f"{folder}/f")
            statuses.append(locked.status)
            if locked.status == 200:
                holders.append(locked.token)
                if len(holders) > 1:
                    overlaps.append(locked.token)
                holders.remove(locked.token)
                statuses.append(client("UNLOCK", f"{folder}/f", Lock_Token=f"<{locked.token}>").status)
        client.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 204, 423}
    assert statuses.count(200) == statuses.count(204) > 0
    assert overlaps == []


def test_delete_and_move_are_refused_while_a_put_holds_nothing_but_its_stage(
    server: Running, dav: Dav, folder: str
) -> None:
    """An upload in flight neither blocks a LOCK nor survives it: it ends in 423 with nothing changed."""
    dav("PUT", f"{folder}/f", b"old")
    with server.raw() as upload:
        upload.send(f"PUT {folder}/f HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345".encode())
        assert dav("GET", f"{folder}/f").body == b"old"
        locked = dav.lock(f"{folder}/f")
        assert locked.status == 200
        upload.send(b"67890")
        assert upload.answer()[0] == 423
    assert dav("GET", f"{folder}/f").body == b"old"
    assert dav("PUT", f"{folder}/f", b"new", If=f"(<{locked.token}>)").status == 204


def test_proppatch_is_decided_where_it_is_done(dav: Dav, folder: str) -> None:
    """A property set that fails half-way leaves nothing of itself (RFC 4918 §9.2)."""
    dav("PUT", f"{folder}/f", b"x")
    answer = dav.proppatch(
        f"{folder}/f",
        '<D:set><D:prop><x xmlns="urn:t">1</x></D:prop></D:set>'
        "<D:set><D:prop><D:getetag>no</D:getetag></D:prop></D:set>",
    )
    assert answer.status == 207
    assert answer.find("//D:cannot-modify-protected-property")
    assert answer.texts("//D:status") in (
        ["HTTP/1.1 424 Failed Dependency", "HTTP/1.1 403 Forbidden"],
        ["HTTP/1.1 403 Forbidden", "HTTP/1.1 424 Failed Dependency"],
    )
    assert dav.propfind(f"{folder}/f", "x", namespace="urn:t").texts("//D:status") == ["HTTP/1.1 404 Not Found"]
