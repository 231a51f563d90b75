"""Programs of npm that tests drive: installed when they are first wanted, and kept in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from realclients import tool

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "davserver-tests"


def npm(package: str, *, build: str = "", environ: Mapping[str, str] | None = None) -> Path:
    """The folder `node_modules` that has the package, like "webdav@^5.8". Scripts of packages are not run, but for the
    one named `build`, which is compiled in that environment. Where it cannot be installed the test is skipped."""
    program, place = tool("npm"), CACHE / package.replace("@", "-").strip("^~")
    node = Path(tool("node")).resolve().parent.parent
    # The headers that came with it, where they did (Debian: libnode-dev), and not from the network.
    headers = {"npm_config_nodedir": str(node)} if (node / "include" / "node" / "node.h").exists() else {}
    if not place.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=CACHE))
        quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier")
        try:
            for command in (["install", *quiet, "--ignore-scripts", package], *([["rebuild", build]] if build else [])):
                done = subprocess.run(
                    [program, *command], cwd=making, capture_output=True, text=True, check=False, timeout=500,
                    env={**os.environ, **headers, **(environ or {})},
                )  # fmt: skip
                if done.returncode:
                    why = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
                    pytest.skip(f"npm does not install {package} here: {' '.join(why)[:300]}")
            if not place.exists():  # another session may have been faster
                making.rename(place)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return place / "node_modules"
