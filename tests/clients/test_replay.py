"""What real clients send, request by request, and what they need to hear.

The cases are named R01 to R43 after the list of client behaviour that the project keeps; those about logins and about
the life of locks stand with their tests. Each is a row of steps: a request as the client makes it, the status it needs,
and what header fields and body must match. `{T}` is the token of the last LOCK, `{E}` the last ETag, `{U}` the URL of
the share as the client knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from inprocess import Content, Local, local
from wire import lockinfo

EXPLORER = {"User-Agent": "Microsoft-WebDAV-MiniRedir/10.0.19045", "translate": "f"}
FINDER = {"User-Agent": "WebDAVFS/3.0.0 (03008000) Darwin/22.6.0 (x86_64)", "Accept": "*/*"}
OFFICE = {"User-Agent": "Microsoft Office Word 2014", "translate": "f"}
LIBREOFFICE = {"User-Agent": "LibreOffice 7.4.7.2 denylistedbackend/7.88.1"}
DAVFS2 = {"User-Agent": "davfs2/1.6.1 neon/0.32.5", "TE": "trailers"}
GVFS = {"User-Agent": "gvfs/1.50.3", "Apply-To-Redirect-Ref": "T"}
RCLONE = {"User-Agent": "rclone/v1.60.1"}
JOPLIN = {"User-Agent": "Joplin/1.0", "If-None-Match": "JoplinIgnore-123"}
XML = {"Content-Type": 'text/xml; charset="utf-8"'}


def prop(*names: str, namespace: str = "DAV:") -> bytes:
    inner = "".join(f'<x:{name} xmlns:x="{namespace}"/>' for name in names)
    return f'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop>{inner}</D:prop></D:propfind>'.encode()


def patch(inner: str) -> bytes:
    return f'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>{inner}</D:prop></D:set></D:propertyupdate>'.encode()


def win32(**values: str) -> bytes:
    return patch(
        "".join(f'<Z:{name} xmlns:Z="urn:schemas-microsoft-com:">{value}</Z:{name}>' for name, value in values.items())
    )


P4 = prop("getlastmodified", "getcontentlength", "creationdate", "resourcetype")
QUOTA = prop("quota-available-bytes", "quota-used-bytes", "quota", "quotaused")
#: It counts them: one entry, and the folder is empty.
ONE_HREF = "^(?:(?!href).)*<D:href>[^<]*</D:href>(?:(?!href).)*$"
TWO_HREFS = "^(?:(?!<D:href>).)*(<D:href>(?:(?!<D:href>).)*){2}$"
ABC_SHA1 = "SHA1:a9993e364706816aba3e25717850c26c9cd0d89d"
WIN32 = win32(
    Win32CreationTime="Sun, 13 Sep 2020 12:26:40 GMT",
    Win32LastAccessTime="Sun, 13 Sep 2020 12:26:40 GMT",
    Win32LastModifiedTime="Sun, 13 Sep 2020 12:26:40 GMT",
    Win32FileAttributes="00000020",
)
KIB = b"k" * 1024


@dataclass
class Step:
    request: str
    #: One status, or several that the client takes alike.
    status: int | tuple[int, ...]
    body: bytes | Iterable[bytes] | Content | None = None
    headers: dict[str, str] = field(default_factory=dict)
    #: Header field → pattern of its whole value; None: it must not be there.
    fields: dict[str, str | None] = field(default_factory=dict)
    #: Patterns that the body must hold, and with "!" those it must not.
    holds: tuple[str, ...] = ()


def put(path: str, body: bytes = b"x", status: int = 201) -> Step:
    return Step(f"PUT {path}", status, body)


def lock(path: str, status: int = 200, owner: str = "me", **headers: str) -> Step:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    step = Step(f"LOCK {path}", status, lockinfo(owner=owner), {**XML, **fields})
    if status < 300:
        step.fields = {"Content-Type": "application/xml; charset=utf-8", "Lock-Token": "<urn:uuid:[0-9a-f-]{36}>"}
        # LibreOffice takes the last href for the resource's own.
        root = r"<D:lockroot><D:href>/S/[^<]*</D:href></D:lockroot></D:activelock>"
        step.holds = (r"<D:timeout>Second-[1-9]\d*</D:timeout>", root)
    return step


IF = {"If": "(<{T}>)"}
UNLOCK = {"Lock-Token": "<{T}>"}

CASES: dict[str, tuple[dict[str, str], list[Step]]] = {
    "R02 Explorer copies a new file in": (EXPLORER, [
        Step("PROPFIND /S/n.txt", 404, b"", {"Depth": "0"}, {"Cache-Control": "no-store"}),
        Step("PUT /S/n.txt", 201, b""),
        lock("/S/n.txt", owner="<D:href>DOM\\u</D:href>", Timeout="Second-3600"),
        Step("PROPPATCH /S/n.txt", 207, WIN32, {**XML, **IF}, holds=("200 OK", "!403", "!409", "!424")),
        Step("HEAD /S/n.txt", 200, fields={"Content-Length": "0"}),
        Step("PUT /S/n.txt", (200, 204), KIB, IF),
        Step("PROPPATCH /S/n.txt", 207, WIN32, {**XML, **IF}, holds=("200 OK", "!403")),
        Step("UNLOCK /S/n.txt", 204, headers=UNLOCK),
        Step("PROPFIND /S/n.txt", 207, b"", {"Depth": "0"}, holds=(
            "<D:getcontentlength>1024</D:getcontentlength>",
            "<D:getlastmodified>Sun, 13 Sep 2020 12:26:40 GMT</D:getlastmodified>",
        )),
    ]),
    "R03 Explorer leaves the brackets out": (EXPLORER, [
        put("/S/n.txt"),
        lock("/S/n.txt", Timeout="Second-3600"),
        Step("UNLOCK /S/n.txt", 204, headers={"Lock-Token": "{T}"}),
        lock("/S/n.txt"),
    ]),
    "R07 Explorer makes a folder": (EXPLORER, [
        Step("PROPFIND /S/New%20folder", 404, b"", {"Depth": "0"}),
        Step("MKCOL /S/New%20folder", 201),
        Step("PROPPATCH /S/New%20folder", 207, win32(Win32FileAttributes="00000010"), XML, holds=("200 OK",)),
        Step("PROPFIND /S/New%20folder", 207, b"", {"Depth": "0"}, holds=("<D:href>/S/New%20folder/</D:href>",)),
    ]),
    "R10 Office edits": (OFFICE, [
        put("/S/a.docx", b"old"),
        Step("OPTIONS /S/", 200, fields={"DAV": "1, 2.*", "MS-Author-Via": "DAV", "Allow": ".*LOCK.*"}),
        Step("HEAD /S/a.docx", 200,
             fields={"Last-Modified": ".* GMT", "ETag": "{E}", "Content-Type": ".*wordprocessingml.*"}),
        lock("/S/a.docx", owner="<D:href>pc/user</D:href>", Timeout="Second-3600"),
        Step("GET /S/a.docx", 200, headers=XML, fields={"ETag": "{E}", "Content-Disposition": None}),
        Step("LOCK /S/a.docx", 200, b"", {**IF, "Timeout": "Second-3600"}, holds=("{T}",)),
        Step("HEAD /S/a.docx", 200, fields={"ETag": "{E}"}),
        Step("PUT /S/a.docx", 204, b"new", UNLOCK, {"ETag": '"[^"]+"'}),
        Step("UNLOCK /S/a.docx", 204, headers=UNLOCK),
        Step("HEAD /S/a.docx", 200, fields={"ETag": "{E}"}),
    ]),
    "R14 Excel saves on a drive": (EXPLORER, [
        put("/S/x.xlsx", b"old"),
        Step("PROPPATCH /S/x.xlsx", 207, patch('<c xmlns="urn:x">of the document</c>')),
        put("/S/t1.tmp", b""),
        lock("/S/t1.tmp"),
        Step("PUT /S/t1.tmp", 204, b"new data", IF),
        Step("PROPPATCH /S/t1.tmp", 207, WIN32, {**XML, **IF}),
        Step("UNLOCK /S/t1.tmp", 204, headers=UNLOCK),
        Step("PROPFIND /S/t2.tmp", 404, b"", {"Depth": "0"}),
        Step("MOVE /S/x.xlsx", 201, headers={"Destination": "{U}/t2.tmp", "Overwrite": "F"}),
        Step("MOVE /S/t1.tmp", 201, headers={"Destination": "{U}/x.xlsx", "Overwrite": "F"}),
        Step("DELETE /S/t2.tmp", 204),
        Step("GET /S/x.xlsx", 200, holds=("^new data$",)),
        Step("PROPFIND /S/", 207, prop("lockdiscovery"), {"Depth": "1"}, holds=("!activelock", "!tmp")),
    ]),
    "R15 Office's owner file": (EXPLORER, [
        Step("PROPFIND /S/~$a.docx", 404, b"", {"Depth": "0"}),
        Step("PUT /S/~$a.docx", 201, b""),
        lock("/S/%7E%24a.docx"),
        Step("PUT /S/~$a.docx", 204, b"\x04Jane" + b" " * 157, IF),
        Step("PROPFIND /S/%7e%24a.docx", 207, b"", {"Depth": "0"}, holds=("<D:getcontentlength>162<",)),
        Step("UNLOCK /S/~%24a.docx", 204, headers=UNLOCK),
        Step("DELETE /S/%7E$a.docx", 204),
    ]),
    "R17 Depth with noroot, and Brief": ({}, [
        put("/S/f"),
        Step("PROPFIND /S/", 207, prop("getetag", "nothing"), {"Depth": "1,noroot", "Brief": "t"},
             holds=("<D:href>/S/f</D:href>", "!404")),
    ]),
    "R18 Finder asks how much room there is": (FINDER, [
        Step("OPTIONS /S/", 200, fields={"DAV": "1, 2.*"}),
        Step("PROPFIND /S/", 207, P4, {**XML, "Depth": "0"}, holds=("<D:collection/>",)),
        Step("PROPFIND /S/", 207, QUOTA, {"Depth": "0"},
             holds=(r"<D:quota-available-bytes>\d+</D:quota-available-bytes>", r"<D:quota-used-bytes>\d+<",
                    "<D:quota/>", "<D:quotaused/>", "404 Not Found")),
    ]),
    "R20 Finder copies a file in": (FINDER, [
        Step("PROPFIND /S/n", 404, P4, {**XML, "Depth": "0"}),
        Step("PUT /S/n", 201, b""),
        lock("/S/n", owner="<D:href>http://www.apple.com/webdav_fs/</D:href>", Depth="0", Timeout="Second-600"),
        Step("GET /S/n", 200, fields={"Content-Length": "0"}),
        Step("PUT /S/n", (201, 204), [b"f" * 500_000] * 10, {**IF, "X-Expected-Entity-Length": "5000000"},
             {"ETag": '"[^"]+"', "Last-Modified": ".* GMT"}),
        Step("UNLOCK /S/n", 204, headers=UNLOCK),
        Step("PROPFIND /S/._n", 404, P4, {**XML, "Depth": "0"}),
        Step("PUT /S/._n", 201, b""),
        lock("/S/._n", Depth="0", Timeout="Second-600"),
        Step("PUT /S/._n", 204, [b"a" * 82], {**IF, "X-Expected-Entity-Length": "82"}),
        Step("UNLOCK /S/._n", 204, headers=UNLOCK),
        Step("PROPFIND /S/._n", 207, prop("getcontentlength"), {"Depth": "0"}, holds=(">82<",)),
    ]),
    "R21 Finder is cut off": (FINDER, [
        put("/S/n", b"previous"),
        lock("/S/n", Depth="0", Timeout="Second-600"),
        Step("PUT /S/n", 400, Content([b"f" * 500_000] * 3, cut=True), {**IF, "X-Expected-Entity-Length": "5000000"}),
        Step("GET /S/n", 200, fields={"ETag": "{E}"}, holds=("^previous$",)),
        Step("PUT /S/n", 400, [b"f" * 500], {**IF, "X-Expected-Entity-Length": "5000000"}),
        Step("GET /S/n", 200, fields={"ETag": "{E}"}, holds=("^previous$",)),
        Step("PUT /S/n", 423, b"of somebody else"),
        Step("UNLOCK /S/n", 204, headers=UNLOCK),
        Step("PROPFIND /S/", 207, prop("getetag"), {"Depth": "1"}, holds=("!stage", "!tmp")),
    ]),
    "R22 Finder refreshes": (FINDER, [
        put("/S/n"),
        lock("/S/n", Depth="0", Timeout="Second-600"),
        Step("LOCK /S/n", 200, b"", {**XML, **IF, "Depth": "0", "Timeout": "Second-600"}, holds=("{T}", "Second-600")),
    ]),
    "R24 Finder removes a folder": (FINDER, [
        Step("MKCOL /S/d/", 201),
        Step("PROPFIND /S/d/", 207, prop("resourcetype"), {"Depth": "1"}, holds=(ONE_HREF,)),
        Step("DELETE /S/d/", 204),
        Step("MKCOL /S/d/", 201),
        put("/S/d/f"),
        lock("/S/d/f"),
        Step("DELETE /S/d/", 423, fields={"Content-Type": "application/xml.*"}),
        Step("GET /S/d/f", 200),
    ]),
    "R25 Finder renames": (FINDER, [
        put("/S/a", b"a"),
        put("/S/b", b"b"),
        Step("MOVE /S/a", 204, headers={"Destination": "{U}/b"}),
        lock("/S/b"),
        Step("MOVE /S/b", (201, 204), headers={"Destination": "{U}/c", **IF}),
        Step("PROPFIND /S/c", 207, prop("lockdiscovery"), {"Depth": "0"}, holds=("!activelock",)),
        Step("PUT /S/b", 201, b"the lock is gone here too"),
    ]),
    "R27 Finder's names": (FINDER, [
        Step("PUT /S/u%CC%88.txt", 201, b"x"),
        Step("PROPFIND /S/%C3%BC.txt", 207, P4, {**XML, "Depth": "0"}, holds=("<D:href>/S/%C3%BC.txt</D:href>",)),
        Step("PUT /S/%C3%BC.txt", 204, b"the same file"),
        Step("PROPFIND /S/", 207, P4, {"Depth": "1"}, holds=(TWO_HREFS,)),
    ]),
    "R28 LibreOffice opens, saves and closes": (LIBREOFFICE, [
        put("/S/f.odt", b"old"),
        Step("OPTIONS /S/f.odt", 200, fields={"DAV": "1, 2.*", "Allow": ".*LOCK.*"}),
        Step("PROPFIND /S/f.odt", 207,
             b'<propfind xmlns="DAV:"><prop><resourcetype/><IsReadOnly xmlns="http://ucb.openoffice.org/dav/props/"/>'
             b"<getcontenttype/><supportedlock/></prop></propfind>",
             {"Depth": "0", "Content-Type": "application/xml"},
             holds=("<D:status>HTTP/1.1 200 OK</D:status>", "<D:exclusive/>", "<D:write/>",
                    "application/vnd.oasis.opendocument.text")),
        lock("/S/f.odt", owner="LibreOffice - Jane", Depth="0", Timeout="Second-180"),
        Step("GET /S/f.odt", 200, holds=("^old$",)),
        Step("LOCK /S/f.odt", 200, b"", {**IF, "Timeout": "Second-180"}, holds=("Second-180",)),
        Step("PUT /S/f.odt", 204, b"new", IF),
        Step("PROPFIND /S/f.odt", 207, b'<propfind xmlns="DAV:"><propname/></propfind>', {"Depth": "0"},
             holds=("<D:getetag/>",)),
        Step("UNLOCK /S/f.odt", 204, headers=UNLOCK),
    ]),
    "R29 LibreOffice saves under a new name": (LIBREOFFICE, [
        Step("PROPFIND /S/n.odt", 404, prop("supportedlock"), {"Depth": "0"}),
        lock("/S/n.odt", 201, Depth="0", Timeout="Second-180"),
        Step("HEAD /S/n.odt", 200, fields={"Content-Length": "0"}),
        Step("PUT /S/n.odt", (200, 201, 204), b"new", IF),
        Step("UNLOCK /S/n.odt", 204, headers=UNLOCK),
        lock("/S/missing/n.odt", 409),
    ]),
    "R32 davfs2 makes a file": (DAVFS2, [
        lock("/S/n", 201, If_None_Match="*", Depth="0", Timeout="Second-1800"),
        lock("/S/n", 412, If_None_Match="*", Depth="0"),
        Step("HEAD /S/n", 200, fields={"ETag": '"[^"]+"'}),
        Step("PUT /S/n", 204, b"x", {"If": "<{U}/n> (<{T}>)", "If-Match": "{E}"}, {"ETag": '"[^"]+"'}),
        Step("PUT /S/n", 412, b"y", {"If": "<{U}/n> (<{T}>)", "If-Match": '"old"'}),
        Step("HEAD /S/n", 200, fields={"ETag": "{E}"}),
        Step("UNLOCK /S/n", 204, headers=UNLOCK),
    ]),
    "R33 a proxy changes scheme and host": ({"X-Forwarded-Host": "pub.example"}, [
        put("/S/n"),
        lock("/S/n"),
        Step("PUT /S/n", 204, b"y", {"If": "<https://pub.example/S/n> (<{T}>)"}),
        Step("MOVE /S/n", 502, headers={"Destination": "https://other.example/S/m", **IF}),
        Step("MOVE /S/n", 201, headers={"Destination": "https://pub.example/S/m", **IF}),
    ]),
    "R34 gvfs replaces": (GVFS, [
        Step("HEAD /S/f", 404),
        Step("PUT /S/f", 201, b"x", {"Overwrite": "T"}),
        Step("PUT /S/f", 412, b"y", {"If-Match": '"old"'}),
        put("/S/g"),
        Step("MOVE /S/f", 412, headers={"Destination": "{U}/g", "Overwrite": "F"}),
        Step("MKCOL /S/d", 201),
        Step("MKCOL /S/d", 405),
        Step("PROPFIND /", 207, prop("resourcetype"), {"Depth": "1"}),
    ]),
    "R36 rclone uploads": (RCLONE, [
        Step("PUT /S/f", 201, b"abc", {"X-OC-Mtime": "1600000000", "OC-Checksum": ABC_SHA1},
             {"X-OC-Mtime": "accepted"}),
        Step("PROPFIND /S/f", 207, b"", {"Depth": "1"}, holds=("Sun, 13 Sep 2020 12:26:40 GMT",)),
        Step("PUT /S/f", 400, b"abd", {"OC-Checksum": ABC_SHA1}),
        Step("GET /S/f", 200, holds=("^abc$",)),
        Step("MKCOL /S/a/b/", 409),
        Step("GET /S/f", 206, headers={"Range": "bytes=1-1", "Depth": "0"},
             fields={"Content-Range": "bytes 1-1/3"}, holds=("^b$",)),
        Step("PROPPATCH /S/f", 207, patch("<D:lastmodified>1500000000</D:lastmodified>"), holds=("200 OK",)),
        Step("PROPFIND /S/f", 207, b"", {"Depth": "0"}, holds=("Fri, 14 Jul 2017 02:40:00 GMT",)),
    ]),
    "R37 Cyberduck resumes": ({}, [
        put("/S/f", b"01234"),
        Step("PUT /S/f", (400, 501), b"56789", {"Content-Range": "bytes 5-9/10"}),
        Step("GET /S/f", 200, holds=("^01234$",)),
    ]),
    "R38 Joplin": (JOPLIN, [
        Step("PROPFIND /S/", 207, prop("getlastmodified", "resourcetype"), {"Depth": "1"}),
        Step("MKCOL /S/d/", 201),
        Step("MKCOL /S/d/", 405),
        Step("PUT /S/d/f", 201, b"x"),
        Step("PUT /S/d/f", 204, b"y"),
        Step("MOVE /S/d/f", 201, headers={"Destination": "{U}/g", "Overwrite": "T"}),
        Step("GET /S/missing", 404),
        Step("DELETE /S/g", 204),
    ]),
    "R41 Zotero probes": ({}, [
        Step("OPTIONS /S/zotero/", 200),
        Step("MKCOL /S/zotero/", 201),
        Step("PROPFIND /S/zotero/", 207, prop("getcontentlength"), {"Depth": "0"}),
        Step("GET /S/zotero/nonexistent.prop", 404),
        Step("PUT /S/zotero/zotero-test-file.prop", (200, 201, 204), b"x"),
        Step("GET /S/zotero/zotero-test-file.prop", 200, holds=("^x$",)),
        Step("DELETE /S/zotero/zotero-test-file.prop", (200, 204)),
    ]),
    "R42 KeePass saves": ({}, [
        put("/S/db", b"old"),
        put("/S/db.tmp", b"new"),
        Step("MOVE /S/db.tmp", (201, 204), headers={"Destination": "{U}/db", "Overwrite": "T"}),
        Step("GET /S/db", 200, holds=("^new$",)),
        put("/S/db.tmp", b"newer"),
        Step("PROPFIND /S/db", 207, b"", {"Depth": "0"}),
        Step("DELETE /S/db", 204),
        Step("MOVE /S/db.tmp", (201, 204), headers={"Destination": "{U}/db", "Overwrite": "T"}),
        Step("GET /S/db", 200, holds=("^newer$",)),
        Step("GET /S/db", 412, headers={"Range": "bytes=0-1", "If-Match": '"old"'}),
        Step("GET /S/db", 416, headers={"Range": "bytes=5-"}),
    ]),
}  # fmt: skip


@pytest.fixture
def app(tmp_path: Path) -> Local:
    with local(tmp_path) as app:
        assert app("MKCOL", "/S").status == 201
        yield app


def play(app: Local, agent: dict[str, str], steps: list[Step]) -> None:
    known = {"T": "", "E": "", "U": app.url("/S")}

    def filled(text: str) -> str:
        return re.sub(r"\{([TEU])\}", lambda found: known[found[1]], text)

    for number, step in enumerate(steps, 1):
        method, _, path = step.request.partition(" ")
        headers = {name: filled(value) for name, value in {**agent, **step.headers}.items()}
        answer = app(method, path, step.body, headers)
        told = f"step {number}, {step.request}: {answer.status} {answer.headers} {answer.body[:500]!r}"
        assert answer.status in (step.status if isinstance(step.status, tuple) else (step.status,)), told
        for name, pattern in step.fields.items():
            value = answer.headers.get(name.lower())
            if pattern is None:
                assert value is None, told
            else:
                expected = re.escape(known["E"]) if pattern == "{E}" else pattern
                assert re.fullmatch(expected, value or ""), f"{name}: {told}"
        text = answer.body.decode("utf-8", "replace")
        for pattern in step.holds:
            negative = pattern.startswith("!")
            found = re.search(filled(pattern.removeprefix("!")), text.partition("\n")[2] or text, re.DOTALL)
            assert (found is None) is negative, f"{pattern}: {told}"
        if "lock-token" in answer.headers:
            known["T"] = answer.token
            assert f"<D:locktoken><D:href>{answer.token}</D:href></D:locktoken>" in text, told
        if "etag" in answer.headers:
            known["E"] = answer.headers["etag"]


@pytest.mark.parametrize("name", CASES)
def test_replay(name: str, app: Local) -> None:
    play(app, *CASES[name])


# --- cases that are more than a row of steps


def test_r05_explorer_opens_a_folder_of_2500(app: Local, tmp_path: Path) -> None:
    folder = tmp_path / "share" / "S"
    for number in range(2500):
        (folder / f"Document number {number}.docx").touch()
    answer = app("PROPFIND", "/S", b"", {**EXPLORER, "Depth": "1"})
    assert answer.status == 207
    assert len(answer.find("//D:response")) == 2501
    assert len(answer.body) < 1_000_000


@pytest.mark.parametrize(("setting", "status"), [(False, 404), (True, 207)])
def test_r06_explorer_does_not_care_about_case(setting: bool, status: int, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    shares = {"/": {"directory": str(tmp_path / "share"), "case_insensitive": setting}}
    with local(tmp_path, shares=shares) as app:
        app("MKCOL", "/S")
        app("PUT", "/S/Readme.TXT", b"content")
        answer = app("PROPFIND", "/S/readme.txt", b"", {**EXPLORER, "Depth": "0"})
        assert answer.status == status
        if status == 207:
            assert answer.hrefs() == ["/S/readme.txt"]
        moved = app(
            "MOVE", "/S/Readme.TXT", headers={**EXPLORER, "Destination": app.url("/S/readme.txt"), "Overwrite": "F"}
        )
        assert moved.status in (201, 204)
        assert app("GET", "/S/readme.txt").body == b"content"
        assert app.propfind("/S", "getetag", depth="1").hrefs() == ["/S/", "/S/readme.txt"]


def test_r19_finder_lists(app: Local) -> None:
    """It takes every `href` for the beginning of an entry, and sees a member by the path that it asked for."""
    app("MKCOL", "/S/d")
    for name in ("a%20%26%20b%3Bc%20%231.txt", "u%CC%88.txt", "plain"):
        app("PUT", f"/S/d/{name}", b"x")
    app("MKCOL", "/S/d/folder")
    body = prop("getlastmodified", "getcontentlength", "creationdate", "resourcetype").replace(
        b"</D:prop>", b'<A:appledoubleheader xmlns:A="http://www.apple.com/webdav_fs/props/"/></D:prop>'
    )
    answer = app("PROPFIND", "/S/d/", body, {**FINDER, "Depth": "1"})
    text = answer.body.decode()
    responses = re.findall("<D:response>(.*?)</D:response>", text)
    assert len(responses) == 5
    for response in responses:
        assert response.startswith("<D:href>/S/d/")
        assert response.lower().count("<d:href>") == 1
        assert response.isascii()
        assert "&amp;" not in response
    assert "a%20%26%20b%3Bc%20%231.txt" in text


def test_r26_finder_resumes(app: Local) -> None:
    date = app("PUT", "/S/f", bytes(2000), X_OC_Mtime="1600000000").headers["last-modified"]
    answer = app("GET", "/S/f", headers={**FINDER, "If-Range": date, "Range": "bytes=1000-"})
    assert (answer.status, answer.headers["content-range"]) == (206, "bytes 1000-1999/2000")
    assert app("GET", "/S/f", headers={**FINDER, "If-Modified-Since": date}).status == 304
    app("PUT", "/S/f", bytes(3000), X_OC_Mtime="1600000001")
    answer = app("GET", "/S/f", headers={**FINDER, "If-Range": date, "Range": "bytes=1000-"})
    assert (answer.status, len(answer.body)) == (200, 3000)


def test_r35_kio_asks_for_the_locks_of_everything(app: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from davserver.storage.sqlite import SqliteState

    folder = tmp_path / "share" / "S"
    for number in range(5000):
        (folder / str(number)).touch()
    for number in range(10):
        app.lock(f"/S/{number}")
    queries: list[str] = []
    real = SqliteState.query
    monkeypatch.setattr(SqliteState, "query", lambda self, sql, *rest: (queries.append(sql), real(self, sql, *rest))[1])
    answer = app.propfind("/S", "supportedlock", "lockdiscovery", "getetag", depth="1")
    assert len(answer.find("//D:response")) == 5001
    assert len(answer.find("//D:activelock")) == 10
    assert len(queries) < 12
