"""The resources of one PROPFIND, each with its locks and dead properties.

A listing costs one scandir, one query for locks and one for dead properties, whatever the number of members;
where a folder has more dead properties than are to be held in memory, one query for each block of members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial
from itertools import islice

from davserver.methods.live import (
    FORMS,
    LOCKDISCOVERY,
    QUOTA_AVAILABLE,
    QUOTA_USED,
    SUPPORTEDLOCK,
    Entry,
    Form,
    quota_form,
    supportedlock_form,
)
from davserver.methods.plan import Plan, Wanted
from davserver.protocol import xml_out
from davserver.protocol.locks import Depth, Lock
from davserver.protocol.messages import Action, Request
from davserver.protocol.paths import DavPath, quote_name
from davserver.protocol.properties import AllProp, PropName
from davserver.storage.node import Node
from davserver.storage.share import Share, Shares

#: Members that are read from a folder at a time.
BLOCK = 500


class Listing:
    """One PROPFIND being answered."""

    def __init__(self, request: Request, shares: Shares, wanted: Wanted, depth: Depth, *, minimal: bool) -> None:
        self._request = request
        self._shares = shares
        self._wanted = wanted
        self._minimal = minimal
        self._compact = (
            depth is not Depth.ZERO
            and isinstance(wanted, AllProp)
            and request.client.agent.startswith("Microsoft-WebDAV-MiniRedir")
        )

    def itself(self, path: DavPath, href: str) -> Iterator[bytes]:
        """The response for one resource, unless it has just gone."""
        share = self._shares.of(path)
        node = share.tree.stat(path)
        if node is not None:
            locks = share.locks.covering(path, self._request.now)
            plan = self._plan(share, path, len(path.segments))
            yield plan.response(Entry(href, path.name, node, locks, share.properties.of(path)))

    def members(self, collection: DavPath, base: str) -> Iterator[tuple[str, Node, bytes]]:
        """(name, node, response) of each member, in the order of the folder. `base`: the collection's href.

        Opened at once, so that what is refused is refused before an answer begins; read as asked.
        """
        share = self._shares.of(collection)
        covering, rooted = share.locks.of_members(collection, self._request.now)
        inherited = [lock for lock in covering if lock.depth is Depth.INFINITY]
        dead = share.properties.of_members(collection)
        mounted = {mount.at.name: mount for mount in self._shares.mounted_in(collection)}
        response = self._plan(share, collection, len(collection.segments) + 1).response
        members = share.tree.members(collection)

        def answers() -> Iterator[tuple[str, Node, bytes]]:
            while block := list(islice(members, BLOCK)):
                of_block = dead.of([name for name, _ in block])
                for name, node in block:
                    if name in mounted:
                        continue
                    href = base + quote_name(name) + ("/" if node.is_collection else "")
                    if node.is_link:
                        entry = self._linked(share, collection.child(name), href, node)
                    else:
                        locks = inherited + rooted[name] if name in rooted else inherited
                        entry = Entry(href, name, node, locks, of_block.get(name, _NONE))
                    yield name, node, response(entry)
            for name, mount in mounted.items():
                node_there = mount.tree.stat(mount.at)
                if node_there is not None:
                    for answer in self.itself(mount.at, base + quote_name(name) + "/"):
                        yield name, node_there, answer

        return answers()

    def _linked(self, share: Share, path: DavPath, href: str, node: Node) -> Entry:
        """Locks and properties are those of what the link leads to."""
        true = share.tree.locate(path)
        return Entry(href, path.name, node, share.locks.covering(true, self._request.now), share.properties.of(true))

    def _plan(self, share: Share, path: DavPath, level: int) -> Plan:
        """For the resource at `path`, or the members of the collection there; `level`: names in their paths."""
        lockable = not share.read_only and self._request.permissions.allows(Action.WRITE, path)
        space = cache(lambda: share.tree.space(path))
        forms = {
            **FORMS,
            QUOTA_AVAILABLE: quota_form(QUOTA_AVAILABLE.local, lambda _: space()[0]),
            QUOTA_USED: quota_form(QUOTA_USED.local, lambda _: space()[1]),
            SUPPORTEDLOCK: supportedlock_form(lockable=lockable),
            LOCKDISCOVERY: Form("%s", "%s", partial(self._lockdiscovery, level)),
        }
        return Plan(self._wanted, forms, minimal=self._minimal, compact=self._compact)

    def _lockdiscovery(self, level: int, entry: Entry) -> str:
        if not entry.locks:
            return "" if self._compact else "<D:lockdiscovery/>"
        request = self._request

        def root(lock: Lock) -> str:
            # LibreOffice takes the last href of a response for the resource's: the same spelling where it is the
            # root. What covers a resource is rooted at it or above it.
            return entry.href if len(lock.root.segments) == level else lock.href(request.prefix)

        return xml_out.lockdiscovery(entry.locks, request.principal, request.now, root).decode()


_NONE: Mapping[PropName, bytes] = {}
