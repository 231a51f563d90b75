"""What the log tells, in which form, and what it never tells."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import QUICK, Process, serving
from test_workers import until

from davserver.server.logs import log_to, set_up_log
from davserver.settings import Settings


@contextmanager
def logged(**log: object) -> Iterator[io.StringIO]:
    """Everything that is logged inside."""
    stream = io.StringIO()
    log_to(stream, Settings(log=log))  # type: ignore[arg-type]
    yield stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line_with_all_its_parts(tmp_path: Path) -> None:
    with logged(format="json") as stream, serving(tmp_path) as server:
        dav = server.client()
        dav("PUT", "/a%20b?secret=1", b"x")
        dav("GET", "/a%20b")
    found = [line for line in lines(stream) if line["log"] == "access"]  # the last one is written after the answer
    put, get = found
    assert put["path"] == "/a%20b"
    assert (put["method"], put["status"], put["bytes"], put["user"]) == ("PUT", 201, 0, "")
    assert (get["method"], get["status"], get["bytes"], get["address"]) == ("GET", 200, 1, "127.0.0.1")
    assert isinstance(get["milliseconds"], float)
    assert str(get["time"]).endswith("Z")
    assert get["level"] == "info"


def test_text_says_the_same(tmp_path: Path) -> None:
    with logged() as stream, serving(tmp_path) as server:
        server.client()("GET", "/missing")
    (line,) = stream.getvalue().splitlines()
    assert ' INFO 127.0.0.1 - "GET /missing" 404 ' in line
    assert line.endswith("ms")


def test_failures_of_ours_keep_their_traceback_on_one_line() -> None:
    with logged(format="json") as stream:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("davserver.http").exception("%s failed", "it")
    (line,) = lines(stream)
    assert (line["log"], line["level"], line["message"]) == ("http", "error", "it failed")
    assert "ValueError: two\nlines" in str(line["exception"])


@pytest.mark.parametrize("form", ["text", "json"])
def test_nobody_writes_lines_of_his_own(form: str, tmp_path: Path) -> None:
    users = {"alice": {"password": QUICK.hash("x")}}
    forged = b64encode(b'eve\n2026-01-01 00:00:00,000 INFO all is well"}:x').decode()
    with logged(format=form) as stream, serving(tmp_path, users=users) as server:
        server.client(Authorization=f"Basic {forged}")("GET", "/%0A%22x")
    told = stream.getvalue().splitlines()
    assert len(told) == 2
    assert all("login failed" in line or "GET" in line for line in told)


def test_the_audit_log_tells_failed_logins_at_every_level(tmp_path: Path) -> None:
    users = {"alice": {"password": QUICK.hash("x")}}
    with logged(format="json", level="error") as stream, serving(tmp_path, users=users) as server:
        for login in ("alice:wrong", "nobody:x", "alice:x"):
            server.client(Authorization="Basic " + b64encode(login.encode()).decode())("GET", "/")
        server.client(Authorization="Bearer")("GET", "/")  # Office asks so before it logs in
        server.client()("GET", "/")
    found = lines(stream)
    assert [(line["log"], line["message"]) for line in found] == [
        ("audit", 'login failed: address=127.0.0.1 scheme=basic user="alice"'),
        ("audit", 'login failed: address=127.0.0.1 scheme=basic user="nobody"'),
    ]


def test_no_secret_and_no_token_is_ever_logged(tmp_path: Path) -> None:
    """At the most talkative level, through all that has to do with them, refusals included."""
    users = {"alice": {"password": QUICK.hash("wonder")}, "bob": {"password": QUICK.hash("builder")}}
    alice, bob = (b64encode(login).decode() for login in (b"alice:wonder", b"bob:builder"))
    wrong = b64encode(b"alice:guessed").decode()
    with logged(format="json", level="debug") as stream, serving(tmp_path, users=users) as server:
        one, other = server.client(Authorization=f"Basic {alice}"), server.client(Authorization=f"Basic {bob}")
        server.client(Authorization=f"Basic {wrong}")("GET", "/")
        one("PUT", "/f", b"x")
        token = one.lock("/f").token
        one("PUT", "/f", b"y", If=f"(<{token}>)")
        other("PUT", "/f", b"z", If=f"(<{token}>)")
        other("UNLOCK", "/f", Lock_Token=f"<{token}>")
        one("LOCK", "/f", None, If=f"(<{token}>)")
        one("PROPFIND", f"/f?{token}")
        one("UNLOCK", "/f", Lock_Token=f"<{token}>")
        one("PUT", "/f", b"y", If=f"(<{token}>)")
    told = stream.getvalue()
    for secret in ("wonder", "builder", "guessed", alice, bob, wrong, token, token.removeprefix("urn:uuid:")):
        assert secret not in told
    assert "alice" in told


def test_level_and_form_change_at_once() -> None:
    with logged() as stream:
        log = logging.getLogger("davserver")
        log.debug("not told")
        set_up_log(Settings(log={"level": "debug", "format": "json"}))  # type: ignore[arg-type]
        log.debug("told")
    assert [line["message"] for line in lines(stream)] == ["told"]


@pytest.mark.slow
def test_sighup_changes_the_log_of_a_server_at_work(tmp_path: Path) -> None:
    config = tmp_path / "davserver.yaml"
    config.write_text("workers: 1\n")
    with Process(tmp_path, "-c", str(config)) as server:
        dav = server.client()
        config.write_text("workers: 1\nlog: {format: json}\n")
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: any(line.startswith('{"time"') and '"access"' in line for line in server.output), dav)
        assert server.stop() == 0
