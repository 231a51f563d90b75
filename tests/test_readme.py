"""What the README shows is what happens."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from serving import QUICK, Running, serving
from wire import Answer, Dav

from davserver.cli import command_line, main
from davserver.protocol.locks import Principal
from davserver.protocol.paths import DavPath
from davserver.server.compose import open_service
from davserver.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
#: What differs from one run to the next.
PASSING = [
    (r"Second-\d+", "Second-N"),
    (r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME"),
    (r"(\d{4}-\d\d-\d\d )?\d\d:\d\d UTC", "TIME"),
    (r"retry_after\": \d+", 'retry_after": N'),
    (r'"id": \d+', '"id": N'),
    (r"txn-\d+", "txn-N"),
]


def settled(text: str) -> str:
    for pattern, name in PASSING:
        text = re.sub(pattern, name, text)
    return text.strip()


def shown(kind: str) -> tuple[str, str]:
    """(head, body) of an answer as the README prints it."""
    block = re.search(rf"<!-- 423 {kind} -->\n```\n(.*?)```", README, re.DOTALL)
    assert block is not None
    head, _, body = block[1].partition("\n\n")
    return head, body


def refused(dav: Dav, folder: str, **headers: str) -> Answer:
    path = f"{folder}/report.docx"
    if dav("HEAD", path).status == 404:
        assert dav("PUT", path, b"x").status == 201
        assert dav.lock(path, owner="Jane Smith", Timeout="Second-1740").status == 200
    return dav("PUT", path, b"y", **headers)


@pytest.mark.parametrize(("kind", "headers"), [("xml", {}), ("json", {"Accept": "application/json"})])
def test_the_423_is_what_the_server_answers(kind: str, headers: dict[str, str], dav: Dav, folder: str) -> None:
    head, body = shown(kind)
    answer = refused(dav, folder, **headers)
    said = answer.body.decode().replace(f"{folder}/report.docx", "/report.docx")
    assert settled(said) == settled(body)
    assert f"HTTP/1.1 {answer.status} Locked" in head
    for line in head.splitlines()[2:]:
        name, _, value = line.partition(": ")
        assert name == "Retry-After" or answer.headers[name.lower()] == value
    assert 1700 < int(answer.headers["retry-after"]) <= 1740
    if kind == "json":
        assert list(json.loads(said)) == list(json.loads(body))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    users = {name: {"password": QUICK.hash(name)} for name in ("alice", "bob")}
    with serving(tmp_path_factory.mktemp("people"), users=users) as running:
        yield running


@pytest.mark.parametrize(("kind", "path"), [("maintenance", "/docs/report.docx"), ("transaction", "/orders/123")])
def test_the_other_situations_are_answered_so(kind: str, path: str, people: Running) -> None:
    head, body = shown(kind)
    bob = people.client(Authorization="Basic Ym9iOmJvYg==")
    assert bob("MKCOL", path.rpartition("/")[0]).status == 201
    assert bob("PUT", path, b"x").status == 201
    if kind == "maintenance":
        (command,) = re.findall(r"^\$ davserver (.*)$", head, re.MULTILINE)
        assert main([*shlex.split(command), "--state", str(people.state), "--directory", str(people.root)]) == 0
    else:
        settings = Settings(state=str(people.state), shares={"/": {"directory": str(people.root)}})
        with ExitStack() as stack:
            service = open_service(settings, str(people.state), stack)
            service.begin([DavPath.parse(path)], Principal("alice"), 60, "Payment processing in progress")
    answer = bob("PUT", path, b"y", Accept="application/json")
    assert answer.status == 423
    assert "HTTP/1.1 423 Locked" in head
    assert settled(answer.body.decode()) == settled(body)
    assert list(answer.json) == list(json.loads(body))
    assert answer.headers["content-type"] == "application/json"
    left = int(re.findall(r"^Retry-After: (\d+)$", head, re.MULTILINE)[0])
    assert left - 30 < int(answer.headers["retry-after"]) <= left


def test_every_command_it_names_is_one() -> None:
    commands = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    named = [line.partition("#")[0] for line in commands if "davserver " in line]
    named += [line for line in re.findall(r"`(davserver [^`]*)`", README) if "DIR" not in line]
    assert len(named) >= 4
    for line in named:
        words = shlex.split(line)
        command_line()[0].parse_args(words[words.index("davserver") + 1 :])


def test_every_make_target_it_names_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(
            r"\bmake ([a-z-]+)", "".join(block for _, block in BLOCKS) + " ".join(re.findall(r"`[^`]*`", README))
        )
    )
    assert {"run", "test", "test-fast", "lint"} <= named <= targets


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
