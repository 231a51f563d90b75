"""The live properties as they are told: for each a form, and what fills it in.

The law of this module: one row for each property of `protocol.properties.LIVE`. A form is the whole element,
with one "%s" where it has a content that differs; a listing joins the forms it needs to one template.

What fills a form in tells of many resources at once, in one list: a call for each member and property would take
longer than all else that a listing does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from davserver.protocol.dates import format_http_date, format_iso_date
from davserver.protocol.locks import Lock
from davserver.protocol.media_types import media_type
from davserver.protocol.messages import Action, Rights
from davserver.protocol.properties import DAV, RESOURCETYPE, PropName
from davserver.protocol.xml_out import escaped
from davserver.storage.node import TAG, Node
from davserver.storage.tree import Space


class Setting(Protocol):
    """What is the same for all resources of one collection: who asks, and what they may do there."""

    def rights(self, entries: Entries) -> Sequence[Rights]:
        """What they may do with each; in a share that cannot be written they only read."""

    @property
    def principal(self) -> str:
        """Who asks: the content of DAV:current-user-principal."""

    def owner(self, entries: Entries) -> Iterable[str]:
        """The content of DAV:owner; "" where nobody is known to own it."""

    def lockdiscovery(self, entries: Entries) -> Iterable[str]: ...

    @property
    def space(self) -> Space: ...


class Entries(NamedTuple):
    """Resources in an answer, all of them files or all collections: each field tells of the first, the second ...

    `hrefs` are as they stand in XML, `locks` those that cover a resource, `dead` its dead properties as XML; both are
    None where the state is away, so that nobody can tell now.
    """

    hrefs: Sequence[str]
    names: Sequence[str]
    nodes: Sequence[Node]
    locks: Sequence[Sequence[Lock]] | None
    dead: Sequence[Mapping[PropName, bytes]] | None
    setting: Setting

    def each(self) -> Iterator[Entries]:
        return map(self.only, range(len(self.names)))

    def only(self, number: int) -> Entries:
        """The one at this place."""
        hrefs, names, nodes, locks, dead, setting = self
        return Entries(
            [hrefs[number]],
            [names[number]],
            [nodes[number]],
            None if locks is None else [locks[number]],
            None if dead is None else [dead[number]],
            setting,
        )

    def all(self, text: str) -> list[str]:
        """The same for each."""
        return [text] * len(self.names)


class Undefined(Exception):
    """The property is not defined for one of these resources, though it is for others of its kind."""


Fill = Callable[[Entries], Iterable[str]]


class Form(NamedTuple):
    """None: no such property on a file, or on a collection."""

    file: str | None
    collection: str | None
    #: What stands for "%s", of each; None where there is none. May raise Undefined.
    fill: Fill | None = None


def _displayname(entries: Entries) -> list[str]:
    texts = [text for text in map(escaped, entries.names) if text]
    if len(texts) != len(entries.names):
        raise Undefined  # the root has no name, and a control character no place in XML
    return texts


def _both(name: str, fill: Fill) -> Form:
    text = f"<D:{name}>%s</D:{name}>"
    return Form(text, text, fill)


def _file_only(name: str, fill: Fill) -> Form:
    return Form(f"<D:{name}>%s</D:{name}>", None, fill)


def _collection_only(name: str, fill: Fill) -> Form:
    return Form(None, f"<D:{name}>%s</D:{name}>", fill)


def _available(entries: Entries) -> list[str]:
    available = entries.setting.space.available
    if available is None:
        raise Undefined
    return entries.all(str(available))


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


def _privilege_sets(entries: Entries) -> list[str]:
    is_collection = entries.nodes[0].is_collection
    return [_privileges(rights, collection=is_collection) for rights in entries.setting.rights(entries)]


_ETAG = f'"{TAG}"'

DISPLAYNAME = PropName(DAV, "displayname")
SUPPORTEDLOCK = PropName(DAV, "supportedlock")
LOCKDISCOVERY = PropName(DAV, "lockdiscovery")

FORMS: Mapping[PropName, Form] = {
    RESOURCETYPE: Form("<D:resourcetype/>", "<D:resourcetype><D:collection/></D:resourcetype>"),
    # No creation time survives that every write makes a new file: the time of change is the earliest that is known.
    PropName(DAV, "creationdate"): _both(
        "creationdate", lambda these: [format_iso_date(node.mtime_ns // 1_000_000_000) for node in these.nodes]
    ),
    PropName(DAV, "getlastmodified"): _both(
        "getlastmodified", lambda these: [format_http_date(node.mtime_ns // 1_000_000_000) for node in these.nodes]
    ),
    PropName(DAV, "getcontentlength"): _file_only(
        "getcontentlength", lambda these: [str(node.size) for node in these.nodes]
    ),
    PropName(DAV, "getcontenttype"): _file_only("getcontenttype", lambda these: map(media_type, these.names)),
    PropName(DAV, "getetag"): _file_only(
        "getetag", lambda these: [_ETAG % (node.inode, node.mtime_ns, node.size) for node in these.nodes]
    ),
    DISPLAYNAME: _both("displayname", _displayname),
    # RFC 4331: of collections.
    PropName(DAV, "quota-available-bytes"): _collection_only("quota-available-bytes", _available),
    PropName(DAV, "quota-used-bytes"): _collection_only(
        "quota-used-bytes", lambda these: these.all(str(these.setting.space.used))
    ),
    PropName(DAV, "current-user-principal"): _both(
        "current-user-principal", lambda these: these.all(these.setting.principal)
    ),
    PropName(DAV, "current-user-privilege-set"): _both("current-user-privilege-set", _privilege_sets),
    # RFC 3744 §5.1: empty where files have no owner. Who made one is not kept; a user's folder and all in it is theirs.
    PropName(DAV, "owner"): _both("owner", lambda these: these.setting.owner(these)),
    # Where locking would be refused LibreOffice must not be told that it could: it shows an error box.
    SUPPORTEDLOCK: _both(
        "supportedlock",
        lambda these: [_LOCKABLE if Action.LOCK in rights else "" for rights in these.setting.rights(these)],
    ),
    LOCKDISCOVERY: Form("%s", "%s", lambda these: these.setting.lockdiscovery(these)),
}
