"""What a container settles before it serves, as far as that needs no engine (tests/docker has the rest)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving import QUICK

from davserver import container
from davserver.container import volume_warning
from davserver.settings import load

pytestmark = pytest.mark.slow

PRESET = "host: 127.0.0.1\nport: 0\nworkers: 1\nstate: {state}\nshares: {{/: {{directory: {share}}}}}\n"


@pytest.fixture
def preset(tmp_path: Path) -> dict[str, str]:
    """The environment of a container whose folders are in `tmp_path`."""
    for name in ("share", "state"):
        (tmp_path / name).mkdir()
    file = tmp_path / "defaults.yaml"
    file.write_text(PRESET.format(state=tmp_path / "state", share=tmp_path / "share"))
    return {"DAVSERVER_DEFAULTS": str(file)}


def start(folder: Path, environ: dict[str, str], *arguments: str) -> tuple[int, str]:
    """What comes of it when the start is refused."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAVSERVER_")}
    done = subprocess.run(
        [sys.executable, "-m", "davserver.container", *arguments],
        cwd=folder, env={**clean, **environ}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_what_is_preset_ranks_below_everything(preset: dict[str, str], tmp_path: Path) -> None:
    def found(text: str = "", **environ: str) -> tuple[object, ...]:
        file = tmp_path / "davserver.yaml"
        file.write_text(text)
        settings = load(file=str(file), environ={**preset, **environ}, flags={}, hash_password=str)
        return settings.port, *sorted(settings.shares)

    assert found() == (0, "/")
    assert found("port: 99") == (99, "/")
    assert found("port: 99", DAVSERVER_PORT="98") == (98, "/")
    assert found("shares: {/docs: {directory: /x}}") == (0, "/docs")
    assert found(DAVSERVER_SHARES="{/docs: {directory: /x}}") == (0, "/docs")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"UMASK": "0999"}, "UMASK=0999 is no umask"),
        ({"PUID": "alice"}, "PUID=alice is no number"),
        ({"DAVSERVER_USERNAME": "alice"}, "DAVSERVER_USERNAME and DAVSERVER_PASSWORD"),
        ({"DAVSERVER_STATE": "/nowhere"}, "/nowhere is not there: mount a folder or a volume for locks and properties"),
        ({"DAVSERVER_SHARES": "{/: {directory: /nowhere}}"}, "/nowhere is not there: mount a folder or a volume for"),
        ({"DAVSERVER_DEFAULTS": ""}, "In a container the state needs a folder of its own"),
        ({"DAVSERVER_DEFAULTS": "/nowhere"}, "The configuration file /nowhere cannot be read"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    environ: dict[str, str], said: str, preset: dict[str, str], tmp_path: Path
) -> None:
    own = {"PUID": str(os.getuid()), "PGID": str(os.getgid())}
    code, told = start(tmp_path, {**preset, **own, **environ}, "serve")
    assert code == 1
    assert said in told
    assert told.startswith("davserver: ")
    assert told.count("\n") == 1


def test_other_commands_need_no_folder(tmp_path: Path) -> None:
    own = {"PUID": str(os.getuid()), "PGID": str(os.getgid())}
    assert start(tmp_path, own, "version") == (0, "")
    assert start(tmp_path, own, "serve", "--help") == (0, "")


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ("1 0 0:1 / / rw - overlay overlay rw", "/state is no volume"),
        ("1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /state rw - tmpfs tmpfs rw", "is kept in memory only"),
        ("1 0 0:1 / / rw - overlay o rw\n2 1 8:1 /var/lib/docker/volumes/" + "0f" * 32 + "/_data /state rw - ext4 x rw",
         "/state is a volume without a name"),
        ("1 0 0:1 / / rw - overlay o rw\n2 1 8:1 /var/lib/docker/volumes/state/_data /state rw - ext4 x rw", None),
        ("1 0 0:1 / / rw - overlay o rw\n2 1 8:1 /srv/s /state rw - ext4 x rw", None),
        ("1 0 0:1 / / rw - overlay o rw\n2 1 8:1 /srv/s /stat rw - ext4 x rw", "/state is no volume"),
    ],
)  # fmt: skip
def test_a_state_that_will_be_lost_is_warned_of(mounts: str, said: str | None) -> None:
    warning = volume_warning("/state", mounts)
    assert (warning is None) if said is None else (warning is not None and said in warning)


def test_the_state_of_this_machine_is_looked_at() -> None:
    assert volume_warning("/state") is not None


def started(folder: Path, environ: dict[str, str]) -> tuple[list[str], str]:
    """The passwords that a start made up, and all that it said. Port -1 stops it after everything was prepared."""
    own = {"PUID": str(os.getuid()), "PGID": str(os.getgid())}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAVSERVER_")}
    done = subprocess.run(
        [sys.executable, "-m", "davserver.container", "--port", "-1"],
        cwd=folder, env={**clean, **environ, **own}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    return [line.rpartition(" ")[2] for line in said.splitlines() if "with the password" in line], said


def test_the_password_that_was_made_up_is_kept_as_a_hash(preset: dict[str, str], tmp_path: Path) -> None:
    (password,), said = started(tmp_path, preset)
    assert "command line: port" in said
    kept = tmp_path / "state" / "admin-password"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert QUICK.verify(kept.read_text().strip(), password)
    assert started(tmp_path, preset)[0] == []


def test_what_a_full_disk_left_of_a_password_locks_nobody_out(preset: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "state" / "admin-password"
    kept.touch(0o600)
    (password,), _ = started(tmp_path, preset)
    assert QUICK.verify(kept.read_text().strip(), password)
    assert [each.name for each in kept.parent.iterdir()] == [kept.name]
    assert started(tmp_path, preset)[0] == []


def test_a_password_that_is_not_kept_whole_is_not_kept(
    preset: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it is on the disk: the next start makes another."""
    kept = tmp_path / "state" / "admin-password"

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            container._admin(str(kept))
    assert not kept.exists()
    (password,), _ = started(tmp_path, preset)
    assert QUICK.verify(kept.read_text().strip(), password)
    assert [each.name for each in kept.parent.iterdir()] == [kept.name]


def test_what_is_no_hash_is_one_sentence(preset: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "state" / "admin-password"
    kept.write_text("wonder\n")
    made, said = started(tmp_path, preset)
    assert made == []
    assert f"{kept} holds no hash of argon2" in said
    assert "delete it" in said
    kept.unlink()
    kept.mkdir()
    assert f"davserver: {kept} cannot be used: Is a directory." in started(tmp_path, preset)[1]
