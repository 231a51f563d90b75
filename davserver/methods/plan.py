"""A PROPFIND compiled: what is the same for every member is put together once, and each member fills it in.

Two ways lead to the same answer. `Plan.responses` fills a template, one for files and one for collections; that is
what nearly every member takes. Where a member has what the template cannot know (a dead property that was asked
for by name, a name that XML cannot carry) its properties are gone through one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat

from davserver.methods.live import DISPLAYNAME, FORMS, LOCKDISCOVERY, SUPPORTEDLOCK, Entries, Fill, Form, Undefined
from davserver.protocol import xml_out
from davserver.protocol.properties import DAV, LIVE, AllProp, NamedProps, PropName, PropNames

Wanted = AllProp | PropNames | NamedProps

_UNUSED = frozenset({SUPPORTEDLOCK, DISPLAYNAME, PropName(DAV, "getcontenttype")})
_ALLPROP = tuple(name for name, row in LIVE.items() if row.in_allprop)


#: What a response consists of: text that is the same for all, without an end, and what tells the rest of each.
_Template = Sequence[Iterator[str] | Fill]


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

    def responses(self, entries: Entries) -> list[str]:
        """The DAV:response of each."""
        if entries.dead is None:
            return [self._one_by_one(one, {}) for one in entries.each()]
        template = self._collection if entries.nodes[0].is_collection else self._file
        try:
            columns = [piece(entries) if callable(piece) else piece for piece in template]
        except Undefined:
            return [self._one_by_one(one, dead) for one, dead in zip(entries.each(), entries.dead, strict=True)]
        found = list(map("".join, zip(*columns, strict=False)))
        if any(entries.dead):
            for number, dead in enumerate(entries.dead):
                if not self._special.isdisjoint(dead):
                    found[number] = self._one_by_one(entries.only(number), dead)
        return found

    def _template(self, *, collection: bool) -> _Template:
        found: list[str | Fill] = []
        missing: list[PropName] = []
        for name in (*self._every, *self._named):
            form = self._forms.get(name)
            text = None if form is None else form.collection if collection else form.file
            if form is None or text is None:
                if name not in self._every:
                    missing.append(name)
            elif form.fill is None:
                found.append(text)
            else:
                before, _, after = text.partition("%s")
                found += (before, form.fill, after)
        if self._with_dead:
            found.append(lambda entries: map(self._all_dead, entries.dead or ()))
        before, between, after = self._frame(missing, is_empty=not found)
        return _joined([before, lambda entries: entries.hrefs, between, *found, after])

    def _one_by_one(self, one: Entries, dead: Mapping[PropName, bytes]) -> str:
        found: list[str] = []
        missing: list[PropName] = []
        unknown: list[PropName] = []
        for name in (*self._every, *self._named):
            is_unknown = one.dead is None and (name == LOCKDISCOVERY or name not in self._forms)
            text = None if is_unknown else self._text(name, one, dead)
            if text is not None:
                found.append(text)
            elif name not in self._every:
                (unknown if is_unknown else missing).append(name)
        if self._with_dead:
            told = {*self._every, *self._named}
            found.append(self._all_dead({name: xml for name, xml in dead.items() if name not in told}))
        text = "".join(found)
        before, between, after = self._frame(missing, unknown, is_empty=not text)
        return "".join((before, one.hrefs[0], between, text, after))

    def _text(self, name: PropName, one: Entries, dead: Mapping[PropName, bytes]) -> str | None:
        if name in dead:
            return self._dead(name, dead[name])
        form = self._forms.get(name)
        text = None if form is None else form.collection if one.nodes[0].is_collection else form.file
        if form is None or text is None or form.fill is None:
            return text
        try:
            (content,) = form.fill(one)
        except Undefined:
            return None
        return text.replace("%s", content)

    def _all_dead(self, dead: Mapping[PropName, bytes]) -> str:
        return "".join([self._dead(name, xml) for name, xml in dead.items()])

    def _dead(self, name: PropName, xml: bytes) -> str:
        return xml_out.empty_element(name).decode() if self._names_only else xml.decode()

    def _frame(
        self, missing: Sequence[PropName], unknown: Sequence[PropName] = (), *, is_empty: bool
    ) -> tuple[str, str, str]:
        """A response: before its href, between that and what was found, after that. `unknown`: what nobody can tell
        while the state is away."""
        told = () if self._minimal else missing
        away = [(503, None, unknown)] if unknown else ()
        response = xml_out.propstat_response("\0", b"" if is_empty else b"\0", told, away).decode()
        before, _, rest = response.partition("\0")
        between, _, after = rest.partition("\0")
        return before, between, after


def _joined(pieces: Iterable[str | Fill]) -> _Template:
    """What stands side by side and is the same for all becomes one."""
    found: list[str | Fill] = []
    for piece in pieces:
        if isinstance(piece, str) and found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return [repeat(piece) if isinstance(piece, str) else piece for piece in found]


@lru_cache(maxsize=256)
def plan_for(wanted: Wanted, *, minimal: bool, compact: bool) -> Plan:
    """Clients ask for the same few sets of properties over and over."""
    return Plan(wanted, minimal=minimal, compact=compact)


def _name_alone(name: PropName, form: Form) -> Form:
    """An element without content."""
    text, fill = xml_out.empty_element(name).decode(), form.fill
    alone = None if fill is None else lambda these: ["" for _ in fill(these)]
    text += "" if fill is None else "%s"
    return Form(None if form.file is None else text, None if form.collection is None else text, alone)
