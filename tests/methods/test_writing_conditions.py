"""Conditions of methods that change something (RFC 9110 §13, RFC 4918 §10.4): every method, mapped and unmapped."""

from __future__ import annotations

import pytest
from inprocess import Local

OLD, FUTURE = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
COLOUR = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><c xmlns="urn:x">red</c></D:prop></D:set></D:propertyupdate>'

# (fields, does the condition hold on a file that is there, does it hold where nothing is)
CONDITIONS = [
    ({"If-Match": "{tag}"}, True, False),
    ({"If-Match": "*"}, True, False),
    ({"If-Match": '"x"'}, False, False),
    ({"If-Match": "W/{tag}"}, False, False),
    ({"If-Match": '"x", {tag}'}, True, False),
    ({"If-None-Match": "{tag}"}, False, True),
    ({"If-None-Match": "W/{tag}"}, False, True),
    ({"If-None-Match": "*"}, False, True),
    ({"If-None-Match": '"x"'}, True, True),
    ({"If-None-Match": "JoplinIgnore-7"}, True, True),
    ({"If-Unmodified-Since": OLD}, False, True),
    ({"If-Unmodified-Since": FUTURE}, True, True),
    ({"If-Unmodified-Since": "junk"}, True, True),
    # RFC 9110 §13.1.3: for GET and HEAD alone.
    ({"If-Modified-Since": FUTURE}, True, True),
    ({"If-Match": "{tag}", "If-Unmodified-Since": OLD}, True, False),
    ({"If-Match": '"x"', "If-Unmodified-Since": FUTURE}, False, False),
    ({"If-Match": "{tag}", "If-None-Match": "*"}, False, False),
    ({"If": "([{tag}])"}, True, False),
    ({"If": '(["x"])'}, False, False),
    ({"If": "(Not [{tag}])"}, False, True),
    ({"If": "(<DAV:no-lock>)"}, False, False),
    ({"If": "(Not <DAV:no-lock>)"}, True, True),
    ({"If": '(["x"]) (Not <DAV:no-lock>)'}, True, True),
    ({"If": "<{url}> ([{tag}])"}, True, False),
    ({"If": '<{url}> (["x"])'}, False, False),
    ({"If": "<https://proxy.example{path}> ([{tag}])"}, True, False),
    ({"If": "(<urn:uuid:00000000-0000-0000-0000-000000000000>)"}, False, False),
    ({"If": "(Not <urn:uuid:00000000-0000-0000-0000-000000000000>)"}, True, True),
    ({"If": "(Not <DAV:no-lock>)", "If-Match": "{tag}"}, True, False),
    ({"If": "(Not <DAV:no-lock>)", "If-None-Match": "*"}, False, True),
]
MAPPED = {"PUT": 204, "PROPPATCH": 207, "DELETE": 204, "COPY": 201, "MOVE": 201, "LOCK": 200, "PATCH": 204}
UNMAPPED = {"PUT": 201, "MKCOL": 201, "LOCK": 201}


def perform(app: Local, method: str, path: str, fields: dict[str, str]) -> int:
    match method:
        case "PROPPATCH":
            return app(method, path, COLOUR, fields).status
        case "COPY" | "MOVE":
            return app(method, path, headers={**fields, "Destination": app.url(path + "-target")}).status
        case "LOCK":
            return app.lock(path, headers=fields).status  # type: ignore[arg-type]
        case "PATCH":
            kind = "application/x-sabredav-partialupdate"
            return app(method, path, b"x", {**fields, "Content-Type": kind, "X-Update-Range": "append"}).status
        case "PUT":
            return app(method, path, b"new", fields).status
    return app(method, path, headers=fields).status


@pytest.mark.parametrize("method", MAPPED)
@pytest.mark.parametrize(("fields", "holds", "_"), CONDITIONS)
def test_on_a_file(fields: dict[str, str], holds: bool, _: bool, method: str, app: Local, box: str) -> None:
    path = f"{box}/f"
    tag = app("PUT", path, b"content").headers["etag"]
    known = {"tag": tag, "url": app.url(path), "path": path}
    fields = {name: value.format(**known) for name, value in fields.items()}
    assert perform(app, method, path, fields) == (MAPPED[method] if holds else 412)
    if not holds:
        answer = app("GET", path)
        assert (answer.body, answer.headers["etag"]) == (b"content", tag)
        assert "red" not in app.propfind(path, "c", namespace="urn:x").body.decode()
        assert app("GET", path + "-target").status == 404
        assert not app.propfind(path, "lockdiscovery").find("//D:activelock")


