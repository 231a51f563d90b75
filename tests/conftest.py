"""Fixtures that many tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from serving import Running, serving
from wire import Dav

# How long an example takes says what else the machine is doing.
settings.register_profile("davserver", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("davserver")


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that is run in this process sets up the log, on the standard error that it finds."""
    logger = logging.getLogger("davserver")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)
    for name in ("davserver.access", "davserver.audit"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def server(_server: Running) -> Running:
    """The server that all tests share; `folder` gives each a collection of its own."""
    return _server


@pytest.fixture
def dav(server: Running) -> Iterator[Dav]:
    """A client of the shared server."""
    client = server.client()
    yield client
    client.close()


@pytest.fixture
def folder(server: Running, dav: Dav, tmp_path: Path) -> str:
    """URL path of a new, empty collection, without its slash."""
    path = f"/{tmp_path.name}"
    assert dav("MKCOL", path).status == 201
    return path
