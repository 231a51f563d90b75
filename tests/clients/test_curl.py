"""curl: resume, ranges, uploads of unknown length, Expect, conditions, digests, compression, every way to log in."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Callable
from hashlib import sha1, sha256
from pathlib import Path

import pytest
from realclients import run, tool
from sites import KINDS, LEAST, NAMES, Site, sums
from wire import lockinfo

pytestmark = pytest.mark.slow

#: What tells curl to log in, where the site wants it.
LOGINS = ("--basic", "--digest", "--anyauth")
WAYS = [(kind, login) for kind in KINDS for login in (LOGINS if kind.startswith("login") else ("",))]


@pytest.fixture(params=WAYS, ids=lambda way: " ".join(way).strip())
def curl(request: pytest.FixtureRequest, open_site: Callable[[str], Site]) -> Curl:
    """A test may ask for fewer ways: `@least`."""
    kind, login = request.param
    return Curl(open_site(kind), login)


least = pytest.mark.parametrize("curl", [(LEAST, ""), ("login over TLS", "--digest")], indirect=True)


class Curl:
    def __init__(self, site: Site, login: str) -> None:
        self.site, self.login = site, login
        trust = ("--cacert", str(site.certificate)) if site.certificate else ()
        user = (login, "-u", f"{site.name}:{site.password}") if login else ()
        self._command = (tool("curl"), "-sS", *trust, *user)

    def command(self, *arguments: str, path: str = "") -> list[str]:
        """`path`: below the site's folder, as it stands in a URL."""
        return [*self._command, *arguments, f"{self.site.url}{path}"]

    def __call__(self, *arguments: str, path: str = "", stdin: str = "") -> str:
        """The status; what came is thrown away."""
        done = run(*self.command("-o", os.devnull, "-w", "%{http_code}", *arguments, path=path), stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def head(self, *arguments: str, path: str = "") -> dict[str, str]:
        """Header fields of the last answer."""
        done = run(*self.command("-o", os.devnull, "-D", "-", *arguments, path=path))
        assert done.returncode == 0, done.stderr
        last = done.stdout.strip().split("\n\n")[-1]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in last.splitlines())}

    def body(self, *arguments: str, path: str = "") -> str:
        done = run(*self.command("-f", *arguments, path=path))
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_up_and_down(curl: Curl, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    assert curl("-T", str(source), path="a.bin") == "201"
    assert curl("-T", str(source), path="a.bin") == "204"
    assert (curl.site.root / "a.bin").read_bytes() == source.read_bytes()
    run(*curl.command("-f", "-o", str(back), path="a.bin"))
    assert back.read_bytes() == source.read_bytes()


def test_a_download_is_resumed(curl: Curl, tmp_path: Path) -> None:
    whole, part = os.urandom(2_000_000), tmp_path / "part"
    (curl.site.root / "a ü.bin").write_bytes(whole)
    part.write_bytes(whole[:1_234_567])
    done = run(*curl.command("-f", "-C", "-", "-o", str(part), path="a%20%C3%BC.bin"))
    assert done.returncode == 0, done.stderr
    assert part.read_bytes() == whole
    assert curl.site.asked('"GET /a%20%C3%BC.bin" 206 765433 ')
    # Complete already: 416, and nothing is spoilt.
    run(*curl.command("-C", "-", "-o", str(part), path="a%20%C3%BC.bin"))
    assert part.read_bytes() == whole


@least
def test_a_download_is_resumed_only_of_what_has_not_changed(curl: Curl, tmp_path: Path) -> None:
    part = tmp_path / "part"
    (curl.site.root / "f").write_text("the first content")
    etag = curl.head(path="f")["etag"]
    assert curl("-r", "4-", "-H", f"If-Range: {etag}", path="f") == "206"
    (curl.site.root / "f").write_text("another content, longer")
    done = run(*curl.command("-o", str(part), "-r", "4-", "-H", f"If-Range: {etag}", "-w", "%{http_code}", path="f"))
    assert done.stdout == "200"
    assert part.read_text() == "another content, longer"
    assert curl("-r", "4-", "-H", f"If-Match: {etag}", path="f") == "412"


@least
def test_ranges(curl: Curl) -> None:
    with (curl.site.root / "sparse").open("wb") as file:
        file.write(b"0123456789")
        file.seek(6 << 30)  # of more than 32 bits
        file.write(b"the end")
    for asked, told in {
        "0-3": "0123",
        "4-4": "4",
        "-3": "end",
        f"{6 << 30}-": "the end",
        f"{(6 << 30) + 4}-{(6 << 30) + 99}": "end",
    }.items():
        assert curl.body("-r", asked, path="sparse") == told
    assert curl("-r", f"{(6 << 30) + 7}-", path="sparse") == "416"
    assert curl.head("-r", "2-4", path="sparse")["content-range"] == f"bytes 2-4/{(6 << 30) + 7}"
    several = curl.body("-r", "0-1,4-5", path="sparse")
    assert "01" in several
    assert "45" in several
    assert curl.head("-I", path="sparse")["content-length"] == str((6 << 30) + 7)


def test_an_upload_of_unknown_length(curl: Curl) -> None:
    """`-T -`: chunked, from a pipe. It can be sent once only, so that whoever logs in must first be told 401."""
    content = os.urandom(1_500_000)
    with subprocess.Popen(
        curl.command("-o", os.devnull, "-w", "%{http_code}", "-T", "-", path="streamed"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        status, said = process.communicate(content, timeout=30)
    assert status == b"201", said
    assert (curl.site.root / "streamed").read_bytes() == content
    assert sorted(sums(curl.site.root)) == ["streamed"]  # and nothing beside it


@least
def test_an_upload_that_breaks_off_leaves_what_was_there(curl: Curl) -> None:
    (curl.site.root / "f").write_text("as it was")
    with subprocess.Popen(
        curl.command("-v", "-N", "-T", ".", path="f"), stdin=subprocess.PIPE, stdout=-1, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert any(b"100 Continue" in line for line in process.stderr)
        process.stdin.write(b"half of" * 20_000)
        process.stdin.flush()
        assert curl.body(path="f") == "as it was"
        process.kill()
    assert curl.site.asked('"PUT /f" 400 ')
    assert curl.body(path="f") == "as it was"
    assert sorted(sums(curl.site.root)) == ["f"]


@least
def test_expect_asks_before_it_sends(curl: Curl, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    (curl.site.root / "locked").write_text("x")
    assert curl("-X", "LOCK", "--data-binary", "@-", path="locked", stdin=lockinfo().decode()) == "200"
    said = "%{http_code} %{size_upload}"
    ask = ("-o", os.devnull, "-w", said, "-T", str(large), "-H", "Expect: 100-continue", "--expect100-timeout", "20")
    assert run(*curl.command(*ask, path="locked")).stdout == "423 0"
    assert run(*curl.command(*ask, "-H", "If-None-Match: *", path="locked")).stdout in ("412 0", "423 0")
    assert run(*curl.command(*ask, path="no/folder/here")).stdout == "409 0"
    with large.open("wb") as file:
        file.write(b"abc" * 1_000_000)
    assert run(*curl.command(*ask, path="new")).stdout == "201 3000000"
    shown = run(*curl.command(*ask, "-v", path="new")).stderr
    assert "< HTTP/1.1 100 Continue" in shown
    assert (curl.site.root / "new").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("curl", [("login", ""), ("login over TLS", "")], indirect=True)
def test_nobody_is_heard_without_a_login(curl: Curl, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 5_000_000)
    ask = ("-T", str(source), "-H", "Expect: 100-continue", "--expect100-timeout", "20")
    done = run(*curl.command("-o", os.devnull, "-w", "%{http_code} %{size_upload}", *ask, path="f"))
    assert done.stdout == "401 0"
    assert not (curl.site.root / "f").exists()


@pytest.mark.parametrize("curl", [("anonymous over TLS", "")], indirect=True)
def test_a_certificate_that_is_not_known_is_not_spoken_to(curl: Curl) -> None:
    assert run(tool("curl"), "-sS", curl.site.url).returncode == 60
    shown = run(*curl.command("-v", "--http1.1")).stderr
    assert re.search(r"SSL connection using TLSv1\.[23]", shown)


@least
def test_conditions(curl: Curl, tmp_path: Path) -> None:
    """`--etag-save`, `--etag-compare`, `-z`: what is known is not sent again; and nobody's change is written over."""
    tag, got = tmp_path / "etag", tmp_path / "got"
    (curl.site.root / "f").write_text("one")
    assert curl("--etag-save", str(tag), path="f") == "200"
    assert curl("--etag-compare", str(tag), path="f") == "304"
    run(*curl.command("-R", "-o", str(got), path="f"))
    assert int(got.stat().st_mtime) == int((curl.site.root / "f").stat().st_mtime)
    assert curl("-z", str(got), path="f") == "304"
    etag, put = tag.read_text().strip(), ("-X", "PUT", "--data-binary", "@-")
    assert curl(*put, "-H", f"If-Match: {etag}", path="f", stdin="two") == "204"
    assert curl(*put, "-H", f"If-Match: {etag}", path="f", stdin="three") == "412"
    assert curl(*put, "-H", "If-None-Match: *", path="f", stdin="three") == "412"
    assert (curl.site.root / "f").read_text() == "two"
    assert curl("--etag-compare", str(tag), path="f") == "200"


@least
def test_digests_are_verified(curl: Curl) -> None:
    right, wrong = (base64.b64encode(sha256(content).digest()).decode() for content in (b"hello", b"other"))
    send = ("-X", "PUT", "--data-binary", "hello")
    assert curl(*send, "-H", f"Content-Digest: sha-256=:{wrong}:", path="f") == "400"
    assert not (curl.site.root / "f").exists()
    assert curl(*send, "-H", f"Content-Digest: sha-256=:{right}:", path="f") == "201"
    assert curl(*send, "-H", f"OC-Checksum: SHA1:{sha1(b'hello').hexdigest()}", path="f") == "204"
    assert (curl.site.root / "f").read_text() == "hello"


@least
def test_every_method(curl: Curl) -> None:
    root = curl.site.root
    base = curl.site.url
    (root / "f").write_text("x")
    assert curl("-X", "OPTIONS", path="f") == "200"
    assert "2" in curl.head("-X", "OPTIONS")["dav"].split(", ")
    assert curl("-X", "MKCOL", path="a%20folder") == "201"
    assert curl("-X", "MKCOL", path="a%20folder/") == "405"
    assert curl("-X", "COPY", "-H", f"Destination: {base}a%20folder/g", path="f") == "201"
    assert curl("-X", "COPY", "-H", f"Destination: {base}a%20folder/g", "-H", "Overwrite: F", path="f") == "412"
    assert curl("-X", "MOVE", "-H", f"Destination: {base}h%23", path="f") == "201"
    assert sorted(sums(root)) == ["a folder", "a folder/g", "h#"]
    listed = curl.body("-X", "PROPFIND", "-H", "Depth: 1")
    assert listed.count("<D:response>") == 3
    assert f"/{curl.site.folder}/h%23<" in listed
    assert curl("-X", "DELETE", path="a%20folder") == "204"
    assert curl("-X", "DELETE", path="h%23") == "204"
    assert curl("-X", "DELETE", path="h%23") == "404"
    assert sums(root) == {}


@least
def test_names(curl: Curl, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        (curl.site.root / name).parent.mkdir(parents=True, exist_ok=True)
        source = tmp_path / str(number)
        source.write_text(name)
        path = "".join(f"%{byte:02x}" for byte in name.encode()).replace("%2f", "/")  # every byte of it escaped
        assert curl("-T", str(source), path=path) == "201"
        assert (curl.site.root / name).read_text() == name
        assert curl.body(path=path) == name
    assert curl("--path-as-is", path="../../../../../etc/passwd") in ("400", "404")
    assert curl("--path-as-is", path="..%2f..%2f..%2fetc%2fpasswd") in ("400", "404")


@least
def test_many_on_one_connection(curl: Curl, tmp_path: Path) -> None:
    """--parallel, and one after another: of 60 files none is mixed up with another."""
    for number in range(60):
        (curl.site.root / f"{number}.txt").write_text(str(number) * number)
    arguments = curl.command("-f", "-o", f"{tmp_path}/#1.txt", path="[0-59].txt")
    for more in ([], ["--parallel", "--parallel-max", "8"]):
        done = run(*arguments[:1], *more, *arguments[1:])
        assert done.returncode == 0, done.stderr
        assert sums(tmp_path) == sums(curl.site.root)
        for each in tmp_path.iterdir():
            each.unlink()
    shown = run(*arguments[:1], "-v", *arguments[1:]).stderr
    assert shown.count("Connected to 127.0.0.1") == 1


@least
def test_listings_are_compressed_where_that_is_asked(curl: Curl) -> None:
    for number in range(200):
        (curl.site.root / f"{number}.txt").touch()
    ask = ("-X", "PROPFIND", "-H", "Depth: 1")
    assert curl.head("--compressed", *ask)["content-encoding"] in ("gzip", "br", "zstd", "deflate")
    assert curl.body("--compressed", *ask).count("<D:response>") == 201
    assert "content-encoding" not in curl.head(*ask)
