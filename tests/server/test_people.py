"""From settings to who may log in, and what may be changed while the server runs."""

from __future__ import annotations

import logging
import os
import signal
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from inprocess import Local, local
from serving import QUICK, Process, serving

from davserver.access.accounts import Algorithm, ha1
from davserver.banner import banner, sends_passwords_openly
from davserver.server.people import directory_of
from davserver.server.reload import differences, take_over
from davserver.server.unknown_names import unknown_names
from davserver.settings import Settings, SettingsError, load, parse_users

HASH = QUICK.hash("x")


def settings(**values: Any) -> Settings:
    return Settings(**values)


def basic(name: str, password: str = "x") -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"users": {"a": {"password": "plain"}}}, "must be a hash"),
        ({"users": {"a": {"groups": ["@x"]}}}, "without @"),
        ({"users": {"a": {"digest": ["x"]}}}, "hash-password --digest"),
        ({"users": {"a": {"digest": ["0" * 32, "1" * 32]}}}, "at most"),
        ({"users": {"@a": {}}}, "cannot be a user name"),
        ({"users": {"everyone": {}}}, "stands for many"),
        ({"users": {"jose\u0301": {}}}, r"in Unicode's composed form \(NFC\) it is 'jos\\xe9'"),
        ({"users": {"a": {"groups": ["jose\u0301"]}}}, "NFC"),
        ({"groups": {"jose\u0301": []}}, "NFC"),
        ({"groups": {"a": ["jose\u0301"]}}, "NFC"),
        ({"administrators": ["jose\u0301"]}, "NFC"),
        ({"locks": {"breakers": ["@jose\u0301"]}}, "NFC"),
        ({"rules": [{"path": "/", "who": "jose\u0301", "allow": "r"}]}, "NFC"),
        ({"groups": {"": []}}, "cannot be the name of a group"),
        ({"rules": [{"path": "docs", "who": "a", "allow": "r"}]}, "is no path"),
        ({"rules": [{"path": "/a/../b", "who": "a", "allow": "r"}]}, "is no path"),
        ({"rules": [{"path": "/a//b", "who": "a", "allow": "r"}]}, "is no path"),
        ({"rules": [{"path": "/a%20b", "who": "a", "allow": "r"}]}, "not percent-encoded"),
        ({"rules": [{"path": "/{group}", "who": "a", "allow": "r"}]}, "only {user}"),
        ({"rules": [{"path": "/", "who": [], "allow": "r"}]}, "name a user"),
        ({"rules": [{"path": "/", "who": ["@"], "allow": "r"}]}, "name a user"),
        ({"rules": [{"path": "/", "who": "a", "allow": "x"}]}, "write r, rw"),
        ({"rules": [{"path": "/", "who": "a", "allow": ""}]}, "write r, rw"),
        ({"rules": [{"path": "/", "who": "a", "allow": "rr"}]}, "write r, rw"),
        ({"rules": [{"path": "/", "who": "a", "allow": "r"}], "anonymous": "ro"}, "contradict"),
        ({"auth": {"basic": False}}, "nobody could log in"),
        ({"auth": {"proxy_user_header": "Remote-User"}}, "needs trusted_proxies"),
        ({"auth": {"proxy_user_header": "Remote_User"}}, "pattern"),
        ({"cors": {"allowed_origins": ["https://x.example/path"]}}, "is no origin"),
        ({"cors": {"allowed_origins": ["*"], "allow_credentials": True}}, "by name"),
        ({"shares": {"/": {"directory": "/srv/{user}/x"}}}, "at the end"),
        ({"shares": {"/": {"directory": "/srv/x{user}"}}}, "at the end"),
        ({"shares": {"/": {"directory": "/srv/x", "create": True}}}, "create makes folders of users"),
    ],
)
def test_what_cannot_be_meant_is_said(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings(**values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "rw"),
        ({"users": {"a": {"password": HASH}}}, "none"),
        ({"auth": {"htpasswd_file": "/x"}}, "none"),
        ({"rules": [{"path": "/", "who": "everyone", "allow": None}]}, "none"),
        ({"host": "0.0.0.0"}, "none"),
        ({"users": {"a": {"password": HASH}}, "anonymous": "ro"}, "ro"),
    ],
)
def test_what_is_allowed_without_a_login(values: dict[str, Any], expected: str) -> None:
    assert settings(**values).allows_anonymous == expected


