"""GET and HEAD (RFC 9110 §9.3.1, §9.3.2, §13, §14), row by row."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from inprocess import Content, Local

from davserver.methods import ranges

CONTENT = bytes(range(100))
OLD, FUTURE = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture
def file(app: Local, box: str) -> str:
    assert app("PUT", f"{box}/f.bin", CONTENT, X_OC_Mtime="1600000000").status == 201
    return f"{box}/f.bin"


def headers_of(file: str, app: Local) -> tuple[str, str]:
    head = app("HEAD", file)
    return head.headers["etag"], head.headers["last-modified"]


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=10-19", 10, 19),
        ("bytes=90-", 90, 99),
        ("bytes=-10", 90, 99),
        ("bytes=-1000", 0, 99),
        ("bytes=0-999", 0, 99),
        ("bytes=99-99", 99, 99),
        ("bytes=0-", 0, 99),
        ("BYTES=5-6", 5, 6),
        ("bytes= 5-6", 5, 6),
        ("bytes=,5-6,", 5, 6),
        ("bytes=98-99999999999999999999999999", 98, 99),
    ],
)
def test_one_range(value: str, first: int, last: int, app: Local, file: str) -> None:
    answer = app("GET", file, Range=value)
    assert (answer.status, answer.body) == (206, CONTENT[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/100"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert (answer.headers["etag"], answer.headers["last-modified"]) == headers_of(file, app)


@pytest.mark.parametrize(
    "value",
    ["", "bytes", "bytes=", "lines=1-2", "bytes=5-2", "bytes=a-b", "bytes=1-2,x", "bytes=--5", "5-6", "bytes=0x1-2"],
)
def test_what_is_no_range_is_ignored(value: str, app: Local, file: str) -> None:
    """RFC 9110 §14.2."""
    answer = app("GET", file, Range=value)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=500-,600-700"])
def test_a_range_beyond_the_end_is_416(value: str, app: Local, file: str) -> None:
    """RFC 9110 §15.5.17; DAVx5 asks at the end of a file."""
    answer = app("GET", file, Range=value)
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */100")


def parts_of(answer_headers: str, body: bytes) -> list[tuple[str, bytes]]:
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", answer_headers)
    assert boundary is not None
    pieces = body.split(b"\r\n--" + boundary[1].encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, content = piece.lstrip(b"\r\n").split(b"\r\n\r\n", 1)
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        assert fields["Content-Type"] == "application/octet-stream"
        found.append((fields["Content-Range"], content))
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-1,5-6", [(0, 1), (5, 6)]),
        ("bytes=-2,0-0", [(98, 99), (0, 0)]),
        ("bytes=0-1,200-300,4-4", [(0, 1), (4, 4)]),
        ("bytes=0-9,5-14", [(0, 9), (5, 14)]),
    ],
)
def test_several_ranges(value: str, expected: list[tuple[int, int]], app: Local, file: str) -> None:
    """RFC 9110 §14.6, §15.3.7.2."""
    answer = app("GET", file, Range=value)
    assert answer.status == 206
    assert "content-range" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert parts_of(answer.headers["content-type"], answer.body) == [
        (f"bytes {first}-{last}/100", CONTENT[first : last + 1]) for first, last in expected
    ]


@pytest.mark.parametrize("value", ["bytes=0-99,0-99,0-99", "bytes=" + ",".join(["0-0"] * 65)])
def test_a_flood_of_ranges_is_answered_with_the_whole(value: str, app: Local, file: str) -> None:
    """RFC 9110 §14.2, §17.15."""
    answer = app("GET", file, Range=value)
    assert (answer.status, answer.body) == (200, CONTENT)


def test_an_empty_file_has_no_ranges(app: Local, box: str) -> None:
    app("PUT", f"{box}/empty", b"")
    answer = app("GET", f"{box}/empty", Range="bytes=0-")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_a_file_that_shrinks_while_its_parts_are_sent(app: Local, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was announced cannot come any more: the answer breaks off, and with it the connection."""
    monkeypatch.setattr(ranges.os, "pread", lambda *_: b"")
    with pytest.raises(EOFError):
        app("GET", file, Range="bytes=0-1,5-6")


