"""Who gets in for being on this machine calls it by its own name: a web page whose name was rebound to 127.0.0.1 does
not (DNS rebinding)."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import QUICK, Process, Running, serving
from test_http_tls import connect, everything, pair
from wire import LOCKINFO, Raw

from davserver.server.http.own_hosts import OwnHosts, is_loopback

EVIL = "evil.example:8473"
ALICE = {"users": {"alice": {"password": QUICK.hash("x")}}}
LOGIN = f"Authorization: Basic {base64.b64encode(b'alice:x').decode()}"
TRANSACTION = json.dumps({"paths": ["/f"]}).encode()


def ask(
    raw: Raw, method: str, path: str, host: str | None, *fields: str, body: bytes = b"", version: str = "1.1"
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection that is kept. `host` None: no Host at all."""
    lines = [f"{method} {path} HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *fields]
    raw.send("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    return raw.answer(head=method == "HEAD")


# --- names


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:8080", "localhost.", "localhost:", "share.localhost", "a.b.LOCALHOST:1", "127.0.0.1",
        "127.0.0.1:8080", "127.8.9.10", "192.0.2.7:8080", "0.0.0.0:8080", "[::1]", "[::1]:8080", "[fe80::1]:80",
        "[::ffff:127.0.0.1]:8080", "box", "BOX:8080", "box.example.org", "Box.Example.Org.:80", "box.local",
        "box.local:1", "files.internal:8080", "", ":8080", "other", "x:1",
    ],
)  # fmt: skip
def test_names_of_this_machine(host: str) -> None:
    assert OwnHosts.of("Box.example.org", "files.internal").include(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", EVIL, "localhost.evil.example", "not.local", "evil.localhosts", "[evil]",
        "127.0.0.1.evil.example", "127.0.0.1.nip.io:8080", "example.org", "box.evil.example", "[]",
        "box.localx", "x.box.local", "1.2.3", "localhost..", "a" * 300, "127.0.0.1" + " " * 300,
    ],
)  # fmt: skip
def test_names_of_others(host: str) -> None:
    assert not OwnHosts.of("box.example.org", "127.0.0.1").include(host)


@pytest.mark.parametrize("hostname", ["box", "box.", "box.local", "box.lan"])
def test_a_host_name_is_known_by_its_first_label_and_to_mdns(hostname: str) -> None:
    own = OwnHosts.of(hostname, "::1")
    assert own.include("box")
    assert own.include("box.local")
    assert own.include(hostname)
    assert not own.include("box.example.org")


@pytest.mark.parametrize("hostname", ["", "."])
def test_a_machine_without_a_name_has_no_name(hostname: str) -> None:
    own = OwnHosts.of(hostname, "127.0.0.1")
    assert own.include("localhost")
    assert not own.include(".local")
    assert not own.include("x.local")


def test_what_is_too_long_to_be_a_name_is_not_remembered() -> None:
    own = OwnHosts.of("box", "127.0.0.1")
    for number in range(1000):
        assert not own.include(f"{number}.evil.example")
        assert not own.include(f"{number}".rjust(30_000, "x"))
    assert own._known.cache_info().currsize == 256
    assert own._known.cache_info().misses == 1000


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False), ("fe80::1%eth0", False), ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


# --- what a page of elsewhere is told

