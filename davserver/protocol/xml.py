"""XML in: request bodies → values. Nothing a stranger writes is expanded, fetched or believed.

The law of this module: we decode, libxml2 only parses. Characters come from UTF-8 or UTF-16 and from no other
encoding, so what is looked for is found; no document type at all (so no entities), no network; limits on depth,
attributes, namespaces and on what a small body may grow to. Comments, processing instructions and elements that
are not known are passed over (RFC 4918 §17). Whatever is wrong is BadRequest, or ContentTooLarge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError
from lxml import etree

from davserver.protocol.errors import BadRequest, ContentTooLarge
from davserver.protocol.locks import Scope
from davserver.protocol.messages import Body
from davserver.protocol.properties import (
    DAV,
    RESOURCETYPE,
    AllProp,
    DeadProperty,
    NamedProps,
    PropertyUpdate,
    PropName,
    PropNames,
    RemoveProperty,
    SetProperty,
)
from davserver.protocol.xml_out import escape

MAX_DEPTH = 200
MAX_ATTRIBUTES = 100
#: Namespace declarations in scope at one place, and characters of one namespace. Each name carries its
#: namespace in an answer, and finding it costs the parser one step per declaration.
MAX_NAMESPACES = 100
MAX_NAMESPACE = 1024
#: Bytes that the names, or the properties, of one body may take once each stands by itself. A namespace that is
#: written once and used by 100,000 names would otherwise fill the memory.
MAX_GROWN = 4 * 1024 * 1024

#: Bytes of a lock's owner element: it is a name, not a document.
OWNER_LIMIT = 8 * 1024

_BLOCK = 64 * 1024
# What may be a namespace prefix in text (Namespaces in XML 1.0 §4): whatever stands before a colon. The look
# behind keeps a long word without one from being tried at each of its characters.
_PREFIX = re.compile(r"(?<![\w.·-])([\w.·-]+):")
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

# XML 1.0 §2.8, [23] XMLDecl.
_S = r"[ \t\r\n]"
_DECLARATION = re.compile(
    rf"""<\?xml{_S}+version{_S}*={_S}*(?:"1\.[0-9]+"|'1\.[0-9]+')"""
    rf"""(?:{_S}+encoding{_S}*={_S}*(?:"(?P<one>[A-Za-z0-9._-]+)"|'(?P<two>[A-Za-z0-9._-]+)'))?"""
    rf"""(?:{_S}+standalone{_S}*={_S}*(?:"(?:yes|no)"|'(?:yes|no)'))?{_S}*\?>"""
)
_OUR_DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>'
# What a body may call its encoding. Which of them it is shows in its bytes: .NET writes "utf-16" above UTF-8.
_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be"})


def read_body(body: Body, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes. Raises ContentTooLarge before more than that is kept."""
    if body.length is not None and body.length > limit:
        raise ContentTooLarge(f"An XML body may have at most {limit} bytes.")
    blocks, size = [], 0
    while block := body.read(_BLOCK):
        size += len(block)
        if size > limit:
            raise ContentTooLarge(f"An XML body may have at most {limit} bytes.")
        blocks.append(block)
    return b"".join(blocks)


def parse(data: bytes) -> etree._Element:
    """Bytes → the root element, without comments and processing instructions. Raises BadRequest."""
    text = _decode(data)
    # libxml2 gets UTF-8 below a declaration of ours: a second one, saying otherwise, is not well-formed.
    document = _OUR_DECLARATION + text.encode()
    try:
        if "<!" in text:
            _refuse_document_type(document)
        parser = _parser()
        root = etree.fromstring(document, parser)
    except DefusedXmlException as error:
        raise BadRequest("XML with a document type (DTD) is not accepted.") from error
    except (etree.XMLSyntaxError, ParseError) as error:
        raise BadRequest("The body is not well-formed XML.") from error
    # lxml goes by the last thing that libxml2 said: a warning of a relative namespace would hide an undeclared prefix.
    if parser.error_log.filter_from_errors():
        raise BadRequest("The body is not well-formed XML.")
    _check_limits(root)
    return root