def test_a_misspelt_key_in_a_rule_and_in_a_user_is_named() -> None:
    def loading(**flags: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            load(file=None, environ={}, flags=flags, hash_password=str)
        return str(caught.value)

    assert "did you mean allow" in loading(rules=[{"path": "/", "who": "a", "alow": "r"}])
    assert "did you mean password" in loading(users={"a": {"pasword": HASH}})
    assert "did you mean directory" in loading(shares={"/": {"directry": "/x"}})
    assert "did you mean digest" in loading(auth={"digst": True})


def test_passwords_that_come_as_they_are_make_digests_where_those_are_on() -> None:
    environ = {"DAVSERVER_USERNAME": "bob", "DAVSERVER_PASSWORD": "sesame", "DAVSERVER_AUTH__DIGEST": "true"}
    flags = {"users": {"alice": {"password": HASH}}, "auth": {"realm": "files"}}
    found = load(file=None, environ=environ, flags=flags, hash_password=lambda _: HASH, passwords={"alice": "wonder"})
    for name, password in (("alice", "wonder"), ("bob", "sesame")):
        assert list(found.users[name].digest) == [ha1(each, name, "files", password) for each in Algorithm]
    del environ["DAVSERVER_AUTH__DIGEST"]
    found = load(file=None, environ=environ, flags=flags, hash_password=lambda _: HASH)
    assert found.users["bob"].digest == ()


@pytest.mark.parametrize(
    "text", ["- a", "a: 1", "a: {x: 1}", "a: {password: plain}", "'a:b': {}", "a: [", "everyone: {}"]
)
def test_a_file_of_users_that_makes_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_users(text)


def test_a_file_of_users() -> None:
    assert parse_users("") == {}
    assert parse_users("alice: {groups: [a]}")["alice"].groups == ("a",)


def test_accounts_come_from_everywhere(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text(f"bob: {{password: '{HASH}', groups: [b]}}\n")
    (tmp_path / "htpasswd").write_text(f"carol:{HASH}\n")
    (tmp_path / "htdigest").write_text(f"dora:davserver:{'0' * 32}\n")
    auth = {f"{name}_file": str(tmp_path / file) for name, file in
            (("users", "users.yaml"), ("htpasswd", "htpasswd"), ("htdigest", "htdigest"))}  # fmt: skip
    directory = directory_of(
        settings(users={"alice": {"password": HASH}, "eve": {"digest": ["0" * 32]}}, auth=auth, groups={"b": ["carol"]})
    )
    assert directory.names() == ["alice", "bob", "carol", "dora", "eve"]
    assert directory.members(["@b"]) == {"bob", "carol"}
    eve = directory.find("eve")
    assert eve is not None
    assert eve.credential is not None
    assert not eve.credential.matches(b"x")


def rule(*who: str, path: str = "/") -> dict[str, Any]:
    return {"path": path, "who": who, "allow": "rw"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rules": [rule("alice", "@editors", "@staff", "anonymous", "authenticated", "everyone")]}, []),
        ({"administrators": ["alice", "@editors"], "locks": {"breakers": ["bob", "@staff"]}}, []),
        (
            {"rules": [rule("@editros", path="/docs")]},
            ["rule for /docs: nobody is in the group @editros; did you mean @editors?"],
        ),
        ({"rules": [rule("authentcated")]}, ["rule for /: there is no user authentcated; did you mean authenticated?"]),
        ({"rules": [rule("everybody")]}, ["rule for /: there is no user everybody; did you mean everyone?"]),
        ({"rules": [rule("editors")]}, ["rule for /: there is no user editors; did you mean @editors?"]),
        ({"rules": [rule("@zzz", "*")]}, ["rule for /: nobody is in the group @zzz", "rule for /: there is no user *"]),
        (
            {"administrators": ["boob"], "rules": [rule("boob"), rule("boob", path="/x")],
             "locks": {"breakers": ["boob"]}},
            ["rule for /, rule for /x, administrators, locks.breakers: there is no user boob; did you mean bob?"],
        ),
        # None of these is read as special there.
        ({"administrators": ["everyone"]}, ["administrators: there is no user everyone"]),
        ({"groups": {"s": ["@editors"]}}, ["groups.s: @editors is no user, and a group has no groups in it"]),
        ({"groups": {"s": ["alise", "bob"]}}, ["groups.s: there is no user alise; did you mean alice?"]),
        # A proxy may name anybody; but who is in a group is always written down.
        (
            {"trusted_proxies": ["::1"], "rules": [rule("zoe", "everybody", "anonymus", "@editros")]},
            ["rule for /: there is no user anonymus; did you mean anonymous?",
             "rule for /: nobody is in the group @editros; did you mean @editors?"],
        ),
    ],
)  # fmt: skip
def test_names_that_nobody_has_are_told(values: dict[str, Any], said: list[str], tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text(f"bob: {{password: '{HASH}', groups: [editors]}}\n")
    auth = {"users_file": str(tmp_path / "users.yaml")}
    if "trusted_proxies" in values:
        auth["proxy_user_header"] = "Remote-User"
    found = settings(**{"users": {"alice": {"password": HASH}}, "groups": {"staff": ["alice"]}, "auth": auth, **values})
    assert list(unknown_names(found, directory_of(found))) == said


@pytest.mark.slow
def test_they_are_told_at_the_start_and_when_settings_are_read_again(tmp_path: Path) -> None:
    """Once, however many workers there are; and they stop nothing."""
    file = tmp_path / "davserver.yaml"
    text = f"workers: 2\nusers: {{alice: {{password: '{HASH}'}}}}\nadministrators: [%s]\n"
    file.write_text(text % "alcie")
    with Process(tmp_path, "-c", str(file)) as server:
        assert server.client(Authorization=basic("alice"))("GET", "/").status == 200
        for name in ("alice", "alise"):
            file.write_text(text % name)
            seen = len(server.output)
            os.kill(server.pid, signal.SIGHUP)
            deadline = time.monotonic() + 20
            while not any("reloading" in line for line in server.output[seen:]):
                assert time.monotonic() < deadline, server.output
                time.sleep(0.01)
        assert server.stop() == 0
    told = [line.partition(" WARNING ")[2] for line in server.output if "there is no user" in line]
    assert told == [f"administrators: there is no user {name}; did you mean alice?\n" for name in ("alcie", "alise")]


@pytest.mark.parametrize("name", ["users_file", "htpasswd_file", "htdigest_file"])
def test_a_file_that_is_not_there_stops_the_start(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match=f"auth.{name}: .*No such file"),
        local(tmp_path, auth={name: str(tmp_path / "none")}, anonymous=None),
    ):
        pass


def test_digest_that_nobody_can_use_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "davserver"),
        local(tmp_path, users={"alice": {"password": HASH}}, auth={"digest": True}, anonymous=None),
    ):
        assert "no user has what it needs" in caplog.text
    users = {"alice": {"password": HASH}, "bob": {"password": HASH, "digest": ["0" * 32]}}
    with (
        caplog.at_level(logging.WARNING, "davserver"),
        local(tmp_path, users=users, auth={"digest": True}, anonymous=None),
    ):
        assert "cannot be used by: alice" in caplog.text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "0.0.0.0", "tls": {"cert": "/x"}}, False),
        ({"host": "0.0.0.0", "trusted_proxies": ["10.0.0.1"]}, False),
        ({"host": "0.0.0.0", "auth": {"basic": False, "digest": True}}, False),
        ({"host": "0.0.0.0", "users": {}}, False),
    ],
)
def test_passwords_that_anybody_on_the_way_can_read_are_warned_of(values: dict[str, Any], expected: bool) -> None:
    found = settings(**{"users": {"alice": {"password": HASH}}, "shares": {"/": {"directory": "/srv"}}, **values})
    assert sends_passwords_openly(found) is expected
    assert ("WARNING: passwords cross the network unencrypted" in banner(found, "http://h/", "/state")) is expected


