"""The commands `state check|repair`: do files and state agree? And `state backup|restore`. With a server at work on
them, and without.

Who may write the state folder may do this.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from davserver.placement import require_startable, state_folder
from davserver.settings import Settings, SettingsError
from davserver.storage.backup import BEFORE, back_up, restore
from davserver.storage.inspection import Finding, Problem, inspect, mend

#: Gives a command its parser: (name, example, description, what it does).
Add = Callable[[str, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]
#: The settings that a command is to work with.
Load = Callable[[argparse.Namespace], Settings]

_MENDED, _LEFT = "mended", "left"


def add_state_commands(add: Add, load: Load) -> None:
    """`state check|repair|backup|restore`."""
    check = add(
        "check",
        "davserver state check ~/share",
        "Find properties and locks of files that are gone, and what crashes left. Changes nothing; exits with 1 where "
        "something is found.",
        lambda arguments: _run(load(arguments), arguments, repairing=False),
    )
    repair = add(
        "repair",
        "davserver state repair ~/share",
        "Forget properties and locks of files that are gone, end interrupted changes, clear what crashes left.",
        lambda arguments: _run(load(arguments), arguments, repairing=True),
    )
    repair.add_argument(
        "--force", action="store_true", help="also where a share is empty, which looks like a disk that is not mounted"
    )
    for command in (check, repair):
        command.add_argument("directory", nargs="?", metavar="DIR", help="the folder that is served, as given to serve")
        command.add_argument(
            "-c", "--config", metavar="FILE", help="(default: ./davserver.yaml, then /etc/davserver/davserver.yaml)"
        )
        command.add_argument("--state", metavar="DIR", help="the state folder, as given to serve")
        command.add_argument("--json", action="store_true", help="as JSON, for programs")

    backup = add(
        "backup",
        "davserver state backup state.backup --directory ~/share",
        "Write locks and properties, as they are now, to one file. It holds the tokens of locks: keep it to yourself.",
        lambda arguments: _back_up(load(arguments), arguments),
    )
    backup.add_argument("file", metavar="FILE", help="where to; what is there is replaced")
    restore = add(
        "restore",
        "davserver state restore state.backup --directory ~/share",
        "Put locks and properties back as they were at a backup. What is there now is kept in the state folder.",
        lambda arguments: _restore(load(arguments), arguments),
    )
    restore.add_argument("file", metavar="FILE", help="from `davserver state backup`")
    for command in (backup, restore):
        command.add_argument(
            "-c", "--config", metavar="FILE", help="(default: ./davserver.yaml, then /etc/davserver/davserver.yaml)"
        )
        command.add_argument("--state", metavar="DIR", help="the state folder, as given to serve")
        command.add_argument("--directory", metavar="DIR", help="the folder that is served, as given to serve")


def _back_up(settings: Settings, arguments: argparse.Namespace) -> int:
    back_up(_state_of(settings), arguments.file)
    print(f"The state is in {arguments.file}.")
    return 0


def _restore(settings: Settings, arguments: argparse.Namespace) -> int:
    folder = state_folder(settings, os.environ)
    replaced = restore(folder, arguments.file)
    print(f"The state in {folder} is that of {arguments.file}.")
    if replaced:
        print(f"What was there before is in {os.path.join(folder, BEFORE)}.")
    print("`davserver state check` tells whether the files agree with it.")
    return 0


def _state_of(settings: Settings) -> str:
    """The state folder. Raises SettingsError where there is no state in it."""
    folder = state_folder(settings, os.environ)
    if not os.path.exists(os.path.join(folder, "state.db")):
        raise SettingsError(f"There is no state in {folder}: name the folder that the server uses with --state.")
    return folder


def _run(settings: Settings, arguments: argparse.Namespace, *, repairing: bool) -> int:
    from davserver.server.compose import open_shares

    require_startable(settings)
    folder = _state_of(settings)
    with ExitStack() as stack:
        shares = open_shares(settings, folder, stack)
        findings = list(inspect(shares, force=repairing and arguments.force))
        results = {finding: mend(shares, finding) for finding in findings} if repairing else {}
    _print(findings, results, repairing=repairing, as_json=arguments.json)
    return int(not all(results.get(finding, False) for finding in findings))


def _print(findings: list[Finding], results: dict[Finding, bool], *, repairing: bool, as_json: bool) -> None:
    def outcome(finding: Finding) -> str:
        return _MENDED if results[finding] else _LEFT

    if as_json:
        told = [
            {"problem": finding.problem.value, "path": finding.path.key, "detail": finding.detail}
            | ({"outcome": outcome(finding)} if repairing else {})
            for finding in findings
        ]
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for finding in findings:
        before = f"{outcome(finding):8}" if repairing else ""
        print(f"{before}{finding.problem.value:24}{finding.path}  ({finding.detail})")
    print(_summary(findings))
    if any(not finding.mendable for finding in findings):
        print("A share is empty, which looks like a disk that is not mounted; repair leaves what is known of it, "
              "unless you say --force.")  # fmt: skip


def _summary(findings: Iterable[Finding]) -> str:
    counts = {problem: sum(finding.problem is problem for finding in findings) for problem in Problem}
    found = [f"{count} × {problem.value}" for problem, count in counts.items() if count]
    return ", ".join(found) + "." if found else "Files and state agree."
