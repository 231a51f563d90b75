"""Moments in the forms of HTTP and WebDAV: text ↔ seconds since 1970 (UTC).

The law of this module: whatever is read, nothing is raised; what no calendar has is None, and what is written lies
within the years that a calendar has.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

# RFC 9110 §5.6.7: IMF-fixdate | rfc850-date | asctime-date.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-5][0-9]|60)"
_NAME = r"(?P<month>[A-Za-z]{3})"
_DATE_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"[A-Za-z]{{3}}, (?P<day>[0-9]{{2}}) {_NAME} (?P<year>[0-9]{{4}}) {_CLOCK} GMT",
        rf"[A-Za-z]{{6,9}}, (?P<day>[0-9]{{2}})-{_NAME}-(?P<year>[0-9]{{2}}) {_CLOCK} GMT",
        rf"[A-Za-z]{{3}} {_NAME} (?P<day>[ 0-9][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})",
    )
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_EARLIEST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _SECOND
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _SECOND


def parse_http_date(value: str) -> int | None:
    """Seconds since the epoch, or None where it is no date: such a field is ignored (RFC 9110 §13.1.3)."""
    text = value.strip(" \t")  # the optional whitespace around it (RFC 9110 §5.6.3)
    found = next(filter(None, (form.fullmatch(text) for form in _DATE_FORMS)), None)
    month = None if found is None else _MONTH.get(found["month"].lower())
    if found is None or month is None:
        return None
    year, second = int(found["year"]), int(found["second"])
    if len(found["year"]) == 2:
        # §5.6.7 would have years "more than 50 years in the future" be past; no file is older than 1970.
        year += 1900 if year >= 70 else 2000
    leap = second == 60
    try:
        moment = datetime(
            year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second - leap, tzinfo=UTC
        )
    except ValueError:  # 31 February, 25:00
        return None
    return (moment - _EPOCH) // _SECOND + leap


def utc(seconds: float) -> datetime:
    """The moment, to the second. Times outside of the years 1 to 9999, which a file may have, become the nearest
    within."""
    return _EPOCH + timedelta(seconds=min(max(seconds, _EARLIEST), _LATEST) // 1)


@lru_cache(maxsize=4096)
def format_http_date(seconds: float) -> str:
    """IMF-fixdate, in English whatever the locale. Times outside of the years 1 to 9999 become the nearest within."""
    day, second = divmod(min(max(seconds, _EARLIEST), _LATEST) // 1, 86400)
    return f"{_days(day)[0]} {_clock(second)} GMT"


@lru_cache(maxsize=4096)
def format_iso_date(seconds: int) -> str:
    """RFC 3339 in UTC, which DAV:creationdate is written in (RFC 4918 §15.1); the same bounds."""
    day, second = divmod(min(max(seconds, _EARLIEST), _LATEST), 86400)
    return f"{_days(day)[1]}T{_clock(second)}Z"


@lru_cache(maxsize=1024)
def _days(day: float) -> tuple[str, str]:
    """A day since the epoch, as HTTP and as ISO 8601 write it. A listing has many times, and few days."""
    date = _EPOCH + timedelta(days=day)
    return (
        f"{_DAYS[date.weekday()]}, {date.day:02} {_MONTHS[date.month - 1]} {date.year:04}",
        f"{date.year:04}-{date.month:02}-{date.day:02}",
    )


def _clock(second: float) -> str:
    minute, second = divmod(int(second), 60)
    return f"{minute // 60:02}:{minute % 60:02}:{second:02}"
