"""Principals: what clients find where current-user-principal leads, and who may know of whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiworld import login
from inprocess import Local, local
from serving import QUICK, serving
from webdav_schema import assert_valid
from wire import Answer

ALL = (
    "displayname", "resourcetype", "principal-URL", "alternate-URI-set", "group-membership", "group-member-set",
    "current-user-principal", "current-user-privilege-set", "principal-collection-set",
)  # fmt: skip
SETTINGS: dict[str, Any] = {
    "users": {
        "alice": {"password": QUICK.hash("alice"), "display_name": "Alice <Smith>", "groups": ["editors"]},
        "bob": {"password": QUICK.hash("bob"), "groups": ["staff"]},
        "é&b": {"password": QUICK.hash("é&b")},
    },
    "groups": {"editors": ["bob"], "nobodys": []},
    "anonymous": "none",
    "administrators": ["bob"],
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path, **SETTINGS) as client:
        yield client


def asked(client: Local, who: str | None, path: str, *names: str, depth: str = "0", **fields: str) -> Answer:
    headers = login(who) if who else {}
    answer = client.propfind(path, *names, depth=depth, **headers, **fields)
    if answer.status == 207:
        assert_valid(answer.body)
    return answer


def test_where_current_user_principal_leads(client: Local) -> None:
    for who, there in ("alice", "/-/principals/alice/"), ("é&b", "/-/principals/%C3%A9%26b/"):
        found = asked(client, who, "/", "current-user-principal").texts("//D:current-user-principal/D:href")
        assert found == [there]
        itself = asked(client, who, there, *ALL)
        assert itself.status == 207
        assert itself.hrefs() == [there]
        assert itself.texts("//D:status") == ["HTTP/1.1 200 OK"]
        for name in "principal-URL", "current-user-principal":
            assert itself.texts(f"//D:{name}/D:href") == [there]
    assert asked(client, "alice", "/-/principals/alice", "displayname").status == 207  # without its slash


def test_what_is_told_of_somebody(client: Local) -> None:
    """RFC 3744 §4."""
    found = asked(client, "alice", "/-/principals/alice/", *ALL)
    assert found.texts("//D:displayname") == ["Alice <Smith>"]
    assert [each.tag for each in found.find("//D:resourcetype/*")] == ["{DAV:}collection", "{DAV:}principal"]
    assert found.texts("//D:group-membership/D:href") == ["/-/principals/@editors/"]
    assert found.find("//D:alternate-URI-set[not(node())]")
    assert found.find("//D:group-member-set[not(node())]")
    assert found.texts("//D:principal-collection-set/D:href") == ["/-/principals/"]
    assert [each.tag for each in found.find("//D:privilege/*")] == [
        "{DAV:}read", "{DAV:}read-current-user-privilege-set",
    ]  # fmt: skip
    assert asked(client, "é&b", "/-/principals/%C3%A9%26b/", "displayname").texts("//D:displayname") == ["é&b"]


def test_forms_of_propfind(client: Local) -> None:
    there = "/-/principals/alice/"
    every = asked(client, "alice", there)
    assert {each.tag for each in every.find("//D:prop/*")} == {"{DAV:}displayname", "{DAV:}resourcetype"}
    include = b'<propfind xmlns="DAV:"><allprop/><include><principal-URL/><x xmlns="urn:x"/></include></propfind>'
    more = client("PROPFIND", there, include, login("alice"), Depth="0")
    assert more.texts("//D:principal-URL/D:href") == [there]
    assert [each.tag for each in more.find("//D:propstat[contains(D:status, '404')]/D:prop/*")] == ["{urn:x}x"]
    names = client("PROPFIND", there, b'<propfind xmlns="DAV:"><propname/></propfind>', login("alice"), Depth="0")
    assert {str(each.tag).removeprefix("{DAV:}") for each in names.find("//D:prop/*")} == set(ALL)
    unknown = asked(client, "alice", there, "displayname", "calendar-home-set")
    assert unknown.texts("//D:status") == ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"]
    minimal = asked(client, "alice", there, "displayname", "calendar-home-set", Prefer="return=minimal")
    assert minimal.texts("//D:status") == ["HTTP/1.1 200 OK"]
    assert minimal.headers["preference-applied"] == "return=minimal"
    for depth in "0", "1", "infinity":
        assert asked(client, "alice", there, "displayname", depth=depth).hrefs() == [there]
    assert asked(client, "alice", there, "displayname", depth="2").status == 400
    bad = client("PROPFIND", there, b"<propfind", login("alice"), Depth="0")
    assert bad.status == 400
    large = client("PROPFIND", there, b"<" + b"x" * 70_000, login("alice"), Depth="0")
    assert large.status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/-/principals/bob/",
        "/-/principals/nobody/",
        "/-/principals/Alice/",
        "/-/principals/@staff/",
        "/-/principals/@nobodys/",
        "/-/principals/@none/",
        "/-/principals/@/",
        "/-/principals/alice/x",
    ],
)
@pytest.mark.parametrize("method", ["PROPFIND", "GET", "HEAD"])
def test_others_are_not_there(method: str, path: str, client: Local) -> None:
    """They look the same as what is really not there, so that nobody finds out names."""
    answer = client(method, path, None, login("alice"), Depth="0")
    missing = client(method, "/-/principals/xyzzy/", None, login("alice"), Depth="0")
    assert (answer.status, answer.raw_headers, answer.body) == (404, missing.raw_headers, missing.body)


def test_groups_are_seen_by_who_is_in_them(client: Local) -> None:
    found = asked(client, "alice", "/-/principals/@editors/", *ALL)
    assert found.texts("//D:displayname") == ["editors"]
    assert found.texts("//D:principal-URL/D:href") == ["/-/principals/@editors/"]
    # Who else is in it is an administrator's to know.
    assert [each.tag for each in found.find("//D:propstat[contains(D:status, '404')]/D:prop/*")] == [
        "{DAV:}group-member-set"
    ]
    told = asked(client, "bob", "/-/principals/@editors/", "group-member-set")
    assert told.texts("//D:group-member-set/D:href") == ["/-/principals/alice/", "/-/principals/bob/"]
    assert asked(client, "bob", "/-/principals/@nobodys/", "group-member-set").status == 207


def test_administrators_know_everybody(client: Local) -> None:
    found = asked(client, "bob", "/-/principals/alice/", *ALL)
    assert found.texts("//D:principal-URL/D:href") == ["/-/principals/alice/"]
    assert found.texts("//D:current-user-principal/D:href") == ["/-/principals/bob/"]
    assert asked(client, "bob", "/-/principals/nobody/", "displayname").status == 404
    for path in "/-/principals/@none/", "/-/principals/@/":
        assert asked(client, "bob", path, "displayname").status == 404
    secret = client(
        "POST", "/-/api/v1/app-passwords", b'{"name": "x", "read_only": true}',
        {**login("bob"), "Content-Type": "application/json"},
    ).json["password"]  # fmt: skip
    narrow = login("bob", secret)
    assert client.propfind("/-/principals/bob/", "displayname", **narrow).status == 207
    assert client.propfind("/-/principals/alice/", "displayname", **narrow).status == 404


def test_the_collection_lists_who_may_be_known(client: Local) -> None:
    top = "/-/principals/"
    for who, members in (
        ("alice", [f"{top}@editors/", f"{top}alice/"]),
        ("é&b", [f"{top}%C3%A9%26b/"]),
        (
            "bob",
            [f"{top}%C3%A9%26b/", *(f"{top}{name}/" for name in ("@editors", "@nobodys", "@staff", "alice", "bob"))],
        ),
    ):
        assert asked(client, who, top, "resourcetype", depth="1").hrefs() == [top, *members]
    itself = asked(client, "alice", top, "resourcetype", "principal-URL")
    assert [each.tag for each in itself.find("//D:resourcetype/*")] == ["{DAV:}collection"]
    assert asked(client, "alice", top, "resourcetype", depth="infinity").hrefs()[1:] == [
        f"{top}@editors/",
        f"{top}alice/",
    ]
    noroot = asked(client, "é&b", top, "resourcetype", depth="1", Prefer="depth-noroot")
    assert noroot.hrefs() == [f"{top}%C3%A9%26b/"]


def test_who_is_not_logged_in_is_asked_to(client: Local, tmp_path: Path) -> None:
    for path in "/-/principals/", "/-/principals/alice/", "/-/principals/nobody/":
        for method in "PROPFIND", "GET":
            answer = client(method, path, Depth="0")
            assert (answer.status, "www-authenticate" in answer.headers) == (401, True)
        # OPTIONS is answered at every path, and tells nothing.
        options = client("OPTIONS", path)
        assert (options.status, options.headers["allow"]) == (200, "OPTIONS, GET, HEAD, PROPFIND")
        assert "access-control" not in options.headers["dav"]
    (tmp_path / "open").mkdir()
    with local(tmp_path / "open") as everybodys:  # where nobody logs in there is nobody
        assert everybodys("GET", "/-/principals/alice/").status == 404
    (tmp_path / "both").mkdir()
    with local(tmp_path / "both", **{**SETTINGS, "anonymous": "ro"}) as readable:
        assert asked(readable, None, "/-/principals/alice/").status == 401


def test_a_login_that_nobody_looks_at_is_not_called_wrong(client: Local) -> None:
    """Or its user is asked for a password that was right."""
    there = "/-/principals/alice/"
    seen = [client("PROPFIND", there, b"", login("alice", f"guess {number}"), Depth="0") for number in range(6)]
    assert [answer.status for answer in seen] == [401] * 5 + [429]
    assert seen[5].headers["retry-after"] == "1"
    refused = client("GET", there, b"", login("alice"))
    assert (refused.status, "www-authenticate" in refused.headers) == (429, False)
    assert client("OPTIONS", there, b"", login("alice")).status == 200
    assert client("OPTIONS", "/", b"", login("alice")).status == 200


def test_nothing_changes_one(client: Local) -> None:
    for method in "PUT", "DELETE", "PROPPATCH", "MKCOL", "LOCK", "MOVE", "POST", "ACL":
        answer = client(method, "/-/principals/alice/", b"", login("alice"))
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, GET, HEAD, PROPFIND")


def test_people_see_a_page(client: Local) -> None:
    answer = client("GET", "/-/principals/alice/", None, login("alice"))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.body.decode()
    assert "Alice &lt;Smith&gt;" in text
    assert "<Smith>" not in text
    assert '<a href="/-/principals/@editors/">@editors</a>' in text
    assert client("HEAD", "/-/principals/alice/", None, login("alice")).body == b""
    assert b"alice" in client("GET", "/-/principals/@editors/", None, login("bob")).body
    assert b"bob" not in client("GET", "/-/principals/", None, login("alice")).body


def test_below_a_prefix(tmp_path: Path) -> None:
    with local(tmp_path, **SETTINGS, prefix="/dav") as client:
        found = asked(client, "alice", "/-/principals/alice/", *ALL)
        assert found.hrefs() == ["/dav/-/principals/alice/"]
        assert found.texts("//D:group-membership/D:href") == ["/dav/-/principals/@editors/"]
        assert found.texts("//D:principal-collection-set/D:href") == ["/dav/-/principals/"]


def test_what_is_in_the_folder_of_a_user_is_theirs(tmp_path: Path) -> None:
    """RFC 3744 §5.1. Of anything else nobody knows who made it."""
    homes, common = tmp_path / "homes", tmp_path / "common"
    for folder in homes, common:
        folder.mkdir()
    shares = {"/home": {"directory": f"{homes}/{{user}}", "create": True}, "/": {"directory": str(common)}}
    with local(tmp_path, **SETTINGS, shares=shares) as client:
        for path in "/home/alice/f", "/f":
            assert client("PUT", path, b"x", login("alice")).status == 201
        for path, owner in (
            ("/home/alice/", ["/-/principals/alice/"]),
            ("/home/alice/f", ["/-/principals/alice/"]),
            ("/home/", []),
            ("/", []),
            ("/f", []),
        ):
            assert asked(client, "alice", path, "owner").texts("//D:owner/D:href") == owner, path
        listed = asked(client, "alice", "/home/", "owner", depth="1")
        assert listed.texts("//D:response[D:href='/home/alice/']//D:owner/D:href") == ["/-/principals/alice/"]
        assert listed.texts("//D:owner/D:href") == ["/-/principals/alice/"]


def test_somebody_whom_only_a_proxy_knows(tmp_path: Path) -> None:
    auth = {"proxy_user_header": "Remote-User"}
    with serving(tmp_path, auth=auth, trusted_proxies=["127.0.0.1"], administrators=["root"]) as server:
        zoe, root = server.client(Remote_User="zoe"), server.client(Remote_User="root")
        assert zoe.propfind("/-/principals/zoe/", "displayname").texts("//D:displayname") == ["zoe"]
        assert zoe.propfind("/-/principals/root/", "displayname").status == 404
        # Whom nobody has written down nobody can list.
        assert root.propfind("/-/principals/zoe/", "displayname").status == 404
        assert root.propfind("/-/principals/", "displayname", depth="1").hrefs() == [
            "/-/principals/", "/-/principals/root/",
        ]  # fmt: skip
