"""README and docs say what is: every command in them is run, or says why not; links lead somewhere.

A block of `sh` is run in a sandbox with a server of its own, in the order of the page. What cannot be run has a comment
`<!-- not run: why -->` before it. A block of `yaml` is a configuration, and is loaded.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import reference
import testing_page
import yaml
from wire import Dav

from davserver.cli import command_line
from davserver.settings import ShareSettings, UserSettings, load
from davserver.webhook_settings import WebhookSettings

ROOT = Path(__file__).parent.parent
#: Pages whose examples have tests of their own.
OWN = {"api.md", "performance.md"}
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in OWN)]
ALL = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^\n]*?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)```", re.DOTALL)
_SERVE = re.compile(r"(?:\w+=\S+ +)*davserver serve\b[^|;&]*")


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    why: str | None


def blocks(page: Path) -> list[Block]:
    return [Block(found["kind"], found["text"], found["why"]) for found in _BLOCK.finditer(page.read_text())]


def named(page: Path) -> str:
    return page.name


# --- commands


class Sandbox:
    """A home, a folder to be in, and a server on a port of its own, as somebody at the page would have them."""

    def __init__(self, folder: Path) -> None:
        self.home, self.work = folder / "home", folder / "work"
        (self.home / "share").mkdir(parents=True)
        self.work.mkdir()
        (self.work / "davserver.yaml").write_text("# nothing but defaults\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("DAVSERVER_", "XDG_"))}
        self.environ = {
            **clean,
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DAVSERVER_PORT": self.port,
            "DAVSERVER_WORKERS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self._server: subprocess.Popen[str] | None = None

    def serve(self, line: str) -> None:
        self.stop()
        self._server = subprocess.Popen(
            ["bash", "-c", f"exec env {line}"], cwd=self.work, env=self.environ, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        assert self._server.stdout is not None
        told = []
        for text in self._server.stdout:
            told.append(text)
            if "Stop with Ctrl-C" in text:
                return
        raise AssertionError(f"{line}\n{''.join(told)}")

    def run(self, script: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.work, env=self.environ, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        assert "HTTP/1.1 4" not in done.stdout

    def take_lock(self, number: int) -> None:
        """The lock with that number, which the page is about; those before it are over."""
        dav = Dav("127.0.0.1", int(self.port))
        assert dav("PUT", "/report.docx", b"x").status == 201
        for _ in range(number - 1):
            token = dav.lock("/report.docx").token
            assert dav("UNLOCK", "/report.docx", Lock_Token=f"<{token}>").status == 204
        assert dav.lock("/report.docx", owner="Jane", Timeout="Second-3600").status == 200
        dav.close()

    def stop(self) -> None:
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGTERM)
            assert self._server.stdout is not None
            self._server.stdout.read()
            self._server.wait(timeout=30)
            self._server.stdout.close()
            self._server = None


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path)
    yield made
    made.stop()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_runs(page: Path, sandbox: Sandbox) -> None:
    commands = [block.text for block in blocks(page) if block.kind == "sh" and block.why is None]
    if not commands:
        return  # a page without commands
    sandbox.serve("davserver serve ~/share")
    if any(re.search(r"davserver locks \w+ 7\b", text) for text in commands):
        sandbox.take_lock(7)
    for text in commands:
        script = ""
        for line in text.replace("8080", sandbox.port).splitlines(keepends=True):
            served = _SERVE.match(line.partition("#")[0].strip())
            if served is None:
                # curl says nothing of an answer that is an error, unless it is asked to.
                script += re.sub(r"\bcurl\b", "curl -sSf", line)
                continue
            sandbox.run(script)
            script = ""
            sandbox.serve(served[0])
        sandbox.run(script)


@pytest.mark.parametrize("page", ALL, ids=named)
def test_what_is_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.why is None or len(block.why) > 4


@pytest.mark.parametrize("page", ALL, ids=named)
def test_commands_in_the_text_are_commands(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prose = _BLOCK.sub("", page.read_text())
    found = re.findall(r"`(?:docker exec \w+ )?davserver ([a-z][^`]*)`", prose)
    for text in found:
        words = [word for word in shlex.split(text)[:2] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        with pytest.raises(SystemExit) as ended:
            command_line()[0].parse_args([*words, "--help"])
        assert ended.value.code == 0, text
        options = {word for word in shlex.split(text) if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out)), text


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_configurations_can_be_loaded(page: Path, tmp_path: Path) -> None:
    file = tmp_path / "davserver.yaml"
    for block in blocks(page):
        if block.kind == "yaml":
            file.write_text(block.text)
            load(file=str(file), environ={}, flags={}, hash_password=str)


# --- what is generated, and links


def test_the_configuration_reference_is_current() -> None:
    assert reference.PAGE.read_text() == reference.page(reference.SOURCE.read_text()), "run: make docs"


@pytest.mark.slow
def test_the_page_about_tests_is_current() -> None:
    assert testing_page.PAGE.read_text() == testing_page.page(testing_page.collected()), "run: make docs"


def test_the_reference_names_every_setting() -> None:
    text = reference.PAGE.read_text()
    for setting in reference.settings(reference.SOURCE.read_text()):
        assert f"`{setting.keys[-1]}`" in text or f"## {'.'.join(setting.keys)}\n" in text, setting


def test_an_example_is_not_shown_as_the_default() -> None:
    """What stands in the column of defaults is what the settings say where nothing is set."""
    text = reference.page(reference.SOURCE.read_text())
    shares, users, webhooks = (
        dict(
            re.findall(
                r"^\| `(\w+)` \| (.*?) \|", text.partition(f"## {name}\n")[2].partition("\n## ")[0], re.MULTILINE
            )
        )
        for name in ("shares.PATH", "users.NAME", "webhooks.NAME")
    )
    assert shares.pop("directory") == webhooks.pop("url") == "must be said"
    share, user = ShareSettings(directory="/x"), UserSettings()
    webhook = WebhookSettings(url="http://x", secret="sixteen letters.")
    for told, settings in ((shares, share), (users, user), (webhooks, webhook.model_copy(update={"secret": None}))):
        assert told
        for name, default in told.items():
            value = settings.model_dump(mode="json")[name]
            assert yaml.safe_load(default.strip("`")) == value, name
    assert not re.search(r"example: \|", text)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue  # elsewhere: nothing here depends on the network
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in text or page.name in OWN, page.name
