"""What holds of every request to the API: logins, bodies, queries, origins, errors. And WebDAV never pays for it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiworld import BASE, SETTINGS, User, login
from inprocess import Content, Local, local
from wire import Answer

from davserver.server.http.server import Limits
from davserver.server.limits import seats_of
from davserver.settings import Settings
from davserver.storage.lock_service import LockService


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A server for requests that leave nothing behind."""
    with local(tmp_path_factory.mktemp("shared"), **SETTINGS) as client:
        yield client


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """The problem details of an answer (RFC 9457)."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    said: dict[str, Any] = answer.json
    assert (said["type"], said["status"]) == ("about:blank", status)
    assert said["title"]
    assert said["detail"]
    return said


# --- logins


def test_who_is_not_logged_in_is_asked_to(stranger: User, client: Local) -> None:
    for method, path in ("GET", "/locks"), ("POST", "/checkouts"), ("GET", "/nothing"), ("GET", "/events"):
        answer = stranger(method, path)
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic ")
    wrong = client("GET", f"{BASE}/locks", None, {"Authorization": "Basic YWxpY2U6d3Jvbmc="})
    problem(wrong, 401)


def test_the_document_needs_no_login(stranger: User) -> None:
    answer = stranger("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert set(stranger("OPTIONS", "/locks").headers["allow"].split(", ")) == {"OPTIONS", "GET", "HEAD"}


# --- resources


def test_what_there_is_not(alice: User, client: Local) -> None:
    assert "openapi.json describes" in problem(alice("GET", "/nothing"), 404)["detail"]
    for path in "/-", "/-/", "/-/api", "/-/api/v2/locks", f"{BASE}/locks/", f"{BASE}/Locks", "/%2D/api/v1/x":
        problem(client("GET", path, None, login("alice")), 404)
    for method in "PROPFIND", "LOCK", "MKCOL", "COPY":
        assert client(method, "/-/x", None, login("alice")).status in (404, 405)
    answer = alice("PUT", "/locks")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_its_url_may_be_spelt_in_other_ways(client: Local) -> None:
    for path in "/%2D/api/v1/locks", "//-//api/v1/locks", f"http://dav.example{BASE}/locks", f"{BASE}/%6Cocks":
        assert client("GET", path, None, login("alice")).status == 200
    assert client("GET", f"{BASE}/../v1/locks", None, login("alice")).status == 400


def test_below_a_prefix(tmp_path: Path) -> None:
    with local(tmp_path, **SETTINGS, prefix="/dav") as client:
        alice = User(client, "alice")
        alice.dav("PUT", "/f", b"x")
        made = alice("POST", "/checkouts", {"path": "/dav/f"})
        assert (made.status, made.headers["location"]) == (201, f"/dav{BASE}/checkouts/1")
        assert made.json["path"] == "/dav/f"
        assert alice("GET", "/locks?path=/dav/f").json["locks"][0]["id"] == 1
        assert alice("GET", "/locks?limit=1&path=/dav/").json["locks"]
        problem(alice("GET", "/locks?path=/f"), 404)
        assert alice("GET", "/openapi.json").json["servers"] == [{"url": f"/dav{BASE}"}]
        assert alice.dav("MOVE", "/f", Destination="/dav/-/f").status == 403


# --- bodies


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 415, "Send the body as application/json"),
        (b"{", 400, "The body is not JSON: "),
        (b"\xff\xfe", 400, "The body is not JSON: "),
        (b'{"path": "\\ud800"}', 400, "The body is not JSON: "),
        (b'{"path": "/f"} x', 400, "The body is not JSON: "),
        (b"null", 422, "body"),
        (b"[]", 422, "body"),
        (b"{}", 422, "body.path"),
        (b'{"path": 1}', 422, "body.path"),
        (b'{"path": null}', 422, "body.path"),
        (b'{"path": ""}', 422, "body.path"),
        (b'{"path": "/f", "seconds": "60"}', 422, "body.seconds"),
        (b'{"path": "/f", "seconds": 1.5}', 422, "body.seconds"),
        (b'{"path": "/f", "seconds": true}', 422, "body.seconds"),
        (b'{"path": "/f", "seconds": 0}', 422, "body.seconds"),
        (b'{"path": "/f", "seconds": -1}', 422, "body.seconds"),
        (b'{"path": "/f", "seconds": 1e400}', 422, "body.seconds"),
        (b'{"path": "/f", "seconds": 99999999999999999999999}', 422, "body.seconds"),
        (b'{"path": "/f", "seconds": NaN}', 422, "body.seconds"),
        (b'{"path": "/f", "owner": "me"}', 422, "body.owner"),
        (b'{"path": "/f", "reason": "' + b"x" * 501 + b'"}', 422, "body.reason"),
        (b'{"path": "f"}', 422, "body.path"),
        (b'{"path": "/%2e%2e/etc"}', 400, '".."'),
        (b'{"path": "/\\u0000"}', 400, "NUL"),
        (b'{"path": "/' + b"x" * 300 + b'"}', 414, "too long"),
        (b'{"path": "/' + b"[" * 8191 + b'"}', 414, "too long"),
        (b'{"path": ' + b"[" * 100_000 + b"}", 400, "The body is not JSON: "),
    ],
)
def test_bodies_that_are_none(body: bytes, status: int, said: str, shared: Local) -> None:
    headers = {**login("alice"), **({"Content-Type": "application/json; charset=utf-8"} if body else {})}
    found = problem(shared("POST", f"{BASE}/checkouts", body, headers), status)
    told = found["detail"] if status != 422 else " ".join(error["field"] for error in found["errors"])
    assert said in told


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"])
def test_a_body_is_json_and_says_so(kind: str | None, shared: Local) -> None:
    """A form of HTML can send none that does."""
    headers = login("alice") | ({} if kind is None else {"Content-Type": kind})
    problem(shared("POST", f"{BASE}/checkouts", b'{"path": "/f"}', headers), 415)
    problem(shared("DELETE", f"{BASE}/locks/1", b'{"reason": "x"}', headers), 415)


def test_a_body_has_a_limit(shared: Local) -> None:
    headers = {"Content-Type": "application/json", **login("alice")}
    unread = Content([b"x"] * 3, length=2**20 + 1)
    problem(shared("POST", f"{BASE}/checkouts", unread, {**headers, "Content-Length": str(2**20 + 1)}), 413)
    assert unread.read(1) == b"x"
    endless = Content(b"x" * 65536 for _ in range(1000))
    problem(shared("POST", f"{BASE}/checkouts", endless, headers), 413)
    assert endless.read(1) == b"x"


def test_a_body_that_is_cut_off(shared: Local) -> None:
    headers = {"Content-Type": "application/json", **login("alice")}
    answer = shared("POST", f"{BASE}/checkouts", Content([b'{"path"'], length=99, cut=True), headers)
    problem(answer, 400)
    assert answer.headers["connection"] == "close"


# --- queries


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("limit=0", 422, "query.limit"),
        ("limit=1001", 422, "query.limit"),
        ("limit=x", 422, "query.limit"),
        ("limit=", 422, "query.limit"),
        ("after=-1", 422, "query.after"),
        ("after=9223372036854775808", 422, "query.after"),
        ("kind=read", 422, "query.kind"),
        ("stale=perhaps", 422, "query.stale"),
        ("wait=1", 422, "query"),
        ("path=/f&wait=61", 422, "query.wait"),
        ("path=", 422, "query.path"),
        ("holder=" + "x" * 201, 422, "query.holder"),
        ("unknown=1", 422, "query.unknown"),
        ("limit=1&limit=2", 422, ""),
        ("path=f", 422, "query.path"),
        ("path=/%25zz", 400, "percent"),
        ("path=/%2e%2e/x", 400, '".."'),
        ("path=/%00", 400, "NUL"),
        ("path=/%ff", 400, "must be UTF-8"),
        ("path=/-/x", 403, "keeps what lies below"),
        ("a&" * 200, 400, "too many fields"),
    ],
)
def test_queries_that_are_none(query: str, status: int, said: str, shared: Local) -> None:
    alice = User(shared, "alice")
    found = problem(alice("GET", f"/locks?{query}"), status)
    told = found["detail"] if status != 422 else " ".join(error["field"] for error in found.get("errors", ()))
    assert said in told
    if status == 422 and "wait" not in query and "holder" not in query:
        assert alice("GET", f"/events?{query}").status == 422


def test_a_query_where_none_is_taken(shared: Local) -> None:
    alice = User(shared, "alice")
    problem(alice("GET", "/locks/1?verbose=1"), 422)


# --- browsers


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, True),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://proxy.example"}, True),
        ({"Sec_Fetch_Site": "none"}, True),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "CROSS-SITE, same-origin"}, False),
        ({"Origin": "http://dav.example"}, True),
        ({"Origin": "https://DAV.example"}, True),
        ({"Origin": "http://dav.example:8080"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://dav.example.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://proxy.example", "X_Forwarded_Host": "proxy.example"}, True),
    ],
)
def test_what_writes_does_not_come_from_a_page_of_another_site(
    fields: dict[str, str], allowed: bool, alice: User
) -> None:
    alice.dav("PUT", "/f", b"x")
    answer = alice("POST", "/checkouts", {"path": "/f"}, **fields)
    if allowed:
        assert answer.status == 201
    else:
        assert "another site" in problem(answer, 403)["detail"]
        assert alice("DELETE", "/checkouts/1", **fields).status == 403
        assert alice("PATCH", "/nothing", {}, **fields).status == 403
    assert alice("GET", "/locks", **fields).status == 200


# --- what fails


def test_a_fault_of_ours_is_told_to_the_log_alone(
    alice: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(LockService, "page", fail)
    answer = alice("GET", "/locks")
    assert problem(answer, 500)["detail"] == "The server failed; its log says why."
    assert b"secret" not in answer.body
    assert "the secret of the house" in caplog.text


def test_a_state_that_is_away(alice: User, client: Local) -> None:
    """Nothing is said unchecked: 503, and when to ask again."""
    database = next(Path(client.app._terminal._shares.state._path).parent.glob("state.db"))  # type: ignore[attr-defined]
    database.rename(database.with_suffix(".away"))
    try:
        # A reader looks twenty times a second whether it is in place.
        while alice("GET", "/locks").status != 503:
            pass
        answers = [
            alice("GET", "/locks"),
            alice("POST", "/transactions", {"paths": ["/f"]}),
            alice("GET", "/events"),
        ]
    finally:
        database.with_suffix(".away").rename(database)
    for answer in answers:
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    while alice("GET", "/locks").status != 200:
        pass


def test_the_access_log_names_who_and_how_much(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "davserver.access")
    with local(tmp_path, **SETTINGS) as client:
        length = len(User(client, "alice")("GET", "/locks?path=/secret").body)
        User(client, None)("GET", "/locks")
    lines = [record.getMessage() for record in caplog.records if record.name == "davserver.access"]
    assert lines[0].startswith(f'127.0.0.1 alice "GET {BASE}/locks" 200 {length} ')
    assert lines[1].startswith(f'127.0.0.1 - "GET {BASE}/locks" 401 ')


# --- what it costs


def test_seats_are_a_part_of_the_threads() -> None:
    for threads, waiting, seats in (
        (1000, "auto", 250), (10_000, "auto", 250), (100, "auto", 25), (4, "auto", 1), (4, 9, 2), (1000, 500, 500),
    ):  # fmt: skip
        settings = Settings.model_validate({"limits": {"waiting": waiting}})
        assert seats_of(settings, Limits(threads=threads)) == seats


_WEBDAV_ALONE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from inprocess import local
BESIDE = ("flask", "werkzeug", "click", "prometheus_client")
with local(Path({folder!r})) as dav:
    assert dav("PUT", "/f", b"x").status == 201
    assert dav("GET", "/f").status == dav("OPTIONS", "/").status == dav.lock("/f").status == 200
    assert dav.propfind("/", depth="1").status == 207
    assert dav("PUT", "/f", b"x").status == 423
    assert dav("DELETE", "/nothing").status == 404
    loaded = {{name for name in sys.modules if name.partition(".")[0] in BESIDE}}
    loaded |= {{name for name in sys.modules if name.startswith("davserver.web.")}}
    assert not loaded, loaded
    assert dav("GET", "/-/api/v1/locks").status == dav("GET", "/-/metrics").status == 200
    assert {{"flask", "prometheus_client"}} <= sys.modules.keys()
print("fine")
"""


@pytest.mark.slow
def test_a_webdav_request_never_meets_it(tmp_path: Path) -> None:
    program = _WEBDAV_ALONE.format(tests=str(Path(__file__).parent.parent), folder=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (run.stdout, run.returncode) == ("fine\n", 0), run.stderr
