"""`davserver locks` and `davserver maintenance`: on the state of a running server, and with none running."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from serving import QUICK, Running, serving
from wire import Dav

from davserver import cli_locks, cli_words
from davserver.cli import command_line, main
from davserver.web.models import YEAR

ALICE = "Basic YWxpY2U6YWxpY2U="


class Line:
    """The command line of somebody who may write the state folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.out = self.err = ""

    def __call__(self, *words: str, where: bool = True) -> int:
        place = ["--state", str(self.folder / "state"), "--directory", str(self.folder / "share")]
        code = main([*words, *(place if where else [])])
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *words: str) -> Any:
        assert self(*words, "--json") == 0
        return json.loads(self.out)


@pytest.fixture
def line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(tmp_path, capsys)


@pytest.fixture(params=["running", "stopped"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The tokens of two locks, Jane's and Alice's; the server that granted them still runs, or has ended."""
    users = {"alice": {"password": QUICK.hash("alice"), "display_name": "Alice Liddell"}}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, users=users, anonymous="rw"))
        tokens = furnish(server)
        if request.param == "stopped":
            stack.close()
        yield tokens


def furnish(server: Running) -> tuple[str, str]:
    jane, alice = server.client(User_Agent="Word"), server.client(Authorization=ALICE)
    assert jane("MKCOL", "/docs").status == 201
    assert jane("PUT", "/docs/r%C3%A9sum%C3%A9%201.odt", b"x").status == 201
    one = jane.lock("/docs/r%C3%A9sum%C3%A9%201.odt", owner="Jane Smith", Timeout="Second-1800")
    two = alice.lock("/docs", Depth="0", Timeout="Second-3600")
    assert (one.status, two.status) == (200, 200)
    return one.token, two.token


def test_list(world: tuple[str, str], line: Line) -> None:
    assert line("locks", "list") == 0
    head, first, second = line.out.splitlines()
    assert re.match(r"ID +PATH +KIND +HOLDER +SINCE +UNTIL$", head)
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"1 +/docs/résumé 1.odt +write +Jane Smith +{moment} +{moment}", first)
    assert re.fullmatch(rf"2 +/docs/ +write +Alice Liddell \(alice\) +{moment} +{moment}", second)
    found = line.json("locks", "list")
    assert [(each["id"], each["path"], each["locked_by"], each["depth"]) for each in found] == [
        (1, "/docs/r%C3%A9sum%C3%A9%201.odt", "Jane Smith", "0"), (2, "/docs/", "Alice Liddell", "0"),
    ]  # fmt: skip
    assert found[0]["client"]["agent"] == "Word"
    # What --holder takes; nobody has logged in for the other one.
    assert [each.get("login") for each in found] == [None, "alice"]
    for token in world:
        assert token.removeprefix("urn:uuid:") not in line.out


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (["--holder", "alice"], [2]),
        (["--holder", "nobody"], []),
        (["/docs"], [1, 2]),
        (["/docs/résumé 1.odt"], [1]),
        (["/docs/other"], []),
        (["/"], [1, 2]),
        (["--kind", "write"], [1, 2]),
        (["--kind", "maintenance"], []),
        (["--stale"], []),
    ],
)
def test_some(wanted: list[str], ids: list[int], world: tuple[str, str], line: Line) -> None:
    assert [each["id"] for each in line.json("locks", "list", *wanted)] == ids
    assert line("locks", "list", *wanted) == 0
    assert ("No locks." in line.out) == (ids == [])


def test_show(world: tuple[str, str], line: Line) -> None:
    assert line("locks", "show", "1") == 0
    shown = dict(re.split(r"  +", row, maxsplit=1) for row in line.out.splitlines())
    assert shown["path"] == "/docs/r%C3%A9sum%C3%A9%201.odt"
    assert shown["locked_by"] == "Jane Smith"
    assert shown["client_agent"] == "Word"
    assert shown["client_address"] == "127.0.0.1"
    assert line.json("locks", "show", "1")["client"] == {"address": "127.0.0.1", "agent": "Word"}
    assert world[0].removeprefix("urn:uuid:") not in line.out
    assert "login" not in shown
    assert line.json("locks", "show", "2")["login"] == "alice"
    assert line("locks", "show", "2") == 0
    assert re.search(r"^locked_by +Alice Liddell\nlogin +alice\n", line.out, re.MULTILINE)
    assert line("locks", "show", "99") == 1
    assert line.err == "davserver: There is no lock 99.\n"


def test_break(world: tuple[str, str], line: Line) -> None:
    assert line("locks", "break", "1", "--reason", "Jane is on holiday") == 0
    assert line.out == "Lock 1 on /docs/résumé 1.odt, held by Jane Smith, is broken.\n"
    assert [each["id"] for each in line.json("locks", "list")] == [2]
    assert line("locks", "break", "1", "--reason", "again") == 1
    assert line.err == "davserver: Lock 1 has ended.\n"
    assert line("locks", "show", "1") == 1
    with pytest.raises(SystemExit) as wrong:
        line("locks", "break", "2", "--reason", " ")
    assert wrong.value.code == 2
    assert line("locks", "break", "2", "--reason", "x" * 501) == 1
    assert "at most 500 characters" in line.err


def test_one_that_has_ended_keeps_none_of_the_others(world: tuple[str, str], line: Line) -> None:
    assert line("locks", "break", "99", "1", "98", "2", "1", "--reason", "r") == 1
    assert [text.split(" on ")[0] for text in line.out.splitlines()] == ["Lock 1", "Lock 2"]
    assert [text for text in line.err.splitlines() if text.startswith("davserver: ")] == [
        "davserver: There is no lock 99.", "davserver: There is no lock 98.",
    ]  # fmt: skip
    assert line.json("locks", "list") == []


def test_locks_of_one_transaction_end_together(tmp_path: Path, line: Line) -> None:
    """Who names all of them is not told that all but the first had ended before."""
    users = {"alice": {"password": QUICK.hash("alice")}}
    with serving(tmp_path, users=users) as server:
        alice = server.client(Authorization=ALICE)
        begun = alice(
            "POST", "/-/api/v1/transactions", json.dumps({"paths": ["/a", "/b", "/c"], "seconds": 60}).encode(),
            Content_Type="application/json",
        )  # fmt: skip
        assert begun.status == 201, begun.body
    assert line("locks", "break", "2", "1", "--reason", "r") == 0
    assert [text.split(", ")[0] for text in line.out.splitlines()] == ["Lock 2 on /b", "Lock 1 on /a"]
    assert line.json("locks", "list") == []
    assert line("locks", "break", "3", "--reason", "r") == 1


def test_a_running_server_obeys_at_once(tmp_path: Path, line: Line) -> None:
    """What is broken is free, and its holder is told who broke it, and why; what is set stops others."""
    with serving(tmp_path) as server:
        dav = server.client()
        assert dav("PUT", "/f", b"x").status == 201
        held = dav.lock("/f", owner="Jane")
        assert dav("PUT", "/f", b"y").status == 423
        assert line("locks", "break", "1", "--reason", "Jane is on holiday") == 0
        assert dav("PUT", "/f", b"y").status == 204
        late = dav("PUT", "/f", b"late", If=f"(<{held.token}>)")
        assert late.status == 412
        assert "Jane is on holiday" in late.body.decode()
        assert line("maintenance", "on", "--reason", "nightly backup", "--for", "1h") == 0
        assert re.fullmatch(r"/ is under maintenance until [\dT:-]+Z: nightly backup\n", line.out)
        refused = dav("PUT", "/f", b"z", Accept="application/json")
        assert refused.status == 423
        assert refused.json["maintenance_mode"] is True
        assert refused.json["lock_reason"] == "nightly backup"
        assert 3590 <= int(refused.headers["retry-after"]) <= 3600
        assert dav("GET", "/f").body == b"y"
        assert line("maintenance", "status") == 0
        assert "nightly backup" in line.out
        assert line("maintenance", "off") == 0
        assert line.out == "The maintenance of / is over.\n"
        assert dav("PUT", "/f", b"z").status == 204
        assert line("maintenance", "on", "/f", "--reason", "r", "--block-reads") == 0
        assert line.out == "/f is under maintenance until it is ended: r\n"
        assert dav("GET", "/f").status == 423
        assert line("maintenance", "off", "/f") == 0
        assert dav("GET", "/f").status == 200


def test_maintenance_with_no_server(line: Line, tmp_path: Path) -> None:
    """Set before the server has ever run, it stands when it starts."""
    (tmp_path / "share").mkdir()
    assert line("maintenance", "status") == 1
    assert "no server has run with these settings yet" in line.err
    assert line("maintenance", "on", "--reason", "move to another disk") == 0
    said = f"davserver: No server has run with the state in {tmp_path / 'state'} yet; one with another state does not"
    assert line.err.splitlines()[-1].startswith(said)
    assert [each["kind"] for each in line.json("maintenance", "status")] == ["maintenance"]
    with serving(tmp_path) as server:
        assert server.client()("PUT", "/f", b"x").status == 423
    assert line("maintenance", "off") == 0
    assert line("maintenance", "off") == 1
    assert line.err == "davserver: There is no maintenance of /.\n"
    assert line("maintenance", "status") == 0
    assert line.out == "Nothing is under maintenance.\n"
    with serving(tmp_path) as server:
        assert server.client()("PUT", "/f", b"x").status == 201


def test_maintenance_of_what_is_not_there(line: Line, tmp_path: Path) -> None:
    """Exit code 0 would tell a backup that nobody writes."""
    assert line("maintenance", "on", "--reason", "backup") == 1
    assert line.err == f"davserver: The folder of share /, {tmp_path / 'share'}, is not there; create it first.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("used", [False, True], ids=["never used", "of another time"])
def test_maintenance_in_a_state_that_the_server_does_not_use(used: bool, line: Line, tmp_path: Path) -> None:
    share, other = tmp_path / "share", tmp_path / "other"
    share.mkdir()
    other.mkdir()
    if used:
        with serving(tmp_path):
            pass
    with serving(other, shares={"/": {"directory": str(share)}}) as server:
        before = sorted(tmp_path.iterdir())
        assert line("maintenance", "on", "--reason", "backup") == 1
        assert line.err == (
            f"davserver: The folder of share /, {share}, is served by a davserver that keeps its locks elsewhere than "
            f"in {tmp_path / 'state'}: name its configuration with -c, or its state folder with --state.\n"
        )
        assert sorted(tmp_path.iterdir()) == before
        named = ("--directory", str(share), "--state", str(other / "state"))
        assert line("maintenance", "on", "--reason", "backup", *named, where=False) == 0
        assert "No server has run" not in line.err
        assert server.client()("PUT", "/f", b"x").status == 423
    assert line("maintenance", "on", "--reason", "backup") == 0
    assert ("No server has run" in line.err) is not used


def test_maintenance_waits_for_locks_or_breaks_them(world: tuple[str, str], line: Line) -> None:
    assert line("maintenance", "on", "--reason", "backup") == 1
    assert "/docs/résumé 1.odt" in line.out
    assert line.err == "davserver: These 2 locks stand in the way; wait, or say --break to break what is there.\n"
    assert line("maintenance", "on", "/docs/résumé 1.odt", "--reason", "backup") == 1
    assert "This lock stands in the way" in line.err
    assert line("maintenance", "on", "--reason", "backup", "--break") == 0
    assert [each["kind"] for each in line.json("locks", "list")] == ["maintenance"]


def test_a_user_may_work_on_meanwhile(tmp_path: Path, line: Line) -> None:
    users = {name: {"password": QUICK.hash(name)} for name in ("alice", "bob")}
    with serving(tmp_path, users=users) as server:
        alice, bob = (server.client(Authorization=login) for login in (ALICE, "Basic Ym9iOmJvYg=="))
        assert line("maintenance", "on", "--reason", "import", "--as", "alice") == 1
        assert line.err == "davserver: There is no user alice; davserver user list shows those that there are.\n"
        assert line("maintenance", "status") == 0
        assert line.out == "Nothing is under maintenance.\n"
        config = tmp_path / "davserver.yaml"
        config.write_text("users: {alice: {display_name: Alice Liddell}}\n")
        assert line("maintenance", "on", "--reason", "import", "--as", "alise", "-c", str(config)) == 1
        assert "There is no user alise" in line.err
        assert line("maintenance", "on", "--reason", "import", "--as", "alice", "-c", str(config)) == 0
        # Who did it is told beside whom it was done for.
        assert re.search(r"maintenance \d on / set by local:\S+ for alice without an end: import\n$", line.err)
        assert alice("PUT", "/f", b"x").status == 201
        assert bob("PUT", "/f", b"y").status == 423
        (found,) = line.json("maintenance", "status")
        assert (found["locked_by"], found["lock_reason"]) == ("Alice Liddell", "import")
        assert "locked_until" not in found


def test_where_a_proxy_logs_users_in_anybody_may_be_one(tmp_path: Path, line: Line) -> None:
    (tmp_path / "share").mkdir()
    config = tmp_path / "davserver.yaml"
    config.write_text("trusted_proxies: ['::1']\nauth: {proxy_user_header: Remote-User}\n")
    assert line("maintenance", "on", "--reason", "import", "--as", "zoe", "-c", str(config)) == 0
    assert line.json("maintenance", "status")[0]["locked_by"] == "zoe"


@pytest.mark.parametrize(
    ("text", "later"), [("2099-06-15T03:00Z", None), ("2099-06-15T03:00", None), ("00:00", 24), ("23:59", 24)]
)
def test_until(text: str, later: int | None, line: Line, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    assert line("maintenance", "on", "--reason", "r", "--until", text) == 0
    (found,) = line.json("maintenance", "status")
    until = datetime.fromisoformat(found["locked_until"])
    now = datetime.now().astimezone()
    assert until > now
    if later is None:
        assert until.year == 2099
    else:
        assert until <= now + timedelta(hours=later, minutes=1)
        assert until.astimezone().strftime("%H:%M") in (text, "00:00")


def test_until_a_moment_that_is_over(line: Line, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    assert line("maintenance", "on", "--reason", "r", "--until", "2020-06-15T03:00Z") == 1
    assert line.err == "davserver: That moment is over.\n"
    assert line("maintenance", "status") == 0
    assert line.out == "Nothing is under maintenance.\n"


def test_as_long_as_the_api_takes_it(line: Line, tmp_path: Path) -> None:
    assert cli_words.LONGEST == YEAR
    (tmp_path / "share").mkdir()
    assert line("maintenance", "on", "--reason", "r", "--for", "366d") == 0
    assert [each["kind"] for each in line.json("maintenance", "status")] == ["maintenance"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("maintenance", "on"),
        ("maintenance", "on", "--reason", "r", "--until", "tomorrow"),
        ("maintenance", "on", "--reason", "r", "--until", "25:00"),
        ("maintenance", "on", "--reason", "r", "--for", "long"),
        ("maintenance", "on", "--reason", "r", "--for", "1h", "--until", "03:00"),
        ("locks",),
        ("maintenance", "on", "--reason", "r", "--for", "999999999d"),
        ("maintenance", "on", "--reason", "r", "--for", "367d"),
        ("maintenance", "on", "--reason", "r", "--for", "0s"),
        ("maintenance", "on", "--reason", "r", "--until", "0001-01-01T00:00+14:00"),
        ("locks", "show", "x"),
        ("locks", "show", "99999999999999999999"),
        ("locks", "show", "9" * 5000),
        ("locks", "break", "99999999999999999999", "--reason", "x"),
        ("locks", "break", "1"),
        ("locks", "list", "--kind", "other"),
    ],
)
def test_wrong_usage_is_2(wrong: tuple[str, ...], line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        line(*wrong)
    assert ended.value.code == 2
    assert "usage: davserver" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("locks", "list", "docs"), "'docs' is no path: it begins with a slash."),
        (("locks", "list", "/a/../b"), "'/a/../b' is no path: "),
        (("locks", "list", "/caf\udce9"), "'/caf\\udce9' is no path: it is not UTF-8."),
        (("maintenance", "off", "/.."), "'/..' is no path: "),
    ],
)
def test_what_is_no_path(words: tuple[str, ...], said: str, world: tuple[str, str], line: Line) -> None:
    assert line(*words) == 1
    assert line.err.startswith(f"davserver: {said}")


def test_which_server_is_meant(line: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert line("locks", "list", where=False) == 1
    assert "Say which server is meant" in line.err
    assert line("locks", "list") == 1
    assert "There is no state in" in line.err


def test_a_share_whose_folder_is_away(tmp_path: Path, line: Line) -> None:
    """Its locks are known, and can be broken."""
    with serving(tmp_path) as server:
        furnish_one(server.client())
    (tmp_path / "share").rename(tmp_path / "away")
    assert [each["path"] for each in line.json("locks", "list")] == ["/f"]
    assert line("locks", "break", "1", "--reason", "r") == 0
    assert line("locks", "list") == 0
    assert line.out == "No locks.\n"


def furnish_one(client: Dav) -> None:
    client("PUT", "/f", b"x")
    assert client.lock("/f").status == 200


def test_a_name_that_moves_the_cursor_does_not(tmp_path: Path, line: Line) -> None:
    with serving(tmp_path) as server:
        client = server.client()
        client("PUT", "/%1B%5B2J%0Ax", b"x")
        assert client.lock("/%1B%5B2J%0Ax").status == 200
    assert line("locks", "list") == 0
    assert len(line.out.splitlines()) == 2
    assert "\x1b" not in line.out
    assert line("locks", "show", "1") == 0
    assert "\x1b" not in line.out


def test_a_lock_whose_client_has_probably_gone(tmp_path: Path, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as server:
        client = server.client()
        token = client.lock("/f", Timeout="Second-3600").token
        assert client("LOCK", "/f", b"", If=f"(<{token}>)", Timeout="Second-3600").status == 200
    assert "probably stale" not in (line("locks", "list") or line.out)
    # It has refreshed after less than a minute, and then not for longer than twice that.
    later = cli_locks.time.time() + 1800
    monkeypatch.setattr(cli_locks.time, "time", lambda: later)
    line("locks", "list")
    assert "probably stale" in line.out


def test_who_runs_a_command_without_an_account(tmp_path: Path, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container with a user of its own there is no name for it."""

    def unknown() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    (tmp_path / "share").mkdir()
    assert line("maintenance", "on", "--reason", "r") == 0
    assert line.json("maintenance", "status")[0]["locked_by"] == f"uid {os.getuid()}"


@pytest.mark.parametrize(
    "command", [("locks",), ("locks", "list"), ("locks", "show"), ("locks", "break"), ("maintenance",),
                ("maintenance", "on"), ("maintenance", "off"), ("maintenance", "status")],
)  # fmt: skip
def test_every_help_begins_with_an_example_that_works(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    example = re.search(r"^Example:  davserver (.*)$", shown, re.MULTILINE)
    assert example is not None
    import shlex

    words = shlex.split(example[1])
    assert words[: len(command)] == list(command)
    command_line()[0].parse_args(words)
