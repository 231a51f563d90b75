"""If and the HTTP preconditions: the examples of RFC 4918 §10.4.6 to §10.4.11, RFC 9110 §13, and hostile input."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.conditions import (
    UNMAPPED,
    Elsewhere,
    EntityTag,
    IfHeader,
    Preconditions,
    ResourceState,
    StateList,
    StateToken,
    check,
    check_http,
    check_if,
    evaluate_if,
    if_range_allows,
    parse_if,
    parse_preconditions,
    submitted_tokens,
)
from davserver.protocol.dates import format_http_date
from davserver.protocol.errors import BadRequest, PreconditionFailed
from davserver.protocol.headers import ETag, ETagList
from davserver.protocol.messages import Headers
from davserver.protocol.paths import DavPath

T1 = "urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2"
T2 = "urn:uuid:58f202ac-22cf-11d1-b12d-002035b29092"
TARGET = DavPath.parse("/resource1")


def state(etag: str | None = "v1", *tokens: str, weak: bool = False, modified: int | None = 1000) -> ResourceState:
    return ResourceState(True, None if etag is None else ETag(etag, weak), frozenset(tokens), modified)


def world(states: Mapping[str, ResourceState]) -> Callable[[DavPath], ResourceState]:
    return lambda path: states.get(path.key, UNMAPPED)


def true(value: str, states: Mapping[str, ResourceState], target: str = "/resource1", prefix: str = "") -> bool:
    return evaluate_if(parse_if(value, prefix), DavPath.parse(target), world(states))


# --- the grammar, §10.4.2


@pytest.mark.parametrize(
    ("value", "lists"),
    [
        (f"(<{T1}>)", [(None, [StateToken(T1)])]),
        (
            f'(<{T1}> ["I am an ETag"]) (["I am another ETag"])',  # §10.4.6
            [(None, [StateToken(T1), EntityTag(ETag("I am an ETag"))]), (None, [EntityTag(ETag("I am another ETag"))])],
        ),
        (f"(Not <{T1}> <{T2}>)", [(None, [StateToken(T1, True), StateToken(T2)])]),  # §10.4.7
        (f"(<{T1}>) (Not <DAV:no-lock>)", [(None, [StateToken(T1)]), (None, [StateToken("DAV:no-lock", True)])]),
        (
            f'</resource1> (<{T1}> [W/"A weak ETag"]) (["strong ETag"])',  # §10.4.9
            [
                (TARGET, [StateToken(T1), EntityTag(ETag("A weak ETag", weak=True))]),
                (TARGET, [EntityTag(ETag("strong ETag"))]),
            ],
        ),
        (f"<http://www.example.com/specs/> (<{T1}>)", [(DavPath(("specs",)), [StateToken(T1)])]),  # §10.4.10
        (
            '</specs/rfc2518.doc> (["4217"])',
            [(DavPath(("specs", "rfc2518.doc")), [EntityTag(ETag("4217"))])],
        ),  # §10.4.11
        ('</a>(Not["4217"])', [(DavPath(("a",)), [EntityTag(ETag("4217"), True)])]),
        (
            f"</a> (<{T1}>) </b> (<{T2}>) (Not <{T1}>)",
            [
                (DavPath(("a",)), [StateToken(T1)]),
                (DavPath(("b",)), [StateToken(T2)]),
                (DavPath(("b",)), [StateToken(T1, True)]),
            ],
        ),
        (f'(<{T1}>["e"])', [(None, [StateToken(T1), EntityTag(ETag("e"))])]),
        (f'\t( nOT<{T1}>[ "e" ]\t)  ', [(None, [StateToken(T1, True), EntityTag(ETag("e"))])]),
        ('(["a b) ]"])', [(None, [EntityTag(ETag("a b) ]"))])]),
        ('(["<not>"])', [(None, [EntityTag(ETag("<not>"))])]),
        ('([""])', [(None, [EntityTag(ETag(""))])]),
    ],
)
def test_if_headers(value: str, lists: list[tuple[DavPath | None, list[StateToken | EntityTag]]]) -> None:
    expected = tuple(StateList(resource, tuple(conditions)) for resource, conditions in lists)
    assert parse_if(value, "").lists == expected


@pytest.mark.parametrize(
    "value",
    [
        *[
            "",
            " ",
            "garbage",
            "()",
            "( )",
            "(",
            ")",
            "(()",
            "(())",
            "[]",
            "<",
            ">",
            "<>",
            "*",
            "Not",
            "(Not)",
            "Not (<t:x>)",
        ],
        *[
            "(<t:x>",
            "(<t:x>))",
            "((<t:x>))",
            "<t:x>",
            "</a>",
            "</a> </b> (<t:x>)",
            "(<t:x>) </a>",
            "(<t:x>) </a> (<t:x>)",
        ],
        *[
            "(<t:x>) ()",
            "(<t:x>) x",
            "(<t:x>), (<t:y>)",
            "x (<t:x>)",
            "(<t:x>) Not",
            "(<t:x>)\0",
            "(<t:x>)\n",
            "(<t:x>)\xa0",
        ],
        *[
            "(<t:x)",
            "(t:x>)",
            "(t:x)",
            "(<<t:x>>)",
            "(<>)",
            "(< t:x >)",
            "(<t: x>)",
            "(<t>)",
            "(<garbage>)",
            "(<t:\xe4>)",
        ],
        *[
            '(["e"',
            '(["e")',
            '(["e)',
            "([e])",
            "([])",
            '("e")',
            '([w/"e"])',
            '([W/ "e"])',
            "([W/])",
            '(["e" "f"])',
            '([["e"]])',
        ],
        *[
            "(Not Not <t:x>)",
            "(<t:x> Not )",
            "(NotNot <t:x>)",
            "(Notx <t:x>)",
            "(Not)",
            "(<t:x> Not)",
            "(Not (<t:x>))",
            '(Not"e")',
        ],
        *["(<t:x> <)>", "<a> <(> <t:x>)", "(<(>)", "(<)>)", '(["e"]', '<"> (<t:x>'],
    ],
)
def test_bad_if_headers(value: str) -> None:
    with pytest.raises(BadRequest):
        parse_if(value, "")


@pytest.mark.parametrize(
    ("tag", "resource"),
    [
        ("http://h/dav/a", DavPath(("a",))),
        ("https://other:99/dav/a?q#f", DavPath(("a",))),
        ("/dav/a/", DavPath(("a",))),
        ("/dav/%61", DavPath(("a",))),
        ("/dav/a b\xc3\xa4", DavPath(("a bä",))),
        ("/dav", DavPath()),
        ("/davx/a", Elsewhere()),
        ("/a", Elsewhere()),
        ("http://h", Elsewhere()),
        ("a", Elsewhere()),
        ("//h/dav/a", Elsewhere()),
        ("mailto:x", Elsewhere()),
        ("/dav/%zz", Elsewhere()),
        ("/dav/..", Elsewhere()),
        ("/dav/a\n", Elsewhere()),
    ],
)
def test_a_tag_is_compared_by_its_path(tag: str, resource: DavPath | Elsewhere) -> None:
    """davfs2 behind a proxy: scheme and host are the client's. What is not ours never is an error."""
    (state_list,) = parse_if(f"<{tag}> (<{T1}>)", "/dav").lists
    assert state_list.resource == resource


