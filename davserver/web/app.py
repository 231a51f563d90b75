"""The API, and the page of app passwords, as a WSGI application: routing by Flask, requests validated, answers written,
refusals as problem details.

Loaded with the first request below /-/: a WebDAV request never meets it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.wrappers import Response as Base

from davserver.access.app_passwords import AppPasswords
from davserver.protocol.errors import InternalError, MethodNotAllowed, NotFound, NotKnown, NotPermitted, Refused
from davserver.protocol.holder import Viewer
from davserver.protocol.locks import ANYBODY
from davserver.protocol.refusal import render
from davserver.storage.lock_service import LockService
from davserver.storage.share import Shares
from davserver.storage.shared_key import shared_key
from davserver.web.admission import WRITES, require_no_maintenance, require_same_origin
from davserver.web.app_password_page import PAGE, AppPasswordPage
from davserver.web.app_passwords import OwnPasswords
from davserver.web.caller import Caller
from davserver.web.contract import Answer, Operation
from davserver.web.events import EventStream
from davserver.web.form_token import FormTokens
from davserver.web.held import Held
from davserver.web.locks import Locks
from davserver.web.openapi import document
from davserver.web.operations import operations
from davserver.web.parsing import body_of, query_of
from davserver.web.places import Places
from davserver.web.problem import refusal
from davserver.web.watch import Watch

#: Path of the API below the prefix.
API = "/-/api/v1"
_JSON = "application/json"
#: Where the caller of a request is found in its environ.
_CALLER = "davserver.caller"
#: The one resource that needs no login: it says what there is, and nothing of what is in it.
_DOCUMENT = "openapi"
#: The page that people open, which is told of refusals as people are.
_PAGE = "appPasswordPage"
#: What is no file and no lock, so that no maintenance stops it: a device that was stolen is shut out at once.
_NEVER_STOPPED = frozenset({_PAGE, "makeAppPassword", "revokeAppPassword"})

_log = logging.getLogger("davserver")

Identify = Callable[[dict[str, Any]], Caller]


def create_app(shares: Shares, watch: Watch, *, prefix: str, identify: Identify, clock: Callable[[], float]) -> Flask:
    """`identify`: environ → who asks. Raises Unauthorized."""
    places = Places(shares, prefix)
    locks = Locks(LockService(shares), places, watch, prefix + API, clock)
    passwords = OwnPasswords(AppPasswords(shares.state), places, prefix + API, clock)
    table = operations(locks, Held(locks, prefix + API), passwords)

    @cache
    def described() -> str:
        return json.dumps(document(table, prefix + API), ensure_ascii=False)

    app = Flask("davserver.web", static_folder=None)
    for operation in table:
        app.add_url_rule(_rule(operation.path), operation.name, _view(operation), methods=[operation.method])
    app.add_url_rule(f"{API}/openapi.json", _DOCUMENT, lambda: Base(described(), content_type=_JSON))

    form_tokens = FormTokens(lambda: shared_key(shares.state, "forms"))
    page = AppPasswordPage(passwords, form_tokens, prefix, clock)

    def app_password_page() -> Base:
        caller: Caller = request.environ[_CALLER]
        return page.submit(caller) if request.method == "POST" else page.show(caller)

    app.add_url_rule(PAGE, _PAGE, app_password_page, methods=["GET", "POST"], strict_slashes=False)

    @app.before_request
    def admit() -> None:
        if request.endpoint != _DOCUMENT and request.method != "OPTIONS":
            caller = request.environ[_CALLER] = identify(request.environ)
            if request.method in WRITES:
                caller.require_changing()
                require_same_origin(caller)
                if request.endpoint not in _NEVER_STOPPED:
                    require_no_maintenance(shares, caller)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    _refuse(app, prefix, clock)
    return app


def _refuse(app: Flask, prefix: str, clock: Callable[[], float]) -> None:
    """Every error there can be is a refusal, told in one form."""

    def refused(error: Refused) -> Response:
        caller: Caller | None = request.environ.get(_CALLER)
        if isinstance(error, NotPermitted | NotKnown) and caller is not None and caller.unauthorized is not None:
            error = caller.unauthorized
        viewer = Viewer(ANYBODY) if caller is None else caller.viewer
        if request.path in (PAGE, f"{PAGE}/"):
            accept = request.headers.get("Accept")
            answer = render(error, accept=accept, content_type=None, now=clock(), prefix=prefix, viewer=viewer)
        else:
            answer = refusal(error, viewer, clock(), prefix)
        status, headers, body = answer
        if not isinstance(body, bytes):
            raise TypeError("a refusal is one piece")
        return Response(body, status, [*headers, *((("Connection", "close"),) if error.must_close else ())])

    def refused_by_flask(error: HTTPException) -> Response:
        if isinstance(error, WrongMethod):
            allowed = sorted(error.valid_methods or ())
            return refused(MethodNotAllowed(f"This resource knows these methods: {', '.join(allowed)}.", allowed))
        return refused(NotFound(f"There is no such resource; {prefix}{API}/openapi.json describes those there are."))

    def failed(_: Exception) -> Response:
        _log.exception("%s %s failed", request.method, request.path)
        return refused(InternalError("The server failed; its log says why."))

    app.register_error_handler(Refused, refused)
    app.register_error_handler(HTTPException, refused_by_flask)
    app.register_error_handler(Exception, failed)


#: Flask's spelling of the parameters. A number that is none is no resource.
_PARAMETERS = {"{number}": f"<int(max={2**63 - 1}):number>", "{transaction_id}": "<transaction_id>"}


def _rule(path: str) -> str:
    for name, spelt in _PARAMETERS.items():
        path = path.replace(name, spelt)
    return API + path


def _view(operation: Operation) -> Callable[..., Base]:
    def view(**arguments: Any) -> Base:
        query = query_of(operation)
        if operation.query.model_fields:
            arguments["query"] = query
        if operation.body is not None:
            arguments["body"] = body_of(operation, operation.body)
        if operation.headers:
            arguments["last_event_id"] = request.headers.get("Last-Event-ID")
        return _written(operation.run(request.environ[_CALLER], **arguments))

    return view


def _written(answer: Answer | EventStream) -> Base:
    if isinstance(answer, EventStream):
        # X-Accel-Buffering: nginx would keep the events until it has many.
        return Base(answer, headers={"X-Accel-Buffering": "no"}, content_type="text/event-stream; charset=utf-8")
    if answer.model is None:
        empty = Base(status=answer.status)
        del empty.headers["Content-Type"]
        return empty
    body = answer.model.model_dump_json(exclude_none=True)
    return Base(body, answer.status, list(answer.headers), content_type=_JSON)
