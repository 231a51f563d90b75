"""DavPath: the one way a URL path becomes names, and names become a URL path.

The law of this module: nothing else in davserver splits, decodes or joins a URL path.

Contract of `DavPath.parse`, for the raw path of a request-target, of a Destination or of an If tag:
  * segments are split at "/" *before* percent-decoding (RFC 3986 §2.4), so `%3B`, `%3F`, `%23` are
    plain characters of a name;
  * each segment is percent-decoded once and must be UTF-8; raw non-ASCII bytes and blanks are
    tolerated (LibreOffice 7.4 sends Destination unescaped);
  * empty segments are dropped ("//" is "/"), a slash at the end is remembered but not compared;
  * refused as 400: a malformed escape, NUL, an encoded "/" inside a name, "." and ".." in any spelling.

A DavPath is the path below the server's mount prefix. Two DavPaths are equal when their names are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from davserver.protocol.errors import BadRequest

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# What stays as it is in an href, beside letters and digits. LibreOffice saves under its own spelling of a URL and
# loses its lock when hrefs escape any of these; "&" is escaped since Finder and LibreOffice both misread it as
# text, ";" since LibreOffice escapes it too.
_PLAIN = re.compile(r"[A-Za-z0-9._~!$'()*+,=:@-]")
_PLAIN_BUT_FOR_BLANKS = re.compile(r"[A-Za-z0-9._~!$'()*+,=:@ -]*").fullmatch
_PLAIN_BUT_FOR_BLANKS_AND_SLASHES = re.compile(r"[A-Za-z0-9._~!$'()*+,=:@ /-]*").fullmatch
_QUOTED = {byte: f"%{byte:02X}" for byte in range(256) if _PLAIN.match(chr(byte)) is None}


def quote_name(name: str) -> str:
    """One path segment as it stands in an href: ASCII, upper-case hex."""
    if _PLAIN_BUT_FOR_BLANKS(name):
        return name.replace(" ", "%20")
    return name.encode().decode("latin-1").translate(_QUOTED)


def quote_names(names: Sequence[str]) -> list[str]:
    """`quote_name` of each; none holds a slash. Quick for the usual names, which are looked at all at once."""
    together = "/".join(names)
    if together and _PLAIN_BUT_FOR_BLANKS_AND_SLASHES(together):
        return together.replace(" ", "%20").split("/")
    return list(map(quote_name, names))


@dataclass(frozen=True, slots=True, order=True)
class DavPath:
    """A canonical path: decoded names, none of them empty, "." or "..", none holding "/" or NUL."""

    segments: tuple[str, ...] = ()
    #: The URL ended in "/": the client means a collection. Not part of the identity.
    slash: bool = field(default=False, compare=False)

    @classmethod
    def parse(cls, raw: str) -> DavPath:
        """Path of a URL (no query, no fragment), percent-encoded → DavPath. Raises BadRequest.

        `raw` holds characters up to U+00FF that stand for bytes, as WSGI hands them over, or is ASCII.
        """
        if not raw.startswith("/"):
            raise BadRequest("The path of a URL must begin with a slash.")
        if _BAD_ESCAPE.search(raw):
            raise BadRequest("The URL holds a percent sign that is not followed by two hexadecimal digits.")
        if "%" not in raw and raw.isascii():
            names = tuple(filter(None, raw.split("/")))
        else:
            names = tuple(_decode(part) for part in raw.split("/") if part)
        for name in names:
            if name in (".", ".."):
                raise BadRequest('The URL holds a "." or ".." segment; send the path they lead to instead.')
            if "\0" in name:
                raise BadRequest("The URL holds a NUL character.")
            if "/" in name:
                raise BadRequest("The URL holds an encoded slash (%2F) inside a name.")
        return cls(names, raw.endswith("/"))

    @classmethod
    def from_key(cls, key: str) -> DavPath:
        """The inverse of `key`."""
        return cls(tuple(filter(None, key.split("/"))))

    @property
    def key(self) -> str:
        """Canonical text, "/" + names joined by "/", no slash at the end: for stores, logs and people."""
        return "/" + "/".join(self.segments)

    @property
    def name(self) -> str:
        """The last name; "" for the root."""
        return self.segments[-1] if self.segments else ""

    @property
    def is_root(self) -> bool:
        return not self.segments

    @property
    def parent(self) -> DavPath:
        """The containing collection. The root has none: asking for it is a programming error."""
        if not self.segments:
            raise ValueError("the root has no parent")
        return DavPath(self.segments[:-1], True)

    @property
    def ancestors(self) -> tuple[DavPath, ...]:
        """Every collection above this path, the root first, without the path itself."""
        return tuple(DavPath(self.segments[:count], True) for count in range(len(self.segments)))

    @property
    def lineage(self) -> tuple[str, ...]:
        """The keys of every collection above this path, the root first, and its own."""
        key, keys = "", ["/"]
        for name in self.segments:
            key += "/" + name
            keys.append(key)
        return tuple(keys)

    def child(self, name: str) -> DavPath:
        """A member of this collection; `name` must be a legal segment (it comes from a listing)."""
        return DavPath((*self.segments, name))

    def contains(self, other: DavPath) -> bool:
        """Is `other` this path, or below it?"""
        return other.segments[: len(self.segments)] == self.segments

    def below(self, other: DavPath) -> tuple[str, ...]:
        """The names that lead from `other` (this path or one above it) here."""
        if not other.segments:
            return self.segments
        if not other.contains(self):
            raise ValueError("not below that path")
        return self.segments[len(other.segments) :]

    def rebase(self, source: DavPath, destination: DavPath) -> DavPath:
        """Where this path, at or below `source`, lies once `source` became `destination`."""
        return DavPath(destination.segments + self.below(source))

    def href(self, prefix: str = "", *, collection: bool = False) -> str:
        """Absolute-path reference: `prefix` (escaped already) + names, "/" at the end of collections.

        RFC 4918 §5.2: a collection's URL should end in a slash.
        """
        text = prefix + "/" + "/".join(map(quote_name, self.segments))
        return text + "/" if collection and self.segments else text

    def __str__(self) -> str:
        return self.key


def _decode(part: str) -> str:
    try:
        return unquote_to_bytes(part.encode("latin-1")).decode("utf-8")
    except UnicodeError as error:
        raise BadRequest("The path of a URL must be percent-encoded UTF-8.") from error


#: "/": the top of the server's URL space.
ROOT = DavPath((), True)
