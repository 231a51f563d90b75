"""Password hashes: what passwords are kept as, and what they are compared with.

New ones are argon2id. The others are what files of Apache hold: bcrypt, apr1 and {SHA}. crypt(3) and plain text
are refused: whoever reads such a file knows the passwords.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_argon2 = PasswordHasher()
#: Bytes of a password that bcrypt looks at; Apache's htpasswd cuts there without a word.
_BCRYPT_BYTES = 72
_APR1_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_APR1_ROUNDS = 1000


class Credential(Protocol):
    """Tells whether a password is right, however that is found out. It may take its time."""

    def matches(self, password: bytes) -> bool: ...


def hash_password(password: str) -> str:
    """argon2id, in the PHC form that the configuration holds."""
    return _argon2.hash(password)


def encoded(password: str) -> bytes:
    """As it is hashed. Whatever a client sends has some form."""
    return password.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class PasswordHash:
    text: str

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Raises ValueError for a form that is not known."""
        if not text.startswith(tuple(_FORMS)):
            raise ValueError("no hash of argon2, bcrypt, apr1 or {SHA}")
        return cls(text)

    def matches(self, password: bytes) -> bool:
        matches = next(matches for prefix, matches in _FORMS.items() if self.text.startswith(prefix))
        return matches(self.text, password)


def _matches_argon2(text: str, password: bytes) -> bool:
    try:
        return _argon2.verify(text, password)
    except (VerificationError, InvalidHashError):
        return False


def _matches_bcrypt(text: str, password: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], text.encode())
    except ValueError:  # a damaged hash
        return False


def _matches_sha(text: str, password: bytes) -> bool:
    digest = hashlib.sha1(password, usedforsecurity=False).digest()
    return hmac.compare_digest(text.encode(), b"{SHA}" + b64encode(digest))


def _matches_apr1(text: str, password: bytes) -> bool:
    salt = text.split("$")[2][:8]
    return hmac.compare_digest(text.encode(), apr1(password, salt).encode())


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def apr1(password: bytes, salt_text: str) -> str:
    """Apache's variant of the MD5 crypt of FreeBSD, as `htpasswd -m` writes it."""
    salt = salt_text.encode()
    mixed = _md5(password + salt + password)
    start = password + b"$apr1$" + salt + (mixed * (len(password) // 16 + 1))[: len(password)]
    bits = len(password)
    while bits:
        start += b"\0" if bits & 1 else password[:1]
        bits >>= 1
    digest = _md5(start)
    for count in range(_APR1_ROUNDS):
        turn = password if count & 1 else digest
        turn += salt if count % 3 else b""
        turn += password if count % 7 else b""
        digest = _md5(turn + (digest if count & 1 else password))
    groups = [(digest[i], digest[i + 6], digest[i + 12 if i < 4 else 5]) for i in range(5)]
    text = "".join(_digits(a << 16 | b << 8 | c, 4) for a, b, c in groups) + _digits(digest[11], 2)
    return f"$apr1${salt_text}${text}"


def _digits(value: int, count: int) -> str:
    return "".join(_APR1_DIGITS[value >> 6 * place & 0x3F] for place in range(count))


_FORMS: Mapping[str, Callable[[str, bytes], bool]] = {
    "$argon2id$": _matches_argon2,
    "$argon2i$": _matches_argon2,
    "$argon2d$": _matches_argon2,
    "$2a$": _matches_bcrypt,
    "$2b$": _matches_bcrypt,
    "$2y$": _matches_bcrypt,
    "$apr1$": _matches_apr1,
    "{SHA}": _matches_sha,
}
