"""A PROPFIND compiled: what is the same for every member is put together once, and each member fills it in.

Two ways lead to the same answer. `Plan.response` fills a template, one for files and one for collections; that is
what nearly every member takes. Where a member has what the template cannot know (a dead property that was asked
for by name, a name that XML cannot carry) its properties are gone through one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from davserver.methods.live import DISPLAYNAME, FORMS, LOCKDISCOVERY, SUPPORTEDLOCK, Entry, Form, Undefined
from davserver.protocol import xml_out
from davserver.protocol.properties import DAV, LIVE, AllProp, NamedProps, PropName, PropNames

Wanted = AllProp | PropNames | NamedProps

_UNUSED = frozenset({SUPPORTEDLOCK, DISPLAYNAME, PropName(DAV, "getcontenttype")})
_ALLPROP = tuple(name for name, row in LIVE.items() if row.in_allprop)


class _Template(NamedTuple):
    text: str
    fills: tuple[Callable[[Entry], object], ...]


class Plan:
    """`minimal`: properties that are not there are not told of (RFC 8144 §2.1).

    `compact`: for Explorer, which shows an empty folder when a listing passes 1 MB, and asks for everything: without
    what it does not use. With a short path that leaves less than 400 bytes for each entry.
    """

    def __init__(self, wanted: Wanted, *, minimal: bool = False, compact: bool = False) -> None:
        #: Told where they are defined, beside every dead property; not missed where they are not.
        self._every: Sequence[PropName] = ()
        #: Asked for by name.
        self._named: Sequence[PropName] = ()
        self._forms = FORMS
        self._minimal = minimal
        self._names_only = isinstance(wanted, PropNames)
        match wanted:
            case NamedProps(names):
                self._named = names
            case AllProp(include):
                self._every = [name for name in _ALLPROP if not (compact and name in _UNUSED)]
                # RFC 4918 §14.8: include names what allprop alone would not return.
                self._named = [name for name in include if name not in _ALLPROP]
            case PropNames():
                self._every = _ALLPROP
                self._forms = {name: _name_alone(name, form) for name, form in FORMS.items()}
        self._with_dead = bool(self._every)
        #: Dead properties that matter by their name, while others are merely told.
        self._special = frozenset((*self._named, *(name for name in self._every if LIVE[name].kept)))
        self._file, self._collection = self._template(collection=False), self._template(collection=True)

    def response(self, entry: Entry) -> bytes:
        """The DAV:response of one resource."""
        text, fills = self._collection if entry.node.is_collection else self._file
        if entry.dead is None:
            return self._one_by_one(entry, {})
        if entry.dead and not self._special.isdisjoint(entry.dead):
            return self._one_by_one(entry, entry.dead)
        try:
            return (text % (entry.href, *[fill(entry) for fill in fills])).encode()
        except Undefined:
            return self._one_by_one(entry, entry.dead)

    def _template(self, *, collection: bool) -> _Template:
        found: list[str] = []
        missing: list[PropName] = []
        fills: list[Callable[[Entry], object]] = []
        for name in (*self._every, *self._named):
            form = self._forms.get(name)
            text = None if form is None else form.collection if collection else form.file
            if form is None or text is None:
                if name not in self._every:
                    missing.append(name)
                continue
            found.append(text)
            if form.fill is not None:
                fills.append(form.fill)
        if self._with_dead:
            found.append("%s")
            fills.append(lambda entry: self._all_dead(entry.dead or {}))
        return _Template(self._frame("%s", "".join(found), missing), tuple(fills))

    def _one_by_one(self, entry: Entry, dead: Mapping[PropName, bytes]) -> bytes:
        found: list[str] = []
        missing: list[PropName] = []
        unknown: list[PropName] = []
        for name in (*self._every, *self._named):
            is_unknown = entry.dead is None and (name == LOCKDISCOVERY or name not in self._forms)
            text = None if is_unknown else self._text(name, entry, dead)
            if text is not None:
                found.append(text)
            elif name not in self._every:
                (unknown if is_unknown else missing).append(name)
        if self._with_dead:
            told = {*self._every, *self._named}
            found.append(self._all_dead({name: xml for name, xml in dead.items() if name not in told}))
        text = "".join(found)
        values = (entry.href, text) if text else (entry.href,)
        return (self._frame("%s", "%s" if text else "", missing, unknown) % values).encode()

    def _text(self, name: PropName, entry: Entry, dead: Mapping[PropName, bytes]) -> str | None:
        if name in dead:
            return self._dead(name, dead[name])
        form = self._forms.get(name)
        text = None if form is None else form.collection if entry.node.is_collection else form.file
        if form is None or text is None or form.fill is None:
            return text
        try:
            return text % (form.fill(entry),)
        except Undefined:
            return None

    def _all_dead(self, dead: Mapping[PropName, bytes]) -> str:
        return "".join([self._dead(name, xml) for name, xml in dead.items()])

    def _dead(self, name: PropName, xml: bytes) -> str:
        return xml_out.empty_element(name).decode() if self._names_only else xml.decode()

    def _frame(self, href: str, found: str, missing: Sequence[PropName], unknown: Sequence[PropName] = ()) -> str:
        """A response; "%" stands for itself where it is not a place to be filled. `unknown`: what nobody can tell
        while the state is away."""
        told = () if self._minimal else missing
        away = [(503, None, unknown)] if unknown else ()
        response = xml_out.propstat_response("\0", b"\1" if found else b"", told, away).decode()
        return response.replace("%", "%%").replace("\0", href).replace("\1", found)


@lru_cache(maxsize=256)
def plan_for(wanted: Wanted, *, minimal: bool, compact: bool) -> Plan:
    """Clients ask for the same few sets of properties over and over."""
    return Plan(wanted, minimal=minimal, compact=compact)


def _name_alone(name: PropName, form: Form) -> Form:
    """An element without content. "%.0s" takes a value and shows nothing of it."""
    text = xml_out.empty_element(name).decode() + ("" if form.fill is None else "%.0s")
    return Form(None if form.file is None else text, None if form.collection is None else text, form.fill)
