"""A share: where it stands in the URL space, its files, and the locks and properties that go with them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from davserver.protocol.errors import ContentTooLarge, Forbidden, InsufficientStorage, NotFound, Refused
from davserver.protocol.holder import Reveal
from davserver.protocol.paths import DavPath
from davserver.storage.journal import Journal
from davserver.storage.lock_manager import LockManager
from davserver.storage.node import Node
from davserver.storage.property_store import PropertyStore
from davserver.storage.quota import Quota
from davserver.storage.state import State
from davserver.storage.tree import Space, Tree

_log = logging.getLogger("davserver")

#: What is below this is no share's: the server answers there beside WebDAV (`/-/api/v1/`).
RESERVED = ("-",)
#: No file system tells where a file ends beyond this.
_LARGEST = (1 << 63) - 1


class Limits(NamedTuple):
    """What one request, or one file, may take."""

    #: Largest XML request body, in bytes.
    xml: int = 1 << 20
    #: Largest dead property, in bytes.
    property: int = 68 << 10
    #: PROPFIND with Depth: infinity is carried out (RFC 4918 §9.1 lets a server refuse it).
    propfind_infinity: bool = False
    #: Resources that it then lists at most.
    propfind_resources: int = 100_000
    #: Largest file, in bytes; None: as large as the file system takes.
    file: int | None = None


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Share:
    """One served folder. Locks, properties, journal and state are the same objects for all shares of a server."""

    at: DavPath
    tree: Tree
    locks: LockManager
    properties: PropertyStore
    journal: Journal
    state: State
    read_only: bool = False
    #: Nothing is kept in it: it is the way to the shares that are mounted below.
    is_way: bool = False
    limits: Limits = UNLIMITED
    quota: Quota | None = None
    #: Who is told the names of those who hold locks.
    reveal_holder: Reveal = Reveal.USERS
    #: It holds a folder for each user, under their name.
    for_each_user: bool = False

    def owner_of(self, path: DavPath) -> str | None:
        """Name of the user in whose folder `path` is, or whose folder it is; None where nobody owns it."""
        names = path.below(self.at)
        return names[0] if self.for_each_user and names else None

    def space(self, path: DavPath) -> Space:
        """Bytes that are left for files at `path`, and that are taken: by the share where it has a quota, else by all
        that lies on its file system."""
        space = self.tree.space(path)
        if self.quota is None:
            return space
        left = self.quota.left
        return Space(left if space.available is None else min(left, space.available), self.quota.used)

    def require_room(self, folder: DavPath, size: int, *, replaced: int = 0) -> None:
        """Will a file of `size` bytes find room in `folder`, in place of one of `replaced` bytes? Raises
        ContentTooLarge, InsufficientStorage. What is replaced goes when the new file is whole: the disk must hold both.
        """
        self.require_size(size)
        available = self.tree.space(folder).available
        if size > (_LARGEST if available is None else available):
            raise InsufficientStorage("There is no space left for this file.")
        if self.quota is not None and size - replaced > self.quota.left:
            raise InsufficientStorage("The quota of this share does not leave room for this file.")

    def require_size(self, size: int) -> None:
        """Raises ContentTooLarge for a file that is larger than the share takes."""
        if self.limits.file is not None and size > self.limits.file:
            raise ContentTooLarge(f"A file may have at most {self.limits.file} bytes here.")

    @contextmanager
    def charged(self, size: int) -> Iterator[None]:
        """What becomes visible inside takes `size` bytes more than what it replaces. Raises InsufficientStorage."""
        if self.quota is None:
            yield
            return
        with self.quota.changing():
            if size > 0:
                self.quota.charge(size)
            try:
                yield
            except BaseException:
                self.give_back(size)
                raise
            self.give_back(-size)

    def give_back(self, size: int) -> None:
        """`size` bytes are free again. What has happened is not undone by a figure that could not be written: the next
        start counts anew."""
        if self.quota is not None and size > 0:
            try:
                self.quota.charge(-size)
            except Refused as refused:
                _log.warning("share %s: its quota counts %d bytes too many: %s", self.at, size, refused.message)


class Shares:
    """All shares of a server, at least one; one stands at the root of the URL space."""

    def __init__(self, shares: Iterable[Share]) -> None:
        self._shares = sorted(shares, key=lambda share: len(share.at.segments), reverse=True)
        common = self._shares[0]
        #: Where there is but one, everything lies in it.
        self._only = common if len(self._shares) == 1 and common.at.is_root else None
        self.locks, self.properties = common.locks, common.properties
        self.journal, self.state = common.journal, common.state

    def of(self, path: DavPath) -> Share:
        """The share that `path` lies in: the one mounted deepest. Raises NotFound outside all of them, and Forbidden
        for what the server keeps for itself."""
        if path.segments[:1] == RESERVED:
            raise Forbidden("The server keeps what lies below /-/ for itself.")
        if self._only is not None:
            return self._only
        for share in self._shares:
            if share.at.contains(path):
                return share
        raise NotFound("There is no share at this path.")

    def locate(self, path: DavPath, *, link: bool = False) -> DavPath:
        """The one path of the resource that `path` means: what locks, properties and rules are asked about. Each share
        spells what lies in it; where that leads into one that is mounted in it, the rest is for that one."""
        share = self.of(path)
        while True:
            found = share.tree.locate(path, link=link)
            inner = share if found is path else self.of(found)
            if inner is share:
                return found
            path, share = found, inner

    def led(self, link: DavPath, node: Node) -> tuple[DavPath, Node | None]:
        """Where a symbolic link leads, and what is there. `node`: what its own share says; another share may cover
        that."""
        path = self.locate(link)
        share = self.of(path)
        return path, node if share is self.of(link) else share.tree.stat(path)

    def mounted_in(self, collection: DavPath) -> list[Share]:
        """Shares mounted as direct members of `collection`."""
        return [share for share in self._shares if not share.at.is_root and share.at.parent == collection]

    def mounted_below(self, path: DavPath) -> list[Share]:
        """Shares mounted at or below `path`."""
        return [share for share in self._shares if path.contains(share.at)]

    def mounted_inside(self, path: DavPath) -> list[Share]:
        """Shares mounted below `path`, each after those that it is mounted in."""
        return [share for share in reversed(self._shares) if share.at != path and path.contains(share.at)]

    def __iter__(self) -> Iterator[Share]:
        return iter(self._shares)
