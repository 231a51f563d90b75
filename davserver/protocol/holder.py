"""The holder's name: who is told what of the person behind a lock.

The law of this module: the client's own DAV:owner goes back untouched to the principal that gave it (davfs2
adopts its lock again only when the text is the same byte for byte). Others see a name: where people log in the
display name, else what the client called its owner, unless that names a program and no person. Account names
are told to those who log in themselves; a stranger learns that it is another user.
"""

from __future__ import annotations

from lxml import etree

from davserver.protocol.locks import Lock, Principal

#: Where no name is known, or none is told.
SOMEBODY = "another user"

_LONGEST = 120

_LIBREOFFICE = "LibreOffice -"
# Owners that name a program: Finder's, LibreOffice's of old, and what LibreOffice puts behind its own name.
_PROGRAMS = ("http://www.apple.com/webdav_fs", "http://ucb.openoffice.org", "http://www.libreoffice.org")


def holder_name(lock: Lock, viewer: Principal | None = None) -> str | None:
    """Who holds the lock, for `viewer` (None: the operator, who is told everything); None when it is not told."""
    if not lock.principal.is_anonymous:
        if viewer is not None and viewer.is_anonymous:
            return None
        return _short(lock.principal.display_name or lock.principal.name)
    text = owner_text(lock.owner).removeprefix(_LIBREOFFICE).lstrip()
    return None if not text or text.startswith(_PROGRAMS) else _short(text)


def owner_text(owner: bytes | None) -> str:
    """The text of an owner element, whatever elements it stands in, on one line."""
    if owner is None:
        return ""
    return " ".join("".join(map(str, etree.fromstring(owner).itertext())).split())


def is_plain(owner: bytes | None) -> bool:
    """Is there an owner, and does its text stand in it directly?"""
    return owner is not None and len(etree.fromstring(owner)) == 0


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
