"""From a method's name to its function: the one table, and what is checked before any of them runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from davserver.methods import locking, namespace, props, read, write
from davserver.methods.guard import require_permission, require_writable
from davserver.protocol.errors import NotImplementedMethod
from davserver.protocol.messages import Action, Request, Response
from davserver.storage.share import Shares


@dataclass(frozen=True, slots=True)
class Method:
    function: Callable[[Request, Shares], Response]
    #: What the principal must be allowed to do at the request's path. None: nothing, not even log in.
    action: Action | None


METHODS: Mapping[str, Method] = {
    "OPTIONS": Method(read.options, None),
    "GET": Method(read.get, Action.READ),
    "HEAD": Method(read.get, Action.READ),
    "PUT": Method(write.put, Action.WRITE),
    "MKCOL": Method(write.mkcol, Action.WRITE),
    "DELETE": Method(write.delete, Action.WRITE),
    "COPY": Method(namespace.copy, Action.READ),
    "MOVE": Method(namespace.move, Action.WRITE),
    "PROPFIND": Method(props.propfind, Action.READ),
    "PROPPATCH": Method(props.proppatch, Action.WRITE),
    "LOCK": Method(locking.lock, Action.WRITE),
    "UNLOCK": Method(locking.unlock, Action.WRITE),
}


def method_of(name: str) -> Method:
    """Raises NotImplementedMethod (RFC 9110 §9.1) for a name that is not in the table."""
    method = METHODS.get(name)
    if method is None:
        raise NotImplementedMethod(f"This server knows these methods: {', '.join(METHODS)}.")
    return method


def perform(method: Method, request: Request, shares: Shares) -> Response:
    """Permission first, then the method."""
    if method.action is not None:
        require_permission(request, method.action, request.path)
        if method.action is Action.WRITE:
            require_writable(shares.of(request.path), request.path)
    return method.function(request, shares)
