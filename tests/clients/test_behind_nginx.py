"""Renames behind nginx as it comes: one `proxy_pass`, and nothing that tells us the name which the client used."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import Running, serving
from wire import Dav

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: what this test is for is NOT TESTED here"),
]


@contextmanager
def nginx(folder: Path, server: Running, *lines: str) -> Iterator[int]:
    """Its port."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    config = folder / "nginx.conf"
    config.write_text(
        f"{'user root;' if os.geteuid() == 0 else ''} daemon off; worker_processes 1; pid {folder}/pid;\n"
        f"error_log {folder}/errors; events {{ worker_connections 64; }}\n"
        f"http {{ access_log off; {' '.join(f'{kind}_temp_path {folder}/{kind};' for kind in kinds)}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{\n"
        f"proxy_pass http://127.0.0.1:{server.port}; {' '.join(lines)} }} }} }}\n"
    )
    process = subprocess.Popen([str(NGINX), "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "errors").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    ("lines", "trusted", "status"),
    [
        ((), [], 201),
        (("proxy_http_version 1.1;",), ["127.0.0.1"], 201),
        (("proxy_http_version 1.1;",), [], 502),
        (("proxy_http_version 1.1;", "proxy_set_header Host $http_host;"), [], 201),
        (("proxy_set_header X-Forwarded-Host $http_host;",), ["127.0.0.1"], 201),
    ],
    ids=["as it comes", "1.1, a proxy of ours", "1.1, a stranger", "1.1, with Host", "X-Forwarded-Host"],
)
def test_a_rename(lines: tuple[str, ...], trusted: list[str], status: int, tmp_path: Path) -> None:
    with (
        serving(tmp_path, any_host=False, trusted_proxies=trusted) as running,
        nginx(tmp_path / "nginx", running, *lines) as port,
    ):
        dav = Dav("127.0.0.1", port)
        for path in ("/f", "/g"):
            assert dav("PUT", path, b"content").status == 201
        for scheme, source in (("http", "/f"), ("https", "/g")):
            answer = dav("MOVE", source, Destination=f"{scheme}://127.0.0.1:{port}{source}-new")
            assert answer.status == status
            assert dav("GET", f"{source}-new" if status == 201 else source).body == b"content"
        dav.close()


@pytest.mark.parametrize(("trusted", "status"), [(["127.0.0.1"], 201), ([], 421)], ids=["ours", "a stranger"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_name_that_this_machine_does_not_have(version: str, trusted: list[str], status: int, tmp_path: Path) -> None:
    """Nobody logs in: a proxy that is not known might be a web page of elsewhere (DNS rebinding)."""
    lines = f"proxy_http_version {version};", "proxy_set_header Host files.example.org;"
    with (
        serving(tmp_path, any_host=False, trusted_proxies=trusted) as running,
        nginx(tmp_path / "nginx", running, *lines) as port,
    ):
        dav = Dav("127.0.0.1", port)
        answer = dav("PUT", "/f", b"content")
        assert answer.status == status
        assert (b"files.example.org" in answer.body and b"trusted_proxies" in answer.body) is (status == 421)
        dav.close()


def test_without_a_proxy_another_server_is_another_server(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        dav = running.client()
        dav("PUT", "/f", b"content")
        answer = dav("MOVE", "/f", Destination="https://files.example/g")
        assert answer.status == 502
        assert b"trusted_proxies" in answer.body
        assert dav("GET", "/f").body == b"content"
        dav.close()
