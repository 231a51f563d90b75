"""The compose file as it is, with the image that is there."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
from test_image import ROOT, answers, docker, image
from wire import Dav

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COMPOSE = ROOT / "docker" / "docker-compose.yml"

__all__ = ["image"]


def test_it_comes_up_healthy_and_keeps_what_was_written(image: str, tmp_path: Path) -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("DOCKER HAS NO COMPOSE HERE: the compose file is not tested")
    project = f"davserver-{uuid.uuid4().hex[:12]}"
    environ = {
        **os.environ, "DAVSERVER_USERNAME": "alice", "DAVSERVER_PASSWORD": "wonder", "DAVSERVER_BIND": "127.0.0.1",
        "DAVSERVER_PORT": "18080",
    }  # fmt: skip

    def compose(*arguments: str) -> str:
        done = subprocess.run(
            ["docker", "compose", "-p", project, "-f", str(COMPOSE), *arguments],
            env=environ, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client() -> Dav:
        dav = Dav("127.0.0.1", 18080, {"Authorization": "Basic YWxpY2U6d29uZGVy"})
        assert answers(dav)
        return dav

    docker("tag", image, "davserver")
    up = ("up", "-d", "--no-build", "--pull", "never", "--wait", "--wait-timeout", "120")
    try:
        compose(*up)
        dav = client()
        assert dav("PUT", "/f", b"x").status == 201
        token = dav.lock("/f", Timeout="Second-3600").token
        assert "davserver" in compose("config", "--services")
        compose("down")
        compose(*up)
        dav = client()
        assert dav("PUT", "/f", b"y").status == 423
        assert dav("PUT", "/f", b"y", If=f"(<{token}>)").status == 204
        assert "Traceback" not in compose("logs", "davserver")
    finally:
        compose("down", "-v", "--timeout", "20")
