"""A share with everything behind it, for tests that change files and rows without HTTP."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from davserver.protocol.errors import IncompleteBody
from davserver.protocol.locks import ANYBODY, Depth, LockPolicy, LockRequest, Scope
from davserver.protocol.paths import ROOT, DavPath
from davserver.protocol.properties import DeadProperty, PropName, SetProperty
from davserver.storage import changes
from davserver.storage.copying import stage_copy
from davserver.storage.gate import Gate
from davserver.storage.hold import Unproven
from davserver.storage.journal import Journal
from davserver.storage.lock_manager import LockManager
from davserver.storage.node import Node
from davserver.storage.property_store import PropertyStore
from davserver.storage.share import Share, Shares
from davserver.storage.sqlite import SqliteState
from davserver.storage.staged import StagedFile
from davserver.storage.staging import FOLDER, Discarded
from davserver.storage.tree import Tree

COLOUR = PropName("urn:x", "colour")
NOW = 1_000_000.0


class Everything:
    """A hold in which all was checked."""

    def require(self, path: DavPath) -> None:
        pass


class Nothing:
    def require(self, path: DavPath) -> None:
        raise Unproven(path.key)


HOLD = Everything()


class Content:
    """A body that comes in blocks, and may end before it should."""

    length = None
    is_here = False

    def __init__(self, *blocks: bytes, cut: bool = False) -> None:
        self._blocks, self._cut = list(blocks), cut

    def read(self, size: int) -> bytes:
        if self._blocks:
            return self._blocks.pop(0)
        if self._cut:
            raise IncompleteBody("cut")
        return b""


def path(text: str) -> DavPath:
    return DavPath.parse(text)


def stage(tree: Tree, where: str, *blocks: bytes, cut: bool = False) -> StagedFile:
    """An upload that is not committed yet."""
    with tree.spot(path(where)) as spot:
        staged = StagedFile(tree, spot)
    try:
        staged.receive(Content(*blocks, cut=cut))
    except BaseException:
        staged.discard()
        raise
    return staged


def commit(tree: Tree, staged: StagedFile, where: str, *, replace: bool, mtime: int | None = None) -> Node:
    with tree.spot(path(where)) as spot:
        return staged.commit(HOLD, spot, replace=replace, mtime=mtime)


def write(tree: Tree, where: str, content: bytes, *, mtime: int | None = None) -> Node:
    with stage(tree, where, content) as staged:
        return commit(tree, staged, where, replace=tree.stat(path(where)) is not None, mtime=mtime)


def make_folder(tree: Tree, where: str) -> None:
    with tree.spot(path(where)) as spot:
        tree.create_collection(HOLD, spot)


def read(tree: Tree, where: str) -> bytes:
    file = tree.open(path(where))
    try:
        return os.pread(file.fd, file.node.size, 0)
    finally:
        file.close()


def names(tree: Tree, where: str = "/") -> list[str]:
    return sorted(name for name, _ in tree.members(path(where)))


def staged_names(root: Path) -> list[str]:
    """What lies in the stage, whichever process put it there."""
    if not (root / FOLDER).exists():
        return []
    return sorted(name for session in (root / FOLDER).iterdir() for name in os.listdir(session))


class World:
    """Files in `root`, a state beside them, and the changes that concern both."""

    def __init__(self, root: Path, state: Path, *, durable: bool = False, owned: bool = False, **options: Any) -> None:
        """`owned`: its stage says which state it belongs to, as that of a server does."""
        self.root = root
        state.mkdir(exist_ok=True)
        self.state = SqliteState(str(state), durable=durable)
        self.locks = LockManager(self.state, Gate(str(state)), LockPolicy(), clock=lambda: NOW)
        self.properties = PropertyStore(self.state)
        self.journal = Journal(self.state)
        self.trees: list[Tree] = []
        self.durable, self.owned, self.options = durable, owned, options
        self.shares = Shares([self.share("/", root)])

    def share(self, at: str, root: Path) -> Share:
        tree = Tree(
            str(root),
            path(at),
            durable=self.durable,
            owner=self.journal.owner() if self.owned else "",
            needed=self.journal.needed,
            **self.options,
        )
        tree.open_stage()
        self.trees.append(tree)
        return Share(
            at=path(at),
            tree=tree,
            locks=self.locks,
            properties=self.properties,
            journal=self.journal,
            state=self.state,
        )

    def mount(self, at: str, root: Path) -> None:
        self.shares = Shares([*self.shares, self.share(at, root)])

    @property
    def tree(self) -> Tree:
        return self.shares.of(ROOT).tree

    def close(self) -> None:
        for tree in self.trees:
            tree.close()
        self.state.close()

    # --- changes

    def delete(self, where: str) -> Discarded:
        return changes.delete(self.shares, HOLD, path(where))

    def move(self, source: str, where: str, *, replacing: bool, respelt: bool = False) -> Discarded:
        return changes.move(self.shares, HOLD, path(source), path(where), replacing=replacing, respelt=respelt)

    def copy(self, source: str, where: str, *, replacing: bool, recursive: bool = True) -> Discarded:
        tree = self.shares.of(path(where)).tree
        slot = tree.stage(path(where), tree.look(path(where)).device).new_slot()
        source_tree = self.shares.of(path(source)).tree
        with stage_copy(source_tree, path(source), tree, slot, recursive=recursive) as copy:
            return changes.install(
                self.shares, HOLD, copy, path(source), path(where), replacing=replacing, recursive=recursive
            )

    def carry(self, source: str, where: str, *, replacing: bool) -> Discarded:
        tree = self.shares.of(path(where)).tree
        slot = tree.stage(path(where), tree.look(path(where)).device).new_slot()
        with stage_copy(
            self.shares.of(path(source)).tree, path(source), tree, slot, recursive=True, everything=True
        ) as copy:
            return changes.carry(self.shares, HOLD, copy, path(source), path(where), replacing=replacing)

    # --- rows

    def colour(self, where: str, value: str) -> None:
        self.properties.patch(HOLD, path(where), (SetProperty(DeadProperty(COLOUR, value.encode()), value),))

    @property
    def colours(self) -> dict[str, str]:
        return {key: xml.decode() for key, xml in self.state.query("SELECT path, xml FROM properties ORDER BY path")}

    def lock(self, where: str) -> str:
        request = LockRequest(path(where), Depth.ZERO, Scope.EXCLUSIVE, ANYBODY, None, 3600)
        with self.locks.hold((path(where),), principal=ANYBODY, tokens=frozenset()) as hold:
            return self.locks.acquire(hold, request).token

    @property
    def locked(self) -> list[str]:
        return [lock.root.key for lock in self.locks.active()]


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A small file system of its own, in memory, for as long as the block lasts."""
    place.mkdir(exist_ok=True)
    run = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False)
    if run.returncode:
        pytest.skip("mounting a file system needs root: what this test is for is NOT TESTED here")
    with ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", str(place)], check=True)
        yield place