def _decode(data: bytes) -> str:
    """The characters of a body, without its XML declaration."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16"
    elif data.startswith(b"<\0"):
        codec = "utf-16-le"  # BitKinex; without a byte order mark
    elif data.startswith(b"\0<"):
        codec = "utf-16-be"
    else:
        codec = "utf-8-sig"
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        raise BadRequest("XML must be encoded in UTF-8 or UTF-16.") from error
    declaration = _DECLARATION.match(text)
    if declaration is not None:
        encoding = declaration["one"] or declaration["two"]
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise BadRequest("XML must be encoded in UTF-8 or UTF-16.")
        text = text[declaration.end() :]
    if "\0" in text:  # also what UTF-32 looks like when it is read as something else
        raise BadRequest("The body is not well-formed XML.")
    return text


class _Nothing:
    """A parser target that builds nothing."""

    def close(self) -> None:
        """Required of a target."""


def _refuse_document_type(document: bytes) -> None:
    """Raises DefusedXmlException at the first sign of a document type, before libxml2 gets to see it."""
    parser = DefusedXMLParser(target=_Nothing(), encoding="utf-8", forbid_dtd=True)
    parser.feed(document)
    parser.close()


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )


def _check_limits(root: etree._Element) -> None:
    depth = namespaces = 0
    for event, item in etree.iterwalk(root, events=("start", "end", "start-ns", "end-ns")):
        if event == "start":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadRequest(f"XML may nest {MAX_DEPTH} elements deep.")
            if len(item.attrib) > MAX_ATTRIBUTES:
                raise BadRequest(f"An XML element may have {MAX_ATTRIBUTES} attributes.")
        elif event == "end":
            depth -= 1
        elif event == "start-ns":
            namespaces += 1
            if namespaces > MAX_NAMESPACES or len(item[1]) > MAX_NAMESPACE:
                raise BadRequest(
                    f"XML may have {MAX_NAMESPACES} namespaces in scope, each of at most {MAX_NAMESPACE} characters."
                )
        else:
            namespaces -= 1


def parse_propfind(data: bytes) -> AllProp | PropNames | NamedProps:
    """RFC 4918 §14.20. No body at all means allprop (§9.1).

    Clients send the same few bodies over and over: those are read once.
    """
    return _known_propfind(data) if len(data) <= _SHORT else _parse_propfind(data)


def _parse_propfind(data: bytes) -> AllProp | PropNames | NamedProps:
    if not data.strip():
        return AllProp()
    root = _root(data, "propfind")
    forms = [child for child in _children(root) if _dav_name(child) in ("prop", "propname", "allprop")]
    if len(forms) != 1:
        raise BadRequest("propfind must hold one of prop, allprop and propname.")
    match _dav_name(forms[0]):
        case "prop":
            return NamedProps(_Budget().names(_children(forms[0])))
        case "propname":
            return PropNames()
    return AllProp(_Budget().names(name for include in _named(root, "include") for name in _children(include)))


_SHORT = 2048
_known_propfind = lru_cache(maxsize=256)(_parse_propfind)


def parse_propertyupdate(data: bytes) -> PropertyUpdate:
    """RFC 4918 §14.19: instructions in document order."""
    update: list[SetProperty | RemoveProperty] = []
    budget, understood = _Budget(), False
    for instruction in _children(_root(data, "propertyupdate")):
        action = _dav_name(instruction)
        if action not in ("set", "remove"):
            continue
        understood = True
        for prop in _named(instruction, "prop"):
            update += _changes(prop, budget) if action == "set" else map(RemoveProperty, budget.names(_children(prop)))
    if not understood:
        raise BadRequest("propertyupdate must hold set or remove.")
    return tuple(update)


def parse_mkcol(data: bytes) -> tuple[PropertyUpdate, bool]:
    """RFC 5689 §5.1: what to set beside DAV:resourcetype, and whether that asks for a plain collection."""
    update: list[SetProperty] = []
    budget, plain = _Budget(), True
    for instruction in _named(_root(data, "mkcol"), "set"):
        for prop in _named(instruction, "prop"):
            for kind in _named(prop, "resourcetype"):
                plain = plain and [_dav_name(child) for child in _children(kind)] == ["collection"]
            update += (change for change in _changes(prop, budget) if change.name != RESOURCETYPE)
    return tuple(update), plain


def _changes(prop: etree._Element, budget: _Budget) -> Iterator[SetProperty]:
    scope = prop.nsmap
    for element in _children(prop):
        dead = DeadProperty(budget.name(element), _with_language(element, scope))
        budget.spend(len(dead.xml))
        yield SetProperty(dead, "".join(map(str, element.itertext())))


@dataclass(frozen=True, slots=True)
class LockInfo:
    scope: Scope
    #: The owner element, serialized; None when there is none.
    owner: bytes | None


#: Bytes of a LOCK body that is remembered, with what it was read as: a program always sends the same.
_REMEMBERED = 1024


def parse_lockinfo(data: bytes, owner_limit: int = OWNER_LIMIT) -> LockInfo:
    """RFC 4918 §14.11."""
    return (_known_lockinfo if len(data) <= _REMEMBERED else _lockinfo)(data, owner_limit)


def _lockinfo(data: bytes, owner_limit: int) -> LockInfo:
    root = _root(data, "lockinfo")
    scopes = [_dav_name(scope) for parent in _named(root, "lockscope") for scope in _children(parent)]
    types = [_dav_name(kind) for parent in _named(root, "locktype") for kind in _children(parent)]
    known = [scope for scope in Scope if scope.value in scopes]
    if len(known) != 1:
        raise BadRequest("lockscope must be exclusive or shared.")
    if "write" not in types:
        raise BadRequest("locktype must be write.")
    owner = next((serialize(owner, root.nsmap) for owner in _named(root, "owner")), None)
    if owner is not None and len(owner) > owner_limit:
        raise ContentTooLarge(f"The owner of a lock may have at most {owner_limit} bytes.")
    return LockInfo(known[0], owner)


_known_lockinfo = lru_cache(maxsize=256)(_lockinfo)


def serialize(element: etree._Element, scope: Mapping[str | None, str]) -> bytes:
    """The element, complete in itself: the namespaces it needs are declared in it, and nothing follows it.

    Needed are those of its names, and those whose prefix its content mentions (RFC 4918 §4.3: XPath and XML
    Schema use prefixes in values). All that are in scope would be too many: each property would carry them.
    `scope`: those of its parent, by prefix; handed over since lxml takes long to gather them.
    """
    # A document of its own. libxml2 takes along what the names use, and leaves what is declared inside as it is.
    alone: etree._Element = element.__copy__()  # type: ignore[attr-defined]  # lxml's stubs do not know it
    data = etree.tostring(alone, encoding="unicode", with_tail=False)
    declared = alone.nsmap
    mentioned = "".join(
        f' xmlns:{prefix}="{escape(scope[prefix])}"'
        for prefix in dict.fromkeys(_PREFIX.findall(data))
        if prefix in scope and prefix not in declared
    )
    local = etree.QName(alone).localname
    end = len(f"<{alone.prefix}:{local}" if alone.prefix else f"<{local}")
    return (data[:end] + mentioned + data[end:]).encode()


def _with_language(element: etree._Element, scope: Mapping[str | None, str]) -> bytes:
    """RFC 4918 §4.3: the language in scope is a part of a property's value."""
    language = next((e.get(_LANG) for e in (element, *element.iterancestors()) if e.get(_LANG) is not None), None)
    if language is not None:
        element.set(_LANG, language)
    return serialize(element, scope)


