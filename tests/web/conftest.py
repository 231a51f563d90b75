"""A server with three users for the tests of the API: alice and carol who work, bob who may break locks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inprocess import Local, local
from serving import QUICK
from wire import Answer, Dav

BASE = "/-/api/v1"
USERS = {
    "alice": {"password": QUICK.hash("alice"), "display_name": "Alice Smith"},
    "bob": {"password": QUICK.hash("bob")},
    "carol": {"password": QUICK.hash("carol")},
}
SETTINGS: dict[str, Any] = {"users": USERS, "anonymous": "none", "locks": {"breakers": ["bob"]}}


def login(name: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{name}".encode()).decode()}


class User:
    """Somebody at work on a server: `alice("GET", "/locks")` asks the API, `alice.dav("PUT", "/f")` the files."""

    def __init__(self, client: Dav, name: str | None) -> None:
        self._client = client
        self._headers = {} if name is None else login(name)

    def __call__(self, method: str, path: str, body: Any = None, **fields: str) -> Answer:
        headers = self._headers
        data: bytes | None = None
        if body is not None:
            data = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        return self._client(method, BASE + path, data, headers, **fields)

    def dav(self, method: str, path: str, body: bytes | None = None, **fields: str) -> Answer:
        return self._client(method, path, body, self._headers, **fields)

    def lock(self, path: str, **fields: str) -> Answer:
        return self._client.lock(path, **{"Authorization": self._headers.get("Authorization", ""), **fields})


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
