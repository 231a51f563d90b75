"""When a lock ends, by a clock that the test turns: what is done in that moment, and what was begun before it."""

from __future__ import annotations

import dataclasses
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from inprocess import Local
from lockworld import Clock
from serving import QUICK
from wire import Answer, lockinfo

from davserver.methods import locking
from davserver.methods.guard import Guard
from davserver.protocol.errors import Conflict, Unavailable
from davserver.protocol.locks import Lock, Principal
from davserver.protocol.paths import DavPath
from davserver.server.app import DavApp
from davserver.server.compose import open_app
from davserver.settings import Settings
from davserver.storage import gate
from davserver.storage.journal import Intent, Journal, Kind
from davserver.storage.lock_keeper import LockKeeper
from davserver.storage.lock_manager import LockManager
from davserver.storage.lock_service import LockService
from davserver.storage.node import AlreadyThere, Node

SECONDS = 600


class Town:
    """An application where people log in."""

    def __init__(self, folder: Path, stack: ExitStack, **locks: object) -> None:
        self.clock, self.root = Clock(), folder / "share"
        self.root.mkdir()
        settings = Settings(
            shares={"/": {"directory": str(self.root)}},  # type: ignore[dict-item]
            durability="relaxed",
            users={name: {"password": QUICK.hash(name)} for name in ("alice", "bob")},  # type: ignore[misc]
            log={"access": False},  # type: ignore[arg-type]
            locks=locks,  # type: ignore[arg-type]
        )
        self.app: DavApp = open_app(settings, str(folder / "state"), stack, clock=self.clock)
        self.alice, self.bob = self.login("alice"), self.login("bob")

    def login(self, name: str) -> Local:
        return Local(self.app, Authorization="Basic " + b64encode(f"{name}:{name}".encode()).decode())

    def lock(self, path: str, *, who: Local | None = None, **fields: str) -> Answer:
        return (who or self.alice).lock(path, Timeout=f"Second-{SECONDS}", **fields)

    def refresh(self, path: str, token: str, **fields: str) -> Answer:
        return self.alice("LOCK", path, b"", If=f"(<{token}>)", **fields)

    @property
    def locks(self) -> LockManager:
        return self.app.application._shares.locks  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def town(tmp_path: Path, stack: ExitStack) -> Town:
    return Town(tmp_path, stack)


def left(answer: Answer) -> int:
    (timeout,) = answer.texts("//D:timeout")
    return int(timeout.removeprefix("Second-"))


# --- the last moment


def test_a_refresh_in_the_last_moment_is_in_time(town: Town) -> None:
    locked = town.lock("/f")
    for _ in range(3):
        town.clock.now += SECONDS - 0.001
        refreshed = town.refresh("/f", locked.token, Timeout=f"Second-{SECONDS}")
        assert refreshed.status == 200
        assert refreshed.texts("//D:locktoken/D:href") == [locked.token]
        assert left(refreshed) == SECONDS
    town.clock.now += SECONDS
    late = town.refresh("/f", locked.token)
    assert late.status == 412
    assert late.find("//D:lock-token-matches-request-uri")
    assert b"Your lock on /f expired at" in late.body


