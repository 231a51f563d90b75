"""Hold: the proof that locks were checked, which every change of files or properties demands."""

from __future__ import annotations

from typing import Protocol

from davserver.protocol.paths import DavPath


class Unproven(RuntimeError):
    """A change was asked for without the proof. A fault of ours, never of a client."""


class Hold(Protocol):
    def require(self, path: DavPath) -> None:
        """Returns when the locks on `path` were checked in this hold; raises Unproven otherwise."""