TOKENS = st.from_regex(r"\A[a-z][a-z0-9+.-]{0,5}:[!-;=?-~]{1,12}\Z")
ETAGS = st.builds(ETag, st.text(st.characters(max_codepoint=0xFF, exclude_characters='"'), max_size=8), st.booleans())
CONDITIONS = st.builds(StateToken, TOKENS, st.booleans()) | st.builds(EntityTag, ETAGS, st.booleans())
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
    lambda name: name not in (".", "..")
)
RESOURCES = st.lists(NAMES, max_size=3).map(lambda names: DavPath(tuple(names)))
LISTS = st.lists(CONDITIONS, min_size=1, max_size=3).map(tuple)
HEADERS = st.builds(
    IfHeader,
    st.lists(st.builds(StateList, st.none(), LISTS), min_size=1, max_size=3).map(tuple)
    | st.lists(st.builds(StateList, RESOURCES, LISTS), min_size=1, max_size=3).map(tuple),
)


def written(header: IfHeader, blank: str, origin: str) -> str:
    parts: list[str] = []
    tag: DavPath | None = None
    for state_list in header.lists:
        assert not isinstance(state_list.resource, Elsewhere)
        if state_list.resource is not None and state_list.resource != tag:
            tag = state_list.resource
            parts.append(f"<{origin}{tag.href('/dav')}>")
        parts.append("(")
        for condition in state_list.conditions:
            if condition.negated:
                parts.append("Not")
            parts.append(f"<{condition.token}>" if isinstance(condition, StateToken) else f"[{condition.etag}]")
        parts.append(")")
    return blank.join(parts)


