"""The examples in config/proxies, and the one of the compose file, each read by the program that it is for.

What is tested is the example itself: only names, ports and files of certificates are put in. TLS ends at the proxy, and
davserver knows nothing of it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import Running, serving
from test_http_tls import CERTIFICATES, trusting
from wire import Dav

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "config" / "proxies"
CERT, KEY = CERTIFICATES / "one.pem", CERTIFICATES / "one.key"
NAME = "files.example.org"
APACHE_MODULES = "mpm_event authz_core ssl socache_shmcb proxy proxy_http headers"


def put_in(text: str, *pairs: tuple[str, str]) -> str:
    """Whatever stands for something in an example must be there to be replaced."""
    for placeholder, value in pairs:
        assert placeholder in text, placeholder
        text = text.replace(placeholder, value)
    return text


def nginx(folder: Path, port: int, behind: int) -> list[str]:
    example = put_in(
        (EXAMPLES / "nginx.conf").read_text(),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("    listen [::]:443 ssl;\n", ""),
        ("/etc/ssl/certs/files.example.org.pem", str(CERT)),
        ("/etc/ssl/private/files.example.org.key", str(KEY)),
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
    )
    (folder / "example.conf").write_text(example)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;\nevents {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"include {folder}/example.conf; }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def apache(folder: Path, port: int, behind: int) -> list[str]:
    example = put_in(
        (EXAMPLES / "apache.conf").read_text(),
        ("*:443", f"127.0.0.1:{port}"),
        ("/etc/ssl/certs/files.example.org.pem", str(CERT)),
        ("/etc/ssl/private/files.example.org.key", str(KEY)),
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
    )
    load = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in APACHE_MODULES.split()
    )
    (folder / "apache.conf").write_text(
        f"ServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\nErrorLog /dev/stderr\n"
        f"{load}User nobody\nGroup nogroup\nServerName localhost\nListen 127.0.0.1:{port}\n{example}"
    )
    return ["apache2", "-f", str(folder / "apache.conf"), "-DFOREGROUND"]


def haproxy(folder: Path, port: int, behind: int) -> list[str]:
    (folder / "both.pem").write_text(CERT.read_text() + KEY.read_text())
    example = put_in(
        (EXAMPLES / "haproxy.cfg").read_text(),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("/etc/haproxy/files.example.org.pem", str(folder / "both.pem")),
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
    )
    (folder / "haproxy.cfg").write_text(example)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def caddy(folder: Path, port: int, behind: int) -> list[str]:
    return _caddy(folder, (EXAMPLES / "Caddyfile").read_text(), "files.example.org", "127.0.0.1:8080", port, behind)


def caddy_of_compose(folder: Path, port: int, behind: int) -> list[str]:
    text = (ROOT / "docker" / "Caddyfile").read_text()
    return _caddy(folder, text, "{$DAVSERVER_DOMAIN}", "davserver:8080", port, behind)


def _caddy(folder: Path, text: str, name: str, upstream: str, port: int, behind: int) -> list[str]:
    site = f"https://127.0.0.1:{port}, https://{NAME}:{port} {{\n\ttls {CERT} {KEY}"
    example = put_in(text, (f"{name} {{", site), (upstream, f"127.0.0.1:{behind}"))
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
    (folder / "Caddyfile").write_text(options + example)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES: dict[str, Callable[[Path, int, int], list[str]]] = {
    "nginx": nginx,
    "apache": apache,
    "haproxy": haproxy,
    "caddy": caddy,
    "caddy of the compose file": caddy_of_compose,
}


class TlsDav(Dav):
    """A client that speaks TLS and believes the certificate of the proxy."""

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=trusting("one"))

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"


@dataclass(frozen=True)
class Behind:
    """davserver, and the port of the proxy in front of it."""

    server: Running
    port: int

    def client(self) -> TlsDav:
        return TlsDav(self.port)


@contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """A proxy that answers at `port`."""
    log = (folder / "log").open("wb")
    home = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with log, subprocess.Popen(command, stdout=log, stderr=log, env=home, start_new_session=True) as process:
        try:
            for _ in range(2000):
                assert process.poll() is None, (folder / "log").read_text()
                client = TlsDav(port)
                try:
                    if client("OPTIONS", "/").status == 200:
                        break
                except (OSError, http.client.HTTPException):
                    process_has_time(process)
                finally:
                    client.close()
            else:
                raise AssertionError((folder / "log").read_text())
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def process_has_time(process: subprocess.Popen[bytes]) -> None:
    """It listens in a moment, or has ended."""
    try:
        process.wait(timeout=0.05)
    except subprocess.TimeoutExpired:
        return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module", params=sorted(PROXIES))
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("proxy")
    folder.chmod(0o755)
    port = free_port()
    with serving(folder, any_host=False, trusted_proxies=["127.0.0.1"]) as server:
        command = PROXIES[request.param](folder, port, server.port)
        if shutil.which(command[0]) is None:
            pytest.skip(
                f"{command[0].upper()} IS NOT INSTALLED: its example is not tested (apt-get install {command[0]})"
            )
        with running(command, port, folder):
            yield Behind(server, port)


@pytest.fixture
def dav(behind: Behind, tmp_path: Path) -> Iterator[TlsDav]:
    """Each test has a folder of its own, by its prefix."""
    client = behind.client()
    assert client("MKCOL", f"/{tmp_path.name}").status == 201
    client.prefix = f"/{tmp_path.name}"
    yield client
    client.close()


def test_rename_needs_no_rewriting(dav: TlsDav) -> None:
    assert dav("PUT", "/old", b"x").status == 201
    assert dav("MOVE", "/old", Destination=dav.url(f"{dav.prefix}/new%20name"), Overwrite="F").status == 201
    assert dav("GET", "/new%20name").body == b"x"
    assert dav("MKCOL", "/folder/").status == 201
    assert dav("MOVE", "/folder/", Destination=dav.url(f"{dav.prefix}/renamed/")).status == 201
    assert dav("COPY", "/new%20name", Destination=dav.url(f"{dav.prefix}/renamed/copy")).status == 201
    assert dav("MOVE", "/new%20name", Destination="https://elsewhere.example/x").status == 502


def test_clients_call_it_by_the_name_of_the_proxy(behind: Behind) -> None:
    """Nobody logs in, and the name is none of this machine's: that the proxy is trusted is what lets it pass."""
    connection = http.client.HTTPSConnection("127.0.0.1", behind.port, timeout=60, context=trusting("one"))
    connection.putrequest("PUT", "/by-name", skip_host=True)
    for name, value in (("Host", NAME), ("Content-Length", "1")):
        connection.putheader(name, value)
    connection.endheaders(b"x")
    assert connection.getresponse().status == 201
    connection.close()
    assert (behind.server.root / "by-name").read_bytes() == b"x"


