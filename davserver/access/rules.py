"""Rules: who may do what at which paths. The first one that fits decides; what none fits is not allowed.

A rule is about a path and everything below it. Rules are compiled for each principal, so that those which are about
others are not looked at; and each answer comes with whether it holds for all that is below, so that a folder whose
members share their rights is listed without a look at the rules for any of them.

Paths are `DavPath`s: decoded once, without "." and "..", in the spelling of the resource itself. Where case does not
matter in a share, it does not in the rules about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple
from unicodedata import normalize

from davserver.access.permissions import Everywhere
from davserver.names import RESERVED
from davserver.protocol.messages import Action, Permissions, Rights
from davserver.protocol.paths import DavPath

ANONYMOUS, AUTHENTICATED, EVERYONE = "anonymous", "authenticated", "everyone"
USER = "{user}"

_LETTERS = {"c": Action.CREATE, "r": Action.READ, "u": Action.WRITE, "d": Action.DELETE}
#: Short forms. "w" alone is a drop box: things can be put there, and neither seen nor changed.
_WORDS = {"none": "", "r": "r", "w": "c", "rw": "crud"}
#: Decisions that are remembered for each principal.
_REMEMBERED = 4096


def parse_rights(allow: str, *, lock: bool = True) -> Rights:
    """ "r", "rw", "w", "none", or letters of "crud". Whoever may write may lock, unless `lock` is False.

    Raises ValueError.
    """
    letters = _WORDS.get(allow, allow)
    if not letters and allow != "none":
        raise ValueError("say none where nothing is allowed")
    if set(letters) - set(_LETTERS) or len(set(letters)) != len(letters):
        raise ValueError("write r, rw, w (create only), none, or letters of crud: create, read, update, delete")
    found = {_LETTERS[letter] for letter in letters}
    if lock and found & {Action.WRITE, Action.CREATE}:
        found.add(Action.LOCK)
    return tuple(action for action in Action if action in found)


class Pattern:
    """The path of a rule. "*", "?" and "[…]" stand for a part of a name, "**" for any names or none."""

    def __init__(self, path: str, *, fold: bool = False) -> None:
        self._fold = fold
        names = DavPath.from_key(path).segments
        self._names = tuple(map(self._form, names))
        self._parts = None if not any(map(_is_glob, names)) else [_part(name) for name in self._names]

    def match(self, segments: tuple[str, ...]) -> tuple[bool, bool]:
        """(Is it about this path? Might it be about something below?). Where it is about the path it is about all
        that is below."""
        names = tuple(map(self._form, segments))
        if self._parts is None:
            count = len(self._names)
            if names[:count] == self._names:
                return True, False
            return False, self._names[: len(names)] == names
        return _match(self._parts, names)

    def _form(self, name: str) -> str:
        if not name.isascii():
            name = normalize("NFC", name)
        return _folded(name) if self._fold else name


def _folded(name: str) -> str:
    return normalize("NFC", name.casefold())


_Part = Callable[[str], object] | None


def _is_glob(name: str) -> bool:
    return any(character in name for character in "*?[")


def _part(name: str) -> _Part:
    """None: any number of names."""
    if name == "**":
        return None
    return re.compile(translate(name)).match


def _match(parts: Sequence[_Part], names: Sequence[str]) -> tuple[bool, bool]:
    """All ways at once: the numbers of the parts that may come next."""
    reached = _with_skipped(parts, {0})
    for name in names:
        if len(parts) in reached:
            return True, False
        further = set()
        for number in reached:
            part = parts[number]
            if part is None:
                further.add(number)
            elif part(name):
                further.add(number + 1)
        reached = _with_skipped(parts, further)
    matched = len(parts) in reached
    return matched, not matched and bool(reached)


def _with_skipped(parts: Sequence[_Part], reached: set[int]) -> set[int]:
    """Where "**" may come next, it may also stand for nothing."""
    found = set(reached)
    for number in sorted(reached):
        while number < len(parts) and parts[number] is None:
            number += 1
            found.add(number)
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """`who`: names of users, @groups, "anonymous", "authenticated", "everyone"."""

    path: str
    who: frozenset[str]
    rights: Rights

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError("the path of a rule begins with a slash")

    def is_about(self, identities: Collection[str]) -> bool:
        return not self.who.isdisjoint(identities)

    def pattern(self, name: str, *, fold: bool) -> Pattern | None:
        """For the user of that name; None where there is no such path."""
        if USER not in self.path:
            return Pattern(self.path, fold=fold)
        if not name or "/" in name or name in (".", "..", "-"):
            return None
        # The name is a name, whatever is in it.
        return Pattern(self.path.replace(USER, re.sub(r"([*?[])", r"[\1]", name)), fold=fold)


class _Decision(NamedTuple):
    rights: Rights
    #: Everything below has the same.
    uniform: bool
    #: Something below may be used.
    leads: bool


class Ruled:
    """`Permissions` of one principal."""

    def __init__(self, rules: Iterable[tuple[Pattern, Rights]], *, greeted: bool) -> None:
        """`greeted`: the root may be seen, even if nothing is there that may be."""
        self._rules = tuple(rules)
        self._greeted = greeted
        self._decide = lru_cache(_REMEMBERED)(self._decided)

    def rights(self, path: DavPath) -> Rights:
        return self._decide(path.segments).rights

    def allows(self, action: Action, path: DavPath) -> bool:
        return action in self._decide(path.segments).rights

    def leads(self, path: DavPath) -> bool:
        return self._decide(path.segments).leads

    def whole(self, path: DavPath) -> Rights | None:
        found = self._decide(path.segments)
        return found.rights if found.uniform else None

    def _decided(self, segments: tuple[str, ...]) -> _Decision:
        below = set[Rights]()
        rights: Rights = ()
        for pattern, allowed in self._rules:
            matched, open_ = pattern.match(segments)
            if matched:
                # It is about all that is below as well: later rules are not asked there either.
                rights = allowed
                break
            if open_:
                below.add(allowed)
        leads = bool(rights) or any(below) or (self._greeted and not segments)
        return _Decision(rights, below <= {rights}, leads)


def _everywhere(rules: Sequence[tuple[Pattern, Rights]]) -> Permissions | None:
    """Where the first rule is about everything, nothing needs to be asked any more."""
    if rules and rules[0][1] and rules[0][0].match(())[0]:
        return Everywhere(rules[0][1])
    return None


class Rules:
    """All rules of a server, in their order."""

    def __init__(self, rules: Iterable[Rule], *, folded: Iterable[DavPath] = ()) -> None:
        """`folded`: shares in which case does not matter."""
        self._folded = list(folded)
        self._rules = [(rule, self._is_folded(rule)) for rule in rules]

    def anonymous(self) -> Permissions:
        """Of everybody who does not log in."""
        rules = self._compiled("", {ANONYMOUS, EVERYONE})
        return _everywhere(rules) or Ruled(rules, greeted=False)

    def of(self, name: str, groups: Collection[str]) -> Permissions:
        """Of somebody who has logged in. What anybody may do without a login is allowed to them too: those rules
        come after all that are about them."""
        own = {AUTHENTICATED, EVERYONE, *(f"@{group}" for group in groups)}
        if name not in RESERVED and not name.startswith("@"):
            own.add(name)
        rules = [*self._compiled(name, own), *self._compiled(name, {ANONYMOUS})]
        return _everywhere(rules) or Ruled(rules, greeted=True)

    def alike(self, names: Iterable[str]) -> tuple[str, str] | None:
        """Two of these users for whom `{user}` is one and the same, where case does not matter."""
        if not any(fold and USER in rule.path for rule, fold in self._rules):
            return None
        seen: dict[str, str] = {}
        pairs = ((seen.setdefault(_folded(name), name), name) for name in names)
        return next((pair for pair in pairs if pair[0] != pair[1]), None)

    def _compiled(self, name: str, identities: Collection[str]) -> list[tuple[Pattern, Rights]]:
        found = []
        for rule, fold in self._rules:
            pattern = rule.pattern(name, fold=fold) if rule.is_about(identities) else None
            if pattern is not None:
                found.append((pattern, rule.rights))
        return found

    def _is_folded(self, rule: Rule) -> bool:
        path = DavPath.from_key(re.split(r"[*?[{]", rule.path)[0].rpartition("/")[0] or "/")
        whole = DavPath.from_key(rule.path)
        return any(share.contains(whole) or path.contains(share) for share in self._folded)
