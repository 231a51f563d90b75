"""PROPPATCH and dead properties (RFC 4918 §9.2, §4.3, §14; RFC 8144 §2.2), row by row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from inprocess import Local, local
from lxml import etree
from wire import Answer

D = "{DAV:}"
MS = "urn:schemas-microsoft-com:"
TIMES = "<Z:{0} xmlns:Z='urn:schemas-microsoft-com:'>{1}</Z:{0}>"
WIN32_PROPERTIES = (
    TIMES.format("Win32CreationTime", "Tue, 01 Sep 2020 10:00:00 GMT")
    + TIMES.format("Win32LastAccessTime", "Sun, 13 Sep 2020 12:26:40 GMT")
    + TIMES.format("Win32LastModifiedTime", "Sun, 13 Sep 2020 12:26:40 GMT")
    + TIMES.format("Win32FileAttributes", "00000020")
)


def statuses(answer: Answer) -> dict[str, tuple[str, str | None]]:
    """Local name of a property → (status, precondition element)."""
    told = {}
    for propstat in answer.find("//D:propstat"):
        error = propstat.find(f"{D}error")
        element = None if error is None else etree.QName(error[0]).localname
        for each in propstat.findall(f"{D}prop/*"):
            told[etree.QName(each).localname] = ((propstat.findtext(f"{D}status") or "").split()[1], element)
    return told


def setting(inner: str) -> str:
    return f"<D:set><D:prop>{inner}</D:prop></D:set>"


def removing(inner: str) -> str:
    return f"<D:remove><D:prop>{inner}</D:prop></D:remove>"


def values(app: Local, path: str, *names: str, namespace: str = "urn:x") -> list[str | None]:
    answer = app.propfind(path, *names, namespace=namespace)
    found = {
        etree.QName(each).localname: etree.tostring(each, method="text", encoding=str)
        for each in answer.find("//D:propstat[D:status='HTTP/1.1 200 OK']/D:prop/*")
    }
    return [found.get(name) for name in names]


@pytest.fixture(params=["file", "folder"])
def resource(request: pytest.FixtureRequest, app: Local, box: str) -> str:
    path = f"{box}/r"
    assert app("PUT" if request.param == "file" else "MKCOL", path).status == 201
    return path


A, B = '<a xmlns="urn:x">1</a>', '<b xmlns="urn:x">2</b>'
PROTECTED = ("403", "cannot-modify-protected-property")


@pytest.mark.parametrize(
    ("update", "outcome", "a", "b"),
    [
        (setting(A), {"a": ("200", None)}, "1", "old"),
        (setting(A + B), {"a": ("200", None), "b": ("200", None)}, "1", "2"),
        (setting(A) + removing('<b xmlns="urn:x"/>'), {"a": ("200", None), "b": ("200", None)}, "1", None),
        # in document order
        (setting(B) + removing('<b xmlns="urn:x"/>'), {"b": ("200", None)}, None, None),
        (removing('<b xmlns="urn:x"/>') + setting(B), {"b": ("200", None)}, None, "2"),
        (setting(A) + setting('<a xmlns="urn:x">again</a>'), {"a": ("200", None)}, "again", "old"),
        # §14.23: removing what is not there is no error
        (removing('<never xmlns="urn:x"/>'), {"never": ("200", None)}, None, "old"),
        (removing('<b xmlns="urn:x">content means nothing</b>'), {"b": ("200", None)}, None, None),
        # §9.2: all or nothing, §11.4, §16
        (setting(A + "<D:getetag>x</D:getetag>"), {"a": ("424", None), "getetag": PROTECTED}, None, "old"),
        (setting("<D:resourcetype/>" + B), {"resourcetype": PROTECTED, "b": ("424", None)}, None, "old"),
        (removing("<D:getlastmodified/>") + setting(A),
         {"getlastmodified": PROTECTED, "a": ("424", None)}, None, "old"),
        (setting("<D:getlastmodified>junk</D:getlastmodified>" + A),
         {"getlastmodified": ("409", None), "a": ("424", None)}, None, "old"),
        (removing("<D:lockdiscovery/>") + removing('<b xmlns="urn:x"/>'),
         {"lockdiscovery": PROTECTED, "b": ("424", None)}, None, "old"),
        # §17: what is not known is passed over
        ("<!-- a --><x xmlns='urn:y'/>" + setting(A + "<!-- b -->") + "<?pi?>", {"a": ("200", None)}, "1", "old"),
        (setting(""), {}, None, "old"),
    ],
)  # fmt: skip
def test_all_or_nothing_in_document_order(
    update: str, outcome: dict[str, tuple[str, str | None]], a: str | None, b: str | None, app: Local, resource: str
) -> None:
    assert app.proppatch(resource, setting('<b xmlns="urn:x">old</b>')).status == 207
    answer = app.proppatch(resource, update)
    assert answer.status == 207
    assert statuses(answer) == outcome
    assert values(app, resource, "a", "b") == [a, b]


@pytest.mark.parametrize(
    "name",
    ["creationdate", "getcontentlength", "getcontenttype", "getetag", "lockdiscovery", "resourcetype", "supportedlock",
     "quota-available-bytes", "quota-used-bytes"],
)  # fmt: skip
def test_what_the_server_computes_is_protected(name: str, app: Local, resource: str) -> None:
    for update in (setting(f"<D:{name}>x</D:{name}>"), removing(f"<D:{name}/>")):
        assert statuses(app.proppatch(resource, update)) == {name: PROTECTED}


@pytest.mark.parametrize(
    ("inner", "mtime"),
    [
        ("<D:getlastmodified>Sun, 13 Sep 2020 12:26:40 GMT</D:getlastmodified>", 1_600_000_000),
        ("<D:lastmodified>1600000000</D:lastmodified>", 1_600_000_000),
        ("<D:lastmodified>Sun, 13 Sep 2020 12:26:40 GMT</D:lastmodified>", 1_600_000_000),
        (WIN32_PROPERTIES, 1_600_000_000),
    ],
)
def test_the_time_of_change_can_be_set(inner: str, mtime: int, app: Local, resource: str, disk: Path) -> None:
    """rclone, Explorer, Cyberduck."""
    answer = app.proppatch(resource, setting(inner))
    assert {status for status, _ in statuses(answer).values()} == {"200"}
    assert int((disk / "r").stat().st_mtime) == mtime
    modified = values(app, resource, "getlastmodified", namespace="DAV:")
    assert modified == ["Sun, 13 Sep 2020 12:26:40 GMT"]


def test_what_explorer_sets_comes_back(app: Local, resource: str) -> None:
    answer = app.proppatch(resource, setting(WIN32_PROPERTIES))
    assert set(statuses(answer).values()) == {("200", None)}
    names = ("Win32CreationTime", "Win32LastAccessTime", "Win32LastModifiedTime", "Win32FileAttributes")
    expected = ["Tue, 01 Sep 2020 10:00:00 GMT", *["Sun, 13 Sep 2020 12:26:40 GMT"] * 2, "00000020"]
    assert values(app, resource, *names, namespace=MS) == expected


def test_a_refused_patch_changes_no_time(app: Local, resource: str, disk: Path) -> None:
    before = os.stat(disk / "r")
    answer = app.proppatch(resource, setting("<D:lastmodified>1600000000</D:lastmodified><D:getetag/>"))
    assert statuses(answer)["lastmodified"] == ("424", None)
    assert os.stat(disk / "r") == before


def test_dead_properties_change_neither_etag_nor_time(app: Local, box: str) -> None:
    """Office says "updated by another author" otherwise."""
    before = app("PUT", f"{box}/f", b"x")
    app.proppatch(f"{box}/f", setting(A))
    after = app("HEAD", f"{box}/f")
    assert (after.headers["etag"], after.headers["last-modified"]) == (
        before.headers["etag"], before.headers["last-modified"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "element",
    [
        '<e xmlns="urn:x"/>',
        '<e xmlns="">no namespace</e>',
        '<e xmlns="urn:x">text &amp; &lt;markup&gt; "quotes"</e>',
        '<e xmlns="urn:x">mixed <b>content</b> and <c xmlns="urn:y">more</c> tail</e>',
        '<p:e xmlns:p="urn:x" p:attribute="1" other="2">x</p:e>',
        '<e xmlns="urn:x" xml:lang="de">Straße</e>',
        '<e xmlns="urn:x" xmlns:q="urn:q" type="q:name">a value that mentions q:name</e>',
        '<e xmlns="urn:x">\N{GRINNING FACE} ü \N{CJK UNIFIED IDEOGRAPH-65E5}</e>',
        '<e xmlns="urn:x"> leading, trailing and  inner blanks \n and\tlines </e>',
        '<e xmlns="urn:x"><![CDATA[<not markup>]]></e>',
        '<e xmlns="http://example.com/a?b=1&amp;c=%20d">strange namespace</e>',
        '<D:e xmlns:D="DAV:">of the DAV: namespace, and of nobody\'s table</D:e>',
        '<e xmlns="urn:x">' + "x" * 65536 + "</e>",
    ],
)
def test_what_was_set_comes_back_as_it_was(element: str, app: Local, resource: str) -> None:
    """RFC 4918 §4.3, §4.4: the same element, whatever it holds."""
    assert set(statuses(app.proppatch(resource, setting(element))).values()) == {("200", None)}
    sent = etree.fromstring(element)
    name = etree.QName(sent)
    namespace = (name.namespace or "").replace("&", "&amp;")
    body = f'<D:propfind xmlns:D="DAV:"><D:prop><e xmlns="{namespace}"/></D:prop></D:propfind>'
    for answer in (app("PROPFIND", resource, body, Depth="0"), app("PROPFIND", resource, b"", Depth="0")):
        (got,) = (each for each in answer.find("//D:prop/*") if each.tag == sent.tag)
        for each in (got, sent):
            each.tail = None
        assert etree.tostring(got, method="c14n", exclusive=True) == etree.tostring(sent, method="c14n", exclusive=True)


def test_the_language_in_scope_is_a_part_of_the_value(app: Local, resource: str) -> None:
    """RFC 4918 §4.3."""
    app.proppatch(resource, '<D:set xml:lang="fr"><D:prop><a xmlns="urn:x">un</a></D:prop></D:set>')
    (element,) = app.propfind(resource, "a", namespace="urn:x").find("//D:prop/*")
    assert element.get("{http://www.w3.org/XML/1998/namespace}lang") == "fr"


def test_names_are_equal_only_with_their_namespaces(app: Local, resource: str) -> None:
    for namespace in ("urn:x", "urn:X", "urn:x/", "urn:%25_"):
        app.proppatch(resource, setting(f'<a xmlns="{namespace}">{namespace}</a>'))
    for namespace in ("urn:x", "urn:X", "urn:x/", "urn:%25_"):
        assert values(app, resource, "a", namespace=namespace) == [namespace]
    assert values(app, resource, "a", namespace="urn:y") == [None]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("<propertyupdate", 400),
        ('<D:propfind xmlns:D="DAV:"/>', 400),
        ('<D:propertyupdate xmlns:D="DAV:"/>', 400),
        ('<!DOCTYPE x><D:propertyupdate xmlns:D="DAV:"/>', 400),
        ('<D:propertyupdate xmlns:D="DAV:"><x xmlns="urn:y"/></D:propertyupdate>', 400),
    ],
)
def test_what_is_no_propertyupdate(body: str, status: int, app: Local, resource: str) -> None:
    assert app("PROPPATCH", resource, body).status == status


@pytest.mark.parametrize("depth", ["0", "1", "infinity", "junk"])
def test_depth_means_nothing(depth: str, app: Local, resource: str) -> None:
    """webdavclient3 always sends 1."""
    assert app.proppatch(resource, setting(A), Depth=depth).status == 207


def test_what_is_missing(app: Local, box: str) -> None:
    for path in ("missing", "missing/", "a/b"):
        assert app.proppatch(f"{box}/{path}", setting(A)).status == 404


@pytest.mark.parametrize("fields", [{"Prefer": "return=minimal"}, {"Brief": "t"}])
def test_success_may_be_said_in_a_word(fields: dict[str, str], app: Local, resource: str) -> None:
    """RFC 8144 §2.2; failure is told in full."""
    answer = app.proppatch(resource, setting(A), **fields)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers.get("preference-applied") == ("return=minimal" if "Prefer" in fields else None)
    assert values(app, resource, "a") == ["1"]
    assert app.proppatch(resource, setting("<D:getetag/>"), **fields).status == 207


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path, limits={"property": 200, "properties": 500}) as app:
        app("PUT", "/f", b"x")
        yield app


def test_a_property_that_is_too_large(small: Local) -> None:
    answer = small.proppatch("/f", setting(f'{A}<big xmlns="urn:x">{"x" * 300}</big>'))
    assert statuses(answer) == {"a": ("424", None), "big": ("507", None)}
    assert values(small, "/f", "a", "big") == [None, None]


def test_properties_that_are_too_large_together(small: Local) -> None:
    for number in range(2):
        assert small.proppatch("/f", setting(f'<n{number} xmlns="urn:x">{"x" * 150}</n{number}>')).status == 207
    before = small("HEAD", "/f").headers["etag"]
    answer = small.proppatch("/f", setting(f'<n3 xmlns="urn:x">{"x" * 150}</n3><D:lastmodified>1</D:lastmodified>'))
    assert answer.status == 507
    assert b"500 bytes" in answer.body
    assert values(small, "/f", "n0", "n3") == ["x" * 150, None]
    assert small("HEAD", "/f").headers["etag"] == before
    assert small.proppatch("/f", setting('<n1 xmlns="urn:x">y</n1>')).status == 207


def test_locks_and_preconditions_stand_in_its_way(app: Local, box: str) -> None:
    app("PUT", f"{box}/f", b"x")
    assert app.proppatch(f"{box}/f", setting(A), If_Match='"x"').status == 412
    token = app.lock(f"{box}/f").token
    assert app.proppatch(f"{box}/f", setting(A)).status == 423
    assert app.proppatch(f"{box}/f", setting(A), If=f"(<{token}>)").status == 207


def test_a_display_name_of_ones_own(app: Local, resource: str) -> None:
    """RFC 4918 §15.2."""
    assert values(app, resource, "displayname", namespace="DAV:") == ["r"]
    assert statuses(app.proppatch(resource, setting("<D:displayname>My own</D:displayname>"))) == {
        "displayname": ("200", None)
    }
    assert values(app, resource, "displayname", namespace="DAV:") == ["My own"]
    assert app("PROPFIND", resource, b"", Depth="0").texts("//D:displayname") == ["My own"]
    app.proppatch(resource, removing("<D:displayname/>"))
    assert values(app, resource, "displayname", namespace="DAV:") == ["r"]


def test_properties_survive_a_restart(tmp_path: Path) -> None:
    with local(tmp_path) as app:
        app("PUT", "/f", b"x")
        app.proppatch("/f", setting(A))
    with local(tmp_path) as app:
        assert values(app, "/f", "a") == ["1"]
