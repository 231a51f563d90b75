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
from functools import cache

from davserver.protocol.dates import parse_http_date
from davserver.protocol.errors import BadRequest, PreconditionFailed, Refused
from davserver.protocol.headers import (
    ETag,
    ETagList,
    is_state_token,
    parse_etag,
    parse_etags,
    parse_lock_token,
    path_below,
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
_LEXEME = re.compile(
    r'[ \t]*(?:(?P<open>\()|(?P<close>\))|<(?P<url>[^<>]+)>|\[[ \t]*(?P<etag>(?:W/)?"[^"]*")[ \t]*\]'
    r"|(?P<not>[Nn][Oo][Tt]))"
)


def _lexemes(value: str) -> Iterator[tuple[str, str]]:
    """(kind, text) pairs; kind is the name of a group of `_LEXEME`. The last is "end", or "garbage"."""
    position = 0
    while (found := _LEXEME.match(value, position)) is not None:
        kind = found.lastgroup or ""
        yield kind, found[kind]
        position = found.end()
    yield "garbage" if value[position:].strip(" \t") else "end", ""


def parse_if(value: str, prefix: str) -> IfHeader:
    """Raises BadRequest for whatever the grammar does not allow. Time grows with the length of `value` alone."""
    lexemes = _lexemes(value)
    kind, text = next(lexemes)
    tagged = kind == "url"  # tags throughout, or none at all
    tag: DavPath | Elsewhere | None = None
    lists: list[StateList] = []
    while kind != "end" or not lists:
        if tagged and kind == "url":
            tag = _resource(text, prefix)
            kind, text = next(lexemes)
        if kind != "open":
            raise BadRequest("The If header is malformed.")
        lists.append(StateList(tag, _conditions(lexemes)))
        kind, text = next(lexemes)
    return IfHeader(tuple(lists))


def _conditions(lexemes: Iterator[tuple[str, str]]) -> tuple[StateToken | EntityTag, ...]:
    """What follows an opening parenthesis, up to its end."""
    conditions: list[StateToken | EntityTag] = []
    while True:
        kind, text = next(lexemes)
        negated = kind == "not"
        if negated:
            kind, text = next(lexemes)
        if kind == "url" and is_state_token(text):
            conditions.append(StateToken(text, negated))
        elif kind == "etag":
            conditions.append(EntityTag(ETag(text[text.index('"') + 1 : -1], text.startswith("W/")), negated))
        elif kind == "close" and conditions and not negated:
            return tuple(conditions)
        else:
            raise BadRequest("The If header is malformed.")


def _resource(text: str, prefix: str) -> DavPath | Elsewhere:
    """Compared by path alone: davfs2 sends the URL with the scheme and host the client sees, which a proxy changes."""
    try:
        raw = url_path(text)
        return (None if raw is None else path_below(raw, prefix)) or Elsewhere()
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
    """RFC 4918 §10.4.3. `state_of` is asked once for each resource that the header speaks of."""
    state_of = cache(state_of)

    def holds(state_list: StateList) -> bool:
        if isinstance(state_list.resource, Elsewhere):
            return False
        state = state_of(target if state_list.resource is None else state_list.resource)
        return all(_matches(condition, state) for condition in state_list.conditions)

    return any(map(holds, header.lists))


def _matches(condition: StateToken | EntityTag, state: ResourceState) -> bool:
    if isinstance(condition, StateToken):
        return (condition.token in state.tokens) is not condition.negated
    # RFC 4918 §10.4.4 leaves the choice between weak and strong comparison to the server. Weak: the example of
    # §10.4.9 gives a weak tag, proxies that compress make strong tags weak, and ours still tell versions apart.
    matches = state.etag is not None and condition.etag.weak_match(state.etag)
    return matches is not condition.negated


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What a request asks of the state of things. A date that is none is None: ignored (RFC 9110 §13.1.3)."""

    if_: IfHeader | None = None
    if_match: ETagList | None = None
    if_none_match: ETagList | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None
    #: The Lock-Token field; a condition on PUT alone, see `check_if`.
    lock_token: str | None = None
    #: The Transaction-Id field: the transaction must not have ended.
    transaction: str | None = None

    @property
    def asks_nothing_of_http(self) -> bool:
        """Is there no condition of RFC 9110?"""
        return (
            self.if_match is None
            and self.if_none_match is None
            and self.if_modified_since is None
            and self.if_unmodified_since is None
        )


#: Nothing is asked: what most requests ask.
UNCONDITIONAL = Preconditions()
_FIELDS = frozenset(
    {"if", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "lock-token", "transaction-id"}
)  # fmt: skip
# An UNLOCK asks nothing: its Lock-Token is no condition.
_FIELDS_OF_OTHERS = _FIELDS - {"lock-token"}


def parse_preconditions(headers: Headers, prefix: str, method: str) -> Preconditions:
    """Raises BadRequest for a malformed If. A malformed Lock-Token is for the methods that read it to refuse."""
    is_put = method == "PUT"
    if headers.lacks(_FIELDS if is_put else _FIELDS_OF_OTHERS):
        return UNCONDITIONAL

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
        _lock_token(headers) if is_put else None,
        headers["Transaction-Id"].strip(" \t") if "Transaction-Id" in headers else None,
    )


def _lock_token(headers: Headers) -> str | None:
    try:
        return parse_lock_token(headers.get("Lock-Token"))
    except BadRequest:
        return None


_NO_TOKENS: frozenset[str] = frozenset()


def submitted_tokens(headers: Headers, preconditions: Preconditions, method: str) -> frozenset[str]:
    """The lock tokens a request brings. Office 2016 and later put theirs into Lock-Token on PUT, without an If.

    A program names its transaction, which passes like a token. Raises BadRequest for a PUT whose Lock-Token is
    malformed.
    """
    tokens = _NO_TOKENS if preconditions.if_ is None else preconditions.if_.tokens
    if preconditions.transaction is not None:
        tokens |= {preconditions.transaction}
    if method == "PUT" and "Lock-Token" in headers:
        tokens |= {parse_lock_token(headers["Lock-Token"])}
    return tokens


def check(preconditions: Preconditions, method: str, target: DavPath, state_of: StateOf) -> bool:
    """`check_if`, then `check_http`, for a request that no lock can stop."""
    if preconditions is UNCONDITIONAL:
        return True
    if not preconditions.asks_nothing_of_http:
        state_of = cache(state_of)  # of both the same resource may be asked
    check_if(preconditions, method, target, state_of)
    return check_http(preconditions, method, target, state_of)


def check_if(preconditions: Preconditions, method: str, target: DavPath, state_of: StateOf) -> None:
    """What RFC 4918 has clients say of locks and versions (§10.4). Raises PreconditionFailed."""
    if preconditions is UNCONDITIONAL:
        return
    if preconditions.if_ is not None and not evaluate_if(preconditions.if_, target, state_of):
        raise PreconditionFailed("None of the conditions in If is true.", paths=[target])
    # Office's Lock-Token on PUT says what (<token>) in an If would: I have the lock. When it is gone, others may
    # have written since, and this PUT would undo that without a word.
    token = preconditions.lock_token if method == "PUT" else None
    if token is not None and token not in state_of(target).tokens:
        raise PreconditionFailed("The lock that Lock-Token names is not on this resource.", paths=[target])


def check_http(preconditions: Preconditions, method: str, target: DavPath, state_of: StateOf) -> bool:
    """True: go ahead. False: 304 (GET and HEAD only). Everything else raises PreconditionFailed.

    In the order of RFC 9110 §13.2.2.
    """
    wanted = preconditions
    if wanted.asks_nothing_of_http:
        return True
    state_of = cache(state_of)
    if wanted.if_match is not None:
        if not _any_match(wanted.if_match, state_of(target), strong=True):
            raise PreconditionFailed("The resource is not the version that If-Match names.", paths=[target])
    # §13.1.4: ignored when If-Match is present, and where there is no modification date.
    elif wanted.if_unmodified_since is not None and _modified_since(state_of(target), wanted.if_unmodified_since):
        raise PreconditionFailed("The resource has changed since If-Unmodified-Since.", paths=[target])
    reading = method in ("GET", "HEAD")
    if wanted.if_none_match is not None:
        excluded = _any_match(wanted.if_none_match, state_of(target), strong=False)
        if excluded and not reading:
            raise PreconditionFailed("The resource is one that If-None-Match excludes.", paths=[target])
        return not excluded
    if reading and wanted.if_modified_since is not None:
        # §13.1.3: for GET and HEAD, ignored when If-None-Match is present; an equal time is "not modified".
        state = state_of(target)
        return state.last_modified is None or _modified_since(state, wanted.if_modified_since)
    return True


def _modified_since(state: ResourceState, seconds: int) -> bool:
    return state.last_modified is not None and state.last_modified > seconds


def _any_match(wanted: ETagList, state: ResourceState, *, strong: bool) -> bool:
    """RFC 9110 §13.1.1 compares strongly, §13.1.2 weakly; "*" matches whatever exists."""
    if wanted.any:
        return state.exists
    if state.etag is None:
        return False
    return any(tag.strong_match(state.etag) if strong else tag.weak_match(state.etag) for tag in wanted.tags)


def if_range_allows(value: str | None, state: ResourceState) -> bool:
    """RFC 9110 §13.1.5: may the ranges be sent? By strong comparison, or by a date that is exactly equal.

    A date counts as strong here, although two writes can share a second: Finder resumes by date alone.
    """
    if value is None:
        return True
    etag = parse_etag(value)
    if etag is not None:
        return state.etag is not None and etag.strong_match(state.etag)
    return state.last_modified is not None and parse_http_date(value) == state.last_modified
