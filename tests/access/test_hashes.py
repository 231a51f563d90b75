"""Password hashes: ours and those of Apache's files."""

from __future__ import annotations

import hmac
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import QUICK

from davserver.access.accounts import Algorithm, DigestSecret
from davserver.access.hashes import Credential, PasswordHash, apr1, encoded, hash_password

#: Made by `htpasswd -nb`, with -B, -m and -s.
KNOWN = [
    (QUICK.hash("wonder"), "wonder"),
    ("$2y$05$O49TOewYXxwYYGNJxSCFNOJREPyIPv8NTlGvMzn4eDtHZkHQnkF9e", None),
    ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "myPassword"),
    ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "password"),
]


@pytest.mark.parametrize(
    ("text", "password"), [pair for pair in KNOWN if pair[1] is not None], ids=["argon2id", "apr1", "SHA"]
)
def test_known_hashes(text: str, password: str) -> None:
    found = PasswordHash.parse(text)
    assert found.matches(password.encode())
    assert not found.matches(password.encode() + b"x")
    assert not found.matches(b"")


@pytest.mark.parametrize("text", ["", "wonder", "$1$x$y", "$5$x", "{SSHA}x", "rl.3StKT.4T8M", "$argon2", "{sha}x"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no hash of"):
        PasswordHash.parse(text)


@pytest.mark.parametrize("text", ["$argon2id$damaged", "$2b$damaged", "$apr1$", "{SHA}", "$argon2id$v=19$m=1,t=1"])
def test_a_damaged_hash_is_never_right(text: str) -> None:
    for password in (b"", b"x", b"\xff\0"):
        assert not PasswordHash.parse(text).matches(password)


@pytest.mark.parametrize("option", ["-B", "-m", "-s"])
@pytest.mark.parametrize("password", ["wonder", "", "ü" * 9, "x" * 16, "a longer password with blanks in it", "0"])
def test_what_htpasswd_writes(option: str, password: str) -> None:
    if shutil.which("htpasswd") is None:
        pytest.skip("htpasswd is not installed")
    cost = ["-C", "4"] if option == "-B" else []
    made = subprocess.run(["htpasswd", "-nb", option, *cost, "u", password], capture_output=True, text=True, check=True)
    found = PasswordHash.parse(made.stdout.strip().partition(":")[2])
    assert found.matches(password.encode())
    assert not found.matches(b"other")


def test_bcrypt_looks_at_72_bytes() -> None:
    import bcrypt

    found = PasswordHash.parse(bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())
    assert found.matches(b"x" * 80)
    assert not found.matches(b"x" * 71)


def test_a_hash_of_ours_is_argon2id() -> None:
    assert hash_password("wonder").startswith("$argon2id$")


@given(st.text(), st.text(alphabet="./0123456789abc", min_size=1, max_size=8))
@settings(max_examples=20)
def test_apr1_tells_passwords_apart(password: str, salt: str) -> None:
    text = apr1(encoded(password), salt)
    assert PasswordHash.parse(text).matches(encoded(password))
    assert not PasswordHash.parse(text).matches(encoded(password) + b"x")


@pytest.mark.parametrize(
    "credential",
    [
        PasswordHash.parse("{SHA}" + "A" * 27 + "="),
        PasswordHash.parse("$apr1$salt$" + "A" * 22),
        DigestSecret("alice", "realm", Algorithm.MD5, "0" * 32),
        DigestSecret("alice", "realm", Algorithm.SHA_256, "0" * 64),
    ],
)
def test_what_is_compared_here_is_compared_in_constant_time(
    credential: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What argon2 and bcrypt compare is up to them, and they do."""
    compared = []

    def comparing(one: object, other: object) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", comparing)
    assert not credential.matches(b"x")
    assert len(compared) == 1
    assert len(str(compared[0][0])) == len(str(compared[0][1]))
