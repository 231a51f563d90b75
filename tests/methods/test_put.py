"""PUT (RFC 9110 §9.3.4, RFC 4918 §9.7), row by row."""

from __future__ import annotations

import hashlib
import os
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from inprocess import Content, Local, local

BODY = b"The quick brown fox jumps over the lazy dog"
SHA256, SHA512 = (b64encode(hashlib.new(name, BODY).digest()).decode() for name in ("sha256", "sha512"))
MD5, SHA1 = hashlib.md5(BODY).hexdigest(), hashlib.sha1(BODY).hexdigest()
ADLER = f"{zlib.adler32(BODY):08x}"


def b64(hexadecimal: str) -> str:
    return b64encode(bytes.fromhex(hexadecimal)).decode()


def listed(disk: Path) -> list[str]:
    return sorted(os.listdir(disk))


def test_a_new_file_is_201_and_a_replaced_one_204(app: Local, box: str) -> None:
    for status, body in ((201, b"one"), (204, b"other"), (204, b"")):
        answer = app("PUT", f"{box}/f", body)
        assert answer.status == status
        got = app("GET", f"{box}/f")
        assert got.body == body
        assert (answer.headers["etag"], answer.headers["last-modified"]) == (
            got.headers["etag"], got.headers["last-modified"]
        )  # fmt: skip
    head = app("HEAD", f"{box}/f")
    assert (head.status, head.headers["content-length"], head.body) == (200, "0", b"")


@pytest.mark.parametrize("blocks", [[b"one"], [b"one", b"two"], [b"x" * 300_000, b"y"], []])
def test_a_chunked_body_needs_no_length(blocks: list[bytes], app: Local, box: str) -> None:
    assert app("PUT", f"{box}/f", blocks).status == 201
    assert app("GET", f"{box}/f").body == b"".join(blocks)


@pytest.mark.parametrize(
    ("target", "status", "allow"),
    [
        ("/", 405, "MKCOL"),
        ("/folder", 405, "PROPFIND"),
        ("/folder/", 405, "PROPFIND"),
        ("/file/", 404, None),
        ("/new/", 405, "MKCOL"),
        ("/missing/f", 409, None),
        ("/file/below", 409, None),
        ("/.davserver~stage", 403, None),
        ("/.davserver~x", 403, None),
    ],
)
def test_what_cannot_be_put(target: str, status: int, allow: str | None, app: Local, box: str, disk: Path) -> None:
    app("PUT", f"{box}/file", b"file")
    app("MKCOL", f"{box}/folder")
    path = target if target == "/" else box + target
    answer = app("PUT", path, b"x")
    assert answer.status == status
    if allow is not None and target != "/":
        assert allow in answer.headers["allow"]
    assert answer.body
    assert listed(disk) == ["file", "folder"]
    assert app("GET", f"{box}/file").body == b"file"


@pytest.mark.parametrize("value", ["bytes 0-2/3", "bytes */3", "x"])
def test_a_part_is_not_taken_for_the_whole(value: str, app: Local, box: str) -> None:
    """RFC 9110 §14.5; Cyberduck resumes like this."""
    app("PUT", f"{box}/f", b"whole")
    answer = app("PUT", f"{box}/f", b"abc", Content_Range=value)
    assert answer.status == 400
    assert b"X-Update-Range" in answer.body
    assert app("GET", f"{box}/f").body == b"whole"


