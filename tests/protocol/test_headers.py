"""Header fields: the examples of RFC 4918 §10 and RFC 9110 §5.6.7, §8.8.3, §12 to §14, and whatever else may come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.dates import format_http_date, format_iso_date, parse_http_date
from davserver.protocol.errors import BadGateway, BadRequest, RangeNotSatisfiable, Refused
from davserver.protocol.headers import (
    ETag,
    ETagList,
    accepts,
    is_state_token,
    parse_depth,
    parse_destination,
    parse_etag,
    parse_etags,
    parse_lock_token,
    parse_overwrite,
    parse_preferences,
    parse_range,
    parse_timeout,
    parse_update_range,
    path_below,
    url_path,
)
from davserver.protocol.locks import Depth
from davserver.protocol.paths import ROOT, DavPath

UUID = "urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2"
#: Any field value as WSGI hands it over, and such as are made of the pieces that the grammars are made of.
ANYTHING = st.text(st.characters(max_codepoint=0xFF), max_size=50)
WORDS = ["bytes", "Second-", "Infinite", "infinity", ",noroot", "http://", "h:80", "%2F", "..", "W/", "Not", "q="]
DATES = ["GMT", "Sun, ", "06 Nov 1994", "08:49:37"]
PIECES = st.lists(st.sampled_from([*' \t,;:=-"<>()[]*/?#@.%0159aTF\x85\xa0\0\r\n', *WORDS, *DATES]), max_size=12).map(
    "".join
)
VALUES = ANYTHING | PIECES


# --- Depth


@pytest.mark.parametrize(
    ("value", "depth"),
    [
        ("0", Depth.ZERO),
        ("1", Depth.ONE),
        ("infinity", Depth.INFINITY),
        ("Infinity", Depth.INFINITY),
        (" 1\t", Depth.ONE),
        ("1,noroot", Depth.ONE),
        ("1, NoRoot", Depth.ONE),
        ("infinity,noroot", Depth.INFINITY),
        (None, Depth.ONE),
    ],
)
def test_depth(value: str | None, depth: Depth) -> None:
    """RFC 4918 §10.2; Office: MS-WDVSE."""
    assert parse_depth(value, Depth.ONE) is depth


@pytest.mark.parametrize(
    "value",
    ["", "2", "-1", "00", "0.0", "inf", "infinite", "0, infinity", "1,1", "0,", ",noroot", "1,noroot,x", "\xa00"],
)
def test_bad_depth(value: str) -> None:
    with pytest.raises(BadRequest):
        parse_depth(value, Depth.ONE)


# --- Timeout


@pytest.mark.parametrize(
    ("value", "wishes"),
    [
        (None, ()),
        ("", ()),
        ("Infinite, Second-4100000000", (None, 4100000000)),
        ("Second-3600", (3600,)),
        ("second-3600,INFINITE", (3600, None)),
        ("Second-0", (0,)),
        ("Second-007", (7,)),
        ("Second-99999999999", (99999999999,)),
        ("Second-" + "9" * 5000, (10**19,)),
        ("Second-" + "0" * 5000 + "60", (60,)),
        ("infinity", ()),
        ("Second-", ()),
        ("Second--1", ()),
        ("Second-1.5", ()),
        ("Second-\u0661", ()),
        ("3600", ()),
        ("Extend 5, Second-60", (60,)),
        (",, ,Second-60,", (60,)),
    ],
)
def test_timeout(value: str | None, wishes: tuple[int | None, ...]) -> None:
    """RFC 4918 §10.7: what a client wishes is never an error."""
    assert parse_timeout(value) == wishes


@given(VALUES)
@settings(deadline=None)
def test_every_timeout_is_a_list_of_wishes(value: str) -> None:
    assert all(wish is None or wish >= 0 for wish in parse_timeout(value))


@given(st.lists(st.none() | st.integers(0, 10**18)))
@settings(deadline=None)
def test_timeouts_lead_back(wishes: list[int | None]) -> None:
    value = ", ".join("Infinite" if wish is None else f"Second-{wish}" for wish in wishes)
    assert parse_timeout(value) == tuple(wishes)


# --- Overwrite


@pytest.mark.parametrize(("value", "overwrite"), [(None, True), ("T", True), ("F", False), (" t", True), ("f ", False)])
def test_overwrite(value: str | None, overwrite: bool) -> None:
    """RFC 4918 §10.6."""
    assert parse_overwrite(value) is overwrite


@pytest.mark.parametrize("value", ["", " ", "TRUE", "no", "0", "T, F", "T,T", "FT"])
def test_bad_overwrite(value: str) -> None:
    """What a client meant to forbid must not happen because it is spelt badly."""
    with pytest.raises(BadRequest):
        parse_overwrite(value)


# --- Destination

HOSTS = frozenset({"files.example", "localhost:8080", "[::1]:80"})


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("/b", ("b",)),
        ("/b?x#y", ("b",)),
        ("http://files.example/b", ("b",)),
        ("https://files.example/b", ("b",)),
        ("https://FILES.example:443/b", ("b",)),
        ("http://files.example:80/b", ("b",)),
        ("http://files.example:/b", ("b",)),
        ("http://alice:secret@files.example/b", ("b",)),
        ("http://a@b@files.example/b", ("b",)),
        ("dav://localhost:8080/b", ("b",)),
        ("http://[::1]/b", ("b",)),
        ("http://files.example", ()),
        ("http://files.example/", ()),
        ("http://files.example?x", ()),
        ("http://files.example#x", ()),
        ("  /b/c/ ", ("b", "c")),
        ("http://files.example//b", ("b",)),
        ("/x%3Fy.txt", ("x?y.txt",)),
        ("/a;b%23.txt", ("a;b#.txt",)),
        ("/a, b,c.txt", ("a, b,c.txt",)),
        ("/a,/b", ("a,", "b")),
        ("/copy of report.odt", ("copy of report.odt",)),
        ("/\xc3\xa4", ("ä",)),
        ("/\xc3\xa0", ("à",)),
        ("/\xc3\x85", ("Å",)),
        ("/http://x/y", ("http:", "x", "y")),
    ],
)
def test_destination(value: str, names: tuple[str, ...]) -> None:
    """RFC 4918 §10.3; raw blanks and UTF-8 come from LibreOffice 7.4."""
    assert parse_destination(value, "", HOSTS).segments == names


@pytest.mark.parametrize(
    "value",
    [
        *[None, "", " ", "b", "./b", "../b", "*", "?x", "#x", "files.example/b", "http:/b", "http:b"],
        *["http://", "http:///b", "http://alice@/b", "file:///etc/passwd", "//files.example/b", "//b"],
        *["/a/../b", "/%2e%2e/b", "http://files.example/..", "/a%2Fb", "/%00", "/%", "/\xff"],
        *["/a\r\nX: y", "/a\nb", "/a\0", "/a\x7f", "http://files.example\n/b"],
        *["/a, /b", "http://files.example/a, http://files.example/b", "/a,http://files.example/b", "/a,\t/b"],
        *["<http://files.example/b>", '"/b"'],
    ],
)
def test_bad_destination(value: str | None) -> None:
    with pytest.raises(BadRequest):
        parse_destination(value, "", HOSTS)


@pytest.mark.parametrize(
    "value",
    [
        *["http://evil.example/b", "http://files.example.evil/b", "http://files.example:81/b", "http://localhost/b"],
        *["http://files.example@evil.example/b", "http://files.example\\@evil.example/b", "http://%66iles.example/b"],
    ],
)
def test_a_destination_on_another_server_is_a_bad_gateway(value: str) -> None:
    """RFC 4918 §9.8.5."""
    with pytest.raises(BadGateway):
        parse_destination(value, "", HOSTS)


def test_without_hosts_to_compare_every_host_will_do() -> None:
    assert parse_destination("http://whatever.example:99/b", "", frozenset()).segments == ("b",)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("/dav/b", ("b",)),
        ("/dav", ()),
        ("/dav/", ()),
        ("http://files.example/dav/a/b", ("a", "b")),
        ("/%64av/b", ("b",)),
        ("//dav/b", None),
        ("/b", None),
        ("/", None),
        ("/da", None),
        ("/davx/b", None),
        ("/DAV/b", None),
        ("http://files.example", None),
    ],
)
def test_a_destination_outside_of_the_mount_is_a_bad_gateway(value: str, names: tuple[str, ...] | None) -> None:
    if names is not None:
        assert parse_destination(value, "/dav", HOSTS).segments == names
    else:
        with pytest.raises((BadGateway, BadRequest)) as refusal:
            parse_destination(value, "/dav", HOSTS)
        assert refusal.type is (BadRequest if value.startswith("//") else BadGateway)


def test_a_prefix_may_need_escapes() -> None:
    assert path_below("/my%20files/%C3%A4/", "/my%20files") == DavPath(("ä",))
    assert path_below("/my files/", "/my%20files") == ROOT
    assert path_below("/my%20files/" + "a" * 300, "/my%20files") == DavPath(("a" * 300,))
    assert path_below("/my/files", "/my%20files") is None
    deep = path_below("/a/b/c/", "/a/b")
    assert deep is not None
    assert deep.slash
    with pytest.raises(BadRequest):
        path_below("/dav/..", "/dav")


@given(VALUES | VALUES.map("http://h{}".format) | VALUES.map("/{}".format), st.sampled_from(["", "/dav"]))
@settings(deadline=None)
def test_every_destination_is_a_path_or_a_refusal(value: str, prefix: str) -> None:
    for hosts in (frozenset[str](), HOSTS):
        with suppress(BadRequest, BadGateway):
            assert isinstance(parse_destination(value, prefix, hosts), DavPath)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
            lambda name: name not in (".", "..")
        ),
        max_size=4,
    ),
    st.sampled_from(["", "http://files.example", "https://u:p@FILES.example:443"]),
    st.sampled_from(["", "/dav"]),
    st.sampled_from(["", "?query", "#fragment"]),
)
@settings(deadline=None)
def test_every_href_is_a_destination(names: list[str], origin: str, prefix: str, tail: str) -> None:
    path = DavPath(tuple(names))
    assert parse_destination(origin + path.href(prefix) + tail, prefix, HOSTS) == path


def test_url_path_is_raw() -> None:
    assert url_path("http://h/%41%2F?x") == "/%41%2F"
    assert url_path("mailto:x") is None


# --- Lock-Token


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (f"<{UUID}>", UUID),
        (f"  <{UUID}>\t", UUID),
        (UUID, UUID),
        (
            "opaquelocktoken:a515cfa4-5da4-22e1-f5b5-00a0451e6bf7",
            "opaquelocktoken:a515cfa4-5da4-22e1-f5b5-00a0451e6bf7",
        ),
        ("<DAV:no-lock>", "DAV:no-lock"),
        ("<http://h/a?b#c>", "http://h/a?b#c"),
    ],
)
def test_lock_token(value: str, token: str) -> None:
    """RFC 4918 §10.5; without brackets: Explorer."""
    assert parse_lock_token(value) == token


@pytest.mark.parametrize(
    "value",
    [
        *[None, "", "<>", "<", ">", "garbage", "<garbage>", ":", "<:>", "<urn:>", "1urn:x", "<urn:x", "urn:x>"],
        *["<<urn:x>>", "<urn:x> <urn:y>", "<urn:x>, <urn:y>", "(<urn:x>)", "<urn: x>", "<urn:x >", "< urn:x>"],
        *["urn:\xe4", "<urn:x\0>", "<urn:\nx>", "\xa0urn:x"],
    ],
)
def test_bad_lock_token(value: str | None) -> None:
    with pytest.raises(BadRequest):
        parse_lock_token(value)


@given(VALUES | VALUES.map("<urn:{}>".format))
@settings(deadline=None)
def test_every_lock_token_is_a_uri_or_a_bad_request(value: str) -> None:
    try:
        token = parse_lock_token(value)
    except BadRequest:
        return
    assert is_state_token(token)
    assert parse_lock_token(f"<{token}>") == parse_lock_token(token) == token


# --- entity tags


@pytest.mark.parametrize(
    ("one", "other", "strong", "weak"),
    [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', 'W/"1"', False, True),
        ('"1"', '"1"', True, True),
        ('"1"', '"2"', False, False),
    ],
)
def test_comparison_of_entity_tags(one: str, other: str, strong: bool, weak: bool) -> None:
    """The table of RFC 9110 §8.8.3.2."""
    first, second = parse_etag(one), parse_etag(other)
    assert first is not None
    assert second is not None
    assert first.strong_match(second) is strong
    assert first.weak_match(second) is weak


@pytest.mark.parametrize(
    ("value", "etag"),
    [
        ('"xyzzy"', ETag("xyzzy")),
        ('W/"xyzzy"', ETag("xyzzy", weak=True)),
        ('""', ETag("")),
        (' "a b, c" ', ETag("a b, c")),
        ("xyzzy", None),
        ('w/"xyzzy"', None),
        ('W/ "xyzzy"', None),
        ('"xyzzy', None),
        ('"a"b"', None),
        ('"a", "b"', None),
        ("*", None),
        ("", None),
    ],
)
def test_entity_tag(value: str, etag: ETag | None) -> None:
    """RFC 9110 §8.8.3."""
    assert parse_etag(value) == etag


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ('"xyzzy"', ['"xyzzy"']),
        ('"xyzzy", "r2d2xxxx", "c3piozzzz"', ['"xyzzy"', '"r2d2xxxx"', '"c3piozzzz"']),
        ('W/"xyzzy", W/"r2d2xxxx"', ['W/"xyzzy"', 'W/"r2d2xxxx"']),
        (',,"a",\t,"b" ,', ['"a"', '"b"']),
        ('"a,b", ","', ['"a,b"', '","']),
        ("", []),
        ("JoplinIgnore-123", []),
        ('JoplinIgnore-123, "a"', ['"a"']),
        ('"a"junk, "b"', ['"b"']),
        ('junk"a", "b"', ['"b"']),
        ('"a" "b", "c"', ['"c"']),
        ('*, "a"', ['"a"']),
        ('"a", "unfinished', ['"a"']),
        ('"a", "unfinished, "b"', ['"a"', '"b"']),
    ],
)
def test_entity_tags(value: str, tags: list[str]) -> None:
    """RFC 9110 §13.1.1, §13.1.2. What is malformed does not match and is no error."""
    assert [str(tag) for tag in parse_etags(value).tags] == tags
    assert not parse_etags(value).any


def test_any_entity_tag() -> None:
    assert parse_etags("*") == parse_etags(" *\t") == ETagList(any=True)


@given(VALUES)
@settings(deadline=None)
def test_entity_tags_are_never_an_error(value: str) -> None:
    assert isinstance(parse_etags(value), ETagList)
    etag = parse_etag(value)
    if etag is not None:
        assert parse_etags(value).tags == (etag,)
        assert parse_etag(str(etag)) == etag


@given(st.lists(st.builds(ETag, st.text(st.characters(max_codepoint=0xFF, exclude_characters='"')), st.booleans())))
@settings(deadline=None)
def test_entity_tags_lead_back(tags: list[ETag]) -> None:
    for separator in (",", ", ", " ,\t"):
        assert parse_etags(separator.join(map(str, tags))) == ETagList(False, tuple(tags))


# --- dates


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Sun Nov 16 08:49:37 1994", 784975777),
        (" sun, 06 NOV 1994 08:49:37 GMT ", 784111777),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Wednesday, 31-Dec-69 23:59:59 GMT", 3155759999),
        ("Thursday, 01-Jan-70 00:00:00 GMT", 0),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
        ("Mon, 29 Feb 2016 12:00:00 GMT", 1456747200),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        ("Fri, 31 Dec 9999 23:59:60 GMT", 253402300800),
        ("Mon, 01 Jan 0001 00:00:00 GMT", -62135596800),
    ],
)
def test_http_dates(value: str, seconds: int) -> None:
    """RFC 9110 §5.6.7: the three forms, and its own example."""
    assert parse_http_date(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *["", "0", "784111777", "yesterday", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 08:49:37"],
        *["Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994 08:49:37 +0000", "06 Nov 1994 08:49:37 GMT"],
        *["Sun, 00 Nov 1994 08:49:37 GMT", "Wed, 31 Feb 2026 08:49:37 GMT", "Sun, 29 Feb 2015 08:49:37 GMT"],
        *["Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT"],
        *["Sun, 06 Nov 0000 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun Nov    08:49:37 1994"],
        *["Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 199\u0664 08:49:37 GMT"],
    ],
)
def test_bad_http_dates(value: str) -> None:
    assert parse_http_date(value) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (784111777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (784111777.999, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (-0.5, "Wed, 31 Dec 1969 23:59:59 GMT"),
        (10**18, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (-(10**18), "Mon, 01 Jan 0001 00:00:00 GMT"),
    ],
)
def test_http_dates_written(seconds: float, text: str) -> None:
    assert format_http_date(seconds) == text


@given(st.integers(-62135596800, 253402300799))
@settings(deadline=None)
def test_dates_lead_back(seconds: int) -> None:
    assert parse_http_date(format_http_date(seconds)) == seconds


@given(st.integers(0, 4102444799))
@settings(deadline=None)
def test_all_forms_of_a_date_are_one_moment(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert format_http_date(seconds) == formatdate(seconds, usegmt=True)
    assert parse_http_date(moment.ctime()) == seconds
    if moment.year < 2070:
        assert parse_http_date(moment.strftime("%A, %d-%b-%y %H:%M:%S GMT")) == seconds


@given(VALUES)
@settings(deadline=None)
def test_dates_are_never_an_error(value: str) -> None:
    assert isinstance(parse_http_date(value), int | None)


# --- Range


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-499", [(0, 499)]),
        ("bytes=500-999", [(500, 999)]),
        ("bytes=-500", [(9500, 9999)]),
        ("bytes=9500-", [(9500, 9999)]),
        ("bytes=0-0,-1", [(0, 0), (9999, 9999)]),
        ("bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (9000, 9999)]),
        ("bytes=500-600,601-999", [(500, 600), (601, 999)]),
        ("bytes=500-700,601-999", [(500, 700), (601, 999)]),
        ("BYTES=0-0", [(0, 0)]),
        ("bytes=0-,", [(0, 9999)]),
        ("bytes=-99999", [(0, 9999)]),
        ("bytes=9999-10000", [(9999, 9999)]),
        ("bytes=0-" + "9" * 5000, [(0, 9999)]),
        ("bytes=-" + "9" * 5000, [(0, 9999)]),
        ("bytes=10000-, 5-5", [(5, 5)]),
        ("bytes=-0,5-5", [(5, 5)]),
    ],
)
def test_ranges(value: str, ranges: list[tuple[int, int]]) -> None:
    """RFC 9110 §14.1.2, whose examples are about 10000 bytes."""
    assert parse_range(value, 10_000) == ranges


@pytest.mark.parametrize(
    "value",
    [
        *[None, "", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=x", "bytes=1", "bytes=1-2-3", "bytes=1 -2"],
        *[
            "lines=1-2",
            "seconds=1-2",
            " bytes=0-1",
            "bytes =0-1",
            "bytes:0-1",
            "bytes=5-2",
            "bytes=0-1,5-2",
            "bytes=0-1,x",
        ],
        *["bytes=--1", "bytes=+1-2", "bytes=0x1-2", "bytes=\u0661-2", "bytes=0-1;2-3"],
    ],
)
def test_ranges_to_be_ignored(value: str | None) -> None:
    """RFC 9110 §14.2: another unit, and what is not valid."""
    assert parse_range(value, 10_000) is None


@pytest.mark.parametrize(
    "value", ["bytes=10000-", "bytes=10000-20000", "bytes=-0", "bytes=99999-,-0", "bytes=" + "9" * 99 + "-"]
)
def test_ranges_beyond_the_end(value: str) -> None:
    """RFC 9110 §15.5.17."""
    with pytest.raises(RangeNotSatisfiable) as refusal:
        parse_range(value, 10_000)
    assert refusal.value.headers == (("Content-Range", "bytes */10000"),)


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-5", "bytes=0-0", "bytes=7-"])
def test_of_an_empty_file_there_are_no_ranges(value: str) -> None:
    assert parse_range(value, 0) is None


def test_many_or_overlapping_ranges_are_ignored() -> None:
    """RFC 9110 §14.2, §17.15: an answer must not be many times the file."""
    assert parse_range("bytes=" + ",".join(f"{n}-{n}" for n in range(64)), 100) == [(n, n) for n in range(64)]
    assert parse_range("bytes=" + ",".join(f"{n}-{n}" for n in range(65)), 100) is None
    assert parse_range("bytes=0-,0-", 100) == [(0, 99), (0, 99)]
    assert parse_range("bytes=0-,0-,0-0", 100) is None


@given(VALUES.map("bytes={}".format) | VALUES, st.integers(0, 60))
@settings(deadline=None)
def test_every_range_lies_within_the_file(value: str, length: int) -> None:
    try:
        ranges = parse_range(value, length)
    except RangeNotSatisfiable:
        return
    assert ranges is None or (ranges and all(0 <= first <= last < length for first, last in ranges))


@given(st.integers(1, 50), st.integers(0, 60), st.none() | st.integers(0, 60))
@settings(deadline=None)
def test_a_range_cuts_what_it_says(length: int, first: int, last: int | None) -> None:
    data = bytes(range(length))
    wanted = data[first:] if last is None else data[first : last + 1]
    try:
        ranges = parse_range(f"bytes={first}-{'' if last is None else last}", length)
    except RangeNotSatisfiable:
        assert not wanted
        return
    if ranges is None:
        assert last is not None
        assert last < first
    else:
        ((begin, end),) = ranges
        assert data[begin : end + 1] == wanted


# --- Accept

XML, JSON, HTML = OFFERS = ("application/xml", "application/json", "text/html")


@pytest.mark.parametrize(
    ("value", "offer"),
    [
        (None, XML),
        ("", XML),
        (" , ", XML),
        ("*/*", XML),
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        ("text/*", HTML),
        ("application/*", XML),
        ("application/*;q=0.5, application/json", JSON),
        ("application/json;q=0.5, text/html;q=0.6", HTML),
        ("*/*, application/xml;q=0", JSON),
        ("*/*;q=0.1, text/html;q=0.05, application/*;q=0.02", HTML),
        ("image/png", XML),
        ("application/json;q=0", XML),
        ("application/xml;q=0.8, application/json;q=0.80", XML),
        ("application/json;q=1.000, application/xml;q=0.999", JSON),
        ("application/json;q=high", JSON),
        ("application/json; q = 0.1, application/xml; Q=0.2", XML),
        ("text/html, image/gif, *; q=.2, */*; q=.2", HTML),
        ("application/xml;q=.2, application/json;q=.3", JSON),
        ("application/xml;q=1, application/json;q=1.9", XML),
        ("json", XML),
        ("application/", XML),
    ],
)
def test_accepts(value: str | None, offer: str) -> None:
    """RFC 9110 §12.5.1: the most specific range that fits counts; "q=.2" is Java's."""
    assert accepts(value, OFFERS) == offer


