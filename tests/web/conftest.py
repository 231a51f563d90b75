"""A server with three users for the tests of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apiworld import SETTINGS, User
from inprocess import Local, local


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path, **SETTINGS) as client:
        yield client


@pytest.fixture
def alice(client: Local) -> User:
    return User(client, "alice")


@pytest.fixture
def bob(client: Local) -> User:
    """May break any lock, and set maintenance."""
    return User(client, "bob")


@pytest.fixture
def carol(client: Local) -> User:
    return User(client, "carol")


@pytest.fixture
def stranger(client: Local) -> User:
    return User(client, None)