def test_a_lock_that_ends_between_the_look_and_the_refresh(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = town.lock("/f")
    refresh = LockManager.refresh

    def late(self: LockManager, path: DavPath, token: str, principal: Principal, timeout: int | None) -> object:
        town.clock.now += SECONDS
        return refresh(self, path, token, principal, timeout)

    monkeypatch.setattr(LockManager, "refresh", late)
    answer = town.refresh("/f", locked.token)
    assert answer.status == 412
    assert b"Your lock on /f expired at" in answer.body
    assert town.lock("/f", who=town.bob).status == 200


def test_a_refresh_of_somebody_elses_lock_tells_nothing(town: Town) -> None:
    locked = town.lock("/f")
    answer = town.bob("LOCK", "/f", b"", If=f"(<{locked.token}>)")
    assert answer.status == 412
    assert b"Your lock" not in answer.body


def test_a_client_does_not_cut_short_what_a_person_has_checked_out(town: Town) -> None:
    """It finds the check-out's token in lockdiscovery, and refreshes what it takes for its lock."""
    town.alice("PUT", "/f", b"x")
    service = LockService(town.app.application._shares)  # type: ignore[attr-defined]
    service.check_out(DavPath.parse("/f"), Principal("alice"), 7 * 86400)
    token = town.alice.propfind("/f", "lockdiscovery").texts("//D:locktoken/D:href")[0]
    town.clock.now += 100
    refreshed = town.refresh("/f", token, Timeout="Second-180")
    assert refreshed.status == 200
    assert left(refreshed) == 7 * 86400


def test_a_client_puts_no_end_to_a_maintenance_without_one(town: Town) -> None:
    service = LockService(town.app.application._shares)  # type: ignore[attr-defined]
    service.maintain(DavPath.parse("/"), Principal("alice"), None, "backup")
    token = town.alice.propfind("/", "lockdiscovery").texts("//D:locktoken/D:href")[0]
    assert town.refresh("/", token).texts("//D:timeout") == ["Infinite"]


def test_a_deep_lock_stands_over_children_whose_locks_are_over(town: Town) -> None:
    town.alice("MKCOL", "/d")
    town.alice("PUT", "/d/f", b"old")
    child = town.lock("/d/f").token
    town.clock.now += SECONDS - 0.001
    assert town.lock("/d", who=town.bob, Depth="infinity").status == 207
    town.clock.now += 0.001
    deep = town.lock("/d", who=town.bob, Depth="infinity")
    assert deep.status == 200
    assert town.alice("PUT", "/d/f", b"late", If=f"(<{child}>)").status == 412
    assert town.alice("PUT", "/d/f", b"late", Lock_Token=f"<{child}>").status == 412
    assert town.refresh("/d/f", child).status == 412
    assert town.bob("PUT", "/d/f", b"new", If=f"</d> (<{deep.token}>)").status == 204
    # Nor is the token of the child worth anything once the deep lock has gone.
    town.bob("UNLOCK", "/d", Lock_Token=f"<{deep.token}>")
    assert town.alice("PUT", "/d/f", b"late", If=f"(<{child}>)").status == 412
    assert (town.root / "d" / "f").read_bytes() == b"new"


# --- an upload lasts longer than the lock that it began with


def upload(town: Town, token: str, how: str, *meanwhile: object) -> Answer:
    """Alice's, with the token; it goes on until her lock is over, and then these things happen."""

    def blocks() -> Iterator[bytes]:
        yield b"new "
        town.clock.now += SECONDS
        for doing in meanwhile:
            assert doing().status in (200, 201, 204)  # type: ignore[operator]
        yield b"content"

    fields = {"If": f"(<{token}>)"} if how == "If" else {"Lock_Token": f"<{token}>"}
    return town.alice("PUT", "/f", blocks(), **fields)


@pytest.mark.parametrize("how", ["If", "Lock-Token"])
def test_an_upload_that_outlasts_its_lock_is_kept_where_nobody_came(how: str, town: Town) -> None:
    town.alice("PUT", "/f", b"old")
    token = town.lock("/f").token
    assert upload(town, token, how).status == 204
    assert (town.root / "f").read_bytes() == b"new content"
    held = town.alice.propfind("/f", "lockdiscovery")
    assert held.texts("//D:locktoken/D:href") == [token]
    assert left(held) == SECONDS


@pytest.mark.parametrize("how", ["expired", "expired and noted", "broken"])
def test_what_was_unlocked_after_its_end_stays_so(how: str, town: Town) -> None:
    """It is not forgiven once more: nobody would know to unlock it."""
    town.alice("PUT", "/f", b"x")
    token = town.lock("/f").token
    if how == "broken":
        (lock,) = town.locks.active()
        service = LockService(town.app.application._shares)  # type: ignore[attr-defined]
        service.break_lock(lock.id, Principal("bob"), "why")
    else:
        town.clock.now += SECONDS + 1
    if how == "expired and noted":
        LockKeeper(town.app.application._shares).sweep()  # type: ignore[attr-defined]
    for _ in range(2):
        assert town.alice("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 204
    assert town.alice("PUT", "/f", b"late", If=f"(<{token}>)").status == 412
    assert town.bob("PUT", "/f", b"y").status == 204


@pytest.mark.parametrize("how", ["If", "Lock-Token"])
@pytest.mark.parametrize("who", ["bob", "alice"])
@pytest.mark.parametrize("what", ["LOCK", "PUT", "DELETE", "LOCK and UNLOCK"])
def test_an_upload_that_outlasts_its_lock_is_refused_where_somebody_came(
    what: str, who: str, how: str, town: Town
) -> None:
    town.alice("PUT", "/f", b"old")
    token = town.lock("/f").token
    client = getattr(town, who)
    doings = {
        "LOCK": [lambda: town.lock("/f", who=client)],
        "PUT": [lambda: client("PUT", "/f", b"theirs")],
        "DELETE": [lambda: client("DELETE", "/f")],
        "LOCK and UNLOCK": [
            lambda: town.lock("/f", who=client),
            lambda: client("UNLOCK", "/f", Lock_Token=f"<{town.locks.covering(DavPath.parse('/f'))[0].token}>"),
        ],
    }
    refused = upload(town, token, how, *doings[what])
    assert refused.status == 412
    left_there = {"PUT": b"theirs", "DELETE": None}.get(what, b"old")
    assert ((town.root / "f").read_bytes() if (town.root / "f").exists() else None) == left_there
    assert [name for name in os.listdir(town.root) if not name.startswith(".davserver~")] == ["f"] * bool(left_there)


def test_without_grace_an_upload_that_outlasts_its_lock_is_refused(tmp_path: Path, stack: ExitStack) -> None:
    town = Town(tmp_path, stack, grace_after_expiry=0)
    town.alice("PUT", "/f", b"old")
    refused = upload(town, town.lock("/f").token, "If")
    assert refused.status == 412
    assert b"Your lock on /f expired at" in refused.body
    assert (town.root / "f").read_bytes() == b"old"


def test_a_lock_that_is_refreshed_during_the_upload_counts(town: Town) -> None:
    town.alice("PUT", "/f", b"old")
    token = town.lock("/f").token

    def blocks() -> Iterator[bytes]:
        for _ in range(3):
            town.clock.now += SECONDS / 2
            assert town.refresh("/f", token).status == 200
            yield b"new"

    assert town.alice("PUT", "/f", blocks(), If=f"(<{token}>)").status == 204
    assert (town.root / "f").read_bytes() == b"newnewnew"


def test_an_upload_that_began_before_the_lock_ends_in_423(town: Town) -> None:
    town.alice("PUT", "/f", b"old")
    began: list[bytes] = []

    def blocks() -> Iterator[bytes]:
        yield b"new"
        began.append((town.root / "f").read_bytes())
        assert town.lock("/f", who=town.bob).status == 200
        yield b"content"

    refused = town.alice("PUT", "/f", blocks())
    assert (refused.status, began) == (423, [b"old"])
    assert refused.find("//D:lock-token-submitted")
    assert (town.root / "f").read_bytes() == b"old"


def test_an_upload_that_waits_for_a_lock_to_end_may_end_after_it(town: Town) -> None:
    """What counts is the moment of the commit: the early look has passed, since nobody had locked then."""
    town.alice("PUT", "/f", b"old")

    def blocks() -> Iterator[bytes]:
        yield b"new"
        assert town.lock("/f", who=town.bob).status == 200
        town.clock.now += SECONDS
        yield b" content"

    assert town.alice("PUT", "/f", blocks()).status == 204
    assert (town.root / "f").read_bytes() == b"new content"


# --- after the end


def test_an_unlock_is_answered_although_its_empty_file_must_wait(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds the path for long: what is released is released, and says so."""
    monkeypatch.setattr(gate, "PATIENCE", 0.05)
    token = town.lock("/new").token
    with gate.Gate(str(town.root.parent / "state")).reserve([DavPath.parse("/new")]):
        assert town.alice("UNLOCK", "/new", Lock_Token=f"<{token}>").status == 204
    assert town.locks.active() == []


@pytest.mark.parametrize("method", ["DELETE", "MOVE"])
def test_unlock_of_what_went_with_its_file(method: str, town: Town) -> None:
    """Whoever locked a file, and deletes or moves it, comes to release the lock all the same."""
    town.alice("PUT", "/f", b"x")
    token = town.lock("/f").token
    gone = town.alice(method, "/f", If=f"(<{token}>)", Destination="/g")
    assert gone.status in (201, 204)
    assert town.bob("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 403
    assert town.alice("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 204
    assert town.alice("PUT", "/f", b"again", If=f"(<{token}>)").status == 412
    assert town.refresh("/f", token).status == 412
    assert town.bob("PUT", "/f", b"new").status == 201


def test_a_clock_that_was_ahead_is_not_seen_in_any_answer(town: Town) -> None:
    town.alice("PUT", "/f", b"x")
    town.clock.now += 365 * 86400
    token = town.lock("/f").token
    town.clock.now -= 365 * 86400
    assert left(town.alice.propfind("/f", "lockdiscovery")) == SECONDS
    refused = town.bob("PUT", "/f", b"y", Accept="application/json")
    assert refused.status == 423
    assert int(refused.headers["retry-after"]) == refused.json["retry_after"] == SECONDS
    assert town.alice("PUT", "/f", b"y", If=f"(<{token}>)").status == 204
    town.clock.now += SECONDS
    assert town.bob("PUT", "/f", b"z").status == 204


# --- a lock is granted, and then something goes wrong


def test_who_was_granted_a_lock_hears_of_it(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last step of a LOCK that makes a file only tidies up: what fails there must not keep back the token."""
    journal = town.app.application._shares.journal  # type: ignore[attr-defined]

    def refuse(_: object) -> None:
        raise Unavailable("The state is busy.")

    with monkeypatch.context() as broken:
        broken.setattr(journal, "drop", refuse)
        locked = town.alice("LOCK", "/new", lockinfo(), Depth="0")
    assert locked.status == 201
    assert "an intent stays" in caplog.text
    assert town.bob("PUT", "/new", b"x").status == 423
    assert town.alice("PUT", "/new", b"x", If=f"(<{locked.token}>)").status == 204
    assert journal.all() == []


# --- what somebody who died has left half done


def journal_of(town: Town) -> Journal:
    journal: Journal = town.app.application._shares.journal  # type: ignore[attr-defined]
    return journal


def die_in(town: Town, intent: Intent, then: str) -> None:
    """As if a process had recorded this, moved /f out of its place, and died before it changed a row."""
    town.alice("PUT", "/f", b"x")
    town.alice.proppatch("/f", '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>')
    journal_of(town).record(dataclasses.replace(intent, inode=(town.root / "f").stat().st_ino))
    (town.root / "f").rename(town.root / then)


def colour(town: Town, path: str) -> list[str]:
    found = town.alice.propfind(path, "colour", namespace="urn:x")
    return [text for text in found.texts("//*[local-name() = 'colour']") if text]


def test_a_lock_on_what_was_moved_ends_the_move_first(town: Town) -> None:
    die_in(town, Intent(Kind.MOVE, DavPath.parse("/g"), DavPath.parse("/f")), "g")
    assert town.lock("/g").status == 200
    assert journal_of(town).all() == []
    assert colour(town, "/g") == ["red"]


def test_a_lock_where_something_was_removed_ends_that_first(town: Town) -> None:
    die_in(town, Intent(Kind.DELETE, DavPath.parse("/f")), "elsewhere")
    assert town.lock("/f").status == 201
    assert journal_of(town).all() == []
    assert colour(town, "/f") == []


def test_a_lock_that_has_gone_with_its_file_is_in_nobodys_way(town: Town) -> None:
    """Its row is still there, and another file at its place."""
    town.alice("PUT", "/f", b"x")
    assert town.lock("/f", who=town.bob).status == 200
    assert town.lock("/f").status == 423
    journal_of(town).record(Intent(Kind.DELETE, DavPath.parse("/f"), inode=(town.root / "f").stat().st_ino))
    (town.root / "f").rename(town.root / "elsewhere")
    (town.root / "f").write_bytes(b"new")
    assert town.lock("/f").status == 200


def test_nothing_is_refused_for_what_is_half_done(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    die_in(town, Intent(Kind.MOVE, DavPath.parse("/g"), DavPath.parse("/f")), "g")
    find = locking._target

    def refuse(guard: Guard) -> Node | None:
        if journal_of(town).all():
            raise Conflict("The folder that it was in is away for a moment.")
        return find(guard)

    monkeypatch.setattr(locking, "_target", refuse)
    assert town.lock("/g").status == 200
    assert colour(town, "/g") == ["red"]


def test_what_is_half_done_elsewhere_is_in_nobodys_way(town: Town) -> None:
    die_in(town, Intent(Kind.DELETE, DavPath.parse("/f")), "elsewhere")
    town.alice("PUT", "/g", b"x")
    assert town.lock("/g").status == 200
    assert [intent.path.key for intent in journal_of(town).all()] == ["/f"]


# --- a clock that was set back, and what is refused at the same moment


def test_what_was_seen_to_have_expired_stays_so_when_a_lock_is_asked_for_twice(town: Town) -> None:
    """By a LOCK that must look at what is half done elsewhere before it is granted."""
    die_in(town, Intent(Kind.DELETE, DavPath.parse("/f")), "elsewhere")
    town.alice("PUT", "/g", b"x")
    token = town.lock("/g", who=town.bob).token
    town.clock.now += SECONDS + 1
    assert town.locks.covering(DavPath.parse("/g")) == []
    town.clock.now -= 300
    assert town.lock("/g").status == 200
    assert town.bob("PUT", "/g", b"y", If=f"(<{token}>)").status == 412


def test_what_was_seen_to_have_expired_stays_so_when_a_lock_is_refused(town: Town) -> None:
    town.alice("MKCOL", "/d")
    first = town.lock("/d/a", who=town.bob)
    town.clock.now += 301
    assert town.lock("/d/b", who=town.bob).status == first.status == 201
    town.clock.now += 301
    assert [lock.root.key for lock in town.locks.active()] == ["/d/b"]
    town.clock.now -= 300
    assert town.lock("/d/", Depth="infinity").status == 207
    assert [lock.root.key for lock in town.locks.active()] == ["/d/b"]


def test_a_file_that_somebody_makes_meanwhile_is_locked(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell or a backup, which does not pass the gate."""

    def make(*_: object) -> Lock:
        (town.root / "f").write_bytes(b"theirs")
        raise AlreadyThere

    monkeypatch.setattr(locking, "_make", make)
    assert town.lock("/f").status == 200
    assert town.alice("GET", "/f").body == b"theirs"
