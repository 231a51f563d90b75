"""XML in and out: what a body means, what it may not do, and that what is written reads back as it was."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from davserver.protocol import xml, xml_out
from davserver.protocol.errors import BadRequest, ContentTooLarge, Refused
from davserver.protocol.holder import Viewer
from davserver.protocol.locks import ANYBODY, Depth, Kind, Lock, Principal, Scope
from davserver.protocol.paths import DavPath
from davserver.protocol.properties import (
    DAV,
    AllProp,
    NamedProps,
    PropName,
    PropNames,
    RemoveProperty,
    SetProperty,
)
from davserver.protocol.reasons import reason

MIB = 1024 * 1024
PARSERS: tuple[Callable[[bytes], Any], ...] = (
    xml.parse_propfind,
    xml.parse_propertyupdate,
    xml.parse_lockinfo,
    xml.parse_mkcol,
)


class Stream:
    """A request body; `length` None: chunked."""

    def __init__(self, data: io.BufferedIOBase | bytes, length: int | None) -> None:
        self._data = io.BytesIO(data) if isinstance(data, bytes) else data
        self.length = length
        self.is_here = False
        self.taken = 0

    def read(self, size: int) -> bytes:
        block = self._data.read(size)
        self.taken += len(block)
        return block


class Endless(io.BufferedIOBase):
    def read(self, size: int | None = -1, /) -> bytes:
        return b"a" * (size or 0)


def patch(inner: str, attributes: str = "") -> bytes:
    """A propertyupdate that sets what `inner` holds."""
    prop = f"<D:set><D:prop>{inner}</D:prop></D:set>"
    return f'<D:propertyupdate xmlns:D="DAV:" {attributes}>{prop}</D:propertyupdate>'.encode()


def stored(inner: str, attributes: str = "") -> bytes:
    """The one property of `inner`, as it is kept."""
    (change,) = xml.parse_propertyupdate(patch(inner, attributes))
    assert isinstance(change, SetProperty)
    return change.dead.xml


def answered(*elements: bytes) -> etree._Element:
    """The prop element of an answer that holds these properties, read back."""
    body = b"".join(xml_out.multistatus([xml_out.propstat_response("/f", b"".join(elements))]))
    (prop,) = etree.fromstring(body).iter("{DAV:}prop")
    return prop


def infoset(element: etree._Element | ElementTree.Element) -> tuple[Any, ...]:
    """What RFC 4918 §4.3 says must be kept: names, attributes, text, and the same of every child."""
    children = [(infoset(child), child.tail or "") for child in element]
    return element.tag, dict(element.attrib), element.text or "", children


# --- read_body


def test_a_body_is_read_whole_whether_its_length_is_known_or_not() -> None:
    data = b"x" * 200_000
    assert xml.read_body(Stream(data, len(data)), MIB) == data
    assert xml.read_body(Stream(data, None), MIB) == data
    assert xml.read_body(Stream(data, None), len(data)) == data
    assert xml.read_body(Stream(b"", 0), 0) == b""


def test_an_announced_body_that_is_too_large_is_not_read() -> None:
    body = Stream(Endless(), 50 * MIB)
    with pytest.raises(ContentTooLarge):
        xml.read_body(body, MIB)
    assert body.taken == 0


def test_an_endless_body_is_given_up_at_the_limit() -> None:
    body = Stream(Endless(), None)
    with pytest.raises(ContentTooLarge):
        xml.read_body(body, MIB)
    assert body.taken <= MIB + 64 * 1024


# --- propfind


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"", AllProp()),
        (b" \r\n", AllProp()),
        (b'<propfind xmlns="DAV:"><allprop/></propfind>', AllProp()),
        (b'<propfind xmlns="DAV:"><propname/></propfind>', PropNames()),
        (b'<propfind xmlns="DAV:"><prop/></propfind>', NamedProps(())),
        # RFC 4918 §9.1.3
        (
            b'<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:">'
            b'<D:prop xmlns:R="http://ns.example.com/boxschema/"><R:bigbox/><R:author/><R:DingALing/><R:Random/></D:prop>'
            b"</D:propfind>",
            NamedProps(
                tuple(
                    PropName("http://ns.example.com/boxschema/", name)
                    for name in ("bigbox", "author", "DingALing", "Random")
                )
            ),
        ),
        # RFC 4918 §9.1.6
        (
            b'<D:propfind xmlns:D="DAV:"><D:allprop/><D:include><D:supported-live-property-set/>'
            b"<D:supported-report-set/></D:include></D:propfind>",
            AllProp((PropName(DAV, "supported-live-property-set"), PropName(DAV, "supported-report-set"))),
        ),
        # each name once; names without a namespace; what stands inside a name is not looked at
        (
            b'<p:propfind xmlns:p="DAV:"><p:prop><p:a/><p:b><x/></p:b><p:a/><a/></p:prop></p:propfind>',
            NamedProps((PropName(DAV, "a"), PropName(DAV, "b"), PropName("", "a"))),
        ),
    ],
)
def test_propfind(body: bytes, wanted: object) -> None:
    assert xml.parse_propfind(body) == wanted


@pytest.mark.parametrize(
    "body",
    [
        '<propfind xmlns="DAV:"/>',
        '<propfind xmlns="DAV:"><allprop/><propname/></propfind>',
        '<propfind xmlns="DAV:"><prop/><prop/></propfind>',
        '<propfind xmlns="DAV:"><include/></propfind>',
        "<propfind><allprop/></propfind>",
        '<propfind xmlns="dav:"><allprop/></propfind>',
        '<lockinfo xmlns="DAV:"/>',
        '<D:propfind xmlns:D="DAV:"><D:prop><bar:foo xmlns:bar=""/></D:prop></D:propfind>',
        '<D:propfind xmlns:D="DAV:"><D:prop><bar:foo/></D:prop></D:propfind>',
    ],
)
def test_no_propfind(body: str) -> None:
    with pytest.raises(BadRequest):
        xml.parse_propfind(body.encode())


# --- propertyupdate


def test_instructions_come_in_document_order() -> None:
    """RFC 4918 §9.2, §14.19."""
    update = xml.parse_propertyupdate(
        b'<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:z"><D:set><D:prop><Z:a>1</Z:a></D:prop>'
        b"<D:prop><Z:b>2</Z:b></D:prop></D:set><D:remove><D:prop><Z:c/><Z:a/></D:prop></D:remove>"
        b"<D:set><D:prop><Z:d>3</Z:d></D:prop></D:set></D:propertyupdate>"
    )
    assert [(type(change), change.name.local) for change in update] == [
        (SetProperty, "a"), (SetProperty, "b"), (RemoveProperty, "c"), (RemoveProperty, "a"), (SetProperty, "d"),
    ]  # fmt: skip
    assert {change.name.namespace for change in update} == {"urn:z"}


def test_set_without_a_property_changes_nothing() -> None:
    assert xml.parse_propertyupdate(b'<propertyupdate xmlns="DAV:"><set><prop/></set></propertyupdate>') == ()


def test_no_propertyupdate() -> None:
    for body in (b'<propertyupdate xmlns="DAV:"/>', b'<propertyupdate xmlns="DAV:"><x/></propertyupdate>', b""):
        with pytest.raises(BadRequest):
            xml.parse_propertyupdate(body)


def test_the_text_of_a_property_is_all_the_text_below_it() -> None:
    (change,) = xml.parse_propertyupdate(patch("<x>a<y>b</y>c<!-- no --><![CDATA[<d>]]></x>tail"))
    assert isinstance(change, SetProperty)
    assert change.text == "abc<d>"


@pytest.mark.parametrize(
    "noise", ["", "<!-- a -->", "<?pi b?>", "text", "<u:u xmlns:u='urn:u'><D:prop/></u:u>", "<D:u/>"]
)
def test_what_is_not_known_is_passed_over(noise: str) -> None:
    """RFC 4918 §17."""
    body = (
        f'{noise if noise.startswith(("<!", "<?")) else ""}<D:propertyupdate xmlns:D="DAV:">{noise}<D:set>{noise}'
        f'<D:prop><v xmlns="urn:v">1</v></D:prop>{noise}</D:set>{noise}</D:propertyupdate>'
    )
    (change,) = xml.parse_propertyupdate(body.encode())
    assert change.name == PropName("urn:v", "v")
    lock = (
        f'<D:lockinfo xmlns:D="DAV:">{noise}<D:lockscope>{noise}<D:shared/></D:lockscope>{noise}'
        f"<D:locktype>{noise}<D:write/></D:locktype></D:lockinfo>"
    )
    assert xml.parse_lockinfo(lock.encode()).scope is Scope.SHARED
    find = f'<D:propfind xmlns:D="DAV:">{noise}<D:propname/>{noise}</D:propfind>'
    assert xml.parse_propfind(find.encode()) == PropNames()


# --- the round trip of a dead property


@pytest.mark.parametrize(
    ("inner", "kept"),
    [
        ("<x/>", b"<x/>"),
        ('<x xmlns="urn:x">1</x>tail', b'<x xmlns="urn:x">1</x>'),
        ('<Z:x xmlns:Z="urn:x" a="1" Z:b="2"/>', b'<Z:x xmlns:Z="urn:x" a="1" Z:b="2"/>'),
        ("<x>a<!-- c -->b<?p i?>c</x>", b"<x>abc</x>"),
        ("<x><![CDATA[<b>&]]></x>", b"<x>&lt;b&gt;&amp;</x>"),
        ("<x>&#13;&#x1F600;</x>", "<x>&#13;\U0001f600</x>".encode()),
        ("<x a='&#9;&#10;\"'/>", b'<x a="&#9;&#10;&quot;"/>'),
        # a child in no namespace below a default one
        ('<x xmlns="urn:x"><y xmlns=""/></x>', b'<x xmlns="urn:x"><y xmlns=""/></x>'),
        # what is declared inside stays, used or not
        ('<x xmlns:u="urn:u"><y/></x>', b'<x xmlns:u="urn:u"><y/></x>'),
        # XInclude is data
        (
            '<x xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="file:///etc/passwd" parse="text"/></x>',
            b'<x xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="file:///etc/passwd" parse="text"/></x>',
        ),
    ],
)
def test_a_property_is_kept_as_it_was(inner: str, kept: bytes) -> None:
    assert stored(inner) == kept


def test_a_property_takes_along_the_namespaces_it_needs_and_no_others() -> None:
    """RFC 4918 §4.3. Explorer's answers have a limit of 1 MB."""
    kept = stored(
        '<Z:x><D:y t="xs:date"/></Z:x>', 'xmlns:Z="urn:z" xmlns:xs="urn:xs?a&amp;b" xmlns:no="urn:no" xmlns="urn:d"'
    )
    assert kept == b'<Z:x xmlns:xs="urn:xs?a&amp;b" xmlns:Z="urn:z" xmlns:D="DAV:"><D:y t="xs:date"/></Z:x>'
    kept = stored("<x>xs:date</x>", 'xmlns="urn:d" xmlns:xs="urn:xs"')
    assert kept == b'<x xmlns:xs="urn:xs" xmlns="urn:d">xs:date</x>'


