"""Paths on a command line mean what they mean in a request: the resource, however it is spelt."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from serving import QUICK, Running, serving

from davserver.cli import main

NFC, NFD = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
#: What is on the disk, what is typed, and the settings of the share.
SPELT = [
    pytest.param(NFD, NFC, {}, id="typed in NFC"),
    pytest.param(NFC, NFD, {}, id="typed in NFD"),
    pytest.param("Docs", "docs", {"case_insensitive": True}, id="in another case"),
    pytest.param("real", "link", {"follow_symlinks": True}, id="by a link"),
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command, with the settings of a server. Gives back its exit code, and what it said."""

    def command(settings: dict[str, Any], *words: str) -> tuple[int, str, str]:
        file = tmp_path / "davserver.yaml"
        file.write_text(yaml.safe_dump(settings))
        code = main([*words, "-c", str(file)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def world(folder: Path, disk: str, share: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Settings of a server, and one folder in what it serves."""
    root = folder / "share"
    (root / disk).mkdir(parents=True)
    if disk == "real":
        (root / "link").symlink_to("real")
    return {"state": str(folder / "state"), "shares": {"/": {"directory": str(root), **share}}, **more}


def put(server: Running, path: str) -> int:
    return server.client()("PUT", quote(path), b"x").status


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(("disk", "typed", "share"), SPELT)
def test_maintenance_protects_what_is_meant(
    disk: str, typed: str, share: dict[str, Any], tmp_path: Path, run: Run
) -> None:
    settings = world(tmp_path, disk, share)
    with serving(tmp_path, **settings) as server:
        before = listing(tmp_path / "share")
        on = run(settings, "maintenance", "on", f"/{typed}", "--reason", "r")
        assert on[:2] == (0, f"/{disk} is under maintenance until it is ended: r\n")
        assert listing(tmp_path / "share") == before
        for name in (disk, typed):
            assert put(server, f"/{name}/f") == 423
        assert put(server, "/other") == 201
        assert run(settings, "maintenance", "off", f"/{typed}")[:2] == (0, f"The maintenance of /{disk} is over.\n")
        assert put(server, f"/{typed}/f") == 201


@pytest.mark.parametrize(("disk", "typed", "share"), SPELT)
def test_locks_are_found(disk: str, typed: str, share: dict[str, Any], tmp_path: Path, run: Run) -> None:
    settings = world(tmp_path, disk, share)
    with serving(tmp_path, **settings) as server:
        assert server.client().lock(quote(f"/{disk}/f")).status == 201
        for name in (disk, typed):
            (found,) = json.loads(run(settings, "locks", "list", f"/{name}", "--json")[1])
            assert found["path"] == quote(f"/{disk}/f")


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize(("disk", "typed", "share"), SPELT)
def test_what_has_gone_is_found_as_it_is_listed(
    disk: str, typed: str, share: dict[str, Any], running: bool, tmp_path: Path, run: Run
) -> None:
    """Behind the server's back; or the disk is away."""
    settings = world(tmp_path, disk, share)
    with serving(tmp_path, **settings):
        assert run(settings, "maintenance", "on", f"/{typed}", "--reason", "r")[0] == 0
        if running:
            (tmp_path / "share" / disk).rmdir()
            assert disk in run(settings, "locks", "list", f"/{disk}")[1]
            assert run(settings, "maintenance", "off", f"/{disk}")[0] == 0
    if not running:
        (tmp_path / "share").rename(tmp_path / "away")
        assert disk in run(settings, "locks", "list", f"/{disk}")[1]
        assert run(settings, "maintenance", "off", f"/{disk}")[0] == 0


@pytest.mark.parametrize(("disk", "typed", "share"), SPELT)
def test_an_app_password_leads_to_what_is_meant(
    disk: str, typed: str, share: dict[str, Any], tmp_path: Path, run: Run
) -> None:
    settings = world(tmp_path, disk, share, users={"alice": {"password": QUICK.hash("alice")}})
    with serving(tmp_path, **settings) as server:
        code, said, _ = run(settings, "app-password", "create", "alice", "phone", "--path", f"/{typed}", "--json")
        made = json.loads(said)
        assert (code, made["path"]) == (0, f"/{disk}")
        login = "Basic " + b64encode(f"alice:{made['password']}".encode()).decode()
        for name in (disk, typed):
            assert server.client(Authorization=login)("PUT", quote(f"/{name}/f"), b"x").status in (201, 204)


def test_where_nobody_can_tell_what_is_meant_nothing_is_said_to_be_protected(tmp_path: Path, run: Run) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    settings = {
        "state": str(tmp_path / "state"),
        "shares": {"/docs": {"directory": str(one)}, "/team/music": {"directory": str(two)}},
        "users": {"alice": {"password": QUICK.hash("alice")}},
    }
    one.mkdir()
    two.mkdir()
    assert run(settings, "maintenance", "on", "--reason", "r")[0] == 0
    assert run(settings, "maintenance", "off")[0] == 0
    two.rmdir()

    def on(path: str) -> tuple[int, str]:
        code, said, wrong = run(settings, "maintenance", "on", path, "--reason", "r")
        return code, wrong if code else said

    for path in ("/docs", "/docs/a", "/team", "/team/music"):
        assert on(path) == (0, f"{path} is under maintenance until it is ended: r\n")
        assert run(settings, "maintenance", "off", path)[0] == 0
    assert on("/team/music/a") == (
        1,
        f"davserver: The folder of share /team/music, {two}, is not there, and with it what '/team/music/a' is called "
        "on the disk; /team/music itself can be named.\n",
    )
    assert on("/dosc") == (1, "davserver: There is no share at '/dosc'; there are: /docs, /team/music.\n")
    assert on("/-/api") == (1, "davserver: The server keeps what lies below /-/ for itself.\n")
    assert run(settings, "maintenance", "status")[1] == "Nothing is under maintenance.\n"
    code, _, wrong = run(settings, "app-password", "create", "alice", "x", "--path", "dosc")
    assert code == 1
    assert "There is no share at '/dosc'" in wrong
    del settings["shares"]
    assert on("/docs/a") == (
        1, "davserver: Say what is served, with -c FILE or --directory DIR, to find '/docs/a' in it.\n"
    )  # fmt: skip
    assert on("/") == (0, "/ is under maintenance until it is ended: r\n")
