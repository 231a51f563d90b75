"""Access: from the credentials of a request to who is asking, and what they may do.

A login is verified once and then remembered for a while by a keyed hash of its field, together with all that it means:
a request with a login that is known costs one hash and one look into a dictionary. When an account changes or an app
password is revoked, it is verified again.

What was right once is verified again without asking whether this may be tried, where it comes from the same place:
others there who guess stop nobody who has logged in. From elsewhere it is an attempt like every other, or somebody
who is banned would be told by it what is right.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol

from davserver.access import basic
from davserver.access.accounts import Account, Directory
from davserver.access.hashes import Credential, encoded
from davserver.access.memory import Known, Memory
from davserver.access.permissions import STRANGERS
from davserver.access.rules import Rules
from davserver.access.throttle import network_of
from davserver.names import composed, require_user_name
from davserver.protocol.errors import Unauthorized
from davserver.protocol.locks import ANYBODY, Principal
from davserver.protocol.messages import Headers, Permissions, Reach
from davserver.protocol.paths import ROOT

#: Seconds that a verified login is remembered: argon2 is paid once, not with every request.
CACHE_SECONDS = 300.0
#: Seconds that a wrong one is: a drive that is mounted with a wrong password asks several times a second.
WRONG_SECONDS = 60.0
#: Seconds between two looks at whether accounts have changed.
LOOK_SECONDS = 1.0
#: Programs of Windows, which never ask their user for a login where everybody may read.
_WINDOWS = ("Microsoft-WebDAV-MiniRedir", "Microsoft Office", "DavClnt")

_log = logging.getLogger("davserver.audit")


@dataclass(frozen=True, slots=True)
class Identity:
    principal: Principal
    permissions: Permissions
    reach: Reach = Reach.WHOLE


#: Who asks for OPTIONS without a login: nobody in particular, told what the server can do, and nothing about what is
#: there.
STRANGER = Identity(ANYBODY, STRANGERS)


class Asking(NamedTuple):
    """A request, as far as a login depends on it."""

    method: str
    #: The request-target as it came.
    target: str
    headers: Headers
    #: Of the client; "" where it is not known.
    address: str
    #: It came through one of our proxies.
    proxied: bool
    now: float


class Login(NamedTuple):
    """Somebody's login turned out to be right."""

    account: Account
    #: When it must be verified again, whatever happens.
    until: float = float("inf")
    #: Set where it was made with an app password.
    used: Used | None = None


class Used(Protocol):
    """An app password in use."""

    @property
    def until(self) -> float:
        """When it ends."""

    @property
    def reach(self) -> Reach: ...

    def narrowed(self, permissions: Permissions) -> Permissions: ...

    def touch(self, now: float, address: str) -> None: ...


class AppPasswordLogins(Protocol):
    def login(self, name: str, password: str, now: float) -> Used | None:
        """Raises Unavailable where nobody can tell now."""

    def changed(self) -> bool: ...


class DigestLogins(Protocol):
    def challenges(self, now: float, *, stale: bool) -> list[str]: ...

    def verify(self, field: str, asking: Asking) -> DigestResult: ...


class DigestResult(NamedTuple):
    """`account`: set where the login is right. `stale`: it is, but for its nonce. `name`: as it was given."""

    name: str
    nonce: str = ""
    account: Account | None = None
    stale: bool = False


class Attempts(Protocol):
    def attempt(self, address: str, name: str, guess: bytes | None, now: float) -> AbstractContextManager[Attempt]:
        """Raises TooManyRequests. `guess`: all that was sent, of which nothing is kept but a keyed hash; None: what was
        sent does not tell which password it was made of, as with Digest."""


class Attempt(Protocol):
    #: It is worth a line in the log, if it fails: these credentials were not known to be wrong before.
    is_new: bool

    def succeeded(self) -> None: ...