@pytest.mark.parametrize(
    ("inner", "attributes", "language"),
    [
        ("<x/>", "", None),
        ("<x/>", 'xml:lang="de"', "de"),
        ('<x xml:lang="fr"/>', 'xml:lang="de"', "fr"),
        ('<x xml:lang=""/>', 'xml:lang="de"', ""),
        ('<x><y xml:lang="it"/></x>', 'xml:lang="de"', "de"),
    ],
)
def test_the_language_in_scope_is_kept(inner: str, attributes: str, language: str | None) -> None:
    """RFC 4918 §4.3."""
    element = etree.fromstring(stored(inner, attributes))
    assert element.get("{http://www.w3.org/XML/1998/namespace}lang") == language


NAMES = st.sampled_from(["a", "b", "long-name", "_x", "ünï"])
NAMESPACES = st.sampled_from(["", DAV, "urn:a", "urn:b", "http://x/?a=1&b='2'", "relative/x"])
TEXT = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="".join(map(chr, range(32))) + "\ufffe\uffff")
    | st.sampled_from("\t\n\r"),
    max_size=20,
)


@st.composite
def elements(draw: st.DrawFn, scope: Mapping[str, str] = {"": "", "D": DAV}, depth: int = 3) -> str:
    """The text of an element: attributes, mixed content, prefixes declared anywhere and declared anew below."""
    own = draw(st.dictionaries(st.sampled_from(["n", "m", "D"]), NAMESPACES.filter(bool), max_size=2))
    if draw(st.booleans()):
        own[""] = draw(NAMESPACES)
    scope = {**scope, **own}
    prefixes = st.sampled_from(sorted(scope))

    def qualified() -> tuple[str, str]:
        """(as it is written, as it is meant)"""
        prefix, local = draw(prefixes), draw(NAMES)
        return (f"{prefix}:{local}" if prefix else local), f"{scope[prefix] if prefix else ''}|{local}"

    attributes = {meant: written for written, meant in (qualified() for _ in range(draw(st.integers(0, 3))))}
    declarations = [(f"xmlns:{prefix}" if prefix else "xmlns", namespace) for prefix, namespace in own.items()]
    fields = declarations + [(written, draw(TEXT)) for written in attributes.values()]
    children = draw(st.lists(elements(scope, depth - 1), max_size=2)) if depth else []
    content = xml_out.escape(draw(TEXT)) + "".join(child + xml_out.escape(draw(TEXT)) for child in children)
    tag = qualified()[0]
    start = " ".join([tag, *(f'{name}="{xml_out.escape(value)}"' for name, value in fields)])
    return f"<{start}>{content}</{tag}>"


