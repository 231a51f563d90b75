"""PropertyStore: dead properties, which follow their resource through COPY, MOVE and DELETE.

Rows are keyed by path. Subtrees are ranges of keys, so no character of a name means anything to the
database, and a move changes the leading prefix of a key and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from davserver.protocol.paths import DavPath
from davserver.protocol.properties import PropertyUpdate, PropName, SetProperty
from davserver.storage.hold import Hold
from davserver.storage.lock_manager import below
from davserver.storage.state import State

#: Dead properties of one resource: name → its whole element.
Dead = Mapping[PropName, bytes]

#: Properties of the members of one collection that are held in memory at once.
_AT_ONCE = 10_000


class DeadOfMembers:
    """The dead properties of a collection's members, for a listing that goes through them block by block."""

    def __init__(self, state: State, collection: DavPath) -> None:
        self._state = state
        self._collection = collection
        rows = state.query(f"{_SELECT} WHERE parent = ? LIMIT {_AT_ONCE + 1}", (collection.key,))
        self._all = _by_member(rows) if len(rows) <= _AT_ONCE else None

    def of(self, names: Sequence[str]) -> Mapping[str, Dead]:
        """By the member's name; who has none is left out."""
        if self._all is not None:
            return self._all
        keys = [self._collection.child(name).key for name in names]
        return _by_member(self._state.query(f"{_SELECT} WHERE path IN ({','.join('?' * len(keys))})", keys))


class PropertyStore:
    """Dead properties of one server. Every change demands the hold under which the resource itself changes."""

    def __init__(self, state: State) -> None:
        self._state = state

    def of(self, path: DavPath) -> Dead:
        """Those of one resource."""
        rows = self._state.query("SELECT namespace, local, xml FROM properties WHERE path = ?", (path.key,))
        return {PropName(namespace, local): xml for namespace, local, xml in rows}

    def of_members(self, collection: DavPath) -> DeadOfMembers:
        return DeadOfMembers(self._state, collection)

    def patch(self, hold: Hold, path: DavPath, changes: PropertyUpdate) -> None:
        """Set and remove, in order; all or nothing."""
        hold.require(path)
        with self._state.transaction():
            for change in changes:
                key = (path.key, change.name.namespace, change.name.local)
                if isinstance(change, SetProperty):
                    self._state.query(
                        "INSERT INTO properties (path, namespace, local, parent, xml) VALUES (?, ?, ?, ?, ?) "
                        "ON CONFLICT DO UPDATE SET xml = excluded.xml",
                        (*key, _parent(path), change.dead.xml),
                    )
                else:
                    self._state.query("DELETE FROM properties WHERE path = ? AND namespace = ? AND local = ?", key)

    def remove(self, hold: Hold, path: DavPath) -> None:
        """Forget those of `path` and of everything below it. Costs one short query where there are none."""
        hold.require(path)
        if self._any(path):
            low, high = below(path)
            with self._state.transaction():
                self._state.query("DELETE FROM properties WHERE path = ?", (path.key,))
                self._state.query("DELETE FROM properties WHERE path >= ? AND path < ?", (low, high))

    def copy(self, hold: Hold, source: DavPath, destination: DavPath, *, recursive: bool) -> None:
        """RFC 4918 §9.8.2. What the destination had before is forgotten."""
        hold.require(destination)
        with self._state.transaction():
            self.remove(hold, destination)
            if not self._any(source):
                return
            low, high = below(source) if recursive else ("", "")
            rows = self._state.query(
                "SELECT path, namespace, local, xml FROM properties WHERE path = ? OR (path >= ? AND path < ?)",
                (source.key, low, high),
            )
            for path, namespace, local, xml in rows:
                copy = DavPath.from_key(path).rebase(source, destination)
                self._state.query(
                    "INSERT INTO properties (path, namespace, local, parent, xml) VALUES (?, ?, ?, ?, ?)",
                    (copy.key, namespace, local, _parent(copy), xml),
                )

    def move(self, hold: Hold, source: DavPath, destination: DavPath) -> None:
        """RFC 4918 §9.9.1. What the destination had before is forgotten."""
        hold.require(source)
        with self._state.transaction():
            self.copy(hold, source, destination, recursive=True)
            self.remove(hold, source)

    def _any(self, path: DavPath) -> bool:
        low, high = below(path)
        return bool(
            self._state.query(
                "SELECT 1 FROM properties WHERE path = ? OR (path >= ? AND path < ?) LIMIT 1", (path.key, low, high)
            )
        )


_SELECT = "SELECT path, namespace, local, xml FROM properties"


def _by_member(rows: Iterable[tuple[Any, ...]]) -> dict[str, dict[PropName, bytes]]:
    found: dict[str, dict[PropName, bytes]] = {}
    named: dict[tuple[str, str], PropName] = {}
    for path, namespace, local, xml in rows:
        name = named.get((namespace, local))
        if name is None:
            name = named[namespace, local] = PropName(namespace, local)
        found.setdefault(path.rpartition("/")[2], {})[name] = xml
    return found


def _parent(path: DavPath) -> str | None:
    return None if path.is_root else path.parent.key
