"""litmus 0.13: all 104 tests of its five groups, against a server as a user starts it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from serving import Process

GROUPS = {"basic": 16, "copymove": 13, "props": 30, "locks": 41, "http": 4}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("litmus") is None, reason="litmus is not installed (Debian: apt install litmus)"),
]


@pytest.mark.parametrize("group", GROUPS)
def test_group_passes_without_a_warning(group: str, tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        run = subprocess.run(
            ["litmus", server.url],
            env={"TESTS": group, "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )
    summary = re.search(r"summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed", run.stdout)
    assert summary is not None, run.stdout
    assert summary.groups() == (group, str(GROUPS[group]), str(GROUPS[group]), "0"), run.stdout
    assert "WARNING" not in run.stdout, run.stdout
    assert run.returncode == 0
