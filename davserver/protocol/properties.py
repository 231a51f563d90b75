"""Properties: their names, the table of the live ones, and the all-or-nothing arithmetic of PROPPATCH.

The law of this module: names and rules, no XML and no files. What a live property's value is, is computed
where the file is known; that it exists, who may set it and where it shows is one row here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from davserver.protocol.dates import parse_http_date

DAV = "DAV:"
MICROSOFT = "urn:schemas-microsoft-com:"

#: Largest dead property, in bytes of its serialized element: a value of 64 KiB, and what surrounds it.
PROPERTY_LIMIT = 68 * 1024


class PropName(NamedTuple):
    """An expanded name (RFC 4918 §4.5); `namespace` is "" for none. A tuple, since every PROPFIND hashes some."""

    namespace: str
    local: str


@dataclass(frozen=True, slots=True)
class DeadProperty:
    """A property the server only keeps: `xml` is its whole element, complete in itself, as it stands in an answer."""

    name: PropName
    xml: bytes


@dataclass(frozen=True, slots=True)
class SetProperty:
    dead: DeadProperty
    #: The text of the element and all below it.
    text: str

    @property
    def name(self) -> PropName:
        return self.dead.name


@dataclass(frozen=True, slots=True)
class RemoveProperty:
    name: PropName


PropertyUpdate = tuple[SetProperty | RemoveProperty, ...]


@dataclass(frozen=True, slots=True)
class AllProp:
    """RFC 4918 §14.2; `include` names what is wanted beside (§14.8)."""

    include: tuple[PropName, ...] = ()


@dataclass(frozen=True, slots=True)
class PropNames:
    """RFC 4918 §14.24: the names alone."""


@dataclass(frozen=True, slots=True)
class NamedProps:
    names: tuple[PropName, ...]


@dataclass(frozen=True, slots=True)
class LiveProperty:
    """One row. `sets_mtime`: PROPPATCH may set it, to an HTTP date that becomes the file's time of change.
    `kept`: PROPPATCH may set it, and what was set takes the place of what the server would say."""

    in_allprop: bool = True
    sets_mtime: bool = False
    kept: bool = False


RESOURCETYPE = PropName(DAV, "resourcetype")

#: RFC 4918 §15, RFC 4331 (quota: shown only when named, §3 and §4 there), and what RFC 5397 and RFC 3744 say of who
#: asks and what they may do (shown only when named: RFC 3744 §5, and Finder stumbles over hrefs it has not asked for).
#: In the order of an answer;
#: lockdiscovery is last since LibreOffice takes the last href of a response for the resource's own.
#: displayname SHOULD NOT be protected (§15.2); where nobody set it, it is the name, since GNOME Files shows it.
LIVE: Mapping[PropName, LiveProperty] = {
    RESOURCETYPE: LiveProperty(),
    PropName(DAV, "creationdate"): LiveProperty(),
    PropName(DAV, "getlastmodified"): LiveProperty(sets_mtime=True),
    PropName(DAV, "getcontentlength"): LiveProperty(),
    PropName(DAV, "getcontenttype"): LiveProperty(),
    PropName(DAV, "getetag"): LiveProperty(),
    PropName(DAV, "displayname"): LiveProperty(kept=True),
    PropName(DAV, "quota-available-bytes"): LiveProperty(in_allprop=False),
    PropName(DAV, "quota-used-bytes"): LiveProperty(in_allprop=False),
    PropName(DAV, "current-user-principal"): LiveProperty(in_allprop=False),
    PropName(DAV, "current-user-privilege-set"): LiveProperty(in_allprop=False),
    PropName(DAV, "owner"): LiveProperty(in_allprop=False),
    PropName(DAV, "supportedlock"): LiveProperty(),
    PropName(DAV, "lockdiscovery"): LiveProperty(),
}

#: rclone sets a file's time of change by this name, in seconds since the epoch. It is not kept: what is kept
#: would still be told when the file had long changed.
_LASTMODIFIED = PropName(DAV, "lastmodified")
#: Explorer and Office: kept as it was sent (they read it back), and also the file's time of change.
_WIN32_LASTMODIFIED = PropName(MICROSOFT, "Win32LastModifiedTime")
_SECONDS = re.compile("[0-9]{1,11}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one property: its status, and the precondition element that explains a refusal."""

    name: PropName
    status: int
    element: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A PROPPATCH decided: `changes` and `mtime` are to be applied together, and only when `ok`."""

    outcomes: tuple[Outcome, ...]
    changes: PropertyUpdate = ()
    #: Seconds since the epoch.
    mtime: int | None = None

    @property
    def ok(self) -> bool:
        return all(outcome.status == 200 for outcome in self.outcomes)


def plan(update: PropertyUpdate, *, limit: int = PROPERTY_LIMIT, refused: Sequence[Outcome] = ()) -> Plan:
    """RFC 4918 §9.2: instructions in document order, all or none; what did not fail itself is 424 (§11.4).

    `limit`: bytes of one property; `refused`: what is known to fail beside these.
    """
    outcomes: dict[PropName, Outcome] = {outcome.name: outcome for outcome in refused}
    for instruction in update:
        refusal = _refusal(instruction, limit)
        if refusal is not None:
            outcomes[instruction.name] = refusal
        else:
            outcomes.setdefault(instruction.name, Outcome(instruction.name, 200))
    if any(outcome.status != 200 for outcome in outcomes.values()):
        return Plan(tuple(o if o.status != 200 else Outcome(o.name, 424) for o in outcomes.values()))
    times = [_moment(change) for change in update if isinstance(change, SetProperty) and _sets_mtime(change.name)]
    # Explorer writes the year 1601 where it knows no time.
    known = [seconds for seconds in times if seconds is not None and seconds >= 0]
    return Plan(tuple(outcomes.values()), tuple(filter(_is_kept, update)), known[-1] if known else None)


def are_windows_attributes(update: PropertyUpdate) -> bool:
    """Nothing but the times and attributes that Explorer and Office set after a save, at times without a token?"""
    return bool(update) and all(
        change.name.namespace == MICROSOFT and change.name.local in _WINDOWS_ATTRIBUTES for change in update
    )


_WINDOWS_ATTRIBUTES = frozenset(
    {"Win32CreationTime", "Win32LastAccessTime", "Win32LastModifiedTime", "Win32FileAttributes"}
)


def _is_kept(change: SetProperty | RemoveProperty) -> bool:
    row = LIVE.get(change.name)
    return isinstance(change, RemoveProperty) or (change.name != _LASTMODIFIED if row is None else row.kept)


def _sets_mtime(name: PropName) -> bool:
    return name in (_LASTMODIFIED, _WIN32_LASTMODIFIED) or (name in LIVE and LIVE[name].sets_mtime)


def _moment(change: SetProperty) -> int | None:
    """Seconds since the epoch; None when the value is no time."""
    text = change.text.strip()
    if change.name == _LASTMODIFIED and _SECONDS.fullmatch(text):
        return int(text)
    return parse_http_date(text)


def _refusal(instruction: SetProperty | RemoveProperty, limit: int) -> Outcome | None:
    name = instruction.name
    row = LIVE.get(name)
    if row is not None and not row.kept and not (row.sets_mtime and isinstance(instruction, SetProperty)):
        return Outcome(name, 403, "cannot-modify-protected-property")  # RFC 4918 §16
    if isinstance(instruction, RemoveProperty):
        return None  # §14.23: removing what is not there is no error
    if _sets_mtime(name) and _moment(instruction) is None:
        return Outcome(name, 409)  # §9.2.1: the value makes no sense for this property
    if len(instruction.dead.xml) > limit:
        return Outcome(name, 507)
    return None
