"""The command line: argv → settings → act. The only place that prints or exits.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import difflib
import getpass
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from davserver import __version__
from davserver.banner import banner
from davserver.cli_health import add_health_command
from davserver.cli_locks import add_lock_commands, add_maintenance_commands
from davserver.cli_people import (
    add_app_password_commands,
    add_hash_password,
    add_user_commands,
    hash_password_command,
)
from davserver.cli_state import add_state_commands
from davserver.placement import require_startable, state_folder
from davserver.settings import Settings, SettingsError, load

_MASK = "********"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    if not sys.platform.startswith("linux"):
        print("davserver runs on Linux; on other systems run it in a container.", file=sys.stderr)
        return 1
    parser, commands = command_line()
    words = sys.argv[1:] if argv is None else argv
    if words[:1] not in [[name] for name in (*commands, "-h", "--help", "--version")]:
        words = ["serve", *words]  # what is meant where no command is named: `davserver ~/share`
    arguments = parser.parse_args(words)
    command: Callable[[argparse.Namespace], int] = arguments.command
    from davserver.protocol.errors import Refused
    from davserver.storage.state import StateError

    try:
        return command(arguments)
    except KeyboardInterrupt:
        return 130  # Ctrl-C before there was anything to stop
    except (SettingsError, StateError, Refused) as error:
        print(f"davserver: {error}", file=sys.stderr)
        return 1


def command_line() -> tuple[argparse.ArgumentParser, Sequence[str]]:
    """The parser, and the names of the commands it knows."""
    parser = argparse.ArgumentParser(prog="davserver")
    _describe(parser, "davserver serve ~/share", "A WebDAV file server whose locks never lie.")
    parser.add_argument("--version", action="version", version=f"davserver {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def group(commands: Any) -> Callable[..., argparse.ArgumentParser]:
        def add(
            name: str, example: str, description: str, run: Callable[[argparse.Namespace], int] | None = None
        ) -> argparse.ArgumentParser:
            command: argparse.ArgumentParser = commands.add_parser(name, help=description)
            _describe(command, example, description)
            if run is not None:
                command.set_defaults(command=run)
            return command

        return add

    add = group(commands)

    serve = add("serve", "davserver serve ~/share", "Serve a folder until SIGTERM or Ctrl-C.", _serve)
    serve.add_argument("directory", nargs="?", metavar="DIR", help="folder to serve at /")
    serve.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine only)")
    serve.add_argument("--port", type=int, help="port to listen on (default: 8080; 0: any that is free)")
    serve.add_argument("--anonymous", choices=("none", "ro", "rw"), help="what is allowed without a login")
    serve.add_argument("-u", "--user", metavar="NAME", help="a user; asks for the password, or makes one up")
    serve.add_argument("--state", metavar="DIR", help="folder for locks and properties, outside what is served")
    serve.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="(default: info)")
    _add_file(serve)
    serve.add_argument("--debug", action="store_true", help="show tracebacks of errors at the start")

    check = add(
        "check-config",
        "davserver check-config -c davserver.yaml",
        "Validate the configuration and print what is in force, secrets masked.",
        _check_config,
    )
    _add_file(check)
    users = add("user", "davserver user add alice", "Add, list and remove users, and change their passwords.")
    add_user_commands(group(users.add_subparsers(metavar="COMMAND", required=True)), _settings_of)
    apps = add("app-password", "davserver app-password list", "Make, list and revoke passwords for single devices.")
    add_app_password_commands(group(apps.add_subparsers(metavar="COMMAND", required=True)), _settings_of)
    hashing = add(
        "hash-password",
        "davserver hash-password",
        "Ask for a password (or read it from a pipe) and print its hash for the configuration.",
        lambda arguments: hash_password_command(_settings_of, arguments),
    )
    add_hash_password(hashing)
    locks = add("locks", "davserver locks list", "List, show and break locks.")
    add_lock_commands(group(locks.add_subparsers(metavar="COMMAND", required=True)), _settings_of)
    maintenance = add(
        "maintenance", 'davserver maintenance on --reason "backup" --for 1h', "Stop all changes for a while."
    )
    add_maintenance_commands(group(maintenance.add_subparsers(metavar="COMMAND", required=True)), _settings_of)
    state = add("state", "davserver state check ~/share", "Check, mend, back up and restore locks and properties.")
    add_state_commands(group(state.add_subparsers(metavar="COMMAND", required=True)), _settings_of)
    add_health_command(add, _settings_of)
    version = add(
        "version", "davserver version", "Print the version, what it was built from, what it runs on.", _version
    )
    version.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser, list(commands.choices)


def _describe(parser: argparse.ArgumentParser, example: str, description: str) -> None:
    parser.description = f"Example:  {example}\n\n{description}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="(default: ./davserver.yaml, then /etc/davserver/davserver.yaml)"
    )


def _serve(arguments: argparse.Namespace) -> int:
    from davserver.access.hashes import hash_password
    from davserver.server.logs import log_to
    from davserver.server.run import serve
    from davserver.storage.state import StateError

    flags = _flags(arguments)
    password, passwords = None, dict[str, str]()
    if arguments.user is not None:
        passwords[arguments.user], made_up = _password_for(arguments.user)
        flags["users"] = {arguments.user: {"password": hash_password(passwords[arguments.user])}}
        password = passwords[arguments.user] if made_up else None
    meant = difflib.get_close_matches(arguments.directory or "", command_line()[1], n=1)
    if meant and not os.path.exists(arguments.directory):
        raise SettingsError(f"{arguments.directory} is no command and no folder; did you mean {meant[0]}?")

    def reread() -> Settings:
        found = load(
            file=arguments.config, environ=os.environ, flags=flags, hash_password=hash_password, passwords=passwords
        )
        require_startable(found)
        return found

    settings = reread()
    folder = state_folder(settings, os.environ)
    log_to(sys.stderr, settings)

    def ready(url: str) -> None:
        print(banner(settings, url, folder), flush=True)
        if password is not None:
            print(f"\nPassword of {arguments.user}, shown this once: {password}", flush=True)

    try:
        return serve(settings, folder, on_ready=ready, reread=reread)
    except (OSError, StateError) as error:
        if arguments.debug:
            raise
        print(f"davserver: {_reason(error, settings)}", file=sys.stderr)
        return 1


def _settings_of(arguments: argparse.Namespace) -> Settings:
    """For a command that works beside a server: what that server was started with."""
    from davserver.access.hashes import hash_password
    from davserver.server.logs import log_to

    flags = {
        name: getattr(arguments, name)
        for name in ("host", "port", "state")
        if getattr(arguments, name, None) is not None
    }
    if getattr(arguments, "directory", None) is not None:
        flags["shares"] = {"/": {"directory": arguments.directory}}
    settings = load(file=arguments.config, environ=os.environ, flags=flags, hash_password=hash_password)
    log_to(sys.stderr, settings)
    return settings


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    flags: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("host", "port", "anonymous", "state")
        if getattr(arguments, name) is not None
    }
    if arguments.directory is not None:
        flags["shares"] = {"/": {"directory": arguments.directory}}
    if arguments.log_level is not None:
        flags["log"] = {"level": arguments.log_level}
    return flags


def _password_for(name: str) -> tuple[str, bool]:
    """The password for a user named on the command line, and whether it was made up."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {name} (empty: make one up): ")
        if password:
            return password, False
    return secrets.token_urlsafe(12), True