class Access:
    """Logins of one server."""

    def __init__(
        self,
        directory: Directory,
        rules: Rules,
        *,
        realm: str = "davserver",
        offer_basic: bool = True,
        digest: DigestLogins | None = None,
        attempts: Attempts | None = None,
        app_passwords: AppPasswordLogins | None = None,
        proxy_user_header: str | None = None,
        force_windows: bool = False,
        administrators: Iterable[str] = (),
        welcome: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`welcome` is told the name of whoever logs in, once in a while."""
        self.directory, self._rules = directory, rules
        self._realm, self._offer_basic = realm, offer_basic
        self._digest, self._attempts, self._app_passwords = digest, attempts, app_passwords
        self._proxy_user_header = None if proxy_user_header is None else proxy_user_header.lower()
        self._force_windows = force_windows
        self._administrators = tuple(administrators)
        self._welcome = welcome
        anybody = rules.anonymous()
        self._anybody = Identity(ANYBODY, anybody) if anybody.leads(ROOT) else None
        self._has_logins = bool(directory)
        self._memory = Memory()
        self._looking = threading.Lock()
        #: Each takes 64 MiB and a core for as long as it lasts.
        self._hashing = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))
        self._looked = float("-inf")

    def identify(self, asking: Asking) -> Identity:
        """Who is asking. Raises Unauthorized and TooManyRequests, and for an app password Unavailable while the state
        is away; nothing else, whatever the fields hold."""
        field = asking.headers.get("authorization")
        if self._proxy_user_header is not None and asking.proxied:
            name = asking.headers.get(self._proxy_user_header)
            if name:
                return self._vouched(name, asking)
        if field is None or not self._has_logins:
            return self._nobody(asking)
        now = asking.now
        if not 0 <= now - self._looked < LOOK_SECONDS:
            self._look(now)
        key = self._memory.keyed(encoded(f"\0field\0{asking.address}\0{field}"))
        known = self._memory.fields.get(key)
        if known is not None and known.until > now:
            if known.used is not None:
                known.used.touch(now, asking.address)
            return known.identity
        return self._logged_in(field, key, asking)

    def identify_again(self, asking: Asking) -> Identity:
        """Who asks by now (`asking.now`) with a request that `identify` has let in before. Raises what that raises."""
        field = asking.headers.get("authorization", "")
        try:
            return self.identify(asking)
        except Unauthorized:
            # With Digest it is right once (RFC 7616 §3.4); that it was used is all that may be wrong with it now.
            result = self._digest.verify(field, asking) if self._digest is not None else DigestResult("")
            account = self.directory.find(result.name) if result.stale else None
            if account is None:
                raise
            return self._identity(account)

    def could_be_more(self, identity: Identity) -> bool:
        """Might a login allow what this identity may not do?"""
        return identity.principal.is_anonymous and self._has_logins

    def is_administrator(self, identity: Identity) -> bool:
        """May they do what is for administrators, with this login?"""
        principal = identity.principal
        if principal.is_anonymous or not identity.reach.has_powers:
            return False
        return self.belongs(principal.name, self._administrators)

    @property
    def has_app_passwords(self) -> bool:
        """May users have them?"""
        return self._app_passwords is not None

    def belongs(self, name: str, wanted: Iterable[str]) -> bool:
        """Is the user of that name one of these users and @groups?"""
        groups = {f"@{group}" for group in self.directory.vouched(name).groups}
        return any(each in groups or (each == name and not each.startswith("@")) for each in wanted)

    def unauthorized(self, now: float, *, stale: bool = False) -> Unauthorized:
        """The answer to somebody who must log in first. The strongest way comes first: RFC 7616 §3.7, and Windows
        takes the first that it knows."""
        challenges = [] if self._digest is None else self._digest.challenges(now, stale=stale)
        if self._offer_basic or not challenges:
            challenges.append(basic.challenge(self._realm))
        return Unauthorized("Log in with a user name and a password.", challenges)

    # --- one after another

    def _nobody(self, asking: Asking) -> Identity:
        if self._anybody is None:
            raise self.unauthorized(asking.now)
        agent = asking.headers.get("user-agent", "") if self._force_windows and self._has_logins else ""
        if agent.startswith(_WINDOWS):
            raise self.unauthorized(asking.now)
        return self._anybody

    def _vouched(self, field: str, asking: Asking) -> Identity:
        """A proxy has verified who it is. Raises Unauthorized for a name that nobody can have."""
        now = asking.now
        if not 0 <= now - self._looked < LOOK_SECONDS:
            self._look(now)
        key = self._memory.keyed(b"\0proxy\0" + encoded(field))
        known = self._memory.fields.get(key)
        if known is not None and known.until > now:
            return known.identity
        name = composed(basic.text_of(field.encode("latin-1", "replace")).strip())
        try:
            require_user_name(name)
        except ValueError:
            raise self.unauthorized(now) from None
        # Nor one that no path of theirs could have, nor what two fields of that name make.
        if "/" in name or "," in name:
            raise self.unauthorized(now)
        generation = self._memory.generation
        identity = self._identity(self.directory.vouched(name))
        self._memory.put(self._memory.fields, key, Known(identity, now + CACHE_SECONDS), generation)
        return identity

    def _logged_in(self, field: str, key: bytes, asking: Asking) -> Identity:
        if self._digest is not None and field.lstrip()[:7].lower() == "digest ":
            return self._by_digest(self._digest, field, asking)
        login = basic.credentials(field) if self._offer_basic else None
        if login is None:
            return self._nobody(asking)
        return self._by_password(*login, key, asking)

    def _by_digest(self, digest: DigestLogins, field: str, asking: Asking) -> Identity:
        now, memory, generation = asking.now, self._memory, self._memory.generation
        result = digest.verify(field, asking)
        # Of somebody who has logged in from there with that nonce before, nobody needs to ask whether they may try.
        key = memory.keyed(encoded(f"\0digest\0{asking.address}\0{result.nonce}\0{result.name}"))
        known = memory.sessions.get(key) if result.account is not None or result.stale else None
        if known is not None and known.until > now and not result.stale:
            return known.identity
        with self._attempt(asking, result.name, None, was_right=known is not None) as attempt:
            if result.account is None and not result.stale:
                self._fail(result.name, asking, "digest", attempt)
            if attempt is not None:
                attempt.succeeded()
        if result.account is None:
            raise self.unauthorized(now, stale=True)
        identity = self._identity(result.account)
        memory.put(memory.sessions, key, Known(identity, now + CACHE_SECONDS), generation)
        return identity

    def _by_password(self, name: str, password: str, field: bytes, asking: Asking) -> Identity:
        """`field`: what it is remembered by, as it was spelt."""
        now, memory, generation = asking.now, self._memory, self._memory.generation
        guess = encoded(f"{len(name)}:{name}{password}")
        key, place = memory.keyed(b"\0basic\0" + guess), network_of(asking.address) or asking.address
        known = memory.passwords.get(key)
        if known is None or known.until <= now or place not in known.places:
            if memory.is_wrong(key, now):
                raise self.unauthorized(now)
            account = self.directory.find(name)
            # Those who wait for their turn are no attempts yet: many may come at once behind one address.
            with self._hashing:
                known = memory.passwords.get(key)  # others who came with the same have been verified meanwhile
                if memory.is_wrong(key, now):
                    raise self.unauthorized(now)
                was_right = known is not None and place in known.places
                with self._attempt(asking, name, guess, was_right=was_right) as attempt:
                    if known is None or known.until <= now:
                        login = self._verified(account, name, password, now)
                        if login is None:
                            memory.put_wrong(key, now + WRONG_SECONDS, generation)
                            self._fail(name, asking, "basic", attempt)
                        identity, until = (
                            self._identity(login.account, login.used),
                            min(now + CACHE_SECONDS, login.until),
                        )
                        known = Known(identity, until, login.used, () if known is None else known.places)
                    if attempt is not None:
                        attempt.succeeded()
                known = known.seen_from(place)
                memory.put(memory.passwords, key, known, generation)
        memory.put(memory.fields, field, known, generation)
        if known.used is not None:
            known.used.touch(now, asking.address)
        return known.identity

    def _verified(self, account: Account | None, name: str, password: str, now: float) -> Login | None:
        """An unknown name costs what a wrong password costs."""
        owner = self.directory.vouched(name) if account is None and self._proxy_user_header else account
        if self._app_passwords is not None and owner is not None:
            # Also of users whom only a proxy knows: it is how their programs log in.
            used = self._app_passwords.login(name, password, now)
            if used is not None:
                return Login(owner, used.until, used)
        credential: Credential | None = None if account is None else account.credential
        right = (credential or self.directory.decoy(name)).matches(encoded(password))
        return Login(account) if account is not None and credential is not None and right else None

    def _attempt(
        self, asking: Asking, name: str, guess: bytes | None, *, was_right: bool
    ) -> AbstractContextManager[Attempt | None]:
        """`was_right`: from there it has been."""
        if was_right or self._attempts is None:
            return nullcontext()
        return self._attempts.attempt(asking.address, name, guess, asking.now)

    def _fail(self, name: str, asking: Asking, scheme: str, attempt: Attempt | None) -> NoReturn:
        if attempt is None or attempt.is_new:
            _log.warning("%s", failure_line(name, asking.address, scheme))
        raise self.unauthorized(asking.now)

    def _identity(self, account: Account, used: Used | None = None) -> Identity:
        self._welcome(account.name)
        permissions = self._rules.of(account.name, account.groups)
        if used is None:
            return Identity(account.principal, permissions)
        return Identity(account.principal, used.narrowed(permissions), used.reach)

    def _look(self, now: float) -> None:
        with self._looking:
            self._looked = now
            accounts = self.directory.changed()
            app_passwords = self._app_passwords is not None and self._app_passwords.changed()
            if accounts:
                _log.info("accounts have changed")
            if app_passwords:
                _log.info("app passwords have been made or revoked")
            if accounts or app_passwords:
                # Anybody may make and revoke as often as they like: whoever logs in with their own password goes on.
                self._memory.expire(own_passwords=accounts)


def failure_line(name: str, address: str, scheme: str) -> str:
    """What is logged of a failed login. Programs read it (fail2ban): its form does not change. A name is escaped, so
    that nobody writes lines of his own into the log."""
    return f"login failed: address={address or '-'} scheme={scheme} user={quoted(name)}"


def quoted(text: str) -> str:
    """As it stands in the log, on one line and with an end that it cannot make itself."""
    shown = text[:100].encode("unicode_escape").decode("ascii").replace('"', "\\x22")
    return f'"{shown}"'
