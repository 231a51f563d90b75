"""Properties and XML, where stock WsgiDAV 4.4.0 bends: each test fails on its behaviour."""

from __future__ import annotations

import os

import pytest
from lxml import etree
from serving import Running
from wire import Dav, lockinfo

OK = "//D:propstat[D:status='HTTP/1.1 200 OK']/D:prop/*"


def names(answer_elements: list[etree._Element]) -> set[str]:
    return {etree.QName(element).localname for element in answer_elements}


def test_propname_names_every_property_without_values(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.1, §14.24."""
    dav("PUT", f"{folder}/f", b"x")
    dav.proppatch(f"{folder}/f", '<D:set><D:prop><mine xmlns="urn:t">1</mine></D:prop></D:set>')
    answer = dav("PROPFIND", f"{folder}/f", b'<propfind xmlns="DAV:"><propname/></propfind>', Depth="0")
    found = answer.find(OK)
    assert {"getetag", "resourcetype", "lockdiscovery", "mine"} <= names(found)
    assert all(element.text is None and len(element) == 0 for element in found)


def test_include_adds_to_allprop(dav: Dav, folder: str) -> None:
    """RFC 4918 §14.8."""
    body = '<propfind xmlns="DAV:"><allprop/><include><quota-used-bytes/></include></propfind>'
    found = names(dav("PROPFIND", folder, body, Depth="0").find(OK))
    assert {"quota-used-bytes", "resourcetype"} <= found
    assert "quota-used-bytes" not in names(dav.propfind(folder).find(OK))


def test_xml_bodies_may_be_chunked(dav: Dav, folder: str) -> None:
    """RFC 9112 §6.3: no Content-Length does not mean no body."""
    asked = dav("PROPFIND", folder, [b'<propfind xmlns="DAV:"><prop>', b"<getetag/></prop></propfind>"], Depth="0")
    assert asked.texts("//D:status") == ["HTTP/1.1 404 Not Found"]
    assert dav("LOCK", f"{folder}/f", [lockinfo()], Depth="0").status == 201


@pytest.mark.parametrize("noise", ["<!-- a comment -->", '<x:unknown xmlns:x="urn:x"><y/></x:unknown>', "<?pi?>"])
def test_comments_and_unknown_elements_are_ignored(noise: str, dav: Dav, folder: str) -> None:
    """RFC 4918 §17."""
    dav("PUT", f"{folder}/f", b"x")
    patch = (
        f'<D:propertyupdate xmlns:D="DAV:">{noise}<D:set>{noise}<D:prop><v xmlns="urn:t">1</v>'
        f"<!-- in prop --></D:prop></D:set></D:propertyupdate>"
    )
    assert dav("PROPPATCH", f"{folder}/f", patch).texts("//D:status") == ["HTTP/1.1 200 OK"]
    lock = (
        f'<D:lockinfo xmlns:D="DAV:">{noise}<D:lockscope>{noise}<D:exclusive/></D:lockscope>'
        f"<D:locktype><D:write/></D:locktype></D:lockinfo>"
    )
    assert dav("LOCK", f"{folder}/f", lock, Depth="0").status == 200
    find = f'<D:propfind xmlns:D="DAV:">{noise}<D:prop><!-- here --><v xmlns="urn:t"/></D:prop></D:propfind>'
    assert dav("PROPFIND", f"{folder}/f", find, Depth="0").texts("//D:status") == ["HTTP/1.1 200 OK"]


def test_the_language_in_scope_is_kept(dav: Dav, folder: str) -> None:
    """RFC 4918 §4.3."""
    dav.proppatch(folder, '<D:set><D:prop xml:lang="de"><title xmlns="urn:t">Titel</title></D:prop></D:set>')
    (title,) = dav.propfind(folder, "title", namespace="urn:t").find("//*[local-name()='title']")
    assert title.text == "Titel"
    assert title.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"


def test_quota_of_a_file_is_not_found(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.1: a property that is not defined is 404, not an empty 200."""
    dav("PUT", f"{folder}/f", b"x")
    answer = dav.propfind(f"{folder}/f", "quota-used-bytes", "quota-available-bytes")
    assert answer.texts("//D:status") == ["HTTP/1.1 404 Not Found"]


@pytest.mark.parametrize("name", ["getetag", "getcontentlength", "resourcetype", "lockdiscovery", "supportedlock"])
def test_protected_properties_say_so(name: str, dav: Dav, folder: str) -> None:
    """RFC 4918 §16."""
    answer = dav.proppatch(folder, f"<D:set><D:prop><D:{name}>x</D:{name}></D:prop></D:set>")
    assert answer.texts("//D:status") == ["HTTP/1.1 403 Forbidden"]
    assert answer.find("//D:propstat/D:error/D:cannot-modify-protected-property")


def test_a_strange_name_does_not_break_a_listing(server: Running, dav: Dav, folder: str) -> None:
    place = os.fsencode(str(server.root / folder[1:]))
    for name in (b"not-\xff-utf8", b"control-\x01", b"line\nbreak", b"plain"):
        with open(os.path.join(place, name), "wb"):
            pass
    answer = dav.propfind(folder, depth="1")
    assert answer.status == 207
    hrefs = answer.hrefs()
    assert f"{folder}/plain" in hrefs
    for href in hrefs[1:]:
        assert dav("GET", href).status == 200


def test_a_vanishing_member_does_not_break_a_listing(server: Running, dav: Dav, folder: str) -> None:
    place = server.root / folder[1:]
    (place / "dangling").symlink_to("nowhere")
    os.mkfifo(place / "pipe")
    (place / "plain").touch()
    assert dav.propfind(folder, depth="1").hrefs() == [f"{folder}/", f"{folder}/plain"]


@pytest.mark.parametrize(
    "body",
    [
        '<!DOCTYPE x [<!ENTITY e "boom">]><propertyupdate xmlns="DAV:"><set><prop><v xmlns="urn:t">&e;</v></prop></set>'
        "</propertyupdate>",
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><propfind xmlns="DAV:"><allprop/></propfind>',
        "<propfind",
        "not XML at all",
    ],
)
@pytest.mark.parametrize("method", ["PROPPATCH", "PROPFIND", "LOCK"])
def test_xml_that_is_not_welcome_is_400(method: str, body: str, dav: Dav, folder: str) -> None:
    answer = dav(method, folder, body, Depth="0")
    assert answer.status == 400
    assert answer.body
    assert dav.propfind(folder).status == 207


def test_a_huge_xml_body_is_413(dav: Dav, folder: str) -> None:
    body = b'<propfind xmlns="DAV:"><allprop/>' + b" " * 2_000_000 + b"</propfind>"
    assert dav("PROPFIND", folder, body, Depth="0").status == 413
    assert dav("PROPFIND", folder, [body], Depth="0").status == 413


def test_depth_infinity_is_refused_unless_switched_on(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.1."""
    answer = dav("PROPFIND", folder, b"", Depth="infinity")
    assert answer.status == 403
    assert answer.find("/D:error/D:propfind-finite-depth")


def test_depth_means_nothing_to_proppatch(dav: Dav, folder: str) -> None:
    """webdavclient3 always sends Depth: 1."""
    answer = dav.proppatch(folder, '<D:set><D:prop><v xmlns="urn:t">1</v></D:prop></D:set>', Depth="1")
    assert answer.status == 207


def test_a_named_property_that_does_not_exist_is_404_within(dav: Dav, folder: str) -> None:
    assert dav.propfind(f"{folder}/missing").status == 404
