"""`davserver state check|repair`, beside a running server and without one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from serving import serving

from davserver.cli import main

COLOUR = '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>'


def run(folder: Path, *arguments: str) -> int:
    return main(["state", *arguments, str(folder / "share"), "--state", str(folder / "state")])


def test_beside_a_running_server_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path) as server:
        client = server.client()
        for name in ("kept", "gone", "locked"):
            assert client("PUT", f"/{name}", b"x").status == 201
            assert client.proppatch(f"/{name}", COLOUR).status == 207
        token = client.lock("/locked").token
        assert run(tmp_path, "check") == 0
        assert capsys.readouterr().out == "Files and state agree.\n"
        os.unlink(server.root / "gone")
        os.unlink(server.root / "locked")
        assert run(tmp_path, "check") == 1
        told = capsys.readouterr().out
        assert "/gone" in told
        assert "2 × properties of nothing, 1 × lock on nothing." in told
        assert token not in told
        assert run(tmp_path, "check", "--json") == 1
        found = json.loads(capsys.readouterr().out)
        assert [(each["problem"], each["path"]) for each in found] == [
            ("properties of nothing", "/gone"), ("properties of nothing", "/locked"), ("lock on nothing", "/locked"),
        ]  # fmt: skip
        assert run(tmp_path, "repair") == 0
        assert "mended" in capsys.readouterr().out
        assert client("PUT", "/locked", b"free again").status == 201
        assert client.propfind("/kept", "colour", namespace="urn:x").texts("//D:status") == ["HTTP/1.1 200 OK"]
    for name in ("kept", "locked"):
        os.unlink(tmp_path / "share" / name)
    assert run(tmp_path, "repair") == 1
    assert "not mounted" in capsys.readouterr().out
    assert run(tmp_path, "repair", "--force", "--json") == 0
    assert [each["outcome"] for each in json.loads(capsys.readouterr().out)] == ["mended"]
    assert run(tmp_path, "check") == 0
    assert os.listdir(tmp_path / "share") == []


def test_without_a_state_there_is_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "share").mkdir()
    assert run(tmp_path, "check") == 1
    assert "There is no state in" in capsys.readouterr().err
    assert main(["state", "check", str(tmp_path / "missing"), "--state", str(tmp_path / "state")]) == 1