REQUESTS: list[tuple[str, str, tuple[str, ...], bytes]] = [
    ("GET", "/f", (), b""),
    ("HEAD", "/f", (), b""),
    ("GET", "/", (), b""),
    ("PUT", "/new", (), b"x"),
    ("PATCH", "/f", ("Content-Type: application/x-sabredav-partialupdate", "X-Update-Range: append"), b"x"),
    ("POST", "/f", (), b"x"),
    ("MKCOL", "/new/", (), b""),
    ("DELETE", "/f", (), b""),
    ("COPY", "/f", ("Destination: /new",), b""),
    ("MOVE", "/f", (f"Destination: http://{EVIL}/new",), b""),
    ("PROPFIND", "/", ("Depth: 1",), b""),
    ("PROPPATCH", "/f", (), b""),
    ("LOCK", "/f", (), LOCKINFO.format(scope="exclusive", owner="").encode()),
    ("UNLOCK", "/f", ("Lock-Token: <urn:uuid:1>",), b""),
    ("GET", "/-/api/v1/locks", (), b""),
    ("POST", "/-/api/v1/transactions", ("Content-Type: application/json",), TRANSACTION),
    ("GET", "/-/app-passwords", (), b""),
    ("GET", "/-/metrics", (), b""),
    ("PROPFIND", "/-/principals/", (), b""),
]


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("open"), any_host=False) as running:
        (running.root / "f").write_bytes(b"content")
        yield running


@pytest.mark.parametrize(("method", "path", "fields", "body"), REQUESTS, ids=lambda value: str(value)[:30])
def test_a_page_of_elsewhere_gets_nothing(
    method: str, path: str, fields: tuple[str, ...], body: bytes, open_server: Running
) -> None:
    with open_server.raw() as raw:
        for _ in range(2):
            status, head, told = ask(raw, method, path, EVIL, f"Origin: http://{EVIL}", *fields, body=body)
            assert status == 421
            assert "connection" not in head, "the connection is fit for another request"
            assert head["cache-control"] == "no-store"
            if method != "HEAD":
                for word in (b"evil.example", b"localhost", b"trusted_proxies", b"log in"):
                    assert word in told
        assert ask(raw, "GET", "/f", "localhost")[::2] == (200, b"content")
    assert sorted(each.name for each in open_server.root.iterdir() if not each.name.startswith(".")) == ["f"]


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:8080", "share.localhost", socket.gethostname(), ""], ids=str
)
def test_whoever_is_here_calls_it_by_its_name(host: str, open_server: Running) -> None:
    with open_server.raw() as raw:
        assert ask(raw, "GET", "/f", host)[0] == 200
        assert ask(raw, "PROPFIND", "/", host)[0] == 207
        assert ask(raw, "GET", "/-/api/v1/locks", host)[0] == 200
        assert ask(raw, "GET", "/-/metrics", host)[0] == 200


def test_http_1_0_without_host_is_served(open_server: Running) -> None:
    with open_server.raw() as raw:
        assert ask(raw, "GET", "/f", None, "Connection: keep-alive", version="1.0")[0] == 200
        assert ask(raw, "GET", "/f", EVIL, version="1.0")[0] == 421


def test_the_name_in_an_absolute_target_counts(open_server: Running) -> None:
    """RFC 9112 §3.2.2."""
    with open_server.raw() as raw:
        assert ask(raw, "GET", f"http://{EVIL}/f", "localhost")[0] == 421
        assert ask(raw, "GET", "http://localhost/f", EVIL)[0] == 200


def test_what_tells_nothing_is_told_to_everybody(open_server: Running) -> None:
    with open_server.raw() as raw:
        for path in ("/", "/f", "*", "/-/principals/", "/-/api/v1/locks"):
            assert ask(raw, "OPTIONS", path, EVIL)[0] == 200, path
        for path in ("/-/health", "/-/health/ready", "/-/health/live"):
            assert ask(raw, "GET", path, EVIL)[0] == 200, path


def test_a_preflight_is_answered_as_ever(tmp_path: Path) -> None:
    page = "http://notes.example"
    with serving(tmp_path, any_host=False, cors={"allowed_origins": [page]}) as running, running.raw() as raw:
        status, head, _ = ask(raw, "OPTIONS", "/f", EVIL, f"Origin: {page}", "Access-Control-Request-Method: PUT")
        assert (status, head["access-control-allow-origin"]) == (204, page)


