"""What changes files and rows together: created, deleted, moved, copied, and both or neither whatever dies when.

The law of this module: no method puts a transaction around a rename. Each change here is: the intent (where one is
needed), the rename, the rows. It is needed where there are rows to change at all, or where the rename takes more than
one step; a file that has neither properties nor locks costs none. All paths are reserved by the caller's hold.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from davserver.protocol.errors import NotFound, Refused, Unfinished
from davserver.protocol.paths import DavPath
from davserver.protocol.properties import PropertyUpdate
from davserver.storage.hold import Hold
from davserver.storage.journal import Intent, Kind
from davserver.storage.node import OtherDevice
from davserver.storage.recovery import settle
from davserver.storage.rename import rename_new, replace, takes_steps
from davserver.storage.share import Shares
from davserver.storage.staged import StagedCopy
from davserver.storage.staging import Discarded, Slot
from davserver.storage.tree import Spot

_log = logging.getLogger("davserver")

#: Puts everything back where it was before a rename. False where that cannot be. May raise OSError.
Undo = Callable[[], bool]


def create(shares: Shares, hold: Hold, path: DavPath, make: Callable[[Spot], object], rows: Callable[[], str]) -> None:
    """`make` makes something at `path`, `rows` stores what goes with it and returns the token of its lock, or "".
    Both or neither. Raises what they raise."""
    with shares.state.transaction():
        shares.properties.remove(hold, path)
        intent = shares.journal.record(Intent(Kind.CREATE, path, token=rows()))
    try:
        with shares.of(path).tree.spot(path) as spot:
            make(spot)
    except BaseException:
        settle(shares, intent, failed=True)
        raise
    try:
        shares.journal.drop(intent)
    except Refused as refused:
        # It is done, and whoever was promised it must hear so (a lock that nobody was told of could not be released).
        # The next one who comes here finds the intent, and that nothing is left to do.
        _log.warning("%s was made; an intent stays that should have gone: %s", path, refused.message)


def delete(shares: Shares, hold: Hold, path: DavPath) -> Discarded:
    """RFC 4918 §9.6: out of sight in one rename, with its properties and the locks on it and below it."""
    hold.require(path)
    tree = shares.of(path).tree
    with tree.spot(path) as spot:
        if spot.status is None:
            raise NotFound("There is nothing at this path.")
        slot = tree.stage(path, spot.place.device).new_slot()

        def undo() -> bool:
            rename_new(slot.place, spot.place)
            tree.sync(spot.place.folder)
            return True

        with _recorded(shares, Intent(Kind.DELETE, path, inode=spot.status.st_ino), _has_rows(shares, path), undo):
            spot.place.rename(slot.place)
            tree.sync(spot.place.folder)
    return Discarded(slot)


def move(shares: Shares, hold: Hold, source: DavPath, path: DavPath, *, replacing: bool, respelt: bool) -> Discarded:
    """RFC 4918 §9.9: one rename. `respelt`: both are names of one resource, which gets the second. Raises AlreadyThere
    when it is not to replace and the destination is taken, OtherDevice when a rename cannot get there."""
    hold.require(source)
    hold.require(path)
    tree, target = shares.of(source).tree, shares.of(path).tree
    with tree.spot(source) as old, target.spot(path) as new:
        if old.place.device != new.place.device:
            raise OtherDevice
        if old.status is None:
            raise NotFound("There is nothing at this path.")
        slot = target.stage(path, new.place.device).new_slot()
        replaced = new.status if replacing else None
        intent = Intent(
            Kind.MOVE,
            path,
            source,
            inode=old.status.st_ino,
            other=0 if replaced is None else replaced.st_ino,
            aside=slot.reference,
        )
        needed = _has_rows(shares, source, path) or takes_steps(old.status, replaced)
        is_kept = False

        def sync() -> None:
            tree.sync(old.place.folder)
            target.sync(new.place.folder)

        def undo() -> bool:
            if replaced is not None and not is_kept:
                return False  # nothing can bring that back
            if respelt:
                new.place.rename(old.place)
            else:
                rename_new(new.place, old.place)
            if is_kept:
                slot.place.rename(new.place)
            sync()
            return True

        with _recorded(shares, intent, needed, undo), target.making(new):
            if respelt:
                old.place.rename(new.place)
            elif not replacing:
                rename_new(old.place, new.place)
            else:
                is_kept = replace(old.place, new.place, slot.place, keep=needed)
            sync()
    return Discarded(slot) if is_kept else Discarded()


def install(
    shares: Shares, hold: Hold, copy: StagedCopy, source: DavPath, path: DavPath, *, replacing: bool, recursive: bool
) -> Discarded:
    """RFC 4918 §9.8: a copy of `source` becomes visible at `path`, with the properties of what it is a copy of."""
    hold.require(path)
    tree, properties = shares.of(path).tree, shares.properties
    with_properties = properties.any_at(source)

    def stage(intent: Intent) -> None:
        if with_properties:
            properties.stage(source, intent.staged, recursive=recursive)

    with tree.spot(path) as spot:
        slot = tree.stage(path, spot.place.device).new_slot()
        intent = Intent(Kind.COPY, path, inode=copy.inode, aside=slot.reference)
        needed = with_properties or _has_rows(shares, path) or (replacing and takes_steps(copy.status, spot.status))
        is_kept = False
        with _recorded(shares, intent, needed, lambda: _take_back(copy, spot, slot, is_kept, replacing), stage):
            is_kept = copy.commit(hold, spot, slot, replacing=replacing, keep=needed)
    return Discarded(slot) if is_kept else Discarded()


def carry(
    shares: Shares, hold: Hold, copy: StagedCopy, source: DavPath, path: DavPath, *, replacing: bool
) -> Discarded:
    """MOVE between file systems: the copy becomes visible at `path`, and then the source goes."""
    hold.require(source)
    hold.require(path)
    tree, target = shares.of(source).tree, shares.of(path).tree
    with target.spot(path) as spot:
        slot = target.stage(path, spot.place.device).new_slot()
        other = tree.inode(source) or 0
        intent = Intent(Kind.CARRY, path, source, inode=copy.inode, other=other, aside=slot.reference)
        intent = shares.journal.record(intent)
        try:
            is_kept = copy.commit(hold, spot, slot, replacing=replacing, keep=True)
        except BaseException:
            with suppress(Refused):  # as in `_recorded`
                settle(shares, intent, failed=True)
            raise
        removed = _conclude(shares, intent, lambda: _take_back(copy, spot, slot, is_kept, replacing))
    return Discarded(slot) + removed if is_kept else removed


def _take_back(copy: StagedCopy, spot: Spot, aside: Slot, is_kept: bool, replacing: bool) -> bool:
    if replacing and spot.status is not None and not is_kept:
        return False  # nothing can bring back what was replaced
    copy.take_back(spot)
    if is_kept:
        aside.place.rename(spot.place)
    return True


def patch(shares: Shares, hold: Hold, path: DavPath, changes: PropertyUpdate, mtime: int | None) -> None:
    """RFC 4918 §9.2: dead properties and the time of change, both or neither."""
    if mtime is None:
        shares.properties.patch(hold, path, changes)
        return
    tree = shares.of(path).tree
    node = tree.stat(path)
    if node is None:
        raise NotFound("There is nothing at this path.")
    intent = shares.journal.record(Intent(Kind.TOUCH, path, inode=node.inode, mtime_ns=node.mtime_ns))
    try:
        tree.set_mtime(hold, path, tree.new_time(mtime))
        with shares.state.transaction():
            shares.properties.patch(hold, path, changes)
            shares.journal.drop(intent)
    except BaseException:
        settle(shares, intent)
        raise


def _has_rows(shares: Shares, *paths: DavPath) -> bool:
    """Is there a property or a lock at any of the paths, or below it?"""
    return any(shares.properties.any_at(path) or shares.locks.any_at(path) for path in paths)


@contextmanager
def _recorded(
    shares: Shares, intent: Intent, needed: bool, undo: Undo, rows: Callable[[Intent], None] | None = None
) -> Iterator[None]:
    """The rename is done inside; before it the intent is recorded, if one is needed, and after it settled."""
    if not needed:
        yield
        return
    intent = shares.journal.record(intent, rows)
    try:
        yield
    except BaseException:
        with suppress(Refused):  # then the intent stays; what is told is what went wrong first
            settle(shares, intent).empty()
        raise
    _conclude(shares, intent, undo).empty()


def _conclude(shares: Shares, intent: Intent, undo: Undo) -> Discarded:
    """Change the rows, now that the rename has happened. Where they cannot be changed the rename is undone, so that
    what is refused has not happened; then the intent, which is still there, has nothing to finish. Raises Unfinished
    where it cannot be undone either: whoever finds the intent finishes it."""
    try:
        return settle(shares, intent)
    except Refused as refused:
        if _is_open(shares, intent):
            with suppress(OSError):  # somebody has taken the name
                if undo():
                    raise
        raise Unfinished(
            "The files were changed, but the server's state could not take note of it. That is made up for as soon as "
            "the state is available; look at what is there before you try again."
        ) from refused


def _is_open(shares: Shares, intent: Intent) -> bool:
    """Is it known that the rows are unchanged? A commit may have been made, and not have reached the disk."""
    try:
        return shares.journal.has(intent)
    except Refused:
        return False