@pytest.mark.slow
@given(
    st.lists(elements({"": "urn:d", "n": "urn:n", "D": DAV}), min_size=1, max_size=3),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-16-be"]),
)
def test_properties_survive_the_round_trip(properties: list[str], encoding: str) -> None:
    body = patch("tail".join(properties), 'xmlns="urn:d" xmlns:n="urn:n"').decode()
    # What was meant, by another parser than ours.
    meant = [infoset(element) for element in ElementTree.fromstring(body)[0][0]]
    update = xml.parse_propertyupdate(body.encode(encoding))
    kept = [change.dead.xml for change in update if isinstance(change, SetProperty)]
    assert [f"{{{c.name.namespace}}}{c.name.local}".removeprefix("{}") for c in update] == [each[0] for each in meant]
    # In an answer; each by itself; and stored again as it came back.
    assert [infoset(element) for element in answered(*kept)] == meant
    assert [infoset(etree.fromstring(each)) for each in kept] == meant
    again = xml.parse_propertyupdate(patch(b"".join(kept).decode()))
    assert [infoset(etree.fromstring(change.dead.xml)) for change in again if isinstance(change, SetProperty)] == meant


# --- lockinfo


def lockinfo(inner: str) -> bytes:
    return f'<D:lockinfo xmlns:D="DAV:">{inner}</D:lockinfo>'.encode()


EXCLUSIVE = "<D:lockscope><D:exclusive/></D:lockscope>"
WRITE = "<D:locktype><D:write/></D:locktype>"


def test_lockinfo() -> None:
    """RFC 4918 §9.10.7."""
    body = (
        b'<?xml version="1.0" encoding="utf-8" ?>\n<D:lockinfo xmlns:D=\'DAV:\'>\n'
        b"<D:lockscope><D:exclusive/></D:lockscope>\n<D:locktype><D:write/></D:locktype>\n"
        b"<D:owner>\n<D:href>http://example.org/~ejw/contact.html</D:href>\n</D:owner>\n</D:lockinfo>"
    )
    owner = b'<D:owner xmlns:D="DAV:">\n<D:href>http://example.org/~ejw/contact.html</D:href>\n</D:owner>'
    assert xml.parse_lockinfo(body) == xml.LockInfo(Scope.EXCLUSIVE, owner)


@pytest.mark.parametrize(
    ("owner", "kept"),
    [
        ("", None),
        ("<D:owner/>", b'<D:owner xmlns:D="DAV:"/>'),
        ("<D:owner> two  words\t</D:owner>tail", b'<D:owner xmlns:D="DAV:"> two  words\t</D:owner>'),
        ("<owner xmlns='DAV:'>x</owner>", b'<owner xmlns="DAV:">x</owner>'),
        ("<D:owner>one</D:owner><D:owner>two</D:owner>", b'<D:owner xmlns:D="DAV:">one</D:owner>'),
    ],
)
def test_the_owner_is_kept_as_it_was(owner: str, kept: bytes | None) -> None:
    assert xml.parse_lockinfo(lockinfo(EXCLUSIVE + WRITE + owner)).owner == kept


@pytest.mark.parametrize(
    "inner",
    [
        "",
        EXCLUSIVE,
        WRITE,
        f"<D:lockscope/>{WRITE}",
        f"<D:lockscope><D:both/></D:lockscope>{WRITE}",
        f"<D:lockscope><D:exclusive/><D:shared/></D:lockscope>{WRITE}",
        f"<D:lockscope><exclusive/></D:lockscope>{WRITE}",
        f"{EXCLUSIVE}<D:locktype><D:read/></D:locktype>",
    ],
)
def test_no_lockinfo(inner: str) -> None:
    with pytest.raises(BadRequest):
        xml.parse_lockinfo(lockinfo(inner))


def test_the_owner_is_a_name_and_no_document() -> None:
    around = len(b'<D:owner xmlns:D="DAV:"></D:owner>')
    longest = "x" * (xml.OWNER_LIMIT - around)
    assert xml.parse_lockinfo(lockinfo(f"{EXCLUSIVE}{WRITE}<D:owner>{longest}</D:owner>")).owner is not None
    with pytest.raises(ContentTooLarge):
        xml.parse_lockinfo(lockinfo(f"{EXCLUSIVE}{WRITE}<D:owner>{longest}x</D:owner>"))


# --- encodings

FIND = '<propfind xmlns="DAV:"><prop><é xmlns="urn:t"/></prop></propfind>'