def test_whoever_logs_in_calls_it_what_they_like(tmp_path: Path) -> None:
    with serving(tmp_path, any_host=False, **ALICE) as running, running.raw() as raw:
        assert ask(raw, "PUT", "/f", EVIL, LOGIN, body=b"x")[0] == 201
        assert ask(raw, "GET", "/-/api/v1/locks", EVIL, LOGIN)[0] == 200
        assert ask(raw, "GET", "/-/metrics", EVIL, LOGIN)[0] == 200
        assert ask(raw, "GET", "/f", EVIL)[0] == 401
        assert ask(raw, "GET", "/-/api/v1/locks", EVIL)[0] == 401
        assert ask(raw, "GET", "/-/metrics", EVIL)[0] == 401
        assert ask(raw, "GET", "/-/metrics", "localhost")[0] == 200


@pytest.mark.parametrize("path", ["/f", "/-/api/v1/locks", "/-/metrics"])
def test_where_a_login_would_do_it_is_asked_for(path: str, tmp_path: Path) -> None:
    """Programs send it when they are asked, and not before."""
    with serving(tmp_path, any_host=False, anonymous="ro", **ALICE) as running, running.raw() as raw:
        (running.root / "f").write_bytes(b"content")
        assert ask(raw, "GET", path, "localhost")[0] == 200
        status, head, told = ask(raw, "GET", path, EVIL)
        assert status == 401
        assert head["www-authenticate"].startswith("Basic ")
        assert b"trusted_proxies" in told
        assert ask(raw, "GET", path, EVIL, LOGIN)[0] == 200


def test_a_proxy_of_ours_speaks_for_others(tmp_path: Path) -> None:
    with serving(tmp_path, any_host=False, trusted_proxies=["127.0.0.1"]) as running, running.raw() as raw:
        assert ask(raw, "PUT", "/f", EVIL, body=b"x")[0] == 201


def test_tls_or_not(tmp_path: Path) -> None:
    with serving(tmp_path, any_host=False, tls=pair("one")) as running:
        for host, status in (("localhost", 207), (EVIL, 421)):
            with connect(running) as sock:
                sock.sendall(f"PROPFIND / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                assert everything(sock).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_unix_socket_has_no_name(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    head = f"PUT /f HTTP/1.1\r\nHost: {EVIL}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with serving(tmp_path, any_host=False, host=f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(head)
        assert client.recv(4096).startswith(b"HTTP/1.1 201 ")


def _address_of_this_machine() -> str:
    """One that is not loopback; a datagram socket that connects sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        found: str = probe.getsockname()[0]
        return "" if is_loopback(found) else found


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_each_connection_is_judged_by_the_address_that_it_came_to(host: str, tmp_path: Path) -> None:
    """Whatever the server listens on: from other machines it may have any name."""
    elsewhere = _address_of_this_machine()
    with serving(tmp_path, any_host=False, host=host, anonymous="rw") as running:
        with Raw("127.0.0.1", running.port) as raw:
            assert ask(raw, "PROPFIND", "/", EVIL)[0] == 421
        if host == "::":
            with Raw("::1", running.port) as raw:
                assert ask(raw, "PROPFIND", "/", EVIL)[0] == 421
        if not elsewhere:
            pytest.skip("THIS MACHINE HAS NO ADDRESS BUT LOOPBACK: that others are let in by any name is not tested")
        with Raw(elsewhere, running.port) as raw:
            assert ask(raw, "PROPFIND", "/", EVIL)[0] == 207


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--host", "localhost")], ids=["default", "localhost"])
def test_the_program_as_it_is_started(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with Process(tmp_path, *arguments) as server, server.raw() as raw:
        for method, path, fields, body in (
            ("PUT", "/f", (), b"x"),
            ("POST", "/-/api/v1/transactions", ("Content-Type: application/json",), TRANSACTION),
        ):
            assert ask(raw, method, path, EVIL, f"Origin: http://{EVIL}", *fields, body=body)[0] == 421
            assert ask(raw, method, path, f"localhost:{server.port}", *fields, body=body)[0] == 201