@pytest.mark.parametrize(
    ("value", "mtime"),
    [
        ("1600000000", 1_600_000_000),
        ("1600000000.75", 1_600_000_000),
        ("0", 0),
        ("-5", None),
        ("junk", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e300", None),
    ],
)
def test_the_time_that_a_client_gives(value: str, mtime: int | None, app: Local, box: str, disk: Path) -> None:
    """rclone, gvfs and the ownCloud clients; what is no time is ignored."""
    answer = app("PUT", f"{box}/f", b"x", X_OC_Mtime=value)
    assert answer.status == 201
    assert answer.headers.get("x-oc-mtime") == (None if mtime is None else "accepted")
    if mtime is not None:
        assert int((disk / "f").stat().st_mtime) == mtime


@pytest.mark.parametrize(
    ("announced", "status"),
    [("43", 201), ("42", 400), ("44", 400), ("0", 400), ("junk", 201), ("", 201), ("99999999999999999999999", 201)],
)
@pytest.mark.parametrize("existing", [True, False])
def test_a_chunked_body_may_be_announced(
    announced: str, status: int, existing: bool, app: Local, box: str, disk: Path
) -> None:
    """X-Expected-Entity-Length, of the macOS WebDAV file system: fewer or more bytes are a broken upload."""
    if existing:
        app("PUT", f"{box}/f", b"old")
    answer = app("PUT", f"{box}/f", [BODY[:10], BODY[10:]], X_Expected_Entity_Length=announced)
    assert answer.status == (204 if existing and status == 201 else status)
    if status == 400:
        assert listed(disk) == (["f"] if existing else [])
        if existing:
            assert app("GET", f"{box}/f").body == b"old"


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("blocks", [[], [b"half"], [b"x" * 1_000_000]])
def test_a_sender_that_goes_away_changes_nothing(
    blocks: list[bytes], existing: bool, app: Local, box: str, disk: Path
) -> None:
    before = None
    if existing:
        app("PUT", f"{box}/f", b"old")
        app.proppatch(f"{box}/f", '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>')
        before = app("GET", f"{box}/f")
    answer = app("PUT", f"{box}/f", Content(blocks, length=2_000_000, cut=True))
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    if before is None:
        assert listed(disk) == []
        return
    after = app("GET", f"{box}/f")
    assert (after.body, after.headers["etag"], after.headers["last-modified"]) == (
        b"old", before.headers["etag"], before.headers["last-modified"]
    )  # fmt: skip
    assert "red" in app.propfind(f"{box}/f", "colour", namespace="urn:x").body.decode()


# --- digests


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Content-Digest", f"sha-256=:{SHA256}:"),
        ("Content-Digest", f"sha-512=:{SHA512}:"),
        ("Content-Digest", f"sha-256=:{SHA256}:, sha-512=:{SHA512}:"),
        ("Content-Digest", f"  sha-256=:{SHA256}: ;x=1 ,  md5=:{b64(MD5)}:  "),
        ("Content-Digest", f"unknown=:{SHA512}:"),
        ("Content-Digest", f"unixsum=:AAAA:, sha-256=:{SHA256}:"),
        ("Repr-Digest", f"sha-256=:{SHA256}:"),
        ("Repr-Digest", f"sha=:{b64(SHA1)}:, adler=:{b64(ADLER)}:"),
        ("Digest", f"SHA-256={SHA256}"),
        ("Digest", f"sha={b64(SHA1)},MD5={b64(MD5)}"),
        ("Digest", f"adler32={b64(ADLER)}"),
        ("OC-Checksum", f"SHA1:{SHA1}"),
        ("OC-Checksum", f"sha1:{SHA1.upper()}"),
        ("OC-Checksum", f"MD5:{MD5}"),
        ("OC-Checksum", f"ADLER32:{ADLER}"),
        ("OC-Checksum", f"SHA256:{hashlib.sha256(BODY).hexdigest()}"),
        ("OC-Checksum", "SHA3-256:00"),
        # Malformed: as if it were not there (RFC 8941 §4.2).
        ("Content-Digest", SHA256),
        ("Content-Digest", "sha-256=:%%%:"),
        ("Content-Digest", f"sha-512=:{SHA256[:5]}"),
        ("Content-Digest", f"md5=:AAAA:, {SHA256}"),
        ("Content-Digest", "sha-256=:A:"),
        ("OC-Checksum", "SHA1"),
        ("OC-Checksum", "SHA1:xyz"),
        ("OC-Checksum", "SHA1:abc"),
        ("Digest", "SHA-256"),
        ("Digest", ""),
    ],
)
def test_content_that_is_what_was_announced(field: str, value: str, app: Local, box: str) -> None:
    for body in (BODY, [BODY[:7], BODY[7:]]):
        assert app("PUT", f"{box}/f", body, {field: value}).status in (201, 204)
    assert app("GET", f"{box}/f").body == BODY


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Content-Digest", f"sha-256=:{b64(hashlib.sha256(b'other').hexdigest())}:"),
        ("Content-Digest", f"sha-256=:{SHA256}:, sha-512=:{b64('00' * 64)}:"),
        ("Content-Digest", "sha-512=::"),
        ("Repr-Digest", f"md5=:{b64('00' * 16)}:"),
        ("Digest", f"SHA-512={b64('00' * 64)}"),
        ("OC-Checksum", f"SHA1:{'0' * 40}"),
        ("OC-Checksum", f"SHA1:{SHA1[:-2]}"),
        ("OC-Checksum", "ADLER32:00000001"),
    ],
)
@pytest.mark.parametrize("existing", [True, False])
def test_content_that_is_not(field: str, value: str, existing: bool, app: Local, box: str, disk: Path) -> None:
    """RFC 9530 §2: refused, and nothing is changed."""
    if existing:
        app("PUT", f"{box}/f", b"old")
    answer = app("PUT", f"{box}/f", BODY, {field: value})
    assert answer.status == 400
    assert field in answer.body.decode()
    assert listed(disk) == (["f"] if existing else [])
    if existing:
        assert app("GET", f"{box}/f").body == b"old"


