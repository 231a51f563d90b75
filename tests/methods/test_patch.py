"""PATCH with X-Update-Range, as sabre/dav has it, row by row of its table and beyond."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from inprocess import Content, Local, local

from davserver.methods import partial

KIND = "application/x-sabredav-partialupdate"


def patch(app: Local, path: str, where: str | None, body: object = b"----", **headers: str) -> object:
    fields = {"Content-Type": KIND, **({} if where is None else {"X-Update-Range": where})}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return app("PATCH", path, body, fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("bytes=0-3", b"----567890"),
        ("bytes=1-4", b"1----67890"),
        ("bytes=0-", b"----567890"),
        ("bytes=-4", b"123456----"),
        ("bytes=-2", b"12345678----"),
        ("bytes=2-", b"12----7890"),
        ("bytes=12-", b"1234567890\0\0----"),
        ("append", b"1234567890----"),
        ("Append", b"1234567890----"),
        ("BYTES= 6-9", b"123456----"),
        ("bytes=8-11", b"12345678----"),
        ("bytes=-400", b"----567890"),
        ("bytes=10-", b"1234567890----"),
    ],
)
def test_where_a_part_goes(where: str, expected: bytes, app: Local, box: str) -> None:
    before = app("PUT", f"{box}/f", b"1234567890")
    answer = patch(app, f"{box}/f", where)
    assert answer.status == 204
    got = app("GET", f"{box}/f")
    assert got.body == expected
    assert got.headers["etag"] == answer.headers["etag"] != before.headers["etag"]
    assert "last-modified" in answer.headers


@pytest.mark.parametrize(
    ("where", "kind", "body", "status"),
    [
        (None, KIND, b"----", 400),
        ("", KIND, b"----", 400),
        ("bytes=", KIND, b"----", 400),
        ("bytes=a-b", KIND, b"----", 400),
        ("bytes=1-2,4-5", KIND, b"----", 400),
        ("lines=1-4", KIND, b"----", 400),
        ("bytes=1", KIND, b"----", 400),
        ("bytes=0-3", "text/plain", b"----", 415),
        ("bytes=0-3", "", b"----", 415),
        ("bytes=0-4", KIND, b"----", 416),
        ("bytes=0-2", KIND, b"----", 416),
        ("bytes=4-1", KIND, b"----", 416),
        ("bytes=0-3", KIND, [b"----"], 411),
        ("bytes=0-3", KIND, Content([b"--"], length=4, cut=True), 400),
        ("bytes=99999999999999999999999999-", KIND, b"----", 507),
    ],
)
def test_what_is_no_part(where: str | None, kind: str, body: object, status: int, app: Local, box: str) -> None:
    app("PUT", f"{box}/f", b"1234567890")
    answer = patch(app, f"{box}/f", where, body, Content_Type=kind)
    assert answer.status == status
    assert answer.body
    if status == 415:
        assert answer.headers["accept-patch"] == KIND  # RFC 5789 §2.2
    if status == 416:
        assert answer.headers["content-range"] == "bytes */10"
    assert app("GET", f"{box}/f").body == b"1234567890"


def test_parts_are_of_files(app: Local, box: str) -> None:
    app("MKCOL", f"{box}/d")
    app("PUT", f"{box}/f", b"x")
    for target, status in ((f"{box}/missing", 404), (f"{box}/d", 405), (box, 405), ("/", 405), (f"{box}/f/", 404)):
        assert patch(app, target, "append").status == status


def test_an_empty_part_and_an_empty_file(app: Local, box: str) -> None:
    app("PUT", f"{box}/f", b"")
    assert patch(app, f"{box}/f", "append", b"").status == 204
    assert patch(app, f"{box}/f", "bytes=-3", b"abc").status == 204
    assert app("GET", f"{box}/f").body == b"abc"


def test_it_is_told_of(app: Local, box: str) -> None:
    """RFC 5789 §3.1, and what sabre/dav's clients look for."""
    app("PUT", f"{box}/f", b"x")
    answer = app("OPTIONS", f"{box}/f")
    assert "PATCH" in answer.headers["allow"]
    assert answer.headers["accept-patch"] == KIND
    assert "sabredav-partialupdate" in answer.headers["dav"]
    assert "accept-patch" not in app("OPTIONS", box).headers


def test_locks_and_preconditions_stand_in_its_way(app: Local, box: str) -> None:
    tag = app("PUT", f"{box}/f", b"1234567890").headers["etag"]
    assert patch(app, f"{box}/f", "append", If_Match='"other"').status == 412
    assert patch(app, f"{box}/f", "append", If_None_Match="*").status == 412
    token = app.lock(f"{box}/f").token
    assert patch(app, f"{box}/f", "append").status == 423
    assert patch(app, f"{box}/f", "append", If=f"(<{token}> [{tag}])").status == 204
    assert app("GET", f"{box}/f").body == b"1234567890----"


