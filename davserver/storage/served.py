"""Which names of a share are served at all.

The law of this module: a name that is not served does not exist for anybody. It is not listed, not read, not
copied, and nothing can be made under it. Private names are the server's own, "/-/" is where its pages are, and
what matches `hide` is what the operator says.

`hide` is not "left out of listings but there for who knows the name": a name that an operator hides must not be
guessed at. Hence no pattern is a default. To hide `._*` is to refuse Finder what it keeps beside files (their
colour, their icon, the resource forks of old), and it then reports such a copy as failed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from unicodedata import normalize

PRIVATE_PREFIX = ".davserver~"
#: The first name of the server's own pages, in the URL space of the server.
RESERVED = "-"
#: A name in ASCII that begins with none of these is served, unless a pattern of the operator's hides it.
NOTABLE = frozenset((PRIVATE_PREFIX[0], RESERVED))


class Served:
    """The names of one share. `hide`: patterns for names, as a shell has them, whatever their case.
    `at_root`: the share is at "/", where the reserved name would be."""

    def __init__(self, hide: Iterable[str] = (), *, at_root: bool = False) -> None:
        patterns = "|".join(fnmatch.translate(normalize("NFC", pattern)) for pattern in hide)
        self._patterns = patterns
        self._hides = re.compile(patterns, re.IGNORECASE).match if patterns else None
        self._at_root = at_root
        #: Are there patterns?
        self.hides = bool(patterns)

    def path(self, names: Sequence[str]) -> bool:
        """Is a path of these names served, as far as its names are concerned?"""
        if self._at_root and names and names[0] == RESERVED:
            return False
        for name in names:  # and no generator: every request passes here
            if name.startswith(PRIVATE_PREFIX):
                return False
            if self._hides is not None and self._is_hidden(name):
                return False
        return True

    def _is_hidden(self, name: str) -> bool:
        return self._hides is not None and self._hides(normalize("NFC", name)) is not None

    def member(self, folder: Sequence[str], name: str) -> bool:
        """Is `name` served in this folder? Bytes that are no UTF-8 come as lone surrogates, which nothing can be
        made of in a URL or in XML."""
        if not (name.isascii() or _is_text(name)) or name.startswith(PRIVATE_PREFIX):
            return False
        if self._hides is not None and self._is_hidden(name):
            return False
        return bool(folder) or not self._at_root or name != RESERVED

    def hides_as(self, other: Served) -> bool:
        """Do both hide the same names?"""
        return self._patterns == other._patterns


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)
