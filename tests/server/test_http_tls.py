"""TLS: the same HTTP, handshakes that hold nobody up, a certificate that can be renewed."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from serving import Running, serving

from davserver.server.http.server import Limits
from davserver.server.http.tls import TlsAdapter

CERTIFICATES = Path(__file__).parent / "tls"


def pair(name: str) -> dict[str, str]:
    return {"cert": str(CERTIFICATES / f"{name}.pem"), "key": str(CERTIFICATES / f"{name}.key")}


def trusting(*names: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for name in names:
        context.load_verify_locations(CERTIFICATES / f"{name}.pem")
    return context


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("tls"), tls=pair("one")) as running:
        yield running


def connect(running: Running, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection((running.host, running.port), timeout=20)
    # An end without close_notify is an error to this client, as it is to careful ones.
    return (context or trusting("one")).wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


def everything(sock: ssl.SSLSocket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_requests_one_after_another_and_together(secure: Running) -> None:
    client = http.client.HTTPSConnection(secure.host, secure.port, timeout=20, context=trusting("one"))
    for _ in range(3):
        client.request("PUT", "/f", b"content")
        answer = client.getresponse()
        answer.read()
        assert answer.status in (201, 204)
    client.close()
    with connect(secure) as sock:
        sock.sendall(
            b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n" * 40 + b"GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert everything(sock).count(b"\r\n\r\ncontent") == 41


def test_large_bodies_both_ways(secure: Running) -> None:
    content = bytes(range(256)) * 30_000
    with connect(secure) as sock:
        sock.sendall(b"PUT /big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        assert sock.recv(65536).startswith(b"HTTP/1.1 20")
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(sock).endswith(b"\r\n\r\n" + content)
    with connect(secure) as sock:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sock.sendall(b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        sock.sendall(chunk * 20 + b"0\r\n\r\n")
        assert everything(sock).startswith(b"HTTP/1.1 20")
    assert (secure.root / "c").stat().st_size == 20 * 0x10000


def test_it_speaks_tls_1_2_and_1_3_and_nothing_older(secure: Running) -> None:
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = trusting("one")
        context.minimum_version = context.maximum_version = version
        with connect(secure, context) as sock:
            assert sock.version() == name
    old = trusting("one")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        connect(secure, old)


def test_plain_http_is_told_what_is_wrong(secure: Running) -> None:
    with secure.raw() as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        status, fields, body = raw.answer()
        assert (status, fields["connection"]) == (400, "close")
        assert b"https://" in body
        assert raw.rest() == b""


@pytest.mark.parametrize(
    "sent", [b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x80garbage" * 10, b"\x00"]
)
def test_what_is_no_handshake_ends(sent: bytes, secure: Running) -> None:
    with secure.raw() as raw, suppress(OSError):  # it may be reset at any moment
        raw.send(sent)
        raw.stop_sending()
        raw.rest()


def test_handshakes_that_stand_still_hold_nobody_up(secure: Running) -> None:
    with ExitStack() as stack:
        for index in range(100):
            raw = stack.enter_context(secure.raw())
            raw.send(b"\x16\x03\x01\x02\x00\x01"[: index % 7])
        with connect(secure) as sock:
            sock.sendall(b"OPTIONS / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert everything(sock).startswith(b"HTTP/1.1 200 ")
        assert secure.server.requests.busy <= 2


@pytest.mark.slow
def test_a_handshake_has_its_time(tmp_path: Path) -> None:
    with serving(tmp_path, tls=pair("one"), server_limits=Limits(head_seconds=0.2)) as running, running.raw() as raw:
        raw.send(b"\x16\x03\x01")
        assert raw.rest() == b""


def test_a_slow_reader_of_a_file_costs_no_thread(secure: Running) -> None:
    (secure.root / "slow").write_bytes(b"0123456789abcdef" * 1_000_000)
    with connect(secure) as slow, connect(secure) as other:
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = slow.recv(100)
        for _ in range(10):
            other.sendall(b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert secure.server.requests.busy <= 2
        assert (head + everything(slow)).endswith(b"\r\n\r\n" + b"0123456789abcdef" * 1_000_000)


def test_a_new_certificate_is_for_new_connections(tmp_path: Path) -> None:
    with serving(tmp_path, tls=pair("one")) as running, connect(running) as before:
        running.server.ssl_adapter.load(certificate=pair("two")["cert"], private_key=pair("two")["key"])
        with connect(running, trusting("two")) as after:
            for sock in (before, after):
                sock.sendall(b"OPTIONS / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert everything(sock).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(running)


def test_a_certificate_that_is_none_changes_nothing() -> None:
    adapter = TlsAdapter()
    adapter.load(pair("one")["cert"], pair("one")["key"])
    context = adapter.context
    for wrong in ((__file__, None), (pair("one")["cert"], pair("two")["key"]), ("/no/such/file", None)):
        with pytest.raises(OSError, match=r"."):
            adapter.load(*wrong)
    assert adapter.context is context
    assert adapter.certificate == pair("one")["cert"]


def test_its_ciphers_are_those_of_today(secure: Running) -> None:
    """Forward secrecy, a key of 128 bits at least, no SHA-1, nobody anonymous."""
    context = secure.server.ssl_adapter.context
    ciphers = context.get_ciphers()
    assert len(ciphers) > 3
    for cipher in ciphers:
        assert cipher["kea"] in ("kx-ecdhe", "kx-dhe", "kx-any"), cipher  # any: of TLS 1.3, all of which have it
        assert cipher["auth"] in ("auth-ecdsa", "auth-rsa", "auth-any"), cipher
        assert cipher["strength_bits"] >= 128, cipher
        assert cipher["digest"] in (None, "sha256", "sha384"), cipher
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
