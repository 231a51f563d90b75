"""The WSGI application: WsgiDAV's, with one terminal app of ours.

`DavApp` is a `WsgiDAVApp`: shares are its providers, `middleware_stack` its stack, and the stack's last
item is `Terminal`, which answers every method through the METHODS table. What WsgiDAV's own `__call__` does
around its stack is replaced: it resolves ".." instead of refusing it, folds the case of share names, reads a
refused body whole, and closes the connection after every answer whose length is not known beforehand.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wsgidav.wsgidav_app import WsgiDAVApp

from davserver.access.access import STRANGER, Access, Asking, Identity
from davserver.methods.principals import principals_page
from davserver.operations.figures import Figures
from davserver.operations.pages import Page
from davserver.protocol.errors import InternalError, Locked, NotKnown, NotPermitted, Refused
from davserver.protocol.holder import Reveal, Viewer
from davserver.protocol.locks import ANYBODY, Principal
from davserver.protocol.messages import FileSlice, Headers, Request, Response
from davserver.protocol.paths import DavPath
from davserver.protocol.reasons import reason
from davserver.protocol.refusal import render
from davserver.server.access_log import is_logging, log_access
from davserver.server.compression import compressed
from davserver.server.cors import Cors
from davserver.server.dispatch import method_of, perform
from davserver.server.misdirected import require_own_name
from davserver.server.mount import Logged, Mount, Wsgi, environ_beside
from davserver.server.people import People
from davserver.server.principals import Acquaintances
from davserver.server.request import client_of, framed, header_fields, open_request, target_path
from davserver.server.share import ShareProvider
from davserver.storage.lock_events import LockEvents
from davserver.storage.share import RESERVED, Shares

if TYPE_CHECKING:
    from davserver.web.caller import Caller
    from davserver.web.watch import Watch

StartResponse = Callable[..., Any]

_log = logging.getLogger("davserver")

#: Where a request's exchange is found in its environ, beside WebDAV.
_EXCHANGE = "davserver.exchange"
_NO_PAGES: Mapping[str, Page] = MappingProxyType({})


class Terminal:
    """The end of the stack: a request in, an answer out, whatever happens in between."""

    def __init__(
        self,
        shares: Shares,
        access: Access,
        *,
        prefix: str,
        reveal: Reveal,
        clock: Callable[[], float],
        pages: Mapping[str, Page],
        seats: int,
        figures: Figures,
        cors: Cors | None,
        breakers: Iterable[str],
    ) -> None:
        self._shares, self._state = shares, shares.state
        self._cors = cors
        self._pages = {**pages, "principals": principals_page(Acquaintances(lambda: self.access))}
        self._figures = figures
        #: May be replaced at any time; a request keeps to the one it began with.
        self.access = access
        #: Users and @groups, as written: who is in a group may change at any time.
        self.breakers = tuple(breakers)
        self._prefix = prefix
        self._reveal = reveal
        self._clock = clock
        self.beside = Mount(self._open_beside)
        #: Requests that may wait for something to happen to a lock at the same time.
        self.seats = seats

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        exchange = _Exchange(environ, self._clock(), self._figures)
        preflight = None if self._cors is None else self._cors.preflight(environ)
        if preflight is not None:
            return self._send(exchange, preflight, start_response)
        try:
            path = exchange.path = target_path(environ, self._prefix)
            if path.segments[:1] == RESERVED:
                page = self._pages.get(path.segments[1]) if len(path.segments) > 1 else None
                if page is None:
                    return self._pass_on(exchange, path, start_response)
                response = _finished(self._own(exchange, path, page), environ)
            else:
                self._state.owe()
                try:
                    response = _finished(self._answer(exchange, path), environ)
                finally:
                    settle = self._state.owed()
                if settle is not None:
                    later = environ.get("davserver.later")
                    answer = partial(self._settled, exchange, response, settle, start_response)
                    return answer() if later is None else later(answer)
        except Refused as refused:
            if isinstance(refused, Locked):
                self._figures.count_refused()
            response = _finished(self._refusal(exchange, refused), environ)
        except Exception:
            _log.exception("%s %s failed", environ["REQUEST_METHOD"], exchange.path or "?")
            failure = InternalError("The server failed; its log says why.")
            response = _finished(self._refusal(exchange, failure), environ)
        return self._send(exchange, response, start_response)

    def _settled(
        self, exchange: _Exchange, response: Response, settle: Callable[[], None], start_response: StartResponse
    ) -> Iterable[bytes]:
        """The answer, once what it tells of is on the disk."""
        try:
            settle()
        except Refused as refused:
            response = _finished(self._refusal(exchange, refused), exchange.environ)
        return self._send(exchange, response, start_response)

    def _send(self, exchange: _Exchange, response: Response, start_response: StartResponse) -> Iterable[bytes]:
        headers = list(response.headers)
        if self._cors is not None:
            headers += self._cors.fields(exchange.environ)
        start_response(_status_line(response.status), headers)
        return exchange.send(response)

    def _refusal(self, exchange: _Exchange, refused: Refused) -> Response:
        response = render(
            refused,
            accept=exchange.headers.get("Accept"),
            content_type=exchange.headers.get("Content-Type"),
            now=self._clock(),  # an upload may have taken hours
            prefix=self._prefix,
            viewer=Viewer(exchange.principal, self._reveal, exchange.headers.get("User-Agent", "")),
            path=exchange.path,
        )
        if refused.must_close:
            return Response(response.status, (*response.headers, ("Connection", "close")), response.body)
        return response

    def _answer(self, exchange: _Exchange, path: DavPath) -> Response:
        environ = exchange.environ
        method = method_of(environ["REQUEST_METHOD"])
        access = self.access
        asking = exchange.asking()
        if method.actions:
            identity = access.identify(asking)
            require_own_name(environ, identity, access, exchange.now)
        else:
            identity = _or_stranger(access, asking)[0]
        request = self._request(exchange, path, identity)
        try:
            return perform(method, request, self._shares)
        except (NotPermitted, NotKnown) as refused:
            if access.could_be_more(identity):
                raise access.unauthorized(exchange.now) from refused
            raise

    def _request(self, exchange: _Exchange, path: DavPath, identity: Identity) -> Request:
        exchange.principal = identity.principal
        return open_request(
            exchange.environ,
            path=path,
            headers=exchange.headers,
            principal=identity.principal,
            permissions=identity.permissions,
            reach=identity.reach,
            now=exchange.now,
            prefix=self._prefix,
        )

    # --- beside WebDAV

    def _own(self, exchange: _Exchange, path: DavPath, page: Page) -> Response:
        """A page of the server's. Whether it needs a login is for the page to say."""
        access = self.access
        identity, unidentified = _or_stranger(access, exchange.asking())
        if exchange.environ["REQUEST_METHOD"] != "OPTIONS" and page is not self._pages.get("health"):
            # Whoever watches over the server calls it as they like, and is told nothing of what is in it.
            require_own_name(exchange.environ, identity, access, exchange.now)
        try:
            return page(self._request(exchange, path, identity))
        except (NotPermitted, NotKnown) as refused:
            if access.could_be_more(identity):
                raise (unidentified or access.unauthorized(exchange.now)) from refused
            raise

    def _pass_on(self, exchange: _Exchange, path: DavPath, start_response: StartResponse) -> Iterable[bytes]:
        status = 0

        def begin(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            if self._cors is not None:
                headers = [*headers, *self._cors.fields(exchange.environ)]
            return start_response(_status_line(status), headers, exc_info)

        environ = environ_beside(exchange.environ, path, self._prefix) | {_EXCHANGE: exchange}
        answer = self.beside(environ, begin)
        return Logged(answer, lambda sent: exchange.log(status, sent))

    def _open_beside(self) -> tuple[Wsgi, Watch]:
        from davserver.web.app import create_app
        from davserver.web.watch import Watch

        watch = Watch(LockEvents(self._shares.state).newest, self.seats)
        app = create_app(self._shares, watch, prefix=self._prefix, identify=self._caller, clock=self._clock)
        return app, watch

    def _caller(self, environ: dict[str, Any]) -> Caller:
        """Who asks, beside WebDAV as within. Raises Unauthorized, TooManyRequests, MisdirectedRequest."""
        exchange: _Exchange = environ[_EXCHANGE]
        access = self.access
        identity = access.identify(exchange.asking())
        require_own_name(environ, identity, access, exchange.now)
        exchange.principal = identity.principal
        return self._as_caller(exchange, access, identity)

    def _caller_again(self, exchange: _Exchange) -> Caller:
        """The same some time later, while the answer is made."""
        access, asking = self.access, exchange.asking()._replace(now=self._clock())
        identity = access.identify_again(asking)
        if identity.principal.name != exchange.principal.name:
            raise access.unauthorized(asking.now)  # it is somebody else's by now
        return self._as_caller(exchange, access, identity)

    def _as_caller(self, exchange: _Exchange, access: Access, identity: Identity) -> Caller:
        from davserver.web.caller import Caller

        environ = exchange.environ
        principal, is_administrator = identity.principal, access.is_administrator(identity)
        has_powers = identity.reach.has_powers and not principal.is_anonymous
        is_breaker = has_powers and access.belongs(principal.name, self.breakers)
        return Caller(
            principal,
            identity.permissions,
            client_of(environ),
            unauthorized=access.unauthorized(exchange.now) if access.could_be_more(identity) else None,
            is_administrator=is_administrator,
            breaks=is_administrator or is_breaker,
            reach=identity.reach,
            has_app_passwords=access.has_app_passwords,
            trusts_page=self._cors is not None and self._cors.trusts(environ),
            reveal=self._reveal,
            again=lambda: self._caller_again(exchange),
        )


def _or_stranger(access: Access, asking: Asking) -> tuple[Identity, Refused | None]:
    """Where an answer needs no login, as OPTIONS at every path: a wrong one is none. And why it is: it may be right,
    and not looked at now."""
    try:
        identity = access.identify(asking)
    except Refused as refused:
        return STRANGER, refused
    return (STRANGER if access.could_be_more(identity) else identity), None


def _finished(response: Response, environ: Mapping[str, Any]) -> Response:
    """As the client wants it, and with its length. The first block of a stream is made here: what is refused then
    can still be told."""
    if response.body and not isinstance(response.body, FileSlice):
        response = compressed(response, environ.get("HTTP_ACCEPT_ENCODING"), environ.get("HTTP_USER_AGENT", ""))
    return framed(response, head=environ["REQUEST_METHOD"] == "HEAD")


@cache
def _status_line(status: int) -> str:
    return f"{status} {reason(status)}"


class _Exchange:
    """What is known of one request, also when it turns out to be malformed, and the line it leaves in the log."""

    def __init__(self, environ: dict[str, Any], now: float, figures: Figures) -> None:
        self.environ = environ
        self._figures = figures
        self.now = now
        self.headers: Headers = header_fields(environ)
        self.path: DavPath | None = None
        self.principal: Principal = ANYBODY
        self._began = time.perf_counter()

    def asking(self) -> Asking:
        """The request, as far as a login depends on it."""
        environ = self.environ
        return Asking(
            environ["REQUEST_METHOD"],
            environ["REQUEST_URI"],
            self.headers,
            environ.get("REMOTE_ADDR", ""),
            environ.get("davserver.proxied", False),
            self.now,
        )

    def send(self, response: Response) -> Iterable[bytes]:
        """The body as WSGI wants it. The access line is written when the last byte has gone out."""
        body = response.body
        if isinstance(body, bytes):
            self.log(response.status, len(body))
            return (body,)
        if isinstance(body, FileSlice):
            part = FileSlice(body.fd, body.offset, body.length, body.close, partial(self.log, response.status))
            wrapped: Iterable[bytes] = self.environ["wsgi.file_wrapper"](part)
            return wrapped
        return self._stream(response.status, body)

    def _stream(self, status: int, body: Iterator[bytes]) -> Iterator[bytes]:
        sent = 0
        try:
            for block in body:
                yield block
                sent += len(block)
        except Exception:
            # The head has gone out: the client learns from the connection's end that the answer is not whole.
            _log.exception("%s %s failed while its answer was sent", self.environ["REQUEST_METHOD"], self.path)
            raise
        finally:
            self.log(status, sent)

    def log(self, status: int, sent: int) -> None:
        environ = self.environ
        method, seconds = environ["REQUEST_METHOD"], time.perf_counter() - self._began
        self._figures.count_request(method, status, seconds, sent, getattr(environ["wsgi.input"], "taken", 0))
        if not is_logging():
            return
        log_access(
            address=environ.get("REMOTE_ADDR", ""),
            user=self.principal.name,
            method=method,
            target=environ["REQUEST_URI"],
            status=status,
            sent=sent,
            seconds=seconds,
        )


class DavApp(WsgiDAVApp):  # type: ignore[misc]
    """WsgiDAV's application with our shares as its providers and our terminal app as its stack."""

    def __init__(
        self,
        shares: Shares,
        people: People,
        access: Access,
        *,
        prefix: str = "",
        reveal: Reveal = Reveal.USERS,
        clock: Callable[[], float] = time.time,
        pages: Mapping[str, Page] = _NO_PAGES,
        seats: int = 250,
        figures: Figures | None = None,
        cors: Cors | None = None,
        breakers: Iterable[str] = (),
    ) -> None:
        """`pages`: what stands below /-/, by its name there, beside the API. `seats`: requests that may wait for
        something to happen to a lock at the same time. `figures`: where requests are counted. `breakers`: users and
        @groups who may break any lock, beside administrators."""
        self.people = people
        self.before_waiting = shares.state.before_waiting
        self._terminal = Terminal(
            shares,
            access,
            prefix=prefix,
            reveal=reveal,
            clock=clock,
            pages=pages,
            seats=seats,
            figures=Figures() if figures is None else figures,
            cors=cors,
            breakers=breakers,
        )
        super().__init__(
            {
                "provider_mapping": {share.at.key: ShareProvider(share) for share in shares},
                "middleware_stack": [self._terminal],
                # Locks and properties belong to the shares; WsgiDAV's own managers stay out.
                "lock_storage": None,
                "property_manager": None,
                "logging": {"enable": False},
                "verbose": 1,
            }
        )

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgidav.app"] = self
        environ["wsgidav.config"] = self.config
        environ["wsgidav.verbose"] = self.verbose
        answer: Iterable[bytes] = self.application(environ, start_response)
        return answer

    def stop_waiting(self) -> None:
        """The server stops: requests that wait for something to happen are answered now."""
        self._terminal.beside.stop_waiting()

    def use(self, access: Access, breakers: Iterable[str]) -> None:
        """Who may do what, from now on, and who may break locks."""
        self._terminal.access, self._terminal.breakers = access, tuple(breakers)
