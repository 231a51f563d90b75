"""What PROPFIND says of each resource: live properties from the file, dead ones and locks from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from davserver.protocol import xml_out
from davserver.protocol.errors import NotFound
from davserver.protocol.headers import format_http_date, utc
from davserver.protocol.locks import Depth, Lock
from davserver.protocol.media_types import media_type
from davserver.protocol.messages import Action, Request
from davserver.protocol.paths import DavPath, quote_name
from davserver.protocol.properties import DAV, LIVE, AllProp, DeadProperty, NamedProps, PropName, PropNames
from davserver.storage.node import Node
from davserver.storage.share import Share, Shares

Dead = Mapping[PropName, DeadProperty]

SUPPORTEDLOCK = (
    b"<D:supportedlock>"
    b"<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    b"<D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    b"</D:supportedlock>"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource in an answer. `locks` are those that cover it."""

    path: DavPath
    href: str
    node: Node
    locks: list[Lock]
    dead: Dead
    share: Share
    lockable: bool


class Listing:
    """One PROPFIND being answered."""

    def __init__(
        self, request: Request, shares: Shares, wanted: AllProp | PropNames | NamedProps, depth: Depth
    ) -> None:
        self._request = request
        self._shares = shares
        self._names_only = isinstance(wanted, PropNames)
        self._named = wanted.names if isinstance(wanted, NamedProps) else None
        self._include = wanted.include if isinstance(wanted, AllProp) else ()
        # Explorer shows an empty folder when a listing passes 1 MB, and asks for everything it knows nothing
        # to do with: it gets no supportedlock and no empty lockdiscovery.
        self._brief = (
            depth is not Depth.ZERO
            and isinstance(wanted, AllProp)
            and request.client.agent.startswith("Microsoft-WebDAV-MiniRedir")
        )

    def itself(self, path: DavPath) -> Iterator[bytes]:
        """The response for the resource that was asked for."""
        share = self._shares.of(path)
        node = share.tree.stat(path)
        if node is not None:
            href = path.href(self._request.prefix, collection=node.is_collection)
            locks = share.locks.covering(path, self._request.now)
            yield self._response(
                Resource(path, href, node, locks, share.properties.of(path), share, self._lockable(share, path))
            )

    def members(self, collection: DavPath) -> Iterator[tuple[Resource, bytes]]:
        """One response for each member, in the order of the folder."""
        share, now = self._shares.of(collection), self._request.now
        covering, rooted = share.locks.of_members(collection, now)
        inherited = [lock for lock in covering if lock.depth is Depth.INFINITY]
        dead = share.properties.of_members(collection)
        lockable = self._lockable(share, collection)
        base = collection.href(self._request.prefix, collection=True)
        if not base.endswith("/"):
            base += "/"
        mounted = {mount.at.name: mount for mount in self._shares.mounted_in(collection)}
        for name, node in share.tree.members(collection):
            if name in mounted:
                continue
            path = collection.child(name)
            href = base + quote_name(name) + ("/" if node.is_collection else "")
            locks = inherited + rooted.get(name, [])
            resource = Resource(path, href, node, locks, dead.get(name, {}), share, lockable)
            yield resource, self._response(resource)
        for name, mount in mounted.items():
            node_there = mount.tree.stat(mount.at)
            if node_there is None:
                continue
            locks = mount.locks.covering(mount.at, now)
            resource = Resource(
                mount.at,
                base + quote_name(name) + "/",
                node_there,
                locks,
                mount.properties.of(mount.at),
                mount,
                self._lockable(mount, mount.at),
            )
            yield resource, self._response(resource)

    def _lockable(self, share: Share, path: DavPath) -> bool:
        return not share.read_only and self._request.permissions.allows(Action.WRITE, path)

    def _response(self, resource: Resource) -> bytes:
        if self._names_only:
            names = [name for name, row in LIVE.items() if row.in_allprop and self._value(name, resource) is not None]
            found = b"".join(xml_out.empty_element(name) for name in [*names, *resource.dead])
            return xml_out.propstat_response(resource.href, found, ())
        if self._named is not None:
            found_missing = self._pick(self._named, resource)
            return xml_out.propstat_response(resource.href, *found_missing)
        parts = []
        for name, row in LIVE.items():
            if row.in_allprop and not (self._brief and self._is_noise(name, resource)):
                value = self._value(name, resource)
                if value is not None:
                    parts.append(value)
        parts += [dead.xml for dead in resource.dead.values()]
        # RFC 4918 §14.8: include names what allprop alone would not return.
        wanted = [
            name for name in self._include if name not in resource.dead and not (name in LIVE and LIVE[name].in_allprop)
        ]
        found, missing = self._pick(wanted, resource)
        return xml_out.propstat_response(resource.href, b"".join(parts) + found, missing)

    def _pick(self, names: tuple[PropName, ...] | list[PropName], resource: Resource) -> tuple[bytes, list[PropName]]:
        found, missing = [], []
        for name in names:
            value = self._value(name, resource)
            if value is None:
                missing.append(name)
            else:
                found.append(value)
        return b"".join(found), missing

    def _value(self, name: PropName, resource: Resource) -> bytes | None:
        getter = _GETTERS.get(name)
        if getter is not None:
            return getter(resource, self._request)
        dead = resource.dead.get(name)
        return None if dead is None else dead.xml

    def _is_noise(self, name: PropName, resource: Resource) -> bool:
        return name == _SUPPORTEDLOCK or (name == _LOCKDISCOVERY and not resource.locks)


