"""Documents whose examples are played: each `$ command` in a console block runs, and must show what stands below it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Where documents say the server is.
ADDRESS = "http://127.0.0.1:8080"

_PARTS = re.compile(r"<!-- before: (?P<before>.*?) -->|```console\n(?P<block>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Command:
    text: str
    #: None: it is not shown, and what it says does not matter.
    output: str | None


def commands(document: str) -> Iterator[Command]:
    """In the order in which they stand there."""
    for part in _PARTS.finditer(document):
        if part["before"] is not None:
            yield Command(part["before"], None)
            continue
        for text in re.split(r"^\$ ", part["block"], flags=re.MULTILINE)[1:]:
            command, _, output = text.partition("\n")
            yield Command(command, output)


class Player:
    """A shell, in a folder of its own, for which ADDRESS is a real server."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url.rstrip("/"), folder
        self._variables = ""

    def play(self, command: Command) -> str:
        """What it shows. Raises CalledProcessError."""
        text = command.text.replace(ADDRESS, self._url)
        if re.fullmatch(r"\w+=\S+", text):
            self._variables += f"{text}\n"
            return ""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        run = subprocess.run(
            ["bash", "-c", self._variables + text],
            cwd=self._folder,
            env={"PATH": path, "HOME": str(self._folder), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return run.stdout.replace("\r\n", "\n").replace(self._url, ADDRESS)


def rewritten(document: str, player: Player) -> str:
    """The document with what its commands show now."""
    played = [(command, player.play(command)) for command in commands(document)]
    for command, output in played:
        if command.output is not None:
            old, new = f"$ {command.text}\n{command.output}", f"$ {command.text}\n{output}"
            if output and not output.endswith("\n"):
                new += "\n"
            document = document.replace(old, new, 1)
    return document
