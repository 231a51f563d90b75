"""The workflow files of the public build say what the repository has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", ())]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_is_complete_and_asks_for_no_more_than_it_needs(path: Path) -> None:
    workflow = read(path)
    assert workflow[True]  # `on`, which YAML 1.1 takes for a truth
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "uses" in job or (job["runs-on"] and job["steps"])
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step)
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1"))


def test_every_make_target_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for path in WORKFLOWS for target in re.findall(r"- run: make ([a-z-]+)", path.read_text())}
    assert {"lint", "test", "test-clients", "test-docker"} == named
    assert named <= targets


def test_the_matrix_has_every_python_that_the_package_asks_for() -> None:
    matrix = read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"]
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert oldest is not None
    assert matrix == ["3.11", "3.12", "3.13"]
    assert matrix[0] == oldest[1]


def test_the_files_they_name_are_there() -> None:
    for path in WORKFLOWS:
        for name in re.findall(r"\bdocker/[\w.-]+\b", path.read_text()):
            action = re.search(rf"uses: {re.escape(name)}", path.read_text())
            assert action is not None or (ROOT / name).exists(), name
    # Build arguments of the release are those of the Dockerfile.
    arguments = set(re.findall(r"^ARG (\w+)", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE))
    assert {"VERSION", "COMMIT", "BUILT"} <= arguments


def test_known_holes_are_looked_for() -> None:
    """In all that is installed, on every change and each week."""
    workflow = read(ROOT / ".github" / "workflows" / "tests.yml")
    assert workflow[True]["schedule"]  # YAML 1.1 reads "on" as a truth
    assert any("pip-audit" in step.get("run", "") and "-r requirements.lock" in step["run"] for step in steps(workflow))
