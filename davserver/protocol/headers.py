"""Header fields: text → value, or BadRequest. The grammar stands beside each.

The law of this module: a value that comes out is valid; a value that goes in may be anything, and costs time
in proportion to its length. Blanks are space and tab alone: U+0085 and U+00A0 are bytes of UTF-8 names here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from davserver.protocol.errors import BadGateway, BadRequest, RangeNotSatisfiable
from davserver.protocol.locks import Depth
from davserver.protocol.paths import DavPath


def _trim(value: str) -> str:
    """Without the optional whitespace around it (RFC 9110 §5.6.3)."""
    return value.strip(" \t")


# Beyond every size and every time there is; RFC 9110 §14.1.2 tells recipients to expect large numerals.
_HUGE = 10**19


def _number(digits: str) -> int:
    """1*DIGIT of any length, with everything past nineteen digits the same."""
    significant = digits.lstrip("0")
    return _HUGE if len(significant) > 19 else int(significant or "0")


# --- Depth, RFC 4918 §10.2: ("0" | "1" | "infinity"). Office adds ",noroot" (MS-WDVSE), which changes nothing here.
_DEPTH = re.compile(r"(0|1|infinity)(?:[ \t]*,[ \t]*noroot)?", re.IGNORECASE)
_DEPTHS = {each.value: each for each in Depth}


def parse_depth(value: str | None, default: Depth) -> Depth:
    """`default` where the field is absent. Two Depth lines ("0, infinity") are no depth: BadRequest."""
    if value is None:
        return default
    usual = _DEPTHS.get(value)
    if usual is not None:
        return usual
    found = _DEPTH.fullmatch(_trim(value))
    if found is None:
        raise BadRequest("Depth must be 0, 1 or infinity.")
    return Depth(found[1].lower())


# --- Timeout, RFC 4918 §10.7: 1#("Second-" 1*DIGIT | "Infinite").
_WISH = re.compile(r"second-([0-9]+)|infinite", re.IGNORECASE)


def parse_timeout(value: str | None) -> tuple[int | None, ...]:
    """Wishes in order of preference, in seconds; None is Infinite. What is no wish is passed over."""
    text = value or ""
    return _wishes(text) if len(text) <= _REMEMBERED else _wishes.__wrapped__(text)


@lru_cache(maxsize=64)  # a client asks for the same time, whatever it locks
def _wishes(value: str) -> tuple[int | None, ...]:
    found = (_WISH.fullmatch(_trim(item)) for item in value.split(","))
    return tuple(None if wish[1] is None else _number(wish[1]) for wish in found if wish is not None)


# --- Overwrite, RFC 4918 §10.6: ("T" | "F"); absent means T. What is neither must not come to mean T.
def parse_overwrite(value: str | None) -> bool:
    match "T" if value is None else _trim(value).upper():
        case "T":
            return True
        case "F":
            return False
    raise BadRequest("Overwrite must be T or F.")


# --- Destination, RFC 4918 §10.3: Simple-ref = absolute-URI | ( path-absolute [ "?" query ] ).
_SCHEME_AND_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What two Destination lines become when they are joined: a second URL after a comma.
_TWO_LINES = re.compile(r",(?:[ \t]*[A-Za-z][A-Za-z0-9+.-]*://|[ \t]+/)")


def parse_destination(value: str | None, prefix: str, hosts: frozenset[str]) -> DavPath:
    """The path that a Destination names, below `prefix`. BadRequest; BadGateway where it is not on this server.

    `hosts`: the authorities ("host[:port]", lower case) that are this server; empty: not compared. The scheme
    is never compared: behind a proxy that ends TLS the client says https and we see http. Blanks and UTF-8
    that are not escaped are taken as they are, for LibreOffice 7.4.
    """
    text = value or ""
    if _TWO_LINES.search(text):
        raise BadRequest("There must be one Destination.")
    raw = url_path(text, hosts)
    if raw is None:
        raise BadRequest("Destination must be an absolute URL or an absolute path.")
    path = path_below(raw, prefix)
    if path is None:
        raise BadGateway("The destination is not among this server's files.")
    return path


def url_path(value: str, hosts: frozenset[str] = frozenset()) -> str | None:
    """The raw path of a URL or an absolute path, without query and fragment; None for anything else.

    Split before anything is decoded (RFC 3986 §2.4). Raises BadGateway when `hosts` are given and the URL
    is on none of them.
    """
    text = _trim(value)
    if _CONTROL.search(text):
        return None
    absolute = _SCHEME_AND_AUTHORITY.match(text)
    if absolute is not None:
        authority = absolute[1].rpartition("@")[2].lower()
        if not authority:
            return None  # RFC 9110 §4.2.1: an http URL without a host is invalid; file:///x is no URL of ours
        if hosts and _without_default_port(authority) not in map(_without_default_port, hosts):
            # RFC 4918 §9.8.5.
            raise BadGateway(
                "The destination is on another server. (A proxy that changes Host must be among trusted_proxies.)"
            )
        text = text[absolute.end() :]
    path = re.split("[?#]", text, maxsplit=1)[0]
    if absolute is not None:
        return path or "/"
    # RFC 3986 §4.2: "//name/…" would name another host, so a path does not begin like that (§3.3, path-absolute).
    return path if path.startswith("/") and not path.startswith("//") else None


def path_below(raw: str, prefix: str) -> DavPath | None:
    """Raw path of a URL → its path below the mount prefix ("" or "/dav"); None outside. Raises BadRequest.

    Compared by names and not by text: "/davx" is not below "/dav", and "/%64av" is "/dav" (RFC 3986 §6.2.2.2).
    """
    return _path_below(raw, prefix) if len(raw) <= _REMEMBERED else _path_below.__wrapped__(raw, prefix)


# An edit asks for the same URL a dozen times. Longer ones, and more of them, would be memory for strangers to fill.
_REMEMBERED = 256


@lru_cache(maxsize=2048)
def _path_below(raw: str, prefix: str) -> DavPath | None:
    path, mount = DavPath.parse(raw), DavPath.parse(prefix or "/")
    return DavPath(path.below(mount), path.slash) if mount.contains(path) else None


def _without_default_port(authority: str) -> str:
    """Of http and of https: a proxy that ends TLS changes which is which (RFC 9110 §4.2.3)."""
    return re.sub(r":(?:80|443)?\Z", "", authority)


# --- Lock-Token, RFC 4918 §10.5: Coded-URL = "<" absolute-URI ">". Explorer at times leaves the brackets out.
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-;=?-~]+")


def parse_lock_token(value: str | None) -> str:
    text = _trim(value or "")
    token = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    if not is_state_token(token):
        raise BadRequest("Lock-Token must hold one lock token, a URI in angle brackets.")
    return token


def is_state_token(text: str) -> bool:
    """Is it an absolute URI, as every state token is (RFC 4918 §6.5)? No blanks, no brackets, ASCII."""
    return _TOKEN.fullmatch(text) is not None


# --- Entity tags, RFC 9110 §8.8.3: [ "W/" ] DQUOTE *etagc DQUOTE. Blanks within the quotes are let pass.
@dataclass(frozen=True, slots=True)
class ETag:
    tag: str
    weak: bool = False

    def strong_match(self, other: ETag) -> bool:
        """RFC 9110 §8.8.3.2."""
        return self.tag == other.tag and not self.weak and not other.weak

    def weak_match(self, other: ETag) -> bool:
        """RFC 9110 §8.8.3.2."""
        return self.tag == other.tag

    def __str__(self) -> str:
        return f'W/"{self.tag}"' if self.weak else f'"{self.tag}"'


@dataclass(frozen=True, slots=True)
class ETagList:
    """RFC 9110 §13.1.1: "*" or entity tags. `tags` may be empty: then nothing matches."""

    any: bool
    tags: tuple[ETag, ...] = ()


_ETAG = re.compile(r'(W/)?"([^"]*)"')
_LISTED_ETAG = re.compile(r'[ \t]*(W/)?"([^"]*)"[ \t]*(?=,|\Z)')


def parse_etag(value: str) -> ETag | None:
    """One entity tag, or None for anything else."""
    found = _ETAG.fullmatch(_trim(value))
    return None if found is None else ETag(found[2], found[1] is not None)


def parse_etags(value: str) -> ETagList:
    """Malformed members never match and are no error: Joplin sends `If-None-Match: JoplinIgnore-123`."""
    if _trim(value) == "*":
        return ETagList(True)
    tags, position = [], 0
    while position < len(value):
        found = _LISTED_ETAG.match(value, position)
        if found is not None:
            tags.append(ETag(found[2], found[1] is not None))
            position = found.end()
        comma = value.find(",", position)
        position = len(value) if comma < 0 else comma + 1
    return ETagList(False, tuple(tags))


# --- Range, RFC 9110 §14.1.1, §14.2: bytes-unit "=" 1#( first "-" [ last ] | "-" suffix ).
_RANGE = re.compile(r"([0-9]+)-([0-9]+)?|-([0-9]+)")
_MAX_RANGES = 64


def parse_range(value: str | None, length: int) -> list[tuple[int, int]] | None:
    """(first, last) pairs, both inclusive, in the order asked for; None: the field is to be ignored.

    Raises RangeNotSatisfiable when it is well formed and no range overlaps the `length` bytes there are. Of an
    empty file nothing can be cut: there the field is ignored, for players and viewers that put `bytes=0-` into
    every request.
    """
    unit, _, specs = (value or "").partition("=")
    items = [item for item in map(_trim, specs.split(",")) if item]
    # §14.2: a server may ignore many small ranges, and ranges that overlap.
    if unit.lower() != "bytes" or not 1 <= len(items) <= _MAX_RANGES or length == 0:
        return None
    ranges = []
    for item in items:
        found = _RANGE.fullmatch(item)
        if found is None:
            return None
        first, last, suffix = (None if digits is None else _number(digits) for digits in found.groups())
        if first is None:
            first, last = max(length - (suffix or 0), 0), length - 1
        elif last is not None and last < first:
            return None  # §14.1.1: "invalid", and with it the whole field
        if first < length:
            ranges.append((first, length - 1 if last is None else min(last, length - 1)))
    if not ranges:
        raise RangeNotSatisfiable("None of the ranges lies within the file.", length)
    return ranges if sum(last - first + 1 for first, last in ranges) <= 2 * length else None


# --- X-Update-Range, of sabre/dav: "append" | bytes-unit "=" ( first "-" [ last ] | "-" suffix ).
@dataclass(frozen=True, slots=True)
class UpdateRange:
    """Where a part goes. All None: at the end. `suffix`: so many bytes before the end."""

    first: int | None = None
    last: int | None = None
    suffix: int | None = None

    def offset(self, length: int, size: int) -> int:
        """Where `length` bytes go in a file of `size` bytes. Raises RangeNotSatisfiable."""
        if self.last is not None and (self.first is None or self.last - self.first + 1 != length):
            raise RangeNotSatisfiable("The content is not as long as X-Update-Range says.", size)
        if self.suffix is not None:
            return max(size - self.suffix, 0)
        return size if self.first is None else self.first


def parse_update_range(value: str | None) -> UpdateRange:
    """Raises BadRequest. One range: a part goes to one place."""
    text = _trim(value or "").lower()
    if text == "append":
        return UpdateRange()
    unit, _, spec = text.partition("=")
    found = _RANGE.fullmatch(_trim(spec)) if unit == "bytes" else None
    if found is None:
        raise BadRequest("X-Update-Range must be append, or one range like bytes=0-499, bytes=500- or bytes=-500.")
    return UpdateRange(*(None if digits is None else _number(digits) for digits in found.groups()))


# --- Prefer, RFC 7240 §2: #( token [ "=" word ] *( ";" [ parameter ] ) ); and Brief (MS-WDVSE), "t" or "f".
@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client would like."""

    #: RFC 8144 §2: no more than needed.
    minimal: bool = False
    #: RFC 8144 §3: a listing without the resource itself.
    noroot: bool = False
    #: What of Prefer is honoured, for Preference-Applied (RFC 7240 §3).
    honoured: tuple[str, ...] = ()

    @property
    def applied(self) -> tuple[tuple[str, str], ...]:
        return (("Preference-Applied", ", ".join(self.honoured)),) if self.honoured else ()