@pytest.mark.parametrize("field", ["etag", "last-modified"])
def test_if_range_with_what_is_there(field: str, app: Local, file: str) -> None:
    """RFC 9110 §13.1.5; Finder resumes by date."""
    value = app("HEAD", file).headers[field]
    assert app("GET", file, Range="bytes=10-", If_Range=value).status == 206


@pytest.mark.parametrize("value", ['"other"', OLD, FUTURE, "junk", "W/{etag}", ""])
def test_if_range_with_something_else(value: str, app: Local, file: str) -> None:
    value = value.format(etag=app("HEAD", file).headers["etag"])
    answer = app("GET", file, Range="bytes=10-", If_Range=value)
    assert (answer.status, answer.body) == (200, CONTENT)
    # §14.2: without the condition even a range beyond the end would be one.
    assert app("GET", file, Range="bytes=500-", If_Range=value).status == 200


@pytest.mark.parametrize("fields", [{}, {"Range": "bytes=0-1"}, {"Range": "bytes=500-"}])
def test_head_is_get_without_its_body(fields: dict[str, str], app: Local, file: str) -> None:
    """RFC 9110 §9.3.2; a Range means nothing to it (§14.2)."""
    head, got = app("HEAD", file, headers=fields), app("GET", file)
    assert (head.status, head.body) == (200, b"")
    assert head.headers == got.headers


# --- conditions: {tag}, {other}, {date}, {old}, {future} stand for what they say

