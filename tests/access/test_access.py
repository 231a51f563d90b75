"""Who is asking, and what they may do."""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import QUICK

from davserver.access import memory
from davserver.access.access import CACHE_SECONDS, LOOK_SECONDS, WRONG_SECONDS, Access, Asking, Identity, failure_line
from davserver.access.accounts import Account, Directory, Listed
from davserver.access.basic import NOBODY, challenge, credentials
from davserver.access.hashes import PasswordHash, encoded
from davserver.access.permissions import READ_WRITE
from davserver.access.rules import ANONYMOUS, AUTHENTICATED, Rule, Rules, parse_rights
from davserver.protocol.errors import Unauthorized
from davserver.protocol.locks import ANYBODY, Principal
from davserver.protocol.messages import Action, Headers, Reach
from davserver.protocol.paths import ROOT


def basic(text: str | bytes) -> str:
    return "Basic " + b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def asking(field: str | None = None, now: float = 0.0, *, proxied: bool = False, **fields: str) -> Asking:
    values = {name.replace("_", "-"): value for name, value in fields.items()}
    if field is not None:
        values["Authorization"] = field
    return Asking("PROPFIND", "/", Headers(values), "192.0.2.1", proxied, now)


class Counting:
    """A password, and how often it was asked for."""

    def __init__(self, password: str) -> None:
        self.password, self.asked = password.encode(), list[bytes]()

    def matches(self, password: bytes) -> bool:
        self.asked.append(password)
        return password == self.password


