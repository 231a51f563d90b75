"""Python webdavclient3 (requests): every call, trees up and down, locks and properties, Basic, Digest, TLS."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from realclients import PASSWORD
from requests.auth import HTTPDigestAuth
from sites import KINDS, LEAST, MOST, NAMES, Site, sums, tree
from webdav3.client import Client
from webdav3.exceptions import (
    RemoteParentNotFound,
    RemoteResourceNotFound,
    ResourceLocked,
    ResponseErrorCode,
)

pytestmark = pytest.mark.slow

WAYS = [*((kind, "Basic") for kind in KINDS), ("login", "Digest"), ("login over TLS", "Digest")]


def client_of(site: Site, way: str = "Basic", password: str = "") -> Client:
    login = {"webdav_login": site.name, "webdav_password": password or site.password} if site.name else {}
    host, root = site.url.removesuffix(f"/{site.folder}/"), f"/{site.folder}"
    client = Client({"webdav_hostname": host, "webdav_root": root, **login})
    client.verify = str(site.certificate) if site.certificate else True
    if way == "Digest":
        client.session.auth = HTTPDigestAuth(site.name, site.password)
    return client


@pytest.fixture(params=WAYS, ids=" ".join)
def at(request: pytest.FixtureRequest, open_site: Callable[[str], Site]) -> Iterator[tuple[Site, Client]]:
    kind, way = request.param
    site = open_site(kind)
    client = client_of(site, way)
    yield site, client
    client.session.close()


def test_files(at: tuple[Site, Client], tmp_path: Path) -> None:
    site, client = at
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 3_000)
    client.upload_sync("a ü.bin", str(source))
    assert (site.root / "a ü.bin").read_bytes() == source.read_bytes()
    steps: list[int] = []
    client.upload_file("chunked.bin", str(source), progress=lambda current, total: steps.append(current))
    assert len(steps) > 5  # and so it went as a stream of unknown length
    assert (site.root / "chunked.bin").read_bytes() == source.read_bytes()
    client.download_sync("a ü.bin", str(back))
    assert back.read_bytes() == source.read_bytes()
    assert b"".join(client.download_iter("a ü.bin")) == source.read_bytes()
    client.upload_to(io.BytesIO(b"from memory"), "memory.txt")
    buffer = io.BytesIO()
    client.download_from(buffer, "memory.txt")
    assert buffer.getvalue() == b"from memory"
    assert client.check("memory.txt")
    assert not client.check("nothing")
    info = client.info("memory.txt")
    assert (info["size"], info["content_type"], info["name"]) == ("11", "text/plain", "memory.txt")
    assert info["etag"].startswith('"')
    with pytest.raises(RemoteResourceNotFound):
        client.download_sync("nothing", str(back))
    with pytest.raises(RemoteParentNotFound):
        client.upload_sync("not/there", str(source))
    client.clean("memory.txt")
    assert not client.check("memory.txt")


def test_folders(at: tuple[Site, Client]) -> None:
    site, client = at
    assert client.mkdir("one")
    assert client.mkdir("one")
    assert client.mkdir("one/zwei ü/drei #3", recursive=True)
    client.upload_to(b"x", "one/zwei ü/f & g.txt")
    assert client.list("one") == ["zwei ü/"]
    assert sorted(client.list("one/zwei ü")) == ["drei #3/", "f & g.txt"]
    listed = {each["name"]: each for each in client.list("one/zwei ü", get_info=True)}
    assert {each["isdir"] for each in listed.values()} == {True, False}
    assert client.is_dir("one")
    assert not client.is_dir("one/zwei ü/f & g.txt")
    client.copy("one", "copy", depth="infinity")
    client.copy("one/zwei ü/f & g.txt", "two.txt")
    with pytest.raises(ResponseErrorCode):  # its default, of which RFC 4918 §9.8.3 knows nothing
        client.copy("one", "shallow", depth=1)
    client.move("one", "moved")
    with pytest.raises(ResponseErrorCode) as refused:
        client.move("moved", "copy")
    assert refused.value.code == 412
    client.move("two.txt", "copy/zwei ü/f & g.txt", overwrite=True)
    assert set(sums(site.root)) == {
        f"{top}{rest}" for top in ("copy", "moved") for rest in ("", "/zwei ü", "/zwei ü/drei #3", "/zwei ü/f & g.txt")
    }
    client.clean("moved")
    assert not client.check("moved")
    assert int(client.free()) > 0


@pytest.mark.parametrize("at", [(LEAST, "Basic"), (MOST, "Digest")], indirect=True, ids=" ".join)
def test_a_tree(at: tuple[Site, Client], tmp_path: Path) -> None:
    """Up and down, and `push` and `pull`, which send what is missing."""
    site, client = at
    source = tree(tmp_path / "source")
    client.upload_directory("there/", str(source))
    assert sums(site.root / "there") == sums(source)
    client.download_directory("there/", str(tmp_path / "back"))
    assert sums(tmp_path / "back") == sums(source)
    (source / "new").write_text("new")
    client.push("there/", str(source))
    assert sums(site.root / "there") == sums(source)
    (site.root / "there" / "newer").write_text("newer")
    client.pull("there/", str(source))
    assert sums(site.root / "there") == sums(source)
    assert len(sums(source)) == len(NAMES) + 6


def test_locks_and_properties(at: tuple[Site, Client]) -> None:
    site, client = at
    client.upload_to(b"x", "ü.txt")
    held = client.lock("ü.txt", timeout=600)
    # It takes neither with it. And it sends `If: (<token>)` with every request, its look at the parent folder included,
    # for which that is not true: 412 (RFC 4918 §10.4.1). So it must not look.
    held.verify, held.session.auth, held.webdav.disable_check = client.verify, client.session.auth, True
    with held:
        with pytest.raises(ResourceLocked):
            client.upload_to(b"y", "ü.txt")
        with pytest.raises(ResourceLocked):
            client.clean("ü.txt")
        with pytest.raises(ResourceLocked):
            client.lock("ü.txt")
        held.upload_to(b"z", "ü.txt")
    assert (site.root / "ü.txt").read_text() == "z"
    client.upload_to(b"free", "ü.txt")
    client.set_property("ü.txt", {"namespace": "urn:x", "name": "colour", "value": "red"})
    more = [{"namespace": "urn:x", "name": name, "value": value} for name, value in (("size", "5"), ("b", ""))]
    client.set_property_batch("ü.txt", more)
    assert client.get_property("ü.txt", {"namespace": "urn:x", "name": "colour"}) == "red"
    assert client.get_property("ü.txt", {"namespace": "urn:x", "name": "size"}) == "5"
    resource = client.resource("ü.txt")
    assert not resource.is_dir()
    resource.rename("renamed.txt")
    assert client.get_property("renamed.txt", {"namespace": "urn:x", "name": "colour"}) == "red"


@pytest.mark.parametrize("site", ["login"], indirect=True)
def test_a_wrong_password(site: Site) -> None:
    client = client_of(site, password=PASSWORD + "?")
    with pytest.raises(ResponseErrorCode) as refused:
        client.list()
    assert refused.value.code == 401
    client.session.close()


@pytest.mark.parametrize("at", [(LEAST, "Basic")], indirect=True, ids=" ".join)
def test_a_listing_in_depth_is_refused(at: tuple[Site, Client]) -> None:
    """As long as the settings do not allow it: RFC 4918 §9.1."""
    _, client = at
    with pytest.raises(ResponseErrorCode) as refused:
        client.list(recursive=True)
    assert refused.value.code == 403
    assert b"propfind-finite-depth" in refused.value.message
