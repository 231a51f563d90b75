"""From a method's name to its function: the one table, and what is checked before any of them runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from davserver.methods import locking, namespace, partial, props, read, write
from davserver.methods.guard import require_writable
from davserver.methods.permits import require_permission, require_visible
from davserver.protocol.errors import NotImplementedMethod
from davserver.protocol.messages import Action, Request, Response
from davserver.storage.share import Shares


@dataclass(frozen=True, slots=True)
class Method:
    function: Callable[[Request, Shares], Response]
    #: One of these the principal must be allowed to do at the request's path; the method asks for more where it knows
    #: more. Empty: nothing, not even log in.
    actions: tuple[Action, ...] = ()
    #: A collection may also be seen by those who only find their way through it.
    seen: bool = False
    #: It is about the name, not about what a symbolic link of that name leads to.
    names: bool = False


METHODS: Mapping[str, Method] = {
    "OPTIONS": Method(read.options),
    "GET": Method(read.get, (Action.READ,), seen=True),
    "HEAD": Method(read.get, (Action.READ,), seen=True),
    "PUT": Method(write.put, (Action.WRITE, Action.CREATE)),
    "PATCH": Method(partial.patch, (Action.WRITE,)),
    "POST": Method(write.post, (Action.WRITE, Action.CREATE)),
    "MKCOL": Method(write.mkcol, (Action.CREATE,)),
    "DELETE": Method(write.delete, (Action.DELETE,), names=True),
    "COPY": Method(namespace.copy, (Action.READ,)),
    "MOVE": Method(namespace.move, (Action.DELETE,), names=True),
    "PROPFIND": Method(props.propfind, (Action.READ,), seen=True),
    "PROPPATCH": Method(props.proppatch, (Action.WRITE,)),
    "LOCK": Method(locking.lock, (Action.LOCK,)),
    "UNLOCK": Method(locking.unlock, (Action.LOCK,)),
}


def method_of(name: str) -> Method:
    """Raises NotImplementedMethod (RFC 9110 §9.1) for a name that is not in the table."""
    method = METHODS.get(name)
    if method is None:
        raise NotImplementedMethod(f"This server knows these methods: {', '.join(METHODS)}.")
    return method


def perform(method: Method, request: Request, shares: Shares) -> Response:
    """Permission first, then the method: both of the resource, however its path was spelt."""
    path = shares.locate(request.path, link=method.names)
    if path is not request.path:
        request = request._replace(path=path, asked=request.path)
    if method.seen:
        require_visible(request, request.path)
    elif method.actions:
        require_permission(request, request.path, *method.actions)
        if Action.READ not in method.actions:
            require_writable(shares.of(request.path), request.path)
    return method.function(request, shares)
