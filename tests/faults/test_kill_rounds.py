"""SIGKILL at random moments of real work, round after round, against a real server.

Some clients do one kind of work each; the server is killed at a random moment and started again. Then every resource is
one whole version that was sent, what was acknowledged is there, properties belong to their files, and nothing strays.
The moments are random so that they are others in each run: the seed is told when one fails. KILL_ROUNDS asks for more.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Process
from wire import Answer, Dav

ROUNDS = int(os.environ.get("KILL_ROUNDS", "8"))
KINDS = ("put", "proppatch", "move", "copy", "delete")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 10 * ROUNDS)]

#: Longest time that the work of a round goes on, in seconds.
LONGEST = 0.25
COLOUR = '<D:set><D:prop><colour xmlns="urn:x">{}</colour></D:prop></D:set>'


#: (content, colour) of a resource; (None, None) where nothing is.
State = tuple[str | None, str | None]
NOTHING: State = (None, None)


class Work:
    """What one client does in one round, and what may be there when it is cut off."""

    def __init__(self, client: Dav, folder: str, kind: str) -> None:
        self.client, self.folder, self.number = client, folder, 0
        self.kind: Callable[[], None] = getattr(self, kind)
        #: What is there as far as it was acknowledged.
        self.known: dict[str, State] = {}
        #: What the request under way will have made of some of it, all together.
        self.coming: dict[str, State] = {}

    def run(self) -> None:
        """Until the server has gone."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                self.number += 1
                self.kind()

    def change(self, coming: dict[str, State], request: Callable[[], Answer]) -> None:
        self.coming = coming
        assert request().status in (201, 204, 207)
        self.known.update(coming)
        self.coming = {}

    def write(self, path: str, text: str) -> None:
        colour = self.known.get(path, NOTHING)[1]
        self.change({path: (text, colour)}, lambda: self.client("PUT", path, text.encode()))

    def colour(self, path: str, colour: str) -> None:
        text = self.known[path][0]
        self.change({path: (text, colour)}, lambda: self.client.proppatch(path, COLOUR.format(colour)))

    def put(self) -> None:
        """A few names over and over, new and overwritten, small and not so small."""
        self.write(f"{self.folder}/{self.number % 5}", f"{self.number} " * random.choice((1, 100, 20_000)))

    def proppatch(self) -> None:
        path = f"{self.folder}/{self.number % 3}"
        if path not in self.known:
            self.write(path, "content")
        self.colour(path, str(self.number))

    def arrive(self, method: str, source: str, target: str) -> None:
        self.write(source, f"content {self.number}")
        self.colour(source, f"colour {self.number}")
        coming = {target: self.known[source]} | ({source: NOTHING} if method == "MOVE" else {})
        self.change(coming, lambda: self.client(method, source, Destination=self.client.url(target)))

    def move(self) -> None:
        self.arrive("MOVE", f"{self.folder}/s{self.number}", f"{self.folder}/{self.number % 3}")

    def copy(self) -> None:
        self.arrive("COPY", f"{self.folder}/s{self.number % 4}", f"{self.folder}/{self.number % 3}")

    def delete(self) -> None:
        path = f"{self.folder}/{self.number % 3}"
        self.write(path, f"content {self.number}")
        self.colour(path, f"colour {self.number}")
        self.change({path: NOTHING}, lambda: self.client("DELETE", path))

    def check(self, client: Dav, root: Path) -> None:
        """What is there is what was acknowledged, or that and all of the request that was under way."""
        found: dict[str, State] = {}
        for file in (root / self.folder[1:]).iterdir():
            path = f"{self.folder}/{file.name}"
            assert client("GET", path).body == file.read_bytes()
            answer = client.propfind(path, "colour", namespace="urn:x")
            (colour,) = [each.text for each in answer.find("//*[local-name()='colour']")]
            found[path] = (file.read_text(), colour)
        before = {path: state for path, state in self.known.items() if state != NOTHING}
        after = {path: state for path, state in (self.known | self.coming).items() if state != NOTHING}
        assert found in (before, after), f"under way was {str(self.coming)[:200]}"


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_rounds_of_kills(durability: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    environ = {"DAVSERVER_DURABILITY": durability}
    with Process(tmp_path, "--log-level", "warning", environ=environ) as server:
        for number in range(max(ROUNDS // 2, 1)):
            client = server.client()
            works = []
            for kind in KINDS:
                folder = f"/{number}-{kind}"
                assert client("MKCOL", folder).status == 201
                works.append(Work(server.client(), folder, kind))
            threads = [threading.Thread(target=work.run) for work in works]
            for thread in threads:
                thread.start()
            moment = chance.uniform(0, LONGEST)
            time.sleep(moment)  # not to wait for something: the moment of the kill is what is tried
            server.kill()
            for thread in threads:
                thread.join()
            began = time.monotonic()
            server.start()
            assert time.monotonic() - began < 60
            client = server.client()
            for work in works:
                try:
                    work.check(client, server.root)
                except AssertionError as error:
                    raise AssertionError(
                        f"seed {seed}, round {number}, killed after {moment:.3f} s: {error}"
                    ) from error
            assert not list((server.root / ".davserver~stage").glob("*/*")), "left in the stage"
