"""The true names of what a path means: one file has one path, however it was spelt.

Locks, properties and reservations are keyed by path. So before anything is looked up or changed the path of a
request becomes the one path that the resource has: the names as they are on the disk. There may be three ways to
say another:
  * Unicode: Finder sends "u" and a combining diaeresis where others send "ü" (NFD, NFC). What is there exactly as
    it was asked for comes first, then the other form. New names are made in NFC.
  * Case, where the share or the disk itself does not care about it.
  * Symbolic links, where the share follows them: what they lead to is what is locked and changed.
A share that is mounted in it is found in any spelling, too, unless something else has exactly that name. What is below
is for that share to spell (`Shares.locate`).

Cost: none for a path that has but one spelling (ASCII, and most scripts), in a share that minds case and follows no
links; for others one look where it is there as asked for. Only a name that is not there, in a share that does not
care about case, costs a look through its folder.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from itertools import takewhile
from unicodedata import normalize

from davserver.storage.resolve import Resolver

Names = tuple[str, ...]

#: The name is not there, or not ours to look for.
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NOWHERE = ABSENT | {errno.EXDEV, errno.EACCES, errno.ENAMETOOLONG, errno.ENOSYS}


class Spelling:
    """`ignore_case`: as the share's setting says. `follow`: links that stay below the root are followed. `mounted`:
    where other shares are."""

    def __init__(
        self, root: int, resolver: Resolver, *, ignore_case: bool, follow: bool, mounted: Iterable[Names] = ()
    ) -> None:
        #: Each before those that are mounted in it in turn.
        self._mounted = sorted(mounted, key=len)
        self._root = root
        self._open: Callable[[Sequence[str], int], int] = resolver.follow if follow else resolver.open
        self._follow = follow
        self._ignore_case = ignore_case
        #: Known by now: an ASCII path has one spelling.
        self.is_plain = False

    @cached_property
    def _disk_ignores_case(self) -> bool:
        """Does the file system itself find a name in another case? Told by any name in the folder that has a case."""
        names = set(os.listdir(self._root))
        for name in names:
            other = name.swapcase()
            if other != name:
                return other not in names and self._exists((other,))
        return False

    @cached_property
    def ignores_case(self) -> bool:
        return self._ignore_case or self._disk_ignores_case

    def true(self, names: Names, *, link: bool = False) -> Names:
        """The path of the same resource in its one spelling. `link`: the last name, not what it may lead to."""
        self.is_plain = not self._follow and not self.ignores_case
        if self.is_plain and all(map(_has_one_form, names)):
            return names
        spelt = names if not self._disk_ignores_case and self._exists(names) else self._spell(names)
        if not self._follow or self._is_mounted(spelt):
            return spelt
        led = self._led(spelt, link=link)
        return led if led == spelt or not self._mounted else self._spell(led)

    def reserved_as(self, names: Names) -> Names:
        """What two names that would be one file have in common, so that only one of them can be in the making."""
        return tuple(map(folded, names)) if self.ignores_case else names

    def is_there(self, names: Names) -> bool:
        """Is there an entry of exactly this name? Where the disk ignores case, to open it does not tell."""
        if not self._disk_ignores_case or not names:
            return True
        return names[-1] in self._list(names[:-1])

    def _spell(self, names: Names) -> Names:
        for at in self._mounted:
            if self._leads(at, names) == len(at) and not self._is_twin(names[: len(at)]):
                return at + names[len(at) :]
        found: Names = ()
        for index, name in enumerate(names):
            spelt = self._member(found, name)
            if spelt is None:
                return found + self._new(names)[index:]
            found = (*found, spelt)
        return found

    def _new(self, names: Names) -> Names:
        """The spelling of what is not there yet: of the way to a share that of the share."""
        way = max(self._mounted, key=lambda at: self._leads(at, names), default=())
        count = self._leads(way, names)
        return (*way[:count], *(normalize("NFC", name) for name in names[count:]))

    def _leads(self, at: Names, names: Names) -> int:
        """How many of `names` lead to `at`, however they are spelt?"""
        form = folded if self.ignores_case else partial(normalize, "NFC")
        pairs = zip(at, names, strict=False)
        return sum(1 for _ in takewhile(lambda pair: form(pair[0]) == form(pair[1]), pairs))

    def _is_twin(self, names: Names) -> bool:
        """Is it there exactly so, beside what is mounted? A disk that ignores case cannot have both."""
        return not self._disk_ignores_case and self._exists(names)

    def _is_mounted(self, names: Names) -> bool:
        """Is it in another share?"""
        return any(names[: len(at)] == at for at in self._mounted)

    def _member(self, folder: Names, name: str) -> str | None:
        forms = dict.fromkeys((name, normalize("NFC", name), normalize("NFD", name)))
        if not self._disk_ignores_case:
            for form in forms:
                if self._exists((*folder, form)):
                    return form
        if not self.ignores_case:
            return None
        members = self._list(folder)
        if name in members:
            return name
        wanted = folded(name)
        return min((member for member in members if folded(member) == wanted), default=None)

    def _list(self, folder: Names) -> list[str]:
        try:
            fd = self._open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in _NOWHERE:
                return []
            raise
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def _exists(self, names: Names) -> bool:
        try:
            os.close(self._open(names, os.O_PATH))
        except OSError as error:
            if error.errno in _NOWHERE:
                return False
            raise
        return True

    def _led(self, names: Names, *, link: bool) -> Names:
        """Where the links among `names` lead; what is not there yet stays as it is."""
        for count in range(len(names) - link, 0, -1):
            try:
                fd = self._open(names[:count], os.O_PATH)
            except OSError as error:
                if error.errno in _NOWHERE:
                    continue
                raise
            try:
                path, root = (os.readlink(f"/proc/self/fd/{each}") for each in (fd, self._root))
            finally:
                os.close(fd)
            top = root.rstrip("/") + "/"
            if (path + "/").startswith(top):
                return (*filter(None, path[len(top) :].split("/")), *names[count:])
        return names


def folded(name: str) -> str:
    """What is equal for names that differ in case or in Unicode form alone. One letter stays one letter: "ß" is not
    "SS", as on Windows."""
    name = normalize("NFC", name)
    return name.upper() if name.isascii() else "".join(map(_upper, name))


def _upper(letter: str) -> str:
    upper = letter.upper()
    return upper if len(upper) == 1 else letter


def _has_one_form(name: str) -> bool:
    return name.isascii() or normalize("NFC", name) == normalize("NFD", name)
