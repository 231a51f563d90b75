"""Answers that are easily wrong: depths of PROPFIND, refusals after the answer has begun, who is told what."""

from __future__ import annotations

import os
import threading
from base64 import b64encode
from collections.abc import Iterator

import pytest
from serving import QUICK, Running, serving
from wire import Dav

ALICE = "Basic " + b64encode(b"alice:alice").decode()


@pytest.fixture(scope="module")
def readable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server where anybody may read, and who logs in may write."""
    users = {"alice": {"password": QUICK.hash("alice"), "display_name": "Alice Liddell"}}
    with serving(tmp_path_factory.mktemp("readable"), users=users, anonymous="ro") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server where anybody may write, and one may log in."""
    users = {"alice": {"password": QUICK.hash("alice"), "display_name": "Alice Liddell"}}
    with serving(tmp_path_factory.mktemp("shared"), users=users, anonymous="rw") as running:
        yield running


@pytest.mark.parametrize("headers", [{"Depth": "0"}, {"Depth": "1"}, {"Depth": "infinity"}, {}])
def test_a_file_has_no_members(headers: dict[str, str], dav: Dav, folder: str) -> None:
    """RFC 4918 §9.1: rclone and gvfs ask with Depth: 1 whatever it is."""
    dav("PUT", f"{folder}/f", b"x")
    answer = dav("PROPFIND", f"{folder}/f", b"", headers)
    assert answer.status == 207
    assert answer.hrefs() == [f"{folder}/f"]


@pytest.mark.parametrize(("depth", "members"), [("0", False), ("1", True), ("1,noroot", True)])
def test_a_folder_has_members_at_depth_1(depth: str, members: bool, dav: Dav, folder: str) -> None:
    dav("PUT", f"{folder}/f", b"x")
    assert dav.propfind(folder, depth=depth).hrefs() == [f"{folder}/", *([f"{folder}/f"] if members else [])]


@pytest.mark.parametrize(("method", "depth"), [("PROPFIND", "1"), ("GET", "0")])
def test_a_folder_that_cannot_be_opened_is_refused_in_whole(
    method: str, depth: str, server: Running, dav: Dav, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails before the first byte is an answer with a status, not a broken connection."""
    from davserver.storage.resolve import Resolver

    opened = Resolver.open

    def refuse(self: Resolver, names: tuple[str, ...], flags: int) -> int:
        if names == (folder[1:],) and flags & os.O_DIRECTORY and not flags & os.O_PATH:
            raise PermissionError(13, "no")
        return opened(self, names, flags)

    monkeypatch.setattr(Resolver, "open", refuse)
    assert dav(method, folder, b"", Depth=depth).status == 403


def test_folders_that_come_and_go_do_not_break_a_listing_of_quotas(server: Running, dav: Dav, folder: str) -> None:
    place, stop = server.root / folder[1:], threading.Event()
    (place / "stays").mkdir()

    def disturb() -> None:
        while not stop.is_set():
            (place / "goes").mkdir()
            (place / "goes").rmdir()

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        for _ in range(40):
            answer = dav.propfind(folder, "quota-used-bytes", depth="1")
            assert answer.status == 207
            assert f"{folder}/stays/" in answer.hrefs()
    finally:
        stop.set()
        disturbing.join()


@pytest.mark.parametrize("seconds", [-(1 << 40), 1 << 40])
def test_a_file_of_another_age_does_not_break_a_listing(
    seconds: int, server: Running, dav: Dav, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems keep times that no calendar knows; here the one that is looked at says so."""
    from davserver.storage.node import Node

    dav("PUT", f"{folder}/f", b"x")
    made = Node.of.__func__  # type: ignore[attr-defined]

    def aged(cls: type[Node], status: os.stat_result) -> Node:
        values = list(status)
        shifted = os.stat_result(values, {"st_mtime_ns": seconds * 10**9, "st_ctime_ns": seconds * 10**9})
        node: Node = made(cls, shifted)
        return node

    monkeypatch.setattr(Node, "of", classmethod(aged))
    assert dav.propfind(folder, depth="1").hrefs() == [f"{folder}/", f"{folder}/f"]
    assert dav("GET", folder).status == 200
    assert dav("GET", f"{folder}/f").status == 200


def test_a_write_without_a_login_is_asked_for_one_where_that_could_help(readable: Running) -> None:
    stranger, alice = readable.client(), readable.client(Authorization=ALICE)
    assert alice("PUT", "/f", b"x").status == 201
    assert stranger("GET", "/f").status == 200
    refused = stranger("PUT", "/f", b"y")
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Basic realm=")
    options = stranger("OPTIONS", "/f")
    assert options.headers["dav"].startswith("1, 2, 3, ")
    assert "LOCK" in options.headers["allow"].split(", ")


def test_a_stranger_is_not_told_the_name_of_an_account(shared: Running) -> None:
    stranger, alice = shared.client(), shared.client(Authorization=ALICE)
    assert alice("PUT", "/f", b"x").status == 201
    token = alice.lock("/f").token
    for accept in ("application/xml", "application/json", "text/html"):
        refused = stranger("PUT", "/f", b"y", Accept=accept)
        assert refused.status == 423
        assert b"Alice" not in refused.body
        assert b"Alice" in alice("PUT", "/f", b"y", Accept=accept).body
    assert alice("UNLOCK", "/f", Lock_Token=f"<{token}>").status == 204


def test_a_refusal_in_json_names_the_path(dav: Dav, folder: str) -> None:
    refused = dav("GET", f"{folder}/missing", Accept="application/json")
    assert refused.status == 404
    assert refused.json["path"] == f"{folder}/missing"


def test_libreoffice_reads_its_own_owner(dav: Dav, folder: str) -> None:
    """It reads text that stands directly in the owner, and shows "Unknown User" for any other."""
    token = dav.lock(f"{folder}/f", owner="<D:href>DOMAIN\\bob</D:href>").token
    for agent, owners in (("LibreOffice 24.2", ["DOMAIN\\bob"]), ("davfs2/1.6.1", [])):
        answer = dav.propfind(f"{folder}/f", "lockdiscovery", User_Agent=agent)
        assert answer.find("//D:owner[not(*)]/text()") == owners
        assert answer.texts("//D:locktoken/D:href") == [token]


def test_options_is_answered_whatever_the_name(dav: Dav, folder: str) -> None:
    answer = dav("OPTIONS", f"{folder}/{'n' * 300}")
    assert answer.status == 200
    assert answer.headers["dav"].startswith("1, 2, 3, ")
