"""The page of app passwords: what it shows, what its forms do, and whose forms count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from apiworld import SETTINGS, User, login
from inprocess import Local, local
from lxml import html
from wire import Answer

from davserver.web.form_token import OPEN_SECONDS

PAGE = "/-/app-passwords"
NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(tmp_path: Path, clock: Clock) -> Iterator[Local]:
    with local(
        tmp_path,
        clock=clock,
        **SETTINGS,
        cors={"allowed_origins": ["https://app.example"], "allow_credentials": True},
    ) as client:
        yield client


def shown(user: User, path: str = PAGE) -> html.HtmlElement:
    answer = user.dav("GET", path, Accept="text/html")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return html.document_fromstring(answer.body)


def token(user: User) -> str:
    found: str = shown(user).xpath("string(//input[@name='token']/@value)")
    return found


def send(user: User, fields: dict[str, Any], **headers: str) -> Answer:
    """As a browser sends the form of the page, unless `headers` say otherwise."""
    values = {
        "Content_Type": "application/x-www-form-urlencoded",
        "Origin": "http://dav.example",
        "Sec_Fetch_Site": "same-origin",
        "Accept": "text/html",
        **headers,
    }
    return user.dav("POST", PAGE, urlencode(fields).encode(), **{k: v for k, v in values.items() if v})


def names(user: User) -> list[str]:
    return [each["name"] for each in user("GET", "/app-passwords").json["app_passwords"]]


def test_one_is_made_used_and_revoked(alice: User, client: Local, clock: Clock) -> None:
    assert "none yet" in shown(alice).text_content()
    answer = send(alice, {"token": token(alice), "name": "phone", "path": "/", "days": "30", "read_only": "yes"})
    assert answer.status == 200
    (secret,) = re.findall(r"<code>(davp-[a-z0-9-]+)</code>", answer.body.decode())
    phone = User(client, "alice", secret)
    assert phone.dav("PROPFIND", "/", Depth="0").status == 207
    assert phone.dav("PUT", "/f", b"x").status == 403
    page = shown(alice)
    cells = [cell.text_content() for cell in page.xpath("//tbody/tr/td")]
    assert cells == [
        "phone", "everything, reading only", "2027-02-14 08:00 UTC", "2027-01-15 08:00, from 127.0.0.1", "Revoke",
    ]  # fmt: skip
    assert secret not in html.tostring(page).decode()
    (button,) = page.xpath("//button[@name='revoke']")
    assert button.get("aria-label") == "Revoke phone"
    clock.now += 40 * 86400
    assert "ended 2027-02-14" in shown(alice).text_content()
    answer = send(alice, {"token": token(alice), "revoke": button.get("value")})
    assert (answer.status, answer.headers["location"]) == (303, PAGE)
    assert names(alice) == []


def test_forms_say_what_they_send(alice: User) -> None:
    """A browser fills in a form: what it sends is what the page says."""
    send(alice, {"token": token(alice), "name": "phone"})
    page = shown(alice)
    revoke, make = page.forms
    assert {(form.action, form.method) for form in page.forms} == {(PAGE, "POST")}
    assert dict(make.fields)["path"] == "/"
    assert make.inputs["days"].value_options == ["", "1", "30", "90", "365"]
    make.inputs["name"].value = "tablet"
    answer = send(alice, dict(make.form_values()))
    assert answer.status == 200
    assert names(alice) == ["phone", "tablet"]
    assert dict(revoke.fields).keys() == {"token"}


def test_nothing_is_fetched_and_nothing_runs(alice: User) -> None:
    page = shown(alice)
    assert not page.xpath("//script | //link | //img | //iframe | //@src | //@onclick")
    headers = alice.dav("GET", PAGE).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "style-src": "'unsafe-inline'", "form-action": "'self'", "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }  # fmt: skip
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


EVIL = "\"><script>alert('x')</script>&amp;"


def test_names_are_text(tmp_path: Path) -> None:
    users = {"ev<b>il": {**SETTINGS["users"]["alice"], "display_name": EVIL}}
    with local(tmp_path, **{**SETTINGS, "users": users}) as client:
        user = User(client, "ev<b>il", "alice")
        path = f"/{EVIL}".replace("</", "<").replace("&amp;", "")
        for fields in (
            {"name": EVIL, "path": path},
            {"name": EVIL, "path": f"{path}/../x"},
            {"name": EVIL, "days": EVIL},
        ):
            answer = send(user, {"token": token(user), **fields})
            assert answer.status in (200, 400)
            page = html.document_fromstring(answer.body)
            assert not page.xpath("//script | //b")
            assert EVIL in [*page.xpath("//td/text()"), *page.xpath("//input[@name='name']/@value")]
        row = shown(user).xpath("//tbody/tr")[0]
        assert row.xpath("string(td[1])") == EVIL
        assert row.xpath("string(td[2])") == path
        assert row.xpath("string(.//button/@aria-label)") == f"Revoke {EVIL}"
        assert EVIL in shown(user).text_content()


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 400, "Name the device"),
        ({"name": " "}, 400, "Name the device"),
        ({"name": "x" * 101}, 400, "Name the device"),
        ({"name": "a\nb"}, 400, "Name the device"),
        ({"name": "x", "path": "photos"}, 400, "path: /photos"),
        ({"name": "x", "path": "/a%"}, 400, "percent"),
        ({"name": "x", "path": "/a/../b"}, 400, "segment"),
        ({"name": "x", "days": "2"}, 400, "what the page offers"),
        ({"name": "x", "days": "-1"}, 400, "what the page offers"),
        ({"revoke": "1"}, 404, "gone already"),
        ({"revoke": "x"}, 404, "no such"),
        ({"revoke": "9" * 40}, 404, "no such"),
        ({"revoke": "²"}, 404, "no such"),
    ],
)
def test_what_is_wrong_is_said_on_the_page(fields: dict[str, str], status: int, said: str, alice: User) -> None:
    answer = send(alice, {"token": token(alice), **fields})
    assert answer.status == status
    page = html.document_fromstring(answer.body)
    assert said in page.xpath("string(//*[@role='alert'])")
    assert page.xpath("string(//input[@name='name']/@value)") == unescape(fields.get("name", ""))
    assert names(alice) == []


def test_what_is_no_form(alice: User) -> None:
    for body, headers, status in (
        (b"{}", {"Content_Type": "application/json"}, 415),
        (b"x" * 40_000, {}, 413),
        (b"a=%ff", {}, 400),
        (b"\xff=1", {}, 400),
        (b"&".join(b"a%d=1" % n for n in range(30)), {}, 400),
        (b"", {}, 403),
    ):
        values = {"Content_Type": "application/x-www-form-urlencoded", "Accept": "text/html", **headers}
        answer = alice.dav("POST", PAGE, body, **values)
        assert (answer.status, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    answer = alice.dav("PUT", PAGE, b"x", Accept="text/html")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_with_a_slash_it_is_the_same_page(alice: User) -> None:
    assert shown(alice, PAGE + "/").forms[0].action == PAGE
    assert alice.dav("PUT", PAGE + "/", b"x", Accept="text/html").headers["content-type"] == "text/html; charset=utf-8"


# --- whose forms count


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "same-site", "Origin": "http://other.example"},
        {"Sec_Fetch_Site": "", "Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "", "Origin": "null"},
        # Pages that may use the API make no passwords here.
        {"Sec_Fetch_Site": "cross-site", "Origin": "https://app.example"},
        {"Sec_Fetch_Site": "", "Origin": "https://app.example"},
    ],
)
def test_a_form_of_another_site_does_not_count_whatever_is_in_it(headers: dict[str, str], alice: User) -> None:
    made = alice("POST", "/app-passwords", {"name": "phone"}).json
    for fields in {"name": "evil"}, {"revoke": made["id"]}:
        assert send(alice, {"token": token(alice), **fields}, **headers).status == 403
    assert names(alice) == ["phone"]


def test_a_form_without_a_token_of_this_user_does_not_count(alice: User, carol: User, clock: Clock) -> None:
    made = alice("POST", "/app-passwords", {"name": "phone"}).json
    mine, hers = token(alice), token(carol)
    for wrong in {}, {"token": ""}, {"token": hers}, {"token": mine[:-1]}, {"token": "0" + mine}:
        for fields in {"name": "evil", "path": "/x"}, {"revoke": made["id"]}:
            # Older browsers and programs say nothing of where they come from.
            answer = send(alice, {**wrong, **fields}, Origin="", Sec_Fetch_Site="")
            assert answer.status == 403
    assert names(alice) == ["phone"]
    clock.now += OPEN_SECONDS
    answer = send(alice, {"token": mine, "name": "late", "path": "/x", "read_only": "yes", "days": "90"})
    assert (answer.status, names(alice)) == (403, ["phone"])
    # What was filled in is still there, to be sent once more.
    form = html.document_fromstring(answer.body).forms[-1]
    assert send(alice, dict(form.form_values())).status == 200
    again = alice("GET", "/app-passwords").json["app_passwords"][1]
    assert (again["name"], again["path"], again["read_only"]) == ("late", "/x", True)


def test_nobody_revokes_on_it_what_is_anothers(tmp_path: Path) -> None:
    with local(tmp_path, **SETTINGS, administrators=["bob"]) as client:
        alice, bob = User(client, "alice"), User(client, "bob")
        made = alice("POST", "/app-passwords", {"name": "phone"}).json
        assert send(bob, {"token": token(bob), "revoke": made["id"]}).status == 404
        assert names(alice) == ["phone"]


# --- who it is for


def test_who_is_not_logged_in_is_asked_to(client: Local, tmp_path: Path) -> None:
    answer = client("GET", PAGE, Accept="text/html")
    assert (answer.status, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    (tmp_path / "open").mkdir()
    with local(tmp_path / "open", **{**SETTINGS, "anonymous": "rw"}) as everybodys:
        assert everybodys("GET", PAGE).status == 401
        assert send(User(everybodys, None), {"name": "x"}).status == 401


@pytest.mark.parametrize("narrowed", [{}, {"read_only": True}, {"path": "/docs"}])
def test_an_app_password_opens_it_not(narrowed: dict[str, Any], alice: User, client: Local) -> None:
    made = alice("POST", "/app-passwords", {"name": "phone", **narrowed}).json
    phone = User(client, "alice", made["password"])
    assert phone.dav("GET", PAGE).status == 403
    for fields in {"name": "another"}, {"revoke": made["id"]}:
        assert send(phone, {"token": token(alice), **fields}).status == 403
    assert names(alice) == ["phone"]


def test_where_they_are_off_there_is_no_page(tmp_path: Path) -> None:
    with local(tmp_path, **SETTINGS, auth={"app_passwords": False}) as client:
        assert client("GET", PAGE, None, login("alice"), Accept="text/html").status == 404


def test_where_nobody_could_use_one_there_is_no_page(tmp_path: Path) -> None:
    """Programs send them over Basic."""
    auth = {"basic": False, "digest": True, "proxy_user_header": "Remote-User"}
    with local(tmp_path, **SETTINGS, auth=auth, trusted_proxies=["127.0.0.1"]) as client:
        environ: dict[str, Any] = {"davserver.proxied": True}
        app = client.app
        client.app = lambda given, start: app(given | environ, start)
        assert client("PROPFIND", "/", Depth="0", Remote_User="alice").status == 207
        assert client("GET", PAGE, Remote_User="alice", Accept="text/html").status == 404
        assert client("POST", "/-/api/v1/app-passwords", b'{"name":"x"}', Remote_User="alice",
                      Content_Type="application/json").status == 404  # fmt: skip


def test_below_a_prefix(tmp_path: Path) -> None:
    with local(tmp_path, **SETTINGS, prefix="/dav") as client:
        alice = User(client, "alice")
        page = shown(alice)
        (form,) = page.forms
        assert form.action == f"/dav{PAGE}"
        assert form.inputs["path"].value == "/dav/"
        form.inputs["name"].value = "phone"
        assert send(alice, dict(form.form_values())).status == 200
        assert "everything" in shown(alice).text_content()
        answer = send(alice, {"token": token(alice), "revoke": "1"})
        assert answer.headers["location"] == f"/dav{PAGE}"


def test_a_maintenance_does_not_keep_a_stolen_device_in(alice: User, bob: User) -> None:
    made = alice("POST", "/app-passwords", {"name": "phone"}).json
    assert bob("POST", "/maintenance", {"reason": "backup"}).status == 201
    assert send(alice, {"token": token(alice), "revoke": made["id"]}).status == 303