@pytest.mark.parametrize(
    "body",
    [
        FIND.encode(),
        FIND.encode("utf-8-sig"),
        f"<?xml version='1.0'?>{FIND}".encode(),
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>\r\n{FIND}'.encode(),
        f"<?xml version='1.1' encoding='Utf-8'?>{FIND}".encode(),
        f'<?xml version="1.0" encoding="utf-16"?>{FIND}'.encode(),
        f'<?xml version="1.0" encoding="utf-16"?>{FIND}'.encode("utf-16"),
        f'<?xml version="1.0" encoding="UTF-16LE"?>{FIND}'.encode("utf-16-le"),
        FIND.encode("utf-16-le"),
        FIND.encode("utf-16-be"),
        b"\xfe\xff" + FIND.encode("utf-16-be"),
    ],
)
def test_utf8_and_utf16_are_read(body: bytes) -> None:
    assert xml.parse_propfind(body) == NamedProps((PropName("urn:t", "é"),))


@pytest.mark.parametrize(
    "body",
    [
        FIND.encode("latin-1"),
        FIND.encode("utf-32"),
        FIND.encode("utf-32-le"),
        FIND.encode("utf-32-be"),
        b"\0\0\xfe\xff" + FIND.encode("utf-32-be"),
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{FIND}'.encode("latin-1"),
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{FIND}'.encode(),
        f'<?xml version="1.0" encoding="UTF-7"?>{FIND}'.encode("utf-7"),
        f'<?xml version="1.0" encoding="UTF-32"?>{FIND}'.encode(),
        f'<?xml version="1.0" encoding="IBM037"?>{FIND}'.encode("cp037"),
        f'<?xml version="1.0" encoding="nonsense"?>{FIND}'.encode(),
        f'<?xml encoding="utf-8"?>{FIND}'.encode(),
        f'<?xml version="1.0"?><?xml version="1.0" encoding="UTF-7"?>{FIND}'.encode(),
        f" <?xml version='1.0'?>{FIND}".encode(),
        f"<?xml version='1.0' encoding='utf-8'{FIND}".encode(),
        ("<?xml version='1.0'" + " " * 500_000 + FIND).encode(),
        FIND.encode("utf-16")[:-1],
        FIND.encode("utf-16-le").replace(b"a\0l\0l\0", b"\0\xd8l\0l\0").replace(b"\xe9\0", b"\0\xd8"),
        "propfind é".encode(),
        b"\x80",
        FIND.encode()[:-1] + b"\0>",
        b"\0" + FIND.encode(),
    ],
)
def test_other_encodings_are_not(body: bytes) -> None:
    for parse in PARSERS:
        with pytest.raises(BadRequest):
            parse(body)


def test_utf7_hides_no_document_type() -> None:
    hidden = b"+ADwAIQ-DOCTYPE a +AFsAPAAh-ENTITY b +ACIAYwAiAD4AXQA+-"
    for declaration in (b'<?xml version="1.0" encoding="UTF-7"?>', b""):
        with pytest.raises(BadRequest):
            xml.parse(declaration + hidden + b"+ADw-a+AD4AJg-b;+ADw-/a+AD4-")


