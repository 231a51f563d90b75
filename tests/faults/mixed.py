"""Clients that put, move, lock and change properties at the same time, and what must be there when they are cut off.

Each has a folder of its own, so it knows what there is as far as it was acknowledged, and what the request under way
would make of it. Whatever happened to the server, what is found is the one or the other, and whole: content, property
and lock together.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import random
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from wire import Answer, Dav

COLOUR = '<D:set><D:prop><colour xmlns="urn:x">{}</colour></D:prop></D:set>'
#: A lock whose token nobody was told.
UNTOLD = "untold"
SIZES = (1, 60, 30_000)


class Found(NamedTuple):
    """What is at a path."""

    content: str = ""
    colour: str = ""
    #: Of the lock on it, or "".
    token: str = ""


#: By the path; what is not in it is not there.
Files = dict[str, Found]


class Cut(Exception):
    """The server could not do what it was asked for, or has gone: whether it was done is not known."""


class Work:
    """One client, over any number of servers that it loses."""

    def __init__(self, folder: str, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.known: Files = {}
        #: What it will be after the request under way.
        self.coming: Files | None = None
        #: (when, path, token) of locks that ended, and whose end was acknowledged then.
        self.ended: list[tuple[float, str, str]] = []
        #: What was known before, each with the time when the answer came that changed it.
        self.before: list[tuple[float, Files]] = []
        #: Statuses of answers that said that it could not be done.
        self.failed: list[int] = []
        #: How many changes were acknowledged, by their kind.
        self.done: dict[str, int] = {}
        self.number = 0

    def run(self, client: Dav, enough: threading.Event) -> None:
        """Until that, or the server has gone."""
        with contextlib.suppress(Cut):
            while not enough.is_set():
                self.step(client)

    def step(self, client: Dav) -> None:
        """One change. Raises Cut."""
        self.number += 1
        path = f"{self.folder}/{self.chance.randrange(5)}"
        here = self.known.get(path)
        if here is None:
            (self.lock_new if self.chance.random() < 0.3 else self.put)(client, path)
        elif not here.content:
            self.put(client, path)  # else the server takes away what a LOCK made, when the lock ends
        elif not here.token:
            self.chance.choice([self.put, self.proppatch, self.move, self.lock, self.lock])(client, path)
        else:
            self.chance.choice([self.put, self.proppatch, self.move, self.unlock, self.unlock])(client, path)

    # --- changes

    def change(self, kind: str, coming: Files, request: Callable[[], Answer]) -> Answer:
        self.coming = coming
        try:
            answer = request()
        except (OSError, http.client.HTTPException) as error:
            raise Cut from error
        if answer.status >= 500:
            self.failed.append(answer.status)
            raise Cut
        assert answer.status in (200, 201, 204, 207), (kind, answer)
        assert answer.status != 207 or answer.texts("//D:status") == ["HTTP/1.1 200 OK"], (kind, answer)
        now = time.monotonic()
        for path, found in self.known.items():
            if found.token and not coming.get(path, Found()).token:
                self.ended.append((now, path, found.token))
        self.before.append((now, self.known))
        self.known, self.coming = coming, None
        self.done[kind] = self.done.get(kind, 0) + 1
        return answer

    def submit(self, client: Dav, *paths: str) -> dict[str, str]:
        held = [(path, self.known[path].token) for path in paths if path in self.known and self.known[path].token]
        return {"If": " ".join(f"<{client.url(path)}> (<{token}>)" for path, token in held)} if held else {}

    def put(self, client: Dav, path: str) -> None:
        text = f"{self.folder} {self.number} " * self.chance.choice(SIZES)
        coming = self.known | {path: self.known.get(path, Found())._replace(content=text)}
        self.change("PUT", coming, lambda: client("PUT", path, text.encode(), self.submit(client, path)))

    def proppatch(self, client: Dav, path: str) -> None:
        colour = f"colour {self.number}"
        coming = self.known | {path: self.known[path]._replace(colour=colour)}
        self.change(
            "PROPPATCH", coming, lambda: client.proppatch(path, COLOUR.format(colour), **self.submit(client, path))
        )

    def move(self, client: Dav, path: str) -> None:
        """Locks do not move with what they protect (RFC 4918 §7.5), and end with what is replaced."""
        target = self.chance.choice([f"{self.folder}/{number}" for number in range(5) if f"{number}" != path[-1]])
        coming = {name: found for name, found in self.known.items() if name != path}
        coming[target] = self.known[path]._replace(token="")
        fields = {**self.submit(client, path, target), "Destination": client.url(target)}
        self.change("MOVE", coming, lambda: client("MOVE", path, headers=fields))

    def lock(self, client: Dav, path: str) -> None:
        coming = self.known | {path: self.known.get(path, Found())._replace(token=UNTOLD)}
        answer = self.change("LOCK", coming, lambda: client.lock(path, Timeout="Second-36000"))
        self.known[path] = self.known[path]._replace(token=answer.token)

    def lock_new(self, client: Dav, path: str) -> None:
        """A save of Office: the name is locked before there is anything, and then written."""
        self.lock(client, path)
        self.put(client, path)

    def unlock(self, client: Dav, path: str) -> None:
        token = self.known[path].token
        coming = self.known | {path: self.known[path]._replace(token="")}
        self.change("UNLOCK", coming, lambda: client("UNLOCK", path, Lock_Token=f"<{token}>"))

    # --- what must be true afterwards

    def check(self, client: Dav, root: Path, end: float = math.inf) -> None:
        """Also goes on from what is there. `end`: when it was cut off. An answer that came later promises nothing:
        where it is the disk that was cut off, and not the server, there may be one."""
        found = self.look(client, root)
        expected = [files for came, files in self.before if came >= end]
        expected += [self.known] if self.coming is None else [self.known, self.coming]
        assert any(_is(found, files) for files in expected), (
            f"{self.folder}: {_short(found)} is neither {_short(expected[0])} nor {_short(expected[-1])}"
        )
        self.known, self.coming, self.before = found, None, []
        tokens = {each.token for each in found.values()}
        ended = [(path, token) for came, path, token in self.ended if came < end]
        for path, token in ended[-3:]:
            assert token not in tokens, f"the lock on {path} has risen"
            assert client("PUT", path, b"of the dead", If=f"(<{token}>)").status in (412, 423)
        for path, each in found.items():
            if each.token:
                assert client("PUT", path, b"of somebody else").status == 423, f"{path} is not locked"
                break

    def look(self, client: Dav, root: Path) -> Files:
        files: Files = {}
        for file in (root / self.folder[1:]).iterdir():
            path = f"{self.folder}/{file.name}"
            content = file.read_text()
            assert client("GET", path).body == content.encode()
            (colour,) = client.propfind(path, "colour", namespace="urn:x").find("//*[local-name()='colour']")
            tokens = client.propfind(path, "lockdiscovery").texts("//D:locktoken/D:href")
            assert len(tokens) <= 1, f"{path} has two holders"
            files[path] = Found(content, colour.text or "", "".join(tokens))
        return files


def _is(found: Files, expected: Files) -> bool:
    """Nothing more, nothing less; a lock that nobody was told of may have any token."""

    def agrees(each: Found, other: Found) -> bool:
        return each._replace(token=UNTOLD) == other if other.token == UNTOLD and each.token else each == other

    return found.keys() == expected.keys() and all(agrees(each, expected[path]) for path, each in found.items())


def _short(files: Files) -> dict[str, tuple[str, ...]]:
    return {path: (found.content[:30] + f"…{len(found.content)}", *found[1:]) for path, found in sorted(files.items())}


def start(works: Iterable[tuple[Work, Dav]], enough: threading.Event) -> list[threading.Thread]:
    threads = [threading.Thread(target=work.run, args=(client, enough)) for work, client in works]
    for thread in threads:
        thread.start()
    return threads