@given(HEADERS, st.sampled_from(["", " ", "\t "]), st.sampled_from(["", "http://h"]))
@settings(deadline=None)
def test_if_headers_lead_back(header: IfHeader, blank: str, origin: str) -> None:
    assert parse_if(written(header, blank, origin), "/dav") == header


@pytest.mark.slow
@given(HEADERS, st.data())
@settings(deadline=None)
def test_a_part_of_an_if_header_is_one_or_a_bad_request(header: IfHeader, data: st.DataObject) -> None:
    value = written(header, " ", "")
    end = data.draw(st.integers(0, len(value)))
    with suppress(BadRequest):
        part = parse_if(value[:end], "/dav")
        assert part.lists == header.lists[: len(part.lists)]
    with pytest.raises(BadRequest):
        parse_if(value + data.draw(st.sampled_from(["(", ")", "<", "x", ",", "Not", " </a>"])), "/dav")


FRAGMENTS = [
    "(",
    ")",
    "<",
    ">",
    "[",
    "]",
    '"',
    "Not",
    " ",
    "<t:x>",
    '["e"]',
    "</a>",
    "W/",
    "http://h/",
    "%",
    "\0",
    "\xa0",
    "x",
]


@given(st.text(st.characters(max_codepoint=0xFF)) | st.lists(st.sampled_from(FRAGMENTS), max_size=15).map("".join))
@settings(deadline=None, max_examples=300)
def test_whatever_comes_is_an_if_header_or_a_bad_request(value: str) -> None:
    for prefix in ("", "/dav"):
        with suppress(BadRequest):
            header = parse_if(value, prefix)
            assert header.lists
            assert all(state_list.conditions for state_list in header.lists)
            assert len({state_list.resource is None for state_list in header.lists}) == 1


@pytest.mark.parametrize(
    "value",
    [
        "(" * 30_000,
        ")" * 30_000,
        "(<" * 15_000,
        "[" * 30_000,
        "<" * 60_000,
        "<" + "a" * 60_000,
        "(<t:" + "a" * 60_000,
        '(["' + "a" * 60_000,
        "(" + " " * 60_000,
        "(" + " " * 60_000 + "x",
        "(Not " + " " * 60_000,
        "(<t:x>" + " " * 60_000,
        '(["e"' + " " * 60_000,
        '([ "e"' * 10_000,
        "(<t:x>) " * 7_500 + "x",
        "<a>" * 20_000,
        "Not" * 20_000,
        "(" + "Not " * 15_000,
        '"' * 60_000,
        "(<t:x>) </" * 6_000,
    ],
    ids=lambda value: f"{value[:8]}…",
)
def test_long_garbage_is_refused_at_once(value: str) -> None:
    begin = time.process_time()
    with pytest.raises(BadRequest):
        parse_if(value, "/dav")
    assert time.process_time() - begin < 4


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("(<t:x>)" * 2_000, 2_000),
        ("(<t:x>)" * 30_000, 30_000),
        ('(Not ["e"])\t' * 5_000, 5_000),
        ("</dav/a/b/c> (<t:x>)" * 3_000, 3_000),
        ("(" + "<t:x>" * 12_000 + ")", 1),
        ("(<t:" + "x" * 60_000 + ">)", 1),
        ("<http://h/" + "/".join("a" * 30_000) + "> (<t:x>)", 1),
    ],
    ids=lambda value: f"{value[:16]}…" if isinstance(value, str) else str(value),
)
def test_long_headers_are_read_in_time(value: str, count: int) -> None:
    begin = time.process_time()
    header = parse_if(value, "/dav")
    assert len(header.lists) == count
    evaluate_if(header, TARGET, world({}))
    assert time.process_time() - begin < 4


# --- evaluation, §10.4.3 and the examples