class Source:
    """Accounts that change when they are told to."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts, self.has_changed, self.looks = {a.name: a for a in accounts}, False, 0

    def find(self, name: str) -> Account | None:
        return self.accounts.get(name)

    def names(self) -> list[str]:
        return list(self.accounts)

    def changed(self) -> bool:
        self.looks += 1
        changed, self.has_changed = self.has_changed, False
        return changed


def rules(anonymous: str = "none") -> Rules:
    return Rules(
        [
            Rule("/", frozenset({AUTHENTICATED}), parse_rights("rw")),
            Rule("/", frozenset({ANONYMOUS}), parse_rights(anonymous)),
        ]
    )


ALICE = Account("alice", PasswordHash(QUICK.hash("wonder")), "Alice Smith", frozenset({"staff"}))
BOB = Account("bob", PasswordHash(QUICK.hash("paß:wort")))


def accessing(anonymous: str = "none", **options: Any) -> Access:
    return Access(Directory([Listed([ALICE, BOB])], {"boss": ["bob"]}), rules(anonymous), **options)


def refused(access: Access, *arguments: Any, **fields: Any) -> list[str]:
    """The challenges of the 401."""
    with pytest.raises(Unauthorized) as caught:
        access.identify(asking(*arguments, **fields))
    return [value for name, value in caught.value.headers if name == "WWW-Authenticate"]


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
        (basic("u\u0308:o\u0308"), ("ü", "o\u0308")),
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
    assert refused(accessing(realm="my files")) == [challenge("my files")]


def test_a_right_password_gives_the_principal() -> None:
    access = accessing()
    alice = access.identify(asking(basic("alice:wonder")))
    assert (alice.principal.name, alice.principal.display_name) == ("alice", "Alice Smith")
    assert alice.permissions.whole(ROOT) == tuple(Action)
    assert access.identify(asking(basic("bob:paß:wort"))).principal == Principal("bob")


@pytest.mark.parametrize("anonymous", ["none", "r", "rw"])
@pytest.mark.parametrize(
    "field",
    [*map(basic, ["alice:Wonder", "alice:", "Alice:wonder", ":", "nobody:wonder", "no colon"]), "Basic", "Basic !!!"],
)
def test_a_wrong_login_is_never_anonymous(anonymous: str, field: str) -> None:
    access = accessing(anonymous)
    for now in (0, 1, WRONG_SECONDS + 1):
        refused(access, field, now)


@pytest.mark.parametrize(("anonymous", "expected"), [("none", None), ("r", (Action.READ,)), ("rw", tuple(Action))])
@pytest.mark.parametrize("field", [None, "", "Bearer", "Bearer x", "Negotiate abc", "Digest"])
def test_without_a_login(anonymous: str, expected: object, field: str | None) -> None:
    access = accessing(anonymous)
    if expected is None:
        refused(access, field)
        return
    identity = access.identify(asking(field))
    assert identity.principal == ANYBODY
    assert identity.permissions.whole(ROOT) == expected
    assert access.could_be_more(identity)


def test_without_accounts_a_login_means_nothing() -> None:
    """A client that remembers a password from elsewhere gets in where everybody may."""
    access = Access(Directory(), rules("rw"))
    identity = access.identify(asking(basic("alice:wonder")))
    assert identity.principal == ANYBODY
    assert not access.could_be_more(identity)


# --- what a login costs


def test_a_hash_is_paid_once_in_a_while() -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules())
    identities = [access.identify(asking(basic("alice:wonder"), now)) for now in (0, 1, CACHE_SECONDS - 1)]
    assert wonder.asked == [b"wonder"]
    assert all(identity is identities[0] for identity in identities)
    assert access.identify(asking(basic("alice:wonder"), CACHE_SECONDS)) == identities[0]
    assert wonder.asked == [b"wonder"] * 2


def test_a_wrong_password_that_comes_again_and_again_costs_one_hash_a_minute() -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules())
    for now in (0, 1, WRONG_SECONDS - 1):
        refused(access, basic("alice:wrong"), now)
    assert wonder.asked == [b"wrong"]
    refused(access, basic("alice:wrong"), WRONG_SECONDS)
    assert wonder.asked == [b"wrong"] * 2


def test_an_unknown_name_costs_a_hash_as_well() -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules())
    refused(access, basic("nobody:guess"))
    refused(access, basic("nobody:wonder"))  # right for somebody else
    assert wonder.asked == [b"guess", b"wonder"]


def test_an_account_without_a_password_costs_one_and_is_never_right() -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder), Account("proxied")])]), rules())
    refused(access, basic("proxied:wonder"))
    assert wonder.asked == [b"wonder"]


def test_many_who_come_at_once_with_the_same_login_pay_once() -> None:
    class Slow(Counting):
        def matches(self, password: bytes) -> bool:
            began.set()
            assert go.wait(20)
            return super().matches(password)

    began, go = threading.Event(), threading.Event()
    wonder = Slow("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules())
    access._hashing = threading.BoundedSemaphore(1)
    found: list[Identity] = []
    threads = [
        threading.Thread(target=lambda: found.append(access.identify(asking(basic("alice:wonder"))))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    assert began.wait(20)
    go.set()
    for thread in threads:
        thread.join(20)
    assert len(found) == 6
    assert wonder.asked == [b"wonder"]


def test_a_wrong_password_is_one_however_it_is_spelt() -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules())
    right = basic("alice:nope")
    spellings = [basic(f"D{number}\\alice:nope") for number in range(50)]
    spellings += [right.replace("Basic", "basic"), right.replace("Basic ", "BASIC  "), right.replace("Q==", "R==")]
    for field in spellings:
        assert credentials(field) == ("alice", "nope")
        refused(access, field)
    assert wonder.asked == [b"nope"]


def test_nobody_drives_out_the_logins_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_REMEMBERED", 3)
    alices, bobs = Counting("wonder"), Counting("x")
    access = Access(Directory([Listed([Account("alice", alices), Account("bob", bobs)])]), rules())
    access.identify(asking(basic("alice:wonder")))
    for number in range(9):
        access.identify(asking(basic(f"D{number}\\bob:x")))
        refused(access, basic(f"bob:{number}"))
    access.identify(asking(basic("alice:wonder")))
    assert alices.asked == [b"wonder"]
    assert bobs.asked.count(b"x") == 1


def test_the_memory_of_logins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_REMEMBERED", 3)
    access = Access(Directory([Listed([Account(str(n), Counting("x")) for n in range(6)])]), rules())
    for number in range(6):
        access.identify(asking(basic(f"{number}:x")))
        refused(access, basic(f"{number}:y"))
    found = access._memory
    assert [len(each) for each in (found.fields, found.passwords, found._wrong)] == [3, 3, 3]
    for number in range(100):
        request = asking(basic("5:x"))._replace(address=f"192.0.2.{number}")
        assert access.identify(request).principal.name == "5"
    assert all(len(known.places) < 20 for known in found.passwords.values())


def test_the_memory_holds_no_password() -> None:
    access = accessing()
    access.identify(asking(basic("alice:wonder")))
    refused(access, basic("alice:Wonder"))
    found = access._memory
    for key in (*found.fields, *found.passwords, *found._wrong):
        assert b"onder" not in key
        assert b64encode(b"alice:wonder") not in key


def test_what_is_remembered_goes_when_an_account_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "davserver.audit")
    source = Source(Account("alice", Counting("wonder")))
    access = Access(Directory([source]), rules())
    access.identify(asking(basic("alice:wonder"), 10))
    refused(access, basic("alice:sesame"), 10)
    source.accounts["alice"], source.has_changed = Account("alice", Counting("sesame")), True
    access.identify(asking(basic("alice:wonder"), 10 + LOOK_SECONDS / 2))  # not looked at yet
    refused(access, basic("alice:wonder"), 10 + LOOK_SECONDS)
    assert access.identify(asking(basic("alice:sesame"), 10 + LOOK_SECONDS)).principal.name == "alice"
    del source.accounts["alice"]
    source.has_changed = True
    refused(access, basic("alice:sesame"), 20)
    assert [record.message for record in caplog.records].count("accounts have changed") == 2


def test_a_login_that_was_verified_before_a_change_is_not_remembered_after_it() -> None:
    class Changing(Counting):
        def matches(self, password: bytes) -> bool:
            source.accounts["alice"], source.has_changed = Account("alice", Counting("sesame")), True
            access._look(5)  # as another thread does meanwhile
            return super().matches(password)

    source = Source(Account("alice", Changing("wonder")))
    access = Access(Directory([source]), rules())
    access.identify(asking(basic("alice:wonder"), 4))
    refused(access, basic("alice:wonder"), 5.5)


def test_sources_are_looked_at_once_a_second_and_also_when_the_clock_goes_back() -> None:
    source = Source(Account("alice", Counting("wonder")))
    access = Access(Directory([source]), rules())
    for now in (100, 100.5, 100.99, 101, 50, 50.5):
        access.identify(asking(basic("alice:wonder"), now))
    assert source.looks == 3


# --- proxies, Windows, administrators


def test_a_proxy_names_the_user() -> None:
    access = accessing(proxy_user_header="Remote-User")
    identity = access.identify(asking(proxied=True, Remote_User="alice"))
    assert identity.principal.display_name == "Alice Smith"
    assert access.identify(asking(proxied=True, Remote_User="alice")) is identity
    stranger = access.identify(asking(proxied=True, Remote_User="J\u00c3\u00bcrgen"))
    same = access.identify(asking(proxied=True, Remote_User="Ju\u0308rgen".encode().decode("latin-1")))
    assert same.principal == stranger.principal
    assert stranger.principal.name == "Jürgen"
    # Its own login is none of ours.
    assert access.identify(asking(basic("x:y"), proxied=True, Remote_User="bob")).principal.name == "bob"


def test_nobody_else_does() -> None:
    access = accessing(proxy_user_header="Remote-User")
    refused(access, Remote_User="alice")
    refused(accessing(), proxied=True, Remote_User="alice")
    refused(access, proxied=True)
    refused(access, proxied=True, Remote_User="")
    assert access.identify(asking(basic("bob:paß:wort"), Remote_User="alice")).principal.name == "bob"
    assert access.identify(asking(basic("bob:paß:wort"), proxied=True)).principal.name == "bob"


@pytest.mark.parametrize(
    "name", [" ", "a/b", "alice, bob", "a\x7fb", "a:b", "\xa0", "@boss", "everyone", "a\\b", 'a"b']
)
def test_a_proxy_that_names_nobody_lets_nobody_in(name: str) -> None:
    refused(accessing("r", proxy_user_header="Remote-User"), proxied=True, Remote_User=name)


@pytest.mark.parametrize("agent", ["Microsoft-WebDAV-MiniRedir/10.0.19045", "DavClnt", "Microsoft Office Word 2014"])
def test_windows_is_asked_for_a_login_where_everybody_may_read(agent: str) -> None:
    access = accessing("r", force_windows=True)
    refused(access, User_Agent=agent)
    assert access.identify(asking(User_Agent="curl/8")).principal == ANYBODY
    assert access.identify(asking()).principal == ANYBODY
    assert access.identify(asking(basic("alice:wonder"), User_Agent=agent)).principal.name == "alice"
    assert accessing("r").identify(asking(User_Agent=agent)).principal == ANYBODY
    alone = Access(Directory(), rules("r"), force_windows=True)
    assert alone.identify(asking(User_Agent=agent)).principal == ANYBODY  # nobody could log in


def test_administrators_are_users_and_groups() -> None:
    access = accessing(administrators=["alice", "@boss"])

    def administers(access: Access, principal: Principal, reach: Reach = Reach.WHOLE) -> bool:
        return access.is_administrator(Identity(principal, READ_WRITE, reach))

    assert administers(access, Principal("alice"))
    assert administers(access, Principal("bob"))
    assert administers(access, Principal("bob"), Reach.DEVICE)
    assert not administers(access, Principal("carol"))
    assert not administers(access, ANYBODY)
    assert not any(administers(access, Principal("alice"), reach) for reach in (Reach.PART, Reach.READING))
    assert administers(accessing(administrators=["@staff"]), Principal("alice"))


def test_who_is_called_like_a_group_is_not_in_it() -> None:
    access = accessing(administrators=["@boss", "carol"])
    assert not access.is_administrator(Identity(Principal("@boss"), READ_WRITE))
    assert not access.belongs("@boss", ["@boss"])
    assert access.belongs("bob", ["@boss"])
    assert access.belongs("carol", ["@boss", "carol"])


def test_who_logs_in_is_welcomed_once_in_a_while() -> None:
    welcomed: list[str] = []
    access = accessing(welcome=welcomed.append)
    for now in (0, 1, 2):
        access.identify(asking(basic("alice:wonder"), now))
    refused(access, basic("bob:wrong"))
    assert welcomed == ["alice"]


def test_without_basic_a_password_is_no_login() -> None:
    assert refused(accessing(offer_basic=False), basic("alice:wonder")) == [challenge("davserver")]


# --- the line of a failed login


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alice", "alice"),
        ('a" address=1.2.3.4', "a\\x22 address=1.2.3.4"),
        ("a\nb", "a\\nb"),
        ("ü", "\\xfc"),
        ("\\", "\\\\"),
        ("x" * 200, "x" * 100),
    ],
)
def test_the_line_of_a_failed_login(name: str, shown: str) -> None:
    assert failure_line(name, "192.0.2.1", "basic") == f'login failed: address=192.0.2.1 scheme=basic user="{shown}"'
    assert failure_line(name, "", "basic").startswith("login failed: address=- ")


def test_a_failed_login_is_logged_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    refused(accessing(), basic("alice:secret-word"))
    assert [record.getMessage() for record in caplog.records] == [failure_line("alice", "192.0.2.1", "basic")]
    assert "secret" not in caplog.text


@given(st.text())
def test_no_authorization_raises_anything_else(field: str) -> None:
    access = Access(Directory([Source(Account("alice", Counting("wonder")))]), rules())
    for value in (field, "Basic " + field, "Digest " + field, "Basic " + b64encode(encoded(field)).decode()):
        try:
            access.identify(asking(value))
        except Unauthorized:
            continue
