"""Moments as people and programs read them: always UTC, and always said so."""

from __future__ import annotations

from davserver.protocol.dates import utc


def iso(seconds: float) -> str:
    """2026-06-15T15:30:00Z"""
    return utc(seconds).isoformat(timespec="seconds").replace("+00:00", "Z")


def time_of_day(seconds: float, now: float) -> str:
    """15:30 UTC, with the day where it is not today."""
    moment = utc(seconds)
    day = "" if moment.date() == utc(now).date() else f"{moment:%Y-%m-%d} "
    return f"{day}{moment:%H:%M} UTC"
