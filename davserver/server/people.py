"""From settings to who may log in, and who may do what."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping

from davserver.access.access import Access
from davserver.access.account_files import AccountFile, Parse, htdigest, htpasswd
from davserver.access.accounts import Account, AccountSource, Algorithm, DigestSecret, Directory, Listed
from davserver.access.app_passwords import AppPasswords
from davserver.access.digest import Digest
from davserver.access.hashes import Credential, PasswordHash
from davserver.access.rules import ANONYMOUS, AUTHENTICATED, EVERYONE, Rule, Rules, parse_rights
from davserver.access.throttle import Throttle
from davserver.protocol.locks import Principal
from davserver.protocol.paths import DavPath
from davserver.server.http.proxies import TrustedProxies
from davserver.settings import Settings, SettingsError, UserSettings, parse_users
from davserver.storage.nonces import Nonces
from davserver.storage.shared_key import shared_key
from davserver.storage.state import State

_log = logging.getLogger("davserver")

_ANYBODY_MAY = {"none": "none", "ro": "r", "rw": "rw"}


class People:
    """What logins of one server keep between one set of settings and the next."""

    def __init__(self, folder: str, state: State, clock: Callable[[], float]) -> None:
        self._folder, self._state, self._clock = folder, state, clock
        self.app_passwords = AppPasswords(state)
        self._nonces: Nonces | None = None

    def close(self) -> None:
        if self._nonces is not None:
            self._nonces.close()

    def access(self, settings: Settings) -> Access:
        """Raises SettingsError where a file of accounts cannot be used, or two users would have one folder."""
        auth = settings.auth
        directory, rules = directory_of(settings), rules_of(settings)
        if pair := rules.alike(directory.names()):
            raise SettingsError(
                f"The users {pair[0]} and {pair[1]} would share what {{user}} stands for in a share in which case does "
                "not matter (case_insensitive); give one of them another name."
            )
        return Access(
            directory,
            rules,
            realm=auth.realm,
            offer_basic=auth.basic,
            digest=self._digest(directory, auth.realm) if auth.digest else None,
            proxy_user_header=auth.proxy_user_header,
            attempts=self._throttle(settings) if auth.throttle else None,
            app_passwords=self.app_passwords if auth.app_passwords and auth.basic and directory else None,
            force_windows=auth.force_login == "windows",
            administrators=settings.administrators,
            welcome=_welcome(settings),
        )

    def _throttle(self, settings: Settings) -> Throttle:
        auth = settings.auth
        return Throttle(
            self._state,
            ban_after=auth.ban_after,
            ban_time=auth.ban_time,
            key=shared_key(self._state, "throttle"),
            shared=TrustedProxies(settings.trusted_proxies).trusts,
        )

    def _digest(self, directory: Directory, realm: str) -> Digest:
        if not directory.algorithms():
            _log.warning("auth.digest is on, and no user has what it needs; `davserver user passwd NAME` makes it")
        elif others := [name for name in directory.names() if not (directory.find(name) or Account("")).digests]:
            _log.warning("auth.digest is on, and cannot be used by: %s", ", ".join(others[:20]))
        if self._nonces is None:
            self._nonces = Nonces(self._folder, self._clock())
        return Digest(directory, self._nonces, realm)


def directory_of(settings: Settings) -> Directory:
    """All accounts there are. Raises SettingsError."""
    auth = settings.auth

    def users(text: str) -> Mapping[str, Account]:
        return {account.name: account for account in accounts_of(parse_users(text), auth.realm)}

    files: list[tuple[str, str | None, Parse]] = [
        ("users_file", auth.users_file, users),
        ("htpasswd_file", auth.htpasswd_file, htpasswd),
        ("htdigest_file", auth.htdigest_file, htdigest(auth.realm)),
    ]
    sources: list[AccountSource] = [Listed(accounts_of(settings.users, auth.realm))] if settings.users else []
    for name, path, parse in files:
        if path is not None:
            try:
                sources.append(AccountFile(path, parse))
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise SettingsError(f"auth.{name}: {path} cannot be used: {why}.") from error
    return Directory(sources, settings.groups, proxied=auth.proxy_user_header is not None)


def require_user(settings: Settings, name: str) -> Principal:
    """Somebody of that name, who can log in. Raises SettingsError."""
    directory = directory_of(settings)
    if directory.find(name) is None and settings.auth.proxy_user_header is None:
        raise SettingsError(f"There is no user {name}; davserver user list shows those that there are.")
    return directory.vouched(name).principal


def accounts_of(users: Mapping[str, UserSettings], realm: str) -> Iterable[Account]:
    for name, user in users.items():
        digests = {Algorithm.of(text): text for text in user.digest}
        credential: Credential | None = None
        if user.password is not None:
            credential = PasswordHash.parse(user.password)
        elif digests:
            algorithm = min(digests, key=list(Algorithm).index)
            credential = DigestSecret(name, realm, algorithm, digests[algorithm])
        yield Account(name, credential, user.display_name, frozenset(user.groups), digests)


def rules_of(settings: Settings) -> Rules:
    """The rules of the settings, and those that follow from its shares.

    In a share with a folder for each user that folder is its user's alone, whatever is said of folders above it; only
    rules about paths inside the share come before.
    """
    explicit = [
        Rule(rule.path, frozenset(rule.who), parse_rights(rule.allow, lock=rule.lock)) for rule in settings.rules
    ]
    if not explicit:
        explicit = [
            Rule("/", frozenset({AUTHENTICATED}), parse_rights("rw")),
            Rule("/", frozenset({ANONYMOUS}), parse_rights(_ANYBODY_MAY[settings.allows_anonymous])),
        ]
    for path, share in settings.shares.items():
        if share.for_each_user:
            at = DavPath.from_key(path)
            inside = [rule for rule in explicit if at.contains(DavPath.from_key(rule.path))]
            own = Rule(f"{at.key.rstrip('/')}/{{user}}", frozenset({AUTHENTICATED}), parse_rights("rw"))
            rest = Rule(at.key, frozenset({EVERYONE}), parse_rights("none"))
            explicit = [*inside, own, rest, *(rule for rule in explicit if rule not in inside)]
    folded = [DavPath.from_key(path) for path, share in settings.shares.items() if share.case_insensitive]
    return Rules(explicit, folded=folded)


def _welcome(settings: Settings) -> Callable[[str], None]:
    """Makes the folders of somebody who logs in, where shares say so."""
    folders = [share.folder for share in settings.shares.values() if share.for_each_user and share.create]

    def welcome(name: str) -> None:
        if "/" in name or name in (".", "..", "-"):
            return
        for folder in folders:
            try:
                os.mkdir(os.path.join(folder, name), mode=0o700)
            except FileExistsError:
                pass
            except OSError as error:
                _log.error("the folder of %s in %s cannot be made: %s", name, folder, error.strerror)

    return welcome
