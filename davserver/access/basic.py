"""HTTP Basic (RFC 7617): the Authorization field → name and password."""

from __future__ import annotations

import binascii
from base64 import b64decode

from davserver.names import composed

#: What a Basic field that is malformed counts as: a login that is never right.
NOBODY = ("", "")


def credentials(field: str | None) -> tuple[str, str] | None:
    """(name, password), or None when the field is absent, empty or of another scheme.

    Office sends `Authorization: Bearer` with nothing behind it: that is no login, and no error. Windows puts
    its domain before the name.
    """
    scheme, _, value = (field or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        data = b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return NOBODY
    text = text_of(data)
    name, colon, password = text.partition(":")
    if not colon:
        return NOBODY
    return composed(name.rpartition("\\")[2]), password


def text_of(data: bytes) -> str:
    """UTF-8, or else Latin-1: of clients that do not know the charset parameter."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def challenge(realm: str) -> str:
    """RFC 7617 §2, §2.1. `realm` holds neither quotes nor backslashes."""
    return f'Basic realm="{realm}", charset="UTF-8"'
