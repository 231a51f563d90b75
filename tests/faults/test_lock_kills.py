"""SIGKILL at random moments of locking and releasing, round after round, against a real server.

Afterwards every lock that was acknowledged is there, with no more time than it had left; none that was released is
back; the empty file of a LOCK is there with its lock, or not at all; and the server starts by itself. The moments are
random, so that they are others in each run: the seed is told when one fails. LOCK_KILL_ROUNDS asks for more.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import Process
from wire import Answer, Dav

from davserver.cli import main

ROUNDS = int(os.environ.get("LOCK_KILL_ROUNDS", "12"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 10 * ROUNDS)]

CLIENTS = 3
#: Longest time that the work of a round goes on, in seconds.
LONGEST = 0.3


@dataclass(frozen=True)
class Granted:
    token: str
    seconds: int
    #: The last grant of it lies between these.
    sent: float
    back: float


class Work:
    """What one client does in one round, on names of its own, and what may be there when it is cut off."""

    def __init__(self, client: Dav, folder: str, chance: random.Random) -> None:
        self.client, self.folder, self.chance = client, folder, chance
        #: Locks that were acknowledged, by their path.
        self.held: dict[str, Granted] = {}
        #: Tokens of those that were released, which was acknowledged as well.
        self.released: list[tuple[str, str]] = []
        #: Files that were written, and what with.
        self.written: dict[str, bytes] = {}
        #: What the request under way is about.
        self.coming = ("", "")

    def run(self) -> None:
        """Until the server has gone."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            for number in range(10**9):
                path = f"{self.folder}/{number % 7}"
                if path in self.held:
                    self.release(path) if self.chance.random() < 0.6 else self.use(path)
                else:
                    self.lock(path)
                    if self.chance.random() < 0.3:
                        self.use(path)

    def ask(self, kind: str, path: str, body: bytes | None = None, **fields: str) -> tuple[Answer, float, float]:
        self.coming = (kind, path)
        sent = time.monotonic()
        answer = self.client(kind.partition(" ")[0], path, body, **fields)
        self.coming = ("", "")
        return answer, sent, time.monotonic()

    def lock(self, path: str) -> None:
        self.coming = ("LOCK", path)
        sent, seconds = time.monotonic(), self.chance.choice([300, 600, 3600])
        answer = self.client.lock(path, Timeout=f"Second-{seconds}")
        assert answer.status == (200 if path in self.written else 201), answer
        self.held[path] = Granted(answer.token, seconds, sent, time.monotonic())
        self.coming = ("", "")

    def use(self, path: str) -> None:
        """Refresh it, or write with it."""
        granted = self.held[path]
        if self.chance.random() < 0.5:
            answer, sent, back = self.ask("LOCK refresh", path, b"", If=f"(<{granted.token}>)", Timeout="Second-900")
            assert answer.status == 200
            self.held[path] = Granted(granted.token, 900, sent, back)
        else:
            content = self.chance.randbytes(100)
            answer, _, _ = self.ask("PUT", path, content, If=f"(<{granted.token}>)")
            assert answer.status == 204
            self.written[path] = content

    def release(self, path: str) -> None:
        answer, _, _ = self.ask("UNLOCK", path, Lock_Token=f"<{self.held[path].token}>")
        assert answer.status == 204
        self.released.append((path, self.held.pop(path).token))

    # --- what must be true after the next start

    def check(self, client: Dav, root: Path) -> list[str]:
        """Paths that are locked by a LOCK whose answer never came."""
        kind, path = self.coming
        for place, granted in self.held.items():
            if (kind, path) != ("UNLOCK", place):
                self.check_held(client, place, granted, refreshing=(kind, path) == ("LOCK refresh", place))
        for place, token in self.released[-20:]:
            assert token not in self.tokens(client, place), f"{place} is locked again"
            assert client("PUT", place, b"dead", If=f"(<{token}>)").status == 412
        if kind == "UNLOCK" and self.held[path].token in self.tokens(client, path):
            assert client("UNLOCK", path, Lock_Token=f"<{self.held[path].token}>").status == 204
        for place, content in self.written.items():
            if (kind, path) != ("PUT", place):
                assert client("GET", place).body == content
        here = {f"{self.folder}/{name}" for name in os.listdir(root / self.folder[1:])}
        unknown = [place for place in {*here, path} - {""} if place not in self.held and self.tokens(client, place)]
        assert unknown in ([], [path] if kind == "LOCK" else []), "a lock of nobody"
        for place in unknown:
            assert place in here, f"{place} is locked, and not there"
        self.check_litter(client, here - {*self.written, *self.held, *unknown}, root)
        return unknown

    def check_held(self, client: Dav, place: str, granted: Granted, *, refreshing: bool) -> None:
        assert self.tokens(client, place) == [granted.token], f"the lock of {place} is lost"
        before = time.monotonic()
        found = client.propfind(place, "lockdiscovery")
        left = int(found.texts("//D:timeout")[0].removeprefix("Second-"))
        if refreshing:  # and whether it was is not known
            assert left <= max(granted.seconds, 900)
        else:
            assert left <= granted.back + granted.seconds - before + 1
        assert left >= granted.sent + min(granted.seconds, 900) - time.monotonic()
        assert client("PUT", place, b"of somebody else").status == 423
        assert client("LOCK", place, b"", If=f"(<{granted.token}>)").status == 200

    def check_litter(self, client: Dav, left: set[str], root: Path) -> None:
        """The first sweep after the start removes what a LOCK made and nobody wrote. Each look is a request."""
        for _ in range(5000):
            left = {place for place in left if (root / place[1:]).exists()}
            if not left:
                return
            client("OPTIONS", "/")
        raise AssertionError(f"empty files of locks that are over stay: {left}")

    @staticmethod
    def tokens(client: Dav, place: str) -> list[str]:
        found = client.propfind(place, "lockdiscovery")
        return found.texts("//D:locktoken/D:href") if found.status == 207 else []


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_rounds_of_kills(durability: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with Process(tmp_path, "--log-level", "warning", environ={"DAVSERVER_DURABILITY": durability}) as server:
        for number in range(max(ROUNDS // 2, 1)):
            client, works = server.client(), []
            for each in range(CLIENTS):
                folder = f"/{number}-{each}"
                assert client("MKCOL", folder).status == 201
                works.append(Work(server.client(), folder, random.Random(chance.random())))
            threads = [threading.Thread(target=work.run) for work in works]
            for thread in threads:
                thread.start()
            moment = chance.uniform(0, LONGEST)
            time.sleep(moment)  # not to wait for something: the moment of the kill is what is tried
            server.kill()
            for thread in threads:
                thread.join()
            server.start()
            client = server.client()
            for work in works:
                try:
                    unknown = work.check(client, server.root)
                    _break(tmp_path, unknown, capsys)
                    work.check_litter(client, set(unknown) - set(work.written), server.root)
                except AssertionError as error:
                    raise AssertionError(
                        f"seed {seed}, round {number}, killed after {moment:.3f} s, {work.coming}: {error}"
                    ) from error
            assert not list((server.root / ".davserver~stage").glob("*/*")), "left in the stage"
        assert server.stop() == 0


def _break(folder: Path, paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What an administrator does about a lock whose client never heard of it: its empty file goes with it."""
    where = ["--state", str(folder / "state"), "--directory", str(folder / "share")]
    for path in paths:
        capsys.readouterr()
        assert main(["locks", "list", path, "--json", *where]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert main(["locks", "break", str(found["id"]), "--reason", "its client has gone", *where]) == 0
