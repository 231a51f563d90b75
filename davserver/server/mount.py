"""Mount: what is served beside WebDAV, below /-/: loaded with the first request for it, and no cost before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from davserver.protocol.paths import DavPath

if TYPE_CHECKING:
    from davserver.web.watch import Watch

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Mount:
    """A WSGI application that is opened when it is first asked."""

    def __init__(self, open_app: Callable[[], tuple[Wsgi, Watch]]) -> None:
        self._open = open_app
        self._app: Wsgi | None = None
        self._watch: Watch | None = None
        self._ended = False
        self._opening = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return (self._app or self._opened())(environ, start_response)

    def _opened(self) -> Wsgi:
        with self._opening:
            if self._app is None:
                self._app, self._watch = self._open()
                if self._ended:
                    self._watch.stop()
            return self._app

    def stop_waiting(self) -> None:
        """The server stops: who waits for something to happen is sent home."""
        with self._opening:
            self._ended = True
            if self._watch is not None:
                self._watch.stop()


class Logged:
    """A body that tells how much of it was sent when it is closed."""

    def __init__(self, body: Iterable[bytes], told: Callable[[int], None]) -> None:
        self._body, self._told = body, told
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._body:
            self._sent += len(block)
            yield block

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()
        self._told(self._sent)


def environ_beside(environ: dict[str, Any], path: DavPath, prefix: str) -> dict[str, Any]:
    """As frameworks want it: the path as it was understood, below the prefix, in the characters of PEP 3333."""
    text = path.key + ("/" if path.slash and not path.is_root else "")
    return {
        "QUERY_STRING": environ["REQUEST_URI"].partition("?")[2],
        "SERVER_NAME": "",
        "SERVER_PORT": "",
        "wsgi.url_scheme": "http",
        **environ,
        "SCRIPT_NAME": prefix,
        "PATH_INFO": text.encode("utf-8", "surrogatepass").decode("latin-1"),
    }
