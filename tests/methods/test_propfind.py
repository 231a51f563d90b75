"""PROPFIND (RFC 4918 §9.1, §14; RFC 4331; RFC 8144), row by row."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from inprocess import Content, Local, local
from lxml import etree
from wire import Answer

from davserver.methods import listing, props
from davserver.protocol.errors import Unavailable
from davserver.protocol.paths import DavPath
from davserver.storage.property_store import Dead, DeadOfMembers
from davserver.storage.sqlite import SqliteState
from davserver.storage.tree import Tree

D = "{DAV:}"
EXPLORER = "Microsoft-WebDAV-MiniRedir/10.0.19045"
FILE_PROPS = {
    "resourcetype", "creationdate", "getlastmodified", "getcontentlength", "getcontenttype", "getetag", "displayname",
    "supportedlock", "lockdiscovery",
}  # fmt: skip
FOLDER_PROPS = FILE_PROPS - {"getcontentlength", "getcontenttype", "getetag"}


def found(answer: Answer, href: str) -> dict[str, dict[str, etree._Element]]:
    """Of one resource: status → local name → element."""
    told: dict[str, dict[str, etree._Element]] = {}
    for response in answer.xml:
        if response.findtext(f"{D}href") == href:
            for propstat in response.findall(f"{D}propstat"):
                status = propstat.findtext(f"{D}status") or ""
                told[status] = {etree.QName(each).localname: each for each in propstat.findall(f"{D}prop/*")}
    return told


OK, MISSING = "HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"


@pytest.fixture
def tree(app: Local, box: str) -> str:
    app("MKCOL", f"{box}/d")
    app("PUT", f"{box}/d/deep", b"x")
    app("PUT", f"{box}/f.txt", b"12345", X_OC_Mtime="1600000000")
    app.proppatch(f"{box}/f.txt", '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>')
    return box


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \r\n",
        b'<?xml version="1.0"?><propfind xmlns="DAV:"><allprop/></propfind>',
        b'<D:propfind xmlns:D="DAV:"><D:allprop/><!-- a comment --><x xmlns="urn:y"/></D:propfind>',
        '<?xml version="1.0" encoding="utf-16"?><propfind xmlns="DAV:"><allprop/></propfind>'.encode("utf-16"),
        [b'<propfind xmlns="DAV:">', b"<allprop/></propfind>"],
    ],
)
def test_allprop(body: bytes, app: Local, tree: str) -> None:
    """RFC 4918 §9.1, §14.2: every live property of it, every dead one, and no quota (RFC 4331 §3)."""
    answer = app("PROPFIND", f"{tree}/f.txt", body, Depth="0")
    assert answer.status == 207
    assert answer.headers["content-type"] == "application/xml; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    told = found(answer, f"{tree}/f.txt")
    assert set(told) == {OK}
    assert set(told[OK]) == FILE_PROPS | {"colour"}
    values = {name: element.text for name, element in told[OK].items()}
    assert values["getcontentlength"] == "5"
    assert values["getcontenttype"] == "text/plain"
    assert values["getlastmodified"] == "Sun, 13 Sep 2020 12:26:40 GMT"
    assert values["creationdate"] == "2020-09-13T12:26:40Z"
    assert values["displayname"] == "f.txt"
    assert values["colour"] == "red"
    assert values["getetag"] == app("HEAD", f"{tree}/f.txt").headers["etag"]
    assert len(told[OK]["resourcetype"]) == 0
    scopes = [entry.find(f"{D}lockscope")[0].tag for entry in told[OK]["supportedlock"]]
    assert scopes == [f"{D}exclusive", f"{D}shared"]
    folder = found(app("PROPFIND", tree, body, Depth="0"), tree + "/")
    assert set(folder[OK]) == FOLDER_PROPS
    assert folder[OK]["resourcetype"][0].tag == f"{D}collection"


@pytest.mark.parametrize("path", ["", "/"])
@pytest.mark.parametrize(
    ("depth", "members"),
    [("0", []), ("1", ["/d/", "/f.txt"]), ("1,noroot", ["/d/", "/f.txt"]), ("1, NoRoot", ["/d/", "/f.txt"])],
)
def test_depth(depth: str, members: list[str], path: str, app: Local, tree: str) -> None:
    """RFC 4918 §9.1, §10.2; with and without the slash of a collection."""
    answer = app.propfind(tree + path, "resourcetype", depth=depth)
    assert answer.hrefs() == [tree + "/", *(tree + member for member in members)]


@pytest.mark.parametrize("depth", ["infinity", "Infinity"])
def test_infinity_is_refused_by_default(depth: str, app: Local, tree: str) -> None:
    """RFC 4918 §9.1, §9.1.1."""
    answer = app("PROPFIND", tree, b"", Depth=depth)
    assert answer.status == 403
    assert answer.find("/D:error/D:propfind-finite-depth")
    # Of a file there is nothing below.
    assert app("PROPFIND", f"{tree}/f.txt", b"", Depth=depth).status == 207


def test_without_a_depth_it_is_one_level_where_infinity_is_refused(app: Local, tree: str) -> None:
    """RFC 4918 §9.1 says infinity, with SHOULD. webdav4 (Python) asks so whether a folder is one, and for its times."""
    answer = app("PROPFIND", tree, b"")
    assert answer.status == 207
    assert answer.hrefs() == [f"{tree}/", f"{tree}/d/", f"{tree}/f.txt"]
    assert app("PROPFIND", f"{tree}/f.txt", b"").status == 207


@pytest.mark.parametrize("depth", ["2", "", "-1", "0, infinity", "one"])
def test_a_depth_that_is_none_is_400(depth: str, app: Local, tree: str) -> None:
    assert app("PROPFIND", tree, b"", Depth=depth).status == 400


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path, limits={"propfind_infinity": True, "propfind_resources": 10}) as app:
        yield app


def test_infinity_where_it_is_switched_on(deep: Local, tmp_path: Path) -> None:
    for path in ("/a", "/a/b", "/a/b/c", "/e"):
        deep("MKCOL", path)
    for path in ("/a/1", "/a/b/2", "/a/b/c/3"):
        deep("PUT", path, b"x")
    answer = deep.propfind("/", "resourcetype", depth="infinity")
    assert deep("PROPFIND", "/", b"").hrefs() == answer.hrefs()
    assert answer.hrefs() == ["/", *sorted(["/a/", "/a/1", "/a/b/", "/a/b/2", "/a/b/c/", "/a/b/c/3", "/e/"])]
    (tmp_path / "share" / "loop").symlink_to(".")
    assert len(deep.propfind("/", "resourcetype", depth="infinity").hrefs()) == 8


def test_infinity_has_an_end(deep: Local) -> None:
    """RFC 6578 §3.6: told by a 507 for the collection itself."""
    deep("MKCOL", "/a")
    for number in range(10):
        deep("PUT", f"/a/{number}", b"x")
    answer = deep.propfind("/", "resourcetype", depth="infinity")
    assert answer.status == 207
    assert len(answer.find("//D:propstat")) == 11
    assert answer.texts("/D:multistatus/D:response[last()]/D:status") == ["HTTP/1.1 507 Insufficient Storage"]
    assert answer.find("/D:multistatus/D:response[last()]/D:error/D:number-of-matches-within-limits")
    deep("DELETE", "/a/9")
    assert "507" not in deep.propfind("/", "resourcetype", depth="infinity").body.decode()


def test_infinity_goes_on_where_a_folder_has_gone(deep: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/a", "/b"):
        deep("MKCOL", path)
        deep("PUT", f"{path}/f", b"x")
    real = listing.Listing.members

    def vanishing(self: listing.Listing, collection: object, base: str) -> object:
        if base == "/b/" and (tmp_path / "share/b").exists():
            os.unlink(tmp_path / "share/b/f")
            os.rmdir(tmp_path / "share/b")
        return real(self, collection, base)  # type: ignore[arg-type]

    monkeypatch.setattr(props.Listing, "members", vanishing)
    assert set(deep.propfind("/", "resourcetype", depth="infinity").hrefs()) == {"/", "/a/", "/a/f", "/b/"}


@pytest.mark.parametrize(
    ("names", "there", "absent"),
    [
        (["getetag"], ["getetag"], []),
        (["getetag", "colour"], ["getetag"], ["colour"]),
        (["nothing"], [], ["nothing"]),
        (["quota-used-bytes", "quota-available-bytes"], [], ["quota-used-bytes", "quota-available-bytes"]),
        (["quota", "quotaused"], [], ["quota", "quotaused"]),
        (sorted(FILE_PROPS), sorted(FILE_PROPS), []),
        (["lastmodified", "source", "getcontentlanguage"], [], ["lastmodified", "source", "getcontentlanguage"]),
    ],
)
def test_named_properties(names: list[str], there: list[str], absent: list[str], app: Local, tree: str) -> None:
    told = found(app.propfind(f"{tree}/f.txt", *names), f"{tree}/f.txt")
    assert sorted(told.get(OK, {})) == sorted(there)
    assert sorted(told.get(MISSING, {})) == sorted(absent)
    assert all(element.text is None and len(element) == 0 for element in told.get(MISSING, {}).values())


def test_named_dead_properties(app: Local, tree: str) -> None:
    told = found(app.propfind(tree, "colour", "size", namespace="urn:x", depth="1"), f"{tree}/f.txt")
    assert (told[OK]["colour"].text, list(told[MISSING])) == ("red", ["size"])
    assert list(found(app.propfind(tree, "colour", namespace="urn:x", depth="1"), f"{tree}/d/")) == [MISSING]


@pytest.mark.parametrize(
    "inner",
    ["<D:allprop/><D:propname/>", "<D:prop/><D:allprop/>", "", "<x xmlns='urn:y'/>", "<D:include/>"],
)
def test_what_asks_for_nothing_or_for_two_things_is_400(inner: str, app: Local, tree: str) -> None:
    """RFC 4918 §14.20."""
    assert app("PROPFIND", tree, f'<D:propfind xmlns:D="DAV:">{inner}</D:propfind>', Depth="0").status == 400


def test_a_prop_without_names_is_answered(app: Local, tree: str) -> None:
    """RFC 4918 §14.24: a response holds a propstat at least."""
    answer = app("PROPFIND", tree, '<D:propfind xmlns:D="DAV:"><D:prop/></D:propfind>', Depth="0")
    assert found(answer, tree + "/") == {OK: {}}


@pytest.mark.parametrize("body", ["<propfind", "junk", '<x xmlns="DAV:"/>', "<!DOCTYPE x><x/>", b"\xff\xfe\x00"])
def test_a_body_that_is_none_is_400(body: str | bytes, app: Local, tree: str) -> None:
    assert app("PROPFIND", tree, body, Depth="0").status == 400


def test_a_body_that_is_too_large_is_413(app: Local, tree: str) -> None:
    body = b'<propfind xmlns="DAV:"><allprop/></propfind>' + b" " * (1 << 20)
    assert app("PROPFIND", tree, body, Depth="0").status == 413
    assert app("PROPFIND", tree, [body], Depth="0").status == 413


@pytest.mark.parametrize("path", ["/missing", "/missing/", "/f.txt/", "/f.txt/below", "/.davserver~stage"])
def test_what_is_missing_is_a_plain_404(path: str, app: Local, tree: str) -> None:
    """LibreOffice and Nautilus fail on a 207 that holds one; Explorer remembers a 404 that may be stored."""
    for depth in ("0", "1"):
        answer = app.propfind(tree + path, "getetag", depth=depth)
        assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")


# --- preferences


@pytest.mark.parametrize("fields", [{"Prefer": "return=minimal"}, {"Brief": "t"}, {"Prefer": 'return="minimal"; x=1'}])
def test_no_more_than_needed(fields: dict[str, str], app: Local, tree: str) -> None:
    """RFC 8144 §2.1, MS-WDVSE."""
    body = '<propfind xmlns="DAV:"><prop><getetag/><nothing/></prop></propfind>'
    answer = app("PROPFIND", f"{tree}/f.txt", body, {"Depth": "0", **fields})
    assert set(found(answer, f"{tree}/f.txt")) == {OK}
    assert answer.headers.get("preference-applied") == ("return=minimal" if "Prefer" in fields else None)
    answer = app("PROPFIND", tree, body, {"Depth": "0", **fields})
    assert found(answer, tree + "/") == {OK: {}}


@pytest.mark.parametrize(
    "fields",
    [
        {"Prefer": "return=representation"},
        {"Prefer": "wait=5"},
        {"Prefer": "return=representation, return=minimal"},
        {"Prefer": ""},
        {"Brief": "f"},
        {"Brief": ""},
    ],
)
def test_what_is_no_such_wish(fields: dict[str, str], app: Local, tree: str) -> None:
    answer = app(
        "PROPFIND", tree, '<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>', {"Depth": "0", **fields}
    )
    assert set(found(answer, tree + "/")) == {MISSING}
    assert "preference-applied" not in answer.headers


def test_a_listing_without_its_folder(app: Local, tree: str) -> None:
    """RFC 8144 §3."""
    answer = app.propfind(tree, "resourcetype", depth="1", Prefer="depth-noroot, return=minimal")
    assert sorted(answer.texts("//D:response/D:href")) == [f"{tree}/d/", f"{tree}/f.txt"]
    assert answer.headers["preference-applied"] == "return=minimal, depth-noroot"
    assert app.propfind(tree, "resourcetype", Prefer="depth-noroot").hrefs() == [tree + "/"]
    assert app.propfind(f"{tree}/f.txt", "resourcetype", depth="1", Prefer="depth-noroot").hrefs() == [f"{tree}/f.txt"]


# --- the form that clients need


def test_the_form_of_an_answer(app: Local, box: str) -> None:
    """`D:` at the root, no indentation, href first, 200 before 404, paths that are absolute and ASCII."""
    name = "a & b;c #1 ü 100%?.txt"
    app("PUT", f"{box}/a%20&%20b;c%20%231%20%C3%BC%20100%25%3F.txt", b"x")
    text = app.propfind(box, "nothing", "getetag", depth="1").body.decode()
    assert text.startswith('<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:"><D:response><D:href>')
    assert text.isascii()
    assert "\n" not in text.partition("\n")[2]
    assert f"<D:href>{box}/a%20%26%20b%3Bc%20%231%20%C3%BC%20100%25%3F.txt</D:href><D:propstat>" in text
    assert "&amp;" not in text
    for response in re.findall("<D:response>.*?</D:response>", text):
        statuses = re.findall("<D:status>(.*?)</D:status>", response)
        assert statuses in ([OK, MISSING], [MISSING])
    displayname = app.propfind(box, "displayname", depth="1").texts("//D:response[2]//D:displayname")
    assert displayname == [name]


def test_libreoffice_is_told_an_ampersand_that_it_can_save_to(app: Local, box: str) -> None:
    """With "%26" it saves without its lock, and is refused; "&amp;" it reads as " & "."""
    for path in ("a%20&%20b", "plain", "d&d"):
        assert app("MKCOL" if path == "d&d" else "PUT", f"{box}/{path}").status == 201
    assert app("PUT", f"{box}/d&d/%5D%5D%3E&").status == 201
    assert app.lock(f"{box}/a%20&%20b").status == 200
    answer = app.propfind(f"{box}/", "lockdiscovery", depth="1", User_Agent="LibreOffice 7.4.7.2")
    assert answer.hrefs() == [f"{box}/", f"{box}/a%20&%20b", f"{box}/d&d/", f"{box}/plain"]
    assert f"<D:href><![CDATA[{box}/a%20&%20b]]></D:href>".encode() in answer.body
    assert answer.texts("//D:lockroot/D:href") == [f"{box}/a%20&%20b"]
    inner = app.propfind(f"{box}/d&d/", "getetag", depth="1", User_Agent="LibreOffice 7.4.7.2")
    assert inner.hrefs()[1] == f"{box}/d&d/%5D%5D%3E&"
    assert f"{box}/a%20%26%20b" in app.propfind(f"{box}/", "getetag", depth="1").hrefs()


@pytest.mark.parametrize("name", ["!", "$x", "a'b", "(1)", "*", "+", ",", ":", "=", "@", "~$a.docx", "-", "_", "..."])
def test_what_libreoffice_keeps_is_not_escaped(name: str, app: Local, box: str) -> None:
    app("PUT", f"{box}/{name}", b"x")
    assert app.propfind(box, "getetag", depth="1").hrefs()[1] == f"{box}/{name}"


def test_an_entry_for_explorer_is_short(app: Local, box: str) -> None:
    """It shows an empty folder when an answer passes 1 MB: at most 400 bytes for an entry with a short path."""
    for number in range(20):
        app("PUT", f"{box}/file{number:02}.docx", b"x" * 1000)
    app.lock(f"{box}/file00.docx")
    answer = app("PROPFIND", box, b"", Depth="1", User_Agent=EXPLORER)
    entries = re.findall(b"<D:response>.*?</D:response>", answer.body)
    short = [len(entry.replace(box.encode(), b"/share")) for entry in entries if b"file00" not in entry]
    assert max(short) <= 400
    text = answer.body.decode()
    assert "supportedlock" not in text
    assert text.count("<D:lockdiscovery>") == 1
    assert text.count("<D:lockdiscovery/>") == 0
    # Asked by name, or for one resource, it gets what it asks for.
    assert "supportedlock" in app.propfind(box, "supportedlock", depth="1", User_Agent=EXPLORER).body.decode()
    assert "supportedlock" in app("PROPFIND", box, b"", Depth="0", User_Agent=EXPLORER).body.decode()


def test_locks_are_shown_where_they_protect(app: Local, box: str) -> None:
    """RFC 4918 §15.8: also on members of a collection that is locked deep."""
    app("MKCOL", f"{box}/c")
    app("PUT", f"{box}/c/f", b"x")
    app("PUT", f"{box}/c/g", b"x")
    token = app.lock(f"{box}/c/f").token
    told = app.propfind(f"{box}/c", "lockdiscovery", depth="1")
    assert [len(found(told, f"{box}/c{name}")[OK]["lockdiscovery"]) for name in ("/", "/f", "/g")] == [0, 1, 0]
    (root,) = told.texts("//D:activelock/D:lockroot/D:href")
    assert root == f"{box}/c/f"
    app("DELETE", f"{box}/c/f", If=f"(<{token}>)")
    token = app.lock(f"{box}/c", Depth="infinity").token
    told = app.propfind(f"{box}/c", "lockdiscovery", depth="1")
    assert [len(found(told, f"{box}/c{name}")[OK]["lockdiscovery"]) for name in ("/", "/g")] == [1, 1]
    assert set(told.texts("//D:activelock/D:lockroot/D:href")) == {f"{box}/c/"}
    assert set(told.texts("//D:activelock/D:locktoken/D:href")) == {token}


def test_strange_names_and_what_vanishes(app: Local, box: str, disk: Path) -> None:
    """One name never breaks a listing: bytes that are no UTF-8 are left out, control characters have no displayname."""
    place = os.fsencode(disk)
    for name in (b"not-\xff-utf8", b"control-\x01", b"line\nbreak", b"tab\t", b"\xef\xbf\xbe", b"plain", b"<x>&y"):
        with open(os.path.join(place, name), "wb"):
            pass
    (disk / "dangling").symlink_to("nowhere")
    (disk / "outside").symlink_to("/etc")
    os.mkfifo(disk / "pipe")
    for answer in (app("PROPFIND", box, b"", Depth="1"), app.propfind(box, "displayname", "getetag", depth="1")):
        assert answer.status == 207
        hrefs = answer.hrefs()[1:]
        names = ["%3Cx%3E%26y", "%EF%BF%BE", "control-%01", "line%0Abreak", "plain", "tab%09"]
        assert hrefs == sorted(f"{box}/{name}" for name in names)
        for href in hrefs:
            assert app("GET", href).status == 200
            assert app.propfind(href, "displayname").status == 207
    assert list(found(app.propfind(f"{box}/control-%01", "displayname"), f"{box}/control-%01")) == [MISSING]
    assert (
        found(app.propfind(f"{box}/line%0Abreak", "displayname"), f"{box}/line%0Abreak")[OK]["displayname"].text
        == "line\nbreak"
    )


def test_many_members_come_in_blocks(app: Local, box: str, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "BLOCK", 7)
    for number in range(50):
        (disk / str(number)).touch()
    assert len(app.propfind(box, "getetag", depth="1").hrefs()) == 51


@pytest.mark.parametrize("agent", ["", "LibreOffice"])
@pytest.mark.parametrize(
    "body",
    [
        "",
        '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>',
        '<D:propfind xmlns:D="DAV:"><D:allprop/><D:include><D:owner/><colour xmlns="urn:x"/></D:include></D:propfind>',
        '<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><D:getcontentlength/><D:lockdiscovery/><D:supportedlock/>'
        '<D:current-user-privilege-set/><D:displayname/><colour xmlns="urn:x"/></D:prop></D:propfind>',
    ],
)
def test_a_listing_tells_of_each_member_what_it_tells_of_it_alone(
    body: str, agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, in the order of the folder, whatever stands beside it in a block."""
    monkeypatch.setattr(listing, "BLOCK", 7)
    with local(tmp_path, clock=lambda: 1_800_000_000.0) as app:
        folder = tmp_path / "share/d"
        folder.mkdir()
        for number in range(30):
            (folder / f"a folder {number}").mkdir()
            (folder / f"file {number}.docx").write_bytes(b"x" * number)
        for name in ("percent %s%25", "<&>;", "\u00fc\U0001f600", "line\nbreak", "control \x01", ".dot", "-"):
            (folder / name).touch()
        for name in ("a%20folder%203", "file%206.docx", "%3C%26%3E%3B"):
            app.proppatch(f"/d/{name}", '<D:set><D:prop><colour xmlns="urn:x">%s</colour></D:prop></D:set>')
        app.proppatch("/d/file%207.docx", "<D:set><D:prop><D:displayname>Mine</D:displayname></D:prop></D:set>")
        for name in ("a%20folder%204/", "file%208.docx", "-"):
            assert app.lock(f"/d/{name}").status == 200
        whole = app("PROPFIND", "/d/", body, Depth="1", User_Agent=agent)
        # LibreOffice is told "&" as it is, of members alone.
        plain = re.sub(rb"<!\[CDATA\[(.*?)\]\]>", lambda href: href[1].replace(b"&", b"%26"), whole.body)
        hrefs = re.findall("<D:response><D:href>(.*?)</D:href>", plain.decode())
        assert [DavPath.parse(href).name for href in hrefs[1:]] == os.listdir(folder)
        start, end = plain[: plain.index(b"<D:response>")], b"</D:multistatus>"
        alone = [app("PROPFIND", href, body, Depth="0", User_Agent=agent).body for href in hrefs]
        assert plain == start + b"".join(each.removeprefix(start).removesuffix(end) for each in alone) + end


