"""The API as its users see it: a server with alice and carol who work, and bob who may break locks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from inprocess import Local
from serving import QUICK
from wire import Answer, Dav

from davserver.protocol.locks import Principal
from davserver.protocol.messages import Action, Rights
from davserver.protocol.paths import DavPath

BASE = "/-/api/v1"
USERS = {
    "alice": {"password": QUICK.hash("alice"), "display_name": "Alice Smith"},
    "bob": {"password": QUICK.hash("bob")},
    "carol": {"password": QUICK.hash("carol")},
}
SETTINGS: dict[str, Any] = {"users": USERS, "anonymous": "none", "locks": {"breakers": ["bob"]}}


def login(name: str, password: str | None = None) -> dict[str, str]:
    """The password of each is their name."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password or name}".encode()).decode()}


class User:
    """Somebody at work on a server: `alice("GET", "/locks")` asks the API, `alice.dav("PUT", "/f")` the files."""

    def __init__(self, client: Dav, name: str | None, password: str | None = None) -> None:
        self._client = client
        self._headers = {} if name is None else login(name, password)

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


def restrict(client: Local, name: str, permissions: object) -> None:
    """From now on that user has these permissions."""
    access = client.app._terminal.access  # type: ignore[attr-defined]
    identify = type(access).identify

    def identified(asking: object) -> object:
        found = identify(access, asking)
        if found.principal == Principal(name):
            return type(found)(found.principal, permissions)
        return found

    access.identify = identified


class Limited:
    """Permissions that a function tells; whoever may do nothing with a path is not told of it either."""

    def __init__(self, allowed: Callable[[Action, DavPath], bool]) -> None:
        self._allowed = allowed

    def allows(self, action: Action, path: DavPath) -> bool:
        return self._allowed(action, path)

    def rights(self, path: DavPath) -> Rights:
        return tuple(action for action in Action if self._allowed(action, path))

    def leads(self, path: DavPath) -> bool:
        return bool(self.rights(path))

    def whole(self, path: DavPath) -> Rights | None:
        return None


def below(top: str) -> Limited:
    """Reading, and there alone."""
    return Limited(lambda action, path: DavPath.parse(top).contains(path) and action is Action.READ)
