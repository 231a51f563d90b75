"""TLS: a certificate with its key, in a context that can be made anew while connections go on."""

from __future__ import annotations

import ssl
from typing import Any

from cheroot.ssl.builtin import BuiltinSSLAdapter


class TlsAdapter(BuiltinSSLAdapter):
    """cheroot's adapter with a context of ours: TLS 1.2 and 1.3, Python's choice of ciphers, HTTP/1.1 alone."""

    def __init__(self) -> None:
        """To be given a certificate before it is used: see `load`."""

    def load(self, certificate: str, private_key: str | None) -> None:
        """Use this certificate from now on. Connections keep what they began with; after an error, all do.

        Raises OSError where a file cannot be read (ssl.SSLError where it is no certificate, or not its key).
        """
        self.context = _context(certificate, private_key)
        self.certificate, self.private_key = certificate, private_key

    def wrap(self, sock: Any) -> Any:
        """Handshakes are driven by the connection (`TlsChannel.begin`), never here, where others would wait."""
        raise NotImplementedError


def _context(certificate: str, private_key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, private_key)
    context.set_alpn_protocols(["http/1.1"])
    # A client may not make the server do the costly half of a handshake over and over on one connection.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context
