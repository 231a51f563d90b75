"""PropertyStore: dead properties stay with their resource."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from world import COLOUR, HOLD, Nothing, path

from davserver.protocol.errors import InsufficientStorage
from davserver.protocol.paths import ROOT
from davserver.protocol.properties import DeadProperty, PropName, RemoveProperty, SetProperty
from davserver.storage import property_store
from davserver.storage.hold import Unproven
from davserver.storage.property_store import PropertyStore
from davserver.storage.sqlite import SqliteState

SIZE = PropName("", "size")


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
        lambda: store.adopt(Nothing(), "copy 1", path("/f")),
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


def copy(store: PropertyStore, source: str, destination: str, *, recursive: bool = True) -> None:
    """As a COPY does: they wait under a key that is no path until the copy is visible."""
    store.stage(path(source), "copy 7", recursive=recursive)
    store.adopt(HOLD, "copy 7", path(destination))


def test_a_copy_leaves_the_source(store: PropertyStore) -> None:
    for where in ("/a", "/a/b", "/a/b/c", "/ab"):
        put(store, where, where)
    copy(store, "/a", "/z")
    assert (get(store, "/z"), get(store, "/z/b"), get(store, "/z/b/c")) == ("/a", "/a/b", "/a/b/c")
    assert members(store, "/z", "b") == {"b": b"/a/b"}
    assert members(store, "/", "z", "a", "ab") == {"z": b"/a", "a": b"/a", "ab": b"/ab"}
    copy(store, "/a", "/z", recursive=False)
    assert (get(store, "/z"), get(store, "/z/b")) == ("/a", None)
    assert get(store, "/a/b/c") == "/a/b/c"


def test_a_copy_of_nothing_clears_the_destination(store: PropertyStore) -> None:
    put(store, "/z/old", "x")
    copy(store, "/a", "/z")
    assert everything(store) == {}


def test_a_copy_of_everything(store: PropertyStore) -> None:
    for where in ("/", "/2", "/a", "/a/b", "/a/b/c"):
        put(store, where, where)
    copy(store, "/", "/z")
    found = everything(store)
    assert found == {
        **{where: where for where in ("/", "/2", "/a", "/a/b", "/a/b/c")},
        **{"/z" + where.rstrip("/"): where for where in ("/", "/2", "/a", "/a/b", "/a/b/c")},
    }
    assert members(store, "/z", "2", "a") == {"2": b"/2", "a": b"/a"}
    assert members(store, "/z/a", "b") == {"b": b"/a/b"}
    copy(store, "/", "/y", recursive=False)
    assert everything(store) == {**found, "/y": "/"}


def test_what_an_earlier_copy_left_is_no_part_of_this_one(store: PropertyStore) -> None:
    put(store, "/a", "1")
    store.stage(path("/a"), "copy 7", recursive=True)
    put(store, "/b/f", "2")
    copy(store, "/b", "/c")
    assert everything(store) == {"/a": "1", "/b/f": "2", "/c/f": "2"}


def test_a_copy_into_itself_ends(store: PropertyStore) -> None:
    put(store, "/a", "1")
    put(store, "/a/f", "2")
    copy(store, "/a", "/a/b")
    assert everything(store) == {"/a": "1", "/a/b": "1", "/a/b/f": "2", "/a/f": "2"}


def test_what_waits_for_a_copy_belongs_to_nobody(store: PropertyStore) -> None:
    put(store, "/a", "1")
    put(store, "/a/f", "2")
    store.stage(path("/a"), "copy 7", recursive=True)
    assert members(store, "/", "a") == {"a": b"1"}
    assert members(store, "/a", "f") == {"f": b"2"}
    store.remove(HOLD, ROOT)
    assert everything(store) == {"copy 7": "1", "copy 7/f": "2"}
    store.forget("copy 7")
    assert everything(store) == {}


def test_the_properties_of_one_resource_are_limited_together(tmp_path: Path) -> None:
    state = SqliteState(str(tmp_path), durable=False)
    store = PropertyStore(state, limit=100)
    for number in range(2):
        put(store, "/f", "x" * 30, PropName("urn:x", str(number)))
    with pytest.raises(InsufficientStorage):
        put(store, "/f", "x" * 50, PropName("urn:x", "2"))
    put(store, "/f", "y" * 30, PropName("urn:x", "1"))
    put(store, "/g", "x" * 50)
    assert len(store.of(path("/f"))) == 2
    state.close()


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
