"""Whether a request may go ahead in the state things are in: If (RFC 4918 §10.4), then RFC 9110 §13.2.2.

Theory. An If header asks two different questions, and two functions answer them. *Is it true?*
(`evaluate_if`): each condition compares with the state of a resource, whoever brought that state about;
conditions are ANDed within a list, lists are ORed, and the header is true when any list is, whichever
resource it speaks of (§10.4.3). *Which tokens were submitted?* (`IfHeader.tokens`): every state token
anywhere in the header, also in lists that are false or negated (§10.4.1); what they permit is decided in
`locks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from davserver.protocol.errors import BadRequest, PreconditionFailed, Refused
from davserver.protocol.headers import (
    ETag,
    ETagList,
    parse_etag,
    parse_etags,
    parse_http_date,
    parse_lock_token,
    strip_prefix,
    url_path,
)
from davserver.protocol.messages import Headers
from davserver.protocol.paths import DavPath


@dataclass(frozen=True, slots=True)
class StateToken:
    token: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class EntityTag:
    etag: ETag
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A tag that names no path of this server: no list about it is ever true."""


@dataclass(frozen=True, slots=True)
class StateList:
    """A parenthesised list of conditions about one resource; None: the request's own."""

    resource: DavPath | Elsewhere | None
    conditions: tuple[StateToken | EntityTag, ...]


# RFC 4918 §10.4.8: a token that never is a lock's; clients write `(Not <DAV:no-lock>)` to say "true".
NO_LOCK = "DAV:no-lock"


@dataclass(frozen=True, slots=True)
class IfHeader:
    lists: tuple[StateList, ...]

    @property
    def tokens(self) -> frozenset[str]:
        """Every state token in the header: all of them count as submitted (§10.4.1)."""
        return frozenset(
            condition.token
            for state in self.lists
            for condition in state.conditions
            if isinstance(condition, StateToken) and condition.token != NO_LOCK
        )


# RFC 4918 §10.4.2:
#   If = "If" ":" ( 1*No-tag-list | 1*Tagged-list )      No-tag-list = List      Tagged-list = Resource-Tag 1*List
#   List = "(" 1*Condition ")"      Condition = ["Not"] (State-token | "[" entity-tag "]")
#   State-token = Coded-URL = "<" absolute-URI ">"      Resource-Tag = "<" Simple-ref ">"
_LEXER = re.compile(
    r'\s*(?:(?P<mark>[()])|<(?P<uri>[^<>]+)>|\[\s*(?P<etag>(?:W/)?"[^"]*")\s*\]|(?P<not>[Nn][Oo][Tt]\b))'
)


