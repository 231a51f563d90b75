"""Caller: who asks the API, and what the API lets them do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from davserver.protocol.errors import NotFound, NotPermitted, Unauthorized
from davserver.protocol.holder import Reveal, Viewer, person_name
from davserver.protocol.locks import Lock, LockPolicy, Principal, covers
from davserver.protocol.messages import Action, Client, Permissions, Reach
from davserver.protocol.paths import DavPath


@dataclass(frozen=True, slots=True)
class Caller:
    """The same principal, with the same permissions, that a WebDAV request with this login has."""

    principal: Principal
    permissions: Permissions
    client: Client
    #: The answer where a login might allow more; None: none would.
    unauthorized: Unauthorized | None = None
    is_administrator: bool = False
    #: One of those who may break any lock and set maintenance: administrators, and whom locks.breakers names.
    breaks: bool = False
    #: How much of the principal the login stands for.
    reach: Reach = Reach.WHOLE
    #: Users may have app passwords here.
    has_app_passwords: bool = False
    #: The page that the request comes from is one of those that the settings allow (CORS).
    trusts_page: bool = False
    reveal: Reveal = Reveal.USERS
    #: Who asks, some time later, with what they may do then. Raises Unauthorized where their login counts no more.
    again: Callable[[], Caller] = field(kw_only=True)

    @property
    def viewer(self) -> Viewer:
        return Viewer(self.principal, self.reveal, self.client.agent)

    def may(self, action: Action, path: DavPath) -> bool:
        return self.permissions.allows(action, path)

    def sees(self, lock: Lock, asked: DavPath | None = None) -> bool:
        """Is this lock any of the caller's business? It is where the caller may read what it locks, or where it
        protects what was asked for, which the caller may read. And where it is their own, or one of those that they
        may break wherever it is: they need not read a share to lock it for maintenance, and must get out of that."""
        if self.breaks or (self.reach.has_powers and self.owns(lock)):
            return True
        return self.may(Action.READ, lock.root) or (
            asked is not None and covers(lock, asked) and self.may(Action.READ, asked)
        )

    def require_sees(self, lock: Lock) -> Lock:
        """Raises NotFound: what somebody may not read is not there for them."""
        if not self.sees(lock):
            raise NotFound(f"There is no lock {lock.id}.")
        return lock

    def owns(self, lock: Lock) -> bool:
        """Where nobody logs in everybody is one principal, and nobody's lock is theirs by that alone."""
        return lock.principal == self.principal and not self.principal.is_anonymous

    def knows(self, name: str) -> bool:
        """May the caller be told what somebody of that name holds?"""
        return person_name(Principal(name, name), self.viewer) is not None

    def may_break(self, lock: Lock, policy: LockPolicy, now: float) -> bool:
        may_write = self.may(Action.WRITE, lock.root)
        return policy.may_break(lock, self.principal, now, may_write=may_write, breaks=self.breaks)

    def may_end(self, lock: Lock, policy: LockPolicy, now: float) -> bool:
        """Is it theirs, or may they break it?"""
        own = self.owns(lock) and self.reach is not Reach.READING
        return own or self.may_break(lock, policy, now)

    def require_changing(self) -> None:
        """Raises NotPermitted where the login only reads."""
        if self.reach is Reach.READING:
            raise NotPermitted("This app password may only read.")

    def require_powers(self, what: str) -> None:
        """Raises NotPermitted where the login does not give what its user may do beside their permissions."""
        if not self.reach.has_powers:
            raise NotPermitted(f"{what} is not for app passwords that are limited to a path or to reading.")

    def require_administrator(self, what: str) -> None:
        """Raises NotPermitted for everybody but those whom the settings name."""
        self.require_powers(what)
        if not self.breaks:
            raise NotPermitted(f"{what} is for the users that administrators or locks.breakers names.")
