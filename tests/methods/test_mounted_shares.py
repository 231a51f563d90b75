"""Shares within shares: what is mounted in a folder is a member of it, and what it covers is not there."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from inprocess import Local, local
from serving import QUICK

from davserver.storage.staging import FOLDER

WORD = "x"
USERS = {name: {"password": QUICK.hash(WORD)} for name in ("alice", "bob")}

Make = Callable[..., Local]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """An application with the share "/" of `share`, and one of `tmp_path`/NAME at each path that is named."""
    with ExitStack() as stack:

        def open_app(shares: dict[str, str | dict[str, Any]], **settings: Any) -> Local:
            found = {}
            for at, share in shares.items():
                values = {"directory": share} if isinstance(share, str) else share
                directory = str(tmp_path / values["directory"])
                Path(directory.removesuffix("/{user}")).mkdir(exist_ok=True)
                found[at] = {**values, "directory": directory}
            return stack.enter_context(local(tmp_path, shares=found, **settings))

        yield open_app


def as_(name: str, app: Local) -> Local:
    return Local(app.app, Authorization="Basic " + b64encode(f"{name}:{WORD}".encode()).decode())


# --- locks


def _json(**values: object) -> str:
    return json.dumps({**values, "seconds": 60})


def transaction(client: Local, *paths: str) -> int:
    return client("POST", "/-/api/v1/transactions", _json(paths=paths), Content_Type="application/json").status


def check_out(client: Local, path: str) -> int:
    return client("POST", "/-/api/v1/checkouts", _json(path=path), Content_Type="application/json").status


def test_nobody_locks_a_tree_with_a_share_in_it_that_is_not_theirs(make: Make) -> None:
    homes = {"directory": "homes/{user}", "create": True}
    app = make({"/": "share", "/home": homes}, users=USERS)
    alice, bob = as_("alice", app), as_("bob", app)
    assert alice.propfind("/home/alice").status == 207
    assert bob.lock("/home/alice", Depth="infinity").status == 404
    refused = bob.lock("/", Depth="infinity")
    assert refused.status == 403
    assert b"alice" not in refused.body
    assert b"home" not in refused.body
    assert (transaction(bob, "/"), check_out(bob, "/")) == (403, 403)
    assert alice("PUT", "/home/alice/f", b"x").status == 201
    # The folder alone is theirs to lock, and what is theirs in that share.
    assert bob.lock("/", Depth="0").status == 200
    assert bob.lock("/home/bob", Depth="infinity").status == 200


def test_rules_about_a_share_in_a_tree_count_for_a_lock_of_the_tree(make: Make, tmp_path: Path) -> None:
    rules = [
        {"path": "/docs/private", "who": "bob", "allow": "none"},
        {"path": "/docs/public/inner/f", "who": "bob", "allow": "r"},
        {"path": "/", "who": ["alice", "bob"], "allow": "rw"},
    ]
    shares = {"/": "share", "/docs/private": "private", "/docs/public": "public", "/docs/public/inner": "inner"}
    app = make(shares, users=USERS, rules=rules, anonymous=None)
    alice, bob = as_("alice", app), as_("bob", app)
    # The way to a share need not be there as a folder.
    assert bob.lock("/", Depth="infinity").status == 403
    (tmp_path / "share" / "docs").mkdir()
    for path in ("/", "/docs"):
        assert bob.lock(path, Depth="infinity").status == 403
        assert (transaction(bob, path), check_out(bob, path)) == (403, 403)
    assert transaction(bob, "/docs/public") == 201
    # What is in a share within a share counts as well.
    (tmp_path / "inner" / "f").write_text("x")
    assert transaction(bob, "/docs/public") == 403
    assert check_out(alice, "/docs/private") == 201


def test_what_a_share_covers_does_not_count_for_a_lock(make: Make, tmp_path: Path) -> None:
    rules = [{"path": "/d/m/covered", "who": "bob", "allow": "none"}, {"path": "/", "who": "bob", "allow": "rw"}]
    (tmp_path / "share/d/m/covered").mkdir(parents=True)
    bob = as_("bob", make({"/": "share", "/d/m": "mounted"}, users=USERS, rules=rules, anonymous=None))
    assert bob.lock("/d", Depth="infinity").status == 200


@pytest.mark.parametrize("path", ["/", "/d"])
def test_a_share_that_cannot_be_written_cannot_be_locked_from_above(path: str, make: Make, tmp_path: Path) -> None:
    (tmp_path / "share/d").mkdir(parents=True)
    app = make({"/": "share", "/d/m": {"directory": "mounted", "read_only": True}})
    refused = app.lock(path, Depth="infinity")
    assert refused.status == 403
    assert b"read-only" in refused.body
    assert (app.lock("/d/m").status, transaction(app, path)) == (403, 403)
    assert app.lock(path, Depth="0").status == 200


# --- copies


@pytest.fixture
def shadowed(make: Make, tmp_path: Path) -> Local:
    """A share at /d/m that covers a folder, and one within it that covers nothing."""
    app = make({"/": "share", "/d/m": "mounted", "/d/m/in/ner": "inner", "/other": "other", "/d/way/m": "unreached"})
    (tmp_path / "share/d/m/in").mkdir(parents=True)
    (tmp_path / "share/d/m/shadow").write_text("covered")
    (tmp_path / "share/d/f").write_text("f")
    (tmp_path / "mounted/in").mkdir()
    (tmp_path / "mounted/real").write_text("r")
    (tmp_path / "inner/deep").mkdir()
    (tmp_path / "inner/deep/g").write_text("g")
    return app


@pytest.mark.parametrize("target", ["/cp", "/other/cp", "/d/cp", "/d/m/cp"])
def test_a_copy_holds_what_is_mounted_and_not_what_that_covers(target: str, shadowed: Local) -> None:
    app = shadowed
    assert app("GET", "/d/m/shadow").status == 404
    for path in ("/d/f", "/d/m/", "/d/m/in/ner/deep/g"):
        assert app.proppatch(path, f"<D:set><D:prop><x xmlns='u:'>of {path}</x></D:prop></D:set>").status == 207
    assert app("COPY", "/d", Destination=target).status == 201
    members = {
        path: app("PROPFIND", path, Depth="1").hrefs()[1:]
        for path in (f"{target}/", f"{target}/m/", f"{target}/m/in/", f"{target}/m/in/ner/", f"{target}/m/in/ner/deep/")
    }
    assert {path: sorted(found) for path, found in members.items()} == {
        f"{target}/": [f"{target}/f", f"{target}/m/"],
        f"{target}/m/": [f"{target}/m/in/", f"{target}/m/real"],
        f"{target}/m/in/": [f"{target}/m/in/ner/"],
        f"{target}/m/in/ner/": [f"{target}/m/in/ner/deep/"],
        f"{target}/m/in/ner/deep/": [f"{target}/m/in/ner/deep/g"],
    }
    assert app("GET", f"{target}/m/in/ner/deep/g").body == b"g"
    for path in ("/f", "/m/", "/m/in/ner/deep/g"):
        assert f"of /d{path}".encode() in app.propfind(target + path, "x", namespace="u:").body
    # The copy is a folder like any other, and what was mounted stays where it is.
    assert app("DELETE", target).status == 204
    assert app("GET", "/d/m/in/ner/deep/g").body == b"g"


def test_a_copy_of_a_folder_alone_holds_nothing_that_is_mounted(shadowed: Local) -> None:
    assert shadowed("COPY", "/d", Destination="/cp", Depth="0").status == 201
    assert shadowed.propfind("/cp", "getetag", depth="1").hrefs() == ["/cp/"]


def test_a_copy_of_a_share_is_of_what_is_in_it(shadowed: Local, tmp_path: Path) -> None:
    assert shadowed("COPY", "/d/m", Destination="/cp").status == 201
    assert sorted(path.name for path in (tmp_path / "share/cp").rglob("*")) == ["deep", "g", "in", "ner", "real"]


def test_a_folder_with_a_share_in_it_is_not_moved(shadowed: Local, tmp_path: Path) -> None:
    for source in ("/d", "/d/m/in"):
        assert shadowed("MOVE", source, Destination="/cp").status == 403
        assert shadowed("DELETE", source).status == 403
    assert not (tmp_path / "share/cp").exists()


def test_each_share_leaves_out_what_it_hides_from_a_copy(make: Make, tmp_path: Path) -> None:
    app = make({"/": "share", "/d/m": {"directory": "mounted", "hide": ["*.tmp"]}})
    (tmp_path / "share/d").mkdir()
    for place in ("share/d", "mounted"):
        (tmp_path / place / "a.tmp").write_text("x")
        (tmp_path / place / "link").symlink_to("a.tmp")
    assert app("COPY", "/d", Destination="/cp").status == 201
    assert sorted(path.name for path in (tmp_path / "share/cp").rglob("*")) == ["a.tmp", "m"]


def test_what_may_not_be_read_in_a_share_refuses_the_copy_of_what_it_is_in(make: Make, tmp_path: Path) -> None:
    rules = [{"path": "/d/m", "who": "bob", "allow": "none"}, {"path": "/", "who": "bob", "allow": "rw"}]
    (tmp_path / "share/d").mkdir(parents=True)
    bob = as_("bob", make({"/": "share", "/d/m": "mounted"}, users=USERS, rules=rules, anonymous=None))
    assert bob("COPY", "/d", Destination="/cp").status == 403
    assert sorted(os.listdir(tmp_path / "share")) in (["d"], [FOLDER, "d"])


def test_a_copy_needs_room_for_what_is_mounted(make: Make, tmp_path: Path) -> None:
    app = make({"/": "share", "/d/m": "mounted", "/small": {"directory": "small", "quota": "1KiB"}})
    (tmp_path / "share/d").mkdir()
    (tmp_path / "mounted/f").write_bytes(bytes(1025))
    assert app("COPY", "/d", Destination="/small/d").status == 507
    (tmp_path / "mounted/f").write_bytes(bytes(1024))
    assert app("COPY", "/d", Destination="/small/d").status == 201


def test_a_share_whose_folder_is_gone_is_not_taken_for_an_empty_one(make: Make, tmp_path: Path) -> None:
    app = make({"/": "share", "/d/m": "mounted"})
    (tmp_path / "share/d").mkdir()
    shutil.rmtree(tmp_path / "mounted")
    assert app("COPY", "/d", Destination="/cp").status == 503


# --- from one share to another that hides other names


@pytest.fixture
def hiding(make: Make, tmp_path: Path) -> Local:
    app = make({
        "/": "share",
        "/h": {"directory": "hiding", "hide": ["*.tmp"]},
        "/same": {"directory": "same", "hide": ["*.tmp"]},
        "/other": {"directory": "other", "hide": ["*.tmp", "*.bak"]},
        "/links": {"directory": "links", "follow_symlinks": True},
    })  # fmt: skip
    for place in ("share", "hiding", "links"):
        (tmp_path / place / "x/deep").mkdir(parents=True)
        (tmp_path / place / "x/f").write_text("f")
    return app


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if FOLDER not in path.parts)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_is_made_under_a_name_that_the_destination_hides(
    method: str, kind: str, hiding: Local, tmp_path: Path
) -> None:
    source = "links" if kind == "link" else "share"
    hidden = tmp_path / source / "x/deep/a b.TMP"
    {"file": hidden.touch, "folder": hidden.mkdir, "link": lambda: hidden.symlink_to("../f")}[kind]()
    top = "/links/x" if kind == "link" else "/x"
    before = names(tmp_path / source)
    assert hiding("PUT", "/h/a b.TMP").status == hiding("MKCOL", "/h/a b.TMP").status == 403
    refused = hiding(method, top, Destination="/h/y")
    assert (refused.status, b"a%20b.TMP" in refused.body) == (403, True)
    assert names(tmp_path / "hiding") == ["deep", "f", "x"]
    assert names(tmp_path / source) == before
    # What would have been replaced is still there.
    assert hiding(method, top, Destination="/h/x").status == 403
    assert hiding("GET", "/h/x/f").body == b"f"
    # One by one, with a name that is not hidden, or once it is gone.
    if kind == "folder":
        hidden.rmdir()
    else:
        assert hiding(method, f"{top}/deep/a%20b.TMP", Destination="/h/a.txt").status == (
            201 if kind == "file" or method == "COPY" else 403
        )
        hidden.unlink(missing_ok=True)
    assert hiding(method, top, Destination="/h/y").status == 201


def test_a_share_of_that_name_is_not_copied_there_either(make: Make, tmp_path: Path) -> None:
    app = make({"/": "share", "/d/m.tmp": "mounted", "/h": {"directory": "hiding", "hide": ["*.tmp"]}})
    (tmp_path / "share/d").mkdir()
    refused = app("COPY", "/d", Destination="/h/d")
    assert (refused.status, b"m.tmp" in refused.body) == (403, True)
    assert names(tmp_path / "hiding") == []


def test_what_is_hidden_is_moved_along(hiding: Local, tmp_path: Path) -> None:
    (tmp_path / "hiding/x/deep/a.tmp").write_text("hidden")
    assert hiding("COPY", "/h/x", Destination="/copy").status == 201
    assert names(tmp_path / "share/copy") == ["deep", "f"]
    for source, target in ("/h/x", "/h/y"), ("/h/y", "/same/y"), ("/same/y", "/other/y"), ("/other/y", "/y"):
        assert hiding("MOVE", source, Destination=target).status == 201
    assert names(tmp_path / "share/y") == ["a.tmp", "deep", "f"]


def test_a_link_that_is_not_followed_is_moved_whatever_its_name(hiding: Local, tmp_path: Path) -> None:
    (tmp_path / "share/x/l.tmp").symlink_to("f")
    assert hiding("COPY", "/x", Destination="/h/y").status == 201
    assert names(tmp_path / "hiding/y") == ["deep", "f"]
    assert hiding("MOVE", "/x", Destination="/h/z").status == 201
    assert names(tmp_path / "hiding/z") == ["deep", "f", "l.tmp"]


# --- names


NFC, NFD = "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize("mounted", [NFC, NFD])
@pytest.mark.parametrize("asked", [NFC, NFD])
@pytest.mark.parametrize("way", ["", "/way", f"/{NFC}"])
def test_a_share_and_what_is_in_it_are_found_in_either_form(
    way: str, asked: str, mounted: str, make: Make, tmp_path: Path
) -> None:
    app = make({"/": "share", f"{way}/{mounted}": "mounted"})
    (tmp_path / "mounted" / f"{NFD}.txt").write_text("x")
    at = quote(way.replace(NFC, asked) + f"/{asked}")
    for name in (NFC, NFD):
        path = f"{at}/{quote(name)}.txt"
        assert (app("GET", path).status, app("PUT", path, b"1").status) == (200, 204)
    assert names(tmp_path / "mounted") == [f"{NFD}.txt"]
    # One file has one lock and one set of properties.
    lock = app.lock(f"{at}/{quote(NFC)}.txt")
    assert app("PUT", f"{quote(way)}/{quote(mounted)}/{quote(NFD)}.txt", b"2").status == 423
    assert app("UNLOCK", f"{at}/{quote(NFD)}.txt", Lock_Token=f"<{lock.token}>").status == 204
    # Nothing stands beside it under another form.
    assert (app("MKCOL", at).status, app("PUT", at, b"").status, app("DELETE", at).status) == (405, 405, 403)
    assert app("PUT", f"{at}/new{quote(NFD)}", b"x").status == 201
    assert names(tmp_path / "share") == []
    assert names(tmp_path / "mounted") == [f"{NFD}.txt", f"new{NFC}"]
    assert app("MOVE", f"{at}/new{quote(NFD)}", Destination=f"{at}/{quote(NFC)}.txt").status == 204


@pytest.mark.parametrize("follow", [False, True])
def test_a_share_is_found_in_another_case_where_that_does_not_matter(follow: bool, make: Make, tmp_path: Path) -> None:
    root = {"directory": "share", "case_insensitive": True, "follow_symlinks": follow}
    app = make({"/": root, "/Docs": "docs", "/Way/In/Deep": "deep"})
    for folder in ("docs", "deep"):
        (tmp_path / folder / "f").write_text("f")
    # What it covers does not count, nor what else is there.
    (tmp_path / "share/Docs").mkdir()
    (tmp_path / "share/Docs/covered").symlink_to("/")
    (tmp_path / "share/other").mkdir()
    for path in ("/docs", "/DOCS", "/way/in/deep", "/Way/IN/dEEP"):
        assert app("GET", f"{path}/f").body == b"f"
        assert app("GET", f"{path}/F").status == 404  # there case does matter
        assert app("GET", f"{path}/covered").status == 404
        assert app("MKCOL", path).status == 405
    # The way to a share is made under its name.
    assert app("MKCOL", "/way").status == app("MKCOL", "/WAY/in").status == 201
    assert names(tmp_path / "share") == ["Docs", "In", "Way", "covered", "other"]


@pytest.mark.parametrize(
    ("there", "mounted", "others"),
    [("way", "Way", ["/way", "/Way", "/WAY"]), (NFD, NFC, [f"/{NFD}", f"/{NFC}"]), (NFC, NFD, [f"/{NFD}", f"/{NFC}"])],
)
def test_the_way_to_a_share_may_be_there_in_another_spelling(
    there: str, mounted: str, others: list[str], make: Make, tmp_path: Path
) -> None:
    app = make({"/": {"directory": "share", "case_insensitive": there == "way"}, f"/{mounted}/m": "mounted"})
    (tmp_path / "share" / there).mkdir()
    (tmp_path / "share" / there / "beside").write_text("b")
    (tmp_path / "mounted" / f"{NFD}.txt").write_text("m")
    for way in map(quote, others):
        assert app("GET", f"{way}/beside").body == b"b"
        assert app("GET", f"{way}/m/{quote(NFC)}.txt").body == b"m"
        assert (app("MKCOL", way).status, app("MKCOL", f"{way}/m").status) == (405, 405)
    assert names(tmp_path / "share") == sorted([there, "beside"])


def test_a_link_leads_to_what_is_mounted(make: Make, tmp_path: Path) -> None:
    root = {"directory": "share", "case_insensitive": True, "follow_symlinks": True}
    app = make({"/": root, "/d/Mnt": "mounted"})
    (tmp_path / "share/d/Mnt").mkdir(parents=True)
    (tmp_path / "share/d/Mnt/shadow").write_text("covered")
    (tmp_path / "mounted" / f"{NFD}.txt").write_text("x")
    for name, target in {"to": "d/Mnt", "above": "d", "shadow": "d/Mnt/shadow"}.items():
        (tmp_path / "share" / name).symlink_to(target)
    for path in ("/to", "/TO", "/above/Mnt", "/above/MNT"):
        assert app("GET", f"{path}/{quote(NFC)}.txt").body == b"x"
        assert app("GET", f"{path}/shadow").status == 404
    assert app("GET", "/shadow").status == 404
    (tmp_path / "share/d/Mnt/shadow").unlink()
    (tmp_path / "share/d/Mnt").rmdir()
    assert app("GET", f"/above/mnt/{quote(NFC)}.txt").body == b"x"


def test_what_is_there_as_it_is_asked_for_comes_before_a_share_of_another_spelling(make: Make, tmp_path: Path) -> None:
    app = make({"/": {"directory": "share", "case_insensitive": True}, "/Docs": "docs"})
    (tmp_path / "share/docs").mkdir()
    (tmp_path / "share/docs/f").write_text("beside")
    (tmp_path / "docs/f").write_text("mounted")
    assert (app("GET", "/docs/f").body, app("GET", "/Docs/f").body) == (b"beside", b"mounted")


def test_a_link_tells_nothing_of_what_a_share_covers(make: Make, tmp_path: Path) -> None:
    app = make({"/": {"directory": "share", "follow_symlinks": True}, "/d/m": "mounted"})
    (tmp_path / "share/d/m").mkdir(parents=True)
    (tmp_path / "share/l").mkdir()
    for name in ("shadow", "both"):
        (tmp_path / "share/d/m" / name).write_bytes(bytes(12345))
        (tmp_path / "share/l" / name).symlink_to(f"../d/m/{name}")
    (tmp_path / "mounted/both").write_bytes(bytes(54321))
    listed = app.propfind("/l", "getcontentlength", depth="1")
    assert listed.hrefs() == ["/l/", "/l/both"]
    assert listed.texts("//D:getcontentlength") == ["", "54321"]  # a collection has none
    page = app("GET", "/l/").body
    assert (page.count(b"<tr>"), b"54,321" in page, b"12,345" in page) == (3, True, False)