# --- limits


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[Local, Path]]:
    """At most 100,000 bytes a file, and 250,000 together."""
    (tmp_path / "share").mkdir()
    share = {"directory": str(tmp_path / "share"), "max_file_size": 100_000, "quota": 250_000}
    with local(tmp_path, shares={"/": share}) as app:
        yield app, tmp_path / "share"


def used(app: Local) -> tuple[int, int]:
    answer = app.propfind("/", "quota-used-bytes", "quota-available-bytes")
    return int(answer.texts("//D:quota-used-bytes")[0]), int(answer.texts("//D:quota-available-bytes")[0])


class Unread(Content):
    """A body that must not be read."""

    def __init__(self, length: int | None) -> None:
        super().__init__([], length=length)

    def read(self, size: int) -> bytes:
        raise AssertionError("the body was read")


@pytest.mark.parametrize(("size", "status"), [(100_000, 201), (100_001, 413), (10**15, 413)])
def test_a_file_that_is_announced_too_large_is_refused_unread(
    size: int, status: int, limited: tuple[Local, Path]
) -> None:
    app, root = limited
    if status == 201:
        assert app("PUT", "/f", b"x" * size).status == 201
        return
    assert app("PUT", "/f", Unread(size)).status == status
    assert app("PUT", "/f", Unread(None), X_Expected_Entity_Length=str(size)).status == status
    assert os.listdir(root) == [".davserver~stage"]


def test_a_file_that_grows_too_large_is_refused(limited: tuple[Local, Path]) -> None:
    app, root = limited
    app("PUT", "/f", b"old")
    assert app("PUT", "/f", [b"x" * 30_000] * 4).status == 413
    assert app("GET", "/f").body == b"old"
    assert app("PUT", "/g", [b"x" * 30_000] * 4).status == 413
    assert sorted(os.listdir(root)) == [".davserver~stage", "f"]
    assert used(app) == (3, 249_997)


def test_a_share_that_is_full_refuses_what_makes_it_larger(limited: tuple[Local, Path]) -> None:
    app, root = limited
    for name in ("a", "b"):
        assert app("PUT", f"/{name}", b"x" * 100_000).status == 201
    assert used(app) == (200_000, 50_000)
    for body in (Unread(90_000), [b"x" * 30_000] * 3):
        assert app("PUT", "/c", body).status == 507
    assert app("COPY", "/a", Destination="/c").status == 507
    assert used(app) == (200_000, 50_000)
    assert app("PUT", "/c", b"x" * 50_000).status == 201
    assert used(app) == (250_000, 0)
    # What makes it no larger goes on.
    assert app("PUT", "/a", b"y" * 100_000).status == 204
    assert app("MOVE", "/a", Destination="/d").status == 201
    assert app("MOVE", "/d", Destination="/b").status == 204
    assert used(app) == (150_000, 100_000)
    assert app("PUT", "/b", b"small").status == 204
    assert app("COPY", "/c", Destination="/e").status == 201
    assert app("COPY", "/b", Destination="/e").status == 204
    assert (
        app("PATCH", "/b", b"er", Content_Type="application/x-sabredav-partialupdate", X_Update_Range="append").status
        == 204
    )
    assert used(app) == (50_000 + 7 + 5, 250_000 - 50_012)
    app("MKCOL", "/folder")
    for name in "12":
        assert app("PUT", f"/folder/{name}", b"x" * 1000).status == 201
    assert app("COPY", "/folder", Destination="/again").status == 201
    assert app("MOVE", "/folder", Destination="/again").status == 204
    assert used(app)[0] == 50_012 + 2000
    assert app("DELETE", "/again").status == 204
    for name in "bce":
        assert app("DELETE", f"/{name}").status == 204
    assert used(app) == (0, 250_000)
    assert os.listdir(root) == [".davserver~stage"]


