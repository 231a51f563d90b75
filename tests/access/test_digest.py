"""HTTP Digest, from the field to whose login it is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_access import asking, rules

from davserver.access.access import CACHE_SECONDS, Access, Asking
from davserver.access.accounts import Account, Algorithm, Directory, Listed, ha1
from davserver.access.digest import NONCE_SECONDS, UPLOAD_SECONDS, Digest, DigestField
from davserver.protocol.errors import Unauthorized
from davserver.protocol.messages import Headers
from davserver.storage.nonces import Nonces

MD5, SHA = Algorithm.MD5, Algorithm.SHA_256
REALM = "my files"


def account(name: str, password: str, *algorithms: Algorithm) -> Account:
    return Account(name, digests={each: ha1(each, name, REALM, password) for each in algorithms or Algorithm})


class World:
    def __init__(self, folder: Path, *accounts: Account) -> None:
        self.nonces = Nonces(str(folder), 1000)
        directory = Directory([Listed(accounts or [account("alice", "wonder"), account("Jürgen", "paß")])])
        self.digest = Digest(directory, self.nonces, REALM)
        self.access = Access(directory, rules(), realm=REALM, digest=self.digest, offer_basic=False)

    def login(self, **changed: Any) -> str:
        """A field as curl sends it, but for what is changed. None: left out."""
        values = {
            "username": "alice", "password": "wonder", "realm": REALM, "nonce": None, "uri": "/a", "method": "PROPFIND",
            "algorithm": MD5, "qop": "auth", "nc": "00000001", "cnonce": "0a4f113b", "known_as": None, "response": None,
            "extra": "",
        } | changed  # fmt: skip
        nonce = self.nonces.new(1001) if values["nonce"] is None else values["nonce"]
        function = hashlib.sha256 if values["algorithm"] is SHA else hashlib.md5

        def h(text: str) -> str:
            return function(text.encode()).hexdigest()

        a1 = h(f"{values['known_as'] or values['username']}:{values['realm']}:{values['password']}")
        a2 = h(f"{values['method']}:{values['uri']}")
        response = h(f"{a1}:{nonce}:{values['nc']}:{values['cnonce']}:{values['qop']}:{a2}")
        algorithm = values["algorithm"].value if isinstance(values["algorithm"], Algorithm) else values["algorithm"]
        parameters = [
            ("username", values["username"], True), ("realm", values["realm"], True), ("nonce", nonce, True),
            ("uri", values["uri"], True), ("algorithm", algorithm, False), ("qop", values["qop"], False),
            ("nc", values["nc"], False), ("cnonce", values["cnonce"], True),
            ("response", values["response"] or response, True),
        ]  # fmt: skip
        text = ", ".join(f'{k}="{v}"' if quoted else f"{k}={v}" for k, v, quoted in parameters if v is not None)
        return f"Digest {text}{values['extra']}"

    def says(self, field: str, *, target: str = "/a", method: str = "PROPFIND", now: float = 1002.0) -> str:
        wire = field.encode().decode("latin-1")
        result = self.digest.verify(wire, Asking(method, target, Headers({}), "192.0.2.1", False, now))
        return result.account.name if result.account else "stale" if result.stale else "wrong"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.nonces.close()


@pytest.mark.parametrize("algorithm", [MD5, SHA, None])
def test_a_right_login(algorithm: Algorithm | None, world: World) -> None:
    assert world.says(world.login(algorithm=algorithm)) == "alice"


def test_an_example_of_the_rfc() -> None:
    """RFC 7616 §3.9.1, MD5 and SHA-256."""
    for algorithm, response in (
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        field = (
            'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
            f"algorithm={algorithm}, "
            'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
            'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
            f'response="{response}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUo5tdS"'
        )
        login = DigestField.parse(field)
        assert login is not None
        hashed = ha1(login.algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
        assert login.expected(hashed, "GET") == response


@pytest.mark.parametrize(
    "changed",
    [
        {"password": "Wonder"},
        {"username": "nobody"},
        {"username": ""},
        {"realm": "other"},
        {"method": "GET"},
        {"uri": "/b"},
        {"uri": "/a?x=1"},
        {"uri": ""},
        {"uri": "/a/"},
        {"response": "0" * 32},
        {"response": "x"},
        {"qop": "auth-int"},
        {"qop": None},
        {"qop": ""},
        {"nc": "1"},
        {"nc": "00000000"},
        {"nc": "0000000g"},
        {"nc": "+0000001"},
        {"nc": None},
        {"cnonce": ""},
        {"cnonce": None},
        {"algorithm": "MD5-sess"},
        {"algorithm": "SHA-512-256"},
        {"algorithm": "junk"},
        {"extra": ", nc=00000002"},  # twice
        {"extra": ", username*=UTF-8''alice"},
        {"extra": ', "'},
        {"extra": " x y"},
    ],
)
def test_what_is_no_login(changed: dict[str, Any], world: World) -> None:
    assert world.says(world.login(**changed)) == "wrong"


@pytest.mark.parametrize(
    ("changed", "target", "who"),
    [
        # Windows: its domain, and commas in the URI.
        ({"username": "DOM\\alice", "known_as": "alice"}, "/a", "alice"),
        ({"username": "DOM\\\\alice", "known_as": "alice"}, "/a", "alice"),
        ({"uri": "/a,b,c%20d"}, "/a,b,c%20d", "alice"),
        ({"uri": "/a%2Cb c"}, "/a,b%20c", "alice"),
        # With the host, as through a proxy, and without.
        ({"uri": "http://dav.example:8080/a"}, "/a", "alice"),
        ({"uri": "/a"}, "http://dav.example/a", "alice"),
        ({"uri": "http://dav.example"}, "/", "alice"),
        ({"uri": "/%61"}, "/a", "alice"),
        ({"uri": "/a?q=%31"}, "/a?q=1", "alice"),
        ({"uri": "*"}, "*", "alice"),
        # Names beyond ASCII: UTF-8, or RFC 8187.
        ({"username": "Jürgen", "password": "paß"}, "/a", "Jürgen"),
        ({"qop": "auth", "extra": ", opaque=x"}, "/a", "alice"),
        ({"extra": ","}, "/a", "alice"),
        ({"nc": "0000000A"}, "/a", "alice"),
    ],
)
def test_odd_forms(changed: dict[str, Any], target: str, who: str, world: World) -> None:
    assert world.says(world.login(uri=changed.pop("uri", "/a"), **changed), target=target) == who


def test_an_extended_name(world: World) -> None:
    field = world.login(username="Jürgen", password="paß").replace('username="Jürgen"', "username*=UTF-8''J%C3%BCrgen")
    assert world.says(field) == "Jürgen"
    assert world.says(field.replace("UTF-8", "latin-1")) == "wrong"


def test_a_quoted_response_and_quoted_qop(world: World) -> None:
    field = world.login().replace("qop=auth", 'qop="auth"').replace("nc=00000001", 'nc="00000001"')
    assert world.says(field) == "alice"
    assert world.says(field.replace("Digest ", "dIgEsT   ")) == "stale"  # the same count again


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_a_nonce_that_is_none_of_ours(name: str, world: World) -> None:
    """Stale is said to those alone who know the password."""
    assert world.says(world.login(nonce="bm9uY2U=", username=name)) == ("stale" if name == "alice" else "wrong")
    assert world.says(world.login(nonce="bm9uY2U=", password="x")) == "wrong"


@pytest.mark.parametrize(
    ("age", "method", "expected"),
    [
        (0, "PROPFIND", "alice"),
        (-59, "PROPFIND", "alice"),  # the clock was set back a little
        (-61, "PROPFIND", "stale"),
        (11 * 3600, "PROPFIND", "alice"),  # Finder copies for hours
        (35 * 3600, "PUT", "alice"),
        (NONCE_SECONDS - 1, "PROPFIND", "alice"),
        (NONCE_SECONDS, "PROPFIND", "stale"),
        (NONCE_SECONDS, "LOCK", "stale"),
        (NONCE_SECONDS, "PUT", "alice"),
        (NONCE_SECONDS + UPLOAD_SECONDS - 1, "PUT", "alice"),
        (NONCE_SECONDS + UPLOAD_SECONDS, "PUT", "stale"),
    ],
)
def test_the_life_of_a_nonce(age: float, method: str, expected: str, world: World) -> None:
    field = world.login(nonce=world.nonces.new(100_000), method=method)
    assert world.says(field, method=method, now=100_000 + age) == expected


def test_a_replay_is_refused_and_the_next_count_is_not(world: World) -> None:
    nonce = world.nonces.new(1001)
    first, second = (world.login(nonce=nonce, nc=f"{count:08x}") for count in (1, 2))
    assert [world.says(each) for each in (first, first, second, first, second)] == [
        "alice", "stale", "alice", "stale", "stale",
    ]  # fmt: skip
    # With another count the response is another one.
    assert world.says(first.replace("nc=00000001", "nc=00000003")) == "wrong"


def test_a_wrong_login_uses_up_no_count(world: World) -> None:
    nonce = world.nonces.new(1001)
    assert world.says(world.login(nonce=nonce, password="x")) == "wrong"
    assert world.says(world.login(nonce=nonce)) == "alice"


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_whoever_it_is_it_costs_the_same(algorithm: Algorithm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is computed and not by the clock: hashes, and comparisons that take as long wherever they end."""
    world = World(tmp_path, account("alice", "wonder"), account("old", "x", MD5 if algorithm is SHA else SHA))
    hashed, compared = list[int](), list[tuple[int, int]]()
    plain_hash, plain_compare = Algorithm.hash, hmac.compare_digest

    def counting(self: Algorithm, text: bytes) -> str:
        hashed.append(1)
        return plain_hash(self, text)

    def comparing(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return plain_compare(one, other)

    monkeypatch.setattr(Algorithm, "hash", counting)
    monkeypatch.setattr("davserver.access.digest.hmac.compare_digest", comparing)
    nonce = world.nonces.new(1001)
    costs = set()
    for name, password in ("alice", "wonder"), ("alice", "x"), ("nobody", "x"), ("old", "x"):
        hashed.clear()
        compared.clear()
        world.says(world.login(username=name, password=password, algorithm=algorithm, nonce=nonce))
        lengths = [pair for pair in compared if pair != (16, 16)]  # but for the proof of the nonce
        costs.add((len(hashed), tuple(lengths)))
    assert costs == {(2, ((64, 64) if algorithm is SHA else (32, 32),))}
    world.nonces.close()


def test_challenges(world: World, tmp_path: Path) -> None:
    strong, weak = world.digest.challenges(1001, stale=False)
    nonce = strong.split('nonce="')[1].split('"')[0]
    end = 'qop="auth", charset=UTF-8'
    assert strong == f'Digest realm="my files", nonce="{nonce}", algorithm=SHA-256, {end}'
    assert weak == f'Digest realm="my files", nonce="{nonce}", algorithm=MD5, {end}'
    assert all(each.endswith(", stale=true") for each in world.digest.challenges(1001, stale=True))
    old = Digest(Directory([Listed([account("alice", "x", MD5), account("bob", "y")])]), world.nonces, REALM)
    assert [each.split("algorithm=")[1].split(",")[0] for each in old.challenges(1001, stale=False)] == ["MD5"]
    assert Digest(Directory(), world.nonces, REALM).challenges(1001, stale=False) == []


def test_digest_comes_first_and_each_has_its_line(world: World) -> None:
    directory = Directory([Listed([account("alice", "wonder")])])
    access = Access(directory, rules(), realm=REALM, digest=world.digest)
    with pytest.raises(Unauthorized) as caught:
        access.identify(asking())
    schemes = [value.split()[0] for name, value in caught.value.headers if name == "WWW-Authenticate"]
    assert schemes == ["Digest", "Digest", "Basic"]


def test_who_is_known_by_digest(world: World) -> None:
    nonce = world.nonces.new(1001)
    found = []
    for count in range(1, 4):
        field = world.login(nonce=nonce, nc=f"{count:08x}", uri="/")
        found.append(world.access.identify(asking(field, 1002 + CACHE_SECONDS / 2 * count)))
    assert [identity.principal.name for identity in found] == ["alice"] * 3
    assert found[0] is found[1]  # what it means is remembered, and the login itself verified every time
    with pytest.raises(Unauthorized) as caught:
        world.access.identify(asking(field, 1003))
    assert all("stale=true" in challenge for challenge in caught.value.challenges)
    with pytest.raises(Unauthorized) as caught:
        world.access.identify(asking(world.login(password="x", uri="/"), 1003))
    assert not any("stale" in challenge for challenge in caught.value.challenges)


_TOKENS = st.text(alphabet='abc=", \\\t*\u00e9', max_size=12)


@given(st.lists(_TOKENS, max_size=6), st.text(max_size=30))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_field_raises(world: World, parts: list[str], text: str) -> None:
    for field in ("Digest " + ",".join(parts), "Digest " + text, world.login(extra="," + ",".join(parts)), text):
        world.says(field.encode("utf-8", "surrogatepass").decode("latin-1").encode("latin-1").decode("latin-1")[:500])


@given(st.text(alphabet=st.characters(codec="latin-1", exclude_characters='"\\'), max_size=20))
@settings(max_examples=200)
def test_a_quoted_value_comes_back_as_it_was(text: str) -> None:
    field = (
        f'Digest username="a", realm="{text}", nonce="{text}", uri="{text}", nc=00000001, cnonce="c", qop=auth, '
        'response="00"'
    )
    login = DigestField.parse(field)
    assert login is not None
    assert (login.realm, login.nonce, login.uri) == (text, text, text)