def test_what_changes_while_the_server_runs(tmp_path: Path) -> None:
    shares = {"/": {"directory": str(tmp_path / "share")}}
    old = {"users": {"alice": {"password": HASH, "groups": ["boss"]}}, "locks": {"breakers": ["@boss"]}}
    with serving(tmp_path, **old) as running:
        alice, bob = running.client(Authorization=basic("alice")), running.client(Authorization=basic("bob"))
        lock = alice.lock("/f.txt")
        assert lock.status == 201
        assert alice("GET", "/-/api/v1/locks/1").json["can_break"] is True
        assert bob("GET", "/").status == 401
        new = settings(
            shares=shares, users={"bob": {"password": HASH}, "carol": {"password": HASH}}, locks={"breakers": ["bob"]},
            rules=[{"path": "/", "who": "bob", "allow": "r"}, {"path": "/", "who": "carol", "allow": "rw"}],
        )  # fmt: skip
        assert differences(settings(shares=shares, **old), new) == []
        take_over(running.server, new)
        assert alice("GET", "/").status == 401
        assert bob("GET", "/").status == 200
        assert bob("PUT", "/x", b"").status == 403
        carol = running.client(Authorization=basic("carol"))
        assert bob("GET", "/-/api/v1/locks/1").json["can_break"] is True
        assert carol("GET", "/-/api/v1/locks/1").json["can_break"] is False
        with pytest.raises(SettingsError, match="htpasswd_file"):
            take_over(running.server, settings(shares=shares, auth={"htpasswd_file": "/none"}))
        assert bob("GET", "/").status == 200


