"""The commands `user`, `app-password` and `hash-password`. A running server knows of a change within a second.

Who may write the file of users, or the state folder, may do this. Passwords are asked for, or read from a pipe; never
taken from the command line, where everybody on the machine sees them.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from davserver.cli_several import to_each
from davserver.cli_words import duration, list_number
from davserver.placement import state_folder
from davserver.protocol.moments import iso
from davserver.settings import Settings, SettingsError, parse_users

if TYPE_CHECKING:
    from davserver.access.app_passwords import AppPassword, AppPasswords
    from davserver.access.users_file import Users
    from davserver.protocol.paths import DavPath

#: Gives a command its parser: (name, example, description, what it does).
Add = Callable[[str, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]
#: The settings that a command is to work with.
Load = Callable[[argparse.Namespace], Settings]


def add_user_commands(add: Add, load: Load) -> None:
    """`user add|passwd|list|remove`."""

    def command(
        name: str, example: str, description: str, run: Callable[[Settings, argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        parser = add(name, example, description, lambda arguments: run(load(arguments), arguments))
        _add_where(parser)
        return parser

    new = command(
        "add",
        "davserver user add alice --group editors",
        "Add a user to auth.users_file, with a password that is asked for, or read from a pipe.",
        _add,
    )
    new.add_argument("name", metavar="NAME")
    new.add_argument("--display-name", metavar="TEXT", default="", help="shown to others as the holder of a lock")
    new.add_argument("--group", action="append", default=[], dest="groups", metavar="GROUP", help="may come again")
    _add_generate(new)
    passwd = command("passwd", "davserver user passwd alice", "Give a user of auth.users_file a new password.", _passwd)
    passwd.add_argument("name", metavar="NAME")
    _add_generate(passwd)
    listing = command("list", "davserver user list", "List all users: of the settings and of all files.", _list)
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    remove = command(
        "remove",
        "davserver user remove alice",
        "Remove a user from auth.users_file, and revoke their app passwords. Their files and locks stay.",
        _remove,
    )
    remove.add_argument("name", metavar="NAME")


def add_app_password_commands(add: Add, load: Load) -> None:
    """`app-password create|list|revoke`."""

    def command(
        name: str, example: str, description: str, run: Callable[[Settings, AppPasswords, argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        def with_passwords(arguments: argparse.Namespace) -> int:
            settings = load(arguments)
            with _app_passwords(settings) as found:
                return run(settings, found, arguments)

        parser = add(name, example, description, with_passwords)
        _add_where(parser)
        return parser

    create = command(
        "create",
        'davserver app-password create alice "phone" --path /photos --read-only --for 90d',
        "Make a password for one device or program of a user. It is shown this once.",
        _create_app_password,
    )
    create.add_argument("user", metavar="USER")
    create.add_argument("name", metavar="NAME", help="of the device or program")
    create.add_argument("--path", default="/", metavar="PATH", help="only this, and what is below")
    create.add_argument("--read-only", action="store_true", help="nothing but reading")
    create.add_argument("--for", dest="seconds", type=duration, metavar="TIME", help="how long: 12h, 90d")
    create.add_argument("--json", action="store_true", help="as JSON, for programs")
    listing = command(
        "list", "davserver app-password list alice", "List app passwords: whose, for what, last used when.", _list_all
    )
    listing.add_argument("user", nargs="?", metavar="USER")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    revoke = command(
        "revoke", "davserver app-password revoke 7", "Take app passwords away, by their numbers in the list.", _revoke
    )
    revoke.add_argument("numbers", type=list_number, nargs="+", metavar="ID")


def add_hash_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--digest", metavar="NAME", help="also what Digest logins of this user need, for the realm of the settings"
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="(default: ./davserver.yaml, then /etc/davserver/davserver.yaml)"
    )


def hash_password_command(load: Load, arguments: argparse.Namespace) -> int:
    """Print the hash of a password, for the configuration."""
    from davserver.access.hashes import hash_password

    if arguments.digest is None:
        print(hash_password(_password(None)))
        return 0
    realm = load(arguments).auth.realm
    password = _password(arguments.digest)
    print(f'password: "{hash_password(password)}"')
    print(f"digest: [{', '.join(_digests(arguments.digest, realm, password))}]")
    return 0


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="(default: ./davserver.yaml, then /etc/davserver/davserver.yaml)"
    )
    parser.add_argument("--state", metavar="DIR", help="the state folder, as given to serve")
    parser.add_argument("--directory", metavar="DIR", help="the folder that is served, as given to serve")


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generate", action="store_true", help="make a password up and print it")


# --- users


def _add(settings: Settings, arguments: argparse.Namespace) -> int:
    with _changing(settings) as users:
        if arguments.name in users:
            raise SettingsError(
                f"There is a user {arguments.name} already; davserver user passwd changes the password."
            )
        entry: dict[str, Any] = {}
        if arguments.display_name:
            entry["display_name"] = arguments.display_name
        if arguments.groups:
            entry["groups"] = arguments.groups
        users[arguments.name] = entry
        told = _set_password(settings, entry, arguments)
    print(f"{arguments.name} may log in: that stands in {settings.auth.users_file}.{told}")
    return 0


def _passwd(settings: Settings, arguments: argparse.Namespace) -> int:
    with _changing(settings) as users:
        told = _set_password(settings, _of(users, arguments.name), arguments)
    print(f"{arguments.name} has a new password.{told}")
    return 0


def _remove(settings: Settings, arguments: argparse.Namespace) -> int:
    with _changing(settings) as users:
        _of(users, arguments.name)
        del users[arguments.name]
    revoked = 0
    if settings.state is not None or settings.shares:
        with _app_passwords(settings, needed=False) as found:
            revoked = found.revoke_all(arguments.name) if found is not None else 0
    print(f"{arguments.name} is gone{f', and {revoked} app passwords' if revoked else ''}.")
    return 0


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    from davserver.server.people import directory_of

    directory = directory_of(settings)
    accounts = [account for name in directory.names() if (account := directory.find(name)) is not None]
    if arguments.json:
        told = [
            {
                "name": account.name,
                "display_name": account.display_name or account.name,
                "groups": sorted(account.groups),
                "password": account.credential is not None,
                "digest": [algorithm.value for algorithm in account.digests],
            }
            for account in accounts
        ]
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    for account in accounts:
        groups = " ".join(f"@{group}" for group in sorted(account.groups))
        print(f"{account.name:20} {account.display_name:30} {groups}".rstrip())
    if not accounts:
        print("No users.")
    return 0


@contextmanager
def _changing(settings: Settings) -> Iterator[Users]:
    """Raises SettingsError where there is no file to keep users in, or it cannot be used."""
    from davserver.access.users_file import UsersFile

    path = settings.auth.users_file
    if path is None:
        raise SettingsError(
            "There is no file to keep users in: set auth.users_file in the configuration, like "
            "/etc/davserver/users.yaml (or write users there by hand, with `davserver hash-password`)."
        )
    try:
        with UsersFile(path, parse_users).changing() as users:
            yield users
    except OSError as error:
        raise SettingsError(f"{error.filename or path} cannot be used: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{path}: {error}.") from error


def _of(users: Users, name: str) -> dict[str, Any]:
    if name not in users:
        raise SettingsError(f"There is no user {name} in that file; it holds: {', '.join(sorted(users)) or 'nobody'}.")
    return users[name]


def _set_password(settings: Settings, entry: dict[str, Any], arguments: argparse.Namespace) -> str:
    """What is to be told of it."""
    from davserver.access.hashes import hash_password

    made_up = secrets.token_urlsafe(12) if arguments.generate else None
    password = made_up or _password(arguments.name)
    entry["password"] = hash_password(password)
    entry.pop("digest", None)
    if settings.auth.digest:
        entry["digest"] = _digests(arguments.name, settings.auth.realm, password)
    return "" if made_up is None else f" The password, shown this once: {made_up}"


def _digests(name: str, realm: str, password: str) -> list[str]:
    from davserver.access.accounts import Algorithm, ha1

    return [ha1(algorithm, name, realm, password) for algorithm in Algorithm]


def _password(name: str | None) -> str:
    """Asked for twice on a terminal, else one line of what is piped in."""
    whose = "" if name is None else f" for {name}"
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password{whose}: ")
        if password and getpass.getpass("Again: ") != password:
            raise SettingsError("The two are not the same.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise SettingsError("The password is empty.")
    return password


# --- app passwords


@contextmanager
def _app_passwords(settings: Settings, *, needed: bool = True) -> Iterator[Any]:
    """Those of the state. None where there is no state and none is `needed`."""
    from davserver.access.app_passwords import AppPasswords
    from davserver.storage.sqlite import SqliteState

    if settings.state is None and not settings.shares:
        raise SettingsError("Say which server is meant: with -c FILE, --state DIR or --directory DIR.")
    folder = state_folder(settings, os.environ)
    if not os.path.exists(os.path.join(folder, "state.db")):
        if needed:
            raise SettingsError(f"There is no state in {folder}: no server has run with these settings yet.")
        yield None
        return
    state = SqliteState(folder, durable=settings.durability == "full")
    try:
        yield AppPasswords(state)
    finally:
        state.close()


def _create_app_password(settings: Settings, passwords: AppPasswords, arguments: argparse.Namespace) -> int:
    from davserver.server.people import require_user

    require_user(settings, arguments.user)
    scope, now = _scope(settings, arguments.path), time.time()
    made, secret = passwords.create(
        arguments.user,
        arguments.name,
        now,
        scope=scope,
        read_only=arguments.read_only,
        expires=None if arguments.seconds is None else now + arguments.seconds,
    )
    if arguments.json:
        print(json.dumps({**_details(made), "password": secret}, ensure_ascii=False))
    else:
        print(f"App password {made.id} of {made.user} for {made.name}, shown this once: {secret}")
    return 0


def _scope(settings: Settings, text: str) -> DavPath:
    from davserver.cli_places import Places
    from davserver.server.compose import open_shares_there

    with ExitStack() as stack:
        shares = open_shares_there(settings, state_folder(settings, os.environ), stack)
        return Places(settings, shares).find(text if text.startswith("/") else f"/{text}")


def _list_all(_: Settings, passwords: AppPasswords, arguments: argparse.Namespace) -> int:
    found = passwords.list(arguments.user)
    if arguments.json:
        print(json.dumps([_details(password) for password in found], indent=2, ensure_ascii=False))
        return 0
    now = time.time()
    for password in found:
        scope = f"{password.scope}{' read-only' if password.read_only else ''}"
        used = "never used" if password.used is None else f"used {iso(password.used)} from {password.used_from or '-'}"
        end = (
            ""
            if password.expires is None
            else f"  {'until' if password.is_valid(now) else 'ended'} {iso(password.expires)}"
        )
        print(f"{password.id:5}  {password.user:16} {password.name:24} {scope:20} {used}{end}")
    if not found:
        print("No app passwords.")
    return 0


def _revoke(_: Settings, passwords: AppPasswords, arguments: argparse.Namespace) -> int:
    def revoke(number: int) -> None:
        revoked = passwords.revoke(number)
        print(f"App password {number} of {revoked.user} for {revoked.name} is revoked.")

    return to_each(arguments.numbers, revoke)


def _details(password: AppPassword) -> dict[str, Any]:
    """For programs; what does not apply is absent."""
    told = {
        "id": password.id,
        "user": password.user,
        "name": password.name,
        "path": password.scope.key,
        "read_only": password.read_only,
        "created": iso(password.created),
        "expires": None if password.expires is None else iso(password.expires),
        "last_used": None if password.used is None else iso(password.used),
        "last_used_from": password.used_from,
    }
    return {name: value for name, value in told.items() if value is not None}
