"""Content that is written and not yet visible. Leaving its block without `commit` discards it.

The order of a durable change: the data (fsync of the file), the name, the folder (fsync). What fails on the way is
not acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import stat as modes

from davserver.protocol.messages import Body
from davserver.storage.hold import Hold
from davserver.storage.node import Node
from davserver.storage.oserrors import refusing
from davserver.storage.rename import rename_new, replace
from davserver.storage.staging import Slot, keep_attributes, link_unnamed, open_unnamed
from davserver.storage.tree import Spot, Tree

BLOCK = 256 * 1024


class StagedFile:
    """One file, open for reading and writing, that has no name yet or one in the stage."""

    def __init__(self, tree: Tree, spot: Spot) -> None:
        """Made for `spot`: on the file system, and with the group and access list, that a new file there has; or with
        mode, owner and attributes of the file that is there."""
        self._tree, self._path = tree, spot.path
        self._slot: Slot | None = None
        with refusing():
            fd = open_unnamed(spot.place.folder) if tree.use_tmpfile else None
            if fd is None:
                fd, self._slot = tree.stage(spot.path, spot.place.device).new_file()
        self.fd = fd
        self._open = True
        self._sealed = False
        try:
            with refusing():
                self._status = os.fstat(fd)
                self._like = self._take_over(spot)
        except BaseException:
            self.discard()
            raise

    def receive(self, body: Body) -> None:
        """Write a body, from where the file is now, and all of it to the disk: before the paths are reserved, since
        that takes its time. Raises what the body raises."""
        while block := body.read(BLOCK):
            with refusing():
                view = memoryview(block)
                while view:
                    view = view[os.write(self.fd, view) :]
        with refusing():
            self._tree.sync(self.fd)

    def seal(self, mtime: int | None = None) -> Node:
        """Settle what the file will be: from now on its ETag is known. Done by `commit` where nobody has to know."""
        mtime_ns = self._tree.new_time(mtime)
        with refusing():
            os.utime(self.fd, ns=(mtime_ns, mtime_ns))
            node = Node.of(os.fstat(self.fd))
        self._sealed = True
        return node

    def commit(self, hold: Hold, spot: Spot, *, replace: bool, mtime: int | None = None) -> Node:
        """Make it the file at `spot`, whole and in one step. Raises AlreadyThere when it is not to replace.

        A file that is replaced by rename(2): on ext4 that starts writing the data at once, which costs more than to
        exchange the two names; but then a power cut could leave an empty file where the old one was.
        """
        hold.require(spot.path)
        with self._tree.making(spot):
            if replace and _identity(spot.status) != self._like:
                self._like = self._take_over(spot)
                self._tree.sync(self.fd)
            node = Node.of(os.fstat(self.fd)) if self._sealed else self.seal(mtime)
            if replace:
                self._named().place.rename(spot.place)
            elif self._slot is None:
                link_unnamed(self.fd, *spot.place)
            else:
                rename_new(self._slot.place, spot.place)
            self._slot = None
            self._tree.sync(spot.place.folder)
        return node

    def _take_over(self, spot: Spot) -> object:
        """What is replaced hands on its mode, owner and attributes."""
        if spot.status is not None and modes.S_ISREG(spot.status.st_mode):
            with contextlib.suppress(FileNotFoundError):  # gone since it was looked at
                keep_attributes(spot.status, spot.place.path, self._status, self.fd)
        return _identity(spot.status)

    def _named(self) -> Slot:
        """rename(2) needs a name, linkat(2) replaces none."""
        if self._slot is None:
            slot = self._tree.stage(self._path, self._status.st_dev).new_slot()
            link_unnamed(self.fd, *slot.place)
            self._slot = slot
        return self._slot

    def discard(self) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)
            if self._slot is not None:
                self._slot.empty()

    def __enter__(self) -> StagedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _identity(status: os.stat_result | None) -> object:
    """Of a version of a file with its attributes: it is another when any of them is changed."""
    return None if status is None else (status.st_ino, status.st_ctime_ns)


class StagedCopy:
    """A file or a tree, whole. `size`: the bytes of its files."""

    def __init__(self, tree: Tree, slot: Slot) -> None:
        self._tree, self._slot = tree, slot
        self._pending = True
        self.size = 0

    @property
    def status(self) -> os.stat_result:
        with refusing():
            return os.stat(self._slot.place.name, dir_fd=self._slot.place.folder, follow_symlinks=False)

    @property
    def inode(self) -> int:
        return self.status.st_ino

    def commit(self, hold: Hold, spot: Spot, aside: Slot, *, replacing: bool, keep: bool = False) -> bool:
        """Make it visible at `spot` in one step. True: what it replaces lies at `aside` now (see `rename.replace`).
        Raises AlreadyThere when it is not to replace."""
        hold.require(spot.path)
        with self._tree.making(spot):
            if replacing:
                is_kept = replace(self._slot.place, spot.place, aside.place, keep=keep)
            else:
                rename_new(self._slot.place, spot.place)
                is_kept = False
            self._pending = False
            self._tree.sync(spot.place.folder)
        return is_kept

    def take_back(self, spot: Spot) -> None:
        """Out of sight again, to be discarded. Raises OSError."""
        spot.place.rename(self._slot.place)
        self._pending = True

    def discard(self) -> None:
        if self._pending:
            self._pending = False
            self._slot.empty()

    def __enter__(self) -> StagedCopy:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()
