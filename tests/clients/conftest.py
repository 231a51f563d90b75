"""Servers for client programs: one of each kind for all tests, a folder on it for each test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from sites import KINDS, Site, sites, troubles


@pytest.fixture(scope="session")
def _sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Site]]:
    with sites(tmp_path_factory.mktemp("sites")) as site:
        yield site


@pytest.fixture
def open_site(request: pytest.FixtureRequest, _sites: Callable[[str, str], Site]) -> Iterator[Callable[[str], Site]]:
    """Gives the site of a kind, in a folder of the test's own."""
    opened: list[tuple[Site, int]] = []

    def site(kind: str) -> Site:
        made = _sites(kind, re.sub(r"\W+", "-", f"{request.module.__name__[5:]} {request.node.name[5:]}").strip("-"))
        opened.append((made, len(made.server.output)))
        return made

    yield site
    for made, before in opened:
        assert troubles(made.server.output[before:]) == []


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, open_site: Callable[[str], Site]) -> Site:
    """All kinds, unless a test asks for fewer: `@pytest.mark.parametrize("site", [LEAST], indirect=True)`."""
    return open_site(request.param)
