"""The table of live properties, and PROPPATCH as arithmetic: all of it or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.protocol.properties import (
    DAV,
    LIVE,
    MICROSOFT,
    PROPERTY_LIMIT,
    DeadProperty,
    Outcome,
    PropertyUpdate,
    PropName,
    RemoveProperty,
    SetProperty,
    plan,
)

MINE = PropName("urn:mine", "mine")
YOURS = PropName("urn:mine", "yours")
ETAG = PropName(DAV, "getetag")
GETLASTMODIFIED = PropName(DAV, "getlastmodified")
LASTMODIFIED = PropName(DAV, "lastmodified")
WIN32 = PropName(MICROSOFT, "Win32LastModifiedTime")
PROTECTED = "cannot-modify-protected-property"


def put(name: PropName, text: str = "1", size: int = 10) -> SetProperty:
    return SetProperty(DeadProperty(name, b"x" * size), text)


def test_the_live_properties() -> None:
    """RFC 4918 §15, RFC 4331; quota is shown only when it is named (RFC 4331 §3, §4)."""
    assert {name.namespace for name in LIVE} == {DAV}
    assert {name.local for name, row in LIVE.items() if row.in_allprop} == {
        "creationdate", "displayname", "getcontentlength", "getcontenttype", "getetag", "getlastmodified",
        "resourcetype", "supportedlock", "lockdiscovery",
    }  # fmt: skip
    assert {name.local for name, row in LIVE.items() if not row.in_allprop} == {
        "quota-available-bytes", "quota-used-bytes", "current-user-principal", "current-user-privilege-set", "owner",
    }  # fmt: skip
    assert [name for name, row in LIVE.items() if row.sets_mtime] == [GETLASTMODIFIED]


def test_locks_come_last_in_an_answer() -> None:
    """LibreOffice takes the last href of a response for the resource's own."""
    assert list(LIVE)[-1] == PropName(DAV, "lockdiscovery")


def test_dead_properties_are_set_and_removed_in_order() -> None:
    update: PropertyUpdate = (put(MINE), RemoveProperty(YOURS), put(YOURS), RemoveProperty(MINE))
    decided = plan(update)
    assert decided.ok
    assert decided.outcomes == (Outcome(MINE, 200), Outcome(YOURS, 200))
    assert decided.changes == update
    assert decided.mtime is None


def test_nothing_to_do_is_done() -> None:
    assert plan(()).ok


@pytest.mark.parametrize("name", [name for name, row in LIVE.items() if not row.kept])
def test_what_the_server_computes_is_protected(name: PropName) -> None:
    """RFC 4918 §9.2.1, §16."""
    refused = (Outcome(name, 403, PROTECTED),)
    assert plan((RemoveProperty(name),)).outcomes == refused
    if not LIVE[name].sets_mtime:
        assert plan((put(name),)).outcomes == refused


def test_a_display_name_is_kept_and_can_be_taken_back() -> None:
    """RFC 4918 §15.2: it SHOULD NOT be protected."""
    displayname = PropName(DAV, "displayname")
    for change in (put(displayname, "My file"), RemoveProperty(displayname)):
        assert plan((change,)).changes == (change,)
    assert [name for name, row in LIVE.items() if row.kept] == [displayname]


@pytest.mark.parametrize(
    ("update", "outcomes"),
    [
        ((put(MINE), put(ETAG)), [(MINE, 424, None), (ETAG, 403, PROTECTED)]),
        ((put(ETAG), put(MINE), RemoveProperty(YOURS)),
         [(ETAG, 403, PROTECTED), (MINE, 424, None), (YOURS, 424, None)]),
        ((put(ETAG), RemoveProperty(ETAG)), [(ETAG, 403, PROTECTED)]),
        ((put(WIN32, "no date"), put(MINE)), [(WIN32, 409, None), (MINE, 424, None)]),
        # refused once is refused, whatever else is said of it
        ((put(WIN32, "no date"), RemoveProperty(WIN32)), [(WIN32, 409, None)]),
        ((RemoveProperty(MINE), put(MINE, size=PROPERTY_LIMIT + 1)), [(MINE, 507, None)]),
        ((put(MINE, size=PROPERTY_LIMIT + 1), put(ETAG), put(YOURS)),
         [(MINE, 507, None), (ETAG, 403, PROTECTED), (YOURS, 424, None)]),
    ],
)  # fmt: skip
def test_one_failure_stops_all(update: PropertyUpdate, outcomes: list[tuple[PropName, int, str | None]]) -> None:
    """RFC 4918 §9.2, §11.4."""
    decided = plan(update)
    assert not decided.ok
    assert [(each.name, each.status, each.element) for each in decided.outcomes] == outcomes
    assert decided.changes == ()
    assert decided.mtime is None


