"""The systemd units, read by systemd's own programs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from wire import Dav

from davserver.settings import load
from davserver.sources import FILES

pytestmark = pytest.mark.slow

UNITS = Path(__file__).parent.parent / "config" / "systemd"


def installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program.upper()} IS NOT INSTALLED: the systemd units are not tested (apt-get install systemd)")
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with the program where it is here."""
    text = (UNITS / "davserver.service").read_text()
    program = "/opt/davserver/bin/davserver"
    assert f"ExecStart={program} serve " in text
    (tmp_path / "davserver.service").write_text(text.replace(program, str(Path(sys.executable).parent / "davserver")))
    shutil.copy(UNITS / "davserver.socket", tmp_path)
    return tmp_path


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_nothing_wrong_with_them(units: Path) -> None:
    told = run(installed("systemd-analyze"), "verify", "--man=no", str(units / "davserver.socket"))
    # It looks at units of the machine as well, which are none of ours.
    assert "davserver" not in told


def test_hardly_anything_is_exposed(units: Path) -> None:
    told = run(
        installed("systemd-analyze"), "security", "--offline=true", "--no-pager", "--threshold=20",
        str(units / "davserver.service"),
    )  # fmt: skip
    exposure = re.search(r"exposure level for davserver\.service: ([\d.]+)", told)
    assert exposure is not None
    assert float(exposure[1]) < 2


def test_the_head_of_the_unit_has_a_configuration_that_commands_find(tmp_path: Path) -> None:
    """One for the server and for commands that work beside it: with no option, wherever they are run."""
    text = (UNITS / "davserver.service").read_text()
    told = re.findall(r"^#   (\w+: .*)$", text, re.MULTILINE)
    config = tmp_path / "davserver.yaml"
    config.write_text("\n".join(told))
    settings = load(file=str(config), environ={}, flags={}, hash_password=str)
    assert re.findall(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE) == [f"serve --config {FILES[-1]}"]
    assert re.findall(r"^StateDirectory=(.*)$", text, re.MULTILINE) == [str(settings.state).removeprefix("/var/lib/")]
    assert settings.auth.users_file in told[-1]  # not relative to the folder in which it happens to be
    assert settings.shares["/"].directory in re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE)


def test_the_command_of_the_unit_serves_on_the_socket_that_it_is_given(units: Path, tmp_path: Path) -> None:
    activate = installed("systemd-socket-activate")
    (command,) = re.findall(r"^ExecStart=(.*)$", (units / "davserver.service").read_text(), re.MULTILINE)
    share, config = tmp_path / "files", tmp_path / "davserver.yaml"
    share.mkdir()
    config.write_text(f"workers: 2\nport: 1\nshares: {{/: {{directory: {share}}}}}\nstate: {tmp_path / 's'}\n")
    words = command.replace("/etc/davserver/davserver.yaml", str(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DAVSERVER_")}
    with subprocess.Popen(
        [activate, "-l", f"127.0.0.1:{port}", *words.split()], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, env=environ,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            assert any("Listening on" in line for line in process.stderr)
            # The program is started by the first connection, which waits for it.
            dav = Dav("127.0.0.1", port)
            assert dav("PUT", "/f", b"x").status == 201
            assert (share / "f").read_bytes() == b"x"
            dav.close()
        finally:
            process.terminate()
            process.stderr.read()
            assert process.wait(timeout=30) == 0