def test_two_uploads_that_fit_alone_do_not_both_fit(limited: tuple[Local, Path]) -> None:
    app, _ = limited
    app("PUT", "/a", b"x" * 100_000)
    app("PUT", "/b", b"x" * 80_000)

    def meanwhile() -> Iterator[bytes]:
        yield b"x" * 60_000
        assert app("PUT", "/other", b"y" * 60_000).status == 201

    assert app("PUT", "/c", Content(meanwhile(), length=60_000)).status == 507
    assert used(app) == (240_000, 10_000)
    assert app("GET", "/c").status == 404


def test_moves_between_shares_are_counted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    shares = {
        "/": {"directory": str(tmp_path / "one")},
        "/two": {"directory": str(tmp_path / "two"), "quota": 1000},
    }
    with local(tmp_path, shares=shares) as app:
        app("MKCOL", "/d")
        app("PUT", "/d/f", b"x" * 600)
        app("PUT", "/g", b"x" * 600)
        assert app("MOVE", "/d", Destination="/two/d").status == 201
        assert app("MOVE", "/g", Destination="/two/g").status == 507
        assert app("COPY", "/g", Destination="/two/g").status == 507
        assert app("MOVE", "/g", Destination="/two/d/f").status == 204
        assert app("MOVE", "/two/d/f", Destination="/g").status == 201
        used = app.propfind("/two", "quota-used-bytes").texts("//D:quota-used-bytes")
        assert used == ["0"]


def test_two_uploads_give_one_whole_file(app: Local, box: str) -> None:
    app("PUT", f"{box}/f", b"old")

    def meanwhile() -> Iterator[bytes]:
        yield b"first "
        assert app("PUT", f"{box}/f", b"in between").status == 204
        assert app("GET", f"{box}/f").body == b"in between"
        yield b"second"

    assert app("PUT", f"{box}/f", meanwhile()).status == 204
    assert app("GET", f"{box}/f").body == b"first second"


def test_a_name_that_was_free_when_the_upload_began(app: Local, box: str) -> None:
    """RFC 9110 §13.1.2: exactly one of two creates."""

    def meanwhile() -> Iterator[bytes]:
        yield b"late"
        assert app("PUT", f"{box}/f", b"early", If_None_Match="*").status == 201

    assert app("PUT", f"{box}/f", meanwhile(), If_None_Match="*").status == 412
    assert app("GET", f"{box}/f").body == b"early"


def test_a_file_made_by_others_during_an_upload_is_replaced(app: Local, box: str, disk: Path) -> None:
    """Who does not pass the gate, a shell or a backup, is no reason for an error."""

    def meanwhile() -> Iterator[bytes]:
        yield b"uploaded"
        (disk / "f").write_bytes(b"from a shell")

    assert app("PUT", f"{box}/f", meanwhile()).status == 204
    assert app("GET", f"{box}/f").body == b"uploaded"


def test_a_folder_removed_during_an_upload(app: Local, box: str, disk: Path) -> None:
    app("MKCOL", f"{box}/d")

    def meanwhile() -> Iterator[bytes]:
        yield b"x"
        assert app("DELETE", f"{box}/d").status == 204

    assert app("PUT", f"{box}/d/f", meanwhile()).status == 409
    assert listed(disk) == []


def test_properties_of_a_file_that_went_behind_the_servers_back_do_not_come_again(
    app: Local, box: str, disk: Path
) -> None:
    app("PUT", f"{box}/f", b"x")
    app.proppatch(f"{box}/f", '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>')
    for method in ("PUT", "MKCOL", "LOCK"):
        if (disk / "f").is_dir():
            (disk / "f").rmdir()
        else:
            (disk / "f").unlink()
        answer = app.lock(f"{box}/f") if method == "LOCK" else app(method, f"{box}/f")
        assert answer.status == 201
        assert "red" not in app.propfind(f"{box}/f", "colour", namespace="urn:x").body.decode()
        app.proppatch(f"{box}/f", '<D:set><D:prop><colour xmlns="urn:x">red</colour></D:prop></D:set>')
