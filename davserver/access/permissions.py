"""What a principal may do where. Implementations of `protocol.messages.Permissions`."""

from __future__ import annotations

from dataclasses import dataclass

from davserver.protocol.messages import Action, Permissions, Rights
from davserver.protocol.paths import DavPath


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The same at every path."""

    actions: Rights

    def rights(self, path: DavPath) -> Rights:  # noqa: ARG002
        return self.actions

    def allows(self, action: Action, path: DavPath) -> bool:  # noqa: ARG002
        return action in self.actions

    def leads(self, path: DavPath) -> bool:  # noqa: ARG002
        return bool(self.actions)

    def whole(self, path: DavPath) -> Rights | None:  # noqa: ARG002
        return self.actions


READ_WRITE = Everywhere(tuple(Action))
READ_ONLY = Everywhere((Action.READ,))


@dataclass(frozen=True, slots=True)
class _Strangers(Everywhere):
    def leads(self, path: DavPath) -> bool:  # noqa: ARG002
        return False


#: Of those who ask what can be done here, and have not said who they are: anything but looking.
STRANGERS = _Strangers((Action.WRITE, Action.CREATE, Action.DELETE, Action.LOCK))


@dataclass(frozen=True, slots=True)
class Scoped:
    """What an app password leaves of the permissions of its user."""

    inner: Permissions
    scope: DavPath
    read_only: bool

    def rights(self, path: DavPath) -> Rights:
        return self._left(self.inner.rights(path)) if self.scope.contains(path) else ()

    def allows(self, action: Action, path: DavPath) -> bool:
        return action in self.rights(path)

    def leads(self, path: DavPath) -> bool:
        if self.scope.contains(path):
            return self.inner.leads(path)
        return path.contains(self.scope)

    def whole(self, path: DavPath) -> Rights | None:
        if self.scope.contains(path):
            whole = self.inner.whole(path)
            return None if whole is None else self._left(whole)
        return None if path.contains(self.scope) else ()

    def _left(self, rights: Rights) -> Rights:
        return tuple(action for action in rights if action is Action.READ) if self.read_only else rights