_SUPPORTEDLOCK = PropName(DAV, "supportedlock")
_LOCKDISCOVERY = PropName(DAV, "lockdiscovery")


def _creationdate(resource: Resource, _: Request) -> bytes:
    moment = utc(resource.node.created_ns // 1_000_000_000)
    return f"<D:creationdate>{moment.isoformat().replace('+00:00', 'Z')}</D:creationdate>".encode()


def _displayname(resource: Resource, _: Request) -> bytes | None:
    name = resource.path.name
    if not name or not xml_out.is_xml_text(name):
        return None
    return f"<D:displayname>{xml_out.escape(name)}</D:displayname>".encode()


def _getcontentlength(resource: Resource, _: Request) -> bytes | None:
    if resource.node.is_collection:
        return None
    return b"<D:getcontentlength>%d</D:getcontentlength>" % resource.node.size


def _getcontenttype(resource: Resource, _: Request) -> bytes | None:
    if resource.node.is_collection:
        return None
    return f"<D:getcontenttype>{media_type(resource.path.name)}</D:getcontenttype>".encode()


def _getetag(resource: Resource, _: Request) -> bytes | None:
    if resource.node.is_collection:
        return None
    return f"<D:getetag>{resource.node.etag}</D:getetag>".encode()


def _getlastmodified(resource: Resource, _: Request) -> bytes:
    return f"<D:getlastmodified>{format_http_date(resource.node.last_modified)}</D:getlastmodified>".encode()


def _resourcetype(resource: Resource, _: Request) -> bytes:
    if resource.node.is_collection:
        return b"<D:resourcetype><D:collection/></D:resourcetype>"
    return b"<D:resourcetype/>"


def _supportedlock(resource: Resource, _: Request) -> bytes:
    # Where locking would be refused LibreOffice must not be told that it could: it shows an error box.
    return SUPPORTEDLOCK if resource.lockable else b"<D:supportedlock/>"


def _lockdiscovery(resource: Resource, request: Request) -> bytes:
    if not resource.locks:
        return b"<D:lockdiscovery/>"

    def root(lock: Lock) -> str:
        # LibreOffice takes the last href of a response for the resource's: the same spelling where it is the root.
        return resource.href if lock.root == resource.path else lock.href(request.prefix)

    return xml_out.lockdiscovery(resource.locks, request.principal, request.now, root, request.client.agent)


def _quota(index: int, name: str) -> Callable[[Resource, Request], bytes | None]:
    def value(resource: Resource, _: Request) -> bytes | None:
        """RFC 4331: of collections, asked for by name only."""
        if not resource.node.is_collection:
            return None
        try:
            space = resource.share.tree.space(resource.path)
        except NotFound:
            return None  # gone since the folder was read
        return f"<D:{name}>{space[index]}</D:{name}>".encode()

    return value


_GETTERS: Mapping[PropName, Callable[[Resource, Request], bytes | None]] = {
    PropName(DAV, "creationdate"): _creationdate,
    PropName(DAV, "displayname"): _displayname,
    PropName(DAV, "getcontentlength"): _getcontentlength,
    PropName(DAV, "getcontenttype"): _getcontenttype,
    PropName(DAV, "getetag"): _getetag,
    PropName(DAV, "getlastmodified"): _getlastmodified,
    PropName(DAV, "resourcetype"): _resourcetype,
    _SUPPORTEDLOCK: _supportedlock,
    _LOCKDISCOVERY: _lockdiscovery,
    PropName(DAV, "quota-available-bytes"): _quota(0, "quota-available-bytes"),
    PropName(DAV, "quota-used-bytes"): _quota(1, "quota-used-bytes"),
}