def test_a_lock_that_is_taken_while_the_part_is_on_its_way(app: Local, box: str) -> None:
    app("PUT", f"{box}/f", b"1234567890")

    def meanwhile() -> Iterator[bytes]:
        yield b"--"
        assert app.lock(f"{box}/f").status == 200
        yield b"--"

    assert patch(app, f"{box}/f", "append", Content(meanwhile(), length=4)).status == 423
    assert app("GET", f"{box}/f").body == b"1234567890"


def test_what_changes_meanwhile_is_what_the_part_goes_into(app: Local, box: str) -> None:
    app("PUT", f"{box}/f", b"1234567890")

    def meanwhile() -> Iterator[bytes]:
        yield b"----"
        assert app("PUT", f"{box}/f", b"abc").status == 204

    assert patch(app, f"{box}/f", "append", Content(meanwhile(), length=4)).status == 204
    assert app("GET", f"{box}/f").body == b"abc----"


def test_a_file_that_changes_after_it_was_read_is_read_again(
    app: Local, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app("PUT", f"{box}/f", b"1234567890")
    real, rounds = partial.stage_patch, []

    def disturbed(*arguments: object) -> object:
        staged = real(*arguments)  # type: ignore[arg-type]
        rounds.append(staged)
        if len(rounds) <= times:
            app("PUT", f"{box}/f", b"changed %d" % len(rounds))
        return staged

    monkeypatch.setattr(partial, "stage_patch", disturbed)
    times = 2
    assert patch(app, f"{box}/f", "append").status == 204
    assert app("GET", f"{box}/f").body == b"changed 2----"
    times = 100
    assert patch(app, f"{box}/f", "append").status == 409
    assert app("GET", f"{box}/f").body.startswith(b"changed ")


def test_a_reader_keeps_the_version_it_began_with(app: Local, box: str, disk: Path) -> None:
    app("PUT", f"{box}/f", b"1234567890")
    with open(disk / "f", "rb") as reader:
        assert patch(app, f"{box}/f", "bytes=0-3").status == 204
        assert reader.read() == b"1234567890"


def test_digest_time_and_properties(app: Local, box: str, disk: Path) -> None:
    """RFC 9530 §3: Repr-Digest would be of the whole, which is not what is sent."""
    app("PUT", f"{box}/f", b"1234567890")
    app.proppatch(f"{box}/f", '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>')
    wrong = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
    assert patch(app, f"{box}/f", "append", Content_Digest=wrong).status == 400
    answer = patch(app, f"{box}/f", "append", Repr_Digest=wrong, X_OC_Mtime="1600000000")
    assert (answer.status, answer.headers["x-oc-mtime"]) == (204, "accepted")
    assert int((disk / "f").stat().st_mtime) == 1_600_000_000
    assert "red" in app.propfind(f"{box}/f", "colour", namespace="urn:x").body.decode()


def test_what_would_become_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    share = {"directory": str(tmp_path / "share"), "max_file_size": 100_000, "quota": 150_000}
    with local(tmp_path, shares={"/": share}) as app:
        app("PUT", "/f", b"x" * 90_000)
        assert patch(app, "/f", "append", b"y" * 10_001).status == 413
        assert patch(app, "/f", "bytes=100000-").status == 413
        assert patch(app, "/f", "bytes=0-9999", b"y" * 10_000).status == 204
        assert patch(app, "/f", "append", b"y" * 10_000).status == 204
        app("PUT", "/g", b"x" * 45_000)
        assert patch(app, "/g", "bytes=70000-").status == 507
        assert app("GET", "/g").body == b"x" * 45_000
        used = app.propfind("/", "quota-used-bytes").texts("//D:quota-used-bytes")
        assert used == ["145000"]
        assert sorted(os.listdir(tmp_path / "share")) == [".davserver~stage", "f", "g"]


def test_a_disk_that_fills_while_the_new_version_is_made(
    app: Local, box: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app("PUT", f"{box}/f", b"1234567890")
    before = len(os.listdir("/proc/self/fd"))

    def full(*_: object) -> int:
        raise OSError(28, "ENOSPC")

    monkeypatch.setattr("davserver.storage.patching.copy_content", full)
    assert patch(app, f"{box}/f", "append").status == 507
    assert app("GET", f"{box}/f").body == b"1234567890"
    assert len(os.listdir("/proc/self/fd")) == before
