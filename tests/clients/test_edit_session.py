"""curl and cadaver: two people, one document, and a lock between them, with programs people have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import docx
import pytest
from lxml import etree
from serving import Process
from wire import lockinfo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (Debian: apt install curl)"),
]
needs_cadaver = pytest.mark.skipif(
    shutil.which("cadaver") is None, reason="cadaver is not installed (Debian: apt install cadaver)"
)


def document(path: Path, text: str) -> Path:
    """A real Word document that says `text`."""
    made = docx.Document()
    made.add_paragraph(text)
    made.save(str(path))
    return path


def text_of(path: Path) -> str:
    return "\n".join(paragraph.text for paragraph in docx.Document(str(path)).paragraphs)


def curl(*arguments: str) -> tuple[int, str, str]:
    """(status, head, body)."""
    run = subprocess.run(["curl", "-sS", "-i", *arguments], capture_output=True, text=True, timeout=30, check=True)
    head, _, body = run.stdout.partition("\n\n") if "\r\n\r\n" not in run.stdout else run.stdout.partition("\r\n\r\n")
    while head.startswith("HTTP/1.1 100"):
        head, _, body = body.partition("\r\n\r\n")
    return int(head.split()[1]), head, body


def test_one_edits_the_other_waits_and_knows_for_whom(tmp_path: Path) -> None:
    first = document(tmp_path / "first.docx", "draft")
    mine = document(tmp_path / "mine.docx", "Jane's version")
    theirs = document(tmp_path / "theirs.docx", "Bob's version")
    with Process(tmp_path) as server:
        url = server.url + "report.docx"
        assert curl("-T", str(first), url)[0] == 201

        body = tmp_path / "lock.xml"
        body.write_bytes(lockinfo(owner="Jane Smith"))
        status, head, answer = curl(
            "-X", "LOCK", "-H", "Depth: 0", "-H", "Timeout: Second-1800", "--data-binary", f"@{body}", url
        )
        assert status == 200
        found = re.search(r"(?i)^lock-token: <(urn:uuid:[0-9a-f-]{36})>\r?$", head, re.MULTILINE)
        assert found is not None
        token = found[1]
        assert token in answer

        status, head, answer = curl("-T", str(theirs), url)
        assert status == 423
        retry = re.search(r"(?i)^retry-after: (\d+)\r?$", head, re.MULTILINE)
        assert retry is not None
        assert 1700 < int(retry[1]) <= 1800
        assert "application/xml" in head
        error = etree.fromstring(answer.encode())
        dav = {"D": "DAV:"}
        assert error.xpath("/D:error/D:lock-token-submitted/D:href/text()", namespaces=dav) == ["/report.docx"]
        assert error.xpath("/D:error/D:detail/D:lockinfo/D:owner/text()", namespaces=dav) == ["Jane Smith"]
        assert token not in answer

        status, head, answer = curl("-T", str(theirs), "-H", "Accept: application/json", url)
        assert status == 423
        told = json.loads(answer)
        assert told["error"] == "Locked"
        assert told["locked_by"] == "Jane Smith"
        assert told["path"] == "/report.docx"
        assert told["message"].startswith("report.docx is being edited by Jane Smith until ")
        assert 1700 < told["retry_after"] <= 1800
        assert token not in answer

        assert curl("-T", str(mine), "-H", f"If: (<{token}>)", url)[0] == 204
        assert text_of(server.root / "report.docx") == "Jane's version"
        assert curl("-X", "UNLOCK", "-H", f"Lock-Token: <{token}>", url)[0] == 204
        assert curl("-T", str(theirs), url)[0] == 204
        assert text_of(server.root / "report.docx") == "Bob's version"


@needs_cadaver
def test_cadaver_locks_edits_and_unlocks_while_curl_is_refused(tmp_path: Path) -> None:
    mine = document(tmp_path / "mine.docx", "by cadaver")
    theirs = document(tmp_path / "theirs.docx", "by curl")

    def cadaver(*commands: str) -> str:
        run = subprocess.run(
            ["cadaver", server.url],
            input="\n".join([*commands, "quit", ""]),
            capture_output=True,
            text=True,
            timeout=30,
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        return run.stdout

    with Process(tmp_path) as server:
        url = server.url + "report.docx"
        assert curl("-T", str(theirs), url)[0] == 201
        commands = subprocess.Popen(
            ["cadaver", server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        assert commands.stdin is not None
        assert commands.stdout is not None
        with commands:
            commands.stdin.write("lock report.docx\n")
            commands.stdin.flush()
            lines = []
            for line in commands.stdout:
                lines.append(line)
                if "succeeded" in line or "failed" in line:
                    break
            assert "succeeded" in lines[-1], lines
            assert curl("-T", str(theirs), url)[0] == 423
            out, _ = commands.communicate(f"put {mine.name} report.docx\nunlock report.docx\nquit\n", timeout=30)
        assert "failed" not in out, out
        assert text_of(server.root / "report.docx") == "by cadaver"
        assert curl("-T", str(theirs), url)[0] == 204
        assert "report.docx" in cadaver("ls")
