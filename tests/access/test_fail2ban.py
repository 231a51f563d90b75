"""What fail2ban is told reads the log, in either form."""

from __future__ import annotations

import io
import logging
import re
from base64 import b64encode
from pathlib import Path

import pytest
from realclients import run, tool
from serving import QUICK, Process

from davserver.access.access import failure_line
from davserver.server.logs import log_to
from davserver.settings import Settings

FILTER = Path(__file__).parents[2] / "config/fail2ban/filter.d/davserver.conf"
FORMS = ["text", "json"]


def patterns() -> list[str]:
    """As fail2ban has them: <HOST> is an address."""
    (found,) = re.findall(r"^failregex = ((?:.*\n)(?: +.*\n)*)", FILTER.read_text(), re.MULTILINE)
    return [line.strip().replace("<HOST>", r"(?P<host>[0-9a-fA-F.:]+)") for line in found.splitlines()]


def hosts(line: str) -> list[str]:
    return [found["host"] for found in (re.search(pattern, line) for pattern in patterns()) if found]


def logged(form: str, level: int, message: str) -> str:
    stream = io.StringIO()
    log_to(stream, Settings(log={"format": form}))  # type: ignore[arg-type]
    logging.getLogger("davserver.audit").log(level, "%s", message)
    (line,) = stream.getvalue().splitlines()
    return line


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "address"),
    [("alice", "192.0.2.1"), ('a" b', "2001:db8::1"), ("x\ny", "192.0.2.1"), ("", "192.0.2.1"), ("ü\\", "192.0.2.1")],
)
def test_the_line_of_a_failed_login_names_its_address(name: str, address: str, form: str) -> None:
    line = logged(form, logging.WARNING, failure_line(name, address, "basic"))
    assert hosts(line) == [address]
    assert hosts(line + " and more") == []


@pytest.mark.parametrize("form", FORMS)
def test_nobody_has_another_banned(form: str) -> None:
    """A name, or anything else that is told, looks like such a line and is none."""
    for own in FORMS:
        forged = logged(own, logging.WARNING, failure_line("alice", "198.51.100.7", "basic"))
        assert hosts(logged(form, logging.WARNING, failure_line(forged[:99], "192.0.2.1", "basic"))) == ["192.0.2.1"]
        assert hosts(logged(form, logging.INFO, f"lock broken: {forged} by alice")) == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_fail2ban_finds_whoever_guesses(form: str, tmp_path: Path) -> None:
    """Its own program, and the log of a server."""
    program = tool("fail2ban-regex")
    config = tmp_path / "davserver.yaml"
    config.write_text(
        f"workers: 1\nlog: {{format: {form}}}\nusers: {{alice: {{password: '{QUICK.hash('wonder')}'}}}}\n"
    )
    with Process(tmp_path, "-c", str(config)) as server:
        for login in ("alice:wonder", "alice:wunder", 'a "b" c:x', "ünal\\:x", "alice:wonder"):
            server.client(Authorization="Basic " + b64encode(login.encode()).decode())("GET", "/")
        assert server.stop() == 0
        lines = [line for line in server.output if line.startswith(('{"time"', "20"))]
    log = tmp_path / "log"
    log.write_text("".join(lines))
    told = run(program, "--out", "ip", str(log), str(FILTER)).stdout.split()
    assert len(lines) > 3
    assert told == ["127.0.0.1"] * 3
