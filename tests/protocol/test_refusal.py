"""One refusal, one answer, in the form that the client likes best."""

from __future__ import annotations

import json

import pytest
from lxml import etree

from davserver.protocol import errors
from davserver.protocol.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InternalError,
    LockConflict,
    Locked,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    Refused,
    Unauthorized,
    Unavailable,
)
from davserver.protocol.holder import OPERATOR, Viewer
from davserver.protocol.locks import ANYBODY, Depth, Kind, Lock, Principal, Scope
from davserver.protocol.messages import Response
from davserver.protocol.paths import DavPath
from davserver.protocol.refusal import render

NOW = 1_000_000.0
PATH = DavPath(("docs", "a & b.txt"))
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
JANE = Principal("jane", "Jane")


def lock(expires: float | None = NOW + 60) -> Lock:
    return Lock("urn:uuid:s", PATH, Depth.ZERO, Scope.EXCLUSIVE, Kind.WRITE, JANE, None, NOW, NOW, expires)


def answer(
    refused: Refused,
    accept: str | None = None,
    content_type: str | None = None,
    viewer: Viewer = OPERATOR,
    **more: object,
) -> tuple[Response, dict[str, str]]:
    response = render(
        refused,
        accept=accept,
        content_type=content_type,
        now=NOW,
        prefix="/dav",
        viewer=viewer,
        **more,  # type: ignore[arg-type]
    )
    return response, dict(response.headers)


@pytest.mark.parametrize(
    ("accept", "content_type", "kind"),
    [
        (None, None, "application/xml; charset=utf-8"),
        (None, "text/xml", "application/xml; charset=utf-8"),
        (None, "application/json", "application/json"),
        (None, 'Application/JSON; charset="utf-8"', "application/json"),
        ("*/*", "application/json", "application/xml; charset=utf-8"),
        ("application/json", None, "application/json"),
        ("application/json;q=0.5, application/xml;q=0.4", None, "application/json"),
        ("application/json;q=0.4, application/xml;q=0.5", None, "application/xml; charset=utf-8"),
        ("text/xml, application/json;q=0.9", None, "application/xml; charset=utf-8"),
        ("application/json, */*", None, "application/xml; charset=utf-8"),
        (BROWSER, None, "text/html; charset=utf-8"),
        ("image/png", None, "application/xml; charset=utf-8"),
        ("", "application/json", "application/xml; charset=utf-8"),
    ],
)
def test_the_form_follows_accept(accept: str | None, content_type: str | None, kind: str) -> None:
    response, headers = answer(Locked(PATH, [lock()]), accept, content_type)
    assert response.status == 423
    assert headers["Content-Type"] == kind
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Retry-After"] == "60"
    assert ("Content-Security-Policy" in headers) == kind.startswith("text/html")
    assert isinstance(response.body, bytes)
    if "json" in kind:
        assert json.loads(response.body)["locked_by"] == "Jane"
    elif "xml" in kind:
        assert etree.fromstring(response.body).findtext(".//{DAV:}owner") == "Jane"
    else:
        assert b"Jane" in response.body


def test_there_is_no_time_to_retry_when_no_lock_ends() -> None:
    _, headers = answer(LockConflict(PATH, [lock(None)]))
    assert "Retry-After" not in headers


def test_a_stranger_is_not_told_who_it_is() -> None:
    for accept in ("application/xml", "application/json", "text/html"):
        response, _ = answer(Locked(PATH, [lock()]), accept, viewer=Viewer(ANYBODY))
        assert isinstance(response.body, bytes)
        assert b"Jane" not in response.body
        assert b"another user" in response.body


def test_a_precondition_of_the_rfc_is_xml() -> None:
    """RFC 4918 §16: the element is empty but for those that name resources."""
    for element in ("propfind-finite-depth", "lock-token-matches-request-uri"):
        response, headers = answer(PreconditionFailed("No.", element=element, paths=[PATH]))
        assert headers["Content-Type"] == "application/xml; charset=utf-8"
        assert response.body == (
            f'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:"><D:{element}/></D:error>'.encode()
        )
    response, _ = answer(Conflict("No.", element="no-conflicting-lock", paths=[PATH]))
    assert b"<D:no-conflicting-lock><D:href>/dav/docs/a%20%26%20b.txt</D:href></D:no-conflicting-lock>" in bytes(
        response.body  # type: ignore[arg-type]
    )


def test_what_has_no_element_is_a_sentence() -> None:
    response, headers = answer(NotFound("There is nothing at this path."))
    assert (response.status, response.body) == (404, b"There is nothing at this path.\n")
    assert headers == {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


@pytest.mark.parametrize(
    ("refused", "path", "told"),
    [
        (NotFound("Nothing."), None, {"error": "Not Found", "message": "Nothing."}),
        (NotFound("Nothing."), DavPath(("x y",)), {"error": "Not Found", "message": "Nothing.", "path": "/dav/x%20y"}),
        (Conflict("No.", paths=[PATH]), DavPath(("x",)),
         {"error": "Conflict", "message": "No.", "path": "/dav/docs/a%20%26%20b.txt"}),
        (PreconditionFailed("No.", element="x"), None, {"error": "Precondition Failed", "message": "No."}),
    ],
)  # fmt: skip
def test_the_json_of_any_refusal(refused: Refused, path: DavPath | None, told: dict[str, str]) -> None:
    response, headers = answer(refused, "application/json", path=path)
    assert headers["Content-Type"] == "application/json"
    assert isinstance(response.body, bytes)
    assert list(json.loads(response.body).items()) == list(told.items())


def test_the_page_of_any_refusal() -> None:
    response, headers = answer(Forbidden("<script>'&"), BROWSER)
    assert isinstance(response.body, bytes)
    assert b"<h1>Forbidden</h1><p>&lt;script&gt;&#x27;&amp;</p>" in response.body
    assert headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize("accept", [None, "application/json", BROWSER])
@pytest.mark.parametrize(
    ("refused", "field"),
    [
        (Unauthorized("Log in.", ["Basic realm=x", "Digest realm=x"]), ("WWW-Authenticate", "Basic realm=x")),
        (MethodNotAllowed("No.", ["GET", "HEAD"]), ("Allow", "GET, HEAD")),
        (RangeNotSatisfiable("No.", 10), ("Content-Range", "bytes */10")),
        (Unavailable("No.", 7), ("Retry-After", "7")),
    ],
)
def test_a_refusal_keeps_its_own_fields(refused: Refused, field: tuple[str, str], accept: str | None) -> None:
    response, _ = answer(refused, accept)
    assert field in response.headers
    if isinstance(refused, Unauthorized):
        assert [name for name, _ in response.headers].count("WWW-Authenticate") == 2


def test_a_message_that_no_encoding_can_carry() -> None:
    for accept in (None, "application/json", BROWSER):
        response, _ = answer(BadRequest("a\ud800b"), accept)
        assert isinstance(response.body, bytes)
        response.body.decode()


def every(kind: type[Refused]) -> list[type[Refused]]:
    return [kind, *(each for child in kind.__subclasses__() for each in every(child))]


@pytest.mark.parametrize("accept", [None, "application/json", BROWSER])
def test_every_refusal_there_is_has_a_phrase(accept: str | None) -> None:
    for kind in every(Refused)[1:]:
        if kind.__init__ is Refused.__init__:
            response, _ = answer(kind("Why."), accept)
            assert response.status == kind.status
            assert isinstance(response.body, bytes)
            assert b"Why." in response.body
    assert InternalError in every(Refused)
    assert len(every(Refused)) > 15
    assert errors.Refused is Refused
