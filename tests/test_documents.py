"""What the documents show with curl is what curl shows. `python tests/test_documents.py` writes it anew."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from played import Player, commands, rewritten
from serving import QUICK, serving

from davserver.settings import Settings
from davserver.web.webhooks import signature

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "docs/api.md"]
#: Whom the documents know.
USERS = {name: {"password": QUICK.hash("wonder")} for name in ("jane", "bob", "shop", "admin")}
SETTINGS: dict[str, Any] = {
    "users": {**USERS, "jane": {**USERS["jane"], "display_name": "Jane Smith"}},
    "anonymous": "none",
    "locks": {"breakers": ["admin"]},
}
#: What differs from one run to the next.
PASSING = [
    (r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME"),
    (r"(\d{4}-\d\d-\d\d )?\d\d:\d\d UTC", "TIME"),
    (r"(?m)^Date: .*$", "Date: TIME"),
    (r"(?m)^Connection: close\n", ""),  # where this curl waits for a 100 Continue
    (r"(?m)^(Retry-After|Content-Length): \d+$", r"\1: N"),
    (r'"retry_after": \d+', '"retry_after": N'),
    (r"davp-[a-z0-9-]+", "davp-SECRET"),
    (r'"agent":"curl/[^"]*"', '"agent":"curl/N"'),
]


def settled(text: str) -> str:
    for pattern, name in PASSING:
        text = re.sub(pattern, name, text)
    return text.strip()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: the documents are NOT PLAYED")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_shows_what_stands_there(name: str, tmp_path: Path) -> None:
    with serving(tmp_path, **SETTINGS) as server:
        (server.root / "orders").mkdir()
        (tmp_path / "report.docx").write_text("report")
        player = Player(server.url, tmp_path)
        shown = 0
        for command in commands((ROOT / name).read_text()):
            output = player.play(command)
            if command.output is not None:
                assert settled(output) == settled(command.output), command.text
                shown += 1
        assert shown >= 3


def test_the_readme_shows_the_three_situations() -> None:
    answers = [
        json.loads(command.output.partition("\n\n")[2])
        for command in commands((ROOT / "README.md").read_text())
        if command.output is not None
    ]
    edited, maintenance, transaction = answers
    assert list(edited) == ["error", "message", "path", "locked_by", "locked_until", "retry_after", "locks"]
    assert list(maintenance) == [
        "error", "message", "maintenance_mode", "locked_until", "locked_by", "lock_reason", "retry_after", "locks",
    ]  # fmt: skip
    assert list(transaction) == ["error", "message", "lock_reason", "retry_after", "transaction_id", "locks"]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)


def test_the_configuration_it_shows_is_valid() -> None:
    shown: dict[str, Any] = {}
    for block in blocks("yaml"):
        shown |= yaml.safe_load(block)
    settings = Settings(**shown)
    assert settings.locks.breakers == ["admin"]
    assert settings.webhooks["chat"].path == "/docs"


def test_the_check_of_a_signature_that_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    genuine, now = names["is_genuine"], 1_000_000
    monkeypatch.setattr(names["time"], "time", lambda: float(now))
    key, body = b"a secret of sixteen", b'{"id": 1}'

    def headers(moment: int, key: bytes = key) -> dict[str, str]:
        said = str(moment)
        return {"Davserver-Timestamp": said, "Davserver-Signature": signature(key, said, body)}

    assert genuine(key, headers(now), body)
    assert not genuine(key, headers(now), body + b" ")
    assert not genuine(key, headers(now, b"another"), body)
    assert not genuine(key, headers(now - 301), body)
    assert not genuine(key, {**headers(now - 100), "Davserver-Timestamp": str(now)}, body)


def write_anew() -> None:
    for name in DOCUMENTS:
        folder = Path(tempfile.mkdtemp())
        with serving(folder, **SETTINGS) as server:
            (server.root / "orders").mkdir()
            (folder / "report.docx").write_text("report")
            document = ROOT / name
            document.write_text(rewritten(document.read_text(), Player(server.url, folder)))


if __name__ == "__main__":
    write_anew()
