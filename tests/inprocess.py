"""The application without sockets: a request is one function call, and costs what the work behind it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from wire import Answer, Dav

from davserver.protocol.errors import IncompleteBody
from davserver.server.compose import open_app
from davserver.server.http.connection import SMALL_BODY
from davserver.server.http.gateway import FileWrapper
from davserver.settings import Settings


class Content:
    """A request body: bytes of a known length, or blocks that come chunked. `cut`: the sender goes away at its end."""

    def __init__(self, body: bytes | Iterable[bytes], *, length: int | None = None, cut: bool = False) -> None:
        whole = isinstance(body, bytes)
        self.length = length if not whole or length is not None else len(body)
        #: As the server has it: what is small is waited for before a request begins.
        self.is_here = whole and not cut and self.length == len(body) <= SMALL_BODY
        self._blocks = iter([body] if whole else body)
        self._rest = b""
        self._cut = cut

    def read(self, size: int) -> bytes:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                if self._cut:
                    raise IncompleteBody("The request body ended before its announced length.")
                return b""
            self._rest = block
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Local(Dav):
    """A client of an application in this process. Requests are made and answers read as those of `wire.Dav`."""

    def __init__(self, app: Callable[..., Iterable[bytes]], prefix: str = "", **headers: str) -> None:
        self.app, self.prefix = app, prefix
        self.host, self.port = "dav.example", 80
        self.headers = {"Host": "dav.example", **{name.replace("_", "-"): value for name, value in headers.items()}}

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | str | Iterable[bytes] | Content | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> Answer:
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in fields.items()}, **(headers or {})}
        if isinstance(body, str):
            body = body.encode()
        content = body if isinstance(body, Content) else Content(b"" if body is None else body)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "REQUEST_URI": self.prefix + path,
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.input": content,
            "wsgi.file_wrapper": FileWrapper,
        }
        if content.length is not None and body is not None:
            environ["CONTENT_LENGTH"] = str(content.length)
        for name, value in sent.items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        head: list[Any] = []
        answer = self.app(environ, lambda status, fields, _=None: head.extend((status, fields)))
        try:
            data = b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()
        status, fields_back = head
        return Answer(int(status[:3]), {name.lower(): value for name, value in fields_back}, fields_back, data)

    def url(self, path: str) -> str:
        return f"http://{self.host}{self.prefix}{path}"

    def close(self) -> None:
        pass


@contextmanager
def local(folder: Path, *, clock: Callable[[], float] = time.time, **settings: Any) -> Iterator[Local]:
    """An application as the server composes it: `folder/share` at "/", state in `folder/state`."""
    root, state = folder / "share", folder / "state"
    root.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "shares": {"/": {"directory": str(root)}},
        "durability": "relaxed",
        "anonymous": "rw",
        "log": {"access": False},
        **settings,
    }
    with ExitStack() as stack:
        yield Local(open_app(Settings(**values), str(state), stack, clock=clock), values.get("prefix", ""))