# --- what may not be

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
DOCUMENT_TYPES = {
    "plain": "<!DOCTYPE propfind>",
    "system": '<!DOCTYPE propfind SYSTEM "{url}">',
    "public": '<!DOCTYPE propfind PUBLIC "-//X//Y" "{url}">',
    "internal entity": '<!DOCTYPE propfind [<!ENTITY e "boom">]>',
    "external entity": '<!DOCTYPE propfind [<!ENTITY e SYSTEM "{url}">]>',
    "external file": '<!DOCTYPE propfind [<!ENTITY e SYSTEM "{file}">]>',
    "parameter entity": '<!DOCTYPE propfind [<!ENTITY % e SYSTEM "{url}"> %e;]>',
    "external parameter file": '<!DOCTYPE propfind [<!ENTITY % e SYSTEM "{file}"> %e;]>',
    "billion laughs": f'<!DOCTYPE propfind [<!ENTITY l0 "ha">{LAUGHS}<!ENTITY e "&l11;">]>',
    "quadratic": f'<!DOCTYPE propfind [<!ENTITY e "{"a" * 100_000}">]>',
    "default attribute": '<!DOCTYPE propfind [<!ATTLIST propfind a CDATA "b">]>',
    "after comments": '<!-- <a> --><?p i?>\n<!-- x --><!DOCTYPE propfind [<!ENTITY e "boom">]>',
}


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A place on the network and a file that nobody may ask for: {"url", "file"}."""
    secret = tmp_path_factory.mktemp("trap") / "secret"
    secret.write_text("the secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/x.dtd", "file": secret.as_uri()}
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("kind", DOCUMENT_TYPES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0"?>'])
def test_a_document_type_is_refused(kind: str, encoding: str, declaration: str, trap: dict[str, str]) -> None:
    doctype = DOCUMENT_TYPES[kind].replace("{url}", trap["url"]).replace("{file}", trap["file"])
    uses = ('<x a="&e;"/>', "<x>&e;</x>", f"<x>{'&e;' * 1000}</x>", "<x/>")
    bodies = [f'{declaration}{doctype}<propfind xmlns="DAV:"><prop>{use}</prop></propfind>' for use in uses]
    bodies += [f"{declaration}{doctype}{patch(use).decode()}" for use in uses]
    bodies += [
        f"{declaration}{doctype}{lockinfo(f'{EXCLUSIVE}{WRITE}<D:owner>{use}</D:owner>').decode()}" for use in uses
    ]
    began = time.thread_time()
    for body in bodies:
        for parse in PARSERS:
            with pytest.raises(BadRequest):
                parse(body.encode(encoding))
    assert time.thread_time() - began < 5


def test_what_looks_like_a_document_type_in_a_value_is_a_value() -> None:
    for value in ("<![CDATA[<!DOCTYPE html>]]>", "&lt;!DOCTYPE html>", "<!-- x -->&lt;!DOCTYPE html>"):
        element = etree.fromstring(stored(f"<x>{value}</x>"))
        assert element.text == "<!DOCTYPE html>"


def test_a_stylesheet_is_not_fetched(trap: dict[str, str]) -> None:
    sheet = f'<?xml-stylesheet type="text/xsl" href="{trap["url"]}"?>'.encode()
    assert xml.parse_propfind(sheet + b'<propfind xmlns="DAV:"><allprop/></propfind>') == AllProp()


def test_a_schema_is_not_fetched(trap: dict[str, str]) -> None:
    instance = "http://www.w3.org/2001/XMLSchema-instance"
    assert trap["url"].encode() in stored(f'<x xmlns:i="{instance}" i:schemaLocation="urn:x {trap["url"]}"/>')


@pytest.mark.parametrize(
    "body",
    [
        b"<",
        b"<a",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<a b=c/>",
        b"<a b='1' b='2'/>",
        b"<a>&foo;</a>",
        b"<a b='&foo;'/>",
        b"<a>&#0;</a>",
        b"<a>&#xD800;</a>",
        b"<a>\x01</a>",
        b"<a>\xef\xbf\xbf</a>",
        b"<a>\xed\xa0\x80</a>",
        b"<a:b:c/>",
        b"<:a/>",
        b"<a xmlns:b=''/>",
        b"<a xmlns:xmlns='urn:x'/>",
        b"<a xmlns='not a URI'/>",
        b"<a xmlns:xml='urn:x'/>",
        b"<x xmlns:a='u' xmlns:b='u' a:c='1' b:c='2'/>",
        b"<![CDATA[x]]>",
        b"<!-- only a comment -->",
        b"<!-- unfinished",
        b"<a><!-- -- --></a>",
        b"<a><!ELEMENT a ANY></a>",
        b"<a>]]></a>",
        b"text",
        b"{}",
        b"<a " + b"b" * 60_000 + b"='1'/>",
        # libxml2 says first that "D" is not declared, and then that a namespace is relative.
        b'<D:propfind><D:prop><x xmlns="y"/></D:prop></D:propfind>',
        b'<propfind xmlns="DAV:"><prop><x xmlns="y"/><z:q/><x xmlns="y"/></prop></propfind>',
    ],
)
def test_what_is_not_well_formed_is_refused(body: bytes) -> None:
    for parse in PARSERS:
        with pytest.raises(BadRequest):
            parse(body)


def nested(depth: int) -> bytes:
    return b"<a>" * (depth - 1) + b"<a/>" + b"</a>" * (depth - 1)


def test_depth() -> None:
    assert xml.parse(nested(xml.MAX_DEPTH)) is not None
    for depth in (xml.MAX_DEPTH + 1, 300, 100_000):
        with pytest.raises(BadRequest):
            xml.parse(nested(depth))


def test_attributes() -> None:
    def attributes(count: int) -> bytes:
        return b"<a><b " + b" ".join(b"a%d='1'" % n for n in range(count)) + b"/></a>"

    assert xml.parse(attributes(xml.MAX_ATTRIBUTES)) is not None
    for count in (xml.MAX_ATTRIBUTES + 1, 100_000):
        with pytest.raises(BadRequest):
            xml.parse(attributes(count))


def declared(count: int, length: int = 1) -> str:
    return " ".join(f"xmlns:n{n}='{'u' * length}{n}'" for n in range(count))


def test_namespaces_in_scope() -> None:
    assert xml.parse(f"<a {declared(xml.MAX_NAMESPACES)}><b/></a>".encode()) is not None
    assert xml.parse(f"<a><b {declared(80)}/><b {declared(80)}/></a>".encode()) is not None
    for body in (
        f"<a {declared(xml.MAX_NAMESPACES + 1)}/>",
        f"<a {declared(80)}><b {declared(80)}/></a>",
        f"<a {declared(60_000)}/>",
    ):
        with pytest.raises(BadRequest):
            xml.parse(body.encode())
    longest = "u" * xml.MAX_NAMESPACE
    assert xml.parse(f"<a xmlns='{longest}'/>".encode()) is not None
    with pytest.raises(BadRequest):
        xml.parse(f"<a xmlns='{longest}u'/>".encode())


def test_many_properties_of_many_namespaces() -> None:
    """Apache's CVE-2026-93546: what is many is kept as what it is."""
    inner = "".join(f'<n{n}:p xmlns:n{n}="urn:example:{n}">{n}</n{n}:p>' for n in range(15_000))
    update = xml.parse_propertyupdate(patch(inner))
    assert len(update) == 15_000
    kept = [change.dead.xml for change in update if isinstance(change, SetProperty)]
    assert [(element.tag, element.text) for element in answered(*kept)] == [
        (f"{{urn:example:{n}}}p", str(n)) for n in range(15_000)
    ]


LONG = "u" * xml.MAX_NAMESPACE
HEAVY = {
    "attribute": f"<a b='{'x' * MIB}'/>",
    "text": f"<a>{'x' * MIB}</a>",
    "comment": f"<a><!--{'x' * MIB}--></a>",
    "comments": "<!---->" * 140_000 + "<a/>",
    "instructions": "<?p?>" * 200_000 + "<a/>",
    "siblings": f"<a>{'<b/>' * 250_000}</a>",
    "closed comments": "<!-- -->" * 130_000,
    "references": f"<a>{'&#x20;' * 160_000}</a>",
    "cdata": f"<a>{'<![CDATA[]]>' * 80_000}</a>",
    "references in an attribute": f"<a b='{'&lt;' * 250_000}'/>",
}


@pytest.mark.parametrize("kind", HEAVY)
def test_a_heavy_body_is_decided_quickly(kind: str) -> None:
    began = time.thread_time()
    for parse in PARSERS:
        with pytest.raises(Refused):
            parse(HEAVY[kind].encode())
    assert time.thread_time() - began < 8


AMPLIFIED = {
    "names": ("propfind", f'xmlns:n="{LONG}"', "<D:prop>{}</D:prop>"),
    "included": ("propfind", f'xmlns:n="{LONG}"', "<D:allprop/><D:include>{}</D:include>"),
    "set": ("propertyupdate", f'xmlns:n="{LONG}"', "<D:set><D:prop>{}</D:prop></D:set>"),
    "removed": ("propertyupdate", f'xmlns:n="{LONG}"', "<D:remove><D:prop>{}</D:prop></D:remove>"),
    "mentioned": ("propertyupdate", declared(90, 900), "<D:set><D:prop>{}</D:prop></D:set>"),
}


