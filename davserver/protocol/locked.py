"""The 423 that explains: who holds it, until when, why, and when to try again.

Three forms of the same values: XML for WebDAV clients (the standard precondition first, details after it, as
RFC 4918 §16 allows), JSON for programs, HTML for people. A lock token never stands in any of them.

Several locks may stand in the way; the one that will be there longest, or the maintenance, speaks for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from davserver.protocol.dates import utc
from davserver.protocol.errors import Locked
from davserver.protocol.holder import SOMEBODY, Viewer, holder_name
from davserver.protocol.locks import Kind, Lock
from davserver.protocol.lost import lost_fields, lost_sentence
from davserver.protocol.moments import iso, time_of_day
from davserver.protocol.paths import DavPath
from davserver.protocol.xml_out import description, error_body, error_element, lockinfo

#: Locks that one answer names. RFC 4918 §16 asks for one at least; a tree may hold 100,000.
MAX_NAMED = 1000
#: Locks of a resource that is there; others may be of a path at which nothing is yet.
_ON_WHAT_IS = (Kind.WRITE, Kind.CHECKOUT)


def retry_after(locks: Iterable[Lock], now: float) -> int | None:
    """Whole seconds until the earliest moment when the locks may be gone; None when one never expires.

    All of them must go before the way is free, so the last to expire counts.
    """
    ends = [lock.expires for lock in locks]
    known = [end for end in ends if end is not None]
    return max(1, math.ceil(max(known) - now)) if known and len(known) == len(ends) else None


def locked_xml(locked: Locked, viewer: Viewer, now: float, prefix: str) -> bytes:
    """One href and one lockinfo for each root; of shared locks on one root the last to go."""
    return error_body(locked.element or "", *_named(locked, viewer, now, prefix))


def locked_element(locked: Locked, viewer: Viewer, now: float, prefix: str) -> bytes:
    """The same as it stands in a 207."""
    return error_element(locked.element or "", *_named(locked, viewer, now, prefix))


def _named(locked: Locked, viewer: Viewer, now: float, prefix: str) -> tuple[Iterable[str], bytes]:
    last: dict[str, Lock] = {}
    for lock in locked.locks:
        url = lock.href(prefix)
        last[url] = max(last.get(url, lock), lock, key=_end)
    named = dict(list(last.items())[:MAX_NAMED])
    details = b"".join(lockinfo(lock, viewer, now, url) for url, lock in named.items())
    if locked.lost is not None:
        details += description(lost_sentence(locked.lost, viewer, now))
    return named, b"<D:detail>%b</D:detail>" % details


def locked_json(locked: Locked, viewer: Viewer, now: float, prefix: str) -> bytes:
    """One of three situations, each with its own order of fields. What does not apply is absent, never null."""
    lock = _speaker(locked.locks)
    told = _told(lock, viewer)
    always: dict[str, object] = {"error": "Locked", "message": sentence(locked, viewer, now)}
    retry = {"retry_after": retry_after(locked.locks, now)}
    match lock.kind:
        case Kind.MAINTENANCE:
            fields = (
                always | {"maintenance_mode": True} | _only(told, "locked_until", "locked_by", "lock_reason") | retry
            )
        case Kind.TRANSACTION:
            fields = always | _only(told, "lock_reason") | retry | _only(told, "transaction_id")
        case _:
            fields = always | {"path": locked.path.href(prefix)} | _only(told, "locked_by", "locked_until") | retry
            fields |= _only(told, "lock_reason")
    fields["locks"] = [lock_fields(each, viewer, prefix) for each in locked.locks[:MAX_NAMED]]
    if locked.lost is not None:
        fields["lost_lock"] = present(lost_fields(locked.lost, viewer, now, prefix))
    return to_json(fields)


def to_json(fields: Mapping[str, object]) -> bytes:
    """A JSON object, in the order of `fields`, without those that are None."""
    return json.dumps(present(fields), ensure_ascii=False).encode("utf-8", "replace")


def lock_fields(lock: Lock, viewer: Viewer, prefix: str) -> dict[str, object]:
    """One lock, for programs. What does not apply is absent."""
    told = _told(lock, viewer)
    return present(
        {
            "id": lock.id or None,
            "path": lock.href(prefix),
            "scope": lock.scope.value,
            "depth": lock.depth.value,
            "kind": lock.kind.value,
            "locked_by": told["locked_by"],
            "locked_since": iso(lock.created),
            "locked_until": told["locked_until"],
            "lock_reason": told["lock_reason"],
            "transaction_id": told["transaction_id"],
        }
    )


def lock_details(lock: Lock, viewer: Viewer, now: float, prefix: str) -> dict[str, object]:
    """`lock_fields`, and what helps to judge whether anybody still works behind the lock."""
    client = present({"address": lock.client_address or None, "agent": lock.client_agent or None})
    return lock_fields(lock, viewer, prefix) | present(
        {
            "refreshed_at": iso(lock.refreshed),
            "probably_stale": lock.is_stale(now),
            "blocks_reads": lock.blocks_reads or None,
            "fencing_number": lock.fence,
            "client": client or None,
        }
    )


def _told(lock: Lock, viewer: Viewer) -> dict[str, object]:
    return {
        "locked_by": holder_name(lock, viewer),
        "locked_until": None if lock.expires is None else iso(lock.expires),
        "lock_reason": lock.reason,
        "transaction_id": lock.transaction_id,
    }


def _only(fields: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: fields[name] for name in names}


def present(fields: Mapping[str, object]) -> dict[str, object]:
    """Without what is None."""
    return {name: value for name, value in fields.items() if value is not None}


def _speaker(locks: Sequence[Lock]) -> Lock:
    return max(locks, key=lambda lock: (lock.kind is Kind.MAINTENANCE, _end(lock)))


def _end(lock: Lock) -> float:
    return math.inf if lock.expires is None else lock.expires


def sentence(locked: Locked, viewer: Viewer, now: float) -> str:
    """What stands in the way, for people: "report.docx is being edited by Jane Smith until 15:30 UTC." """
    lock = _speaker(locked.locks)
    others = len(locked.locks) - 1
    more = "" if not others else f" {others} more {'lock stands' if others == 1 else 'locks stand'} in the way."
    return _about(lock, holder_name(lock, viewer) or SOMEBODY, now) + more


def _about(lock: Lock, holder: str, now: float) -> str:
    because = f": {_reason(lock)}" if _reason(lock) else ""
    match lock.kind:
        case Kind.MAINTENANCE:
            return f"{lock.root.key} is locked for maintenance{because}."
        case Kind.TRANSACTION:
            which = f"transaction {lock.transaction_id}" if lock.transaction_id else "a transaction"
            return f"{lock.root.key} is being changed by {which}."
        case Kind.CHECKOUT:
            return f"{_name(lock.root)} is checked out by {holder}{_until(lock, now)}{because}."
    verb = "locked" if lock.root.slash or lock.root.is_root else "being edited"
    return f"{_name(lock.root)} is {verb} by {holder}{_until(lock, now)}."


def _name(root: DavPath) -> str:
    if root.is_root:
        return "/"
    return f"The folder {root.name}" if root.slash else root.name


def _reason(lock: Lock) -> str:
    """On one line, and without a full stop of its own."""
    return " ".join((lock.reason or "").split()).rstrip(".")


def _until(lock: Lock, now: float) -> str:
    """ " until 15:30 UTC"; "" for a lock that does not expire."""
    return "" if lock.expires is None else f" until {time_of_day(lock.expires, now)}"


def locked_html(locked: Locked, viewer: Viewer, now: float, prefix: str) -> bytes:
    """A page for the person in front of a browser: who, since when, until when, why, and what to do."""
    named = locked.locks[:MAX_NAMED]
    rows = "".join(f"<dt>{escape(lock.root.key)}</dt><dd>{escape(_details(lock, viewer, now))}</dd>" for lock in named)
    url = escape(locked.path.href(prefix))
    if any(lock.blocks_reads for lock in locked.locks):
        advice = f'Nothing can be opened here until the maintenance is over. <a href="{url}">Try again</a> later.'
    else:
        is_there = any(lock.root == locked.path and lock.kind in _ON_WHAT_IS for lock in locked.locks)
        who = "You" if is_there else "If it is there already, you"
        advice = (
            f'{who} can <a href="{url}">open it as it is now</a>, to read it. What you change cannot be saved here '
            "until the lock is gone: try again later, or ask for it to be released."
        )
    lost = "" if locked.lost is None else f"<p>{escape(lost_sentence(locked.lost, viewer, now))}</p>"
    return page("Locked", f"{lost}<p>{escape(sentence(locked, viewer, now))}</p><dl>{rows}</dl><p>{advice}</p>")


def _details(lock: Lock, viewer: Viewer, now: float) -> str:
    holder, since = holder_name(lock, viewer) or SOMEBODY, utc(lock.created)
    because = f" Reason: {_reason(lock)}." if _reason(lock) else ""
    return f"Held by {holder} since {since:%Y-%m-%d %H:%M} UTC{_until(lock, now) or ', without an end'}.{because}"


def page(title: str, body: str, style: str = "") -> bytes:
    """A small self-contained page. `body` is HTML, escaped by the caller; `style`: CSS beside what all pages have."""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><style>body{font:16px/1.5 system-ui,sans-serif;'
        "margin:15vh auto;max-width:40rem;padding:0 1rem;overflow-wrap:anywhere}dt{font-weight:600}"
        "dd{margin:0 0 .5rem}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8bf}}"
        f"{style}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    ).encode("utf-8", "replace")