def test_a_property_may_be_as_large_as_the_limit() -> None:
    assert plan((put(MINE, size=PROPERTY_LIMIT),)).ok


DATE, SECONDS = "Mon, 15 Jun 2026 15:30:00 GMT", 1781537400


@pytest.mark.parametrize(
    ("name", "text", "mtime", "kept"),
    [
        # Explorer reads its own properties back.
        (WIN32, DATE, SECONDS, True),
        (WIN32, f"\r\n {DATE} ", SECONDS, True),
        (WIN32, "Mon, 01 Jan 1601 00:00:00 GMT", None, True),
        (WIN32, "Thu, 01 Jan 1970 00:00:00 GMT", 0, True),
        (GETLASTMODIFIED, DATE, SECONDS, False),
        (LASTMODIFIED, DATE, SECONDS, False),
        # rclone
        (LASTMODIFIED, "1781537400", SECONDS, False),
        (LASTMODIFIED, " 0\n", 0, False),
        (PropName(MICROSOFT, "Win32CreationTime"), "no date", None, True),
        (PropName(MICROSOFT, "Win32FileAttributes"), "00000020", None, True),
        (PropName("SAR:", "lastmodified"), "no date", None, True),
    ],
)
def test_the_time_of_change(name: PropName, text: str, mtime: int | None, kept: bool) -> None:
    decided = plan((put(name, text),))
    assert decided.outcomes == (Outcome(name, 200),)
    assert decided.mtime == mtime
    assert bool(decided.changes) == kept


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (WIN32, ""), (WIN32, "1781537400"), (GETLASTMODIFIED, "1781537400"), (GETLASTMODIFIED, "yesterday"),
        (LASTMODIFIED, "-1"), (LASTMODIFIED, "1.5"), (LASTMODIFIED, "9" * 12), (LASTMODIFIED, "١٢"), (LASTMODIFIED, ""),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(name: PropName, text: str) -> None:
    """RFC 4918 §9.2.1."""
    assert plan((put(name, text),)).outcomes == (Outcome(name, 409),)


def test_the_last_time_counts() -> None:
    later = "Mon, 15 Jun 2026 15:30:01 GMT"
    assert plan((put(WIN32, DATE), put(GETLASTMODIFIED, later))).mtime == SECONDS + 1
    assert plan((put(WIN32, later), put(LASTMODIFIED, str(SECONDS)))).mtime == SECONDS
    assert plan((put(WIN32, DATE), put(WIN32, "Mon, 01 Jan 1601 00:00:00 GMT"))).mtime == SECONDS


def test_a_time_that_was_kept_can_be_removed() -> None:
    for name in (WIN32, LASTMODIFIED):
        decided = plan((RemoveProperty(name),))
        assert decided.ok
        assert decided.changes == (RemoveProperty(name),)
        assert decided.mtime is None


ANY_NAME = st.sampled_from([MINE, YOURS, ETAG, GETLASTMODIFIED, LASTMODIFIED, WIN32, *LIVE])
ANY_CHANGE = st.builds(
    put, ANY_NAME, st.sampled_from(["", DATE, "1", "junk"]), st.sampled_from([1, PROPERTY_LIMIT + 1])
) | st.builds(RemoveProperty, ANY_NAME)


@given(st.lists(ANY_CHANGE, max_size=6).map(tuple))
def test_all_or_nothing(update: PropertyUpdate) -> None:
    decided = plan(update)
    assert [each.name for each in decided.outcomes] == list(dict.fromkeys(change.name for change in update))
    statuses = {each.status for each in decided.outcomes}
    alone = {change.name: plan((change,)).outcomes[0].status for change in reversed(update)}
    if decided.ok:
        assert statuses <= {200}
        assert all(LIVE[change.name].kept for change in decided.changes if change.name in LIVE)
        assert set(alone.values()) <= {200}
    else:
        assert statuses - {424} <= {403, 409, 507}
        assert statuses - {424}
        assert decided.changes == ()
        assert decided.mtime is None
