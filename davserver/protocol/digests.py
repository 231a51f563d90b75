"""Digests that a request announces of its content, verified while it streams by.

`Content-Digest` and `Repr-Digest` (RFC 9530), the older `Digest` (RFC 3230), and `OC-Checksum` (rclone and the
ownCloud clients). What a PUT carries is both its content and the whole representation, so all of them say the same
there. An algorithm that is not known is passed over, as the RFCs want it; one that is known must be right.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from davserver.protocol.errors import BadRequest
from davserver.protocol.messages import Headers


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Adler32:
    """RFC 1950, as four bytes."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: bytes) -> None:
        self._value = zlib.adler32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4)


# MD5 and SHA-1 are told for what they are good for: noticing a byte that fell over on the way.
_ALGORITHMS: dict[str, Callable[[], _Hash]] = {
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
    "sha-1": lambda: hashlib.sha1(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "adler32": _Adler32,
}
# RFC 9530 §5 and RFC 3230 §4.1.1 call SHA-1 "sha", and Adler-32 "adler" the one and "adler32" the other.
_NAMES = {"sha": "sha-1", "adler": "adler32", "sha1": "sha-1", "sha256": "sha-256", "sha512": "sha-512"}


@dataclass(frozen=True, slots=True)
class Digest:
    """What the content must come to. `field`: the header field that says so."""

    algorithm: str
    value: bytes
    field: str


# RFC 8941 §3.2, §3.3.5: a dictionary of byte sequences, each with parameters that mean nothing here.
_BYTES = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):(?:;[^,]*)?[ \t]*(?:,|\Z)")
# RFC 3230 §4.2: algorithm "=" encoded digest.
_INSTANCE = re.compile(r"[ \t]*([A-Za-z0-9-]+)=([A-Za-z0-9+/=]+)[ \t]*(?:,|\Z)")
# ownCloud: SHA1:hexadecimal digits.
_OWNCLOUD = re.compile(r"[ \t]*([A-Za-z0-9-]+):([0-9A-Fa-f]+)[ \t]*\Z")


def parse_digests(headers: Headers, *, whole: bool) -> tuple[Digest, ...]:
    """`whole`: the content is the whole representation, so that what is said of that counts too. A field that is
    malformed is ignored (RFC 8941 §4.2)."""
    fields: list[tuple[str, re.Pattern[str], Callable[[str], bytes]]] = [("Content-Digest", _BYTES, _base64)]
    if whole:
        fields += [
            ("Repr-Digest", _BYTES, _base64),
            ("Digest", _INSTANCE, _base64),
            ("OC-Checksum", _OWNCLOUD, binascii.unhexlify),
        ]
    return tuple(
        digest
        for name, form, decode in fields
        if name in headers
        for digest in _listed(name, headers[name], form, decode)
    )


def _listed(field: str, value: str, form: re.Pattern[str], decode: Callable[[str], bytes]) -> Iterator[Digest]:
    found, position = [], 0
    while position < len(value):
        item = form.match(value, position)
        if item is None:
            return
        found.append((item[1].lower(), item[2]))
        position = item.end()
    for name, text in found:
        algorithm = _NAMES.get(name, name)
        if algorithm in _ALGORITHMS:
            try:
                yield Digest(algorithm, decode(text), field)
            except ValueError:
                continue


def _base64(text: str) -> bytes:
    return b64decode(text, validate=True)


class Verifier:
    """Takes the content as it comes. Costs nothing where no digest was announced."""

    def __init__(self, digests: Iterable[Digest]) -> None:
        self._digests = tuple(digests)
        self._hashes = {algorithm: _ALGORITHMS[algorithm]() for algorithm in {each.algorithm for each in self._digests}}

    def update(self, block: bytes) -> None:
        for each in self._hashes.values():
            each.update(block)

    def check(self) -> None:
        """At the end. Raises BadRequest when the content is not what was announced."""
        for digest in self._digests:
            if self._hashes[digest.algorithm].digest() != digest.value:
                raise BadRequest(f"The content does not have the {digest.algorithm} digest that {digest.field} says.")
