"""Access: from an Authorization field to who is asking, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from davserver.access.accounts import Accounts
from davserver.access.basic import challenge, credentials
from davserver.access.permissions import READ_ONLY, READ_WRITE
from davserver.protocol.errors import Unauthorized
from davserver.protocol.locks import ANYBODY, Principal
from davserver.protocol.messages import Permissions


class Anonymous(Enum):
    """What somebody may do who does not log in."""

    NOTHING = "none"
    READ = "ro"
    WRITE = "rw"


@dataclass(frozen=True, slots=True)
class Identity:
    principal: Principal
    permissions: Permissions


_ANYBODY = {
    Anonymous.NOTHING: None,
    Anonymous.READ: Identity(ANYBODY, READ_ONLY),
    Anonymous.WRITE: Identity(ANYBODY, READ_WRITE),
}

#: Who asks for OPTIONS without a login: nobody in particular, told what the server can do.
STRANGER = Identity(ANYBODY, READ_WRITE)


class Access:
    """Logins of one server."""

    def __init__(self, accounts: Accounts, anonymous: Anonymous, realm: str) -> None:
        self._accounts = accounts
        self._anybody = _ANYBODY[anonymous]
        self._realm = realm

    def identify(self, authorization: str | None, now: float) -> Identity | None:
        """Who is asking; None when nobody may do anything without a login. Raises nothing, whatever the field holds."""
        login = credentials(authorization) if authorization is not None and len(self._accounts) else None
        if login is not None:
            principal = self._accounts.verify(*login, now)
            return None if principal is None else Identity(principal, READ_WRITE)
        return self._anybody

    def could_be_more(self, identity: Identity) -> bool:
        """Might a login allow what this identity may not do?"""
        return identity.principal.is_anonymous and len(self._accounts) > 0

    def unauthorized(self) -> Unauthorized:
        """The answer to somebody who must log in first."""
        return Unauthorized("Log in with a user name and a password.", [challenge(self._realm)])
