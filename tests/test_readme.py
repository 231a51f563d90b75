"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

from wire import Answer, Dav

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


def refused(dav: Dav, folder: str) -> Answer:
    path = f"{folder}/report.docx"
    if dav("HEAD", path).status == 404:
        assert dav("PUT", path, b"x").status == 201
        assert dav.lock(path, owner="Jane Smith", Timeout="Second-1740").status == 200
    return dav("PUT", path, b"y")


def test_the_423_is_what_the_server_answers(dav: Dav, folder: str) -> None:
    head, body = shown("xml")
    answer = refused(dav, folder)
    said = answer.body.decode().replace(f"{folder}/report.docx", "/report.docx")
    assert settled(said) == settled(body)
    assert f"HTTP/1.1 {answer.status} Locked" in head
    for line in head.splitlines()[2:]:
        name, _, value = line.partition(": ")
        assert name == "Retry-After" or answer.headers[name.lower()] == value
    assert 1700 < int(answer.headers["retry-after"]) <= 1740


def test_every_make_target_it_names_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(
            r"\bmake ([a-z-]+)", "".join(block for _, block in BLOCKS) + " ".join(re.findall(r"`[^`]*`", README))
        )
    )
    assert {"run", "test", "test-fast", "lint"} <= named <= targets
