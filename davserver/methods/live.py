"""The live properties as they are told: for each a form, and what fills it in.

The law of this module: one row for each property of `protocol.properties.LIVE`. A form is the whole element,
with one "%s" where it has a content that differs; a listing joins the forms it needs to one template and fills
that in, once a member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

from davserver.protocol.dates import format_http_date, format_iso_date
from davserver.protocol.locks import Lock
from davserver.protocol.media_types import media_type
from davserver.protocol.messages import Action, Rights
from davserver.protocol.properties import DAV, RESOURCETYPE, PropName
from davserver.protocol.xml_out import escaped
from davserver.storage.node import Node
from davserver.storage.tree import Space


class Setting(Protocol):
    """What is the same for all resources of one collection: who asks, and what they may do there."""

    def rights(self, entry: Entry) -> Rights:
        """What they may do with the resource; in a share that cannot be written they only read."""

    @property
    def principal(self) -> str:
        """Who asks: the content of DAV:current-user-principal."""

    def owner(self, entry: Entry) -> str:
        """The content of DAV:owner; "" where nobody is known to own it."""

    def lockdiscovery(self, entry: Entry) -> str: ...

    @property
    def space(self) -> Space: ...


class Entry(NamedTuple):
    """One resource in an answer. `href` is as it stands in XML, `locks` are those that cover it, `dead` its dead
    properties as XML; both are None where the state is away, so that nobody can tell now."""

    href: str
    name: str
    node: Node
    locks: list[Lock] | None
    dead: Mapping[PropName, bytes] | None
    setting: Setting


class Undefined(Exception):
    """The property is not defined for this one resource, though it is for others of its kind."""


class Form(NamedTuple):
    """None: no such property on a file, or on a collection."""

    file: str | None
    collection: str | None
    #: What stands for "%s"; None where there is none. May raise Undefined.
    fill: Callable[[Entry], object] | None = None


def _displayname(entry: Entry) -> str:
    text = escaped(entry.name)
    if not text:
        raise Undefined  # the root has no name, and a control character no place in XML
    return text


def _both(name: str, fill: Callable[[Entry], object]) -> Form:
    text = f"<D:{name}>%s</D:{name}>"
    return Form(text, text, fill)


def _file_only(name: str, fill: Callable[[Entry], object]) -> Form:
    return Form(f"<D:{name}>%s</D:{name}>", None, fill)


def _collection_only(name: str, fill: Callable[[Entry], object]) -> Form:
    return Form(None, f"<D:{name}>%s</D:{name}>", fill)


def _available(entry: Entry) -> int:
    available = entry.setting.space.available
    if available is None:
        raise Undefined
    return available


_ENTRY = "<D:lockentry><D:lockscope><D:%s/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
_LOCKABLE = _ENTRY % "exclusive" + _ENTRY % "shared"

#: RFC 3744 §3: read, and what is in DAV:write. On a collection members are bound and unbound.
_ON_ANY = {
    Action.READ: ("read", "read-current-user-privilege-set"),
    Action.WRITE: ("write-content", "write-properties"),
}
_ON_COLLECTIONS = {**_ON_ANY, Action.CREATE: ("bind",), Action.DELETE: ("unbind",)}


@lru_cache
def _privileges(rights: Rights, *, collection: bool) -> str:
    granted = _ON_COLLECTIONS if collection else _ON_ANY
    names = [name for action, parts in granted.items() if action in rights for name in parts]
    if all(action in rights for action in granted):
        names.insert(0, "write")
    return "".join(f"<D:privilege><D:{name}/></D:privilege>" for name in names)


DISPLAYNAME = PropName(DAV, "displayname")
SUPPORTEDLOCK = PropName(DAV, "supportedlock")
LOCKDISCOVERY = PropName(DAV, "lockdiscovery")

FORMS: Mapping[PropName, Form] = {
    RESOURCETYPE: Form("<D:resourcetype/>", "<D:resourcetype><D:collection/></D:resourcetype>"),
    # No creation time survives that every write makes a new file: the time of change is the earliest that is known.
    PropName(DAV, "creationdate"): _both(
        "creationdate", lambda entry: format_iso_date(entry.node.mtime_ns // 1_000_000_000)
    ),
    PropName(DAV, "getlastmodified"): _both(
        "getlastmodified", lambda e: format_http_date(e.node.mtime_ns // 1_000_000_000)
    ),
    PropName(DAV, "getcontentlength"): _file_only("getcontentlength", lambda entry: entry.node.size),
    PropName(DAV, "getcontenttype"): _file_only("getcontenttype", lambda entry: media_type(entry.name)),
    PropName(DAV, "getetag"): _file_only("getetag", lambda entry: f'"{entry.node.tag}"'),
    DISPLAYNAME: _both("displayname", _displayname),
    # RFC 4331: of collections.
    PropName(DAV, "quota-available-bytes"): _collection_only("quota-available-bytes", _available),
    PropName(DAV, "quota-used-bytes"): _collection_only("quota-used-bytes", lambda e: e.setting.space.used),
    PropName(DAV, "current-user-principal"): _both("current-user-principal", lambda e: e.setting.principal),
    PropName(DAV, "current-user-privilege-set"): _both(
        "current-user-privilege-set",
        lambda e: _privileges(e.setting.rights(e), collection=e.node.is_collection),
    ),
    # RFC 3744 §5.1: empty where files have no owner. Who made one is not kept; a user's folder and all in it is theirs.
    PropName(DAV, "owner"): _both("owner", lambda entry: entry.setting.owner(entry)),
    # Where locking would be refused LibreOffice must not be told that it could: it shows an error box.
    SUPPORTEDLOCK: _both("supportedlock", lambda e: _LOCKABLE if Action.LOCK in e.setting.rights(e) else ""),
    LOCKDISCOVERY: Form("%s", "%s", lambda entry: entry.setting.lockdiscovery(entry)),
}
