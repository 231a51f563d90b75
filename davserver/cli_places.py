"""Places of a command line: which resource a path means that somebody types, for the server that goes with the state.

What is locked, or given away, under any other name than the one on the disk is not locked, and leads nowhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from davserver.cli_words import path_of
from davserver.protocol.errors import Refused
from davserver.protocol.paths import DavPath
from davserver.settings import Settings, SettingsError
from davserver.storage.share import Shares


@dataclass(frozen=True)
class Places:
    """Paths of one server. `shares`: those of the settings whose folders are there."""

    settings: Settings
    shares: Shares

    def find(self, text: str) -> DavPath:
        """The one path of the resource, be it there or not. Raises SettingsError where nobody can tell it, Refused for
        what is the server's own."""
        path = path_of(text)
        if path.is_root:
            return path
        mounts = {DavPath.from_key(at): share.folder for at, share in self.settings.shares.items()}
        if not mounts:
            raise SettingsError(f"Say what is served, with -c FILE or --directory DIR, to find {text!r} in it.")
        around = max((at for at in mounts if at.contains(path)), key=lambda at: len(at.segments), default=None)
        if around is None:
            located = self.shares.locate(path)
            if not any(located.contains(at) for at in mounts):
                raise SettingsError(f"There is no share at {text!r}; there are: {', '.join(sorted(map(str, mounts)))}.")
            return located
        if around == path:
            return path
        if not os.path.isdir(mounts[around]):
            raise SettingsError(
                f"The folder of share {around}, {mounts[around]}, is not there, and with it what {text!r} is called on "
                f"the disk; {around} itself can be named."
            )
        return self.shares.locate(path)

    def spellings(self, text: str) -> tuple[DavPath, ...]:
        """What a lock may have as its path that is meant: also the path as it is typed, since what is locked may have
        gone, and its folder may be away. Raises SettingsError for what is no path."""
        path = path_of(text)
        try:
            return tuple(dict.fromkeys((path, self.find(text))))
        except (SettingsError, Refused):
            return (path,)
