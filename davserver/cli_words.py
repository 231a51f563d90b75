"""Words of a command line that several commands take: paths, numbers and lengths of time, as people write them."""

from __future__ import annotations

import argparse

from davserver.protocol.errors import Refused
from davserver.protocol.paths import DavPath, quote_name
from davserver.settings import SettingsError, parse_duration

#: Longest time that can be asked for, in seconds: a year, as in the API.
LONGEST = 366 * 86400
#: Numbers that the database can hold.
_LARGEST = 2**63 - 1


def path_of(text: str) -> DavPath:
    """What people write is not escaped. Raises SettingsError."""
    if not text.startswith("/"):
        raise SettingsError(f"{text!r} is no path: it begins with a slash.")
    try:
        return DavPath.parse("/".join(map(quote_name, text.split("/"))))
    except Refused as refused:
        raise SettingsError(f"{text!r} is no path: {refused.message}") from refused
    except UnicodeEncodeError as error:
        raise SettingsError(f"{text!r} is no path: it is not UTF-8.") from error


def list_number(text: str) -> int:
    """Of something in a list. For argparse."""
    try:
        found = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number") from error
    if abs(found) > _LARGEST:
        raise argparse.ArgumentTypeError(f"there is no number beyond {_LARGEST}")
    return found


def duration(text: str) -> int:
    """In seconds. For argparse."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 1 <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be between 1s and {LONGEST // 86400}d")
    return seconds
