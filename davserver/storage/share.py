"""A share: where it stands in the URL space, its files, and the locks and properties that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from davserver.protocol.errors import NotFound
from davserver.protocol.paths import DavPath
from davserver.storage.lock_manager import LockManager
from davserver.storage.property_store import PropertyStore
from davserver.storage.state import State
from davserver.storage.tree import Tree


@dataclass(frozen=True, slots=True)
class Share:
    """One served folder. Locks, properties and state are the same objects for all shares of a server."""

    at: DavPath
    tree: Tree
    locks: LockManager
    properties: PropertyStore
    state: State
    read_only: bool = False
    #: PROPFIND with Depth: infinity is carried out (RFC 4918 §9.1 lets a server refuse it).
    propfind_infinity: bool = False
    #: Largest XML request body, in bytes.
    xml_limit: int = 1 << 20


class Shares:
    """All shares of a server; one stands at the root of the URL space."""

    def __init__(self, shares: Iterable[Share]) -> None:
        self._shares = sorted(shares, key=lambda share: len(share.at.segments), reverse=True)

    def of(self, path: DavPath) -> Share:
        """The share that `path` lies in: the one mounted deepest. Raises NotFound outside all of them."""
        for share in self._shares:
            if share.at.contains(path):
                return share
        raise NotFound("There is no share at this path.")

    def mounted_in(self, collection: DavPath) -> list[Share]:
        """Shares mounted as direct members of `collection`."""
        return [share for share in self._shares if not share.at.is_root and share.at.parent == collection]

    def mounted_below(self, path: DavPath) -> list[Share]:
        """Shares mounted at or below `path`."""
        return [share for share in self._shares if path.contains(share.at)]

    def __iter__(self) -> Iterator[Share]:
        return iter(self._shares)
