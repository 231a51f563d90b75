"""The command line, as people use it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from argon2 import PasswordHasher
from serving import QUICK

from davserver import __version__
from davserver.cli import main

pytestmark = pytest.mark.slow


def run(*arguments: str, cwd: Path, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAVSERVER_")}
    return subprocess.run(
        [sys.executable, "-m", "davserver", *arguments],
        cwd=cwd,
        input=stdin,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_version(tmp_path: Path) -> None:
    first, *rest = run("version", cwd=tmp_path).stdout.splitlines()
    assert first == f"davserver {__version__}"
    named = dict(line.split(maxsplit=1) for line in rest)
    assert named["python"] == platform.python_version()
    assert json.loads(run("version", "--json", cwd=tmp_path).stdout) == {"version": __version__, **named}
    assert run("--version", cwd=tmp_path).stdout == f"davserver {__version__}\n"


@pytest.mark.parametrize("command", [(), ("serve",), ("check-config",), ("hash-password",), ("version",), ("health",)])
def test_every_help_begins_with_an_example(command: tuple[str, ...], tmp_path: Path) -> None:
    shown = run(*command, "--help", cwd=tmp_path)
    assert shown.returncode == 0
    usage, _, rest = shown.stdout.partition("\n\n")
    assert usage.startswith("usage: davserver")
    assert rest.startswith("Example:  davserver " + "".join(command))


@pytest.mark.parametrize("wrong", [("--prot", "1"), ("serve", "--prot", "1"), ("serve", "--anonymous", "maybe")])
def test_wrong_usage_is_2(wrong: tuple[str, ...], tmp_path: Path) -> None:
    failed = run(*wrong, cwd=tmp_path)
    assert failed.returncode == 2
    assert "usage: davserver" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "missing"), "is not there; create it first"),
        (("serve",), "There is nothing to serve: name a folder"),
        ((), "There is nothing to serve: name a folder"),
        (("missing",), "is not there; create it first"),
        (("sevre",), "sevre is no command and no folder; did you mean serve?"),
        (("serve", ".", "--host", "0.0.0.0"), "would let everybody in"),
        (("serve", ".", "--state", "state"), "lie within each other"),
        (("serve", ".", "-c", "missing.yaml"), "missing.yaml cannot be read"),
        (("serve", ".", "--port", "99999"), "command line: port: "),
        (("serve", "share", "--host", "203.0.113.7", "--anonymous", "ro", "--state", "s"), "Cannot listen on"),
        (("serve", "share", "--port", "0", "--state", "/proc/state"), "/proc/state cannot be used"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence_and_1(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    failed = run(*arguments, cwd=tmp_path, XDG_STATE_HOME="/nonexistent")
    assert failed.returncode == 1
    assert said in failed.stderr
    assert failed.stderr.startswith("davserver: ")
    assert failed.stderr.count("\n") == 1
    assert "Traceback" not in failed.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    assert "Traceback" in run("serve", "share", "--state", "/proc/state", "--debug", cwd=tmp_path).stderr


def test_check_config_prints_what_is_in_force_and_no_secret(tmp_path: Path) -> None:
    hashed = QUICK.hash("wonder")
    (tmp_path / "share").mkdir()
    (tmp_path / "x.yaml").write_text(
        f"port: 99\nshares: {{/: {{directory: share}}}}\nusers: {{alice: {{password: '{hashed}'}}}}\n"
        "webhooks: {chat: {url: 'https://example.org/hook', secret: sixteen-and-more-of-it}}\n"
    )
    shown = run("check-config", "-c", "x.yaml", cwd=tmp_path, DAVSERVER_LOCKS__MAX_TIMEOUT="12h")
    assert shown.returncode == 0
    values = yaml.safe_load(shown.stdout)
    assert (values["port"], values["locks"]["max_timeout"]) == (99, 43200)
    assert values["users"]["alice"]["password"] == values["webhooks"]["chat"]["secret"] == "********"
    assert hashed not in shown.stdout


def test_check_config_finds_what_would_not_start(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("shares: {/: {directory: missing}}\n")
    failed = run("check-config", "-c", "x.yaml", cwd=tmp_path)
    assert failed.returncode == 1
    assert "is not there" in failed.stderr


@pytest.mark.parametrize(
    "text",
    [
        "tls: {cert: missing.pem}",
        "tls: {cert: x.yaml}",
        "auth: {users_file: missing.yaml}",
        "auth: {users_file: share}",
        "auth: {htpasswd_file: missing}",
        "auth: {htdigest_file: missing}",
        "webhooks: {chat: {url: 'http://127.0.0.1/', secret_file: missing}}",
    ],
)
def test_check_config_says_of_files_what_serve_would_say(text: str, tmp_path: Path) -> None:
    """Also where what is to be served is named on the command line."""
    (tmp_path / "share").mkdir()
    (tmp_path / "x.yaml").write_text(f"{text}\n")
    served = run("serve", "share", "--port", "0", "--state", "state", "-c", "x.yaml", cwd=tmp_path)
    (tmp_path / "x.yaml").write_text(f"{text}\nshares: {{/: {{directory: share}}}}\nstate: state\n")
    checked = run("check-config", "-c", "x.yaml", cwd=tmp_path)
    assert (checked.returncode, served.returncode) == (1, 1)
    assert checked.stderr == served.stderr
    assert checked.stderr.count("\n") == 1


def test_check_config_warns_of_names_that_nobody_has(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "x.yaml").write_text(
        "shares: {/: {directory: share}}\nusers: {alice: {groups: [editors]}}\n"
        "rules: [{path: /, who: '@editros', allow: rw}]\n"
    )
    checked = run("check-config", "-c", "x.yaml", cwd=tmp_path)
    assert checked.returncode == 0
    said = "davserver: WARNING: rule for /: nobody is in the group @editros; did you mean @editors?\n"
    assert checked.stderr == said


def test_a_configuration_without_shares_is_for_serve_dir(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("port: 99\n")
    checked = run("check-config", "-c", "x.yaml", cwd=tmp_path)
    assert checked.returncode == 0
    assert checked.stderr == "davserver: No shares are configured: it is for `davserver serve DIR`.\n"
    assert yaml.safe_load(checked.stdout)["port"] == 99
    (tmp_path / "x.yaml").write_text("auth: {users_file: missing.yaml}\n")
    checked = run("check-config", "-c", "x.yaml", cwd=tmp_path)
    assert checked.returncode == 1
    assert f"auth.users_file: {tmp_path}/missing.yaml cannot be used" in checked.stderr


def test_hash_password_reads_a_pipe(tmp_path: Path) -> None:
    made = run("hash-password", cwd=tmp_path, stdin="wonder\n")
    assert PasswordHasher().verify(made.stdout.strip(), "wonder")
    assert run("hash-password", cwd=tmp_path, stdin="\n").returncode == 1


def test_elsewhere_than_on_linux_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(["version"]) == 1
    assert "runs on Linux" in capsys.readouterr().err


def test_a_user_on_the_command_line_gets_a_password_that_is_shown_once(tmp_path: Path) -> None:
    from base64 import b64encode

    from serving import Process

    with Process(tmp_path, "-u", "alice") as server:
        for _ in range(2000):
            found = [line for line in server.output if line.startswith("Password of alice")]
            if found:
                break
            server.client()("OPTIONS", "/")
        password = found[0].rsplit(" ", 1)[1].strip()
        assert server.client()("GET", "/").status == 401
        login = "Basic " + b64encode(f"DOMAIN\\alice:{password}".encode()).decode()
        assert server.client(Authorization=login)("PUT", "/f", b"x").status == 201
        assert server.stop() == 0


def test_anonymous_ro_reads_and_cannot_write(tmp_path: Path) -> None:
    from serving import Process

    with Process(tmp_path, "--anonymous", "ro") as server:
        (server.root / "f").write_text("x")
        client = server.client()
        assert client("GET", "/f").body == b"x"
        for method in ("PUT", "DELETE", "MKCOL", "PROPPATCH", "LOCK", "MOVE"):
            refused = client(method, "/f", b"")
            assert refused.status == 403, method
        assert client("COPY", "/f", Destination="/g").status == 403
        options = client("OPTIONS", "/f")
        assert options.headers["dav"] == "1, 3"
        assert "LOCK" not in options.headers["allow"]
        assert client.propfind("/f", "supportedlock").find("//D:supportedlock/*") == []
        assert sorted(os.listdir(server.root)) == [".davserver~stage", "f"]
