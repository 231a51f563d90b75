"""Names in the settings that nobody has. They stop nothing, as their users may still come; but a typing error shuts
out everybody whom a rule is for, and is hard to see."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from davserver.access.accounts import Directory
from davserver.access.rules import ANONYMOUS, AUTHENTICATED, EVERYONE
from davserver.settings import Settings

#: How much a name that only a proxy may know must look like a word that is read as special to be taken for it.
_ALIKE = 0.9


def unknown_names(settings: Settings, directory: Directory) -> Iterator[str]:
    """A sentence for each, without a full stop: where it stands, and what was probably meant."""
    users, groups = directory.names(), [f"@{group}" for group in sorted(directory.groups())]
    places: dict[str, list[str]] = {}
    for place, names, special in _named(settings):
        known = [*users, *groups, *special]
        for name in names:
            if name not in known and (told := _told(name, known, special, settings)):
                places.setdefault(told, []).append(place)
    for group, members in settings.groups.items():
        for name in members:
            if name.startswith("@"):
                places[f"{name} is no user, and a group has no groups in it"] = [f"groups.{group}"]
            elif name not in users and (told := _told(name, users, (), settings)):
                places.setdefault(told, []).append(f"groups.{group}")
    for told, where in places.items():
        yield f"{', '.join(where)}: {told}"


def _named(settings: Settings) -> Iterator[tuple[str, Collection[str], Collection[str]]]:
    """Where users and @groups are named, which, and what is read as special there."""
    for rule in settings.rules:
        yield f"rule for {rule.path}", rule.who, (ANONYMOUS, AUTHENTICATED, EVERYONE)
    yield "administrators", settings.administrators, ()
    yield "locks.breakers", settings.locks.breakers, ()


def _told(name: str, known: Collection[str], special: Collection[str], settings: Settings) -> str | None:
    """None where there may be such a user all the same: one whom a proxy logs in. Groups are always written down."""
    what = f"nobody is in the group {name}" if name.startswith("@") else f"there is no user {name}"
    if settings.auth.proxy_user_header is None or name.startswith("@"):
        meant = difflib.get_close_matches(name, known, n=1)
    else:
        meant = difflib.get_close_matches(name, special, n=1, cutoff=_ALIKE)
        if not meant:
            return None
    return f"{what}; did you mean {meant[0]}?" if meant else what