def test_more_specific_ranges_take_precedence() -> None:
    """The example of RFC 9110 §12.5.1, where what it says of each type is compared with a type of known quality."""
    value = "text/*;q=0.3, text/plain;q=0.7, text/*;q=0.4, */*;q=0.5"
    assert accepts(value, ("text/html", "image/jpeg")) == "image/jpeg"
    assert accepts(value, ("image/jpeg", "text/plain")) == "text/plain"


@given(VALUES)
@settings(deadline=None)
def test_accepts_always_answers(value: str) -> None:
    assert accepts(value, OFFERS) in OFFERS


# --- all of them


def _depth(value: str) -> object:
    return parse_depth(value, Depth.ONE)


def _destination(value: str) -> object:
    return parse_destination(value, "/dav", frozenset({"h"}))


def _range(value: str) -> object:
    return parse_range(value, 100)


def _accepts(value: str) -> object:
    return accepts(value, OFFERS)


PARSERS: list[Callable[[str], object]] = [
    _depth,
    _destination,
    _range,
    _accepts,
    parse_timeout,
    parse_overwrite,
    parse_lock_token,
    parse_etag,
    parse_etags,
    parse_http_date,
]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@given(value=VALUES)
@settings(deadline=None, max_examples=60)
def test_a_parser_refuses_and_nothing_else(parser: Callable[[str], object], value: str) -> None:
    with suppress(BadRequest, BadGateway, RangeNotSatisfiable):
        parser(value)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_sixty_kilobytes_of_anything_take_no_time(parser: Callable[[str], object]) -> None:
    pieces = [*',"a </9-:', "\t", ", ", '",', '"a"x,', "%41", "a,", "W/", ", a", ";q=", ",a:"]
    for start in ("", '"', "bytes=", "http://h/"):
        for piece in pieces:
            value = start + piece * (60_000 // len(piece))
            begin = time.process_time()
            with suppress(Refused):
                parser(value)
            assert time.process_time() - begin < 4, (start, piece)


# --- X-Update-Range


@pytest.mark.parametrize(
    ("value", "length", "size", "offset"),
    [
        ("append", 4, 10, 10),
        (" APPEND ", 4, 0, 0),
        ("bytes=3-6", 4, 10, 3),
        ("bytes=3-6", 4, 0, 3),
        ("bytes=0-", 4, 10, 0),
        ("bytes=12-", 4, 10, 12),
        ("bytes=-4", 4, 10, 6),
        ("bytes=-40", 4, 10, 0),
        ("bytes=-0", 4, 10, 10),
        ("bytes=5-4", 0, 10, 5),
        ("bytes=99999999999999999999999-", 1, 10, 10**19),
    ],
)
def test_where_a_part_goes(value: str, length: int, size: int, offset: int) -> None:
    assert parse_update_range(value).offset(length, size) == offset


@pytest.mark.parametrize("value", ["bytes=3-6", "bytes=6-3", "bytes=0-0"])
def test_a_part_of_another_length_goes_nowhere(value: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_update_range(value).offset(5, 10)


@pytest.mark.parametrize(
    "value", [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-", "bytes=1-2,3-4", "lines=1-2", "appended", "bytes=1"]
)
def test_what_is_no_place_is_a_bad_request(value: str | None) -> None:
    with pytest.raises(BadRequest):
        parse_update_range(value)


@given(st.text(max_size=40))
def test_a_place_is_parsed_or_refused(value: str) -> None:
    with suppress(BadRequest):
        parse_update_range(value)


# --- Prefer, Brief


@pytest.mark.parametrize(
    ("prefer", "brief", "minimal", "noroot", "applied"),
    [
        (None, None, False, False, None),
        ("return=minimal", None, True, False, "return=minimal"),
        ('Return = "minimal" ; foo=bar', None, True, False, "return=minimal"),
        ("respond-async, return=minimal", None, True, False, "return=minimal"),
        ("return=minimal, return=representation", None, True, False, "return=minimal"),
        ("return=representation, return=minimal", None, False, False, None),
        ("depth-noroot", None, False, True, "depth-noroot"),
        ("depth-noroot; return=minimal", None, False, True, "depth-noroot"),
        ("return=minimal,depth-noroot", None, True, True, "return=minimal, depth-noroot"),
        ("return", None, False, False, None),
        ("return=", None, False, False, None),
        ("", "t", True, False, None),
        (None, " T ", True, False, None),
        (None, "f", False, False, None),
        (None, "", False, False, None),
        (",;=,", "junk", False, False, None),
    ],
)
def test_preferences(prefer: str | None, brief: str | None, minimal: bool, noroot: bool, applied: str | None) -> None:
    """RFC 7240 §2, §3, RFC 8144 §2, §3, MS-WDVSE."""
    found = parse_preferences(prefer, brief)
    assert (found.minimal, found.noroot) == (minimal, noroot)
    assert found.applied == ((("Preference-Applied", applied),) if applied else ())


@given(st.text(max_size=40))
def test_preferences_never_raise(value: str) -> None:
    parse_preferences(value, value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_600_000_000, "2020-09-13T12:26:40Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (-(10**15), "0001-01-01T00:00:00Z"),
        (10**15, "9999-12-31T23:59:59Z"),
    ],
)
def test_iso_dates(seconds: int, text: str) -> None:
    """RFC 3339, which creationdate is written in (RFC 4918 §15.1)."""
    assert format_iso_date(seconds) == text