def _lexemes(value: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(value.rstrip())
    while position < end:
        found = _LEXER.match(value, position, end)
        if found is None:
            raise BadRequest("The If header is malformed.")
        kind = found.lastgroup or ""
        yield kind, found[kind]
        position = found.end()


def parse_if(value: str, prefix: str) -> IfHeader:
    """Raises BadRequest for whatever the grammar does not allow. Time grows with the length of `value` alone."""
    lists: list[StateList] = []
    conditions: list[StateToken | EntityTag] | None = None
    tag: DavPath | Elsewhere | None = None
    negated, bare_tag = False, False
    for kind, text in _lexemes(value):
        if conditions is None:
            if kind == "uri" and not bare_tag and (tag is not None or not lists):
                tag, bare_tag = _resource(text, prefix), True
            elif text == "(":
                conditions, bare_tag = [], False
            else:
                raise BadRequest("The If header is malformed.")
        elif text == ")" and conditions and not negated:
            lists.append(StateList(tag, tuple(conditions)))
            conditions = None
        elif kind == "not" and not negated:
            negated = True
        elif kind in ("uri", "etag"):
            conditions.append(_condition(kind, text, negated))
            negated = False
        else:
            raise BadRequest("The If header is malformed.")
    if conditions is not None or bare_tag or not lists:
        raise BadRequest("The If header is malformed.")
    return IfHeader(tuple(lists))


def _condition(kind: str, text: str, negated: bool) -> StateToken | EntityTag:
    if kind == "uri":
        return StateToken(text, negated)
    return EntityTag(ETag(text[text.index('"') + 1 : -1], text.startswith("W/")), negated)


def _resource(text: str, prefix: str) -> DavPath | Elsewhere:
    """Compared by path alone: davfs2 sends the URL with the scheme and host the client sees, which a proxy changes."""
    try:
        path = url_path(text)
        below = None if path is None else strip_prefix(path, prefix)
        return Elsewhere() if below is None else DavPath.parse(below)
    except Refused:
        return Elsewhere()


@dataclass(frozen=True, slots=True)
class ResourceState:
    """What conditions compare with. `tokens`: those of all active locks that cover the resource."""

    exists: bool
    etag: ETag | None
    tokens: frozenset[str]
    last_modified: int | None


UNMAPPED = ResourceState(False, None, frozenset(), None)

StateOf = Callable[[DavPath], ResourceState]


def evaluate_if(header: IfHeader, target: DavPath, state_of: StateOf) -> bool:
    """§10.4.3. `state_of` is asked once for each resource that the header speaks of."""
    states: dict[DavPath, ResourceState] = {}

    def holds(state_list: StateList) -> bool:
        if isinstance(state_list.resource, Elsewhere):
            return False
        path = target if state_list.resource is None else state_list.resource
        if path not in states:
            states[path] = state_of(path)
        return all(_matches(condition, states[path]) for condition in state_list.conditions)

    return any(map(holds, header.lists))


def _matches(condition: StateToken | EntityTag, state: ResourceState) -> bool:
    if isinstance(condition, StateToken):
        return (condition.token in state.tokens) is not condition.negated
    # §10.4.4: "using the strong comparison" for a PUT to be safe; our entity tags are all strong.
    matches = state.etag is not None and condition.etag.strong_match(state.etag)
    return matches is not condition.negated


@dataclass(frozen=True, slots=True)
class Preconditions:
    if_: IfHeader | None = None
    if_match: ETagList | None = None
    if_none_match: ETagList | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None


def parse_preconditions(headers: Headers, prefix: str) -> Preconditions:
    def etags(name: str) -> ETagList | None:
        return parse_etags(headers[name]) if name in headers else None

    def date(name: str) -> int | None:
        return parse_http_date(headers[name]) if name in headers else None

    return Preconditions(
        parse_if(headers["If"], prefix) if "If" in headers else None,
        etags("If-Match"),
        etags("If-None-Match"),
        date("If-Modified-Since"),
        date("If-Unmodified-Since"),
    )


def submitted_tokens(headers: Headers, preconditions: Preconditions, method: str) -> frozenset[str]:
    """The lock tokens a request brings. Office 2016 and later put theirs into Lock-Token on PUT (MS-WDV)."""
    tokens = frozenset[str]() if preconditions.if_ is None else preconditions.if_.tokens
    if method == "PUT" and "Lock-Token" in headers:
        tokens |= {parse_lock_token(headers["Lock-Token"])}
    return tokens


def check(preconditions: Preconditions, method: str, target: DavPath, state_of: StateOf) -> bool:
    """True: go ahead. False: 304 (GET and HEAD only). Everything else raises PreconditionFailed.

    RFC 4918 §10.4.1 first, then the order of RFC 9110 §13.2.2.
    """
    if preconditions == _NONE:
        return True
    if preconditions.if_ is not None and not evaluate_if(preconditions.if_, target, state_of):
        raise PreconditionFailed("None of the conditions in If is true.", paths=[target])
    state = state_of(target)
    if preconditions.if_match is not None:
        if not _any_match(preconditions.if_match, state, strong=True):
            raise PreconditionFailed("The resource is not the version that If-Match names.", paths=[target])
    elif (
        preconditions.if_unmodified_since is not None and (state.last_modified or 0) > preconditions.if_unmodified_since
    ):
        # §13.1.4: ignored when If-Match is present.
        raise PreconditionFailed("The resource has changed since If-Unmodified-Since.", paths=[target])
    reading = method in ("GET", "HEAD")
    if preconditions.if_none_match is not None:
        if _any_match(preconditions.if_none_match, state, strong=False):
            if reading:
                return False
            raise PreconditionFailed("The resource is one that If-None-Match excludes.", paths=[target])
    elif reading and preconditions.if_modified_since is not None and state.last_modified is not None:
        # §13.1.3: for GET and HEAD, ignored when If-None-Match is present; an equal time is "not modified".
        return state.last_modified > preconditions.if_modified_since
    return True


_NONE = Preconditions()


def _any_match(wanted: ETagList, state: ResourceState, *, strong: bool) -> bool:
    """§13.1.1 compares strongly, §13.1.2 weakly; "*" matches whatever exists."""
    if wanted.any:
        return state.exists
    if state.etag is None:
        return False
    return any(tag.strong_match(state.etag) if strong else tag.weak_match(state.etag) for tag in wanted.tags)


def if_range_allows(value: str | None, state: ResourceState) -> bool:
    """RFC 9110 §13.1.5: may the ranges be sent? By strong comparison, or by a date that is exactly equal."""
    if value is None:
        return True
    etag = parse_etag(value)
    if etag is not None:
        return state.etag is not None and etag.strong_match(state.etag)
    return state.last_modified is not None and parse_http_date(value) == state.last_modified
