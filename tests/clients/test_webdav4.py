"""Python webdav4 (httpx), and what fsspec, and so pandas, dask or DVC, make of it: every call, Basic, Digest, TLS."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from realclients import PASSWORD
from sites import KINDS, LEAST, MOST, NAMES, Site, sums, tree
from webdav4.client import (
    Client,
    HTTPError,
    IsACollectionError,
    ResourceAlreadyExists,
    ResourceConflict,
    ResourceLocked,
    ResourceNotFound,
)
from webdav4.fsspec import WebdavFileSystem
from wire import lockinfo

pytestmark = pytest.mark.slow

WAYS = [*((kind, "Basic") for kind in KINDS), ("login", "Digest"), ("login over TLS", "Digest")]
#: It does not escape "#" and "?", and takes "%41" for escaped already.
WRITABLE = tuple(name for name in NAMES if "#" not in name and "%41" not in name)


def trusting(site: Site) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=site.certificate)


@pytest.fixture(params=WAYS, ids=" ".join)
def at(request: pytest.FixtureRequest, open_site: Callable[[str], Site]) -> Iterator[tuple[Site, Client]]:
    kind, way = request.param
    site = open_site(kind)
    auth = {"Basic": httpx.BasicAuth, "Digest": httpx.DigestAuth}[way](site.name, site.password)
    with httpx.Client(auth=auth if site.name else None, verify=trusting(site), base_url=site.url) as http:
        yield site, Client(site.url, http_client=http, retry=False)


def test_files(at: tuple[Site, Client], tmp_path: Path) -> None:
    site, client = at
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 5_000)
    client.upload_file(str(source), "a ü.bin")
    assert (site.root / "a ü.bin").read_bytes() == source.read_bytes()
    with pytest.raises(ResourceAlreadyExists):
        client.upload_file(str(source), "a ü.bin")
    client.upload_file(str(source), "a ü.bin", overwrite=True)
    client.download_file("a ü.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    client.upload_fileobj(io.BytesIO(b"from memory"), "memory.txt")
    buffer = io.BytesIO()
    client.download_fileobj("memory.txt", buffer)
    assert buffer.getvalue() == b"from memory"
    with client.open("a ü.bin", mode="rb", chunk_size=1000) as file:
        file.seek(1_000_000)
        assert file.read(256) == source.read_bytes()[1_000_000:1_000_256]
        assert file.read() == source.read_bytes()[1_000_256:]
    with client.open("memory.txt") as text:
        assert text.read() == "from memory"
    info = client.info("memory.txt")
    assert info["type"] == "file"
    assert info["content_length"] == client.content_length("memory.txt") == 11
    assert info["content_type"] == client.content_type("memory.txt") == "text/plain"
    assert info["etag"] == client.etag("memory.txt")
    assert client.modified("memory.txt").timestamp() == int((site.root / "memory.txt").stat().st_mtime)  # type: ignore[union-attr]
    assert client.created("memory.txt") is not None
    assert client.isfile("memory.txt")
    with pytest.raises(ResourceNotFound):
        client.content_length("nothing")
    client.remove("memory.txt")
    assert not client.exists("memory.txt")
    with pytest.raises(ResourceNotFound):
        client.remove("memory.txt")


def test_folders(at: tuple[Site, Client]) -> None:
    site, client = at
    client.mkdir("one")
    with pytest.raises(ResourceAlreadyExists):
        client.mkdir("one")
    with pytest.raises(ResourceConflict):
        client.mkdir("not/there")
    client.mkdir("one/zwei ü")
    client.upload_fileobj(io.BytesIO(b"x"), "one/zwei ü/f")
    assert client.ls("one", detail=False) == ["one/zwei ü"]
    assert [(each["name"], each["type"]) for each in client.ls("one")] == [("one/zwei ü", "directory")]
    assert client.isdir("one/zwei ü")
    assert client.exists("one")
    assert client.info("one")["type"] == "directory"
    assert client.modified("one") is not None
    client.copy("one", "copy", depth="infinity")
    client.copy("one", "hollow", depth=0)
    client.move("one", "moved")
    with pytest.raises(ResourceAlreadyExists):
        client.move("moved", "copy")
    client.move("hollow", "copy", overwrite=True)
    assert sums(site.root) == {"copy": "", "moved": "", "moved/zwei ü": "",
        "moved/zwei ü/f": sums(site.root)["moved/zwei ü/f"]}  # fmt: skip
    client.remove("moved")
    assert sums(site.root) == {"copy": ""}
    with pytest.raises(IsACollectionError):
        client.open("copy").__enter__()


def test_properties_and_what_is_offered(at: tuple[Site, Client]) -> None:
    _, client = at
    client.upload_fileobj(io.BytesIO(b"x"), "f")
    update = (
        '<propertyupdate xmlns="DAV:"><set><prop><displayname>red &amp; ü</displayname></prop></set></propertyupdate>'
    )
    assert client.request("PROPPATCH", "f", content=update).status_code == 207
    assert client.get_property("f", "display_name") == "red & ü"
    assert {"1", "2"} <= set(client.options("f"))
    assert client.detected_features.supports_ranges


@pytest.mark.parametrize("at", [(LEAST, "Basic"), (MOST, "Digest")], indirect=True, ids=" ".join)
def test_somebody_elses_lock(at: tuple[Site, Client]) -> None:
    site, client = at
    client.upload_fileobj(io.BytesIO(b"x"), "f")
    assert client.http.request("LOCK", "f", content=lockinfo(), headers={"Depth": "0"}).status_code == 200
    for attempt in (
        lambda: client.upload_fileobj(io.BytesIO(b"y"), "f", overwrite=True),
        lambda: client.remove("f"),
        lambda: client.move("f", "g"),
    ):
        with pytest.raises((ResourceLocked, HTTPError)) as refused:
            attempt()
        assert "423" in str(refused.value) or isinstance(refused.value, ResourceLocked)
    assert (site.root / "f").read_text() == "x"


@pytest.mark.parametrize("at", [(LEAST, "Basic"), (MOST, "Digest")], indirect=True, ids=" ".join)
def test_fsspec(at: tuple[Site, Client], tmp_path: Path) -> None:
    """A tree put, walked, found by glob, read at offsets, written as a stream, moved and removed."""
    site, client = at
    files = WebdavFileSystem(site.url, client=client)
    source = tree(tmp_path / "source", WRITABLE)
    files.put(f"{source}/", "there", recursive=True)
    assert sums(site.root / "there") == sums(source)
    files.get("there/", str(tmp_path / "back"), recursive=True)
    assert sums(tmp_path / "back") == sums(source)
    assert sorted(files.find("there")) == sorted(f"there/{name}" for name in (*WRITABLE, "empty", "bytes"))
    assert files.glob("there/pl*.txt") == ["there/plain.txt"]
    assert {place for place, _, _ in files.walk("there")} == {"there"} | {
        f"there/{path}" for path in sums(source) if (source / path).is_dir()
    }
    assert files.du("there") == sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    assert files.cat_file("there/bytes", 1000, 1010) == (source / "bytes").read_bytes()[1000:1010]
    with files.open("there/bytes", "rb", block_size=4096) as file:
        file.seek(-10, 2)
        assert file.read() == (source / "bytes").read_bytes()[-10:]
    files.makedirs("there/new", exist_ok=True)
    with files.open("there/new/written", "wb") as file:
        for _ in range(100):
            file.write(b"0123456789" * 1000)
    assert (site.root / "there" / "new" / "written").read_bytes() == b"0123456789" * 100_000
    files.pipe_file("there/piped", b"bytes")
    files.cp("there/piped", "there/copied")
    files.mv("there/piped", "there/moved")
    assert files.isdir("there/new")
    assert files.exists("there/new")
    assert files.info("there/moved")["size"] == 5
    assert files.size("there/copied") == 5
    assert not files.exists("there/piped")
    files.rm("there", recursive=True)
    assert sums(site.root) == {}


@pytest.mark.parametrize("site", ["login", "login over TLS"], indirect=True)
def test_a_wrong_password_and_none(site: Site) -> None:
    for auth in (None, ("alice", PASSWORD + "!")):
        client = Client(site.url, auth=auth, verify=trusting(site), retry=False)
        with pytest.raises(HTTPError, match="401"):
            client.ls("")
        client.http.close()
