"""The page of app passwords in a real browser, with and without JavaScript, and pages of others that attack it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from browser import browsing
from serving import QUICK, Running, serving
from test_logins import tool

pytestmark = pytest.mark.slow

PAGE = "-/app-passwords"
EVIL = "\"><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    users = {"alice": {"password": QUICK.hash("wonder"), "display_name": "Alice Smith"}}
    with serving(tmp_path, users=users, anonymous="none") as running:
        yield running


def named(server: Running) -> list[str]:
    found = requests.get(f"{server.url}-/api/v1/app-passwords", auth=("alice", "wonder"), timeout=20).json()
    return [each["name"] for each in found["app_passwords"]]


def logged_in(server: Running) -> str:
    """A URL with which the browser remembers the login, as it does when its user has been asked."""
    return f"http://alice:wonder@{server.host}:{server.port}/{PAGE}"


@pytest.mark.parametrize("scripts", [True, False])
def test_somebody_makes_one_and_revokes_it(scripts: bool, server: Running, tmp_path: Path) -> None:
    with browsing(tool("chromium"), tool("chromedriver"), tmp_path / "profile", scripts=scripts) as browser:
        browser.open(logged_in(server))
        assert browser.one("h1").text == "App passwords"
        assert "Alice Smith" in browser.one("body").text
        browser.one("input[name=name]").type("my phone")
        browser.one("input[name=read_only]").click()
        browser.one("select[name=days] option[value='90']").click()
        browser.one("h2 + form > button").submit()
        secret = browser.one("code").text
        assert requests.get(server.url, auth=("alice", secret), timeout=20).status_code == 200
        assert requests.put(f"{server.url}f", b"x", auth=("alice", secret), timeout=20).status_code == 403
        browser.open(f"{server.url}{PAGE}")
        assert browser.all("code") == []
        assert browser.texts("tbody td")[:2] == ["my phone", "everything, reading only"]
        assert "127.0.0.1" in browser.texts("tbody td")[3]
        browser.one("button[name=revoke]").submit()
        assert browser.url == f"{server.url}{PAGE}"
        assert "none yet" in browser.one("body").text
        assert named(server) == []
        assert [line for line in browser.console if "favicon" not in line] == []


def test_what_is_in_a_name_does_not_run(server: Running, tmp_path: Path) -> None:
    with browsing(tool("chromium"), tool("chromedriver"), tmp_path / "profile") as browser:
        browser.open(logged_in(server))
        for _ in range(2):
            browser.one("input[name=name]").type(EVIL)
            browser.one("h2 + form > button").submit()
            assert browser.run("return document.title") == "App passwords"
        browser.open(f"{server.url}{PAGE}")
        assert browser.texts("tbody td:first-child") == [EVIL, EVIL]
        assert browser.run("return document.scripts.length + document.images.length") == 0


@contextmanager
def site(pages: dict[str, str]) -> Iterator[str]:
    """Somebody else's site: another origin, though of the same host, as far as a login goes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_page_of_another_site_makes_none_in_its_visitors_name(server: Running, tmp_path: Path) -> None:
    assert requests.post(
        f"{server.url}-/api/v1/app-passwords", json={"name": "phone"}, auth=("alice", "wonder"), timeout=20
    ).ok
    pages = {
        "/make": f'<form method="post" action="{server.url}{PAGE}"><input name="name" value="evil"><button></form>',
        "/revoke": f'<form method="post" action="{server.url}{PAGE}"><input name="revoke" value="1"><button></form>',
        "/api": f'<form method="post" enctype="text/plain" action="{server.url}-/api/v1/app-passwords">'
        """<input name='{"name": "evil", "x": "' value='"}'><button></form>""",
        "/frame": f'<iframe src="{server.url}{PAGE}"></iframe>',
    }
    with (
        site(pages) as evil,
        browsing(tool("chromium"), tool("chromedriver"), tmp_path / "profile") as browser,
    ):
        browser.open(logged_in(server))
        assert browser.texts("tbody td:first-child") == ["phone"]  # the browser knows the login
        for page in "/make", "/revoke", "/api":
            browser.open(evil + page)
            browser.one("button").submit()
            assert browser.url.startswith(server.url)
            said = browser.one("body").text
            assert "another site" in said, said
        assert named(server) == ["phone"]
        browser.open(f"{evil}/frame")
        assert any("frame-ancestors" in line or "X-Frame-Options" in line for line in browser.console)
        script = f"return fetch('{server.url}{PAGE}', {{credentials: 'include'}}).then(r => r.text(), () => 'unread')"
        assert browser.run(script) == "unread"
