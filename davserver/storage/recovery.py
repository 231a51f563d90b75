"""Finishing what was begun: from an intent and what the file system shows to rows that are true.

The same few lines end a change that went well, one that failed half-way, and one whose process was killed: they look
whether the rename has happened, and make the rows agree. Each is right when it is run again after it was itself
interrupted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from davserver.protocol.errors import Refused, Unavailable
from davserver.protocol.locks import ANYBODY
from davserver.protocol.paths import DavPath
from davserver.storage.hold import Unproven
from davserver.storage.journal import Intent, Kind
from davserver.storage.rename import rename_new
from davserver.storage.share import Shares
from davserver.storage.staging import Discarded, Slot

_log = logging.getLogger("davserver")

Rows = Callable[[], None]


class Recorded:
    """A hold for the paths of an intent: the locks on them were checked before it was recorded."""

    def __init__(self, intent: Intent) -> None:
        self._paths = intent.paths

    def require(self, path: DavPath) -> None:
        if not any(own.contains(path) for own in self._paths):
            raise Unproven(f"{path} is not what the intent is about")


def recover(shares: Shares, intents: Iterable[Intent]) -> None:
    """Settle intents that were found: those of the living are waited for, and then are gone. Raises Unavailable."""
    for intent in intents:
        with shares.locks.hold(intent.paths, principal=ANYBODY, tokens=frozenset()):
            discarded = settle(shares, intent) if shares.journal.has(intent) else Discarded()
        discarded.empty()


def recover_all(shares: Shares) -> None:
    """At the start, before any stage is opened: what has no name left is removed then, and its inode number is free.

    What cannot be settled now is left and told to the operator: a share without anything in it, not even a stage, is
    one whose disk is not mounted, and what is missing there has not been deleted.
    """
    for intent in shares.journal.all():
        try:
            if any(shares.of(path).tree.is_bare for path in intent.paths):
                raise Unavailable("there is nothing at all in its share; is its disk mounted?")
            recover(shares, [intent])
        except Refused as refused:
            _log.error("an interrupted %s of %s is still open: %s", intent.kind.value, intent.path, refused.message)


def settle(shares: Shares, intent: Intent, *, failed: bool = False) -> Discarded:
    """Finish or undo; the intent's paths are reserved. `failed`: it is known that something went wrong, so that what is
    visible may not be on the disk. Returns what is still to be removed."""
    ending = _Ending(shares, intent)
    rows: Rows = {
        Kind.CREATE: lambda: ending.created(failed=failed),
        Kind.DELETE: ending.deleted,
        Kind.MOVE: ending.moved,
        Kind.COPY: ending.copied,
        Kind.CARRY: lambda: ending.carried(failed=failed),
        Kind.TOUCH: ending.touched,
    }[intent.kind]()
    try:
        with shares.state.transaction():
            rows()
            shares.journal.drop(intent)
    except Refused:
        ending.bring_back()
        raise
    return ending.discarded


class _Ending:
    """What is to be done of one intent: each method sees to the files, and returns what is to be done to the rows."""

    def __init__(self, shares: Shares, intent: Intent) -> None:
        self._shares, self._intent = shares, intent
        self._locks, self._properties = shares.locks, shares.properties
        self._path = intent.path
        self._source = intent.path if intent.source is None else intent.source
        self._tree = shares.of(self._path).tree
        self._hold = Recorded(intent)
        #: What is at `path` now.
        self._here = self._tree.inode(self._path)
        self.discarded = Discarded()
        self._removed: Slot | None = None

    def created(self, *, failed: bool) -> Rows:
        return self._withdraw if failed or self._here is None else _nothing

    def deleted(self) -> Rows:
        return _nothing if self._arrived else self._end_all

    def moved(self) -> Rows:
        # Two names of one file are one inode: the source must be gone as well.
        if self._arrived and self._inode_of_source() != self._intent.inode:
            if self._intent.other:
                # The names may have been exchanged, and what was at the destination still be at the source.
                self._remove_source(self._intent.other)
            return self._move_rows
        return self._put_back()

    def copied(self) -> Rows:
        if self._arrived:
            return self._adopt
        self._put_back()
        return lambda: self._properties.forget(self._intent.staged)

    def carried(self, *, failed: bool) -> Rows:
        if not self._arrived:
            return self._put_back()
        if failed:
            return self._end_all  # of what was replaced; the source stays until the copy is known to be safe
        self._remove_source(self._intent.other)
        return self._move_rows

    def touched(self) -> Rows:
        if self._arrived:
            self._tree.set_mtime(self._hold, self._path, self._intent.mtime_ns)
        return _nothing

    @property
    def _arrived(self) -> bool:
        return self._here == self._intent.inode

    def _inode_of_source(self) -> int | None:
        return self._shares.of(self._source).tree.inode(self._source)

    def _withdraw(self) -> None:
        self._properties.remove(self._hold, self._path)
        self._locks.withdraw(self._path, self._intent.token)

    def _end_all(self) -> None:
        self._properties.remove(self._hold, self._path)
        self._locks.forget(self._hold, self._path)  # RFC 4918 §9.6: locks rooted on it end with it

    def _move_rows(self) -> None:
        self._properties.move(self._hold, self._source, self._path)
        self._locks.forget(self._hold, self._source)  # RFC 4918 §7.5: locks do not move with what they protect
        self._locks.forget(self._hold, self._path)

    def _adopt(self) -> None:
        self._properties.adopt(self._hold, self._intent.staged, self._path)
        # RFC 4918 §7.6: locks do not travel. What was below a replaced collection is gone.
        self._locks.forget(self._hold, self._path, below_only=True)

    def _remove_source(self, inode: int) -> None:
        """Put the source out of sight, if it is still what it was."""
        tree = self._shares.of(self._source).tree
        if tree.inode(self._source) == inode:
            with tree.spot(self._source) as spot:
                slot = tree.stage(self._source, spot.place.device).new_slot()
                spot.place.rename(slot.place)
                tree.sync(spot.place.folder)
            self._removed = slot
            self.discarded += Discarded(slot)

    def bring_back(self) -> None:
        """The source, if it was put out of sight: whoever ends the intent another time does so again."""
        if self._removed is not None:
            tree = self._shares.of(self._source).tree
            with suppress(OSError, Refused), tree.spot(self._source) as spot:
                rename_new(self._removed.place, spot.place)

    def _put_back(self) -> Rows:
        """What stepped aside for something that never came, where a file system cannot exchange names."""
        if self._here is None:
            with self._tree.spot(self._path) as spot:
                stage = self._tree.stage(self._path, spot.place.device)
                with stage.recall(self._intent.aside) as aside, suppress(FileNotFoundError):
                    if aside is not None:
                        aside.rename(spot.place)
                        self._tree.sync(spot.place.folder)
        return _nothing


def _nothing() -> None:
    """The rows are as they should be."""
