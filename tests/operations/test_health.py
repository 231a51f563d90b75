"""/-/health: what makes a server not ready, and who is told what."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import QUICK, Process, Running, serving

from davserver.cli import main
from davserver.operations.health import DATA, SPACE, STATE, Folder, Health, try_writing
from davserver.protocol.errors import Unavailable

TLS = Path(__file__).parent.parent / "server" / "tls"


def health(folder: Path, **changes: Any) -> Health:
    """Of a state that is well and a folder that is served; asked twice it looks twice."""
    (folder / "share").mkdir(exist_ok=True)
    ticks = iter(range(0, 10_000, 10))
    values: dict[str, Any] = {
        "touch_state": lambda: None,
        "state_folder": str(folder),
        "folders": [Folder(str(folder / "share"))],
        "free_space": 1,
        "clock": lambda: float(next(ticks)),
    }
    return Health(**{**values, **changes})


def test_ready(tmp_path: Path) -> None:
    report = health(tmp_path).look()
    assert report.is_ready
    assert report.about(STATE)
    assert os.listdir(tmp_path / "share") == []


def test_a_state_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    away = [True]

    def touch() -> None:
        if away[0]:
            raise Unavailable("The server's state is not available now.")

    found = health(tmp_path, touch_state=touch)
    assert [part for part, _ in found.look().troubles] == [STATE]
    assert [part for part, _ in found.look().troubles] == [STATE]
    assert caplog.text.count("not ready: the state in") == 1  # told when it changes, not with every question
    away.clear()
    away.append(False)
    with caplog.at_level("INFO", "davserver"):
        assert found.look().is_ready
    assert "ready again" in caplog.text


def test_a_folder_that_cannot_be_written_or_is_another(tmp_path: Path) -> None:
    found = health(tmp_path)
    (tmp_path / "share").rename(tmp_path / "away")
    assert [part for part, _ in found.look().troubles] == [DATA]
    (tmp_path / "share").mkdir()
    report = found.look()  # as where a disk was unmounted: what is there now is not what was served
    assert [trouble for _, trouble in report.troubles] == [f"{tmp_path}/share is another folder than at the start"]


def test_trying_to_write_leaves_nothing_and_says_why_not(tmp_path: Path) -> None:
    try_writing(str(tmp_path))
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    for place, reason in (("missing", "No such file"), ("file", "Not a directory")):
        with pytest.raises(OSError, match=reason):
            try_writing(str(tmp_path / place))


def test_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    report = health(tmp_path, free_space=1 << 60).look()
    assert {part for part, _ in report.troubles} == {SPACE}


def test_it_looks_once_in_a_while_however_often_it_is_asked(tmp_path: Path) -> None:
    looked = []
    now = [0.0]
    found = health(tmp_path, touch_state=lambda: looked.append(1), clock=lambda: now[0])
    for _ in range(100):
        found.look()
    assert len(looked) == 1
    now[0] = 1.5
    found.look()
    assert len(looked) == 2


# --- over HTTP


@pytest.mark.slow
def test_anybody_may_ask_and_no_path_is_told(tmp_path: Path) -> None:
    with serving(tmp_path, users={"alice": {"password": QUICK.hash("x")}}) as server:
        client = server.client()
        assert client("GET", "/").status == 401
        for path in ("/-/health", "/-/health/ready", "/-/health/"):
            answer = client("GET", path)
            assert (answer.status, answer.json["status"]) == (200, "ready")
            assert answer.json["checks"] == {"state": "ok", "data": "ok", "space": "ok"}
            assert answer.headers["cache-control"] == "no-store"
        assert client("GET", "/-/health/live").json == {"status": "alive"}
        assert client("HEAD", "/-/health").status == 200
        assert client("PUT", "/-/health", b"x").status == 405
        assert client("PUT", "/-/health", b"x").headers["allow"] == "GET, HEAD"
        assert client("GET", "/-/health/other").status == 404
        for path in ("/-", "/-/", "/-/other"):  # what else is there, or not, is for those who may come in
            assert client("GET", path).status == 401
        server.root.rename(tmp_path / "away")
        answer = answer_after_a_while(server)
        assert (answer.status, answer.json["checks"]["data"]) == (503, "failed")
        assert answer.headers["retry-after"] == "5"
        assert str(tmp_path) not in answer.body.decode()
        assert client("GET", "/-/health/live").status == 200


def answer_after_a_while(server: Running) -> Any:
    """The first that is not what was found a second ago."""
    for _ in range(20_000):
        answer = server.client()("GET", "/-/health")
        if answer.status != 200:
            return answer
    raise AssertionError("it stays ready")


def test_what_is_reserved_is_no_file(server: Running) -> None:
    client = server.client()
    for method in ("PUT", "MKCOL", "LOCK", "DELETE", "PROPFIND", "NEWS"):
        assert client(method, "/-/file").status == 404, method
    assert client("PUT", "/source", b"x").status in (201, 204)
    assert not (server.root / "-").exists()


# --- the command


@pytest.mark.slow
def test_the_command_asks_the_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path, prefix="/dav") as server:
        config = tmp_path / "davserver.yaml"
        config.write_text("prefix: /dav\nhost: 0.0.0.0\nanonymous: ro\n")
        options = ["-c", str(config), "--port", str(server.port)]
        assert main(["health", *options]) == 0
        assert capsys.readouterr().out == "The server is ready.\n"
        assert main(["health", "--live", "--json", *options]) == 0
        assert json.loads(capsys.readouterr().out) == {"status": "alive"}
        server.root.rename(tmp_path / "away")
        answer_after_a_while(server)
        assert main(["health", *options]) == 1
        assert capsys.readouterr().out == "The server is not ready: data.\n"
    assert main(["health", *options]) == 1
    assert "does not answer: Connection refused" in capsys.readouterr().err


def test_the_command_says_what_it_is_answered_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a server with a prefix that it was not told of, and by one that is none of ours."""
    with serving(tmp_path, prefix="/dav") as server:
        assert main(["health", "--port", str(server.port)]) == 1
    told = capsys.readouterr().err
    assert f"The server at 127.0.0.1, port {server.port}, answers 404 at /-/health/ready, not how it is" in told
    assert "-c FILE" in told
    for body in (b"[]", b'{"status": 3}', b'{"ok": true}', b"\xff", b"null"):
        with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as pool:
            told_it = pool.submit(_answer_once, other, body)
            assert main(["health", "--json", "--port", str(other.getsockname()[1])]) == 1
            told_it.result(timeout=20)
        assert "answers 200 at /-/health/ready, not how it is" in capsys.readouterr().err, body


def _answer_once(listener: socket.socket, body: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_the_command_over_a_socket_and_over_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "davserver.yaml"
    with serving(tmp_path, host=f"unix:{tmp_path}/s"):
        assert main(["health", "--host", f"unix:{tmp_path}/s"]) == 0
    config.write_text(f"tls: {{cert: {TLS}/one.pem, key: {TLS}/one.key}}\n")
    with serving(tmp_path, tls={"cert": f"{TLS}/one.pem", "key": f"{TLS}/one.key"}) as server:
        assert main(["health", "-c", str(config), "--port", str(server.port)]) == 0
        assert main(["health", "--port", str(server.port)]) == 1  # speaks plain HTTP to it
    assert "answers 400 at /-/health/ready, not how it is" in capsys.readouterr().err


@pytest.mark.slow
def test_of_a_whole_server_with_workers(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        done = subprocess.run(
            [sys.executable, "-m", "davserver", "health", "--port", str(server.port)],
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "The server is ready.\n")
