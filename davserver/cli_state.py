"""The commands `state check` and `state repair`: do files and state agree? With a server at work on them, and without.

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
from davserver.storage.inspection import Finding, Problem, inspect, mend

#: Gives a command its parser: (name, example, description, what it does).
Add = Callable[[str, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]
#: The settings that a command is to work with.
Load = Callable[[argparse.Namespace], Settings]

_MENDED, _LEFT = "mended", "left"


def add_state_commands(add: Add, load: Load) -> None:
    """`state check|repair`."""
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


def _run(settings: Settings, arguments: argparse.Namespace, *, repairing: bool) -> int:
    from davserver.server.compose import open_shares

    require_startable(settings)
    folder = state_folder(settings, os.environ)
    if not os.path.exists(os.path.join(folder, "state.db")):
        raise SettingsError(f"There is no state in {folder}: name the folder that the server uses with --state.")
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
