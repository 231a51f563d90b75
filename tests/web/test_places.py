"""Any text is a path or a refusal, and what the server tells is what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lockworld import World

from davserver.protocol.errors import Refused
from davserver.protocol.paths import DavPath
from davserver.web.places import Places


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("places"), stack, lambda: 0.0)
        yield Places(world.shares, "/dav")


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=60).map(lambda text: f"/dav/{text}"))
@example(text="/dav/%")
@example(text="/dav/..")
@example(text="/davx")
@example(text="/")
def test_any_text_is_a_path_or_refused(text: str, places: Places) -> None:
    try:
        found = places.find(text)
    except Refused as refused:
        assert 400 <= refused.status < 500
    else:
        assert places.find(found.href("/dav")) == found


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..", "-")
)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, max_size=4))
def test_what_is_told_is_taken(names: list[str], places: Places) -> None:
    located = places.shares.locate(DavPath(tuple(names)))
    assert places.find(located.href("/dav")) == located
    # And as people write it, but for what begins an escape.
    if not any("%" in name for name in names):
        assert places.find("/dav/" + "/".join(names)) == located