@pytest.mark.parametrize(
    ("value", "states", "outcome"),
    [
        # §10.4.6
        (f'(<{T1}> ["I am an ETag"]) (["I am another ETag"])', state("I am an ETag", T1), True),
        (f'(<{T1}> ["I am an ETag"]) (["I am another ETag"])', state("I am an ETag"), False),
        (f'(<{T1}> ["I am an ETag"]) (["I am another ETag"])', state("other", T1), False),
        (f'(<{T1}> ["I am an ETag"]) (["I am another ETag"])', state("I am another ETag"), True),
        # §10.4.7: not locked with the first, locked with the second
        (f"(Not <{T1}> <{T2}>)", state("v1", T2), True),
        (f"(Not <{T1}> <{T2}>)", state("v1", T1, T2), False),
        (f"(Not <{T1}> <{T2}>)", state("v1"), False),
        # §10.4.8: always true
        (f"(<{T1}>) (Not <DAV:no-lock>)", state("v1"), True),
        (f"(<{T1}>) (Not <DAV:no-lock>)", UNMAPPED, True),
        ("(<DAV:no-lock>)", state("v1", T1), False),
        ("(<DAV:no-lock>)", UNMAPPED, False),
        # §10.4.9
        (f'</resource1> (<{T1}> [W/"A weak ETag"]) (["strong ETag"])', state("A weak ETag", T1, weak=True), True),
        (f'</resource1> (<{T1}> [W/"A weak ETag"]) (["strong ETag"])', state("A weak ETag", weak=True), False),
        (f'</resource1> (<{T1}> [W/"A weak ETag"]) (["strong ETag"])', state("strong ETag"), True),
        (f'</resource1> (<{T1}> [W/"A weak ETag"]) (["strong ETag"])', state("else", T1), False),
        # a proxy that compresses made the strong tag weak
        ('([W/"v1"])', state("v1"), True),
        ('(["v1"])', state(None), False),
        ('(Not ["v1"])', state(None), True),
        ('(Not ["v1"])', state("v1"), False),
        # a lock of depth infinity covers what does not exist yet
        (f"(<{T1}>)", ResourceState(False, None, frozenset({T1}), None), True),
    ],
)
def test_if_is_about_the_state_of_the_resource(value: str, states: ResourceState, outcome: bool) -> None:
    assert true(value, {"/resource1": states}) is outcome


def test_a_collection_lock_is_named_by_its_root() -> None:
    """RFC 4918 §10.4.10: DELETE of a member with the token of the collection's lock."""
    value = f"<http://www.example.com/specs/> (<{T1}>)"
    assert true(value, {"/specs": state(None, T1)}, "/specs/rfc2518.txt")
    assert not true(value, {"/specs/rfc2518.txt": state("v1", T1)}, "/specs/rfc2518.txt")


def test_an_unmapped_url_has_no_etag() -> None:
    """RFC 4918 §10.4.11."""
    assert not true('</specs/rfc2518.doc> (["4217"])', {})
    assert true('</specs/rfc2518.doc> (Not ["4217"])', {})


def test_any_true_list_makes_the_header_true_whatever_it_speaks_of() -> None:
    """RFC 4918 §10.4.3."""
    value = f'</a> (["no"]) </b> (<{T1}>)'
    assert true(value, {"/b": state("v1", T1)})
    assert not true(value, {"/resource1": state("v1", T1)})
    assert not true('<http://h/resource1> (["nope"])', {"/resource1": state("v1")})


@pytest.mark.parametrize("tag", ["/elsewhere/a", "/dav/%zz", "nonsense"])
@pytest.mark.parametrize("condition", [f"<{T1}>", f"Not <{T1}>", 'Not ["x"]', "Not <DAV:no-lock>"])
def test_nothing_is_true_of_what_is_elsewhere(tag: str, condition: str) -> None:
    assert not true(f"<{tag}> ({condition})", {"/a": state("v1", T1)}, prefix="/dav")
    assert true(f"<{tag}> ({condition}) </dav/a> (<{T1}>)", {"/a": state("v1", T1)}, prefix="/dav")


