"""The resources of one PROPFIND, each with its locks and dead properties.

A listing costs one scandir, one query for locks and one for dead properties, whatever the number of members;
where a folder has more dead properties than are to be held in memory, one query for each block of members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import NamedTuple

from davserver.methods.live import Entries
from davserver.methods.permits import Seen
from davserver.methods.plan import Wanted, plan_for
from davserver.methods.principals import principal_url
from davserver.protocol import xml_out
from davserver.protocol.errors import Unavailable
from davserver.protocol.holder import Viewer
from davserver.protocol.locks import Depth, Lock
from davserver.protocol.messages import Action, Request, Rights
from davserver.protocol.paths import DavPath, quote_name, quote_names
from davserver.protocol.properties import AllProp
from davserver.storage.node import Node
from davserver.storage.property_store import Dead
from davserver.storage.share import Share, Shares
from davserver.storage.tree import Space

#: Members that are read from a folder at a time.
BLOCK = 128

Member = tuple[str, Node]


class Block(NamedTuple):
    """Some members of a collection: the response of each, and the names of those that have members themselves, which
    a link to a folder is not."""

    responses: list[str]
    folders: list[str]


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

    def itself(self, path: DavPath, href: str, node: Node) -> str:
        """The response for one resource."""
        return self._single(self._shares.of(path), path, href, path.name, node)

    def members(self, collection: DavPath, base: str) -> Iterator[Block]:
        """All members, block by block. `base`: the collection's href.

        Opened at once, so that what is refused is refused before an answer begins; read as asked.
        """
        share = self._shares.of(collection)
        mounted = {mount.at.name: mount for mount in self._shares.mounted_in(collection)}
        seen = Seen(self._request, collection)
        stored = _StoredOfMembers(share, collection)
        setting = self._setting(share, collection, len(collection.segments) + 1)
        members = share.tree.members(collection)

        def told(these: list[Member]) -> list[str]:
            """The response of each, in their order."""
            kinds = {node.is_collection for _, node in these}
            if len(kinds) > 1:
                of = {kind: iter(told([each for each in these if each[1].is_collection is kind])) for kind in kinds}
                return [next(of[node.is_collection]) for _, node in these]
            if not kinds:
                return []
            names, nodes = zip(*these, strict=True)
            hrefs = self._hrefs(base, names, is_collection=kinds.pop())
            return self._plan.responses(Entries(hrefs, names, nodes, *stored.of(names), setting))

        def blocks() -> Iterator[Block]:
            while block := list(islice(members, BLOCK)):
                if mounted:
                    block = [(name, node) for name, node in block if name not in mounted]
                links = [each for each in block if each[1].is_link] if share.tree.follows_links else []
                if links or not seen.all:
                    block = [(name, node) for name, node in block if not node.is_link and seen.shows(name, node)]
                folders = [name for name, node in block if node.is_collection]
                yield Block(told(block) + self._links(seen, collection, base, links), folders)

        return chain(blocks(), self._mounted(seen, base, mounted))

    def _links(self, seen: Seen, collection: DavPath, base: str, links: Iterable[Member]) -> list[str]:
        """Locks and properties are those of what a link leads to."""
        responses = []
        for name, found in links:
            true, node = self._shares.led(collection.child(name), found)
            if node is not None and seen.shows(name, node, true):
                (href,) = self._hrefs(base, [name], is_collection=node.is_collection)
                responses.append(self._single(self._shares.of(true), true, href, name, node))
        return responses

    def _mounted(self, seen: Seen, base: str, mounted: Mapping[str, Share]) -> Iterator[Block]:
        for name, mount in mounted.items():
            node = mount.tree.stat(mount.at)
            if node is not None and seen.shows(name, node):
                yield Block([self.itself(mount.at, base + quote_name(name) + "/", node)], [name])

    def _hrefs(self, base: str, names: Sequence[str], *, is_collection: bool) -> list[str]:
        end = "/" if is_collection else ""
        hrefs = [base + name + end for name in quote_names(names)]
        return list(map(xml_out.href_for_libreoffice, hrefs)) if self._is_libreoffice else hrefs

    def _single(self, share: Share, path: DavPath, href: str, name: str, node: Node) -> str:
        setting = self._setting(share, path, len(path.segments))
        (response,) = self._plan.responses(Entries([href], [name], [node], *_stored(share, path), setting))
        return response

    def _setting(self, share: Share, path: DavPath, level: int) -> _Setting:
        return _Setting(self._request, share, path, level, compact=self._compact)


class _Setting:
    """Of the resource at `path`, or of the members of the collection there. `level`: the names in their paths."""

    def __init__(self, request: Request, share: Share, path: DavPath, level: int, *, compact: bool) -> None:
        self._request, self._share, self._path, self._level = request, share, path, level
        #: The same for all, if it is.
        self._rights = request.permissions.whole(path)
        self._no_locks = "" if compact else "<D:lockdiscovery/>"

    def rights(self, entries: Entries) -> Sequence[Rights]:
        if self._rights is not None:
            return [self._here(self._rights)] * len(entries.names)
        return [self._here(self._request.permissions.rights(self._path_of(name))) for name in entries.names]

    def _here(self, rights: Rights) -> Rights:
        """In a share that cannot be written nobody does more than read."""
        return tuple(action for action in rights if action is Action.READ) if self._share.read_only else rights

    def _path_of(self, name: str) -> DavPath:
        return self._path.child(name) if len(self._path.segments) < self._level else self._path

    def owner(self, entries: Entries) -> list[str]:
        owners = [self._share.owner_of(self._path_of(name)) for name in entries.names]
        return [
            "" if owner is None else xml_out.href(principal_url(self._request.prefix, owner)).decode()
            for owner in owners
        ]

    @property
    def principal(self) -> str:
        name = self._request.principal.name
        if not name:
            return "<D:unauthenticated/>"  # RFC 5397 §3
        return xml_out.href(principal_url(self._request.prefix, name)).decode()

    def lockdiscovery(self, entries: Entries) -> list[str]:
        locks = entries.locks or ()
        if not any(locks):
            return entries.all(self._no_locks)
        return [self._lockdiscovery(these, href) for these, href in zip(locks, entries.hrefs, strict=True)]

    def _lockdiscovery(self, locks: Sequence[Lock], href: str) -> str:
        if not locks:
            return self._no_locks
        request, share = self._request, self._share

        def root(lock: Lock) -> str:
            # LibreOffice takes the last href of a response for the resource's: the same spelling where it is the
            # root. What covers a resource is rooted at it or above it.
            return href if len(lock.root.segments) == self._level else lock.href(request.prefix)

        viewer = Viewer(request.principal, share.reveal_holder, request.client.agent)
        return xml_out.lockdiscovery(locks, viewer, share.locks.now(), root).decode()

    @cached_property
    def space(self) -> Space:
        """Of the file system of the collection; one that is mounted in it tells its own when it is asked itself."""
        return self._share.space(self._path)


class _StoredOfMembers:
    """What the state knows of the members of one collection: locks in one query, dead properties in another."""

    def __init__(self, share: Share, collection: DavPath) -> None:
        self._known = True
        try:
            covering, self._rooted = share.locks.of_members(collection)
            self._dead = share.properties.of_members(collection)
        except Unavailable:
            self._known = False
        else:
            self._inherited = [lock for lock in covering if lock.depth is Depth.INFINITY]

    def of(self, names: Sequence[str]) -> tuple[list[list[Lock]] | None, list[Dead] | None]:
        if not self._known:
            return None, None
        inherited, rooted = self._inherited, self._rooted
        try:
            dead = self._dead.of(names)
        except Unavailable:
            self._known = False
            return None, None
        return (
            [inherited + rooted[name] if name in rooted else inherited for name in names],
            [dead.get(name, _NONE) for name in names],
        )


def _stored(share: Share, path: DavPath) -> tuple[list[list[Lock]] | None, list[Dead] | None]:
    """Locks and dead properties of one resource. None where the state is away: reading goes on without them."""
    try:
        return [share.locks.covering(path)], [share.properties.of(path)]
    except Unavailable:
        return None, None


_NONE: Dead = {}
