"""An application without sockets, that all tests of this room share; each gets a collection of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from inprocess import Local, local


@pytest.fixture(scope="session")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Path]]:
    folder = tmp_path_factory.mktemp("app")
    with local(folder) as app:
        yield app, folder / "share"


@pytest.fixture
def app(_app: tuple[Local, Path]) -> Local:
    """A client of the application."""
    return _app[0]


@pytest.fixture
def box(app: Local, tmp_path: Path) -> str:
    """URL path of a new, empty collection, without its slash."""
    path = f"/{tmp_path.name}"
    assert app("MKCOL", path).status == 201
    return path


@pytest.fixture
def disk(_app: tuple[Local, Path], box: str) -> Path:
    """The folder that `box` is."""
    return _app[1] / box[1:]
