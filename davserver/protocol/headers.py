"""Header fields: text → value, or BadRequest. The grammar stands beside each.

The law of this module: a value that comes out is valid; a value that goes in may be anything.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime

from davserver.protocol.errors import BadGateway, BadRequest, RangeNotSatisfiable
from davserver.protocol.locks import Depth
from davserver.protocol.paths import DavPath

# --- Depth, RFC 4918 §10.2: ("0" | "1" | "infinity"); Office adds ",noroot" (MS-WDVSE), which changes nothing here.
_DEPTHS = {"0": Depth.ZERO, "1": Depth.ONE, "infinity": Depth.INFINITY}


def parse_depth(value: str | None, default: Depth) -> Depth:
    if value is None:
        return default
    depth = _DEPTHS.get(value.lower().partition(",")[0].strip())
    if depth is None:
        raise BadRequest("Depth must be 0, 1 or infinity.")
    return depth


# --- Timeout, RFC 4918 §10.7: 1#("Second-" 1*DIGIT | "Infinite").
_SECONDS = re.compile(r"second-([0-9]{1,20})\Z", re.IGNORECASE)


def parse_timeout(value: str | None) -> tuple[int | None, ...]:
    """Wishes in order of preference, in seconds; None is Infinite. What is no wish is passed over."""
    wishes: list[int | None] = []
    for item in (value or "").split(","):
        text = item.strip()
        seconds = _SECONDS.match(text)
        if seconds is not None:
            wishes.append(int(seconds[1]))
        elif text.lower() == "infinite":
            wishes.append(None)
    return tuple(wishes)


# --- Overwrite, RFC 4918 §10.6: ("T" | "F"); absent means T.
def parse_overwrite(value: str | None) -> bool:
    match (value or "T").strip().upper():
        case "T":
            return True
        case "F":
            return False
    raise BadRequest("Overwrite must be T or F.")


# --- Destination, RFC 4918 §10.3: Simple-ref = absolute-URI | ( path-absolute [ "?" query ] ).
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def parse_destination(value: str | None, prefix: str, hosts: frozenset[str]) -> DavPath:
    """The path a Destination names, below `prefix`. BadRequest, or BadGateway where it is not on this server.

    `hosts`: the authorities that are this server, lower case; empty: not compared. The scheme is never
    compared: behind a proxy that ends TLS the client says https and we see http.
    """
    path = url_path(value or "", hosts)
    if path is None:
        raise BadRequest("Destination must be an absolute URL or an absolute path.")
    below = strip_prefix(path, prefix)
    if below is None:
        raise BadGateway("The destination is not among this server's files.")
    return DavPath.parse(below)


def url_path(value: str, hosts: frozenset[str] = frozenset()) -> str | None:
    """The raw path of a URL or an absolute path, or None. Split before anything is decoded (RFC 3986 §2.4)."""
    text = value.strip()
    absolute = _ABSOLUTE_URI.match(text)
    if absolute is not None:
        authority = _without_default_port(absolute[1].rpartition("@")[2].lower())
        if hosts and authority not in {_without_default_port(host) for host in hosts}:
            # RFC 4918 §9.8.5.
            raise BadGateway("The destination is on another server.")
        text = text[absolute.end() :] or "/"
    path = re.split("[?#]", text, maxsplit=1)[0]
    return path if path.startswith("/") else None


def strip_prefix(path: str, prefix: str) -> str | None:
    """What of a raw path lies below the mount prefix; None when it lies outside."""
    if not prefix:
        return path
    if path != prefix and not path.startswith(prefix + "/"):
        return None
    return path[len(prefix) :] or "/"


def _without_default_port(authority: str) -> str:
    return re.sub(r":(?:80|443)?\Z", "", authority)


# --- Lock-Token, RFC 4918 §10.5: Coded-URL = "<" absolute-URI ">". Explorer at times leaves the brackets out.
_CODED_URL = re.compile(r"<([^<>\s]+)>\Z|([^<>\s]+)\Z")


def parse_lock_token(value: str | None) -> str:
    coded = _CODED_URL.match((value or "").strip())
    if coded is None:
        raise BadRequest("Lock-Token must hold one lock token in angle brackets.")
    token: str = coded[1] or coded[2]
    if ":" not in token:
        raise BadRequest("A lock token is a URI.")
    return token


# --- Entity tags, RFC 9110 §8.8.3: [ "W/" ] DQUOTE *etagc DQUOTE.
@dataclass(frozen=True, slots=True)
class ETag:
    tag: str
    weak: bool = False

    def strong_match(self, other: ETag) -> bool:
        """RFC 9110 §8.8.3.2."""
        return self.tag == other.tag and not self.weak and not other.weak

    def weak_match(self, other: ETag) -> bool:
        return self.tag == other.tag

    def __str__(self) -> str:
        return f'W/"{self.tag}"' if self.weak else f'"{self.tag}"'


@dataclass(frozen=True, slots=True)
class ETagList:
    """RFC 9110 §13.1.1: "*" or entity tags. `tags` may be empty: then nothing matches."""

    any: bool
    tags: tuple[ETag, ...] = ()


_ETAG = re.compile(r'(W/)?"([^"]*)"')
_LIST_ITEM = re.compile(r'[\s,]*(?:(?P<etag>(?:W/)?"[^"]*")|(?P<junk>[^,]+))')


def parse_etag(value: str) -> ETag | None:
    """One entity tag, or None for anything else."""
    found = _ETAG.fullmatch(value.strip())
    return None if found is None else ETag(found[2], found[1] is not None)


def parse_etags(value: str) -> ETagList:
    """Malformed members never match and are no error: Joplin sends `If-None-Match: JoplinIgnore-123`."""
    if value.strip() == "*":
        return ETagList(True)
    tags = []
    for item in _LIST_ITEM.finditer(value):
        etag = parse_etag(item["etag"] or "")
        if etag is not None:
            tags.append(etag)
    return ETagList(False, tuple(tags))


# --- Dates, RFC 9110 §5.6.7.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_IMF = re.compile(r"[A-Za-z]{3}, (\d{2}) ([A-Za-z]{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT\Z", re.ASCII)
_RFC850 = re.compile(r"[A-Za-z]{6,9}, (\d{2})-([A-Za-z]{3})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT\Z", re.ASCII)
_ASCTIME = re.compile(r"[A-Za-z]{3} ([A-Za-z]{3}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})\Z", re.ASCII)


def parse_http_date(value: str) -> int | None:
    """Seconds since the epoch, or None where it is no date: such a field is ignored (§13.1.3)."""
    text = value.strip()
    if found := _IMF.match(text):
        day, month, year, *clock = found.groups()
    elif found := _RFC850.match(text):
        day, month, year, *clock = found.groups()
        # §5.6.7 speaks of "more than 50 years in the future"; no file is older than 1970.
        year = f"19{year}" if int(year) >= 70 else f"20{year}"
    elif found := _ASCTIME.match(text):
        month, day, *clock, year = found.groups()
    else:
        return None
    hour, minute, second = map(int, clock)
    number = _MONTH.get(month.lower())
    if number is None or not 1 <= int(day) <= 31 or hour > 23 or minute > 59 or second > 60 or int(year) < 1:
        return None
    return timegm((int(year), number, int(day), hour, minute, second))


@lru_cache(maxsize=4096)
def format_http_date(seconds: int) -> str:
    """IMF-fixdate, in English whatever the locale. Times that have no four-digit year become the nearest that do."""
    moment = gmtime(min(max(seconds, -62135596800), 253402300799))
    return (
        f"{_DAYS[moment.tm_wday]}, {moment.tm_mday:02} {_MONTHS[moment.tm_mon - 1]} {moment.tm_year:04} "
        f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02} GMT"
    )


# --- Range, RFC 9110 §14.1.1, §14.2: bytes-unit "=" 1#( first "-" [ last ] | "-" suffix ).
_RANGE = re.compile(r"([0-9]{1,19})-([0-9]{1,19})?\Z|-([0-9]{1,19})\Z")
_MAX_RANGES = 64


def parse_range(value: str | None, length: int) -> list[tuple[int, int]] | None:
    """(first, last) pairs, both inclusive, in the order asked for; None: the field is to be ignored.

    Raises RangeNotSatisfiable when it is well formed and no range overlaps the `length` bytes there are.
    """
    unit, equals, specs = (value or "").partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    items = [item.strip() for item in specs.split(",") if item.strip()]
    if not items or len(items) > _MAX_RANGES:
        return None  # §14.2: a server may ignore many small ranges
    ranges = []
    for item in items:
        found = _RANGE.match(item)
        if found is None:
            return None
        first, last, suffix = found.groups()
        if suffix is not None:
            start, end = max(length - int(suffix), 0), length - 1
        else:
            start, end = int(first), length - 1 if last is None else int(last)
            if end < start and last is not None:
                return None  # §14.1.1: an int-range whose last-pos is less than its first-pos is invalid
        if start < length and (suffix is None or int(suffix) > 0):
            ranges.append((start, min(end, length - 1)))
    if not ranges:
        raise RangeNotSatisfiable("None of the ranges lies within the file.", length)
    return ranges if sum(last - first + 1 for first, last in ranges) <= 2 * length else None


# --- Accept, RFC 9110 §12.5.1.
def accepts(value: str | None, offers: Sequence[str]) -> str:
    """The offer the client likes best; the first of equals, and the first where it likes none or says nothing."""
    wishes = [_media_range(item) for item in (value or "").split(",") if item.strip()]
    if not wishes:
        return offers[0]

    def quality(offer: str) -> float:
        fitting = [(specificity, q) for kind, specificity, q in wishes if _fits(kind, offer)]
        return max(fitting)[1] if fitting else 0.0

    best = max(offers, key=quality)
    return best if quality(best) > 0 else offers[0]


def _media_range(item: str) -> tuple[str, int, float]:
    """(type, how specific, quality). A quality that is none counts as 1."""
    kind, *parameters = (part.strip().lower() for part in item.split(";"))
    q = 1.0
    for parameter in parameters:
        name, _, number = parameter.partition("=")
        if name.strip() == "q" and re.fullmatch(r"[01](\.[0-9]{0,3})?", number.strip()):
            q = min(float(number), 1.0)
    return kind, 0 if kind == "*/*" else 1 if kind.endswith("/*") else 2, q


def _fits(kind: str, offer: str) -> bool:
    return kind in ("*/*", offer) or (kind.endswith("/*") and offer.startswith(kind[:-1]))