@pytest.mark.parametrize("kind", AMPLIFIED)
def test_a_small_body_does_not_grow_large(kind: str) -> None:
    """A namespace is written once and would be carried by each of 60,000 names."""
    root, namespaces, inner = AMPLIFIED[kind]
    mentioned = "".join(f"n{n}: " for n in range(90))
    many = f"<D:x>{mentioned}</D:x>" * 800 if kind == "mentioned" else "".join(f"<n:x{n}/>" for n in range(60_000))
    body = f'<D:{root} xmlns:D="DAV:" {namespaces}>{inner.format(many)}</D:{root}>'.encode()
    assert len(body) < MIB
    parse = xml.parse_propfind if root == "propfind" else xml.parse_propertyupdate
    began = time.thread_time()
    with pytest.raises(ContentTooLarge):
        parse(body)
    assert time.thread_time() - began < 8


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["<x/>" * 30_000, "<x>a: </x>" * 25_000, "</D:prop><D:prop><x>n1:</x>" * 12_000])
def test_namespaces_in_scope_cost_little(inner: str) -> None:
    """A hundred declarations in scope do not cost each property a hundred steps of ours."""

    def seconds(namespaces: int) -> float:
        body = patch(inner, declared(namespaces))
        began = time.thread_time()
        assert xml.parse_propertyupdate(body)
        return time.thread_time() - began

    few = min(seconds(2) for _ in range(2))
    assert min(seconds(xml.MAX_NAMESPACES - 1) for _ in range(2)) < 10 * few


@given(st.binary(max_size=200))
def test_parsers_raise_refusals_only(data: bytes) -> None:
    for parse in PARSERS:
        with suppress(BadRequest, ContentTooLarge):
            parse(data)


FRAGMENTS = st.sampled_from(
    ["<", ">", "/>", "</", "<!", "<![CDATA[", "]]>", "<!--", "-->", "<?", "?>", "<?xml version='1.0'?>", "&", "&#", ";",
     "&lt;", "<D:prop>", "</D:prop>", "<D:set>", "</D:set>", "<D:remove>", "</D:remove>", "xmlns:D='DAV:'", "xmlns=''",
     "xmlns:x='urn:x'", "<x:y ", "<y/>", "xml:lang='de'", "<D:owner>", "</D:owner>", "<D:lockscope>", "<D:exclusive/>",
     "</D:lockscope>", "<D:locktype><D:write/></D:locktype>", "<D:include>", "</D:include>", "<D:allprop/>", "\ufeff",
     " ", "\r\n", "é", "\U0001f600", "x:y", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "\0", "'", '"', "="]
)  # fmt: skip


@given(
    st.lists(FRAGMENTS, max_size=12).map("".join),
    st.sampled_from(["propfind", "propertyupdate", "lockinfo"]),
    st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-8-sig"]),
    st.booleans(),
)
def test_parsers_raise_refusals_only_for_what_is_nearly_xml(inner: str, root: str, encoding: str, whole: bool) -> None:
    text = f'<D:{root} xmlns:D="DAV:">{inner}</D:{root}>' if whole else inner
    for parse in PARSERS:
        with suppress(BadRequest, ContentTooLarge):
            parse(text.encode(encoding))


# --- out


@given(TEXT)
def test_text_and_attributes_read_back_as_they_were(text: str) -> None:
    assert xml_out.is_xml_text(text)
    element = etree.fromstring(f'<a b="{xml_out.escape(text)}">{xml_out.escape(text)}</a>')
    assert (element.text or "", element.get("b")) == (text, text)


@given(st.text(max_size=30))
def test_what_xml_cannot_carry_is_known_and_replaced(text: str) -> None:
    printable = etree.fromstring(f"<a>{xml_out.printable(text)}</a>").text or ""
    assert len(printable) == len(text)
    assert xml_out.is_xml_text(text) == (printable == text)


@pytest.mark.parametrize("code", [0, 1, 8, 0x0B, 0x0C, 0x0E, 0x1F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF])
def test_characters_that_are_none_of_xml(code: int) -> None:
    assert not xml_out.is_xml_text(f"a{chr(code)}b")
    assert xml_out.printable(chr(code)) == "\N{REPLACEMENT CHARACTER}"


@given(NAMESPACES, NAMES)
def test_an_empty_element_has_the_name(namespace: str, local: str) -> None:
    (element,) = answered(xml_out.empty_element(PropName(namespace, local)))
    assert element.tag == (f"{{{namespace}}}{local}" if namespace else local)
    assert infoset(element)[1:] == ({}, "", [])


def test_a_response_says_what_was_found_first() -> None:
    name, other = PropName(DAV, "a"), PropName("urn:b", "b")
    assert xml_out.propstat_response("/f", b"<D:c/>", [other]) == (
        b"<D:response><D:href>/f</D:href>"
        b"<D:propstat><D:prop><D:c/></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
        b'<D:propstat><D:prop><x:b xmlns:x="urn:b"/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>'
        b"</D:response>"
    )
    refused = xml_out.propstat_response(
        "/f", b"", other=[(403, "cannot-modify-protected-property", [name]), (424, None, [other])]
    )
    assert refused == (
        b"<D:response><D:href>/f</D:href><D:propstat><D:prop><D:a/></D:prop><D:status>HTTP/1.1 403 Forbidden</D:status>"
        b"<D:error><D:cannot-modify-protected-property/></D:error></D:propstat><D:propstat><D:prop>"
        b'<x:b xmlns:x="urn:b"/></D:prop><D:status>HTTP/1.1 424 Failed Dependency</D:status></D:propstat></D:response>'
    )
    mixed = xml_out.propstat_response("/f", b"", other=[(424, None, [name]), (200, None, [other])])
    assert mixed.index(b"200 OK") < mixed.index(b"424")


def test_a_response_always_says_something() -> None:
    """RFC 4918 §14.24: a response holds a status or a propstat."""
    assert xml_out.propstat_response("/f", b"") == (
        b"<D:response><D:href>/f</D:href><D:propstat><D:prop></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
        b"</D:response>"
    )
    assert b"200" not in xml_out.propstat_response("/f", b"", [PropName(DAV, "a")])


def test_a_status_for_the_whole_resource() -> None:
    error = xml_out.error_element("no-conflicting-lock", ["/a", "/b/"], b"<D:x/>")
    assert xml_out.status_response("/a?&<", 423, error) == (
        b"<D:response><D:href>/a?&amp;&lt;</D:href><D:status>HTTP/1.1 423 Locked</D:status><D:error>"
        b"<D:no-conflicting-lock><D:href>/a</D:href><D:href>/b/</D:href></D:no-conflicting-lock><D:x/></D:error>"
        b"</D:response>"
    )


