"""What is built: a wheel that holds the package and knows what it was built from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from davserver.build import build_data

ROOT = Path(__file__).parent.parent


def test_a_checkout_knows_no_commit() -> None:
    found = build_data()
    assert next(iter(found)) == "version"
    assert "commit" not in found
    assert {"python", "sqlite", "wsgidav", "cheroot", "lxml", "platform"} <= set(found)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_its_build_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        env={**os.environ, "BUILD_COMMIT": "0123abc", "BUILD_DATE": "2026-01-02T03:04:05Z"},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    if "Could not find a version that satisfies the requirement hatchling" in done.stderr:
        pytest.skip("NO PACKAGE INDEX: the wheel is not built")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("davserver-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("davserver/build.json")) == {
            "commit": "0123abc",
            "built": "2026-01-02T03:04:05Z",
        }
    assert "davserver/server/app.py" in names
    assert not [name for name in names if name.startswith(("tests", "docs"))]
    assert not (ROOT / "davserver" / "build.json").exists()
