"""The resources of one PROPFIND, each with its locks and dead properties.

A listing costs one scandir, one query for locks and one for dead properties, whatever the number of members;
where a folder has more dead properties than are to be held in memory, one query for each block of members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice

from davserver.methods.live import Entry
from davserver.methods.permits import Seen
from davserver.methods.plan import Wanted, plan_for
from davserver.methods.principals import principal_url
from davserver.protocol import xml_out
from davserver.protocol.errors import Unavailable
from davserver.protocol.holder import Viewer
from davserver.protocol.locks import Depth, Lock
from davserver.protocol.messages import Action, Request, Rights
from davserver.protocol.paths import DavPath, quote_name
from davserver.protocol.properties import AllProp
from davserver.storage.node import Node
from davserver.storage.property_store import Dead
from davserver.storage.share import Share, Shares
from davserver.storage.tree import Space

#: Members that are read from a folder at a time.
BLOCK = 500

#: Without what NamedTuple puts before it.
_new = tuple.__new__


class Listing:
    """One PROPFIND being answered."""

    def __init__(self, request: Request, shares: Shares, wanted: Wanted, depth: Depth, *, minimal: bool) -> None:
        self._request = request
        self._shares = shares
        self._compact = (
            depth is not Depth.ZERO
            and isinstance(wanted, AllProp)
            and request.client.agent.startswith("Microsoft-WebDAV-MiniRedir")
        )
        self._is_libreoffice = "LibreOffice" in request.client.agent
        self._plan = plan_for(wanted, minimal=minimal, compact=self._compact)

    def itself(self, path: DavPath, href: str, node: Node) -> bytes:
        """The response for one resource."""
        share = self._shares.of(path)
        locks, dead = _stored(share, path)
        setting = self._setting(share, path, len(path.segments))
        return self._plan.response(Entry(href, path.name, node, locks, dead, setting))

    def members(self, collection: DavPath, base: str) -> Iterator[tuple[str, Node, bytes]]:
        """(name, node, response) of each member, in the order of the folder. `base`: the collection's href.

        Opened at once, so that what is refused is refused before an answer begins; read as asked.
        """
        share = self._shares.of(collection)
        stored = _StoredOfMembers(share, collection)
        mounted = {mount.at.name: mount for mount in self._shares.mounted_in(collection)}
        setting = self._setting(share, collection, len(collection.segments) + 1)
        response, of = self._plan.response, stored.of
        seen = Seen(self._request, collection)
        members = share.tree.members(collection)

        def answers() -> Iterator[tuple[str, Node, bytes]]:
            while block := list(islice(members, BLOCK)):
                stored.read([name for name, _ in block])
                for name, node in block:
                    if name in mounted or not (seen.all or node.is_link or seen.shows(name, node)):
                        continue
                    href = base + quote_name(name) + ("/" if node.is_collection else "")
                    if self._is_libreoffice:
                        href = xml_out.href_for_libreoffice(href)
                    if node.is_link:
                        # Locks and properties are those of what the link leads to.
                        true = share.tree.locate(collection.child(name))
                        if not seen.shows(name, node, true):
                            continue
                        there = self._setting(share, true, len(true.segments))
                        entry = Entry(href, name, node, *_stored(share, true), there)
                    else:
                        entry = _new(Entry, (href, name, node, *of(name), setting))
                    yield name, node, response(entry)
            for name, mount in mounted.items():
                node_there = mount.tree.stat(mount.at)
                if node_there is not None and seen.shows(name, node_there):
                    yield name, node_there, self.itself(mount.at, base + quote_name(name) + "/", node_there)

        return answers()

    def _setting(self, share: Share, path: DavPath, level: int) -> _Setting:
        return _Setting(self._request, share, path, level, compact=self._compact)


class _Setting:
    """Of the resource at `path`, or of the members of the collection there. `level`: the names in their paths."""

    def __init__(self, request: Request, share: Share, path: DavPath, level: int, *, compact: bool) -> None:
        self._request, self._share, self._path, self._level = request, share, path, level
        #: The same for all, if it is.
        self._rights = request.permissions.whole(path)
        if share.read_only:
            self._rights = tuple(action for action in request.permissions.rights(path) if action is Action.READ)
        self._no_locks = "" if compact else "<D:lockdiscovery/>"

    def rights(self, entry: Entry) -> Rights:
        if self._rights is not None:
            return self._rights
        return self._request.permissions.rights(self._path_of(entry))

    def _path_of(self, entry: Entry) -> DavPath:
        return self._path.child(entry.name) if len(self._path.segments) < self._level else self._path

    def owner(self, entry: Entry) -> str:
        name = self._share.owner_of(self._path_of(entry))
        return "" if name is None else xml_out.href(principal_url(self._request.prefix, name)).decode()

    @property
    def principal(self) -> str:
        name = self._request.principal.name
        if not name:
            return "<D:unauthenticated/>"  # RFC 5397 §3
        return xml_out.href(principal_url(self._request.prefix, name)).decode()

    def lockdiscovery(self, entry: Entry) -> str:
        if not entry.locks:
            return self._no_locks
        request, share = self._request, self._share

        def root(lock: Lock) -> str:
            # LibreOffice takes the last href of a response for the resource's: the same spelling where it is the
            # root. What covers a resource is rooted at it or above it.
            return entry.href if len(lock.root.segments) == self._level else lock.href(request.prefix)

        viewer = Viewer(request.principal, share.reveal_holder, request.client.agent)
        return xml_out.lockdiscovery(entry.locks, viewer, share.locks.now(), root).decode()

    @cached_property
    def space(self) -> Space:
        """Of the file system of the collection; one that is mounted in it tells its own when it is asked itself."""
        return self._share.space(self._path)


class _StoredOfMembers:
    """What the state knows of the members of one collection: locks in one query, dead properties in another."""

    def __init__(self, share: Share, collection: DavPath) -> None:
        self._known = True
        self._block: Mapping[str, Dead] = {}
        try:
            covering, self._rooted = share.locks.of_members(collection)
            self._dead = share.properties.of_members(collection)
        except Unavailable:
            self._known = False
        else:
            self._inherited = [lock for lock in covering if lock.depth is Depth.INFINITY]

    def read(self, names: list[str]) -> None:
        """The dead properties of these members are asked for next."""
        if self._known:
            self._block = self._dead.of(names)

    def of(self, name: str) -> tuple[list[Lock] | None, Dead | None]:
        if not self._known:
            return None, None
        locks = self._inherited + self._rooted[name] if name in self._rooted else self._inherited
        return locks, self._block.get(name, _NONE)


def _stored(share: Share, path: DavPath) -> tuple[list[Lock] | None, Dead | None]:
    """Locks and dead properties of one resource. None where the state is away: reading goes on without them."""
    try:
        return share.locks.covering(path), share.properties.of(path)
    except Unavailable:
        return None, None


_NONE: Dead = {}
