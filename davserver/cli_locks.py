"""The commands `locks` and `maintenance`: they work on the store, whether a server runs or not.

Who may write the state folder may do this. A lock is named by its number; its token is never printed.
"""

from __future__ import annotations

import argparse
import getpass
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from davserver.cli_places import Places
from davserver.cli_several import to_each
from davserver.cli_words import duration, list_number
from davserver.placement import require_folders, state_folder
from davserver.protocol.errors import LockConflict
from davserver.protocol.holder import OPERATOR, SOMEBODY, holder_name
from davserver.protocol.locked import lock_details
from davserver.protocol.locks import Kind, Lock, Principal
from davserver.protocol.moments import iso
from davserver.settings import Settings, SettingsError
from davserver.storage.lock_service import LockFilter, LockService
from davserver.storage.staging import is_served_elsewhere

#: Gives a command its parser: (name, example, description, what it does).
Add = Callable[[str, str, str, "Callable[[argparse.Namespace], int]"], argparse.ArgumentParser]
#: The settings that a command is to work with.
Load = Callable[[argparse.Namespace], Settings]


class _Beside(NamedTuple):
    """The server that a command works beside, be it running or not."""

    locks: LockService
    places: Places


def add_lock_commands(add: Add, load: Load) -> None:
    """`locks list|show|break`."""

    def command(
        name: str, example: str, description: str, run: Callable[[_Beside, argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        parser = add(name, example, description, lambda arguments: _with_service(load(arguments), arguments, run))
        _add_where(parser)
        return parser

    listing = command("list", "davserver locks list --holder alice", "List who holds which locks.", _list)
    listing.add_argument("path", nargs="?", metavar="PATH", help="only what protects this path, or lies below it")
    listing.add_argument("--holder", metavar="NAME", help="only locks of the user who logs in with this name")
    listing.add_argument("--kind", choices=[kind.value for kind in Kind], help="only locks of this kind")
    listing.add_argument("--stale", action="store_true", help="only locks whose client has probably gone")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    show = command("show", "davserver locks show 7", "Show all that is known of a lock, but its token.", _show)
    show.add_argument("number", type=list_number, metavar="ID", help="its number in the list")
    show.add_argument("--json", action="store_true", help="as JSON, for programs")
    breaking = command(
        "break",
        'davserver locks break 7 --reason "Jane is on holiday"',
        "End locks against their holders' will. A save of theirs is still accepted while nobody else has written.",
        _break,
    )
    breaking.add_argument("numbers", type=list_number, nargs="+", metavar="ID", help="numbers in the list")
    breaking.add_argument("--reason", required=True, type=_reason, help="why; the holder is told")


def add_maintenance_commands(add: Add, load: Load) -> None:
    """`maintenance on|off|status`."""

    def with_user(arguments: argparse.Namespace) -> Settings:
        """The settings, which know whom `--as` names."""
        from davserver.server.people import require_user

        settings = load(arguments)
        if arguments.user is not None:
            arguments.user = require_user(settings, arguments.user)
        return settings

    def command(
        name: str,
        example: str,
        description: str,
        run: Callable[[_Beside, argparse.Namespace], int],
        *,
        create: bool = False,
        settings_of: Load = load,
    ) -> argparse.ArgumentParser:
        parser = add(
            name,
            example,
            description,
            lambda arguments: _with_service(settings_of(arguments), arguments, run, create=create),
        )
        _add_where(parser)
        return parser

    on = command(
        "on",
        'davserver maintenance on --reason "nightly backup" --for 1h',
        "Let nobody change anything, at a path and below it, until it is over.",
        _on,
        create=True,
        settings_of=with_user,
    )
    on.add_argument("path", nargs="?", default="/", metavar="PATH", help="(default: /, everything)")
    on.add_argument("--reason", required=True, type=_reason, help="what for; everybody who waits is told")
    end = on.add_mutually_exclusive_group()
    end.add_argument("--for", dest="seconds", type=duration, metavar="TIME", help="how long: 90s, 30m, 12h")
    end.add_argument("--until", type=_moment, metavar="MOMENT", help="03:00, or 2026-06-15T03:00Z")
    on.add_argument("--block-reads", action="store_true", help="let nobody read either")
    on.add_argument("--break", dest="breaking", action="store_true", help="break the locks that stand in the way")
    on.add_argument("--as", dest="user", metavar="USER", help="a user who may go on working meanwhile")
    off = command("off", "davserver maintenance off", "End the maintenance of a path.", _off)
    off.add_argument("path", nargs="?", default="/", metavar="PATH", help="(default: /, everything)")
    status = command("status", "davserver maintenance status", "Show what is under maintenance.", _status)
    status.add_argument("--json", action="store_true", help="as JSON, for programs")


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="(default: ./davserver.yaml, then /etc/davserver/davserver.yaml)"
    )
    parser.add_argument("--state", metavar="DIR", help="the state folder, as given to serve")
    parser.add_argument("--directory", metavar="DIR", help="the folder that is served, as given to serve")


def _with_service(
    settings: Settings,
    arguments: argparse.Namespace,
    run: Callable[[_Beside, argparse.Namespace], int],
    *,
    create: bool = False,
) -> int:
    from davserver.server.compose import open_shares_there

    if settings.state is None and not settings.shares:
        raise SettingsError("Say which server is meant: with -c FILE, --state DIR or --directory DIR.")
    folder = state_folder(settings, os.environ)
    is_new = not os.path.exists(os.path.join(folder, "state.db"))
    if is_new and not create:
        raise SettingsError(f"There is no state in {folder}: no server has run with these settings yet.")
    if is_new:
        require_folders(settings)
        _require_no_other_state(settings, folder, "")
        os.makedirs(folder, mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        shares = open_shares_there(settings, folder, stack)
        if create:
            _require_no_other_state(settings, folder, shares.journal.owner())
        code = run(_Beside(LockService(shares), Places(settings, shares)), arguments)
    if is_new:
        print(
            f"davserver: No server has run with the state in {folder} yet; one with another state does not obey this.",
            file=sys.stderr,
        )
    return code


def _require_no_other_state(settings: Settings, folder: str, owner: str) -> None:
    """What is noted in one state does not stop a server that has another. Raises SettingsError."""
    for path, share in settings.shares.items():
        if not share.read_only and is_served_elsewhere(share.folder, owner):
            raise SettingsError(
                f"The folder of share {path}, {share.folder}, is served by a davserver that keeps its locks elsewhere "
                f"than in {folder}: name its configuration with -c, or its state folder with --state."
            )


def _list(server: _Beside, arguments: argparse.Namespace) -> int:
    kind = None if arguments.kind is None else Kind(arguments.kind)
    stale = True if arguments.stale else None
    paths = (None,) if arguments.path is None else server.places.spellings(arguments.path)
    wanted = [LockFilter(path, arguments.holder, kind, stale) for path in paths]
    found = {lock.id: lock for each in wanted for lock in server.locks.find(each)}
    _print_locks([found[number] for number in sorted(found)], as_json=arguments.json, none="No locks.")
    return 0


def _show(server: _Beside, arguments: argparse.Namespace) -> int:
    details = _details(server.locks.get(arguments.number), time.time())
    if arguments.json:
        print(json.dumps(details, ensure_ascii=False))
    else:
        flat = {name: value for name, value in details.items() if name != "client"} | _client(details)
        width = max(map(len, flat))
        for name, value in flat.items():
            print(f"{name:{width}}  {_printable(value)}")
    return 0


def _client(details: dict[str, object]) -> dict[str, object]:
    client = details.get("client")
    return {f"client_{name}": value for name, value in client.items()} if isinstance(client, dict) else {}


def _break(server: _Beside, arguments: argparse.Namespace) -> int:
    broken = dict[int, Lock]()

    def end(number: int) -> None:
        if number not in broken:
            together = server.locks.together(server.locks.get(number))
            server.locks.break_lock(number, _operator(), arguments.reason)
            broken.update({each.id: each for each in together})
        lock = broken[number]
        print(f"Lock {number} on {_printable(lock.root.key)}, held by {_printable(_holder(lock))}, is broken.")

    return to_each(arguments.numbers, end)


def _on(server: _Beside, arguments: argparse.Namespace) -> int:
    operator = _operator()
    by = operator if arguments.user is None else arguments.user
    seconds = arguments.seconds
    if arguments.until is not None:
        seconds = math.ceil(arguments.until - time.time())
        if seconds < 1:
            raise SettingsError("That moment is over.")
    try:
        lock = server.locks.maintain(
            server.places.find(arguments.path),
            by,
            seconds,
            arguments.reason,
            blocks_reads=arguments.block_reads,
            breaking=arguments.breaking,
            set_by=None if by is operator else operator,
        )
    except LockConflict as conflict:
        _print_locks(conflict.locks, as_json=False, none="")
        raise _InTheWay(len(conflict.locks)) from conflict
    until = "until it is ended" if lock.expires is None else f"until {iso(lock.expires)}"
    print(f"{_printable(lock.root.key)} is under maintenance {until}: {lock.reason}")
    return 0


class _InTheWay(SettingsError):
    def __init__(self, number: int) -> None:
        what = "This lock stands" if number == 1 else f"These {number} locks stand"
        super().__init__(f"{what} in the way; wait, or say --break to break what is there.")


def _off(server: _Beside, arguments: argparse.Namespace) -> int:
    meant = server.places.spellings(arguments.path)
    under = [lock.root for lock in server.locks.find(LockFilter(kind=Kind.MAINTENANCE))]
    lock = server.locks.end_maintenance(next((path for path in meant if path in under), meant[-1]), _operator())
    print(f"The maintenance of {_printable(lock.root.key)} is over.")
    return 0


def _status(server: _Beside, arguments: argparse.Namespace) -> int:
    found = server.locks.find(LockFilter(kind=Kind.MAINTENANCE))
    _print_locks(found, as_json=arguments.json, none="Nothing is under maintenance.")
    return 0


def _print_locks(locks: Sequence[Lock], *, as_json: bool, none: str) -> None:
    now = time.time()
    if as_json:
        print(json.dumps([_details(lock, now) for lock in locks], ensure_ascii=False))
        return
    if not locks:
        print(none)
        return
    rows = [("ID", "PATH", "KIND", "HOLDER", "SINCE", "UNTIL", "")]
    for lock in locks:
        until = "-" if lock.expires is None else iso(lock.expires)
        note = "probably stale" if lock.is_stale(now) else lock.reason or ""
        root = lock.root.key + ("/" if lock.root.slash and not lock.root.is_root else "")
        rows.append((str(lock.id), root, lock.kind.value, _holder(lock), iso(lock.created), until, note))
    shown = [tuple(map(_printable, row)) for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(rows[0]))]
    for row in shown:
        print("  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def _details(lock: Lock, now: float) -> dict[str, object]:
    """What the API tells, and the name with which the holder logs in: it tells display names alone."""
    details = dict[str, object]()
    for name, value in lock_details(lock, OPERATOR, now, "").items():
        details[name] = value
        if name == "locked_by" and not lock.principal.is_anonymous:
            details["login"] = lock.principal.name
    return details


def _holder(lock: Lock) -> str:
    """Jane Smith (jane)"""
    name, login = holder_name(lock, OPERATOR) or SOMEBODY, lock.principal.name
    return name if login in ("", name) else f"{name} ({login})"


def _operator() -> Principal:
    """Whoever runs the command. No login has a colon in its name, so that nobody can be mistaken for it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return Principal(f"local:{name}", name)


def _printable(value: Any) -> str:
    """A name may hold what moves the cursor."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in str(value))


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why")
    return text


def _moment(text: str) -> float:
    """03:00 is the next time that it is 03:00 here."""
    try:
        if len(text) <= 5:
            now = datetime.now().astimezone()
            hour, minute = map(int, text.split(":"))
            moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (moment if moment > now else moment + timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError("write a moment like 03:00 or 2026-06-15T03:00Z") from error