def test_a_listing_asks_the_state_as_often_for_many_as_for_few(
    app: Local, box: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One query for locks below, one for those above, one for dead properties; and none for each member."""
    counts = []
    real = SqliteState.query
    for number in (1, 300):
        for each in range(number):
            (disk / str(each)).touch()
        queries: list[str] = []

        def counting(self: SqliteState, sql: str, *rest: Any, queries: list[str] = queries) -> Any:
            queries.append(sql)
            return real(self, sql, *rest)

        monkeypatch.setattr(SqliteState, "query", counting)
        assert len(app("PROPFIND", box, b"", Depth="1").hrefs()) == number + 1
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6


def test_an_answer_begins_before_the_listing_is_complete(
    app: Local, box: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2000):
        (disk / f"a name of some length {number}").touch()
    taken = []
    real = Tree._members

    def counting(self: Tree, *arguments: Any) -> Iterator[Any]:
        for member in real(self, *arguments):
            taken.append(member)
            yield member

    monkeypatch.setattr(Tree, "_members", counting)
    environ = {"REQUEST_METHOD": "PROPFIND", "REQUEST_URI": box, "HTTP_DEPTH": "1", "wsgi.input": Content(b"")}
    blocks = iter(app.app(environ, lambda *_: None))
    next(blocks)
    assert len(taken) < 1500
    assert b"".join(blocks).endswith(b"</D:multistatus>")
    assert len(taken) == 2000


def test_the_creation_date_is_not_the_time_of_a_chmod(app: Local, box: str, disk: Path) -> None:
    """RFC 4918 §15.1; stock WsgiDAV tells st_ctime, which everything moves but the making of a file."""
    app("PUT", f"{box}/f", b"x", X_OC_Mtime="1600000000")
    os.chmod(disk / "f", 0o600)
    app.proppatch(f"{box}/f", '<D:set><D:prop><c xmlns="urn:x">red</c></D:prop></D:set>')
    app("MOVE", f"{box}/f", Destination=app.url(f"{box}/g"))
    assert app.propfind(f"{box}/g", "creationdate").texts("//D:creationdate") == ["2020-09-13T12:26:40Z"]


# --- quota


def test_quota_of_a_collection(app: Local, tree: str) -> None:
    """RFC 4331: never negative, and only when it is asked for."""
    status = os.statvfs("/")
    told = found(app.propfind(tree, "quota-available-bytes", "quota-used-bytes", depth="1"), tree + "/")
    available, used = (int(told[OK][name].text or "") for name in ("quota-available-bytes", "quota-used-bytes"))
    assert 0 <= available <= status.f_blocks * status.f_frsize
    assert 0 < used < 1 << 63
    body = '<propfind xmlns="DAV:"><allprop/><include><quota-used-bytes/><nothing/></include></propfind>'
    told = found(app("PROPFIND", tree, body, Depth="0"), tree + "/")
    assert set(told[OK]) == FOLDER_PROPS | {"quota-used-bytes"}
    assert set(told[MISSING]) == {"nothing"}


def test_a_mounted_share_is_a_member(tmp_path: Path) -> None:
    for name in ("root", "inner"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "inner").mkdir()
    (tmp_path / "inner" / "f").touch()
    shares = {
        "/": {"directory": str(tmp_path / "root")},
        "/inner": {"directory": str(tmp_path / "inner"), "read_only": True},
    }
    with local(tmp_path, shares=shares) as app:
        assert app.propfind("/", "resourcetype", depth="1").hrefs() == ["/", "/inner/"]
        assert app.propfind("/inner", "resourcetype", depth="1").hrefs() == ["/inner/", "/inner/f"]
        told = app.propfind("/", "supportedlock", depth="1")
        assert len(found(told, "/")[OK]["supportedlock"]) == 2
        assert len(found(told, "/inner/")[OK]["supportedlock"]) == 0
        for method in ("DELETE", "PUT", "MKCOL"):
            assert app(method, "/inner/f").status == 403
        assert app("DELETE", "/inner").status == 403
        (tmp_path / "root" / "inner").rmdir()
        assert app.propfind("/", "resourcetype", depth="1").hrefs() == ["/", "/inner/"]


# --- what differs within a listing


def test_in_a_share_that_is_only_read_each_member_has_rights_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "root" / "f").mkdir(parents=True)
    (tmp_path / "root" / "f" / "open").touch()
    shares = {"/": {"directory": str(tmp_path / "root"), "read_only": True}}
    rules = [
        {"path": "/f/open", "who": "everyone", "allow": "rw"},
        {"path": "/", "who": "everyone", "allow": "none"},
    ]
    with local(tmp_path, shares=shares, anonymous=None, rules=rules) as app:
        alone = found(app.propfind("/f/open", "current-user-privilege-set"), "/f/open")
        listed = found(app.propfind("/f", "current-user-privilege-set", depth="1"), "/f/open")
        names = [
            [part.tag for part in told[OK]["current-user-privilege-set"].iter("{DAV:}read", "{DAV:}write")]
            for told in (alone, listed)
        ]
        assert names == [["{DAV:}read"]] * 2


def test_a_listing_goes_on_where_the_state_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    for number in range(300):
        (tmp_path / "root" / f"{number}").touch()
    asked = DeadOfMembers.of
    blocks: list[int] = []

    def of(self: DeadOfMembers, names: Sequence[str]) -> Mapping[str, Dead]:
        blocks.append(len(names))
        if len(blocks) > 1:
            raise Unavailable("The state is away.")
        return asked(self, names)

    monkeypatch.setattr(DeadOfMembers, "of", of)
    with local(tmp_path, shares={"/": {"directory": str(tmp_path / "root")}}) as app:
        told = app.propfind("/", "getcontentlength", depth="1")
        assert told.status == 207
        assert len(told.hrefs()) == 301
    assert len(blocks) == 2  # it is not asked again and again
