"""The power fails, under files and state at once: with `durability: full` what was acknowledged is there, and whole.

After each change by itself, and at random moments of a mixed load. POWER_ROUNDS asks for more of the latter.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mixed import COLOUR, Work, start
from power import KINDS, Disk
from serving import Process
from wire import Answer, Dav

from davserver.cli import main

ROUNDS = int(os.environ.get("POWER_ROUNDS", "8"))
CLIENTS = 3
LONGEST = 0.5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 15 * ROUNDS)]


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path, request.param) as disk:
        yield disk


def serve(disk: Disk, workers: int = 1) -> Process:
    config = disk.place.parent / "davserver.yaml"
    config.write_text(json.dumps({"workers": workers, "log": {"access": False}}))
    return Process(disk.place, "-c", str(config), "--log-level", "warning")


def cut(disk: Disk, server: Process) -> None:
    """And the machine starts again."""
    disk.cut()
    server.kill()
    disk.unmount()
    disk.mount()
    server.start()


#: What a change does in a folder of its own, with the token of `held` in it.
Act = Callable[[Dav, str, str], Answer]
#: Each change, and what is then there: (name, content, colour, is locked).
CHANGES: dict[str, tuple[Act, list[tuple[str, bytes | None, str, bool]]]] = {
    "PUT new": (lambda client, box, _: client("PUT", f"{box}/new", b"new"), [("new", b"new", "", False)]),
    "PUT over": (
        lambda client, box, _: client("PUT", f"{box}/f", b"new" * 5000),
        [("f", b"new" * 5000, "red", False)],
    ),
    "PUT into a lock": (
        lambda client, box, token: client("PUT", f"{box}/held", b"saved", If=f"(<{token}>)"),
        [("held", b"saved", "red", True)],
    ),
    "MKCOL": (lambda client, box, _: client("MKCOL", f"{box}/new"), [("new/", b"", "", False)]),
    "PROPPATCH": (
        lambda client, box, _: client.proppatch(f"{box}/f", COLOUR.format("blue")),
        [("f", b"f", "blue", False)],
    ),
    "LOCK": (lambda client, box, _: client.lock(f"{box}/f", Timeout="Second-36000"), [("f", b"f", "red", True)]),
    "LOCK new": (lambda client, box, _: client.lock(f"{box}/new", Timeout="Second-36000"), [("new", b"", "", True)]),
    "UNLOCK": (
        lambda client, box, token: client("UNLOCK", f"{box}/held", Lock_Token=f"<{token}>"),
        [("held", b"held", "red", False)],
    ),
    "MOVE": (
        lambda client, box, _: client("MOVE", f"{box}/f", Destination=client.url(f"{box}/new")),
        [("f", None, "", False), ("new", b"f", "red", False)],
    ),
    "MOVE of what has no properties": (
        lambda client, box, _: client("MOVE", f"{box}/plain", Destination=client.url(f"{box}/d/new")),
        [("plain", None, "", False), ("d/new", b"plain", "", False)],
    ),
    "MOVE over": (
        lambda client, box, _: client("MOVE", f"{box}/f", Destination=client.url(f"{box}/plain")),
        [("f", None, "", False), ("plain", b"f", "red", False)],
    ),
    "MOVE of a folder": (
        lambda client, box, _: client("MOVE", f"{box}/d", Destination=client.url(f"{box}/e")),
        [("d/in", None, "", False), ("e/in", b"d/in", "red", False)],
    ),
    "COPY": (
        lambda client, box, _: client("COPY", f"{box}/f", Destination=client.url(f"{box}/new")),
        [("f", b"f", "red", False), ("new", b"f", "red", False)],
    ),
    "COPY of a folder": (
        lambda client, box, _: client("COPY", f"{box}/d", Destination=client.url(f"{box}/e")),
        [("d/in", b"d/in", "red", False), ("e/in", b"d/in", "red", False)],
    ),
    "DELETE": (lambda client, box, _: client("DELETE", f"{box}/f"), [("f", None, "", False)]),
    "DELETE of what has no properties": (
        lambda client, box, _: client("DELETE", f"{box}/plain"),
        [("plain", None, "", False)],
    ),
}


def plant(client: Dav, box: str) -> str:
    """A folder as each change finds it; the token of what is locked there."""
    assert client("MKCOL", box).status == 201
    assert client("MKCOL", f"{box}/d").status == 201
    for name in ("f", "plain", "held", "d/in"):
        assert client("PUT", f"{box}/{name}", name.encode()).status == 201
    for name in ("f", "held", "d/in"):
        assert client.proppatch(f"{box}/{name}", COLOUR.format("red")).status == 207
    return client.lock(f"{box}/held", Timeout="Second-36000").token


def is_as_said(client: Dav, path: str, content: bytes | None, colour: str, locked: bool) -> None:
    answer = client("GET", path)
    if content is None:
        assert answer.status == 404, f"{path} is there again"
        return
    assert answer.status == 200, f"{path} is lost"
    assert path.endswith("/") or answer.body == content, f"{path} is torn"
    (found,) = client.propfind(path, "colour", namespace="urn:x").find("//*[local-name()='colour']")
    assert (found.text or "") == colour, f"the property of {path} is lost"
    tokens = client.propfind(path, "lockdiscovery").texts("//D:locktoken/D:href")
    assert bool(tokens) is locked, f"the lock of {path} is {'lost' if locked else 'back'}"
    if locked:
        assert client("PUT", path, b"of somebody else").status == 423


def are_as_said(server: Process, number: int, name: str) -> None:
    try:
        for path, content, colour, locked in CHANGES[name][1]:
            is_as_said(server.client(), f"/{number}/{path}", content, colour, locked)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error


def test_each_change_that_was_acknowledged_outlives_it(disk: Disk) -> None:
    """The very next moment, when nothing else has been written that would have taken it along."""
    with serve(disk) as server:
        for number, (name, (act, _)) in enumerate(CHANGES.items()):
            box = f"/{number}"
            token = plant(server.client(), box)
            os.sync()  # what was there before is not what is tried
            assert act(server.client(), box, token).status < 300, name
            cut(disk, server)
            are_as_said(server, number, name)
        for number, name in enumerate(CHANGES):  # and none of the cuts that followed took anything back
            are_as_said(server, number, name)


def test_at_any_moment_of_a_mixed_load_what_was_acknowledged_is_there(
    disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    works = [Work(f"/{number}", seed + number) for number in range(CLIENTS)]
    interrupted = 0
    with serve(disk, workers=2) as server:
        for work in works:
            assert server.client()("MKCOL", work.folder).status == 201
        for number in range(max(ROUNDS // len(KINDS), 1)):
            moment = chance.uniform(0, LONGEST)
            threads = start([(work, server.client()) for work in works], threading.Event())
            time.sleep(moment)  # not to wait for something: the moment is what is tried
            end = time.monotonic()
            disk.cut()
            for thread in threads:  # they end with the first answer that tells of it
                thread.join()
            interrupted += sum(work.coming is not None for work in works)
            server.kill()
            disk.unmount()
            disk.mount()
            try:
                server.start()
                for work in works:
                    work.check(server.client(), server.root, end)
                assert not list((server.root / ".davserver~stage").glob("*/*")), "left in the stage"
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}, cut after {moment:.3f} s: {error}") from error
        capsys.readouterr()
        assert main(["state", "check", str(server.root), "--state", str(server.state)]) == 0, capsys.readouterr().out
    assert interrupted >= ROUNDS // 2
    done = sum((Counter(work.done) for work in works), Counter())
    print(f"seed {seed}: {number + 1} rounds, {interrupted} requests interrupted, acknowledged {dict(done)}")
