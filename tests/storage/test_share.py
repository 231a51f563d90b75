"""Which share a path lies in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from davserver.protocol.errors import Forbidden, NotFound
from davserver.protocol.locks import LockPolicy
from davserver.protocol.paths import DavPath
from davserver.storage.gate import Gate
from davserver.storage.journal import Journal
from davserver.storage.lock_manager import LockManager
from davserver.storage.property_store import PropertyStore
from davserver.storage.share import Share, Shares
from davserver.storage.sqlite import SqliteState
from davserver.storage.tree import Tree


def path(text: str) -> DavPath:
    return DavPath.parse(text)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[type]:
    with ExitStack() as stack:
        state = SqliteState(str(tmp_path), durable=False)
        stack.callback(state.close)
        locks = LockManager(state, Gate(str(tmp_path)), LockPolicy())

        def share(at: str) -> Share:
            tree = Tree(str(tmp_path), path(at))
            stack.callback(tree.close)
            return Share(path(at), tree, locks, PropertyStore(state), Journal(state), state)

        yield share  # type: ignore[misc]


def test_the_deepest_share_counts(make: type) -> None:
    root, docs, deep = make("/"), make("/docs"), make("/docs/a/deep")
    shares = Shares([docs, root, deep])
    for where, expected in (
        ("/", root),
        ("/docsx", root),
        ("/docs", docs),
        ("/docs/a", docs),
        ("/docs/a/deep/f", deep),
        ("/Docs", root),
    ):
        assert shares.of(path(where)) is expected
    assert shares.mounted_in(path("/")) == [docs]
    assert shares.mounted_in(path("/docs/a")) == [deep]
    assert shares.mounted_below(path("/docs")) == [deep, docs]
    assert shares.mounted_inside(path("/")) == [docs, deep]
    assert shares.mounted_inside(path("/docs")) == [deep]
    assert {share.at.key for share in shares} == {"/", "/docs", "/docs/a/deep"}


def test_outside_of_all_shares_there_is_nothing(make: type) -> None:
    with pytest.raises(NotFound):
        Shares([make("/docs")]).of(path("/other"))


def test_what_the_server_keeps_for_itself_is_no_shares(make: type) -> None:
    shares = Shares([make("/")])
    for where in ("/-", "/-/", "/-/api", "/%2D/x"):
        with pytest.raises(Forbidden):
            shares.of(path(where))
    for where in ("/--", "/-x", "/d/-"):
        assert shares.of(path(where)).at.is_root
