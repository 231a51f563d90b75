"""A server as a user starts and stops it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from serving import Process, Running

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_requests_in_flight_finish(number: int, tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        with server.raw() as upload:
            upload.send(b"PUT /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
            assert upload.head()[0] == 100  # the upload is under way
            codes: list[int] = []
            stopping = threading.Thread(target=lambda: codes.append(server.stop(number)))
            stopping.start()
            while not any("stopping" in line for line in server.output):
                assert stopping.is_alive()
                stopping.join(0.01)
            upload.send(b"0123456789")
            assert upload.answer()[0] == 201
            stopping.join(20)
        assert codes == [0]
        assert (server.root / "f").read_bytes() == b"0123456789"
        assert "Traceback" not in "".join(server.output)


def test_the_start_says_what_one_needs(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        assert server.stop() == 0
        told = "".join(server.output)
    assert f"http://127.0.0.1:{server.port}/" in told
    for fact in (str(server.root), str(server.state), "everybody may read and write", "Windows", "macOS", "Linux"):
        assert fact in told


def test_one_line_a_request_and_never_a_secret(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        client = server.client()
        token = client.lock("/f").token
        client("PUT", "/f", b"12345", If=f"(<{token}>)")
        client("GET", "/f?token=secret")
        client("UNLOCK", "/f", Lock_Token=f"<{token}>")
        client("GET", "/quote%22%0d%0aline")
        assert server.stop() == 0
        lines = [line for line in server.output if " INFO 127.0.0.1 " in line]
    assert len(lines) == 5
    assert re.search(r'127\.0\.0\.1 - "PUT /f" 204 0 [\d.]+ms', lines[1])
    assert re.search(r'"GET /f" 200 5 ', lines[2])
    assert '"GET /quote%22%0d%0aline" 404' in lines[4]
    assert token not in "".join(server.output)
    assert "secret" not in "".join(server.output)


def test_a_fault_is_told_to_the_operator_alone(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from davserver.storage.tree import Tree

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a detail that is nobody's business")

    monkeypatch.setattr(Tree, "open", fail)
    client = server.client()
    answer = client("GET", "/")
    assert answer.status == 500
    assert b"detail" not in answer.body
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    assert client("GET", "/").status == 200


def test_two_servers_on_one_state_folder_keep_one_set_of_locks(tmp_path: Path) -> None:
    with Process(tmp_path) as one, Process(tmp_path) as two:
        first, second = one.client(), two.client()
        assert first("PUT", "/f", b"x").status == 201
        token = first.lock("/f", owner="Jane").token
        assert second("PUT", "/f", b"y").status == 423
        assert second.lock("/f").status == 423
        assert second("PUT", "/f", b"y", If=f"(<{token}>)").status == 204
        assert second("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 204
        assert first("PUT", "/f", b"z").status == 204


def test_racing_for_one_lock_over_two_processes_gives_one_holder_at_a_time(tmp_path: Path) -> None:
    """A lock counts as held from the arrival of its grant until its release is sent: no two such spans overlap."""
    from time import monotonic

    spans: list[tuple[float, float]] = []
    refused: list[int] = []

    def race(server: Process) -> None:
        client = server.client()
        mine = 0
        while mine < 5:
            locked = client.lock("/f")
            if locked.status != 200:
                refused.append(locked.status)
                continue
            mine += 1
            granted = monotonic()
            client("GET", "/f")
            spans.append((granted, monotonic()))
            assert client("UNLOCK", "/f", Lock_Token=f"<{locked.token}>").status == 204

    with Process(tmp_path) as one, Process(tmp_path) as two:
        one.client()("PUT", "/f", b"x")
        threads = [threading.Thread(target=race, args=(server,)) for server in (one, two) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spans.sort()
    assert len(spans) == 40
    assert set(refused) <= {423}
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_nobody_serves_a_folder_beside_another_state(tmp_path: Path) -> None:
    """The locks of neither would hold. Of what was killed nothing is in the way."""
    other = ("-m", "davserver", "serve", str(tmp_path / "share"), "--port", "0", "--state", str(tmp_path / "other"))
    with Process(tmp_path) as server:
        server.client()("PUT", "/f", b"1")
        second = subprocess.run([sys.executable, *other], capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "served by another davserver" in second.stderr
        assert str(tmp_path / "share") in second.stderr
        assert "Traceback" not in second.stderr
        server.kill()
    with Process(tmp_path, state=tmp_path / "other") as server:
        assert server.client()("GET", "/f").status == 200
