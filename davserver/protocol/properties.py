"""Properties: their names, the table of the live ones, and the all-or-nothing arithmetic of PROPPATCH.

The law of this module: names and rules, no XML and no files. What a live property's value is, is computed
where the file is known; that it exists, who may set it and where it shows is one row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from davserver.protocol.headers import parse_http_date

DAV = "DAV:"
MICROSOFT = "urn:schemas-microsoft-com:"

#: Largest dead property, in bytes of its serialized element.
PROPERTY_LIMIT = 64 * 1024 + 4096


@dataclass(frozen=True, slots=True, order=True)
class PropName:
    """An expanded name (RFC 4918 §4.5); `namespace` is "" for none."""

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
    """One row. `sets_mtime`: PROPPATCH may set it, to an HTTP date that becomes the file's time of change."""

    in_allprop: bool = True
    sets_mtime: bool = False


#: RFC 4918 §15 and RFC 4331 (quota: shown only when named, §3 and §4 there). In the order of an answer;
#: lockdiscovery is last since LibreOffice takes the last href of a response for the resource's own.
LIVE: Mapping[PropName, LiveProperty] = {
    PropName(DAV, "resourcetype"): LiveProperty(),
    PropName(DAV, "creationdate"): LiveProperty(),
    PropName(DAV, "getlastmodified"): LiveProperty(sets_mtime=True),
    PropName(DAV, "getcontentlength"): LiveProperty(),
    PropName(DAV, "getcontenttype"): LiveProperty(),
    PropName(DAV, "getetag"): LiveProperty(),
    PropName(DAV, "displayname"): LiveProperty(),
    PropName(DAV, "quota-available-bytes"): LiveProperty(in_allprop=False),
    PropName(DAV, "quota-used-bytes"): LiveProperty(in_allprop=False),
    PropName(DAV, "supportedlock"): LiveProperty(),
    PropName(DAV, "lockdiscovery"): LiveProperty(),
}

#: Written by clients, kept as they were sent, and also the file's time of change: rclone and Cyberduck
#: write the first, Explorer and Office the second.
_ALSO_MTIME = frozenset({PropName(DAV, "lastmodified"), PropName(MICROSOFT, "Win32LastModifiedTime")})


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


def plan(update: PropertyUpdate) -> Plan:
    """RFC 4918 §9.2: instructions in document order, all or none; what did not fail itself is 424 (§11.4)."""
    outcomes: dict[PropName, Outcome] = {}
    changes: list[SetProperty | RemoveProperty] = []
    mtime: int | None = None
    for instruction in update:
        name = instruction.name
        refusal = _refusal(instruction)
        if refusal is not None or outcomes.get(name, _FINE).status != 200:
            outcomes[name] = refusal or outcomes[name]
            continue
        outcomes[name] = Outcome(name, 200)
        if isinstance(instruction, SetProperty) and _sets_mtime(name):
            mtime = parse_http_date(instruction.text)
        if name not in LIVE:
            changes.append(instruction)
    if all(outcome.status == 200 for outcome in outcomes.values()):
        return Plan(tuple(outcomes.values()), tuple(changes), mtime)
    return Plan(tuple(o if o.status != 200 else Outcome(o.name, 424) for o in outcomes.values()))


_FINE = Outcome(PropName("", ""), 200)


def _sets_mtime(name: PropName) -> bool:
    return name in _ALSO_MTIME or (name in LIVE and LIVE[name].sets_mtime)


def _refusal(instruction: SetProperty | RemoveProperty) -> Outcome | None:
    name = instruction.name
    row = LIVE.get(name)
    if row is not None and not (row.sets_mtime and isinstance(instruction, SetProperty)):
        return Outcome(name, 403, "cannot-modify-protected-property")  # RFC 4918 §16
    if isinstance(instruction, RemoveProperty):
        return None  # §14.23: removing what is not there is no error
    if _sets_mtime(name) and parse_http_date(instruction.text) is None:
        return Outcome(name, 409)  # §9.2.1: the value makes no sense for this property
    if len(instruction.dead.xml) > PROPERTY_LIMIT:
        return Outcome(name, 507)
    return None
