"""Two ways lead to one answer: what a template says of a resource is what its properties say one by one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from davserver.methods.live import Entries, Setting
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

    def rights(self, entries: Entries) -> list[Rights]:
        return [tuple(Action)[: len(name) + 2] for name in entries.names]

    def owner(self, entries: Entries) -> list[str]:
        return [f"<D:href>/-/principals/{len(name)}%25/</D:href>" for name in entries.names]

    def lockdiscovery(self, entries: Entries) -> list[str]:
        return entries.all("<D:lockdiscovery/>")


HERE = Here(5)
DEAD = {
    MINE: b'<x:mine xmlns:x="urn:x">100 %s of it</x:mine>',
    OTHER: b"<other/>",
    DISPLAYNAME: b'<D:displayname xmlns:D="DAV:">My own</D:displayname>',
}
FILE, FOLDER = Node(False, 12, 1_781_537_400_000_000_001, 99), Node(True, 0, 0, 7)


def one(
    name: str, node: Node, dead: Mapping[PropName, bytes] = MappingProxyType({}), setting: Setting = HERE
) -> Entries:
    return Entries([f"/{len(name)}"], [name], [node], [[]], [dead], setting)


def told(response: str) -> dict[str, dict[str, str]]:
    """Status → {expanded name: content}; fails where a property is told twice."""
    root = etree.fromstring(f'<x xmlns:D="DAV:">{response}</x>')[0]
    found: dict[str, dict[str, str]] = {}
    for propstat in root.iter(f"{{{DAV}}}propstat"):
        status = propstat.findtext(f"{{{DAV}}}status") or ""
        assert status not in found
        properties = propstat.findall(f"{{{DAV}}}prop/*")
        found[status] = {str(each.tag): etree.tostring(each, method="text", encoding=str) for each in properties}
        assert len(found[status]) == len(properties)
    return found


def told_of(plan: Plan, entries: Entries) -> dict[str, dict[str, str]]:
    (response,) = plan.responses(entries)
    return told(response)


wanted = st.one_of(
    st.builds(NamedProps, st.lists(st.sampled_from(EVERY), unique=True, min_size=1).map(tuple)),
    st.builds(AllProp, st.lists(st.sampled_from(EVERY), unique=True).map(tuple)),
    st.just(PropNames()),
)
resource = st.tuples(
    st.sampled_from(["b c", "", "<&>", "a\x01b", "100%"]),
    st.sets(st.sampled_from(list(DEAD))).map(lambda names: {name: DEAD[name] for name in names}),
    st.integers(0, 1 << 40),
)


@st.composite
def entries(draw: st.DrawFn) -> Entries:
    """All files or all folders."""
    node = draw(st.sampled_from([FILE, FOLDER]))
    names, dead, sizes = zip(*draw(st.lists(resource, min_size=1, max_size=4)), strict=True)
    nodes = [node if node.is_collection else node._replace(size=size, mtime_ns=size**2) for size in sizes]
    setting = draw(st.sampled_from([HERE, Here(None)]))
    hrefs = [f"/a/{number}%20" for number in range(len(names))]
    return Entries(hrefs, names, nodes, [[]] * len(names), dead, setting)


@given(wanted, entries(), st.booleans(), st.booleans())
def test_both_ways_say_the_same(wanted: Wanted, entries: Entries, minimal: bool, compact: bool) -> None:
    """Of all at once, and of each alone."""
    plan = Plan(wanted, minimal=minimal, compact=compact)
    dead = entries.dead or ()
    alone = [plan._one_by_one(each, its) for each, its in zip(entries.each(), dead, strict=True)]
    together = plan.responses(entries)
    assert list(map(told, together)) == list(map(told, alone))
    for href, *responses in zip(entries.hrefs, together, alone, strict=True):
        assert all(response.startswith(f"<D:response><D:href>{href}</D:href>") for response in responses)


@given(st.lists(st.sampled_from(EVERY), unique=True, min_size=1).map(tuple), entries())
def test_each_name_that_was_asked_for_is_answered_once(names: tuple[PropName, ...], entries: Entries) -> None:
    """RFC 4918 §9.1: with its value, or as 404."""
    for response in Plan(NamedProps(names)).responses(entries):
        found = told(response)
        answered = [name for group in found.values() for name in group]
        assert sorted(answered) == sorted(str(etree.QName(name.namespace or None, name.local)) for name in names)
        assert set(found) <= {"HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"}


def test_what_is_missing_is_left_out_on_demand() -> None:
    """RFC 8144 §2.1; with nothing left there is still a propstat (RFC 4918 §14.24)."""
    folder = one("f", FOLDER)
    assert told_of(Plan(NamedProps((GETETAG, MINE)), minimal=True), folder) == {"HTTP/1.1 200 OK": {}}
    assert set(told_of(Plan(NamedProps((GETETAG, DISPLAYNAME)), minimal=True), folder)) == {"HTTP/1.1 200 OK"}


@pytest.mark.parametrize(("node", "name"), list(product([FILE, FOLDER], ["b", "a\x01b"])))
def test_a_display_name_that_was_set_takes_the_place_of_the_name(node: Node, name: str) -> None:
    """RFC 4918 §15.2."""
    for asked in (AllProp(), NamedProps((DISPLAYNAME,))):
        found = told_of(Plan(asked), one(name, node, DEAD))["HTTP/1.1 200 OK"]
        assert found["{DAV:}displayname"] == "My own"
        plain = told_of(Plan(asked), one(name, node))
        assert plain.get("HTTP/1.1 200 OK", {}).get("{DAV:}displayname") == (name if name == "b" else None)


def test_names_come_without_values() -> None:
    """RFC 4918 §14.24: every property there is, the dead ones too, and nothing in them."""
    for node, absent in ((FILE, set()), (FOLDER, {"getcontentlength", "getcontenttype", "getetag"})):
        found = told_of(Plan(PropNames()), one("b", node, DEAD))["HTTP/1.1 200 OK"]
        assert set(found.values()) == {""}
        live = {name.local for name, row in LIVE.items() if row.in_allprop} - absent
        assert set(found) == {f"{{DAV:}}{name}" for name in live} | {"{urn:x}mine", "other"}


def test_what_many_clients_ask_for_is_compiled_once() -> None:
    asked = NamedProps((GETETAG, MINE))
    assert plan_for(asked, minimal=False, compact=False) is plan_for(asked, minimal=False, compact=False)
    assert plan_for(asked, minimal=False, compact=False) is not plan_for(asked, minimal=True, compact=False)
