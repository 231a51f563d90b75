"""Names: one resource has one path, however it is spelt; and what is not served is not there."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from inprocess import Local, local
from test_proppatch import values
from wire import lockinfo

from davserver.protocol.paths import ROOT
from davserver.storage import spelling
from davserver.storage.spelling import folded
from davserver.storage.tree import Tree

NFC, NFD = "ü.txt", "u\N{COMBINING DIAERESIS}.txt"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[Local, Path]]]:
    """An application of its own, with what settings its share is to have."""
    with ExitStack() as stack:

        def open_app(**share: Any) -> tuple[Local, Path]:
            root = tmp_path / "share"
            root.mkdir(exist_ok=True)
            app = stack.enter_context(local(tmp_path, shares={"/": {"directory": str(root), **share}}))
            return app, root

        yield open_app


def colour(app: Local, path: str) -> None:
    assert app.proppatch(path, '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>').status == 207


# --- every legal name


@pytest.mark.parametrize(
    "name",
    [
        "a", "A", "a b", " a", "a ", ".hidden", "a.", "~$a.docx", ".~lock.a#", "a;b", "a?b", "a#b", "a%b", "a%41", "%",
        "a&b", "a+b", "a=b", "a@b", "a:b", "a,b", "a'b", 'a"b', "a|b", "a\\b", "a^b", "a`b", "a{b}", "a[b]", "a(b)",
        "a!b", "a$b", "a*b", "<a>", "a\tb", "a\nb", "\x7f", "\x01", "ü", "日本語", "\N{GRINNING FACE}", "-", "--",
        "con", "NUL.txt", "...", "._a", "Thumbs.db", "desktop.ini", ".DS_Store", "\u202ea", "\ufeffa", "a" * 255,
        "ü" * 127,
    ],
)  # fmt: skip
def test_everything_legal_on_the_disk_is_reachable(name: str, app: Local, box: str, disk: Path) -> None:
    path = f"{box}/{quote(name, safe='')}"
    assert app("PUT", path, b"content").status == 201
    assert os.listdir(disk) == [name]
    assert app("GET", path).body == b"content"
    (href,) = app.propfind(box, "getetag", depth="1").hrefs()[1:]
    for spelt in (path, href, path.lower() if "%" in path and name.isascii() and name.islower() else path):
        assert app("GET", spelt).body == b"content"
    colour(app, path)
    assert app("COPY", path, Destination=f"{box}/copy").status == 201
    assert app("DELETE", path).status == 204
    assert app("MOVE", f"{box}/copy", Destination=app.url(href)).status == 201
    assert os.listdir(disk) == [name]
    assert values(app, path, "colour") == ["red"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/..", 400),
        ("/../x", 400),
        ("/a/../x", 400),
        ("/%2e%2e/x", 400),
        ("/%2E./x", 400),
        ("/.", 400),
        ("/./x", 400),
        ("/a%2Fb", 400),
        ("/a%2fb", 400),
        ("/a%00b", 400),
        ("/a%zz", 400),
        ("/a%", 400),
        ("/a%f", 400),
        ("/%ff", 400),
        ("/%c0%af", 400),
        ("/%c0%ae%c0%ae/", 400),
        ("/%ed%a0%80", 400),
        ("/" + "n" * 256, 414),
        ("/%e2%80%a6/" + "ü".encode().hex("%") + "x", 400),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "MKCOL", "DELETE", "PROPFIND", "LOCK", "PROPPATCH"])
def test_what_is_no_name_is_refused(method: str, path: str, status: int, app: Local, box: str, disk: Path) -> None:
    body = {"LOCK": lockinfo(), "PROPPATCH": b"<x/>"}.get(method, b"")
    assert app(method, box + path, body, Depth="0").status == status
    assert os.listdir(disk) == []


def test_a_slash_at_the_end_means_a_collection_and_two_are_one(app: Local, box: str) -> None:
    app("MKCOL", f"{box}/c/")
    app("PUT", f"{box}//c///f", b"x")
    for path in (f"{box}/c/f", f"{box}//c/f", f"/{box}/c//f"):
        assert app("GET", path).body == b"x"
    for path in (f"{box}/c", f"{box}/c/", f"{box}/c//"):
        assert app.propfind(path, "getetag", depth="1").hrefs() == [f"{box}/c/", f"{box}/c/f"]


@pytest.mark.parametrize(
    ("method", "status"),
    [
        *((method, 404) for method in ("GET", "HEAD", "PROPFIND", "PROPPATCH", "PUT", "PATCH", "DELETE")),
        *((method, 404) for method in ("COPY", "MOVE", "LOCK", "UNLOCK")),
        ("MKCOL", 405),  # RFC 4918 §9.3.1
        ("OPTIONS", 200),
    ],
)
@pytest.mark.parametrize("locked", [False, True])
def test_a_file_with_a_slash_behind_it_is_nothing(
    locked: bool, method: str, status: int, app: Local, box: str, disk: Path
) -> None:
    """A path that ends in a slash means a collection, and there is none; nor does anything make one of a file."""
    app("PUT", f"{box}/f", b"x")
    token = app.lock(f"{box}/f").token if locked else "urn:uuid:00000000-0000-0000-0000-000000000000"
    body = {
        "LOCK": lockinfo(),
        "PROPPATCH": b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><a/></D:prop></D:set></D:propertyupdate>',
    }.get(method, b"new")
    fields = {
        "PATCH": {"Content-Type": "application/x-sabredav-partialupdate", "X-Update-Range": "append"},
        "UNLOCK": {"Lock-Token": f"<{token}>"},
        "MKCOL": {},
    }.get(method, {"If": f"(<{token}>)"} if locked else {})
    fields = {"Destination": app.url(f"{box}/new"), **fields}
    answer = app(method, f"{box}/f/", b"" if method in ("MKCOL", "PROPFIND") else body, fields)
    assert answer.status == status
    if method == "LOCK":
        assert app(method, f"{box}/f/", headers={"If": f"(<{token}>)"}).status == status  # a refresh
    assert answer.headers.get("allow") in (None, "OPTIONS") or method == "MKCOL"
    assert {name: (disk / name).read_bytes() for name in os.listdir(disk)} == {"f": b"x"}
    assert len(app.propfind(f"{box}/f", "lockdiscovery").find("//D:activelock")) == locked


def test_a_path_with_a_slash_where_nothing_is_can_become_a_collection_alone(app: Local, box: str, disk: Path) -> None:
    assert app("OPTIONS", f"{box}/new/").headers["allow"] == "OPTIONS, MKCOL"
    put = app("PUT", f"{box}/new/", b"x")
    assert (put.status, put.headers["allow"]) == (405, "OPTIONS, MKCOL")
    assert app.lock(f"{box}/new/").status == 409
    assert os.listdir(disk) == []
    assert app("MKCOL", f"{box}/new/").status == 201


# --- Unicode


@pytest.mark.parametrize(("stored", "asked"), [(NFC, NFD), (NFD, NFC)])
def test_both_forms_find_the_one_file(stored: str, asked: str, app: Local, box: str, disk: Path) -> None:
    """Finder sends NFD, everybody else NFC."""
    (disk / stored).write_bytes(b"content")
    path, other = f"{box}/{quote(asked)}", f"{box}/{quote(stored)}"
    assert app("GET", path).body == app("GET", other).body == b"content"
    assert app("HEAD", path).headers["etag"] == app("HEAD", other).headers["etag"]
    # As it was asked for, it is answered; in a listing it stands as it is stored.
    assert app.propfind(path, "getetag").hrefs() == [path]
    assert app.propfind(box, "getetag", depth="1").hrefs() == [f"{box}/", other]
    # Written under the other spelling it is the same file, which keeps its name.
    assert app("PUT", path, b"new").status == 204
    assert os.listdir(disk) == [stored]
    assert app("MKCOL", path).status == 405
    assert app("PUT", path, b"newer", If_None_Match="*").status == 412
    # Properties and locks are those of the file.
    colour(app, path)
    assert values(app, other, "colour") == ["red"]
    lock = app.lock(path)
    assert lock.status == 200
    assert lock.texts("//D:lockroot/D:href") == [path]
    assert app("PUT", other, b"through the lock").status == 423
    assert app("DELETE", other).status == 423
    assert app("COPY", path, Destination=f"{box}/copy").status == 201
    assert app("MOVE", f"{box}/copy", Destination=app.url(other)).status == 423
    condition = f"<{app.url(path)}> (<{lock.token}>)"
    assert app("PUT", other, b"with the token", If=condition).status == 204
    assert app("UNLOCK", other, Lock_Token=f"<{lock.token}>").status == 204
    assert app("DELETE", path).status == 204
    assert sorted(os.listdir(disk)) == ["copy"]


def test_new_names_are_made_in_nfc(app: Local, box: str, disk: Path) -> None:
    for number, method in enumerate(("PUT", "MKCOL", "LOCK")):
        name = f"{number}{NFD}"
        path = f"{box}/{quote(name)}"
        assert (app.lock(path) if method == "LOCK" else app(method, path)).status == 201
    app("PUT", f"{box}/f", b"x")
    for method in ("COPY", "MOVE"):
        assert app(method, f"{box}/f", Destination=app.url(f"{box}/{quote(method + NFD)}")).status == 201
    assert sorted(os.listdir(disk)) == sorted([f"{number}{NFC}" for number in range(3)] + ["COPY" + NFC, "MOVE" + NFC])


def test_folders_on_the_way_may_be_spelt_either_way(app: Local, box: str, disk: Path) -> None:
    (disk / f"1{NFD}" / f"2{NFC}").mkdir(parents=True)
    path = f"{box}/{quote('1' + NFC)}/{quote('2' + NFD)}/{quote('3' + NFD)}"
    assert app("PUT", path, b"x").status == 201
    assert os.listdir(disk / f"1{NFD}" / f"2{NFC}") == [f"3{NFC}"]
    assert app("PUT", f"{box}/{quote('4' + NFC)}/x", b"x").status == 409


def test_what_is_spelt_exactly_as_it_is_comes_first(app: Local, box: str, disk: Path) -> None:
    """Two files that differ in form alone, made by others, are two files."""
    for name in (NFC, NFD):
        (disk / name).write_text(name)
    for name in (NFC, NFD):
        assert app("GET", f"{box}/{quote(name)}").body.decode() == name
        colour(app, f"{box}/{quote(name)}")
    app("DELETE", f"{box}/{quote(NFC)}")
    assert os.listdir(disk) == [NFD]


def test_a_name_is_given_another_form(app: Local, box: str, disk: Path) -> None:
    (disk / NFD).write_text("content")
    colour(app, f"{box}/{quote(NFD)}")
    where = {"Destination": app.url(f"{box}/{quote(NFC)}"), "Overwrite": "F"}
    assert app("COPY", f"{box}/{quote(NFD)}", headers=where).status == 403
    assert app("MOVE", f"{box}/{quote(NFD)}", headers=where).status == 201
    assert os.listdir(disk) == [NFC]
    assert values(app, f"{box}/{quote(NFC)}", "colour") == ["red"]
    # The other way round there is nothing to do: new names are NFC.
    where["Destination"] = app.url(f"{box}/{quote(NFD)}")
    assert app("MOVE", f"{box}/{quote(NFC)}", headers=where).status == 403


def test_ascii_names_cost_no_look(app: Local, box: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise AssertionError("looked for another spelling")

    monkeypatch.setattr(spelling.Spelling, "_exists", refuse)
    assert app("PUT", f"{box}/f", b"x").status == 201
    assert app("GET", f"{box}/f").status == 200
    assert app("GET", f"{box}/missing").status == 404
    # Nor do those of scripts that have but one form.
    assert app("PUT", f"{box}/{quote('日本')}", b"x").status == 201


def test_a_spelling_that_changes_under_a_request_is_told(
    app: Local, box: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk / NFD).write_text("content")

    def meanwhile() -> Iterator[bytes]:
        yield b"new"
        (disk / NFD).rename(disk / NFC)

    answer = app("PUT", f"{box}/{quote(NFC)}", meanwhile())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert os.listdir(disk) == [NFC]
    assert (disk / NFC).read_text() == "content"


# --- case


def test_case_matters_by_default(app: Local, box: str, disk: Path) -> None:
    app("PUT", f"{box}/Readme.TXT", b"one")
    assert app("GET", f"{box}/readme.txt").status == 404
    assert app("PUT", f"{box}/readme.txt", b"two").status == 201
    assert sorted(os.listdir(disk)) == ["Readme.TXT", "readme.txt"]
    assert app("MOVE", f"{box}/readme.txt", Destination=f"{box}/README.txt").status == 201
    assert sorted(os.listdir(disk)) == ["README.txt", "Readme.TXT"]


@pytest.fixture(params=["setting", "disk"])
def caseless(
    request: pytest.FixtureRequest, make: Callable[..., tuple[Local, Path]], monkeypatch: pytest.MonkeyPatch
) -> tuple[Local, Path]:
    """A share that does not care about case; and one whose disk (so it says) does not either."""
    if request.param == "disk":
        monkeypatch.setattr(spelling.Spelling, "_disk_ignores_case", True)
        return make()
    return make(case_insensitive=True)


def test_a_share_that_does_not_care_about_case(caseless: tuple[Local, Path]) -> None:
    app, root = caseless
    app("MKCOL", "/Docs")
    app("PUT", "/Docs/Readme.TXT", b"content")
    for path in ("/docs/readme.txt", "/DOCS/README.TXT", "/Docs/Readme.TXT"):
        assert app("GET", path).body == b"content"
        assert app.propfind(path, "getetag").hrefs() == [path]
    assert app.propfind("/docs/", "getetag", depth="1").hrefs() == ["/docs/", "/docs/Readme.TXT"]
    assert app("PUT", "/docs/readme.txt", b"new").status == 204
    assert app("MKCOL", "/DOCS").status == 405
    assert app("PUT", "/docs/New.txt", b"x", If_None_Match="*").status == 201
    assert app("PUT", "/docs/NEW.TXT", b"x", If_None_Match="*").status == 412
    assert sorted(os.listdir(root / "Docs")) == ["New.txt", "Readme.TXT"]
    assert app("GET", "/docs/other").status == 404
    assert app("PUT", "/other/f", b"x").status == 409
    colour(app, "/docs/README.txt")
    lock = app.lock("/docs/readme.TXT")
    assert lock.texts("//D:lockroot/D:href") == ["/docs/readme.TXT"]
    for path in ("/Docs/Readme.TXT", "/docs/readme.txt"):
        assert values(app, path, "colour") == ["red"]
        assert app("PUT", path, b"x").status == 423
        assert app("PUT", path, b"y", If=f"(<{lock.token}>)").status == 204
    assert app("UNLOCK", "/docs/rEADME.txt", Lock_Token=f"<{lock.token}>").status == 204
    assert app("DELETE", "/docs/README.TXT").status == 204
    assert os.listdir(root / "Docs") == ["New.txt"]


def test_a_name_is_given_another_case(caseless: tuple[Local, Path]) -> None:
    """Explorer: MOVE Readme.TXT to readme.txt, which is the same file as target."""
    app, root = caseless
    app("PUT", "/Readme.TXT", b"content")
    colour(app, "/Readme.TXT")
    assert app("MOVE", "/Readme.TXT", Destination="/readme.txt", Overwrite="F").status == 201
    assert "readme.txt" in os.listdir(root)
    assert "Readme.TXT" not in os.listdir(root)
    assert app("GET", "/README.TXT").body == b"content"
    assert values(app, "/readme.txt", "colour") == ["red"]
    assert app("MOVE", "/readme.txt", Destination="/readme.txt").status == 403
    app("MKCOL", "/Folder")
    app("PUT", "/Folder/f", b"x")
    colour(app, "/Folder/f")
    assert app("MOVE", "/folder", Destination="/FOLDER").status == 201
    assert values(app, "/Folder/F", "colour") == ["red"]
    assert app("MOVE", "/folder", Destination="/folder/below").status == 403
    assert app("COPY", "/folder", Destination="/Folder").status == 403


def test_two_names_that_would_be_one_are_not_made_at_once(make: Callable[..., tuple[Local, Path]]) -> None:
    """Whoever comes second finds the file of the first, or is told to try again."""
    app, root = make(case_insensitive=True)
    for number in range(10):
        statuses: list[int] = []
        ready = threading.Barrier(4)

        def put(path: str, statuses: list[int] = statuses, ready: threading.Barrier = ready) -> None:
            ready.wait()
            statuses.append(app("PUT", path, b"x").status)

        threads = [threading.Thread(target=put, args=(f"/{name}{number}",)) for name in ("a", "A", "a", "A")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses.count(201) == 1
        assert set(statuses) <= {201, 204, 503}
        assert sum(name.lower() == f"a{number}" for name in os.listdir(root)) == 1


def test_letters_that_become_two_are_not_the_same() -> None:
    """As on Windows: "ß" is not "SS"."""
    assert folded("straße") != folded("STRASSE")
    assert folded("ÜBER") == folded("über") == folded("u\N{COMBINING DIAERESIS}ber")
    assert folded("a") == folded("A") != folded("b")


@pytest.mark.parametrize(
    ("names", "ignoring", "expected"),
    [
        ([], True, False),
        (["123"], True, False),
        (["a"], False, False),
        (["a"], True, True),
        (["a", "A"], True, False),
    ],
)
def test_whether_the_disk_ignores_case_is_seen_by_its_names(
    names: list[str], ignoring: bool, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        (tmp_path / name).touch()
    tree = Tree(str(tmp_path), ROOT)
    monkeypatch.setattr(tree._spelling, "_exists", lambda _: ignoring)
    assert tree._spelling.ignores_case is expected
    tree.close()


# --- hidden


def test_hidden_names_are_not_there(make: Callable[..., tuple[Local, Path]]) -> None:
    app, root = make(hide=["Thumbs.db", "*.tmp", ".git"])
    for name in ("thumbs.db", "a.TMP", "kept"):
        (root / name).touch()
    (root / ".git").mkdir()
    (root / ".git" / "config").touch()
    assert app.propfind("/", "getetag", depth="1").hrefs() == ["/", "/kept"]
    assert b"thumbs" not in app("GET", "/").body
    for path in ("/thumbs.db", "/Thumbs.DB", "/a.TMP", "/.git", "/.git/", "/.git/config"):
        for method in ("GET", "HEAD", "PROPFIND", "DELETE", "PROPPATCH", "COPY", "MOVE"):
            fields = {"Depth": "0", "Destination": "/x"}
            assert app(method, path, headers=fields).status == 404
        for method in ("PUT", "MKCOL"):
            assert app(method, path).status == 403
        assert app.lock(path).status in (403, 409)
        assert app("COPY", "/kept", Destination=path).status == 403
        assert app("OPTIONS", path).status == 200
    assert sorted(os.listdir(root / ".git")) == ["config"]


def test_hidden_members_are_not_copied_and_go_with_their_folder(make: Callable[..., tuple[Local, Path]]) -> None:
    app, root = make(hide=["*.tmp"])
    app("MKCOL", "/d")
    app("PUT", "/d/f", b"x")
    (root / "d" / "x.tmp").touch()
    assert app("COPY", "/d", Destination="/c").status == 201
    assert os.listdir(root / "c") == ["f"]
    assert app("DELETE", "/d").status == 204
    assert not (root / "d").exists()


def test_what_finder_keeps_beside_files_is_not_hidden_by_default(app: Local, box: str) -> None:
    for name in ("._a", ".DS_Store", "Thumbs.db", "desktop.ini"):
        assert app("PUT", f"{box}/{name}", b"x" * 82).status == 201
    assert len(app.propfind(box, "getetag", depth="1").hrefs()) == 5


def test_the_servers_own_pages_have_their_place(app: Local, box: str, disk: Path) -> None:
    """The reserved name is one at the top alone."""
    (disk.parent / "-").mkdir(exist_ok=True)
    (disk.parent / "-" / "f").touch()
    assert "/-/" not in app.propfind("/", "getetag", depth="1").hrefs()
    for path in ("/-", "/-/", "/-/f", "/%2d/f"):
        assert app("GET", path).status == 404
        assert app("PUT", path, b"x").status == 404
        assert app("COPY", box, Destination=path).status == 403
    assert app("MKCOL", f"{box}/-").status == 201
    assert app("PUT", f"{box}/-/f", b"x").status == 201
    assert app("PUT", "/-x", b"x").status == 201


# --- symbolic links


def linked(root: Path) -> None:
    (root / "real").mkdir()
    (root / "real" / "f").write_text("content")
    (root / "folder").symlink_to("real")
    (root / "file").symlink_to("real/f")
    (root / "real" / "up").symlink_to("..")
    (root / "out").symlink_to("/etc")
    (root / "sneaky").symlink_to("../share2")
    (root / "dangling").symlink_to("nowhere")
    (root / "self").symlink_to("self")
    (root / "hidden.tmp").write_text("hidden")
    (root / "unhidden").symlink_to("hidden.tmp")
    (root.parent / "share2").mkdir()
    (root.parent / "share2" / "secret").write_text("secret")


OUTSIDE = (
    "/out",
    "/out/passwd",
    "/sneaky",
    "/sneaky/secret",
    "/dangling",
    "/self",
    "/unhidden",
    "/folder/up/out/passwd",
)


def test_links_are_not_there_by_default(app: Local, box: str, disk: Path) -> None:
    linked(disk)
    for path in ("/folder", "/folder/f", "/file", *OUTSIDE):
        assert app("GET", box + path).status == 404
        assert app("PUT", box + path, b"x").status in (403, 409)
    assert app.propfind(box, "getetag", depth="1").hrefs() == [f"{box}/", f"{box}/hidden.tmp", f"{box}/real/"]


def test_links_are_followed_within_the_share(make: Callable[..., tuple[Local, Path]]) -> None:
    app, root = make(follow_symlinks=True, hide=["*.tmp"])
    linked(root)
    for path in ("/file", "/folder/f", "/real/f", "/folder/up/real/f", "/real/up/folder/up/file"):
        assert app("GET", path).body == b"content"
        assert app.propfind(path, "getetag").hrefs() == [path]
    for path in OUTSIDE:
        assert app("GET", path).status == 404
        assert app("PUT", path + "/x", b"x").status in (403, 409)
    assert app.propfind("/", "getetag", depth="1").hrefs() == ["/", "/file", "/folder/", "/real/"]
    assert app.propfind("/folder", "getetag", depth="1").hrefs() == ["/folder/", "/folder/f", "/folder/up/"]
    assert (root.parent / "share2" / "secret").read_text() == "secret"


def test_a_link_is_no_way_round_a_lock(make: Callable[..., tuple[Local, Path]]) -> None:
    app, root = make(follow_symlinks=True)
    linked(root)
    token = app.lock("/real/f").token
    for path in ("/file", "/folder/f", "/folder/up/real/f"):
        assert app("PUT", path, b"x").status == 423
        assert app("PROPPATCH", path, b'<D:propertyupdate xmlns:D="DAV:"><D:set/></D:propertyupdate>').status == 423
        assert app("PUT", path, b"new content", If=f"(<{token}>)").status == 204
    assert (root / "file").is_symlink()
    assert (root / "real" / "f").read_text() == "new content"
    app("UNLOCK", "/file", Lock_Token=f"<{token}>")
    colour(app, "/folder/f")
    assert values(app, "/real/f", "colour") == values(app, "/file", "colour") == ["red"]
    told = app.propfind("/", "colour", namespace="urn:x", depth="1")
    assert [each.text for each in told.find("//*[local-name()='colour']") if each.text] == ["red"]
    assert app("PUT", "/folder/new", b"x").status == 201
    assert (root / "real" / "new").exists()


def test_a_link_itself_is_removed_moved_and_replaced(make: Callable[..., tuple[Local, Path]]) -> None:
    """To unmap one URL leaves what others lead to (RFC 4918 §9.6)."""
    app, root = make(follow_symlinks=True)
    linked(root)
    assert app("DELETE", "/file").status == 204
    assert app("DELETE", "/folder/up").status == 204
    assert (root / "real" / "f").read_text() == "content"
    assert not (root / "real" / "up").exists()
    assert app("MOVE", "/folder", Destination="/real/inner").status == 403
    assert app("MOVE", "/folder", Destination="/renamed").status == 201
    assert os.readlink(root / "renamed") == "real"
    app("PUT", "/plain", b"plain")
    assert app("MOVE", "/plain", Destination="/renamed").status == 204
    assert (root / "renamed").read_text() == "plain"
    assert sorted(os.listdir(root / "real")) == ["f"]
    (root / "again").symlink_to("real")
    assert app("COPY", "/again", Destination="/copy").status == 201
    assert not (root / "copy").is_symlink()
    assert os.listdir(root / "copy") == ["f"]


def test_links_in_a_folder_are_copied_as_links(make: Callable[..., tuple[Local, Path]]) -> None:
    app, root = make(follow_symlinks=True)
    linked(root)
    (root / "real" / "beside").symlink_to("f")
    assert app("COPY", "/real", Destination="/copy").status == 201
    assert os.readlink(root / "copy" / "beside") == "f"
    assert app("GET", "/copy/beside").body == b"content"
    assert app("GET", "/copy/up/copy/f").body == b"content"


def test_without_openat2_links_are_not_followed(
    make: Callable[..., tuple[Local, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.storage.resolve.has_openat2", lambda: False)
    app, root = make(follow_symlinks=True)
    linked(root)
    assert app("GET", "/file").status == 404
    assert app("GET", "/real/f").status == 200


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_look_that_fails_is_told(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    tree = Tree(str(tmp_path), ROOT, follow_symlinks=True)

    def fail(*_: object) -> int:
        raise OSError(number, "")

    monkeypatch.setattr(tree._spelling, "_open", fail)
    for act in (
        lambda: tree._spelling._exists(("a",)),
        lambda: tree._spelling._list(()),
        lambda: tree._spelling._led(("a",), link=False),
    ):
        with pytest.raises(OSError):  # noqa: PT011
            act()
    tree.close()


def test_a_root_that_is_moved_under_a_look_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    tree = Tree(str(tmp_path), ROOT, follow_symlinks=True)
    monkeypatch.setattr(
        os, "readlink", lambda path: "/elsewhere/a" if path.endswith(str(tree._root.fd)) else "/moved/a"
    )
    assert tree._spelling._led(("a", "b"), link=False) == ("a", "b")
    tree.close()


def test_a_folder_that_is_gone_holds_no_names(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path), ROOT, ignore_case=True)
    assert tree._spelling._list(("missing",)) == []
    tree.close()


def test_a_link_that_changes_under_a_look_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    tree = Tree(str(tmp_path), ROOT, follow_symlinks=True)
    assert sorted(name for name, _ in tree.members(ROOT)) == ["link", "real"]
    monkeypatch.setattr(tree._spelling, "true", lambda _: ("gone",))
    assert tree._linked(("link",)) is None
    tree.close()