def _root(data: bytes, name: str) -> etree._Element:
    root = parse(data)
    if _dav_name(root) != name:
        raise BadRequest(f"The body must be a DAV: {name} element.")
    return root


def _children(element: etree._Element) -> Iterator[etree._Element]:
    return element.iterchildren(tag=etree.Element)


def _named(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return element.iterchildren(tag=f"{{{DAV}}}{name}")


class _Budget:
    """What the names and properties of one body may grow to. Each namespace is kept once, however often it is used."""

    def __init__(self) -> None:
        self._left = MAX_GROWN
        self._namespaces: dict[str, str] = {}

    def name(self, element: etree._Element) -> PropName:
        """The element's name. Raises ContentTooLarge."""
        qualified = etree.QName(element)
        namespace, local = qualified.namespace or "", qualified.localname
        # About as many bytes as the name takes in an answer, where it stands by itself.
        self.spend(len(namespace) + 2 * len(local) + len('<x: xmlns:x=""></x:>'))
        return PropName(self._namespaces.setdefault(namespace, namespace), local)

    def names(self, elements: Iterable[etree._Element]) -> tuple[PropName, ...]:
        """The names of some elements, each once."""
        return tuple(dict.fromkeys(map(self.name, elements)))

    def spend(self, size: int) -> None:
        """Raises ContentTooLarge."""
        self._left -= size
        if self._left < 0:
            raise ContentTooLarge("These are too many properties for one request.")


def _dav_name(element: etree._Element) -> str | None:
    """The local name of an element of the DAV: namespace, None for any other."""
    qualified = etree.QName(element)
    return qualified.localname if qualified.namespace == DAV else None
