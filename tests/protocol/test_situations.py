"""The three situations of a 423, whole, in every form: an edited document, a maintenance, a transaction."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from webdav_schema import assert_valid

from davserver.protocol.errors import Locked, PreconditionFailed, Refused
from davserver.protocol.holder import OPERATOR, Reveal, Viewer, holder_name, person_name
from davserver.protocol.locks import ANYBODY, Depth, End, Ending, Kind, Lock, Principal, Scope
from davserver.protocol.lost import lost_fields, lost_sentence
from davserver.protocol.paths import ROOT, DavPath
from davserver.protocol.refusal import render


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-06-15T{text}").replace(tzinfo=UTC).timestamp()


JANE, BOB = Principal("jane", "Jane Smith"), Principal("bob", "Bob")
REPORT, ORDER = DavPath(("docs", "report.docx")), DavPath(("orders", "123"))

EDITED = Locked(
    REPORT,
    [
        Lock(
            "urn:uuid:1", REPORT, Depth.ZERO, Scope.EXCLUSIVE, Kind.WRITE, JANE, None, at("15:00:00"), at("15:00:00"),
            at("15:30:00"), id=7,
        )
    ],
)  # fmt: skip
MAINTENANCE = Locked(
    REPORT,
    [
        Lock(
            "urn:uuid:2", ROOT, Depth.INFINITY, Scope.EXCLUSIVE, Kind.MAINTENANCE,
            Principal("local:system-admin", "system-admin"), None, at("02:00:00"), at("02:00:00"), at("03:00:00"), id=8,
            reason="nightly backup",
        )
    ],
)  # fmt: skip
TRANSACTION = Locked(
    ORDER,
    [
        Lock(
            "urn:uuid:3", ORDER, Depth.INFINITY, Scope.EXCLUSIVE, Kind.TRANSACTION, Principal("shop"), None,
            at("15:01:00"), at("15:01:00"), at("15:02:00"), id=9, reason="Payment processing in progress",
            transaction_id="txn-456789", fence=456789,
        )
    ],
)  # fmt: skip

STYLE = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Locked</title>'
    '<meta name="viewport" content="width=device-width"><style>body{font:16px/1.5 system-ui,sans-serif;'
    "margin:15vh auto;max-width:40rem;padding:0 1rem;overflow-wrap:anywhere}dt{font-weight:600}"
    "dd{margin:0 0 .5rem}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8bf}}"
    "</style></head><body><h1>Locked</h1>"
)


def page(words: str, where: str, details: str, url: str, *, you: str = "If it is there already, you") -> str:
    return (
        f"{STYLE}<p>{words}</p><dl><dt>{where}</dt><dd>{details}</dd></dl>"
        f'<p>{you} can <a href="{url}">open it as it is now</a>, to read it. What you change cannot be saved here '
        "until the lock is gone: try again later, or ask for it to be released.</p></body></html>\n"
    )


GOLDEN = [
    (
        EDITED, "15:01:00", "1740",
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<D:error xmlns:D="DAV:"><D:lock-token-submitted><D:href>/docs/report.docx</D:href></D:lock-token-submitted>'
        "<D:detail><D:lockinfo><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"
        "<D:depth>0</D:depth><D:owner>Jane Smith</D:owner><D:timeout>Second-1740</D:timeout>"
        "<D:lockroot><D:href>/docs/report.docx</D:href></D:lockroot></D:lockinfo></D:detail></D:error>",
        '{"error": "Locked", "message": "report.docx is being edited by Jane Smith until 15:30 UTC.", '
        '"path": "/docs/report.docx", "locked_by": "Jane Smith", "locked_until": "2026-06-15T15:30:00Z", '
        '"retry_after": 1740, "locks": [{"id": 7, "path": "/docs/report.docx", "scope": "exclusive", "depth": "0", '
        '"kind": "write", "locked_by": "Jane Smith", "locked_since": "2026-06-15T15:00:00Z", '
        '"locked_until": "2026-06-15T15:30:00Z"}]}',
        page(
            "report.docx is being edited by Jane Smith until 15:30 UTC.", "/docs/report.docx",
            "Held by Jane Smith since 2026-06-15 15:00 UTC until 15:30 UTC.", "/docs/report.docx", you="You",
        ),
    ),
    (
        MAINTENANCE, "02:00:00", "3600",
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<D:error xmlns:D="DAV:"><D:lock-token-submitted><D:href>/</D:href></D:lock-token-submitted>'
        "<D:detail><D:lockinfo><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"
        "<D:depth>infinity</D:depth><D:owner>system-admin (maintenance: nightly backup)</D:owner>"
        "<D:timeout>Second-3600</D:timeout><D:lockroot><D:href>/</D:href></D:lockroot></D:lockinfo></D:detail></D:error>",
        '{"error": "Locked", "message": "/ is locked for maintenance: nightly backup.", "maintenance_mode": true, '
        '"locked_until": "2026-06-15T03:00:00Z", "locked_by": "system-admin", "lock_reason": "nightly backup", '
        '"retry_after": 3600, "locks": [{"id": 8, "path": "/", "scope": "exclusive", "depth": "infinity", '
        '"kind": "maintenance", "locked_by": "system-admin", "locked_since": "2026-06-15T02:00:00Z", '
        '"locked_until": "2026-06-15T03:00:00Z", "lock_reason": "nightly backup"}]}',
        page(
            "/ is locked for maintenance: nightly backup.", "/",
            "Held by system-admin since 2026-06-15 02:00 UTC until 03:00 UTC. Reason: nightly backup.",
            "/docs/report.docx",
        ),
    ),
    (
        TRANSACTION, "15:01:00", "60",
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<D:error xmlns:D="DAV:"><D:lock-token-submitted><D:href>/orders/123</D:href></D:lock-token-submitted>'
        "<D:detail><D:lockinfo><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"
        "<D:depth>infinity</D:depth><D:owner>shop (transaction txn-456789)</D:owner>"
        "<D:timeout>Second-60</D:timeout><D:lockroot><D:href>/orders/123</D:href></D:lockroot></D:lockinfo></D:detail>"
        "</D:error>",
        '{"error": "Locked", "message": "/orders/123 is being changed by transaction txn-456789.", '
        '"lock_reason": "Payment processing in progress", "retry_after": 60, "transaction_id": "txn-456789", '
        '"locks": [{"id": 9, "path": "/orders/123", "scope": "exclusive", "depth": "infinity", '
        '"kind": "transaction", "locked_by": "shop", "locked_since": "2026-06-15T15:01:00Z", '
        '"locked_until": "2026-06-15T15:02:00Z", "lock_reason": "Payment processing in progress", '
        '"transaction_id": "txn-456789"}]}',
        page(
            "/orders/123 is being changed by transaction txn-456789.", "/orders/123",
            "Held by shop since 2026-06-15 15:01 UTC until 15:02 UTC. Reason: Payment processing in progress.",
            "/orders/123",
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("locked", "now", "retry", "xml", "as_json", "html"), GOLDEN, ids=["edit", "backup", "pay"])
def test_every_form_of_every_situation(locked: Locked, now: str, retry: str, xml: str, as_json: str, html: str) -> None:
    wanted = {
        None: ("application/xml; charset=utf-8", xml),
        "text/html;q=0.5, application/xml;q=0.9": ("application/xml; charset=utf-8", xml),
        "application/json": ("application/json", as_json),
        "text/html, */*;q=0.1": ("text/html; charset=utf-8", html),
    }
    for accept, (kind, body) in wanted.items():
        response = render(locked, accept=accept, content_type=None, now=at(now), prefix="", viewer=Viewer(BOB))
        headers = dict(response.headers)
        assert response.status == 423
        assert (headers["Content-Type"], headers["Retry-After"], headers["Cache-Control"]) == (kind, retry, "no-store")
        assert isinstance(response.body, bytes)
        assert response.body.decode() == body
    assert_valid(xml.encode())


# --- what became of a lock


def lost(how: Ending, **fields: object) -> Lock:
    (lock,) = EDITED.locks
    return replace(lock, end=End(how, at("15:20:00"), **fields))  # type: ignore[arg-type]


BROKEN = lost(Ending.BROKEN, by=BOB, reason="Jane is on holiday.")


@pytest.mark.parametrize(
    ("lock", "viewer", "words"),
    [
        (BROKEN, Viewer(JANE),
         "Your lock on /docs/report.docx was broken by Bob at 15:20 UTC: Jane is on holiday."),
        (BROKEN, Viewer(JANE, Reveal.NOBODY),
         "Your lock on /docs/report.docx was broken by another user at 15:20 UTC: Jane is on holiday."),
        (lost(Ending.BROKEN), Viewer(JANE), "Your lock on /docs/report.docx was broken by another user at 15:20 UTC."),
        (lost(Ending.EXPIRED), Viewer(JANE), "Your lock on /docs/report.docx expired at 15:20 UTC."),
        (lost(Ending.RELEASED), Viewer(JANE), "You released your lock on /docs/report.docx at 15:20 UTC."),
        (EDITED.locks[0], Viewer(JANE), ""),
    ],
)  # fmt: skip
def test_what_became_of_it(lock: Lock, viewer: Viewer, words: str) -> None:
    assert lost_sentence(lock, viewer, at("15:25:00")) == words


def test_what_became_of_it_for_programs() -> None:
    assert lost_fields(BROKEN, Viewer(JANE), at("15:25:00"), "/dav") == {
        "id": 7, "path": "/dav/docs/report.docx", "ended": "broken", "ended_at": "2026-06-15T15:20:00Z",
        "broken_by": "Bob", "break_reason": "Jane is on holiday.",
    }  # fmt: skip
    assert lost_fields(EDITED.locks[0], Viewer(JANE), at("15:25:00"), "") == {}


SENTENCE = "Your lock on /docs/report.docx was broken by Bob at 15:20 UTC: Jane is on holiday."


@pytest.mark.parametrize(
    "refused",
    [
        Locked(REPORT, [replace(EDITED.locks[0], principal=BOB)]),
        PreconditionFailed("None of the conditions in If is true.", paths=[REPORT]),
        PreconditionFailed("There is no such lock.", element="lock-token-matches-request-uri"),
    ],
)
def test_the_holder_of_a_broken_lock_is_told_in_every_form(refused: Refused) -> None:
    refused.lost = BROKEN
    bodies = {}
    for accept in ("application/xml", "application/json", "text/html"):
        response = render(
            refused, accept=accept, content_type=None, now=at("15:25:00"), prefix="", viewer=Viewer(JANE), path=REPORT
        )
        assert response.status == refused.status
        assert isinstance(response.body, bytes)
        bodies[accept] = response.body
        assert b"urn:uuid" not in response.body
    assert_valid(bodies["application/xml"])
    assert f"{SENTENCE}</D:responsedescription>".encode() in bodies["application/xml"]
    assert SENTENCE.encode() in bodies["text/html"]
    told = json.loads(bodies["application/json"])
    assert told["lost_lock"]["broken_by"] == "Bob"
    assert told["path"] == "/docs/report.docx"
    assert told.get("message", "").endswith(SENTENCE) or refused.status == 423


# --- who is told a name


@pytest.mark.parametrize(
    ("viewer", "name"),
    [
        (OPERATOR, "Jane Smith"),
        (Viewer(JANE, Reveal.NOBODY), "Jane Smith"),
        (Viewer(BOB, Reveal.NOBODY), None),
        (Viewer(ANYBODY, Reveal.NOBODY), None),
        (Viewer(BOB, Reveal.USERS), "Jane Smith"),
        (Viewer(ANYBODY, Reveal.USERS), None),
        (Viewer(BOB, Reveal.EVERYONE), "Jane Smith"),
        (Viewer(ANYBODY, Reveal.EVERYONE), "Jane Smith"),
    ],
)
def test_who_is_told_the_holders_name(viewer: Viewer, name: str | None) -> None:
    assert holder_name(EDITED.locks[0], viewer) == name
    assert person_name(JANE, viewer) == name


def test_where_nobody_logs_in_the_owners_text_may_be_kept_back_too() -> None:
    lock = replace(EDITED.locks[0], principal=ANYBODY, owner=b'<D:owner xmlns:D="DAV:">Jane</D:owner>')
    assert holder_name(lock, Viewer(ANYBODY)) == "Jane"
    assert holder_name(lock, Viewer(ANYBODY, Reveal.NOBODY)) is None
    assert holder_name(lock, OPERATOR) == "Jane"


# --- the schema that all answers are held against


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        ("<D:depth>0</D:depth>", ""),
        ("<D:depth>0</D:depth>", "<D:depth>1</D:depth>"),
        ("<D:owner>Jane Smith</D:owner>", ""),
        ("Second-1740", "Second-0"),
        ("Second-1740", "1740"),
        ("<D:href>/docs/report.docx</D:href></D:lockroot>", "<D:href>docs/report.docx</D:href></D:lockroot>"),
        ("<D:href>/docs/report.docx</D:href></D:lock-token", "</D:lock-token"),
        ("<D:exclusive/>", ""),
        ("<D:exclusive/>", "<D:exclusive/><D:shared/>"),
        ("lock-token-submitted", "lock-token"),
        ("</D:detail>", "<D:x/></D:detail>"),
        ('"DAV:"', '"dav:"'),
    ],
)
def test_the_schema_can_fail(whole: str, broken: str) -> None:
    xml = GOLDEN[0][3]
    assert whole in xml
    assert_valid(xml.encode())
    with pytest.raises(AssertionError):
        assert_valid(xml.replace(whole, broken).encode())
