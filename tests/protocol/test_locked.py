"""The 423 that explains, in its three forms."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from davserver.protocol.errors import LockConflict, Locked
from davserver.protocol.holder import Viewer, holder_name, owner_text
from davserver.protocol.locked import (
    MAX_NAMED,
    lock_details,
    locked_element,
    locked_html,
    locked_json,
    locked_xml,
    page,
    retry_after,
    sentence,
)
from davserver.protocol.locks import ANYBODY, Depth, Kind, Lock, Principal, Scope
from davserver.protocol.paths import ROOT, DavPath
from davserver.protocol.xml_out import is_xml_text


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-06-15T15:01:00")
JANE, BOB, ADMIN = Principal("jane", "Jane Smith"), Principal("bob"), Principal("system-admin")
REPORT = DavPath(("docs", "report.docx"))
TOKEN = "urn:uuid:5ec4e7"


def lock(root: DavPath = REPORT, until: str | None = "2026-06-15T15:30:00", **fields: Any) -> Lock:
    given = {
        "token": TOKEN, "root": root, "depth": Depth.ZERO, "scope": Scope.EXCLUSIVE, "kind": Kind.WRITE,
        "principal": JANE, "owner": None, "created": NOW - 60, "refreshed": NOW - 60,
        "expires": None if until is None else at(until), "id": 7,
    }  # fmt: skip
    return Lock(**{**given, **fields})


def owned(text: str) -> bytes:
    return f'<D:owner xmlns:D="DAV:">{text}</D:owner>'.encode()


MAINTENANCE = lock(
    ROOT, "2026-06-15T16:01:00", kind=Kind.MAINTENANCE, principal=ADMIN, depth=Depth.INFINITY, reason="nightly backup"
)
TRANSACTION = lock(
    DavPath(("orders", "123")), "2026-06-15T15:02:00", kind=Kind.TRANSACTION, principal=Principal("shop"),
    reason="Payment processing in progress", transaction_id="txn-456789",
)  # fmt: skip


def as_json(locked: Locked, viewer: Principal | None = BOB, now: float = NOW, prefix: str = "") -> dict[str, Any]:
    told: dict[str, Any] = json.loads(locked_json(locked, Viewer(viewer), now, prefix))
    return told


# --- JSON


def test_somebody_is_editing() -> None:
    body = locked_json(Locked(REPORT, [lock()]), Viewer(BOB), NOW, "")
    assert body.decode() == (
        '{"error": "Locked", "message": "report.docx is being edited by Jane Smith until 15:30 UTC.", '
        '"path": "/docs/report.docx", "locked_by": "Jane Smith", "locked_until": "2026-06-15T15:30:00Z", '
        '"retry_after": 1740, "locks": [{"id": 7, "path": "/docs/report.docx", "scope": "exclusive", "depth": "0", '
        '"kind": "write", "locked_by": "Jane Smith", "locked_since": "2026-06-15T15:00:00Z", '
        '"locked_until": "2026-06-15T15:30:00Z"}]}'
    )


def test_maintenance() -> None:
    told = as_json(Locked(REPORT, [MAINTENANCE]))
    assert list(told.items())[:-1] == [
        ("error", "Locked"), ("message", "/ is locked for maintenance: nightly backup."), ("maintenance_mode", True),
        ("locked_until", "2026-06-15T16:01:00Z"), ("locked_by", "system-admin"), ("lock_reason", "nightly backup"),
        ("retry_after", 3600),
    ]  # fmt: skip
    assert told["locks"] == [
        {"id": 7, "path": "/", "scope": "exclusive", "depth": "infinity", "kind": "maintenance",
         "locked_by": "system-admin", "locked_since": "2026-06-15T15:00:00Z", "locked_until": "2026-06-15T16:01:00Z",
         "lock_reason": "nightly backup"}
    ]  # fmt: skip


def test_a_transaction() -> None:
    told = as_json(Locked(DavPath(("orders", "123")), [TRANSACTION]))
    assert list(told.items())[:-1] == [
        ("error", "Locked"), ("message", "/orders/123 is being changed by transaction txn-456789."),
        ("lock_reason", "Payment processing in progress"), ("retry_after", 60), ("transaction_id", "txn-456789"),
    ]  # fmt: skip
    assert told["locks"][0]["transaction_id"] == "txn-456789"
    assert list(told)[-1] == "locks"


def test_a_checkout() -> None:
    told = as_json(Locked(REPORT, [lock(kind=Kind.CHECKOUT, until="2026-06-19T12:00:00", reason="final\n review. ")]))
    assert told["message"] == "report.docx is checked out by Jane Smith until 2026-06-19 12:00 UTC: final review."
    assert list(told) == [
        "error", "message", "path", "locked_by", "locked_until", "retry_after", "lock_reason", "locks",
    ]  # fmt: skip


def test_what_does_not_apply_is_absent() -> None:
    told = as_json(Locked(REPORT, [lock(until=None, principal=ANYBODY, id=0)]))
    assert list(told) == ["error", "message", "path", "locks"]
    assert list(told["locks"][0]) == ["path", "scope", "depth", "kind", "locked_since"]
    told = as_json(Locked(ROOT, [replace(MAINTENANCE, expires=None, reason=None, principal=ANYBODY)]))
    assert list(told) == ["error", "message", "maintenance_mode", "locks"]
    told = as_json(Locked(ROOT, [replace(TRANSACTION, expires=None, reason=None, transaction_id=None)]))
    assert list(told) == ["error", "message", "locks"]


def test_paths_are_hrefs_below_the_prefix() -> None:
    root = DavPath(("März & Söhne",), True)
    told = as_json(Locked(root.child("a b.txt"), [lock(root, depth=Depth.INFINITY)]), prefix="/dav")
    assert told["path"] == "/dav/M%C3%A4rz%20%26%20S%C3%B6hne/a%20b.txt"
    assert told["locks"][0]["path"] == "/dav/M%C3%A4rz%20%26%20S%C3%B6hne/"
    assert told["message"] == "The folder März & Söhne is locked by Jane Smith until 15:30 UTC."


# --- the sentence


@pytest.mark.parametrize(
    ("locks", "words"),
    [
        ([lock()], "report.docx is being edited by Jane Smith until 15:30 UTC."),
        ([lock(until=None)], "report.docx is being edited by Jane Smith."),
        ([lock(until="2026-06-16T00:30:00")], "report.docx is being edited by Jane Smith until 2026-06-16 00:30 UTC."),
        ([lock(principal=ANYBODY)], "report.docx is being edited by another user until 15:30 UTC."),
        ([lock(ROOT)], "/ is locked by Jane Smith until 15:30 UTC."),
        ([lock(DavPath(("docs",), True))], "The folder docs is locked by Jane Smith until 15:30 UTC."),
        ([lock(kind=Kind.CHECKOUT)], "report.docx is checked out by Jane Smith until 15:30 UTC."),
        ([replace(MAINTENANCE, reason=None)], "/ is locked for maintenance."),
        ([replace(MAINTENANCE, reason=" . ")], "/ is locked for maintenance."),
        ([replace(TRANSACTION, transaction_id=None)], "/orders/123 is being changed by a transaction."),
        ([lock(), lock(DavPath(("a",)), "2026-06-15T16:00:00", principal=BOB)],
         "a is being edited by bob until 16:00 UTC. 1 more lock stands in the way."),
        ([lock(), lock(DavPath(("a",)), None, principal=BOB), lock(DavPath(("b",)))],
         "a is being edited by bob. 2 more locks stand in the way."),
        # The maintenance speaks first, however soon it is over.
        ([lock(until=None), MAINTENANCE],
         "/ is locked for maintenance: nightly backup. 1 more lock stands in the way."),
        ([lock(expires=1e18)], "report.docx is being edited by Jane Smith until 9999-12-31 23:59 UTC."),
    ],
)  # fmt: skip
def test_the_sentence(locks: list[Lock], words: str) -> None:
    assert sentence(Locked(REPORT, locks), Viewer(BOB), NOW) == words
    assert as_json(LockConflict(REPORT, locks))["message"] == words


# --- when to try again


@pytest.mark.parametrize(
    ("ends", "seconds"),
    [
        (["2026-06-15T15:30:00"], 1740),
        (["2026-06-15T15:30:00", "2026-06-15T15:02:00"], 1740),
        ([None], None),
        (["2026-06-15T15:30:00", None], None),
        (["2026-06-15T15:01:00.2"], 1),
        (["2026-06-15T15:02:00.2"], 61),
        (["2026-06-15T15:00:00"], 1),
        ([], None),
    ],
)
def test_retry_when_all_may_be_gone(ends: list[str | None], seconds: int | None) -> None:
    assert retry_after([lock(until=end) for end in ends], NOW) == seconds


# --- XML


def test_the_xml_form() -> None:
    locked = Locked(REPORT, [lock(owner=owned("<D:href>DOMAIN\\jane</D:href>"))])
    assert locked_xml(locked, Viewer(BOB), NOW, "").decode() == (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<D:error xmlns:D="DAV:"><D:lock-token-submitted><D:href>/docs/report.docx</D:href></D:lock-token-submitted>'
        "<D:detail><D:lockinfo><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"
        "<D:depth>0</D:depth><D:owner>Jane Smith</D:owner><D:timeout>Second-1740</D:timeout>"
        "<D:lockroot><D:href>/docs/report.docx</D:href></D:lockroot></D:lockinfo></D:detail></D:error>"
    )


def test_a_lock_that_collides_says_so() -> None:
    """RFC 4918 §16."""
    root = etree.fromstring(
        locked_xml(LockConflict(REPORT, [lock(until=None, principal=ANYBODY)]), Viewer(BOB), NOW, "/dav")
    )
    assert [etree.QName(child).localname for child in root] == ["no-conflicting-lock", "detail"]
    assert root.findtext("{DAV:}no-conflicting-lock/{DAV:}href") == "/dav/docs/report.docx"
    assert root.findtext(".//{DAV:}timeout") == "Infinite"
    assert root.findtext(".//{DAV:}owner") == "another user"


def test_one_href_and_one_lockinfo_for_each_root() -> None:
    other = DavPath(("docs", "x"))
    locks = [
        lock(scope=Scope.SHARED, until="2026-06-15T15:10:00", principal=BOB),
        lock(scope=Scope.SHARED),
        lock(other),
        lock(scope=Scope.SHARED, until="2026-06-15T15:20:00", principal=BOB),
    ]
    root = etree.fromstring(locked_xml(Locked(REPORT, locks), Viewer(BOB), NOW, ""))
    hrefs = ["/docs/report.docx", "/docs/x"]
    assert [each.text for each in root.findall("{DAV:}lock-token-submitted/{DAV:}href")] == hrefs
    assert [each.text for each in root.findall("{DAV:}detail/{DAV:}lockinfo/{DAV:}lockroot/{DAV:}href")] == hrefs
    assert [each.text for each in root.iter("{DAV:}timeout")] == ["Second-1740", "Second-1740"]
    assert [each.text for each in root.iter("{DAV:}owner")] == ["Jane Smith", "Jane Smith"]
    assert len(as_json(Locked(REPORT, locks))["locks"]) == 4


def test_a_refusal_of_many_resources_is_one_of_each() -> None:
    """What stands in a 207 for each of them."""
    other = DavPath(("docs", "x"))
    locks = [lock(scope=Scope.SHARED), lock(other), lock(scope=Scope.SHARED, principal=BOB)]
    first, second = LockConflict(REPORT, locks).by_root()
    assert (first.path, len(first.locks)) == (REPORT, 2)
    assert (second.path, len(second.locks)) == (other, 1)
    element = locked_element(second, Viewer(BOB), NOW, "/dav")
    root = etree.fromstring(b'<D:response xmlns:D="DAV:">%b</D:response>' % element)
    assert [each.text for each in root.iter("{DAV:}href")] == ["/dav/docs/x"] * 2
    assert root.find("{DAV:}error/{DAV:}no-conflicting-lock") is not None


def test_what_helps_to_judge_a_lock_never_holds_its_token() -> None:
    held = lock(client_address="192.0.2.7", client_agent="Office")
    told = lock_details(held, Viewer(BOB), NOW, "")
    assert told["client"] == {"address": "192.0.2.7", "agent": "Office"}
    assert told["probably_stale"] is False
    assert "fencing_number" not in told
    assert held.token not in json.dumps(told)


def test_thousands_of_locks_make_no_huge_answer() -> None:
    locked = Locked(ROOT, [lock(DavPath((f"{n}.txt",))) for n in range(MAX_NAMED + 200)])
    assert len(as_json(locked)["locks"]) == MAX_NAMED
    assert len(etree.fromstring(locked_xml(locked, Viewer(BOB), NOW, "")).findall(".//{DAV:}lockinfo")) == MAX_NAMED
    assert locked_html(locked, Viewer(BOB), NOW, "").count(b"<dt>") == MAX_NAMED
    assert f"{MAX_NAMED + 199} more locks" in sentence(locked, Viewer(BOB), NOW)


# --- HTML


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_the_page_says_who_since_when_until_when_why_and_what_to_do() -> None:
    locked = Locked(REPORT, [lock(kind=Kind.CHECKOUT, reason="Review")])
    shown = Page(locked_html(locked, Viewer(BOB), NOW, "/dav").decode())
    assert "report.docx is checked out by Jane Smith until 15:30 UTC: Review." in shown.words
    assert "Held by Jane Smith since 2026-06-15 15:00 UTC until 15:30 UTC. Reason: Review." in shown.words
    assert ("a", {"href": "/dav/docs/report.docx"}) in shown.tags
    assert "try again later" in shown.words


def test_a_lock_without_an_end() -> None:
    shown = Page(locked_html(Locked(REPORT, [lock(until=None, principal=ANYBODY)]), Viewer(BOB), NOW, "").decode())
    assert "Held by another user since 2026-06-15 15:00 UTC, without an end." in shown.words


def test_who_makes_something_in_a_locked_folder_is_not_told_that_it_is_there() -> None:
    """The lock of a folder, a transaction and a maintenance say nothing of what is at the path of the request."""
    new, if_it_is = DavPath(("docs", "new.txt")), "If it is there already, you can open it as it is now , to read it."

    def words(*stopping: Lock) -> str:
        return " ".join(Page(locked_html(Locked(new, stopping), Viewer(BOB), NOW, "").decode()).words.split())

    folder = lock(DavPath(("docs",), True))
    assert if_it_is in words(folder)
    assert if_it_is in words(replace(folder, depth=Depth.INFINITY, kind=Kind.CHECKOUT))
    assert if_it_is in words(replace(TRANSACTION, root=new))
    assert if_it_is in words(replace(MAINTENANCE, root=new))
    # What is locked itself is there.
    assert "You can open it as it is now" in words(folder, lock(new))
    assert "You can open it as it is now" in words(lock(new, kind=Kind.CHECKOUT))


@pytest.mark.parametrize("until", ["2026-06-15T16:01:00", None])
def test_where_reading_is_blocked_too_nobody_is_sent_to_read(until: str | None) -> None:
    blocking = replace(MAINTENANCE, blocks_reads=True, expires=None if until is None else at(until))
    shown = Page(locked_html(Locked(REPORT, [lock(), blocking]), Viewer(BOB), NOW, "").decode())
    assert "Nothing can be opened here until the maintenance is over." in shown.words
    assert "until then" not in shown.words
    assert "to read it" not in shown.words


HOSTILE = st.text(max_size=12) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "' onmouseover='x",
        '" onload="x',
        "&lt;b&gt;",
        "javascript:x",
        "</title>",
        "\n",
        "\x00",
    ]
)
NAMES = HOSTILE.filter(lambda name: name not in ("", ".", "..") and "/" not in name and "\0" not in name).filter(
    lambda name: not any("\ud800" <= letter <= "\udfff" for letter in name)
)


@given(NAMES, HOSTILE, HOSTILE, HOSTILE, st.sampled_from(list(Kind)), st.sampled_from([None, BOB, JANE, ANYBODY]))
def test_every_form_is_well_formed_whatever_the_names(
    name: str, person: str, reason: str, transaction: str, kind: Kind, viewer: Principal | None
) -> None:
    root = DavPath(("d", name))
    held = lock(root, kind=kind, principal=Principal("x", person), reason=reason, transaction_id=transaction)
    locked = Locked(root, [held, lock(root, principal=ANYBODY, owner=owned("A &amp; B"))])
    for form in (locked_xml, locked_json, locked_html):
        assert TOKEN.encode() not in form(locked, Viewer(viewer), NOW, "/dav")
    etree.fromstring(locked_xml(locked, Viewer(viewer), NOW, "/dav"))
    told = as_json(locked, viewer)
    assert told["locks"][0]["path"] == root.href()
    shown = Page(locked_html(locked, Viewer(viewer), NOW, "/dav").decode())
    assert [tag for tag, _ in shown.tags] == [
        "html", "head", "meta", "title", "meta", "style", "body", "h1", "p", "dl", "dt", "dd", "dt", "dd", "p", "a",
    ]  # fmt: skip
    assert shown.tags[-1] == ("a", {"href": root.href("/dav")})


def test_a_page_is_self_contained() -> None:
    body = page("<T>", "<p>x</p>")
    assert b"<title>&lt;T&gt;</title>" in body
    assert b"http" not in body
    assert b"<script" not in body


# --- who is told the name


@pytest.mark.parametrize(
    ("principal", "owner", "viewer", "name"),
    [
        (JANE, "whatever", BOB, "Jane Smith"),
        (JANE, "whatever", JANE, "Jane Smith"),
        (JANE, "whatever", None, "Jane Smith"),
        (BOB, None, JANE, "bob"),
        # Accounts are told to those who log in.
        (JANE, "whatever", ANYBODY, None),
        # Where nobody logs in: what the client called itself.
        (ANYBODY, "Jane Smith", ANYBODY, "Jane Smith"),
        (ANYBODY, "\n  <D:href> DOMAIN\\jane\n</D:href> ", ANYBODY, "DOMAIN\\jane"),
        (ANYBODY, "Jane <b xmlns=''>Smith</b>", JANE, "Jane Smith"),
        (ANYBODY, "", ANYBODY, None),
        (ANYBODY, None, ANYBODY, None),
        (ANYBODY, "LibreOffice - http://www.libreoffice.org/", ANYBODY, None),
        (ANYBODY, "LibreOffice - Jane Smith", ANYBODY, "Jane Smith"),
        (ANYBODY, "LibreOffice - ", ANYBODY, None),
        (ANYBODY, "http://ucb.openoffice.org", ANYBODY, None),
        (ANYBODY, "<D:href>http://www.apple.com/webdav_fs/</D:href>", ANYBODY, None),
        (ANYBODY, "http://example.org/~ejw/", ANYBODY, "http://example.org/~ejw/"),
        (ANYBODY, "x" * 120, ANYBODY, "x" * 120),
        (ANYBODY, "x" * 121, ANYBODY, "x" * 119 + "…"),
        (Principal("y", "y" * 200), None, BOB, "y" * 119 + "…"),
    ],
)
def test_the_holders_name(principal: Principal, owner: str | None, viewer: Principal | None, name: str | None) -> None:
    held = lock(principal=principal, owner=None if owner is None else owned(owner))
    assert holder_name(held, Viewer(viewer)) == name


def test_owner_text() -> None:
    assert owner_text(None) == ""
    assert owner_text(owned("a<D:href>b</D:href> c&amp;")) == "ab c&"
    assert is_xml_text(owner_text(owned("&#x85;")))