def parse_preferences(prefer: str | None, brief: str | None) -> Preferences:
    """What is not known or malformed is no preference."""
    wishes: dict[str, str] = {}
    for item in (prefer or "").split(","):
        name, _, value = item.partition(";")[0].partition("=")
        # RFC 7240 §2: of one that is named twice the first counts.
        wishes.setdefault(_trim(name).lower(), _trim(value).strip('"').lower())
    minimal, noroot = wishes.get("return") == "minimal", wishes.get("depth-noroot") == ""
    honoured = ("return=minimal",) * minimal + ("depth-noroot",) * noroot
    return Preferences(minimal or _trim(brief or "").lower() == "t", noroot, honoured)


# --- Accept, RFC 9110 §12.5.1: #( media-range [ weight ] ). Java sends "q=.2".
_WEIGHT = re.compile(r"[01](?:\.[0-9]*)?|\.[0-9]+")


def accepts(value: str | None, offers: Sequence[str]) -> str:
    """The offer the client likes best; the first of equals, and the first where it likes none or says nothing."""
    wishes = [_media_range(item) for item in (value or "").split(",") if item]

    def quality(offer: str) -> float:
        fitting = [(specificity, q) for kind, specificity, q in wishes if _fits(kind, offer)]
        return max(fitting)[1] if fitting else 0.0

    return max(offers, key=quality)


def _media_range(item: str) -> tuple[str, int, float]:
    """(type, how specific, quality). A quality that is none counts as 1."""
    kind, *parameters = (_trim(part).lower() for part in item.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, number = (_trim(part) for part in parameter.partition("="))
        if name == "q" and _WEIGHT.fullmatch(number):
            quality = min(float(number), 1.0)
    return kind, 0 if kind == "*/*" else 1 if kind.endswith("/*") else 2, quality


def _fits(kind: str, offer: str) -> bool:
    return kind in ("*/*", offer) or (kind.endswith("/*") and offer.startswith(kind[:-1]))
