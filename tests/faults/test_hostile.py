"""Whatever a stranger sends: it is refused or does nothing, nothing of ours is told, and the next one is served."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from serving import Running, serving
from wire import Raw

pytestmark = pytest.mark.slow

#: What a request that was refused may be answered with.
REFUSALS = frozenset({*range(400, 500), 501, 502, 505, 507})
OUTSIDE = b"what lies beside the share"
KEPT = b"kept as it was"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "outside").mkdir()
    (folder / "outside" / "inner").write_bytes(OUTSIDE)
    (folder / "outside.txt").write_bytes(OUTSIDE)
    share = folder / "share"
    (share / "d" / "e").mkdir(parents=True)
    (share / "keep.txt").write_bytes(KEPT)
    (share / "link").symlink_to(folder / "outside")
    (share / "linked.txt").symlink_to(folder / "outside.txt")
    (share / "loop").symlink_to("loop")
    (share / "up").symlink_to("..")
    with serving(folder) as running:
        yield running


def exchange(raw: Raw, sent: bytes) -> bytes:
    """All that comes back, after no more was said, until the server ends the connection."""
    raw.send_all(sent)
    raw.stop_sending()
    return raw.rest()


def statuses(answers: bytes) -> list[int]:
    """Of each answer in the stream that is no interim one."""
    return [int(digits) for digits in re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", answers)]


def beside(server: Running) -> dict[str, bytes]:
    folder = server.root.parent
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in (folder / "outside").rglob("*") if path.is_file()
    } | {
        "outside.txt": (folder / "outside.txt").read_bytes(),
        "": " ".join(sorted(os.listdir(folder))).encode(),
    }


@pytest.mark.parametrize("name", [*hostile.REFUSED, *hostile.HARMLESS])
def test_what_a_stranger_sends(name: str, server: Running, caplog: pytest.LogCaptureFixture) -> None:
    before = beside(server)
    started = time.monotonic()
    with server.raw() as raw:
        answers = exchange(raw, hostile.REFUSED.get(name) or hostile.HARMLESS[name])
    took = time.monotonic() - started
    found = statuses(answers)
    if name in hostile.REFUSED:
        assert found == [] or found[0] in REFUSALS, answers[:500]
    assert not any(status >= 500 and status not in REFUSALS for status in found), answers[:500]
    assert took < 5
    for told in (b"Traceback", str(server.root.parent).encode(), OUTSIDE, b"root:x:0"):
        assert told not in answers
    assert not any("Traceback" in str(record.exc_text) for record in caplog.records)
    assert beside(server) == before
    assert (server.root / "keep.txt").read_bytes() == KEPT
    assert sorted(os.listdir(server.root / "d")) == ["e"]
    assert server.client()("GET", "/keep.txt").body == KEPT


def test_there_are_enough_of_them() -> None:
    assert len(hostile.REFUSED) + len(hostile.HARMLESS) >= 200


def test_a_folder_that_another_process_keeps_swapping_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    """Between a look at a path and its use somebody puts a link there, again and again."""
    outside, share = tmp_path / "outside", tmp_path / "share"
    outside.mkdir()
    (outside / "inner").write_bytes(OUTSIDE)
    (share / "a" / "d").mkdir(parents=True)
    (share / "a" / "d" / "inner").write_bytes(KEPT)
    racer = subprocess.Popen([sys.executable, "-c", SWAPPING, str(share / "a"), str(outside)], stdout=subprocess.PIPE)
    seen: dict[tuple[str, int], int] = {}
    try:
        with serving(tmp_path) as server:
            assert racer.stdout is not None
            assert racer.stdout.readline() == b"swapping\n"
            client = server.client()
            end = time.monotonic() + 4
            number = 0
            while time.monotonic() < end or number < 50:
                number += 1
                fields = {"Destination": f"/a/d/{number}.copy", "Depth": "0"}
                for method, path, body in (
                    ("GET", "/a/d/inner", b""), ("PROPFIND", "/a/d", b""), ("PUT", f"/a/d/{number}", b"new"),
                    ("MKCOL", f"/a/d/{number}.d", b""), ("COPY", "/a/d/inner", b""), ("MOVE", f"/a/d/{number}", b""),
                    ("DELETE", f"/a/d/{number}.copy", b""),
                ):  # fmt: skip
                    answer = client(method, path, body, **fields)
                    seen[method, answer.status] = seen.get((method, answer.status), 0) + 1
                    assert OUTSIDE not in answer.body
                    assert answer.status < 500, (method, answer)
    finally:
        racer.kill()
        racer.wait()
        racer.stdout.close()  # type: ignore[union-attr]
    assert [path.name for path in outside.iterdir()] == ["inner"]
    assert (outside / "inner").read_bytes() == OUTSIDE
    assert seen["GET", 200]  # both were met: the folder
    assert any(method == "GET" and status >= 400 for method, status in seen)  # and the link


#: "d" is by turns a folder and a link that leads out; each step is one rename.
SWAPPING = """
import os, sys
parent, outside = sys.argv[1:]
os.chdir(parent)
os.symlink(outside, "link")
print("swapping", flush=True)
while True:
    os.rename("d", "real"); os.rename("link", "d")
    os.rename("d", "link"); os.rename("real", "d")
"""
