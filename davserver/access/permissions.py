"""What a principal may do where. Implementations of `protocol.messages.Permissions`."""

from __future__ import annotations

from dataclasses import dataclass

from davserver.protocol.messages import Action
from davserver.protocol.paths import DavPath


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The same actions at every path."""

    #: Few, and compared by identity: an Enum's own hash is slow.
    actions: tuple[Action, ...]

    def allows(self, action: Action, path: DavPath) -> bool:  # noqa: ARG002
        return action in self.actions


READ_WRITE = Everywhere(tuple(Action))
READ_ONLY = Everywhere((Action.READ,))
