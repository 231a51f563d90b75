"""Content that is written and not yet visible. Leaving its block without `commit` discards it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from davserver.protocol.paths import DavPath
from davserver.storage.hold import Hold
from davserver.storage.node import Discarded, Node
from davserver.storage.oserrors import refusing
from davserver.storage.staging import Stage

if TYPE_CHECKING:
    from davserver.storage.tree import Tree


class Staged:
    """One uploaded file."""

    def __init__(self, tree: Tree, stage: Stage, fd: int, name: str | None) -> None:
        self.fd = fd
        self._tree, self._stage, self._name = tree, stage, name
        self._open = True

    def commit(self, hold: Hold, path: DavPath, *, replace: bool, mtime: int | None = None) -> Node:
        """Make it the file at `path`, whole and in one step. Raises AlreadyThere when it is not to replace.

        An fsync that fails is never tried again: the kernel has dropped the data by then.
        """
        with refusing():
            self._tree.stamp(self.fd, mtime)
            self._tree.sync(self.fd)
        self._tree.install_file(hold, self._stage, self.fd, self._name, path, replace=replace)
        self._name = None
        return Node.of(os.fstat(self.fd))

    def discard(self) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)
            if self._name is not None:
                self._stage.clear(self._name)

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class StagedCopy:
    """A file or a tree, whole."""

    def __init__(self, tree: Tree, stage: Stage, name: str) -> None:
        self._tree, self._stage, self._name = tree, stage, name
        self._pending = True

    def commit(self, hold: Hold, path: DavPath, *, replace: bool) -> Discarded:
        """Make it visible at `path` in one step. Raises AlreadyThere when it is not to replace."""
        replaced = self._tree.install(hold, self._stage, self._name, path, replace=replace)
        self._pending = False
        return replaced

    def discard(self) -> None:
        if self._pending:
            self._pending = False
            self._stage.clear(self._name)

    def __enter__(self) -> StagedCopy:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()