def _reason(error: Exception, settings: Settings) -> str:
    if not isinstance(error, OSError):
        return str(error)
    if error.filename is None:
        return f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}."
    return f"{error.filename} cannot be used: {error.strerror}."


def _check_config(arguments: argparse.Namespace) -> int:
    from davserver.access.hashes import hash_password
    from davserver.server.run import try_files

    settings = load(file=arguments.config, environ=os.environ, flags={}, hash_password=hash_password)
    effective = settings.model_dump(mode="json")
    for user in effective["users"].values():
        user["password"] = user["password"] and _MASK
        user["digest"] = [_MASK for _ in user["digest"]]
    for webhook in effective["webhooks"].values():
        webhook["secret"] = None if webhook["secret"] is None else _MASK
    print(yaml.safe_dump(effective, sort_keys=False, allow_unicode=True), end="")
    if settings.shares:
        require_startable(settings)
        state_folder(settings, os.environ)
    for told in try_files(settings):
        print(f"davserver: WARNING: {told}", file=sys.stderr)
    if not settings.shares:
        print("davserver: No shares are configured: it is for `davserver serve DIR`.", file=sys.stderr)
    return 0


def _version(arguments: argparse.Namespace) -> int:
    from davserver.build import build_data

    found = build_data()
    if arguments.json:
        print(json.dumps(found))
        return 0
    print(f"davserver {found.pop('version')}")
    for name, value in found.items():
        print(f"  {name:9} {value}")
    return 0
