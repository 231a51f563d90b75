"""App passwords: made, used, shown and revoked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_access import Counting, asking, basic, refused, rules

from davserver.access.access import CACHE_SECONDS, LOOK_SECONDS, Access
from davserver.access.accounts import Account, Directory, Listed
from davserver.access.app_passwords import MOST, NOTED_SECONDS, AppPasswords
from davserver.protocol.errors import BadRequest, NotFound, Unavailable
from davserver.protocol.messages import Action
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage.sqlite import SqliteState


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    found = SqliteState(str(tmp_path), durable=False)
    yield found
    found.close()


@pytest.fixture
def passwords(state: SqliteState) -> AppPasswords:
    return AppPasswords(state)


def accessing(passwords: AppPasswords, **options: object) -> tuple[Access, Counting]:
    wonder = Counting("wonder")
    directory = Directory([Listed([Account("alice", wonder), Account("bob", Counting("x"))])])
    return Access(directory, rules(), app_passwords=passwords, **options), wonder  # type: ignore[arg-type]


def test_one_is_told_once_and_kept_as_a_hash(passwords: AppPasswords, state: SqliteState, tmp_path: Path) -> None:
    made, secret = passwords.create("alice", " phone ", 100)
    assert (made.user, made.name, made.scope, made.read_only) == ("alice", "phone", ROOT, False)
    assert (made.created, made.expires, made.used, made.used_from) == (100, None, None, None)
    assert len(secret.replace("-", "")) == 30
    assert passwords.list("alice") == passwords.list() == [made]
    other, another = passwords.create("alice", "phone", 100)
    assert another != secret
    assert other.id != made.id
    state.query("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = (tmp_path / "state.db").read_bytes()
    assert secret.encode() not in kept
    assert secret.replace("-", "").removeprefix("davp").encode() not in kept


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "\x00"])
def test_it_must_have_a_name(name: str, passwords: AppPasswords) -> None:
    with pytest.raises(BadRequest):
        passwords.create("alice", name, 100)
    assert passwords.list() == []


def test_it_cannot_have_ended_before(passwords: AppPasswords) -> None:
    with pytest.raises(BadRequest, match="ended"):
        passwords.create("alice", "phone", 100, expires=100)


def test_nobody_has_any_number_of_them(passwords: AppPasswords) -> None:
    for number in range(MOST):
        passwords.create("alice", str(number), 100)
    with pytest.raises(BadRequest, match="already"):
        passwords.create("alice", "one more", 100)
    passwords.create("bob", "phone", 100)


def test_those_that_have_ended_make_room(passwords: AppPasswords) -> None:
    for number in range(MOST):
        passwords.create("alice", str(number), 100, expires=200 if number % 2 else None)
    other, _ = passwords.create("bob", "phone", 100, expires=200)
    with pytest.raises(BadRequest, match="already"):
        passwords.create("alice", "one more", 199.9)
    assert len(passwords.list("alice")) == MOST  # those that have ended are shown until then
    made, _ = passwords.create("alice", "one more", 200)
    assert [each.expires for each in passwords.list("alice")] == [None] * (MOST // 2 + 1)
    assert passwords.list("alice")[-1] == made
    assert passwords.list("bob") == [other]


def test_what_happened_before_the_state_came_back_is_not_missed(
    passwords: AppPasswords, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("The state is away.")

    with monkeypatch.context() as patch:
        patch.setattr(state, "query", away)
        assert not passwords.changed()
    access, _ = accessing(passwords)
    made, secret = passwords.create("alice", "phone", 100)
    access._looked = 101  # it has just been looked, and the state was away
    assert access.identify(asking(basic(f"alice:{secret}"), 101)).principal.name == "alice"
    AppPasswords(state).revoke(made.id)
    refused(access, basic(f"alice:{secret}"), 101 + LOOK_SECONDS)
    assert not passwords.changed()


def test_one_is_revoked_by_its_number_and_by_its_user_alone(passwords: AppPasswords) -> None:
    made, _ = passwords.create("alice", "phone", 100)
    for number, user in ((made.id, "bob"), (made.id + 1, None), (0, "alice")):
        with pytest.raises(NotFound):
            passwords.revoke(number, user)
        with pytest.raises(NotFound):
            passwords.find(number, user)
    assert passwords.find(made.id) == passwords.find(made.id, "alice") == made
    assert passwords.revoke(made.id, "alice") == made
    assert passwords.list() == []
    again, _ = passwords.create("alice", "phone", 100)
    assert again.id > made.id  # a number is never used again
    passwords.create("bob", "phone", 100)
    assert passwords.revoke_all("alice") == 1
    assert [left.user for left in passwords.list()] == ["bob"]


def test_a_login_costs_no_hash_of_the_account(passwords: AppPasswords) -> None:
    access, wonder = accessing(passwords)
    _, secret = passwords.create("alice", "phone", 100)
    for spelling in (secret, secret.replace("-", ""), secret.upper(), f" {secret} "):
        identity = access.identify(asking(basic(f"alice:{spelling}"), 101))
        assert identity.principal.name == "alice"
        assert identity.permissions.whole(ROOT) == tuple(Action)
    assert wonder.asked == []
    assert access.identify(asking(basic("alice:wonder"), 101)).principal.name == "alice"


def test_it_is_of_its_user_alone(passwords: AppPasswords) -> None:
    access, _ = accessing(passwords)
    _, secret = passwords.create("alice", "phone", 100)
    for name in ("bob", "", "Alice", "nobody"):
        refused(access, basic(f"{name}:{secret}"), 101)
    for wrong in (secret[:-1] + ("a" if secret[-1] != "a" else "b"), secret[:-1], secret + "a", "davp", secret[5:]):
        refused(access, basic(f"alice:{wrong}"), 101)


def test_one_of_a_user_who_is_gone_is_none(passwords: AppPasswords) -> None:
    _, secret = passwords.create("carol", "phone", 100)
    refused(accessing(passwords)[0], basic(f"carol:{secret}"), 101)


def test_programs_of_users_whom_only_a_proxy_knows(passwords: AppPasswords) -> None:
    _, secret = passwords.create("carol", "phone", 100)
    access, _ = accessing(passwords, proxy_user_header="Remote-User")
    assert access.identify(asking(basic(f"carol:{secret}"), 101)).principal.name == "carol"
    refused(access, basic("carol:wonder"), 101)


def test_one_that_is_narrower_than_its_user(passwords: AppPasswords) -> None:
    access, _ = accessing(passwords)
    docs = DavPath.from_key("/docs")
    _, secret = passwords.create("alice", "phone", 100, scope=docs, read_only=True)
    permissions = access.identify(asking(basic(f"alice:{secret}"), 101)).permissions
    assert permissions.rights(docs) == (Action.READ,)
    assert permissions.rights(ROOT) == ()
    assert permissions.leads(ROOT)


def test_one_ends_by_itself_also_while_it_is_remembered(passwords: AppPasswords) -> None:
    access, _ = accessing(passwords)
    made, secret = passwords.create("alice", "phone", 100, expires=150)
    assert made.is_valid(149)
    access.identify(asking(basic(f"alice:{secret}"), 101))
    access.identify(asking(basic(f"alice:{secret}"), 149.9))
    refused(access, basic(f"alice:{secret}"), 150)
    assert passwords.list() == [made] or passwords.list()[0].used == 101


def test_a_revoked_one_is_forgotten_by_every_worker_within_a_second(
    passwords: AppPasswords, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "davserver.audit")
    access, _ = accessing(passwords)
    made, secret = passwords.create("alice", "phone", 100)
    access.identify(asking(basic(f"alice:{secret}"), 101))
    other = SqliteState(str(tmp_path), durable=False)
    AppPasswords(other).revoke(made.id)
    other.close()
    refused(access, basic(f"alice:{secret}"), 101 + LOOK_SECONDS)
    assert "app passwords have been made or revoked" in caplog.messages


def test_one_that_was_just_made_works_at_once_where_it_was_wrong_before(passwords: AppPasswords) -> None:
    access, _ = accessing(passwords)
    access.identify(asking(basic("alice:wonder"), 99))
    _, secret = passwords.create("alice", "phone", 100)
    assert access.identify(asking(basic(f"alice:{secret}"), 100.1)).principal.name == "alice"


def test_making_and_revoking_them_costs_nobody_else_a_hash(passwords: AppPasswords) -> None:
    """Every user may do it as often as they like."""
    access, wonder = accessing(passwords)
    for number in range(10):
        now = 100 + 2 * number
        assert access.identify(asking(basic("alice:wonder"), now)).principal.name == "alice"
        made, _ = passwords.create("bob", "phone", now)
        passwords.revoke(made.id)
    assert len(wonder.asked) == 1


def test_its_last_use_is_noted_once_a_minute(passwords: AppPasswords, state: SqliteState) -> None:
    access, _ = accessing(passwords)
    _, secret = passwords.create("alice", "phone", 100)
    noted = []
    for now in (101, 102, 101 + NOTED_SECONDS - 1, 101 + NOTED_SECONDS, 101 + CACHE_SECONDS + 1):
        access.identify(asking(basic(f"alice:{secret}"), now))
        (found,) = passwords.list()
        noted.append(found.used)
    assert noted == [101, 101, 101, 161, 402]
    assert found.used_from == "192.0.2.1"
    # Another worker that has not noted it yet does not do so again within the minute.
    other, _ = accessing(passwords)
    other.identify(asking(basic(f"alice:{secret}"), 430))
    assert passwords.list()[0].used == 402


def test_a_login_that_is_known_asks_the_state_for_nothing(
    passwords: AppPasswords, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, _ = accessing(passwords)
    _, secret = passwords.create("alice", "phone", 100)
    access.identify(asking(basic(f"alice:{secret}"), 101))
    asked: list[str] = []
    real = state.query
    monkeypatch.setattr(state, "query", lambda sql, *rest: asked.append(sql) or real(sql, *rest))  # type: ignore[func-returns-value]
    for part in range(100):
        access.identify(asking(basic(f"alice:{secret}"), 101 + part / 1000))
    assert asked == []
    access.identify(asking(basic(f"alice:{secret}"), 102.5))
    assert asked == ["SELECT number FROM access_changes"]


def test_while_the_state_is_away(passwords: AppPasswords, tmp_path: Path, state: SqliteState) -> None:
    """Who is known goes on; who is not is told to come back, and not that the password is wrong."""
    access, _ = accessing(passwords)
    _, known = passwords.create("alice", "phone", 100)
    _, unknown = passwords.create("alice", "tablet", 100)
    access.identify(asking(basic(f"alice:{known}"), 101))
    (tmp_path / "state.db").rename(tmp_path / "away")
    state._looked = 0.0
    access.identify(asking(basic(f"alice:{known}"), 200))
    with pytest.raises(Unavailable):
        access.identify(asking(basic(f"alice:{unknown}"), 200))
    assert access.identify(asking(basic("alice:wonder"), 200)).principal.name == "alice"
    (tmp_path / "away").rename(tmp_path / "state.db")
    assert access.identify(asking(basic(f"alice:{unknown}"), 201)).principal.name == "alice"


def test_no_two_have_the_same_hash(state: SqliteState, passwords: AppPasswords) -> None:
    passwords.create("alice", "phone", 100)
    with pytest.raises(sqlite3.IntegrityError), state.transaction():
        state.query(
            "INSERT INTO app_passwords (user, name, hash, scope, read_only, created) "
            "SELECT 'bob', name, hash, scope, read_only, created FROM app_passwords"
        )
