"""A worker that is stopped while it writes: SIGSTOP, as of a debugger, a frozen cgroup, a hypervisor that pauses.

It is not dead, so the kernel frees nothing that it holds. Others are told 503 in time, reading goes on, and when it
runs again everything is as it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import Process
from wire import Answer, Dav

from davserver.storage.gate import flock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COLOUR = '<D:set><D:prop><colour xmlns="urn:x">{}</colour></D:prop></D:set>'


def is_held(file: Path) -> bool:
    """Does anybody hold the turn to write?"""
    with file.open("rb+") as found:
        answer = fcntl.fcntl(found.fileno(), fcntl.F_OFD_GETLK, flock(fcntl.F_WRLCK, 8, 1))
    return struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK


def is_held_for_long(file: Path) -> bool:
    """By somebody who does not let go: a turn takes less than a thousandth of this."""
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if not is_held(file):
            return False
    return True


@contextlib.contextmanager
def writing(server: Process, threads: int) -> Iterator[None]:
    """Clients that change properties, each on connections of its own, as fast as they are answered."""
    done = threading.Event()

    def work(number: int) -> None:
        while not done.is_set():
            client = server.client()
            with contextlib.suppress(OSError):
                while not done.is_set():
                    client.proppatch(f"/w{number}", COLOUR.format(number))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        done.set()
        for worker in workers:
            worker.join()


def stop_one_that_writes(server: Process) -> int:
    """The process id of a worker that was stopped with the turn to write in its hands."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for pid in server.workers:
            time.sleep(random.uniform(0, 0.01))  # not to wait for something: the clients need a moment, at random
            os.kill(pid, signal.SIGSTOP)
            if is_held_for_long(server.state / "writers"):
                return pid
            os.kill(pid, signal.SIGCONT)
    raise AssertionError("no worker was ever stopped while it wrote")


def connected(server: Process) -> Dav:
    """A client whose connection the worker has that runs."""
    for _ in range(50):
        client = server.client()
        client._connection.timeout = 1
        with contextlib.suppress(OSError):
            assert client("OPTIONS", "/").status == 200
            assert client._connection.sock is not None
            client._connection.sock.settimeout(60)
            return client
    raise AssertionError("nobody answers any more")


WRITES: dict[str, Callable[[Dav], Answer]] = {
    "PROPPATCH": lambda client: client.proppatch("/f", COLOUR.format("blue")),
    "LOCK": lambda client: client.lock("/g"),
    "LOCK new": lambda client: client.lock("/new"),
    "MOVE": lambda client: client("MOVE", "/h", Destination="/moved"),
    "DELETE": lambda client: client("DELETE", "/i"),
    **{f"w{number}": lambda client, n=number: client.proppatch(f"/w{n}", COLOUR.format("x")) for number in range(6)},
}


def timed(client: Dav, act: Callable[[Dav], Answer]) -> tuple[Answer, float]:
    began = time.monotonic()
    return act(client), time.monotonic() - began


def test_others_are_told_in_time_and_readers_notice_nothing(tmp_path: Path) -> None:
    config = tmp_path / "davserver.yaml"
    config.write_text(json.dumps({"workers": 2, "log": {"access": False}}))
    with Process(tmp_path, "-c", str(config)) as server:
        client = server.client()
        for number in range(6):
            assert client("PUT", f"/w{number}", b"content").status == 201
        for name in ("f", "g", "h", "i"):
            assert client("PUT", f"/{name}", b"content").status == 201
            assert client.proppatch(f"/{name}", COLOUR.format("red")).status == 207
        client.close()
        with writing(server, 6):
            stopped = stop_one_that_writes(server)
            try:
                client = connected(server)
                began = time.monotonic()
                assert client("GET", "/f").body == b"content"
                assert "red" in client.propfind("/f", "colour", namespace="urn:x").body.decode()
                assert time.monotonic() - began < 2
                with ThreadPoolExecutor() as pool:
                    told = list(pool.map(lambda act: timed(connected(server), act), WRITES.values()))
                for name, (answer, seconds) in zip(WRITES, told, strict=True):
                    assert answer.status == 503, (name, answer)
                    assert int(answer.headers["retry-after"]) > 0
                    # One path is what the stopped worker is in the middle of changing: it is waited for longer.
                    assert seconds < (16 if name.startswith("w") else 6), name
                assert client("GET", "/f").body == b"content"
                assert client("GET", "/new").status == 404
            finally:
                os.kill(stopped, signal.SIGCONT)
        client = server.client()
        assert "red" in client.propfind("/f", "colour", namespace="urn:x").body.decode()
        for number in range(6):
            assert client.proppatch(f"/w{number}", COLOUR.format("end")).status == 207
        assert not client.propfind("/", "lockdiscovery", depth="1").find("//D:activelock")
        assert client.lock("/f").status == 200
        assert not list((server.root / ".davserver~stage").glob("*/*"))