def test_hrefs_are_what_the_client_asked_for(dav: TlsDav) -> None:
    names = ["%C3%A4%20%26", "a%2Bb", "c;d", "e%25f", "100%25"]
    for name in names:
        assert dav("PUT", f"/{name}", b"x").status == 201, name
    found = dav("PROPFIND", "/", Depth="1").hrefs()
    assert found[0] == f"{dav.prefix}/"
    assert len(found) == len(names) + 1
    for href in found[1:]:
        assert href.startswith(f"{dav.prefix}/")
        dav_prefix, dav.prefix = dav.prefix, ""
        assert dav("GET", href).body == b"x"
        dav.prefix = dav_prefix


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_arrives_whole(chunked: bool, dav: TlsDav) -> None:
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    for _ in range(48):
        digest.update(block)
    body = (block for _ in range(48)) if chunked else block * 48
    assert dav("PUT", "/large", body).status == 201
    assert hashlib.sha256(dav("GET", "/large").body).digest() == digest.digest()
    part = dav("GET", "/large", Range="bytes=1048576-1048585")
    assert (part.status, part.body) == (206, block[:10])


def test_locks_and_the_423_that_explains(dav: TlsDav) -> None:
    assert dav("PUT", "/f", b"x").status == 201
    lock = dav.lock("/f", owner="Jane", Timeout="Second-1740")
    refused = dav("PUT", "/f", b"y" * 100_000, Accept="application/json")
    assert refused.status == 423
    assert refused.json["locked_by"] == "Jane"
    assert 1700 < int(refused.headers["retry-after"]) <= 1740
    assert refused.json["path"] == f"{dav.prefix}/f"
    # Clients tag their lists with the URL that they know.
    tagged = f"<{dav.url(dav.prefix + '/f')}> (<{lock.token}>)"
    assert dav("PUT", "/f", b"z", If=tagged).status == 204
    refreshed = dav("LOCK", "/f", None, If=f"(<{lock.token}>)")
    assert refreshed.texts("//D:locktoken/D:href") == [lock.token]
    assert dav("UNLOCK", "/f", Lock_Token=f"<{lock.token}>").status == 204
    assert dav("PUT", "/f", b"y").status == 204


def test_methods_fields_and_conditions_get_through(dav: TlsDav) -> None:
    assert "2" in dav("OPTIONS", "/").headers["dav"]
    created = dav("PUT", "/f", b"x")
    assert dav("GET", "/f", If_None_Match=created.headers["etag"]).status == 304
    assert dav("PUT", "/f", b"y", If_None_Match="*").status == 412
    colour = '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>'
    assert dav.proppatch("/f", colour).status == 207
    assert dav("DELETE", "/f").status == 204
    assert dav("REPORT", "/f").status in (501, 405)


def test_many_clients_at_once(behind: Behind, tmp_path: Path) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        client = behind.client()
        for turn in range(10):
            body = f"{number} {turn}".encode() * 1000
            path = f"/{tmp_path.name}-{number}"
            if client("PUT", path, body).status not in (201, 204) or client("GET", path).body != body:
                wrong.append((number, turn))
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
