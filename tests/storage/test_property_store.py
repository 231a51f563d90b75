"""PropertyStore: dead properties stay with their resource."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.protocol.paths import ROOT, DavPath
from davserver.protocol.properties import DeadProperty, PropName, RemoveProperty, SetProperty
from davserver.storage import property_store
from davserver.storage.hold import Unproven
from davserver.storage.property_store import PropertyStore
from davserver.storage.sqlite import SqliteState

COLOUR, SIZE = PropName("urn:x", "colour"), PropName("", "size")


class Everything:
    """A hold in which all was checked."""

    def require(self, path: DavPath) -> None:
        pass


class Nothing:
    def require(self, path: DavPath) -> None:
        raise Unproven(path.key)


HOLD = Everything()


def path(text: str) -> DavPath:
    return DavPath.parse(text)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PropertyStore]:
    state = SqliteState(str(tmp_path), durable=False)
    yield PropertyStore(state)
    state.close()


def put(store: PropertyStore, where: str, value: str, name: PropName = COLOUR) -> None:
    store.patch(HOLD, path(where), (SetProperty(DeadProperty(name, value.encode()), value),))


def get(store: PropertyStore, where: str, name: PropName = COLOUR) -> str | None:
    found = store.of(path(where)).get(name)
    return None if found is None else found.decode()


def everything(store: PropertyStore) -> dict[str, str]:
    return {row[0]: row[1].decode() for row in store._state.query("SELECT path, xml FROM properties ORDER BY path")}


def test_set_replace_and_remove_in_order(store: PropertyStore) -> None:
    red, blue = (SetProperty(DeadProperty(COLOUR, value), "") for value in (b"red", b"blue"))
    store.patch(HOLD, path("/f"), (red, blue, SetProperty(DeadProperty(SIZE, b"9"), ""), RemoveProperty(SIZE)))
    assert store.of(path("/f")) == {COLOUR: b"blue"}
    store.patch(HOLD, path("/f"), (RemoveProperty(COLOUR), RemoveProperty(PropName("never", "there"))))
    assert store.of(path("/f")) == {}


def test_nothing_changes_without_the_proof(store: PropertyStore) -> None:
    put(store, "/f", "red")
    for change in (
        lambda: store.patch(Nothing(), path("/f"), (RemoveProperty(COLOUR),)),
        lambda: store.remove(Nothing(), path("/f")),
        lambda: store.copy(Nothing(), path("/f"), path("/g"), recursive=True),
        lambda: store.move(Nothing(), path("/f"), path("/g")),
    ):
        with pytest.raises(Unproven):
            change()
    assert everything(store) == {"/f": "red"}


def members(store: PropertyStore, where: str, *names: str) -> dict[str, bytes]:
    return {name: dead[COLOUR] for name, dead in store.of_members(path(where)).of(names).items()}


def test_members_by_name(store: PropertyStore) -> None:
    for where in ("/", "/d", "/d/a", "/d/b", "/d/b/deep", "/e"):
        put(store, where, where)
    assert members(store, "/d", "a", "b", "c") == {"a": b"/d/a", "b": b"/d/b"}
    assert members(store, "/", "d", "e") == {"d": b"/d", "e": b"/e"}


def test_members_of_a_large_collection_are_not_all_held_in_memory(
    store: PropertyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(property_store, "_AT_ONCE", 2)
    for where in ("/d/a", "/d/b", "/d/c", "/d/b/deep", "/f/a", "/f/b"):
        put(store, where, where)
    assert members(store, "/d", "a", "none", "c") == {"a": b"/d/a", "c": b"/d/c"}
    assert members(store, "/f") == {"a": b"/f/a", "b": b"/f/b"}


STRANGE = ("/q", "/q/x", "/q/x/q/y", "/q%25", "/q_", "/q0", "/q.txt", "/Q", "/q%27--%3B/q", "/%C3%BC/q")


def test_a_move_takes_the_subtree_and_changes_the_beginning_of_a_path_alone(store: PropertyStore) -> None:
    for where in STRANGE:
        put(store, where, where)
    put(store, "/w/old", "of what is overwritten")
    store.move(HOLD, path("/q"), path("/w"))
    assert everything(store) == {
        "/w": "/q",
        "/w/x": "/q/x",
        "/w/x/q/y": "/q/x/q/y",
        **{path(where).key: where for where in STRANGE[3:]},
    }
    assert members(store, "/w", "x") == {"x": b"/q/x"}


def test_a_copy_leaves_the_source(store: PropertyStore) -> None:
    for where in ("/a", "/a/b", "/a/b/c", "/ab"):
        put(store, where, where)
    store.copy(HOLD, path("/a"), path("/z"), recursive=True)
    assert (get(store, "/z"), get(store, "/z/b"), get(store, "/z/b/c")) == ("/a", "/a/b", "/a/b/c")
    store.copy(HOLD, path("/a"), path("/z"), recursive=False)
    assert (get(store, "/z"), get(store, "/z/b")) == ("/a", None)
    assert get(store, "/a/b/c") == "/a/b/c"


def test_a_copy_of_nothing_clears_the_destination(store: PropertyStore) -> None:
    put(store, "/z/old", "x")
    store.copy(HOLD, path("/a"), path("/z"), recursive=True)
    assert everything(store) == {}


def test_a_copy_into_itself_ends(store: PropertyStore) -> None:
    put(store, "/a", "1")
    put(store, "/a/f", "2")
    store.copy(HOLD, path("/a"), path("/a/b"), recursive=True)
    assert everything(store) == {"/a": "1", "/a/b": "1", "/a/b/f": "2", "/a/f": "2"}


def test_removal_takes_the_subtree(store: PropertyStore) -> None:
    for where in STRANGE:
        put(store, where, where)
    store.remove(HOLD, path("/q"))
    assert set(everything(store)) == {path(where).key for where in STRANGE[3:]}
    store.remove(HOLD, path("/q"))
    store.remove(HOLD, ROOT)
    assert everything(store) == {}


def test_the_queries_of_a_listing_and_a_subtree_use_an_index(store: PropertyStore) -> None:
    for where in ("parent = '/d'", "path = '/d' OR (path >= '/d/' AND path < '/d0')"):
        plan = store._state.query(f"EXPLAIN QUERY PLAN SELECT xml FROM properties WHERE {where}")
        assert "SCAN" not in " ".join(row[3] for row in plan)


def test_properties_survive_the_process(tmp_path: Path) -> None:
    for expected in (None, "kept"):
        state = SqliteState(str(tmp_path), durable=True)
        assert get(PropertyStore(state), "/f") == expected
        put(PropertyStore(state), "/f", "kept")
        state.close()