ALIKE = {"Bob": {"password": HASH}, "bob": {"password": HASH}}


def test_users_that_would_share_a_folder_where_case_does_not_matter_stop_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "homes"
    folder.mkdir()
    own = {"/home": {"directory": f"{folder}/{{user}}", "case_insensitive": True}}
    ruled = {"/home": {"directory": str(folder), "case_insensitive": True}}
    rules = [{"path": "/home/{user}", "who": "authenticated", "allow": "rw"}]
    for values in {"shares": own}, {"shares": ruled, "rules": rules}:
        with (
            pytest.raises(SettingsError, match="Bob and bob"),
            local(tmp_path, users=ALIKE, anonymous=None, **values),
        ):
            pass
    for values in {"shares": ruled}, {"rules": rules}:
        with local(tmp_path, users=ALIKE, anonymous=None, **values) as client:
            assert client("OPTIONS", "/", Authorization=basic("Bob")).status == 200


def test_a_folder_that_cannot_be_made_for_a_user_is_told_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    homes = tmp_path / "homes"
    homes.mkdir()
    shares = {"/": {"directory": f"{homes}/{{user}}", "create": True}}
    users = {name: {"password": HASH} for name in ("alice", "bob", "a\u2215b", "x" * 300, "..")}
    (homes / "bob").mkdir()
    with local(tmp_path, shares=shares, users=users, anonymous=None) as app:
        for name in users:
            client = Local(app.app, Authorization=basic(name))
            assert client("PROPFIND", "/", Depth="0").status == 207
    assert sorted(path.name for path in homes.iterdir() if path.name[0] != ".") == ["alice", "a\u2215b", "bob"]
    assert len([record for record in caplog.records if "cannot be made" in record.getMessage()]) == 1
