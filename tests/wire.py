"""HTTP as a test wants it: every byte of the request said, every part of the answer seen."""

from __future__ import annotations

import http.client
import json
import select
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lxml import etree
from webdav_schema import assert_valid

LOCKINFO = (
    '<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype>{owner}</D:lockinfo>"
)


def lockinfo(scope: str = "exclusive", owner: str = "") -> bytes:
    """A LOCK body; `owner` is the inner XML of DAV:owner, "" for none."""
    return LOCKINFO.format(scope=scope, owner=f"<D:owner>{owner}</D:owner>" if owner else "").encode()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw_headers: list[tuple[str, str]]
    body: bytes

    @property
    def xml(self) -> etree._Element:
        return etree.fromstring(self.body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def token(self) -> str:
        """The lock token of a LOCK answer."""
        return self.headers["lock-token"].strip("<>")

    def find(self, path: str) -> list[etree._Element]:
        """XPath with the prefix D for DAV:."""
        found = self.xml.xpath(path, namespaces={"D": "DAV:"})
        assert isinstance(found, list)
        return found

    def texts(self, path: str) -> list[str]:
        return [element.text or "" for element in self.find(path)]

    def hrefs(self) -> list[str]:
        """The resource's own first, its members sorted: a folder has no order."""
        first, *members = self.texts("//D:response/D:href")
        return [first, *sorted(members)]


class Dav:
    """One client on one keep-alive connection, re-opened when the server closed it."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str] | None = None, prefix: str = "") -> None:
        self.host, self.port, self.prefix = host, port, prefix
        self.headers = dict(headers or {})
        self._connection = http.client.HTTPConnection(host, port, timeout=30)

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | str | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> Answer:
        """`path` is sent as it is. `If_Match="x"` is short for the header If-Match. An iterable body is chunked."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in fields.items()}, **(headers or {})}
        if isinstance(body, str):
            body = body.encode()
        chunked = body is not None and not isinstance(body, bytes)
        self._connection.putrequest(method, self.prefix + path, skip_accept_encoding=True)
        if chunked:
            sent["Transfer-Encoding"] = "chunked"
        elif "Content-Length" not in sent and (body is not None or method in ("PUT", "LOCK", "PROPFIND")):
            sent["Content-Length"] = str(len(body or b""))
        for name, value in sent.items():
            self._connection.putheader(name, value)
        self._connection.endheaders(body, encode_chunked=chunked)
        response = self._connection.getresponse()
        data = response.read()
        if response.will_close:
            self._connection.close()
        if data and response.headers.get_content_type() == "application/xml" and b'"DAV:"' in data[:200]:
            assert_valid(data)
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.getheaders(),
            data,
        )

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{self.prefix}{path}"

    def lock(self, path: str, *, scope: str = "exclusive", owner: str = "", **fields: str) -> Answer:
        return self("LOCK", path, lockinfo(scope, owner), **{"Depth": "0", **fields})

    def propfind(self, path: str, *names: str, depth: str = "0", namespace: str = "DAV:", **fields: str) -> Answer:
        inner = "".join(f'<x:{name} xmlns:x="{namespace}"/>' for name in names)
        body = f'<D:propfind xmlns:D="DAV:"><D:prop>{inner}</D:prop></D:propfind>' if names else ""
        return self("PROPFIND", path, body, **{"Depth": depth, **fields})

    def proppatch(self, path: str, inner: str, **fields: str) -> Answer:
        """`inner`: the children of DAV:propertyupdate."""
        return self("PROPPATCH", path, f'<D:propertyupdate xmlns:D="DAV:">{inner}</D:propertyupdate>', **fields)

    def close(self) -> None:
        self._connection.close()

    def __del__(self) -> None:
        self.close()


class Raw:
    """A socket: what is sent is what was written, and what came back is all there is."""

    def __init__(self, host: str, port: int, *, receive_buffer: int | None = None) -> None:
        """`receive_buffer`: bytes that the kernel takes for us before it makes the server wait."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(20)
        self._socket.connect((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_all(self, data: bytes) -> None:
        """As far as the server wants to hear it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def trickle(self, data: bytes) -> None:
        """Byte by byte, each in a packet of its own, as far as the server wants to hear it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            for index in range(len(data)):
                self._socket.sendall(data[index : index + 1])

    def wait(self, seconds: float) -> None:
        """Until there is an answer, or the server closed, at most so long."""
        select.select([self._socket], [], [], seconds)

    @property
    def has_answer(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def head(self) -> tuple[int, dict[str, str]]:
        """The next status line and header fields; (0, {}) when the server closed the connection."""
        line = self._file.readline()
        if not line:
            return 0, {}
        fields = {}
        while (field := self._file.readline().rstrip(b"\r\n")) != b"":
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return int(line.split()[1]), fields

    def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next whole answer. `head`: it answers HEAD and has no body."""
        status, fields = self.head()
        if head or status in (0, 204, 304) or status < 200:
            return status, fields, b""
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._file.readline(), 16):
                body += self._file.read(size)
                self._file.readline()
            self._file.readline()
            return status, fields, body
        return status, fields, self._file.read(int(fields["content-length"]))

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        return self._file.read()

    def stop_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
