"""What the start tells: addresses that one can connect to."""

from __future__ import annotations

import pytest

from davserver.banner import banner
from davserver.server.listen import open_listeners
from davserver.server.run import base_url
from davserver.settings import Settings


def told(host: str) -> tuple[str, int]:
    settings = Settings.model_validate({"host": host, "port": 0, "shares": {"/": {"directory": "/srv"}}})
    listeners = open_listeners(host, 0, {})
    try:
        port = listeners.sockets[0].getsockname()[1]
        return banner(settings, base_url(settings, listeners.sockets[0]), "/state"), port
    finally:
        listeners.close()


@pytest.mark.parametrize(
    ("host", "url", "windows", "elsewhere"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}/", r"\\127.0.0.1@{}\DavWWWRoot", False),
        ("0.0.0.0", "http://localhost:{}/", r"\\localhost@{}\DavWWWRoot", True),
        ("::", "http://localhost:{}/", r"\\localhost@{}\DavWWWRoot", True),
        ("::1", "http://[::1]:{}/", r"\\--1.ipv6-literal.net@{}\DavWWWRoot", False),
    ],
)
def test_the_address_can_be_connected_to(host: str, url: str, windows: str, elsewhere: bool) -> None:
    text, port = told(host)
    assert f"ready at {url.format(port)}\n" in text
    assert windows.format(port) in text
    assert ("other machines" in text) is elsewhere
