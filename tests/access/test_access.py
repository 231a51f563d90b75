"""Who is asking, and what they may do."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import QUICK

from davserver.access import accounts as accounts_module
from davserver.access.access import STRANGER, Access, Anonymous
from davserver.access.accounts import CACHE_SECONDS, Account, Accounts, hash_password
from davserver.access.basic import NOBODY, challenge, credentials
from davserver.access.permissions import READ_ONLY, READ_WRITE
from davserver.protocol.locks import ANYBODY
from davserver.protocol.messages import Action
from davserver.protocol.paths import ROOT


def basic(text: str | bytes) -> str:
    return "Basic " + b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.fixture
def accounts() -> Accounts:
    found = {
        "alice": Account("alice", QUICK.hash("wonder"), "Alice Smith"),
        "bob": Account("bob", QUICK.hash("paß:wort")),
    }
    return Accounts(found)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Digest username=x", None),
        ("Basic", NOBODY),
        ("Basic ", NOBODY),
        ("Basic !!!", NOBODY),
        ("Basic YQ", NOBODY),
        (basic("no colon"), NOBODY),
        (basic("alice:wonder"), ("alice", "wonder")),
        ("bAsIc  " + basic("alice:wonder")[6:], ("alice", "wonder")),
        (basic("alice:with:colons"), ("alice", "with:colons")),
        (basic("DOMAIN\\alice:x"), ("alice", "x")),
        (basic("DOMAIN\\\\alice:x"), ("alice", "x")),
        (basic("ü:ö"), ("ü", "ö")),
        (basic("ü:ö".encode("latin-1")), ("ü", "ö")),
        (basic(":"), ("", "")),
    ],
)
def test_basic_credentials(field: str | None, expected: tuple[str, str] | None) -> None:
    assert credentials(field) == expected


@given(st.text())
def test_no_field_raises(field: str) -> None:
    credentials(field)
    credentials("Basic " + field)


def test_the_challenge_names_the_realm() -> None:
    assert challenge("my files") == 'Basic realm="my files", charset="UTF-8"'


def test_a_right_password_gives_the_principal(accounts: Accounts) -> None:
    alice = accounts.verify("alice", "wonder", 0)
    assert alice is not None
    assert (alice.name, alice.display_name) == ("alice", "Alice Smith")
    assert accounts.verify("bob", "paß:wort", 0) is not None


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "Wonder"), ("alice", ""), ("Alice", "wonder"), ("", ""), ("nobody", "wonder"), ("alice", "\ud800")],
)
def test_anything_else_does_not(name: str, password: str, accounts: Accounts) -> None:
    for _ in range(2):
        assert accounts.verify(name, password, 0) is None


def test_a_hash_is_paid_once_in_a_while(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    paid: list[str] = []
    real = accounts._is_right
    monkeypatch.setattr(accounts, "_is_right", lambda *pair: paid.append(pair[1]) or real(*pair))
    for now in (0, 1, CACHE_SECONDS - 1):
        assert accounts.verify("alice", "wonder", now) is not None
    assert paid == ["wonder"]
    assert accounts.verify("alice", "wrong", 1) is None
    assert accounts.verify("alice", "wonder", CACHE_SECONDS) is not None
    assert paid == ["wonder", "wrong", "wonder"]


def test_an_unknown_name_costs_a_hash_as_well(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    paid: list[str] = []
    monkeypatch.setattr(accounts, "_is_right", lambda *pair: bool(paid.append(pair[1])))
    accounts.verify("nobody", "guess", 0)
    assert paid == ["guess"]
    assert Accounts({}).verify("nobody", "guess", 0) is None


def test_the_memory_of_logins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts_module, "_CACHE_SIZE", 3)
    many = Accounts({str(n): Account(str(n), QUICK.hash("x")) for n in range(6)})
    for number in range(6):
        assert many.verify(str(number), "x", number) is not None
    assert len(many._verified) == 3
    assert many.verify("0", "x", 10_000) is not None
    assert len(many._verified) == 1


def test_a_hash_of_ours_is_argon2id() -> None:
    assert hash_password("wonder").startswith("$argon2id$")


@pytest.mark.parametrize(
    ("anonymous", "expected"),
    [(Anonymous.NOTHING, None), (Anonymous.READ, READ_ONLY), (Anonymous.WRITE, READ_WRITE)],
)
def test_without_a_login(anonymous: Anonymous, expected: object, accounts: Accounts) -> None:
    access = Access(accounts, anonymous, "realm")
    for field in (None, "", "Bearer"):
        identity = access.identify(field, 0)
        assert (None if identity is None else identity.permissions) == expected
        assert identity is None or identity.principal == ANYBODY


@pytest.mark.parametrize("anonymous", list(Anonymous))
def test_a_wrong_login_is_never_anonymous(anonymous: Anonymous, accounts: Accounts) -> None:
    access = Access(accounts, anonymous, "realm")
    for field in (basic("alice:wrong"), "Basic", "Basic !!!", basic(":")):
        assert access.identify(field, 0) is None
    right = access.identify(basic("alice:wonder"), 0)
    assert right is not None
    assert right.permissions == READ_WRITE


def test_without_accounts_a_login_means_nothing() -> None:
    """A client that remembers a password from elsewhere gets in where everybody may."""
    identity = Access(Accounts({}), Anonymous.WRITE, "realm").identify(basic("alice:wonder"), 0)
    assert identity is not None
    assert identity.principal == ANYBODY


def test_a_401_carries_its_challenge(accounts: Accounts) -> None:
    refused = Access(accounts, Anonymous.NOTHING, "my files").unauthorized()
    assert refused.headers == (("WWW-Authenticate", 'Basic realm="my files", charset="UTF-8"'),)


def test_permissions() -> None:
    assert [READ_ONLY.allows(action, ROOT) for action in (Action.READ, Action.WRITE)] == [True, False]
    assert all(STRANGER.permissions.allows(action, ROOT) for action in Action)