@pytest.mark.parametrize("method", UNMAPPED)
@pytest.mark.parametrize(("fields", "_", "holds"), CONDITIONS)
def test_where_nothing_is(fields: dict[str, str], _: bool, holds: bool, method: str, app: Local, box: str) -> None:
    path = f"{box}/f"
    known = {"tag": '"1-2-3"', "url": app.url(path), "path": path}
    fields = {name: value.format(**known) for name, value in fields.items()}
    assert perform(app, method, path, fields) == (UNMAPPED[method] if holds else 412)
    assert app("GET", path).status == (200 if holds else 404)


@pytest.mark.parametrize("method", ["PATCH", "PROPPATCH", "DELETE", "COPY", "MOVE"])
@pytest.mark.parametrize("fields", [{}, {"If-Match": "*"}, {"If-None-Match": "*"}, {"If": "(Not <DAV:no-lock>)"}])
def test_what_is_missing_is_404_first(fields: dict[str, str], method: str, app: Local, box: str) -> None:
    """RFC 9110 §13.2.1."""
    assert perform(app, method, f"{box}/missing", fields) == 404


@pytest.mark.parametrize("method", ["PUT", "MKCOL", "DELETE", "PROPPATCH", "LOCK", "COPY"])
@pytest.mark.parametrize("value", ["junk", "()", "(", "(Not)", '(["x")', "<x>", "(<urn:x>) <http://h/> (<urn:x>)"])
def test_an_if_that_is_none_is_400(value: str, method: str, app: Local, box: str) -> None:
    """RFC 4918 §10.4.2."""
    if method != "MKCOL":
        app("PUT", f"{box}/f", b"content")
    assert perform(app, method, f"{box}/f", {"If": value}) == 400


def test_the_untagged_list_is_about_the_source(app: Local, box: str) -> None:
    """RFC 4918 §10.4.2; the destination has conditions of its own by a tag."""
    source, target = (app("PUT", f"{box}/{name}", name.encode()).headers["etag"] for name in ("a", "b"))
    where = {"Destination": app.url(f"{box}/b")}
    assert app("COPY", f"{box}/a", headers={**where, "If": f"([{target}])"}).status == 412
    tagged = f"<{box}/b> ([{source}]) <{box}/a> ([{target}])"
    assert app("COPY", f"{box}/a", headers={**where, "If": tagged}).status == 412
    tagged = f"<{app.url(f'{box}/b')}> ([{target}])"
    assert app("COPY", f"{box}/a", headers={**where, "If": tagged}).status == 204


def test_conditions_are_judged_again_when_the_body_has_come(app: Local, box: str) -> None:
    tag = app("PUT", f"{box}/f", b"content").headers["etag"]

    def meanwhile() -> object:
        yield b"mine"
        app("PUT", f"{box}/f", b"theirs")

    assert app("PUT", f"{box}/f", meanwhile(), If_Match=tag).status == 412  # type: ignore[arg-type]
    assert app("GET", f"{box}/f").body == b"theirs"


def test_if_comes_before_locks_and_locks_before_the_rest(app: Local, box: str) -> None:
    """RFC 4918 §10.4.1, RFC 9110 §13.2.1."""
    app("PUT", f"{box}/f", b"content")
    token = app.lock(f"{box}/f").token
    stale = "(<urn:uuid:00000000-0000-0000-0000-000000000000>)"
    for method in ("PUT", "DELETE", "PROPPATCH", "MOVE"):
        assert perform(app, method, f"{box}/f", {"If": stale}) == 412
        assert perform(app, method, f"{box}/f", {"If-Match": '"x"'}) == 423
        assert perform(app, method, f"{box}/f", {"If-Match": '"x"', "If": f"(<{token}>)"}) == 412