def test_documents() -> None:
    assert xml_out.error_body("propfind-finite-depth") == (
        b'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>'
    )
    assert xml_out.prop_response(b"<D:lockdiscovery/>") == (
        b'<?xml version="1.0" encoding="utf-8"?>\n<D:prop xmlns:D="DAV:"><D:lockdiscovery/></D:prop>'
    )


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_multistatus_is_sent_in_blocks(count: int) -> None:
    response = xml_out.status_response("/f", 404)
    blocks = list(xml_out.multistatus(response for _ in range(count)))
    root = etree.fromstring(b"".join(blocks))
    assert (root.tag, root.prefix, len(root)) == ("{DAV:}multistatus", "D", count)
    assert all(16 * 1024 <= len(block) <= 64 * 1024 for block in blocks[:-1])
    assert len(blocks) == 1 + count * len(response) // (32 * 1024 + len(response) // 2)


def test_a_multistatus_does_not_run_ahead() -> None:
    made = 0

    def responses() -> Any:
        nonlocal made
        for _ in range(10_000):
            made += 1
            yield xml_out.status_response("/f", 404)

    next(xml_out.multistatus(responses()))
    assert made < 1000


def test_reasons() -> None:
    """LibreOffice takes nothing but these very words for success."""
    assert reason(200) == "OK"
    assert [reason(status) for status in (413, 414, 416, 422, 423, 424, 507)] == [
        "Content Too Large", "URI Too Long", "Range Not Satisfiable", "Unprocessable Content", "Locked",
        "Failed Dependency", "Insufficient Storage",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="999"):
        reason(999)


# --- lockdiscovery

NOW = 1_000_000.0
JANE, BOB = Principal("jane", "Jane Smith"), Principal("bob")
OWNER = b'<D:owner xmlns:D="DAV:"> <D:href>DOMAIN\\jane</D:href></D:owner>'
LIBREOFFICE = "LibreOffice 24.2.7 denylistedbackend/8.5.0"


def lock(
    principal: Principal = JANE,
    owner: bytes | None = OWNER,
    *,
    scope: Scope = Scope.EXCLUSIVE,
    depth: Depth = Depth.ZERO,
    expires: float | None = NOW + 600,
    kind: Kind = Kind.WRITE,
) -> Lock:
    root = DavPath(("docs", "report & co.docx"))
    return Lock("urn:uuid:secret", root, depth, scope, kind, principal, owner, NOW, NOW, expires)


def discovery(locks: Sequence[Lock], viewer: Principal, agent: str = "", now: float = NOW) -> etree._Element:
    body = xml_out.prop_response(
        xml_out.lockdiscovery(locks, Viewer(viewer, agent=agent), now, lambda held: held.href("/dav"))
    )
    return etree.fromstring(body)[0]


def test_the_holder_sees_his_lock() -> None:
    assert xml_out.lockdiscovery([lock()], Viewer(JANE), NOW, lambda held: held.href("/dav")) == (
        b"<D:lockdiscovery><D:activelock><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"
        b"<D:depth>0</D:depth>"
        + OWNER
        + b"<D:timeout>Second-600</D:timeout><D:locktoken><D:href>urn:uuid:secret</D:href>"
        b"</D:locktoken><D:lockroot><D:href>/dav/docs/report%20%26%20co.docx</D:href></D:lockroot></D:activelock>"
        b"</D:lockdiscovery>"
    )


def test_others_see_a_name_and_no_token() -> None:
    (activelock,) = discovery([lock()], BOB)
    assert [etree.QName(child).localname for child in activelock] == [
        "lockscope", "locktype", "depth", "owner", "timeout", "lockroot",
    ]  # fmt: skip
    assert activelock.findtext("{DAV:}owner") == "Jane Smith"
    assert b"secret" not in etree.tostring(activelock)


@pytest.mark.parametrize(
    ("scope", "depth", "expires", "kind"),
    [
        (Scope.SHARED, Depth.INFINITY, None, Kind.WRITE),
        (Scope.EXCLUSIVE, Depth.INFINITY, NOW + 0.2, Kind.MAINTENANCE),
        (Scope.EXCLUSIVE, Depth.ZERO, NOW - 5, Kind.TRANSACTION),
    ],
)
def test_every_lock_is_told_in_terms_of_the_rfc(scope: Scope, depth: Depth, expires: float | None, kind: Kind) -> None:
    (activelock,) = discovery([lock(scope=scope, depth=depth, expires=expires, kind=kind)], BOB)
    assert activelock.find(f"{{DAV:}}lockscope/{{DAV:}}{scope.value}") is not None
    assert activelock.find("{DAV:}locktype/{DAV:}write") is not None
    assert activelock.findtext("{DAV:}depth") == depth.value
    assert activelock.findtext("{DAV:}timeout") == ("Infinite" if expires is None else "Second-1")


def test_no_locks() -> None:
    assert xml_out.lockdiscovery([], Viewer(BOB), NOW, str) == b"<D:lockdiscovery/>"
    assert len(discovery([lock(), lock(BOB)], BOB)) == 2


@pytest.mark.parametrize(
    ("principal", "owner", "viewer", "agent", "shown"),
    [
        # verbatim to its own principal, also where that is everybody
        (JANE, OWNER, JANE, "", OWNER),
        (ANYBODY, OWNER, ANYBODY, "Microsoft-WebDAV-MiniRedir/10.0", OWNER),
        (JANE, None, JANE, "", b""),
        # a name to others
        (JANE, OWNER, BOB, "", b"<D:owner>Jane Smith</D:owner>"),
        (BOB, None, JANE, "", b"<D:owner>bob</D:owner>"),
        (ANYBODY, OWNER, JANE, "", b"<D:owner>DOMAIN\\jane</D:owner>"),
        (ANYBODY, None, JANE, "", b"<D:owner>another user</D:owner>"),
        # an account's name is told to those who log in
        (JANE, OWNER, ANYBODY, "", b"<D:owner>another user</D:owner>"),
        (Principal("x", "<A & B>\x01"), None, BOB, "", "<D:owner>&lt;A &amp; B&gt;\ufffd</D:owner>".encode()),
        # LibreOffice reads the text directly in an owner that has a prefix, which its own has not
        (ANYBODY, OWNER, ANYBODY, LIBREOFFICE, b"<D:owner>DOMAIN\\jane</D:owner>"),
        (JANE, OWNER, JANE, LIBREOFFICE, b"<D:owner>Jane Smith</D:owner>"),
        (ANYBODY, None, ANYBODY, LIBREOFFICE, b"<D:owner>another user</D:owner>"),
        (ANYBODY, b'<owner xmlns="DAV:">LibreOffice - Jane Smith</owner>', ANYBODY, LIBREOFFICE,
         b"<D:owner>Jane Smith</D:owner>"),
        (JANE, b'<owner xmlns="DAV:">LibreOffice - Jane</owner>', JANE, LIBREOFFICE, b"<D:owner>Jane Smith</D:owner>"),
    ],
)  # fmt: skip
def test_the_owner(principal: Principal, owner: bytes | None, viewer: Principal, agent: str, shown: bytes) -> None:
    assert xml_out.shown_owner(lock(principal, owner), Viewer(viewer, agent=agent)) == shown