def test_each_resource_is_looked_at_once() -> None:
    asked: list[str] = []

    def state_of(path: DavPath) -> ResourceState:
        asked.append(path.key)
        return UNMAPPED

    value = f"</a> (<{T1}>) (<{T2}>) </b> (<{T1}>) </a/> (<{T2}>)"
    assert not evaluate_if(parse_if(value, ""), TARGET, state_of)
    assert asked == ["/a", "/b"]
    asked.clear()
    wanted = Preconditions(parse_if("(Not <t:x>)", ""), ETagList(False), None, None, None)
    with pytest.raises(PreconditionFailed):
        check(wanted, "PUT", TARGET, state_of)
    assert asked == ["/resource1"]


def test_http_conditions_look_once() -> None:
    asked: list[DavPath] = []

    def state_of(path: DavPath) -> ResourceState:
        asked.append(path)
        return state("v1")

    assert check_http(Preconditions(None, ETagList(True), ETagList(False)), "PUT", TARGET, state_of)
    assert asked == [TARGET]


def test_the_two_halves_of_the_question() -> None:
    """If and Office's token speak of locks; what HTTP asks beside them is another question."""
    there = world({TARGET.key: state("v1", T1)})
    for fields in ({"If": f"(<{T2}>)"}, {"Lock-Token": f"<{T2}>"}):
        wanted = parse_preconditions(Headers(fields), "", "PUT")
        assert check_http(wanted, "PUT", TARGET, there)
        with pytest.raises(PreconditionFailed):
            check_if(wanted, "PUT", TARGET, there)
    for fields in ({"If-Match": '"v0"'}, {"If-None-Match": "*"}, {"If-Unmodified-Since": BEFORE}):
        wanted = parse_preconditions(Headers(fields), "", "PUT")
        check_if(wanted, "PUT", TARGET, there)
        with pytest.raises(PreconditionFailed):
            check_http(wanted, "PUT", TARGET, there)


def test_what_asks_nothing_costs_nothing() -> None:
    def state_of(path: DavPath) -> ResourceState:
        raise AssertionError("nobody needs to know")

    assert check(Preconditions(), "PUT", TARGET, state_of)
    assert check(Preconditions(if_modified_since=5), "PUT", TARGET, state_of)


# --- submitted tokens, §10.4.1


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (f"(<{T1}>)", {T1}),
        (f"(Not <{T1}>) (<{T2}>)", {T1, T2}),
        (f'</a> (<{T1}> ["false"]) </b> (<{T2}>)', {T1, T2}),
        (f"</not-here/a> (<{T1}>)", {T1}),
        (f"(<{T1}>) (Not <DAV:no-lock>)", {T1}),
        ("(<DAV:no-lock>)", set()),
        ('(["e"])', set()),
    ],
)
def test_every_token_in_the_header_counts_as_submitted(value: str, tokens: set[str]) -> None:
    assert parse_if(value, "/dav").tokens == tokens


@pytest.mark.parametrize(
    ("method", "fields", "tokens"),
    [
        ("PUT", {}, set()),
        ("PUT", {"If": f"(<{T1}>)"}, {T1}),
        ("PUT", {"Lock-Token": f"<{T1}>"}, {T1}),
        ("PUT", {"Lock-Token": T1}, {T1}),
        ("PUT", {"If": f"(<{T1}>)", "Lock-Token": f"<{T2}>"}, {T1, T2}),
        ("DELETE", {"If": f"(<{T1}>)", "Lock-Token": f"<{T2}>"}, {T1}),
        ("UNLOCK", {"Lock-Token": f"<{T1}>"}, set()),
        ("LOCK", {"Lock-Token": "garbage"}, set()),
        ("PATCH", {"Transaction-Id": "txn-7"}, {"txn-7"}),
        ("PUT", {"Transaction-Id": "txn-7", "If": f"(<{T1}>)"}, {"txn-7", T1}),
    ],
)
def test_what_counts_as_submitted(method: str, fields: dict[str, str], tokens: set[str]) -> None:
    headers = Headers(fields)
    assert submitted_tokens(headers, parse_preconditions(headers, "", method), method) == tokens


def test_a_put_with_a_malformed_lock_token_is_a_bad_request() -> None:
    headers = Headers({"Lock-Token": "garbage"})
    with pytest.raises(BadRequest):
        submitted_tokens(headers, parse_preconditions(headers, "", "PUT"), "PUT")


# --- RFC 9110 §13


