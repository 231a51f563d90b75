"""MKCOL (RFC 4918 §9.3), and with properties (RFC 5689)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from inprocess import Local, local
from test_proppatch import statuses, values

XML = "application/xml; charset=utf-8"


def mkcol(inner: str) -> str:
    return f'<D:mkcol xmlns:D="DAV:">{inner}</D:mkcol>'


def setting(inner: str) -> str:
    return f"<D:set><D:prop>{inner}</D:prop></D:set>"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_new_collection(slash: str, app: Local, box: str, disk: Path) -> None:
    assert app("MKCOL", f"{box}/c{slash}").status == 201
    assert (disk / "c").is_dir()
    answer = app("MKCOL", f"{box}/c{slash}")
    assert answer.status == 405
    assert "PROPFIND" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("target", "status"),
    [("/file", 405), ("/file/", 405), ("/missing/c", 409), ("/file/c", 409), ("/.davserver~c", 403), ("/a%2Fb", 400)],
)
def test_what_cannot_be_made(target: str, status: int, app: Local, box: str, disk: Path) -> None:
    app("PUT", f"{box}/file", b"x")
    assert app("MKCOL", box + target).status == status
    assert os.listdir(disk) == ["file"]


def test_what_is_there_already(app: Local) -> None:
    assert app("MKCOL", "/").status == 405


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"text", "text/plain"),
        (b"text", ""),
        ([b"text"], "text/plain"),
        (b"<D:mkcol xmlns:D='DAV:'/>", "text/plain"),
        (b'{"a": 1}', "application/json"),
    ],
)
def test_a_body_of_another_kind_is_415(body: bytes, kind: str, app: Local, box: str, disk: Path) -> None:
    """RFC 4918 §9.3.1."""
    assert app("MKCOL", f"{box}/c", body, Content_Type=kind).status == 415
    assert os.listdir(disk) == []


@pytest.mark.parametrize("body", [b"", []])
@pytest.mark.parametrize("kind", ["", "text/plain", XML])
def test_no_body_is_of_any_kind(body: bytes, kind: str, app: Local, box: str) -> None:
    assert app("MKCOL", f"{box}/c", body, Content_Type=kind).status == 201


@pytest.mark.parametrize(
    ("body", "a"),
    [
        (mkcol(""), None),
        (mkcol(setting("<D:resourcetype><D:collection/></D:resourcetype>")), None),
        (mkcol(setting('<a xmlns="urn:x">1</a>')), "1"),
        (mkcol(setting('<D:resourcetype><D:collection/></D:resourcetype><a xmlns="urn:x">1</a>')), "1"),
        (mkcol(setting('<a xmlns="urn:x">1</a>') + setting('<a xmlns="urn:x">2</a>')), "2"),
        (mkcol("<!-- c --><x xmlns='urn:y'/>" + setting('<a xmlns="urn:x">1</a>')), "1"),
    ],
)
@pytest.mark.parametrize("kind", [XML, "text/xml", 'Text/XML; charset="utf-8"'])
def test_with_properties(body: str, a: str | None, kind: str, app: Local, box: str) -> None:
    """RFC 5689 §3."""
    answer = app("MKCOL", f"{box}/c", body, Content_Type=kind)
    assert (answer.status, answer.body) == (201, b"")
    assert values(app, f"{box}/c", "a") == [a]
    assert app.propfind(f"{box}/c", "resourcetype").find("//D:resourcetype/D:collection")


@pytest.mark.parametrize(
    ("inner", "outcome"),
    [
        (
            '<D:resourcetype><D:collection/><x xmlns="urn:e"/></D:resourcetype><D:displayname>S</D:displayname>',
            {"resourcetype": ("403", "valid-resourcetype"), "displayname": ("424", None)},
        ),
        ("<D:resourcetype/>", {"resourcetype": ("403", "valid-resourcetype")}),
        (
            '<a xmlns="urn:x">1</a><D:getetag>x</D:getetag>',
            {"a": ("424", None), "getetag": ("403", "cannot-modify-protected-property")},
        ),
    ],
)
def test_properties_that_cannot_be_set(
    inner: str, outcome: dict[str, tuple[str, str | None]], app: Local, box: str, disk: Path
) -> None:
    """RFC 5689 §3.3, §3.5: nothing is made."""
    answer = app("MKCOL", f"{box}/c", mkcol(setting(inner)), Content_Type=XML)
    assert answer.status == 403
    assert answer.xml.tag == "{DAV:}mkcol-response"
    assert statuses(answer) == outcome
    assert os.listdir(disk) == []
    app("MKCOL", f"{box}/c")
    assert values(app, f"{box}/c", "a") == [None]


@pytest.mark.parametrize("body", ["<D:mkcol", '<D:propertyupdate xmlns:D="DAV:"/>', "<!DOCTYPE x><x/>"])
def test_xml_that_is_no_mkcol_is_400(body: str, app: Local, box: str, disk: Path) -> None:
    assert app("MKCOL", f"{box}/c", body, Content_Type=XML).status == 400
    assert os.listdir(disk) == []


def test_it_is_told_of(app: Local, box: str) -> None:
    """RFC 5689 §3.1."""
    assert "extended-mkcol" in app("OPTIONS", f"{box}/c").headers["dav"].split(", ")


def test_a_locked_parent_stands_in_its_way(app: Local, box: str) -> None:
    """RFC 4918 §7.4."""
    token = app.lock(box).token
    for body in ("", mkcol(setting('<a xmlns="urn:x">1</a>'))):
        assert app("MKCOL", f"{box}/c", body, Content_Type=XML).status == 423
    body = mkcol(setting('<a xmlns="urn:x">1</a>'))
    assert app("MKCOL", f"{box}/c", body, Content_Type=XML, If=f"<{box}> (<{token}>)").status == 201
    assert values(app, f"{box}/c", "a") == ["1"]


def test_somebody_else_makes_it_first(app: Local, box: str, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from davserver.storage.tree import Tree

    real = Tree.create_collection

    def made_meanwhile(self: Tree, hold: object, spot: object) -> None:
        (disk / "c").mkdir()
        real(self, hold, spot)  # type: ignore[arg-type]

    monkeypatch.setattr(Tree, "create_collection", made_meanwhile)
    assert app("MKCOL", f"{box}/c").status == 405
    (disk / "c").rmdir()
    assert app("MKCOL", f"{box}/c", mkcol(setting('<a xmlns="urn:x">1</a>')), Content_Type=XML).status == 405
    monkeypatch.undo()
    assert values(app, f"{box}/c", "a") == [None]


def test_where_no_share_is_mounted_it_says_so(tmp_path: Path) -> None:
    """The root is then a folder of the server's own, and no share that somebody has set to be read-only."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "read").mkdir()
    shares = {
        "/docs": {"directory": str(tmp_path / "docs")},
        "/deep/read": {"directory": str(tmp_path / "read"), "read_only": True},
    }
    with local(tmp_path, shares=shares) as app:
        assert app("PUT", "/docs/f", b"x").status == 201
        for answer in (
            app("MKCOL", "/x"),
            app("PUT", "/x", b"x"),
            app("MKCOL", "/deep/x"),
            app("COPY", "/docs/f", Destination="/x"),
        ):
            assert answer.status == 403
            assert "No share is mounted here" in answer.body.decode()
        assert "This share is read-only." in app("MKCOL", "/deep/read/x").body.decode()
        assert app.propfind("/", depth="1").hrefs() == ["/", "/deep/", "/docs/"]
