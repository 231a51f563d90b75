"""LockTable: locks as rows. What SQL there is about locks stands here, and no rule.

A row is a lock for as long as somebody may ask for it: while it is active, and for a while after it ended. What
the checks ask for is found by index, whatever number of locks there is: rows by their root (a path has as many
roots above it as it is deep), by their parent (a listing), and in a tree by a range of roots.

Every change notes an event in the same transaction, for those who observe (`lock_events`); what a new lock or an ended
one counts for, the store keeps by itself (`schema`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from davserver.protocol.locks import Depth, End, Ending, Kind, Lock, Principal, Scope
from davserver.protocol.paths import DavPath
from davserver.storage.lock_events import What, note
from davserver.storage.state import State

_GRANTED = (
    "id, token, root, collection, depth, scope, kind, principal, display_name, owner, created, refreshed, interval, "
    "expires, client_address, client_agent, reason, transaction_id, fence, blocks_reads, made"
)
_ENDED = "ended, how, ended_by, ended_by_name, ended_reason, version, void"
# With each row what the store has seen as the latest time: one statement tells both.
_COLUMNS = f"SELECT (SELECT latest FROM progress), {_GRANTED}, {_ENDED} FROM"  # noqa: S608
_SELECT = f"{_COLUMNS} locks WHERE "
#: Asked by every GET: made once, so that its hash is known.
_BLOCKING_READS = f"{_SELECT}blocks_reads = 1"
_INSERT = f"INSERT INTO locks (parent, {_GRANTED}) VALUES (?{', ?' * (_GRANTED.count(',') + 1)})"  # noqa: S608
_DEPTHS, _SCOPES = {each.value: each for each in Depth}, {each.value: each for each in Scope}
_KINDS, _ENDINGS = {each.value: each for each in Kind}, {each.value: each for each in Ending}

_FIELDS = f"{_GRANTED}, {_ENDED}"

#: Keys that one statement may name; a claim on more paths than that (a transaction) asks several times.
_MAX_KEYS = 500


class Standing(NamedTuple):
    """What a new lock finds."""

    #: The latest time that the store has seen.
    latest: float
    locks: list[Lock]
    #: The last lock's id, the last transaction's fence, and how many locks its principal has whose end is not noted.
    number: int
    fence: int
    held: int
    #: Changes are under way somewhere, or were when their process died (`journal`).
    intents: int


class LockTable:
    """The rows. Whoever changes them is in a transaction of the state; whoever decides does so elsewhere."""

    def __init__(self, state: State) -> None:
        self._state = state

    # --- reading: (the latest time that the store has seen, rows), oldest first

    def touching(self, keys: Sequence[str], trees: Iterable[DavPath] = ()) -> tuple[float, list[Lock]]:
        """Locks rooted at any of `keys`, or below one of `trees`."""
        ranges = [low_high for tree in trees for low_high in below(tree)]
        if len(keys) <= _MAX_KEYS and not ranges:
            return self._read(_rooted_at(len(keys)), keys)
        latest, found = 0.0, dict[int, Lock]()
        for start in range(0, len(keys), _MAX_KEYS):
            some = keys[start : start + _MAX_KEYS]
            where = f"root IN ({','.join('?' * len(some))})" + " OR root >= ? AND root < ?" * (len(ranges) // 2)
            latest, locks = self._select(where, (*some, *ranges))
            found.update({lock.id: lock for lock in locks})
            ranges = []
        return latest, list(found.values())

    def standing(self, root: DavPath, tree: Iterable[DavPath], principal: Principal) -> Standing:
        """`touching`, without those that were released, and with all else that is asked before a lock is granted: one
        statement."""
        keys, ranges = root.lineage, [low_high for path in tree for low_high in below(path)]
        progress, *rows = self._state.query(_standing(len(keys), len(ranges) // 2), (principal.name, *keys, *ranges))
        latest, number, fence, held, intents = progress[:5]
        return Standing(latest, [_lock(row[4:]) for row in rows], number, fence, held, intents)

    def members_of(self, collection: DavPath) -> tuple[float, list[Lock]]:
        """Locks rooted at members of a collection."""
        return self._select("parent = ?", (collection.key,))

    def blocking_reads(self) -> tuple[float, list[Lock]]:
        return self._read(_BLOCKING_READS, ())

    def of_transaction(self, transaction_id: str) -> tuple[float, list[Lock]]:
        return self._select("transaction_id = ?", (transaction_id,))

    def by_id(self, number: int) -> tuple[float, list[Lock]]:
        return self._select("id = ?", (number,))

    def every(self) -> tuple[float, list[Lock]]:
        return self._select("ended IS NULL", ())

    def page(
        self, beyond: int, limit: int, *, path: DavPath | None, holder: str | None, kind: Kind | None
    ) -> tuple[float, list[Lock]]:
        """Locks whose end is not noted, by number from `beyond` on; `path`: rooted at it, above it or below it."""
        where = ["ended IS NULL"]
        parameters: list[object] = []
        if holder is not None:
            where.append("principal = ?")
            parameters.append(holder)
        if kind is not None:
            where.append("kind = ?")
            parameters.append(kind.value)
        number = "id"
        if path is not None and not path.is_root:
            number = "+id"  # found by their roots, not by their numbers: what is elsewhere is not looked at
            keys = path.lineage
            where.append(f"(root IN ({','.join('?' * len(keys))}) OR root >= ? AND root < ?)")
            parameters += (*keys, *below(path))
        where.append(f"{number} > ? ORDER BY {number} LIMIT ?")
        return self._select(" AND ".join(where), (*parameters, beyond, limit))

    def expired(self, now: float, limit: int) -> list[Lock]:
        """Whose end is still to be noted."""
        return self._select("ended IS NULL AND expires <= ? LIMIT ?", (now, limit))[1]

    def untidied(self, limit: int) -> list[Lock]:
        """Ended locks whose empty file may still be there."""
        return self._select("ended IS NOT NULL AND made IS NOT NULL LIMIT ?", (limit,))[1]

    def any_at(self, root: DavPath) -> bool:
        """Is one rooted at `root`, or below it, whose end is not noted?"""
        low, high = below(root)
        return bool(
            self._state.query(
                "SELECT 1 FROM locks WHERE ended IS NULL AND (root = ? OR (root >= ? AND root < ?)) LIMIT 1",
                (root.key, low, high),
            )
        )

    def _select(self, where: str, parameters: Sequence[object]) -> tuple[float, list[Lock]]:
        return self._read(_SELECT + where, parameters)

    def _read(self, sql: str, parameters: Sequence[object]) -> tuple[float, list[Lock]]:
        rows = self._state.query(sql, parameters)
        return rows[0][0] if rows else 0.0, [_lock(row) for row in rows]

    def progress(self) -> tuple[float, int]:
        """The latest time that was seen, and how many times the clock was set back before it."""
        ((latest, jumps),) = self._state.query("SELECT latest, jumps FROM progress")
        return latest, jumps

    # --- changing, within a transaction

    def advance(self, now: float) -> float:
        """Note the time: the latest that was seen."""
        # No RETURNING: for its rows SQLite would open a table of its own first.
        self._state.query("UPDATE progress SET latest = max(latest, ?)", (now,))
        return self.progress()[0]

    def new_fence(self) -> None:
        self._state.query("UPDATE progress SET fence = fence + 1")

    def set_back(self, latest: float, now: float) -> None:
        """Time goes on from `now`, which is before the `latest` that was seen. Locks that had expired by then have
        ended; the others last no longer than they were granted. Nothing has happened in the future."""
        self._state.query(
            "UPDATE locks SET ended = min(expires, ?), how = 'expired' WHERE ended IS NULL AND expires <= ?",
            (now, latest),
        )
        self._state.query(
            "UPDATE locks SET refreshed = ?1, expires = ?1 + (expires - refreshed), created = min(created, ?1), "
            "interval = min(interval, expires - refreshed) WHERE ended IS NULL AND refreshed > ?1",
            (now,),
        )
        self._state.query("UPDATE locks SET ended = ?1 WHERE ended > ?1", (now,))
        self._state.query("UPDATE lock_events SET at = ?1 WHERE at > ?1", (now,))
        self._state.query("UPDATE progress SET latest = ?, jumps = jumps + 1", (now,))

    def insert(self, lock: Lock) -> None:
        """Its id is the one after the last, see `standing`. The time of its creation is noted."""
        self._state.change(_INSERT, _row(lock))

    def renew(self, lock: Lock, now: float, expires: float | None) -> Lock:
        """Its time anew. An end that was noted is taken back."""
        interval = max(lock.interval or 0.0, now - lock.refreshed)
        self._state.query(
            "UPDATE locks SET refreshed = ?, expires = ?, interval = ?, ended = NULL, how = NULL, version = NULL, "
            "void = 0 WHERE id = ?",
            (now, expires, interval, lock.id),
        )
        renewed = replace(lock, refreshed=now, expires=expires, interval=interval, end=None)
        note(self._state, What.REFRESHED, renewed, now)
        return renewed

    def end(self, lock: Lock, end: End) -> None:
        """Note how it ended."""
        by, by_name = (None, None) if end.by is None else (end.by.name, end.by.display_name)
        self._state.query(
            "UPDATE locks SET ended = ?, how = ?, ended_by = ?, ended_by_name = ?, ended_reason = ?, version = ?, "
            "void = ? WHERE id = ?",
            (end.at, end.how.value, by, by_name, end.reason, end.version, end.void, lock.id),
        )

    def release(self, root: DavPath, token: str, principal: str, now: float) -> bool:
        """End this lock, and see in the same statement whether there is need to look at anything else: not where it
        is rooted at `root`, the principal's own, active at a time that is not behind the store's, and came without an
        empty file. False: nothing was changed."""
        return bool(
            self._state.change(
                "UPDATE locks SET ended = ?, how = 'released' WHERE root = ? AND token = ? AND principal = ? "
                "AND ended IS NULL AND (expires IS NULL OR expires > ?) AND made IS NULL "
                "AND (SELECT latest FROM progress) <= ?",
                (now, root.key, token, principal, now, now),
            )
        )

    def void(self, lock: Lock, now: float) -> None:
        """The token of this ended lock is worth nothing any more. Remembered is what somebody may still have to be
        told, and whose empty file may still be there."""
        end = lock.ending(now)
        if end is None or end.void:
            return
        if lock.made is None and end.how is not Ending.BROKEN:
            self._state.query("DELETE FROM locks WHERE id = ?", (lock.id,))
            if lock.end is None:
                note(self._state, What.EXPIRED, lock, now)
        elif lock.end is None:
            self.end(lock, replace(end, void=True))
        else:
            self._state.query("UPDATE locks SET void = 1 WHERE id = ?", (lock.id,))

    def forget_tree(self, root: DavPath, now: float, *, below_only: bool) -> None:
        """End the write locks rooted below `root`, and at it: released, for a holder who comes to release them all the
        same. Those of other kinds are about the name, for their time, whatever their holder does there. Ended ones
        that may still be forgiven stay as they are: they end with whatever is written there (`void`), and not when
        their own empty file is tidied up."""
        place, keys = "(root >= ? AND root < ? OR root = ?)", (*below(root), None if below_only else root.key)
        ended = "ended IS NULL AND kind = 'write'"
        if self._state.query(f"SELECT 1 FROM locks WHERE ({ended} OR void) AND {place} LIMIT 1", keys):  # noqa: S608
            self._state.query(f"DELETE FROM locks WHERE void AND {place}", keys)  # noqa: S608
            self._state.query(
                f"UPDATE locks SET ended = ?, how = 'released', made = NULL WHERE {ended} AND {place}",  # noqa: S608
                (now, *keys),
            )

    def tidied(self, lock: Lock, version: str | None) -> None:
        """The empty file that it made has been seen to. `version`: what is there now, if that is our doing."""
        self._state.query(
            "UPDATE locks SET made = NULL, version = coalesce(?, version) WHERE id = ?", (version, lock.id)
        )

    def old(self, *, released_before: float, ended_before: float, limit: int) -> list[int]:
        """Numbers of locks of which nobody has to be told any more."""
        rows = self._state.query(
            "SELECT id FROM locks WHERE made IS NULL AND (ended <= ? OR ended <= ? AND how = 'released') LIMIT ?",
            (ended_before, released_before, limit),
        )
        return [number for (number,) in rows]

    def drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._state.query("DELETE FROM locks WHERE id = ? AND ended IS NOT NULL", (number,))


@lru_cache(maxsize=_MAX_KEYS)
def _rooted_at(keys: int) -> str:
    """A row for each key, joined: for IN (…) SQLite would build a table with an index first."""
    values = ",".join(["(?)"] * keys)
    return f"WITH keys (key) AS (VALUES {values}) {_COLUMNS} keys CROSS JOIN locks ON root = key"


@lru_cache(maxsize=_MAX_KEYS)
def _standing(keys: int, ranges: int) -> str:
    """First a row of `progress` and `holders`, and then one for each lock."""
    nothing = ", NULL" * (_FIELDS.count(",") + 1)
    held = "coalesce((SELECT held FROM holders WHERE principal = ?), 0)"
    values = ",".join(["(?)"] * keys)
    progress = f"SELECT latest, lock_id, fence, {held}, EXISTS (SELECT 1 FROM intents){nothing} FROM progress"  # noqa: S608
    locks = f" UNION ALL SELECT 0, 0, 0, 0, 0, {_FIELDS} FROM "  # noqa: S608
    rooted = f"{locks}(SELECT column1 AS key FROM (VALUES {values})) CROSS JOIN locks ON root = key"  # noqa: S608
    below = f"{locks}locks WHERE root > ? AND root < ?"
    left = " AND how IS NOT 'released'"
    return progress + rooted + left + (below + left) * ranges


def below(path: DavPath) -> tuple[str, str]:
    """The range of keys below `path`: low <= key < high. "0" is the character after "/"."""
    return ("/", "0") if path.is_root else (path.key + "/", path.key + "0")


def _row(lock: Lock) -> tuple[object, ...]:
    """`parent` and `_GRANTED`: a new lock has no end."""
    return (
        None if lock.root.is_root else lock.root.parent.key,
        lock.id,
        lock.token,
        lock.root.key,
        lock.root.slash,
        lock.depth.value,
        lock.scope.value,
        lock.kind.value,
        lock.principal.name,
        lock.principal.display_name,
        lock.owner,
        lock.created,
        lock.refreshed,
        lock.interval,
        lock.expires,
        lock.client_address,
        lock.client_agent,
        lock.reason,
        lock.transaction_id,
        lock.fence,
        lock.blocks_reads,
        lock.made,
    )


def _lock(row: tuple[Any, ...]) -> Lock:
    (_, number, token, root, collection, depth, scope, kind, principal, display_name, owner, created, refreshed,
     interval, expires, address, agent, reason, transaction_id, fence, blocks_reads, made, *end) = row  # fmt: skip
    return Lock(
        token,
        _root(root, collection),
        _DEPTHS[depth],
        _SCOPES[scope],
        _KINDS[kind],
        Principal(principal, display_name),
        owner,
        created,
        refreshed,
        expires,
        number,
        address,
        agent,
        reason,
        transaction_id,
        fence,
        bool(blocks_reads),
        made,
        interval,
        None if end[0] is None else _end(*end),
    )


@lru_cache(maxsize=1024)
def _root(key: str, collection: int) -> DavPath:
    return DavPath(DavPath.from_key(key).segments, bool(collection))


def _end(
    at: float, how: str, by: str | None, by_name: str | None, reason: str | None, version: str | None, void: int
) -> End:
    principal = None if by is None else Principal(by, by_name or "")
    return End(_ENDINGS[how], at, principal, reason, version, bool(void))
