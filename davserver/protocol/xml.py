"""XML in: request bodies → values. Nothing a stranger writes is expanded, fetched or believed.

The law of this module: no document type at all (so no entities), no network, UTF-8 or UTF-16 only, and limits
on bytes, depth and attributes. Comments, processing instructions and elements that are not known are passed
over (RFC 4918 §17). Whatever else is wrong is BadRequest, or ContentTooLarge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException
from lxml import etree

from davserver.protocol.errors import BadRequest, ContentTooLarge
from davserver.protocol.locks import Scope
from davserver.protocol.messages import Body
from davserver.protocol.properties import (
    DAV,
    AllProp,
    DeadProperty,
    NamedProps,
    PropertyUpdate,
    PropName,
    PropNames,
    RemoveProperty,
    SetProperty,
)

MAX_DEPTH = 200
MAX_ATTRIBUTES = 100
#: Bytes of a lock's owner element: it is a name, not a document.
OWNER_LIMIT = 8 * 1024

_BLOCK = 64 * 1024
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_ENCODINGS = frozenset({"UTF-8", "UTF-16", "UTF-16LE", "UTF-16BE", "US-ASCII", "ASCII"})
# "<!" in the encodings that are accepted: without it there is neither a document type nor a comment.
_MARKUP_DECLARATIONS = (b"<!", b"<\0!\0", b"\0<\0!")


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
    """Bytes → the root element, without comments and processing instructions."""
    try:
        if any(mark in data for mark in _MARKUP_DECLARATIONS):
            # expat stops at the first sign of a document type, before libxml2 gets to see it.
            defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
        root = etree.fromstring(data, _parser())
    except DefusedXmlException as error:
        raise BadRequest("XML with a document type (DTD) is not accepted.") from error
    except (etree.XMLSyntaxError, ParseError, ValueError, LookupError) as error:
        raise BadRequest("The body is not well-formed XML.") from error
    encoding = root.getroottree().docinfo.encoding
    if (encoding or "UTF-8").upper() not in _ENCODINGS:
        raise BadRequest("XML must be encoded in UTF-8 or UTF-16.")
    _check_limits(root)
    return root


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )


def _check_limits(root: etree._Element) -> None:
    depth = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            raise BadRequest(f"XML may nest {MAX_DEPTH} elements deep.")
        if len(element.attrib) > MAX_ATTRIBUTES:
            raise BadRequest(f"An XML element may have {MAX_ATTRIBUTES} attributes.")


def parse_propfind(data: bytes) -> AllProp | PropNames | NamedProps:
    """RFC 4918 §14.20. No body at all means allprop (§9.1)."""
    if not data.strip():
        return AllProp()
    root = _root(data, "propfind")
    included: list[PropName] = []
    form: AllProp | PropNames | NamedProps | None = None
    for child in _children(root):
        match _dav_name(child):
            case "prop" if form is None:
                form = NamedProps(tuple(dict.fromkeys(map(_name, _children(child)))))
            case "propname" if form is None:
                form = PropNames()
            case "allprop" if form is None:
                form = AllProp()
            case "include":
                included += map(_name, _children(child))
    if form is None:
        raise BadRequest("propfind must hold prop, allprop or propname.")
    return AllProp(tuple(dict.fromkeys(included))) if isinstance(form, AllProp) else form


def parse_propertyupdate(data: bytes) -> PropertyUpdate:
    """RFC 4918 §14.19: instructions in document order."""
    update: list[SetProperty | RemoveProperty] = []
    for instruction in _children(_root(data, "propertyupdate")):
        action = _dav_name(instruction)
        if action not in ("set", "remove"):
            continue
        for prop in _children(instruction):
            if _dav_name(prop) == "prop":
                make = _set if action == "set" else _remove
                update += map(make, _children(prop))
    if not update:
        raise BadRequest("propertyupdate must set or remove a property.")
    return tuple(update)


@dataclass(frozen=True, slots=True)
class LockInfo:
    scope: Scope
    #: The owner element, serialized; None when there is none.
    owner: bytes | None


def parse_lockinfo(data: bytes) -> LockInfo:
    """RFC 4918 §14.11."""
    root = _root(data, "lockinfo")
    scopes = [_dav_name(scope) for parent in _named(root, "lockscope") for scope in _children(parent)]
    types = [_dav_name(kind) for parent in _named(root, "locktype") for kind in _children(parent)]
    known = [scope for scope in Scope if scope.value in scopes]
    if len(known) != 1:
        raise BadRequest("lockscope must be exclusive or shared.")
    if "write" not in types:
        raise BadRequest("locktype must be write.")
    owners = list(_named(root, "owner"))
    owner = serialize(owners[0]) if owners else None
    if owner is not None and len(owner) > OWNER_LIMIT:
        raise ContentTooLarge(f"The owner of a lock may have at most {OWNER_LIMIT} bytes.")
    return LockInfo(known[0], owner)


def serialize(element: etree._Element) -> bytes:
    """The element, complete in itself: every namespace it needs is declared in it, and nothing follows it."""
    return etree.tostring(element, encoding="utf-8", xml_declaration=False, with_tail=False)


def _set(element: etree._Element) -> SetProperty:
    # RFC 4918 §4.3: the language in scope is a part of the property's value.
    language = next((e.get(_LANG) for e in (element, *element.iterancestors()) if e.get(_LANG) is not None), None)
    if language is not None:
        element.set(_LANG, language)
    return SetProperty(DeadProperty(_name(element), serialize(element)), "".join(map(str, element.itertext())))


def _remove(element: etree._Element) -> RemoveProperty:
    return RemoveProperty(_name(element))


def _root(data: bytes, name: str) -> etree._Element:
    root = parse(data)
    if _dav_name(root) != name:
        raise BadRequest(f"The body must be a DAV: {name} element.")
    return root


def _children(element: etree._Element) -> Iterator[etree._Element]:
    return element.iterchildren(tag=etree.Element)


def _named(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return element.iterchildren(tag=f"{{{DAV}}}{name}")


def _name(element: etree._Element) -> PropName:
    qualified = etree.QName(element)
    return PropName(qualified.namespace or "", qualified.localname)


def _dav_name(element: etree._Element) -> str | None:
    """The local name of an element of the DAV: namespace, None for any other."""
    name = _name(element)
    return name.local if name.namespace == DAV else None