def test_preconditions_are_read_from_headers() -> None:
    date = format_http_date(784111777)
    headers = Headers(
        {
            "If": "</dav/a> (<t:x>)",
            "If-Match": "*",
            "if-none-match": '"a", junk',
            "If-Modified-Since": date,
            "If-Unmodified-Since": "never",
            "Lock-Token": "<t:y>",
        }
    )
    assert parse_preconditions(headers, "/dav", "PUT") == Preconditions(
        IfHeader((StateList(DavPath(("a",)), (StateToken("t:x"),)),)),
        ETagList(True),
        ETagList(False, (ETag("a"),)),
        784111777,
        None,
        "t:y",
    )
    assert parse_preconditions(Headers({}), "", "PUT") == Preconditions()
    with pytest.raises(BadRequest):
        parse_preconditions(Headers({"If": ""}), "", "PUT")


GO, UNCHANGED, FAILED = "go", "304", "412"
BEFORE, AT, AFTER = (format_http_date(seconds) for seconds in (999, 1000, 1001))
FILE, FOLDER = state("v1", T1), state(None)


@pytest.mark.parametrize(
    ("method", "fields", "there", "outcome"),
    [
        ("GET", {}, FILE, GO),
        # §13.1.1 If-Match: strong comparison
        ("PUT", {"If-Match": '"v1"'}, FILE, GO),
        ("PUT", {"If-Match": '"v0", "v1"'}, FILE, GO),
        ("PUT", {"If-Match": '"v0"'}, FILE, FAILED),
        ("PUT", {"If-Match": 'W/"v1"'}, FILE, FAILED),
        ("PUT", {"If-Match": "v1"}, FILE, FAILED),
        ("PUT", {"If-Match": ""}, FILE, FAILED),
        ("PUT", {"If-Match": "*"}, FILE, GO),
        ("PUT", {"If-Match": "*"}, FOLDER, GO),
        ("PUT", {"If-Match": '"v1"'}, FOLDER, FAILED),
        ("PUT", {"If-Match": "*"}, UNMAPPED, FAILED),
        ("PUT", {"If-Match": '"v1"'}, UNMAPPED, FAILED),
        ("GET", {"If-Match": '"v0"'}, FILE, FAILED),
        ("GET", {"If-Match": '"v1"'}, FILE, GO),
        # §13.1.2 If-None-Match: weak comparison
        ("GET", {"If-None-Match": '"v1"'}, FILE, UNCHANGED),
        ("HEAD", {"If-None-Match": 'W/"v1"'}, FILE, UNCHANGED),
        ("GET", {"If-None-Match": "*"}, FILE, UNCHANGED),
        ("GET", {"If-None-Match": '"v0"'}, FILE, GO),
        ("PUT", {"If-None-Match": "*"}, FILE, FAILED),
        ("PUT", {"If-None-Match": "*"}, UNMAPPED, GO),
        ("LOCK", {"If-None-Match": "*"}, FOLDER, FAILED),
        ("DELETE", {"If-None-Match": '"v1"'}, FILE, FAILED),
        ("PROPFIND", {"If-None-Match": '"v1"'}, FILE, FAILED),
        ("PUT", {"If-None-Match": "JoplinIgnore-123"}, FILE, GO),
        ("GET", {"If-None-Match": "JoplinIgnore-123"}, FILE, GO),
        # §13.1.3 If-Modified-Since: GET and HEAD alone, and not beside If-None-Match
        ("GET", {"If-Modified-Since": BEFORE}, FILE, GO),
        ("GET", {"If-Modified-Since": AT}, FILE, UNCHANGED),
        ("HEAD", {"If-Modified-Since": AFTER}, FILE, UNCHANGED),
        ("PUT", {"If-Modified-Since": AFTER}, FILE, GO),
        ("PROPFIND", {"If-Modified-Since": AFTER}, FILE, GO),
        ("GET", {"If-Modified-Since": "yesterday"}, FILE, GO),
        ("GET", {"If-Modified-Since": f"{AT}, {AT}"}, FILE, GO),
        ("GET", {"If-Modified-Since": AFTER}, state(modified=None), GO),
        ("GET", {"If-None-Match": '"v0"', "If-Modified-Since": AFTER}, FILE, GO),
        ("GET", {"If-None-Match": '"v1"', "If-Modified-Since": BEFORE}, FILE, UNCHANGED),
        # §13.1.4 If-Unmodified-Since: not beside If-Match
        ("PUT", {"If-Unmodified-Since": BEFORE}, FILE, FAILED),
        ("PUT", {"If-Unmodified-Since": AT}, FILE, GO),
        ("GET", {"If-Unmodified-Since": BEFORE}, FILE, FAILED),
        ("PUT", {"If-Unmodified-Since": "yesterday"}, FILE, GO),
        ("PUT", {"If-Unmodified-Since": format_http_date(-5)}, UNMAPPED, GO),
        ("PUT", {"If-Match": '"v1"', "If-Unmodified-Since": BEFORE}, FILE, GO),
        ("PUT", {"If-Match": '"v0"', "If-Unmodified-Since": AFTER}, FILE, FAILED),
        # §13.2.2: what must hold is looked at before what must not
        ("GET", {"If-Match": '"v0"', "If-None-Match": '"v1"'}, FILE, FAILED),
        ("GET", {"If-Match": '"v1"', "If-None-Match": '"v1"'}, FILE, UNCHANGED),
        ("GET", {"If-Unmodified-Since": AT, "If-Modified-Since": AT}, FILE, UNCHANGED),
        # RFC 4918 §10.4: If before all of them
        ("GET", {"If": "(<t:other>)", "If-None-Match": '"v1"'}, FILE, FAILED),
        ("GET", {"If": f"(<{T1}>)", "If-None-Match": '"v1"'}, FILE, UNCHANGED),
        ("GET", {"If": f"(<{T1}>)"}, FILE, GO),
        ("MKCOL", {"If": "(<DAV:no-lock>)"}, UNMAPPED, FAILED),
        ("PUT", {"If": f"(<{T1}>)"}, state("v1"), FAILED),
        # Office: a lock that is gone protects nothing, and its holder must learn that
        ("PUT", {"Lock-Token": f"<{T1}>"}, FILE, GO),
        ("PUT", {"Lock-Token": f"<{T2}>"}, FILE, FAILED),
        ("PUT", {"Lock-Token": f"<{T1}>"}, state("v1"), FAILED),
        ("PUT", {"Lock-Token": f"<{T1}>"}, UNMAPPED, FAILED),
        ("UNLOCK", {"Lock-Token": f"<{T2}>"}, FILE, GO),
        ("LOCK", {"Lock-Token": f"<{T2}>"}, UNMAPPED, GO),
    ],
)
def test_preconditions(method: str, fields: dict[str, str], there: ResourceState, outcome: str) -> None:
    preconditions = parse_preconditions(Headers(fields), "", method)
    states = world({TARGET.key: there})
    if outcome == FAILED:
        with pytest.raises(PreconditionFailed) as refusal:
            check(preconditions, method, TARGET, states)
        assert refusal.value.paths == (TARGET,)
        assert T1 not in refusal.value.message
        assert any(f" {name}" in refusal.value.message for name in fields)
    else:
        assert check(preconditions, method, TARGET, states) is (outcome == GO)


@pytest.mark.parametrize(
    ("value", "there", "allowed"),
    [
        (None, FILE, True),
        ('"v1"', FILE, True),
        ('"v0"', FILE, False),
        ('W/"v1"', FILE, False),
        ('"v1"', FOLDER, False),
        (AT, FILE, True),
        (BEFORE, FILE, False),
        (AFTER, FILE, False),
        (AT, state(modified=None), False),
        ("garbage", FILE, False),
        ("garbage", state(modified=None), False),
        ("", FILE, False),
    ],
)
def test_if_range(value: str | None, there: ResourceState, allowed: bool) -> None:
    """RFC 9110 §13.1.5."""
    assert if_range_allows(value, there) is allowed


def test_where_nothing_is_asked_nothing_is_looked_at() -> None:
    """What most requests are: they cost no look at a file and none at the locks."""

    def look(path: DavPath) -> ResourceState:
        raise AssertionError("nobody asked for this")

    asked = parse_preconditions(Headers({"Depth": "0", "Host": "x"}), "", "PUT")
    for method in ("GET", "PUT", "LOCK"):
        check_if(asked, method, DavPath(("f",)), look)
        assert check_http(asked, method, DavPath(("f",)), look)
        assert check(asked, method, DavPath(("f",)), look)
