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


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, _sites: Callable[[str, str], Site]) -> Iterator[Site]:
    """All kinds, unless a test asks for fewer: `@pytest.mark.parametrize("site", [LEAST], indirect=True)`."""
    name = re.sub(r"\W+", "-", request.node.name)
    made = _sites(request.param, name)
    before = len(made.server.output)
    yield made
    assert troubles(made.server.output[before:]) == []
