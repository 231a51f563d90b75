"""What became of a lock: told to its holder, who comes back with a token that is worth nothing any more."""

from __future__ import annotations

from davserver.protocol.holder import SOMEBODY, Viewer, person_name
from davserver.protocol.locks import Ending, Lock
from davserver.protocol.moments import iso, time_of_day


def lost_sentence(lock: Lock, viewer: Viewer, now: float) -> str:
    """ "Your lock on /docs/report.docx was broken by Bob at 15:20 UTC: Jane is on holiday." """
    end = lock.ending(now)
    if end is None:
        return ""
    when = time_of_day(end.at, now)
    match end.how:
        case Ending.BROKEN:
            by = SOMEBODY if end.by is None else person_name(end.by, viewer) or SOMEBODY
            why = f": {end.reason.rstrip('.')}" if end.reason else ""
            return f"Your lock on {lock.root.key} was broken by {by} at {when}{why}."
        case Ending.EXPIRED:
            return f"Your lock on {lock.root.key} expired at {when}."
    return f"You released your lock on {lock.root.key} at {when}."


def lost_fields(lock: Lock, viewer: Viewer, now: float, prefix: str) -> dict[str, object]:
    """The same for programs; None is what does not apply."""
    end = lock.ending(now)
    if end is None:
        return {}
    return {
        "id": lock.id,
        "path": lock.href(prefix),
        "ended": end.how.value,
        "ended_at": iso(end.at),
        "broken_by": None if end.by is None else person_name(end.by, viewer),
        "break_reason": end.reason,
    }
