"""The 423 that explains: who holds it, until when, why, and when to try again.

Three forms of the same values: XML for WebDAV clients (the standard precondition first, details after it, as
RFC 4918 §16 allows), JSON for programs, HTML for people. A lock token never stands in any of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape

from davserver.protocol.errors import Locked
from davserver.protocol.locks import Kind, Lock
from davserver.protocol.paths import DavPath
from davserver.protocol.xml_out import document, error_element, holder_name, href, lock_kind, printable


def retry_after(locks: Iterable[Lock], now: float) -> int | None:
    """Whole seconds until the earliest moment when the locks may be gone; None when one never expires.

    All of them must go before the way is free, so the last to expire counts.
    """
    left = [lock.seconds_left(now) for lock in locks]
    known = [seconds for seconds in left if seconds is not None]
    return max(known) if known and len(known) == len(left) else None


def locked_xml(locked: Locked, now: float, prefix: str) -> bytes:
    roots = dict.fromkeys(lock.href(prefix) for lock in locked.locks)
    details = b"".join(_lockinfo(lock, now, prefix) for lock in locked.locks)
    return document(error_element(locked.element or "", roots, b"<D:detail>%b</D:detail>" % details))


def _lockinfo(lock: Lock, now: float, prefix: str) -> bytes:
    seconds = lock.seconds_left(now)
    return b"<D:lockinfo>%b<D:owner>%b</D:owner><D:timeout>%b</D:timeout><D:lockroot>%b</D:lockroot></D:lockinfo>" % (
        lock_kind(lock),
        printable(holder_name(lock)).encode(),
        b"Infinite" if seconds is None else b"Second-%d" % seconds,
        href(lock.href(prefix)),
    )


def locked_json(locked: Locked, now: float, prefix: str) -> bytes:
    """A field that does not apply is absent, never null."""
    first = locked.locks[0]
    fields = {
        "error": "Locked",
        "message": sentence(locked, now),
        "path": locked.path.href(prefix),
        "maintenance_mode": True if first.kind is Kind.MAINTENANCE else None,
        **_common(first),
        "retry_after": retry_after(locked.locks, now),
        "locks": [_lock_json(lock, prefix) for lock in locked.locks],
    }
    return json.dumps(_present(fields), ensure_ascii=False).encode("utf-8", "replace")


def _lock_json(lock: Lock, prefix: str) -> dict[str, object]:
    return _present(
        {
            "id": lock.id,
            "path": lock.href(prefix),
            "kind": lock.kind.value,
            "scope": lock.scope.value,
            "depth": lock.depth.value,
            **_common(lock),
            "locked_since": _moment(lock.created),
        }
    )


def _common(lock: Lock) -> dict[str, object]:
    return {
        "locked_by": holder_name(lock),
        "locked_until": None if lock.expires is None else _moment(lock.expires),
        "lock_reason": lock.reason,
        "transaction_id": lock.transaction_id,
    }


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def sentence(locked: Locked, now: float) -> str:
    """What stands in the way, for people."""
    lock = locked.locks[0]
    root = lock.root.key
    because = f": {lock.reason}" if lock.reason else ""
    until = _until(lock, now)
    match lock.kind:
        case Kind.MAINTENANCE:
            return f"{root} is locked for maintenance{because}."
        case Kind.TRANSACTION:
            return f"{root} is being changed by transaction {lock.transaction_id}."
        case Kind.CHECKOUT:
            return f"{_name(lock.root)} is checked out by {holder_name(lock)}{until}{because}."
    return f"{_name(lock.root)} is being edited by {holder_name(lock)}{until}."


def _name(root: DavPath) -> str:
    return root.name or "/"


def _until(lock: Lock, now: float) -> str:
    """ " until 15:30 UTC", with the day where it is not today."""
    if lock.expires is None:
        return ""
    end, today = datetime.fromtimestamp(lock.expires, UTC), datetime.fromtimestamp(now, UTC)
    day = "" if end.date() == today.date() else f"{end:%Y-%m-%d} "
    return f" until {day}{end:%H:%M} UTC"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def locked_html(locked: Locked, now: float, prefix: str) -> bytes:
    """A page for the person in front of a browser: who, since when, until when, why, and what to do."""
    rows = "".join(f"<dt>{escape(lock.root.key)}</dt><dd>{escape(_detail(lock, now))}</dd>" for lock in locked.locks)
    url = escape(locked.path.href(prefix))
    body = (
        f"<p>{escape(sentence(locked, now))}</p><dl>{rows}</dl>"
        f'<p>You can <a href="{url}">open it as it is now</a>, which is safe, but what you change cannot be saved '
        f"here yet. Ask {escape(holder_name(locked.locks[0]))} to finish, or try again later.</p>"
    )
    return page("Locked", body)


def _detail(lock: Lock, now: float) -> str:
    since = datetime.fromtimestamp(lock.created, UTC)
    because = f" Reason: {lock.reason}." if lock.reason else ""
    return f"Held by {holder_name(lock)} since {since:%Y-%m-%d %H:%M} UTC{_until(lock, now)}.{because}"


def page(title: str, body: str) -> bytes:
    """A small self-contained page. `body` is HTML, escaped by the caller."""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><style>body{font:16px/1.5 system-ui,sans-serif;'
        "margin:15vh auto;max-width:40rem;padding:0 1rem}dt{font-weight:600}dd{margin:0 0 .5rem}"
        "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8bf}}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    ).encode("utf-8", "replace")
