"""Refusals: the status and the header fields that each of them owes the client."""

from __future__ import annotations

import inspect

import pytest

from davserver.protocol import errors
from davserver.protocol.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    IncompleteBody,
    LockConflict,
    Locked,
    MethodNotAllowed,
    RangeNotSatisfiable,
    Refused,
    RequestTimeout,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from davserver.protocol.locks import ANYBODY, Depth, Kind, Lock, Scope
from davserver.protocol.paths import DavPath

LOCK = Lock(
    "urn:uuid:1", DavPath.parse("/a/"), Depth.INFINITY, Scope.EXCLUSIVE, Kind.WRITE, ANYBODY, None, 0.0, 0.0, 60.0
)
CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Refused) and kind is not Refused
]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("BadRequest", 400),
        ("IncompleteBody", 400),
        ("Unauthorized", 401),
        ("Forbidden", 403),
        ("NotFound", 404),
        ("NotKnown", 404),
        ("MethodNotAllowed", 405),
        ("RequestTimeout", 408),
        ("Conflict", 409),
        ("LengthRequired", 411),
        ("PreconditionFailed", 412),
        ("ContentTooLarge", 413),
        ("UriTooLong", 414),
        ("UnsupportedMediaType", 415),
        ("RangeNotSatisfiable", 416),
        ("MisdirectedRequest", 421),
        ("UnprocessableContent", 422),
        ("Busy", 423),
        ("TooManyRequests", 429),
        ("Locked", 423),
        ("LockConflict", 423),
        ("InternalError", 500),
        ("NotImplementedMethod", 501),
        ("BadGateway", 502),
        ("Unavailable", 503),
        ("Overloaded", 503),
        ("Unfinished", 503),
        ("InsufficientStorage", 507),
    ],
)
def test_statuses(name: str, status: int) -> None:
    assert getattr(errors, name).status == status


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_refusal_is_an_error_status(kind: type[Refused]) -> None:
    assert 400 <= kind.status <= 599


def test_a_refusal_carries_what_the_client_must_be_told() -> None:
    path = DavPath.parse("/a")
    refused = Conflict("There is no parent.", element="lock-token-matches-request-uri", paths=[path])
    assert refused.message == str(refused) == "There is no parent."
    assert refused.element == "lock-token-matches-request-uri"
    assert refused.paths == (path,)
    assert refused.headers == ()
    assert not refused.must_close


def test_a_refusal_has_no_element_of_its_own_accord() -> None:
    assert Forbidden("No.").element is None
    assert Conflict("No.", element="x").element == "x"
    assert Conflict("No.").element is None, "an element given to one refusal must not stick to its class"


def test_refused_itself_is_abstract() -> None:
    with pytest.raises(TypeError):
        Refused("something")


@pytest.mark.parametrize(
    ("refused", "fields"),
    [
        (
            Unauthorized("Log in.", ['Digest realm="x"', 'Basic realm="x"']),
            (("WWW-Authenticate", 'Digest realm="x"'), ("WWW-Authenticate", 'Basic realm="x"')),
        ),
        (MethodNotAllowed("No.", ["GET", "HEAD"]), (("Allow", "GET, HEAD"),)),
        (MethodNotAllowed("No.", []), (("Allow", ""),)),
        (RangeNotSatisfiable("No.", 47022), (("Content-Range", "bytes */47022"),)),
        (Unavailable("No.", 7), (("Retry-After", "7"),)),
        (Unavailable("No."), (("Retry-After", "5"),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_header_fields_that_belong_to_a_refusal(refused: Refused, fields: tuple[tuple[str, str], ...]) -> None:
    assert refused.headers == fields


def test_after_an_unreadable_body_the_connection_is_closed() -> None:
    assert [kind.__name__ for kind in CLASSES if kind.must_close] == ["IncompleteBody", "Overloaded", "RequestTimeout"]
    assert IncompleteBody("Short.").must_close
    assert RequestTimeout("Slow.").must_close
    assert not BadRequest("Odd.").must_close


@pytest.mark.parametrize(("kind", "element"), [(Locked, "lock-token-submitted"), (LockConflict, "no-conflicting-lock")])
def test_a_locked_names_the_locks_and_never_a_token(kind: type[Locked], element: str) -> None:
    """RFC 4918 §16."""
    locked = kind(DavPath.parse("/a/b"), [LOCK])
    assert locked.element == element
    assert locked.path == DavPath.parse("/a/b")
    assert locked.paths == (LOCK.root,)
    assert locked.locks == (LOCK,)
    assert LOCK.token not in f"{locked} {locked.headers}"


def test_a_locked_without_a_lock_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Locked(DavPath.parse("/a"), [])


def test_415_of_a_patch_says_what_would_be_understood() -> None:
    """RFC 5789 §2.2."""
    refused = UnsupportedMediaType("no", accept_patch="application/x")
    assert refused.headers == (("Accept-Patch", "application/x"),)
    assert UnsupportedMediaType("no").headers == ()


def test_429_says_when_to_try_again() -> None:
    assert errors.TooManyRequests("Wait.", 7).headers == (("Retry-After", "7"),)
