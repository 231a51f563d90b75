"""SIGKILL at the worst moment: what was acknowledged holds, what was not never happened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Process

pytestmark = pytest.mark.slow


def until(condition: Callable[[], bool], server: Process) -> None:
    """Ask the server something until `condition` is true; each round is a request, not a pause."""
    client = server.client()
    for _ in range(5000):
        if condition():
            return
        client("OPTIONS", "/")
    raise AssertionError("what the test waits for did not happen")


def test_a_lock_survives_a_kill_and_still_stops_others(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        client = server.client()
        assert client("PUT", "/report.txt", b"before").status == 201
        locked = client.lock("/report.txt", owner="Jane", Timeout="Second-3600")
        assert locked.status == 200
        server.kill()
        server.start()
        client = server.client()
        refused = client("PUT", "/report.txt", b"by somebody else")
        assert refused.status == 423
        assert 3500 < int(refused.headers["retry-after"]) <= 3600
        assert (server.root / "report.txt").read_bytes() == b"before"
        assert client("PUT", "/report.txt", b"after", If=f"(<{locked.token}>)").status == 204
        assert client("UNLOCK", "/report.txt", Lock_Token=f"<{locked.token}>").status == 204
        server.kill()
        server.start()
        assert server.client()("PUT", "/report.txt", b"free").status == 204


def test_a_kill_in_the_middle_of_a_put_leaves_the_old_file(tmp_path: Path) -> None:
    old = b"old content " * 1000
    with Process(tmp_path) as server:
        client = server.client()
        etag = client("PUT", "/file.bin", old).headers["etag"]
        begun = b"Host: localhost\r\nContent-Length: 50000000\r\n\r\n" + b"n" * 4_000_000
        with server.raw() as upload:
            upload.send(b"PUT /file.bin HTTP/1.1\r\n" + begun)
            with server.raw() as fresh:
                fresh.send(b"PUT /new.bin HTTP/1.1\r\n" + begun)
                # The uploads are under way once the server holds unnamed files open.
                until(lambda: sum(map(open_stages, server.workers)) >= 2, server)
                server.kill()
        server.start()
        answer = server.client()("GET", "/file.bin")
        assert answer.body == old
        assert answer.headers["etag"] == etag
        assert server.client()("GET", "/new.bin").status == 404
        assert server.client().propfind("/", depth="1").hrefs() == ["/", "/file.bin"]


def open_stages(pid: int) -> int:
    """How many files a process has open that have no name: uploads under way."""
    found = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:
            continue
        found += "/#" in target and target.endswith(" (deleted)")
    return found
