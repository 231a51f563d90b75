"""The holder's name: who is told what of the person behind a lock.

The law of this module: the client's own DAV:owner goes back untouched to the principal that gave it (davfs2
adopts its lock again only when the text is the same byte for byte). Others see a name: where people log in the
display name, else what the client called its owner, unless that names a program and no person. Who is told which
name is a setting (`Reveal`); without it account names are told to those who log in themselves, and a stranger
learns that it is another user.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lxml import etree

from davserver.protocol.locks import Kind, Lock, Principal


class Reveal(Enum):
    """Who is told the name of somebody else who holds a lock."""

    NOBODY = "none"
    USERS = "users"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who reads an answer. `principal` None: the operator, who is told everything."""

    principal: Principal | None
    reveal: Reveal = Reveal.USERS
    #: The User-Agent field.
    agent: str = ""


OPERATOR = Viewer(None)

#: Where no name is known, or none is told.
SOMEBODY = "another user"

_LONGEST = 120

_LIBREOFFICE = "LibreOffice -"
# Owners that name a program: Finder's, LibreOffice's of old, and what LibreOffice puts behind its own name.
_PROGRAMS = ("http://www.apple.com/webdav_fs", "http://ucb.openoffice.org", "http://www.libreoffice.org")


def holder_name(lock: Lock, viewer: Viewer = OPERATOR) -> str | None:
    """Who holds the lock; None when it is not told, or no name is known."""
    if not lock.principal.is_anonymous:
        return person_name(lock.principal, viewer)
    if viewer.principal is not None and viewer.reveal is Reveal.NOBODY:
        return None
    text = owner_text(lock.owner).removeprefix(_LIBREOFFICE).lstrip()
    return None if not text or text.startswith(_PROGRAMS) else _short(text)


def person_name(person: Principal, viewer: Viewer) -> str | None:
    """The name of somebody who logs in; None when it is not told."""
    if viewer.principal is not None and viewer.principal != person:
        stranger = viewer.principal.is_anonymous and viewer.reveal is not Reveal.EVERYONE
        if stranger or viewer.reveal is Reveal.NOBODY:
            return None
    return _short(person.display_name or person.name)


def holder_label(lock: Lock, viewer: Viewer) -> str:
    """The holder, for programs that show no more than an owner's text: with what stands behind the lock."""
    name = holder_name(lock, viewer) or SOMEBODY
    if lock.kind is Kind.MAINTENANCE:
        return f"{name} (maintenance: {lock.reason})" if lock.reason else f"{name} (maintenance)"
    return f"{name} (transaction {lock.transaction_id})" if lock.kind is Kind.TRANSACTION else name


def owner_text(owner: bytes | None) -> str:
    """The text of an owner element, whatever elements it stands in, on one line."""
    if owner is None:
        return ""
    return " ".join("".join(map(str, etree.fromstring(owner).itertext())).split())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
