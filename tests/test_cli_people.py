"""The commands for users and their passwords, as people use them."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from base64 import b64encode
from pathlib import Path

import pytest
import yaml
from serving import Process
from test_cli import run
from wire import Dav

from davserver.access.accounts import Algorithm, ha1
from davserver.access.hashes import PasswordHash
from davserver.access.users_file import UsersFile
from davserver.cli import main
from davserver.settings import parse_users
from davserver.storage.sqlite import SqliteState


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "share").mkdir()
    file = tmp_path / "davserver.yaml"
    values = {
        "shares": {"/": {"directory": str(tmp_path / "share")}},
        "state": str(tmp_path / "state"),
        "auth": {"users_file": str(tmp_path / "users.yaml")},
        "anonymous": "none",
    }
    file.write_text(yaml.safe_dump(values))
    return file


def users(config: Path) -> dict[str, dict[str, object]]:
    return yaml.safe_load((config.parent / "users.yaml").read_text())


@pytest.mark.slow
def test_a_user_is_added_changed_listed_and_removed(config: Path) -> None:
    here = config.parent
    added = run(
        "user", "add", "alice", "--group", "editors", "--display-name", "Alice Smith", cwd=here, stdin="wonder\n"
    )
    told = f"alice may log in: that stands in {here}/users.yaml.\n"
    assert (added.returncode, added.stdout, added.stderr) == (0, told, "")
    entry = users(config)["alice"]
    assert entry["groups"] == ["editors"]
    assert PasswordHash.parse(str(entry["password"])).matches(b"wonder")
    assert stat.S_IMODE((here / "users.yaml").stat().st_mode) == 0o600

    again = run("user", "add", "alice", cwd=here, stdin="other\n")
    assert again.returncode == 1
    assert "There is a user alice already" in again.stderr
    made_up = run("user", "add", "bob", "--generate", cwd=here)
    password = made_up.stdout.rpartition(" ")[2].strip()
    assert PasswordHash.parse(str(users(config)["bob"]["password"])).matches(password.encode())

    changed = run("user", "passwd", "alice", cwd=here, stdin="sesame\n")
    assert changed.stdout == "alice has a new password.\n"
    assert PasswordHash.parse(str(users(config)["alice"]["password"])).matches(b"sesame")
    assert users(config)["alice"]["groups"] == ["editors"]

    listed = json.loads(run("user", "list", "--json", cwd=here).stdout)
    assert listed == [
        {"name": "alice", "display_name": "Alice Smith", "groups": ["editors"], "password": True, "digest": []},
        {"name": "bob", "display_name": "bob", "groups": [], "password": True, "digest": []},
    ]
    assert "Alice Smith" in run("user", "list", cwd=here).stdout
    assert run("user", "remove", "bob", cwd=here).stdout == "bob is gone.\n"
    assert list(users(config)) == ["alice"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("user", "passwd", "nobody"), "x\n", "There is no user nobody in that file; it holds: nobody."),
        (("user", "remove", "nobody"), "", "There is no user nobody in that file"),
        (("user", "add", "a:b"), "x\n", "cannot be a user name"),
        (("user", "add", "anonymous"), "x\n", "cannot be a user name"),
        (("user", "add", "jose\u0301"), "x\n", "in Unicode's composed form (NFC) it is 'jos\\xe9'"),
        (("user", "add", "alice"), "\n", "The password is empty."),
        (("app-password", "create", "alice", "phone"), "", "There is no state in"),
        (("user", "list"), "", "auth.users_file: "),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(arguments: tuple[str, ...], stdin: str, said: str, config: Path) -> None:
    failed = run(*arguments, cwd=config.parent, stdin=stdin)
    assert failed.returncode == 1
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (config.parent / "users.yaml").exists()


@pytest.mark.slow
def test_without_a_file_for_users(tmp_path: Path) -> None:
    failed = run("user", "add", "alice", cwd=tmp_path, stdin="x\n")
    assert failed.returncode == 1
    assert "set auth.users_file" in failed.stderr


@pytest.mark.slow
def test_a_user_is_added_where_the_server_looks(tmp_path: Path) -> None:
    """Neither is run where the configuration lies."""
    for name in ("etc", "elsewhere"):
        (tmp_path / name).mkdir()
    config = tmp_path / "etc" / "davserver.yaml"
    config.write_text("auth: {users_file: users.yaml}\n")
    added = run("user", "add", "alice", "-c", "../etc/davserver.yaml", cwd=tmp_path / "elsewhere", stdin="wonder\n")
    assert added.stdout == f"alice may log in: that stands in {tmp_path}/etc/users.yaml.\n"
    with Process(tmp_path, "-c", str(config)) as server:
        login = "Basic " + b64encode(b"alice:wonder").decode()
        assert server.client(Authorization=login)("PROPFIND", "/", Depth="0").status == 207
        assert server.stop() == 0


@pytest.mark.slow
def test_what_digest_needs_is_made_where_it_is_on(config: Path) -> None:
    values = yaml.safe_load(config.read_text())
    values["auth"] |= {"digest": True, "realm": "files"}
    config.write_text(yaml.safe_dump(values))
    run("user", "add", "alice", cwd=config.parent, stdin="wonder\n")
    made = [ha1(algorithm, "alice", "files", "wonder") for algorithm in Algorithm]
    assert users(config)["alice"]["digest"] == made
    shown = run("hash-password", "--digest", "alice", cwd=config.parent, stdin="wonder\n").stdout
    found = parse_users(f"alice: {{{', '.join(shown.splitlines())}}}")["alice"]
    assert list(found.digest) == made
    assert found.password is not None
    assert PasswordHash.parse(found.password).matches(b"wonder")
    masked = run("check-config", cwd=config.parent).stdout
    assert made[0] not in masked


def until(client: Dav, path: str, status: int) -> None:
    """A server looks once a second whether accounts have changed."""
    deadline = time.monotonic() + 30
    while (seen := client("PROPFIND", path, Depth="0").status) != status:
        assert time.monotonic() < deadline, seen


@pytest.mark.slow
def test_app_passwords_beside_a_running_server(config: Path) -> None:
    here = config.parent
    run("user", "add", "alice", cwd=here, stdin="wonder\n")
    (here / "share" / "docs").mkdir()
    with Process(here, "-c", str(config)) as server:
        made = json.loads(
            run("app-password", "create", "alice", "phone", "--path", "/docs", "--read-only", "--for", "1d", "--json",
                cwd=here).stdout
        )  # fmt: skip
        assert (made["path"], made["read_only"], made["name"]) == ("/docs", True, "phone")
        client = server.client(Authorization="Basic " + b64encode(f"alice:{made['password']}".encode()).decode())
        assert client("PROPFIND", "/docs", Depth="0").status == 207
        assert client("PUT", "/docs/x", b"").status == 403
        assert client("PUT", "/x", b"").status == 404
        (listed,) = json.loads(run("app-password", "list", "--json", cwd=here).stdout)
        assert listed["last_used_from"] == "127.0.0.1"
        assert "password" not in listed
        assert "phone" in run("app-password", "list", "alice", cwd=here).stdout
        other = json.loads(run("app-password", "create", "alice", "tablet", "--json", cwd=here).stdout)["id"]
        revoked = run("app-password", "revoke", "98", str(made["id"]), "99", str(other), cwd=here)
        assert revoked.returncode == 1
        assert revoked.stderr == "davserver: There is no app password 98.\ndavserver: There is no app password 99.\n"
        assert [text.partition(" is ")[0] for text in revoked.stdout.splitlines()] == [
            f"App password {made['id']} of alice for phone", f"App password {other} of alice for tablet",
        ]  # fmt: skip
        until(client, "/docs", 401)
        assert run("app-password", "revoke", str(made["id"]), cwd=here).returncode == 1
        assert run("app-password", "list", cwd=here).stdout == "No app passwords.\n"
        # Users too come and go while the server runs.
        whole = server.client(Authorization="Basic " + b64encode(b"bob:x").decode())
        run("user", "add", "bob", cwd=here, stdin="x\n")
        until(whole, "/", 207)
        run("app-password", "create", "bob", "tablet", cwd=here)
        assert "and 1 app passwords" in run("user", "remove", "bob", cwd=here).stdout
        until(whole, "/", 401)


@pytest.fixture
def alice(config: Path) -> Path:
    """The configuration of a server that has run, with one user."""
    (config.parent / "users.yaml").write_text("alice: {}\n")
    (config.parent / "state").mkdir()
    SqliteState(str(config.parent / "state"), durable=False).close()
    return config


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", "alice", "x", "--path", "/../x"), 1, "davserver: '/../x' is no path: "),
        (("create", "alice", "x", "--path", "/caf\udce9"), 1, "davserver: '/caf\\udce9' is no path: it is not UTF-8."),
        (("create", "alice", "x", "--for", "999999999d"), 2, "--for: must be between 1s and 366d"),
        (("create", "alice", "x", "--for", "0s"), 2, "--for: must be between 1s and 366d"),
        (("revoke", "99999999999999999999"), 2, "ID: there is no number beyond 9223372036854775807"),
        (("revoke", "9223372036854775807"), 1, "davserver: There is no app password 9223372036854775807."),
        (("revoke", "seven"), 2, "ID: 'seven' is no number"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(
    words: tuple[str, ...], code: int, said: str, alice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended: object = main(["app-password", *words, "-c", str(alice)])
    except SystemExit as exit_:
        ended = exit_.code
    assert ended == code
    assert said in capsys.readouterr().err
    assert main(["app-password", "list", "-c", str(alice)]) == 0
    assert capsys.readouterr().out == "No app passwords.\n"


def test_two_who_add_users_at_once_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"

    def add(start: int) -> None:
        for number in range(start, start + 10):
            with UsersFile(str(path), parse_users).changing() as found:
                found[f"user{number}"] = {}

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(UsersFile(str(path), parse_users).read()) == 30


def test_what_a_server_would_not_take_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    file = UsersFile(str(path), parse_users)
    with file.changing() as found:
        found["alice"] = {}
    path.chmod(0o640)
    before = path.read_text()
    with pytest.raises(ValueError, match="password"), file.changing() as found:
        found["bob"] = {"password": "plain"}
    assert path.read_text() == before
    with pytest.raises(RuntimeError), file.changing() as found:
        raise RuntimeError
    with file.changing() as found:
        found["bob"] = {}
    assert sorted(file.read()) == ["alice", "bob"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("- a\n")
    with pytest.raises(ValueError, match="section"), file.changing():
        pass
    assert sorted(os.listdir(tmp_path)) == ["users.yaml", "users.yaml.lock"]
