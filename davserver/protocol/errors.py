"""Every refusal davserver can give, one class each.

The law of this module: a refusal carries *what the client must be told* — status, the precondition
element of the RFC, a sentence for people, the paths and locks concerned — and nothing about how it is
rendered. `refusal.render` turns any of them into XML, JSON, HTML or text; the server has one
`except Refused`. Messages never hold a file system path, a lock token or an exception's own text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from davserver.protocol.locks import Lock
    from davserver.protocol.paths import DavPath


class Refused(Exception):
    """A request that is not carried out. Nothing was changed unless a subclass says otherwise."""

    status: ClassVar[int]
    #: Local name of the precondition or postcondition element in the DAV: namespace (RFC 4918 §16).
    element: str | None = None
    #: The connection cannot be used again: the rest of the request body is unreadable.
    must_close: ClassVar[bool] = False

    def __init__(self, message: str, *, element: str | None = None, paths: Sequence[DavPath] = ()) -> None:
        if type(self) is Refused:
            raise TypeError("Refused is abstract: raise one of its subclasses")
        super().__init__(message)
        self.message = message
        self.paths = tuple(paths)
        if element is not None:
            self.element = element
        #: The ended lock whose token the request brought: its holder is told what became of it.
        self.lost: Lock | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Header fields that belong to this refusal (Allow, Retry-After …)."""
        return ()


class BadRequest(Refused):
    status = 400


class IncompleteBody(BadRequest):
    """The body ended before its announced length, or its chunked framing broke (RFC 9112 §8)."""

    must_close = True


class Unauthorized(Refused):
    """RFC 9110 §15.5.2: a 401 always carries at least one challenge."""

    status = 401

    def __init__(self, message: str, challenges: Sequence[str]) -> None:
        super().__init__(message)
        self.challenges = tuple(challenges)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return tuple(("WWW-Authenticate", challenge) for challenge in self.challenges)


class Forbidden(Refused):
    status = 403


class NotPermitted(Forbidden):
    """What this principal may not do; somebody else might."""


class NotFound(Refused):
    status = 404


class NotKnown(NotFound):
    """What this principal may not even know about, whether it is there or not; somebody else might."""


class MethodNotAllowed(Refused):
    """RFC 9110 §15.5.6: the answer names the methods that the target does allow."""

    status = 405

    def __init__(self, message: str, allow: Sequence[str]) -> None:
        super().__init__(message)
        self.allow = tuple(allow)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Allow", ", ".join(self.allow)),)


class RequestTimeout(Refused):
    """The body stopped coming (RFC 9110 §15.5.9)."""

    status = 408
    must_close = True


class Conflict(Refused):
    status = 409


class LengthRequired(Refused):
    status = 411


class PreconditionFailed(Refused):
    status = 412


class ContentTooLarge(Refused):
    status = 413


class UriTooLong(Refused):
    status = 414


class UnsupportedMediaType(Refused):
    """RFC 9110 §15.5.16; of a PATCH it names what would be understood (RFC 5789 §2.2)."""

    status = 415

    def __init__(self, message: str, *, accept_patch: str | None = None) -> None:
        super().__init__(message)
        self.accept_patch = accept_patch

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return () if self.accept_patch is None else (("Accept-Patch", self.accept_patch),)


class TooManyRequests(Refused):
    """RFC 6585 §4: too many logins have failed; nothing was looked at. `retry_after` in seconds."""

    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Retry-After", str(self.retry_after)),)


class HeaderFieldsTooLarge(Refused):
    """RFC 6585 §5."""

    status = 431


class MisdirectedRequest(Refused):
    """RFC 9110 §15.5.20: the name that it was sent to is none of this server's."""

    status = 421


class UnprocessableContent(Refused):
    """RFC 9110 §15.5.21: well-formed, and not what is meant. `faults`: (where, what is wrong there) of each."""

    status = 422

    def __init__(self, message: str, faults: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class RangeNotSatisfiable(Refused):
    """RFC 9110 §15.5.17: the answer says how long the representation is."""

    status = 416

    def __init__(self, message: str, length: int) -> None:
        super().__init__(message)
        self.length = length

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Content-Range", f"bytes */{self.length}"),)


class Locked(Refused):
    """A lock stands in the way and its token was not submitted (RFC 4918 §11.3, §16).

    `locks` are the blocking locks, one or more; `path` is what the request wanted to change.
    """

    status = 423
    element = "lock-token-submitted"

    def __init__(self, path: DavPath, locks: Sequence[Lock]) -> None:
        if not locks:
            raise ValueError("a 423 names at least one lock")
        super().__init__("The resource is locked.", paths=[lock.root for lock in locks])
        self.path = path
        self.locks = tuple(locks)

    def by_root(self) -> list[Locked]:
        """The same refusal for each locked resource by itself."""
        roots: dict[DavPath, list[Lock]] = {}
        for lock in self.locks:
            roots.setdefault(lock.root, []).append(lock)
        return [type(self)(root, locks) for root, locks in roots.items()]


class LockConflict(Locked):
    """A LOCK that collides with locks of others (RFC 4918 §9.10.5, §16 no-conflicting-lock)."""

    element = "no-conflicting-lock"


class Busy(Refused):
    """The file system holds on to the resource itself: a mount point, a file that is swapped to."""

    status = 423


class InternalError(Refused):
    """A fault of ours. The operator finds the traceback in the log; the client learns only that."""

    status = 500


class NotImplementedMethod(Refused):
    """RFC 9110 §15.6.2: a method that the server does not know at all."""

    status = 501


class VersionNotSupported(Refused):
    """RFC 9110 §15.6.6: a version of HTTP that is not spoken here."""

    status = 505


class BadGateway(Refused):
    """RFC 4918 §9.8.5: the destination is on another server."""

    status = 502


class Unavailable(Refused):
    """The state store is away: nothing is written unchecked. `retry_after` in seconds."""

    status = 503

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Retry-After", str(self.retry_after)),)


class Overloaded(Unavailable):
    """Nobody is free to wait for the rest of the body."""

    must_close = True


class Unfinished(Unavailable):
    """The files were changed, and the state could not take note of it: that is made up for when it is back."""


class InsufficientStorage(Refused):
    """Disk full, over quota or out of inodes (RFC 4918 §11.5)."""

    status = 507