CONDITIONS = [
    # RFC 9110 §13.1.1
    ({"If-Match": "{tag}"}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": "{other}, {tag}"}, 200),
    ({"If-Match": "{other}"}, 412),
    ({"If-Match": "W/{tag}"}, 412),
    ({"If-Match": ""}, 412),
    ({"If-Match": "junk"}, 412),
    # §13.1.2
    ({"If-None-Match": "{tag}"}, 304),
    ({"If-None-Match": "W/{tag}"}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": "{other}"}, 200),
    ({"If-None-Match": "{other},{tag}"}, 304),
    ({"If-None-Match": "JoplinIgnore-123"}, 200),
    # §13.1.3
    ({"If-Modified-Since": "{date}"}, 304),
    ({"If-Modified-Since": "{future}"}, 304),
    ({"If-Modified-Since": "{old}"}, 200),
    ({"If-Modified-Since": "junk"}, 200),
    ({"If-Modified-Since": "{old}, {old}"}, 200),
    # §13.1.4
    ({"If-Unmodified-Since": "{date}"}, 200),
    ({"If-Unmodified-Since": "{future}"}, 200),
    ({"If-Unmodified-Since": "{old}"}, 412),
    ({"If-Unmodified-Since": "junk"}, 200),
    # §13.2.2: the order
    ({"If-Match": "{tag}", "If-Unmodified-Since": "{old}"}, 200),
    ({"If-Match": "{other}", "If-Unmodified-Since": "{date}"}, 412),
    ({"If-Match": "{tag}", "If-None-Match": "{tag}"}, 304),
    ({"If-Match": "{other}", "If-None-Match": "{tag}"}, 412),
    ({"If-None-Match": "{other}", "If-Modified-Since": "{date}"}, 200),
    ({"If-None-Match": "{tag}", "If-Modified-Since": "{old}"}, 304),
    ({"If-Unmodified-Since": "{old}", "If-None-Match": "{tag}"}, 412),
    ({"If-Unmodified-Since": "{date}", "If-Modified-Since": "{date}"}, 304),
    ({"Range": "bytes=0-1", "If-None-Match": "{tag}"}, 304),
    ({"Range": "bytes=0-1", "If-Match": "{other}"}, 412),
    ({"Range": "bytes=0-1", "If-Match": "{tag}"}, 206),
    ({"Range": "bytes=500-", "If-None-Match": "{tag}"}, 304),
    # RFC 4918 §10.4
    ({"If": "([{tag}])"}, 200),
    ({"If": "([W/{tag}])"}, 200),
    ({"If": "([{other}])"}, 412),
    ({"If": "(Not [{other}])"}, 200),
    ({"If": "([{other}]) ([{tag}])"}, 200),
    ({"If": "([{tag}] [{other}])"}, 412),
    ({"If": "(<DAV:no-lock>)"}, 412),
    ({"If": "(Not <DAV:no-lock>)"}, 200),
    ({"If": "(<urn:uuid:00000000-0000-0000-0000-000000000000>)"}, 412),
    ({"If": "<{url}> ([{tag}])"}, 200),
    ({"If": "<{url}> ([{other}])"}, 412),
    ({"If": "<http://elsewhere.example/x> ([{tag}])"}, 412),
    ({"If": "junk"}, 400),
    ({"If": "([{tag}]) junk"}, 400),
    ({"If": "([{tag}])", "If-None-Match": "{tag}"}, 304),
    ({"If": "([{other}])", "If-None-Match": "{tag}"}, 412),
]


@pytest.mark.parametrize(("fields", "status"), CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_in_their_order(method: str, fields: dict[str, str], status: int, app: Local, file: str) -> None:
    tag, date = headers_of(file, app)
    known = {"tag": tag, "other": '"other"', "date": date, "old": OLD, "future": FUTURE, "url": app.url(file)}
    answer = app(method, file, headers={name: value.format(**known) for name, value in fields.items()})
    if method == "HEAD" and status == 206:
        status = 200
    assert answer.status == status
    if status == 304:
        # RFC 9110 §15.4.5: what a cache must learn, and no content.
        assert (answer.headers["etag"], answer.headers["last-modified"]) == (tag, date)
        assert answer.body == b""
        assert "content-length" not in answer.headers
        assert "content-type" not in answer.headers


@pytest.mark.parametrize("value", ["*", '"x"'])
def test_what_is_missing_is_missing_whatever_the_conditions(value: str, app: Local, box: str) -> None:
    """RFC 9110 §13.2.1: they are evaluated where the answer would be a success otherwise."""
    for field in ("If-Match", "If-None-Match"):
        assert app("GET", f"{box}/missing", headers={field: value}).status == 404


@pytest.mark.parametrize(
    ("name", "kind", "sandboxed"),
    [
        ("page.html", "text/html", True),
        ("drawing.svg", "image/svg+xml", True),
        ("feed.xhtml", "application/xhtml+xml", True),
        ("data.xml", "text/xml", True),
        ("letter.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", False),
        ("sheet.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", False),
        ("text.odt", "application/vnd.oasis.opendocument.text", False),
        ("photo.jpg", "image/jpeg", False),
        ("archive.tar.gz", "application/gzip", False),
        ("no-suffix", "application/octet-stream", False),
        (".html", "application/octet-stream", False),
    ],
)
def test_what_was_uploaded_is_served_as_it_is_and_runs_nowhere(
    name: str, kind: str, sandboxed: bool, app: Local, box: str
) -> None:
    body = b"<script>alert(1)</script>"
    app("PUT", f"{box}/{name}", body, Content_Type="text/html")
    for fields in ({}, {"Range": "bytes=0-5"}, {"Range": "bytes=0-1,3-4"}):
        answer = app("GET", f"{box}/{name}", headers=fields)
        if fields.get("Range") != "bytes=0-1,3-4":
            assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert ("content-security-policy" in answer.headers) is sandboxed
        if sandboxed:
            assert answer.headers["content-security-policy"] == "sandbox"
        assert "content-disposition" not in answer.headers
    assert app("GET", f"{box}/{name}", Translate="f").body == body


def test_a_file_is_no_folder(app: Local, file: str) -> None:
    for method in ("GET", "HEAD", "PROPFIND", "DELETE", "PROPPATCH"):
        assert app(method, file + "/", headers={"Depth": "0"}).status in (404, 400)
    assert app("GET", file).status == 200


def test_a_folder_is_a_page(app: Local, box: str) -> None:
    for name in ("b.txt", "a & <b>.txt", "%C3%BC.txt"):
        app("PUT", f"{box}/{name.replace(' ', '%20').replace('<', '%3C').replace('>', '%3E')}", b"x")
    app("MKCOL", f"{box}/folder")
    for path in (box, box + "/"):
        answer = app("GET", path)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        page = answer.body.decode()
        assert f'href="{box}/folder/"' in page
        assert "a &amp; &lt;b&gt;.txt" in page
        assert "<b>.txt" not in page
        assert page.index("folder/") < page.index("b.txt")
        assert app("HEAD", path).body == b""
    # The members of a folder change without it: no 304, whatever is asked.
    for fields in ({"If-Modified-Since": FUTURE}, {"If-None-Match": "*"}):
        assert app("GET", box, headers=fields).status == 200
    assert app("GET", box, If_Match='"x"').status == 412
    assert app("GET", box, If_Unmodified_Since=OLD).status == 412


def test_times_before_the_epoch_and_beyond(app: Local, box: str, disk: Path) -> None:
    app("PUT", f"{box}/f", b"x")
    os.utime(disk / "f", (-1, -1))
    answer = app("GET", f"{box}/f")
    assert answer.headers["last-modified"] == "Wed, 31 Dec 1969 23:59:59 GMT"
    assert app("GET", f"{box}/f", If_Modified_Since=answer.headers["last-modified"]).status == 304
    os.utime(disk / "f", (4_102_444_800, 4_102_444_800))
    told = app.propfind(f"{box}/f", "getlastmodified").texts("//D:getlastmodified")
    assert told == [formatdate(4_102_444_800, usegmt=True)]


def test_the_version_that_is_judged_is_the_version_that_is_sent(
    app: Local, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file replaced between the look and the answer must not come under the old one's condition."""
    from davserver.methods.guard import Guard

    tag, real = app("HEAD", file).headers["etag"], Guard.fresh

    def replaced_meanwhile(guard: Guard, *arguments: object) -> bool:
        monkeypatch.undo()
        app("PUT", file, b"new")
        return real(guard, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Guard, "fresh", replaced_meanwhile)
    answer = app("GET", file, If_Match=tag)
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, CONTENT, tag)
    assert app("GET", file, If_Match=tag).status == 412


def test_an_answer_that_nobody_takes_leaves_nothing_open(app: Local, file: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for fields in ({}, {"Range": "bytes=0-1,5-6"}, {"If-Match": '"x"'}, {"Range": "bytes=500-"}, {"If": "junk"}):
        for method in ("GET", "HEAD"):
            answer: Iterator[bytes] = iter(
                app.app(
                    {
                        "REQUEST_METHOD": method,
                        "REQUEST_URI": file,
                        "wsgi.input": Content(b""),
                        "wsgi.file_wrapper": lambda part: iter([part]),
                        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields.items()},
                    },
                    lambda *_: None,
                )
            )
            del answer
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_time_to_come_is_told_by_the_property_alone(app: Local, box: str) -> None:
    """RFC 9110 §8.8.2.1. rclone knows by DAV:getlastmodified whether a file is the one that it sent."""
    made = app("PUT", f"{box}/later", CONTENT, X_OC_Mtime="4000000000")
    assert (made.headers["x-oc-mtime"], made.headers.get("last-modified")) == ("accepted", None)
    for answer in (
        app("GET", f"{box}/later"),
        app("HEAD", f"{box}/later"),
        app("GET", f"{box}/later", Range="bytes=0-0"),
        app("GET", f"{box}/later", If_None_Match=made.headers["etag"]),
    ):
        assert answer.status in (200, 206, 304)
        assert answer.headers["etag"] == made.headers["etag"]
        assert "last-modified" not in answer.headers
    told = app.propfind(f"{box}/later", "getlastmodified").texts("//D:getlastmodified")
    assert told == ["Tue, 02 Oct 2096 07:06:40 GMT"]
