"""Two ways lead to one answer: what a template says of a resource is what its properties say one by one."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from davserver.methods.live import Entry
from davserver.methods.plan import Plan, Wanted, plan_for
from davserver.protocol.messages import Action, Rights
from davserver.protocol.properties import DAV, LIVE, AllProp, NamedProps, PropName, PropNames
from davserver.storage.node import Node
from davserver.storage.tree import Space

MINE, OTHER, PERCENT = PropName("urn:x", "mine"), PropName("", "other"), PropName("urn:100%25s", "p")
DISPLAYNAME, GETETAG = PropName(DAV, "displayname"), PropName(DAV, "getetag")
EVERY = (*LIVE, MINE, OTHER, PERCENT)


class Here:
    """Somewhere with locks, and a file system that may not tell how much is left."""

    def __init__(self, available: int | None) -> None:
        self.space = Space(available, 7)

    principal = "<D:unauthenticated/>"

    def rights(self, entry: Entry) -> Rights:
        return tuple(Action)

    def owner(self, entry: Entry) -> str:
        return "<D:href>/-/principals/100%25/</D:href>"

    def lockdiscovery(self, entry: Entry) -> str:
        return "<D:lockdiscovery/>"


HERE = Here(5)
DEAD = {
    MINE: b'<x:mine xmlns:x="urn:x">100 %s of it</x:mine>',
    OTHER: b"<other/>",
    DISPLAYNAME: b'<D:displayname xmlns:D="DAV:">My own</D:displayname>',
}
FILE, FOLDER = Node(False, 12, 1_781_537_400_000_000_001, 99), Node(True, 0, 0, 7)


def told(response: bytes) -> dict[str, dict[str, str]]:
    """Status → {expanded name: content}; fails where a property is told twice."""
    root = etree.fromstring(b'<x xmlns:D="DAV:">' + response + b"</x>")[0]
    found: dict[str, dict[str, str]] = {}
    for propstat in root.iter(f"{{{DAV}}}propstat"):
        status = propstat.findtext(f"{{{DAV}}}status") or ""
        assert status not in found
        properties = propstat.findall(f"{{{DAV}}}prop/*")
        found[status] = {str(each.tag): etree.tostring(each, method="text", encoding=str) for each in properties}
        assert len(found[status]) == len(properties)
    return found


wanted = st.one_of(
    st.builds(NamedProps, st.lists(st.sampled_from(EVERY), unique=True, min_size=1).map(tuple)),
    st.builds(AllProp, st.lists(st.sampled_from(EVERY), unique=True).map(tuple)),
    st.just(PropNames()),
)
entries = st.builds(
    Entry,
    st.just("/a/b%20c"),
    st.sampled_from(["b c", "", "<&>", "a\x01b", "100%"]),
    st.sampled_from([FILE, FOLDER]),
    st.just([]),
    st.sets(st.sampled_from(list(DEAD))).map(lambda names: {name: DEAD[name] for name in names}),
    st.sampled_from([HERE, Here(None)]),
)


@given(wanted, entries, st.booleans(), st.booleans())
def test_both_ways_say_the_same(wanted: Wanted, entry: Entry, minimal: bool, compact: bool) -> None:
    plan = Plan(wanted, minimal=minimal, compact=compact)
    assert told(plan.response(entry)) == told(plan._one_by_one(entry, entry.dead))


@given(st.lists(st.sampled_from(EVERY), unique=True, min_size=1).map(tuple), entries)
def test_each_name_that_was_asked_for_is_answered_once(names: tuple[PropName, ...], entry: Entry) -> None:
    """RFC 4918 §9.1: with its value, or as 404."""
    found = told(Plan(NamedProps(names)).response(entry))
    answered = [name for group in found.values() for name in group]
    assert sorted(answered) == sorted(str(etree.QName(name.namespace or None, name.local)) for name in names)
    assert set(found) <= {"HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"}


def test_what_is_missing_is_left_out_on_demand() -> None:
    """RFC 8144 §2.1; with nothing left there is still a propstat (RFC 4918 §14.24)."""
    entry = Entry("/f", "f", FOLDER, [], {}, HERE)
    assert told(Plan(NamedProps((GETETAG, MINE)), minimal=True).response(entry)) == {"HTTP/1.1 200 OK": {}}
    assert set(told(Plan(NamedProps((GETETAG, DISPLAYNAME)), minimal=True).response(entry))) == {"HTTP/1.1 200 OK"}


@pytest.mark.parametrize(("node", "name"), list(product([FILE, FOLDER], ["b", "a\x01b"])))
def test_a_display_name_that_was_set_takes_the_place_of_the_name(node: Node, name: str) -> None:
    """RFC 4918 §15.2."""
    entry = partial(Entry, "/b", name, node, [], setting=HERE)
    for asked in (AllProp(), NamedProps((DISPLAYNAME,))):
        found = told(Plan(asked).response(entry(dead=DEAD)))["HTTP/1.1 200 OK"]
        assert found["{DAV:}displayname"] == "My own"
        plain = told(Plan(asked).response(entry(dead={})))
        assert plain.get("HTTP/1.1 200 OK", {}).get("{DAV:}displayname") == (name if name == "b" else None)


def test_names_come_without_values() -> None:
    """RFC 4918 §14.24: every property there is, the dead ones too, and nothing in them."""
    for node, absent in ((FILE, set()), (FOLDER, {"getcontentlength", "getcontenttype", "getetag"})):
        found = told(Plan(PropNames()).response(Entry("/b", "b", node, [], DEAD, HERE)))["HTTP/1.1 200 OK"]
        assert set(found.values()) == {""}
        live = {name.local for name, row in LIVE.items() if row.in_allprop} - absent
        assert set(found) == {f"{{DAV:}}{name}" for name in live} | {"{urn:x}mine", "other"}


def test_what_many_clients_ask_for_is_compiled_once() -> None:
    asked = NamedProps((GETETAG, MINE))
    assert plan_for(asked, minimal=False, compact=False) is plan_for(asked, minimal=False, compact=False)
    assert plan_for(asked, minimal=False, compact=False) is not plan_for(asked, minimal=True, compact=False)