@pytest.mark.parametrize("viewer", [JANE, BOB])
def test_a_lock_that_no_lock_made_says_what_it_is(viewer: Principal) -> None:
    """Office and LibreOffice show the owner's text and nothing else, so that is where it stands."""
    backup = replace(lock(kind=Kind.MAINTENANCE, owner=None), reason="nightly backup")
    payment = replace(lock(kind=Kind.TRANSACTION, owner=None), transaction_id="txn-7")
    shown = [element.findtext("{DAV:}owner") for element in discovery([backup, payment], viewer)]
    assert shown == ["Jane Smith (maintenance: nightly backup)", "Jane Smith (transaction txn-7)"]
    plain = [lock(kind=Kind.CHECKOUT, owner=None), lock(kind=Kind.MAINTENANCE, owner=None)]
    shown = [element.findtext("{DAV:}owner") for element in discovery(plain, viewer)]
    assert shown == ["Jane Smith", "Jane Smith (maintenance)"]


@pytest.mark.slow
@given(elements(), st.sampled_from([JANE, BOB, ANYBODY]), st.sampled_from(["", LIBREOFFICE]))
def test_lockdiscovery_is_well_formed_whatever_the_owner(content: str, viewer: Principal, agent: str) -> None:
    body = lockinfo(f"{EXCLUSIVE}{WRITE}<D:owner>{content}</D:owner>")
    kept = xml.parse_lockinfo(body).owner
    (activelock,) = discovery([lock(JANE, kept)], viewer, agent)
    owner = activelock.find("{DAV:}owner")
    assert owner is not None
    if viewer == JANE and not agent:
        assert infoset(owner) == infoset(ElementTree.fromstring(body)[2])
    else:
        assert owner.text == ("Jane Smith" if viewer in (JANE, BOB) else "another user")
    assert [child.tag for child in activelock][-1] == "{DAV:}lockroot"


@pytest.mark.parametrize(
    ("inner", "names", "plain"),
    [
        ("", [], True),
        ("<D:set><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop></D:set>", [], True),
        ("<D:set><D:prop><D:resourcetype/></D:prop></D:set>", [], False),
        ('<D:set><D:prop><D:resourcetype><D:collection/><x xmlns="urn:x"/></D:resourcetype></D:prop></D:set>',
         [], False),
        ('<D:set><D:prop><a xmlns="urn:x">1</a><b xmlns="urn:x"/></D:prop></D:set>', ["a", "b"], True),
        ('<D:set><D:prop><a xmlns="urn:x"/></D:prop></D:set><D:set><D:prop><b xmlns="urn:x"/></D:prop></D:set>',
         ["a", "b"], True),
        ('<D:remove><D:prop><a xmlns="urn:x"/></D:prop></D:remove><x xmlns="urn:y"/><!-- -->', [], True),
    ],
)  # fmt: skip
def test_a_collection_with_properties(inner: str, names: list[str], plain: bool) -> None:
    """RFC 5689 §5.1."""
    update, is_plain = xml.parse_mkcol(f'<D:mkcol xmlns:D="DAV:">{inner}</D:mkcol>'.encode())
    assert [change.name.local for change in update] == names
    assert is_plain is plain


@pytest.mark.parametrize("data", [b"", b"<x/>", b"<D:mkcol/>", b'<D:propertyupdate xmlns:D="DAV:"/>'])
def test_what_asks_for_no_collection(data: bytes) -> None:
    with pytest.raises(BadRequest):
        xml.parse_mkcol(data)


def test_why_a_collection_was_not_made() -> None:
    """RFC 5689 §3.5, §5.2."""
    outcomes = [(424, None, [PropName("urn:x", "a")]), (403, "valid-resourcetype", [PropName(DAV, "resourcetype")])]
    assert xml_out.mkcol_response(outcomes) == (
        b'<?xml version="1.0" encoding="utf-8"?>\n<D:mkcol-response xmlns:D="DAV:"><D:propstat><D:prop>'
        b'<x:a xmlns:x="urn:x"/></D:prop><D:status>HTTP/1.1 424 Failed Dependency</D:status></D:propstat><D:propstat>'
        b"<D:prop><D:resourcetype/></D:prop><D:status>HTTP/1.1 403 Forbidden</D:status><D:error><D:valid-resourcetype/>"
        b"</D:error></D:propstat></D:mkcol-response>"
    )


def test_bodies_that_come_again_are_read_once() -> None:
    body = b'<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'
    assert xml.parse_propfind(body) is xml.parse_propfind(body)
    long = body + b" " * 4096
    assert xml.parse_propfind(long) == xml.parse_propfind(body)
    assert xml.parse_propfind(long) is not xml.parse_propfind(long)
    for bad in (b"<x/>", b"<"):
        for _ in range(2):
            with pytest.raises(BadRequest):
                xml.parse_propfind(bad)


@pytest.mark.parametrize("name", ["plain", "a & b", "<x>", "ü", "tab\t", "\x01", "a\x00", "\ufffe", "", "\ud800"])
def test_a_name_is_escaped_or_cannot_be_said(name: str) -> None:
    assert xml_out.escaped(name) == (xml_out.escape(name) if xml_out.is_xml_text(name) else None)
