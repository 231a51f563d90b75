"""PropertyStore: dead properties, which follow their resource through COPY, MOVE and DELETE.

Rows are keyed by path. Subtrees are ranges of keys, so no character of a name means anything to the database, and a
move changes the leading prefix of a key and nothing else of it. Each change of a subtree is one statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from davserver.protocol.errors import InsufficientStorage
from davserver.protocol.paths import DavPath
from davserver.protocol.properties import PropertyUpdate, PropName, SetProperty
from davserver.storage.hold import Hold
from davserver.storage.state import State

#: Dead properties of one resource: name → its whole element.
Dead = Mapping[PropName, bytes]

#: Properties of the members of one collection that are held in memory at once.
_AT_ONCE = 10_000

_SELECT = "SELECT path, namespace, local, xml FROM properties"


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
    """Dead properties of one server. Every change demands the hold under which the resource itself changes.

    `limit`: bytes that the dead properties of one resource may take together.
    """

    def __init__(self, state: State, *, limit: int = 1 << 20) -> None:
        self._state = state
        self._limit = limit

    def of(self, path: DavPath) -> Dead:
        """Those of one resource."""
        rows = self._state.query("SELECT namespace, local, xml FROM properties WHERE path = ?", (path.key,))
        return {PropName(namespace, local): xml for namespace, local, xml in rows}

    def of_members(self, collection: DavPath) -> DeadOfMembers:
        return DeadOfMembers(self._state, collection)

    def counted(self) -> Iterator[tuple[str, int]]:
        """(key, number of properties) of every resource that has any, in the order of keys, and of copies under way."""
        last = ""
        while rows := self._state.query(
            "SELECT path, count(*) FROM properties WHERE path > ? GROUP BY path ORDER BY path LIMIT 1000", (last,)
        ):
            yield from rows
            last = rows[-1][0]

    def any_at(self, path: DavPath) -> bool:
        """Does the resource, or anything below it, have any?"""
        return bool(self._state.query(f"SELECT 1 FROM properties WHERE {_TREE} LIMIT 1", _tree(path.key)))  # noqa: S608

    def patch(self, hold: Hold, path: DavPath, changes: PropertyUpdate) -> None:
        """Set and remove, in order; all or nothing. Raises InsufficientStorage when they grow too large."""
        hold.require(path)
        if not changes:
            return
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
            ((size,),) = self._state.query(
                "SELECT total(length(xml) + length(namespace) + length(local)) FROM properties WHERE path = ?",
                (path.key,),
            )
            if size > self._limit:
                raise InsufficientStorage(f"The properties of one resource may take {self._limit} bytes together.")

    def remove(self, hold: Hold, path: DavPath) -> None:
        """Forget those of `path` and of everything below it. Costs one short query where there are none."""
        hold.require(path)
        if self.any_at(path):
            self.forget(path.key)

    def move(self, hold: Hold, source: DavPath, destination: DavPath) -> None:
        """RFC 4918 §9.9.1. What the destination had before is forgotten."""
        hold.require(source)
        self.adopt(hold, source.key, destination)

    def stage(self, source: DavPath, staged: str, *, recursive: bool) -> None:
        """RFC 4918 §9.8.2: copy the properties of `source` to where they wait for the copy to become visible."""
        low, high = _below(source.key) if recursive else ("", "")
        # Behind the key of the source: of the root, which is but a slash, that slash is what each member's begins with.
        after = 1 if source.is_root else len(source.key) + 1
        self.forget(staged)
        self._state.query(
            "INSERT INTO properties (path, namespace, local, parent, xml) "
            "SELECT CASE path WHEN ?1 THEN ?2 ELSE ?2 || substr(path, ?3) END, namespace, local, "
            "CASE path WHEN ?1 THEN NULL ELSE CASE parent WHEN ?1 THEN ?2 ELSE ?2 || substr(parent, ?3) END END, xml "
            "FROM properties WHERE path = ?1 OR (path >= ?4 AND path < ?5)",
            (source.key, staged, after, low, high),
        )

    def adopt(self, hold: Hold, key: str, destination: DavPath) -> None:
        """Those at `key` and below, staged or of another path, become the destination's. What it had is forgotten."""
        with self._state.transaction():
            self.remove(hold, destination)
            after = len(key) + 1
            self._state.query(
                f"UPDATE properties SET path = ? || substr(path, ?), {_NEW_PARENT} WHERE {_TREE}",  # noqa: S608
                (destination.key, after, key, _parent(destination), destination.key, after, *_tree(key)),
            )

    def forget(self, key: str) -> None:
        """Drop those at a key, and below it."""
        self._state.query(f"DELETE FROM properties WHERE {_TREE}", _tree(key))  # noqa: S608


_NEW_PARENT = "parent = CASE path WHEN ? THEN ? ELSE ? || substr(parent, ?) END"
_TREE = "(path = ? OR (path >= ? AND path < ?))"


def _tree(key: str) -> tuple[str, str, str]:
    """Parameters of `_TREE`: a resource and everything below it."""
    return (key, *_below(key))


def _below(key: str) -> tuple[str, str]:
    """The range of keys below one: low <= key < high. "0" is the character after "/"."""
    return ("/", "0") if key == "/" else (key + "/", key + "0")


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
