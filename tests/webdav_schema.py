"""Every answer is held against RFC 4918's own element definitions (`rfc4918.rng`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lxml import etree


@cache
def _schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(str(Path(__file__).with_name("rfc4918.rng"))))


def assert_valid(body: bytes) -> None:
    """`body` is a multistatus, an error, or the answer to a LOCK, as RFC 4918 defines them."""
    schema = _schema()
    if not schema.validate(etree.fromstring(body)):
        raise AssertionError(f"{schema.error_log}\n{body.decode()}")
