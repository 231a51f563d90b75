"""Principals: the resources that DAV:current-user-principal leads to (RFC 5397; RFC 3744 §2, §4, what can be read).

`/-/principals/NAME/` is a user, `/-/principals/@GROUP/` a group, `/-/principals/` the collection of those that may be
seen. Somebody sees themselves and the groups they are in; what may not be seen is answered like what is not there, so
that nobody finds out names. Nothing here can be changed, and no access control is claimed in the DAV field: there is
no ACL method (RFC 3744 §7.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import NamedTuple, Protocol

from davserver.methods.plan import Wanted
from davserver.protocol import xml, xml_out
from davserver.protocol.errors import MethodNotAllowed, NotKnown
from davserver.protocol.headers import parse_depth, parse_preferences
from davserver.protocol.locked import page
from davserver.protocol.locks import Depth
from davserver.protocol.messages import Request, Response
from davserver.protocol.paths import quote_name
from davserver.protocol.properties import DAV, RESOURCETYPE, AllProp, NamedProps, PropName

#: Below the prefix; RFC 3744 §5.8 calls it a principal collection.
PRINCIPALS = "/-/principals/"
_METHODS = ("OPTIONS", "GET", "HEAD", "PROPFIND")
#: Bytes of a PROPFIND body.
_BODY = 64 * 1024
_XML = (("Content-Type", "application/xml; charset=utf-8"), ("Cache-Control", "no-store"))
_HTML = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
)
_IN_ALLPROP = frozenset({RESOURCETYPE, PropName(DAV, "displayname")})


class Person(NamedTuple):
    """A user or a group, as whoever asks may know it. Names of groups begin with "@"."""

    name: str
    display_name: str
    #: Those that it is a direct member of.
    groups: tuple[str, ...] = ()
    #: Of a group; None where they are not told.
    members: tuple[str, ...] | None = ()


class Persons(Protocol):
    def find(self, request: Request, name: str) -> Person | None:
        """None: there is nobody of that name, or whoever asks may not know."""

    def all(self, request: Request) -> Iterable[Person]:
        """Those that whoever asks may know."""


def principals_page(persons: Persons) -> Callable[[Request], Response]:
    """Answers requests at `PRINCIPALS` and below."""

    def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(200, (("DAV", "1, 3"), ("Allow", ", ".join(_METHODS))))
        if request.method not in _METHODS:
            raise MethodNotAllowed("Principals can only be read.", _METHODS)
        names = request.path.segments[2:]
        if request.principal.is_anonymous or len(names) > 1:
            raise NotKnown("There is no such principal.")
        person = persons.find(request, names[0]) if names else None
        if names and person is None:
            raise NotKnown("There is no such principal.")
        everybody = [] if names else list(persons.all(request))
        if request.method == "PROPFIND":
            return _propfind(request, person, everybody)
        return Response(200, _HTML, _shown(request, person, everybody))

    return answer


def principal_url(prefix: str, name: str) -> str:
    """In an href; RFC 4918 §5.2: it ends in a slash, as it is a collection too."""
    return f"{prefix}{PRINCIPALS}{quote_name(name)}/"


def _propfind(request: Request, person: Person | None, everybody: list[Person]) -> Response:
    """RFC 4918 §9.1. `person` None: the collection."""
    depth = parse_depth(request.headers.get("Depth"), Depth.INFINITY)
    preferences = parse_preferences(request.headers.get("Prefer"), request.headers.get("Brief"))
    wanted = xml.parse_propfind(xml.read_body(request.body, _BODY))

    def response(url: str, found: dict[str, str]) -> bytes:
        return _response(url, found, wanted, minimal=preferences.minimal)

    prefix = request.prefix
    if person is not None:
        responses = [response(principal_url(prefix, person.name), _of_person(request, person))]
    else:
        deep = depth is not Depth.ZERO
        responses = [] if deep and preferences.noroot else [response(prefix + PRINCIPALS, _of_collection(request))]
        if deep:
            responses += [response(principal_url(prefix, each.name), _of_person(request, each)) for each in everybody]
    return Response(207, (*_XML, *preferences.applied), xml_out.multistatus(responses))


def _response(url: str, values: dict[str, str], wanted: Wanted, *, minimal: bool) -> bytes:
    """`values`: content of each property, by its name in DAV:."""
    known = {PropName(DAV, name): value for name, value in values.items()}
    missing: list[PropName] = []
    match wanted:
        case NamedProps(names):
            told = [name for name in names if name in known]
            missing = [name for name in names if name not in known]
        case AllProp(include):
            # RFC 3744 §4, §5: its properties are told where they are asked for by name.
            told = [name for name in known if name in _IN_ALLPROP or name in include]
            missing = [name for name in include if name not in known]
        case _:
            return xml_out.propstat_response(url, b"".join(map(xml_out.empty_element, known)))
    found = "".join(_element(name.local, known[name]) for name in told)
    return xml_out.propstat_response(url, found.encode(), () if minimal else missing)


def _element(name: str, content: str) -> str:
    return f"<D:{name}>{content}</D:{name}>" if content else f"<D:{name}/>"


def _of_collection(request: Request) -> dict[str, str]:
    return {"displayname": "Principals", "resourcetype": "<D:collection/>", **_common(request)}


def _of_person(request: Request, person: Person) -> dict[str, str]:
    found = {
        "displayname": xml_out.printable(person.display_name),
        "resourcetype": "<D:collection/><D:principal/>",
        # RFC 3744 §4.1, §4.2, §4.4: of every principal.
        "alternate-URI-set": "",
        "principal-URL": _href(principal_url(request.prefix, person.name)),
        "group-membership": _hrefs(request, person.groups),
        **_common(request),
    }
    if person.members is not None:
        found["group-member-set"] = _hrefs(request, person.members)  # RFC 3744 §4.3
    return found


def _common(request: Request) -> dict[str, str]:
    read = "<D:privilege><D:read/></D:privilege><D:privilege><D:read-current-user-privilege-set/></D:privilege>"
    return {
        "current-user-principal": _href(principal_url(request.prefix, request.principal.name)),
        "current-user-privilege-set": read,
        "principal-collection-set": _href(request.prefix + PRINCIPALS),
    }


def _hrefs(request: Request, names: Iterable[str]) -> str:
    return "".join(_href(principal_url(request.prefix, name)) for name in names)


def _href(url: str) -> str:
    return xml_out.href(url).decode()


def _shown(request: Request, person: Person | None, everybody: list[Person]) -> bytes:
    """For people."""

    def link(name: str) -> str:
        return f'<a href="{escape(principal_url(request.prefix, name))}">{escape(name)}</a>'

    if person is None:
        return page("Principals", f"<ul>{''.join(f'<li>{link(each.name)}</li>' for each in everybody)}</ul>")
    rows = [("Name", escape(person.name))]
    if person.groups:
        rows.append(("Groups", ", ".join(map(link, person.groups))))
    if person.members:
        rows.append(("Members", ", ".join(map(link, person.members))))
    body = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return page(person.display_name, f"<dl>{body}</dl>")
