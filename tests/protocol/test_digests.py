"""Digest fields (RFC 9530, RFC 3230, OC-Checksum): what is said, and whether the content is that."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.protocol.digests import Digest, Verifier, parse_digests
from davserver.protocol.errors import BadRequest
from davserver.protocol.messages import Headers


def parsed(field: str, value: str, *, whole: bool = True) -> list[tuple[str, bytes]]:
    return [(digest.algorithm, digest.value) for digest in parse_digests(Headers({field: value}), whole=whole)]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("Content-Digest", "sha-256=:AAEC:", [("sha-256", b"\0\1\2")]),
        ("Content-Digest", "sha-256=:AAEC:, sha-512=:Aw==:", [("sha-256", b"\0\1\2"), ("sha-512", b"\3")]),
        ("Content-Digest", "  md5=:AAEC:;a=1;b , sha=:Aw==:", [("md5", b"\0\1\2"), ("sha-1", b"\3")]),
        ("Content-Digest", "md5=:AAEC: ;a=1", []),
        ("Content-Digest", "sha-256=::", [("sha-256", b"")]),
        ("Content-Digest", "unixsum=:AAEC:, crc32c=:AAEC:", []),
        ("Content-Digest", "sha-256=AAEC", []),
        ("Content-Digest", "sha-256=:AAEC", []),
        ("Content-Digest", "SHA-256=:AAEC:", []),
        ("Content-Digest", "sha-256=:AAEC:, junk", []),
        ("Content-Digest", "sha-256=:A:, md5=:AAEC:", [("md5", b"\0\1\2")]),
        ("Repr-Digest", "adler=:AAEC:", [("adler32", b"\0\1\2")]),
        ("Digest", "SHA-256=AAEC,md5=Aw==", [("sha-256", b"\0\1\2"), ("md5", b"\3")]),
        ("Digest", "SHA-256", []),
        ("OC-Checksum", "SHA1:000102", [("sha-1", b"\0\1\2")]),
        ("OC-Checksum", "ADLER32:0001", [("adler32", b"\0\1")]),
        ("OC-Checksum", "SHA1:00010", []),
        ("OC-Checksum", "SHA1:00,MD5:00", []),
        ("X-Digest", "sha-256=:AAEC:", []),
    ],
)
def test_what_is_said(field: str, value: str, expected: list[tuple[str, bytes]]) -> None:
    assert parsed(field, value) == expected


@pytest.mark.parametrize("field", ["Repr-Digest", "Digest", "OC-Checksum"])
def test_what_is_said_of_the_whole_means_nothing_for_a_part(field: str) -> None:
    value = {"Digest": "md5=AAEC", "OC-Checksum": "MD5:00"}.get(field, "md5=:AAEC:")
    assert parsed(field, value)
    assert parsed(field, value, whole=False) == []


@given(st.text(max_size=60))
def test_nothing_raises(value: str) -> None:
    for field in ("Content-Digest", "Repr-Digest", "Digest", "OC-Checksum"):
        parsed(field, value)


@given(st.lists(st.binary(max_size=50)), st.sampled_from(["sha-256", "sha-512", "sha", "md5", "adler"]))
def test_content_in_any_blocks_is_what_it_is(blocks: list[bytes], name: str) -> None:
    whole = b"".join(blocks)
    if name == "adler":
        value = zlib.adler32(whole).to_bytes(4, "big")
    else:
        value = hashlib.new({"sha": "sha1"}.get(name, name.replace("-", "")), whole).digest()
    headers = Headers({"Content-Digest": f"{name}=:{b64encode(value).decode()}:"})
    for last, right in ((b"", True), (b"x", False)):
        verifier = Verifier(parse_digests(headers, whole=True))
        for block in (*blocks, last):
            verifier.update(block)
        if right:
            verifier.check()
        else:
            with pytest.raises(BadRequest, match="Content-Digest"):
                verifier.check()


def test_no_digest_costs_nothing() -> None:
    verifier = Verifier(())
    verifier.update(b"x")
    verifier.check()
    assert Digest("md5", b"", "Digest") == Digest("md5", b"", "Digest")
