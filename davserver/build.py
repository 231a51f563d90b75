"""Which davserver this is, and what it was built from and runs on."""

from __future__ import annotations

import json
import platform
import sqlite3
from functools import cache
from importlib import metadata, resources

from davserver import __version__

#: What is told of the parts: those whose version explains a difference in behaviour.
_PARTS = ("wsgidav", "cheroot", "lxml")


@cache
def build_data() -> dict[str, str]:
    """`version`, and what is known beside it. `commit` and `built` are there in what was built for others only."""
    found = {"version": __version__, **_written()}
    found["python"] = platform.python_version()
    found["sqlite"] = sqlite3.sqlite_version
    found.update({name: metadata.version(name) for name in _PARTS})
    found["platform"] = platform.platform(terse=True)
    return found


def _written() -> dict[str, str]:
    """What the build left in build.json (hatch_build.py)."""
    try:
        text = resources.files("davserver").joinpath("build.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return {name: str(value) for name, value in json.loads(text).items() if value}
