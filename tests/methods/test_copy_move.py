"""COPY, MOVE and DELETE (RFC 4918 §9.6, §9.8, §9.9, §10.3, §10.6), row by row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inprocess import Local, local
from test_proppatch import values


def colour(app: Local, path: str, value: str) -> None:
    inner = f'<D:set><D:prop><colour xmlns="urn:x">{value}</colour></D:prop></D:set>'
    assert app.proppatch(path, inner).status == 207


@pytest.fixture
def tree(app: Local, box: str) -> str:
    """f, g: files; a: a folder with 1 and b/2; z: a folder with old; each with its name as a property."""
    for folder in ("a", "a/b", "z"):
        app("MKCOL", f"{box}/{folder}")
        colour(app, f"{box}/{folder}", folder)
    for file in ("f", "g", "a/1", "a/b/2", "z/old"):
        app("PUT", f"{box}/{file}", file.encode())
        colour(app, f"{box}/{file}", file)
    return box


def everything(disk: Path) -> dict[str, str | None]:
    """Path → content of everything below, None for folders."""
    found: dict[str, str | None] = {}
    for folder, folders, files in os.walk(disk):
        here = Path(folder).relative_to(disk)
        found |= {str(here / name): None for name in folders}
        found |= {str(here / name): (Path(folder) / name).read_text() for name in files}
    return found


BEFORE = {"f": "f", "g": "g", "a": None, "a/1": "a/1", "a/b": None, "a/b/2": "a/b/2", "z": None, "z/old": "z/old"}

# (source, destination, Depth, status of COPY, status of MOVE; None: 4xx of both and nothing changes)
ROWS: list[tuple[str, str, str | None, int, int]] = [
    ("f", "new", None, 201, 201),
    ("f", "g", None, 204, 204),
    ("f", "a/1", None, 204, 204),
    ("f", "a", None, 204, 204),
    ("f", "a/b", None, 204, 204),
    ("f", "z/new", "0", 201, 201),
    ("a", "new", None, 201, 201),
    ("a", "new", "infinity", 201, 201),
    ("a", "z", None, 204, 204),
    ("a", "f", None, 204, 204),
    ("a/b", "z", None, 204, 204),
    ("a", "z/old", None, 204, 204),
    ("a/", "new/", None, 201, 201),
    ("a/", "z/", None, 204, 204),
    ("a", "z/", None, 204, 204),
    ("f", "new/", None, 201, 201),
    ("a/b/2", "2", None, 201, 201),
    # below itself: a copy ends, a move cannot be
    ("a", "a/b/c", None, 201, 403),
    ("a", "a/1", None, 204, 403),
    # above itself
    ("a/b", "a", None, 403, 403),
    ("a/b/2", "a", None, 403, 403),
    # onto itself
    ("f", "f", None, 403, 403),
    ("a", "a", None, 403, 403),
    ("a", "a/", None, 403, 403),
    ("f", ".", None, 400, 400),
    # no parent
    ("f", "missing/new", None, 409, 409),
    ("f", "g/new", None, 409, 409),
    ("a", "missing/new", None, 409, 409),
    # no source
    ("missing", "new", None, 404, 404),
    ("f/", "new", None, 404, 404),
    ("a/missing", "new", None, 404, 404),
    # Depth
    ("a", "new", "1", 400, 400),
    ("a", "new", "junk", 400, 400),
    ("f", "new", "1", 400, 201),
    # names of the server
    ("f", ".davserver~x", None, 403, 403),
    ("f", "a/.davserver~x", None, 403, 403),
]


def within(name: str, top: str) -> bool:
    return name == top or name.startswith(top + "/")


def expected(method: str, source: str, target: str) -> dict[str, str | None]:
    """What `BEFORE` becomes."""
    arrived = {target + name[len(source) :]: text for name, text in BEFORE.items() if within(name, source)}
    gone = (source, target) if method == "MOVE" else (target,)
    return {name: text for name, text in BEFORE.items() if not any(within(name, top) for top in gone)} | arrived


@pytest.mark.parametrize(("source", "target", "depth", "copied", "moved"), ROWS)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_where_it_goes(
    method: str,
    source: str,
    target: str,
    depth: str | None,
    copied: int,
    moved: int,
    app: Local,
    tree: str,
    disk: Path,
) -> None:
    fields = {"Destination": app.url(f"{tree}/{target}")} | ({} if depth is None else {"Depth": depth})
    answer = app(method, f"{tree}/{source}", headers=fields)
    status = copied if method == "COPY" else moved
    assert answer.status == status
    if status >= 300:
        assert answer.body
        assert everything(disk) == BEFORE
        assert values(app, f"{tree}/f", "colour") == ["f"]
        return
    assert answer.body == b""
    source, target = source.rstrip("/"), target.rstrip("/")
    after = expected(method, source, target)
    assert everything(disk) == after
    for name in after:
        own = source + name[len(target) :] if within(name, target) else name
        assert values(app, f"{tree}/{name}", "colour") == [own]


@pytest.mark.parametrize("value", ["T", "t", " T ", None])
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_may_be_overwritten(method: str, value: str | None, app: Local, tree: str) -> None:
    """RFC 4918 §10.6: T is what counts where nothing is said."""
    fields = {"Destination": app.url(f"{tree}/g")} | ({} if value is None else {"Overwrite": value})
    assert app(method, f"{tree}/f", headers=fields).status == 204
    assert app("GET", f"{tree}/g").body == b"f"


@pytest.mark.parametrize(
    ("value", "target", "status"),
    [("F", "g", 412), ("f", "a", 412), ("F", "new", 201), ("X", "g", 400), ("", "g", 400)],
)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_may_not(method: str, value: str, target: str, status: int, app: Local, tree: str, disk: Path) -> None:
    fields = {"Destination": app.url(f"{tree}/{target}"), "Overwrite": value}
    assert app(method, f"{tree}/f", headers=fields).status == status
    if status != 201:
        assert everything(disk) == BEFORE


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("{path}/new", 201),
        ("http://dav.example{path}/new", 201),
        ("http://dav.example:80{path}/new", 201),
        ("https://dav.example{path}/new", 201),
        ("HTTPS://DAV.EXAMPLE:443{path}/new", 201),
        ("http://alice:secret@dav.example{path}/new", 201),
        ("  {path}/new  ", 201),
        ("{path}/new?query", 201),
        ("{path}/new#fragment", 201),
        ("{path}/./new", 400),
        ("{path}/../new", 400),
        ("{path}/%2e%2e/new", 400),
        ("{path}/a%2Fb", 400),
        ("{path}/a%00b", 400),
        ("{path}/a%zz", 400),
        ("{path}/\xff", 400),
        ("http://other.example{path}/new", 502),
        ("http://dav.example:8080{path}/new", 502),
        ("http://dav.example.evil{path}/new", 502),
        ("ftp://other.example{path}/new", 502),
        ("//other.example{path}/new", 400),
        ("new", 400),
        ("", 400),
        ("{path}/new, {path}/other", 400),
        ("{path}/" + "n" * 300, 414),
    ],
)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_how_a_destination_is_written(method: str, form: str, status: int, app: Local, tree: str, disk: Path) -> None:
    """RFC 4918 §10.3: whatever scheme a proxy makes of ours; split before it is decoded."""
    answer = app(method, f"{tree}/f", Destination=form.format(path=tree))
    assert answer.status == status
    if status == 201:
        assert app("GET", f"{tree}/new").body == b"f"
    else:
        assert everything(disk) == BEFORE


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_destination_must_be_said(method: str, app: Local, tree: str, disk: Path) -> None:
    assert app(method, f"{tree}/f").status == 400
    assert everything(disk) == BEFORE


@pytest.mark.parametrize(
    "name",
    ["x%3Fy.txt", "a%3Bb.txt", "h%23h.txt", "p%25p.txt", "a%20b.txt", "%C3%BC.txt", "a+b", "a;b", "~$a.docx", "%7Ea"],
)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_destination_is_split_before_it_is_decoded(method: str, name: str, app: Local, tree: str) -> None:
    """RFC 3986 §2.4: otherwise `x%3Fy.txt` lands as `x`, and overwrites whatever is there."""
    for innocent in ("x", "a", "h", "p"):
        app("PUT", f"{tree}/z/{innocent}", b"innocent")
    assert app(method, f"{tree}/f", Destination=app.url(f"{tree}/z/{name}")).status == 201
    assert app("GET", f"{tree}/z/{name}").body == b"f"
    for innocent in ("x", "a", "h", "p"):
        assert app("GET", f"{tree}/z/{innocent}").body == b"innocent"


def test_a_destination_that_is_not_escaped(app: Local, tree: str) -> None:
    """LibreOffice 7.4 sends blanks and UTF-8 as they are."""
    raw = "copy of ü.odt".encode().decode("latin-1")
    assert app("COPY", f"{tree}/f", Destination=app.url(f"{tree}/{raw}")).status == 201
    assert app("GET", f"{tree}/copy%20of%20%C3%BC.odt").body == b"f"


@pytest.mark.parametrize("host", ["public.example", "public.example:443", "PUBLIC.example"])
def test_a_proxy_tells_the_name_that_the_client_used(host: str, app: Local, tree: str) -> None:
    fields = {"Destination": f"https://public.example{tree}/new", "X-Forwarded-Host": host}
    assert app("MOVE", f"{tree}/f", headers=fields).status == 201


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"davserver.proxied": True}, 201),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 201),
        ({"davserver.proxied": False}, 502),
        ({"davserver.proxied": True, "HTTP_X_FORWARDED_HOST": "other.example"}, 502),
        ({"davserver.proxied": True, "HTTP_X_FORWARDED_HOST": "public.example"}, 201),
    ],
)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_proxy_that_does_not_tell_the_name_is_no_obstacle(
    method: str, said: dict[str, Any], status: int, app: Local, tree: str
) -> None:
    """nginx with `proxy_pass http://127.0.0.1:8080` and no more asks in HTTP/1.0, for the host 127.0.0.1:8080."""
    proxied = Local(lambda environ, answer: app.app({**environ, **said}, answer), Host="127.0.0.1:8080")
    fields = {"Destination": f"https://public.example{tree}/new"}
    assert proxied(method, f"{tree}/f", headers=fields).status == status
    assert app("GET", f"{tree}/new").status == (200 if status == 201 else 404)


def test_below_a_prefix(tmp_path: Path) -> None:
    with local(tmp_path, prefix="/dav") as app:
        app("PUT", "/f", b"f")
        for destination, status in (
            ("/dav/g", 201),
            ("/dav/", 403),
            ("/davx/g", 502),
            ("/g", 502),
            ("/", 502),
            ("/d", 502),
        ):
            assert app("COPY", "/f", Destination=destination).status == status
        assert app.propfind("/", "getetag", depth="1").hrefs() == ["/dav/", "/dav/f", "/dav/g"]
        assert app("MOVE", "/f", Destination="http://dav.example/dav/h").status == 201


def test_depth_0_copies_a_folder_alone(app: Local, tree: str, disk: Path) -> None:
    """RFC 4918 §9.8.3: with its properties; over another its members go."""
    for target, status in (("new", 201), ("z", 204)):
        assert app("COPY", f"{tree}/a", Destination=app.url(f"{tree}/{target}"), Depth="0").status == status
        assert os.listdir(disk / target) == []
        assert values(app, f"{tree}/{target}", "colour") == ["a"]
    app("PUT", f"{tree}/z/old", b"again")
    assert values(app, f"{tree}/z/old", "colour") == [None]


def test_properties_go_only_as_far_as_their_files(app: Local, tree: str) -> None:
    """RFC 4918 §9.8.2, §9.9.1: the beginning of a path alone changes, and nothing of what was replaced comes back."""
    app("MKCOL", f"{tree}/a/b/a")
    colour(app, f"{tree}/a/b/a", "inner")
    app("PUT", f"{tree}/ab", b"")
    colour(app, f"{tree}/ab", "beside")
    app("MOVE", f"{tree}/a", Destination=app.url(f"{tree}/z"))
    assert values(app, f"{tree}/z/b/a", "colour") == ["inner"]
    assert values(app, f"{tree}/ab", "colour") == ["beside"]
    app("PUT", f"{tree}/z/old", b"again")
    assert values(app, f"{tree}/z/old", "colour") == [None]
    app("MKCOL", f"{tree}/a")
    assert values(app, f"{tree}/a", "colour") == [None]


def test_locks_stay_behind(app: Local, tree: str) -> None:
    """RFC 4918 §7.5, §7.6, §9.9."""
    token = app.lock(f"{tree}/f").token
    where = {"Destination": app.url(f"{tree}/new")}
    assert app("COPY", f"{tree}/f", headers=where).status == 201
    assert not app.propfind(f"{tree}/new", "lockdiscovery").find("//D:activelock")
    app("DELETE", f"{tree}/new")
    assert app("MOVE", f"{tree}/f", headers=where).status == 423
    assert app("MOVE", f"{tree}/f", headers={**where, "If": f"(<{token}>)"}).status == 201
    assert not app.propfind(f"{tree}/new", "lockdiscovery").find("//D:activelock")
    assert app("PUT", f"{tree}/f", b"not locked any more").status == 201
    assert app("PUT", f"{tree}/new", b"nor this", If=f"(<{token}>)").status == 412


@pytest.mark.parametrize(
    ("locked", "method", "source", "target"),
    [
        ("g", "COPY", "f", "g"),
        ("g", "MOVE", "f", "g"),
        ("z/old", "COPY", "a", "z"),
        ("z/old", "MOVE", "a", "z"),
        ("a/b/2", "MOVE", "a", "new"),
        ("a/b/2", "DELETE", "a", None),
        ("z", "COPY", "f", "z/new"),
        ("z", "MOVE", "f", "z/new"),
        ("a", "MOVE", "a/1", "new"),
        ("a", "DELETE", "a/1", None),
        ("f", "DELETE", "f", None),
    ],
)
def test_locks_in_the_way_refuse_all_of_it(
    locked: str, method: str, source: str, target: str | None, app: Local, tree: str, disk: Path
) -> None:
    """RFC 4918 §7.4, §9.6.1: one plain 423, and nothing is half done. Finder loops on a 207."""
    token = app.lock(f"{tree}/{locked}").token
    fields = {} if target is None else {"Destination": app.url(f"{tree}/{target}")}
    answer = app(method, f"{tree}/{source}", headers=fields)
    assert answer.status == 423
    assert everything(disk) == BEFORE
    submitted = f"<{tree}/{locked}> (<{token}>)"
    assert app(method, f"{tree}/{source}", headers={**fields, "If": submitted}).status in (201, 204)


@pytest.mark.parametrize(
    ("target", "depth", "status"),
    [
        ("f", None, 204),
        ("a", None, 204),
        ("a/", None, 204),
        ("a", "infinity", 204),
        ("f", "0", 204),
        ("a", "0", 400),
        ("a", "1", 400),
        ("missing", None, 404),
        ("f/", None, 404),
        ("a/missing", None, 404),
        (".davserver~stage", None, 404),
    ],
)
def test_deletion(target: str, depth: str | None, status: int, app: Local, tree: str, disk: Path) -> None:
    fields = {} if depth is None else {"Depth": depth}
    assert app("DELETE", f"{tree}/{target}", headers=fields).status == status
    gone = target.rstrip("/") if status == 204 else "-"
    assert everything(disk) == {name: text for name, text in BEFORE.items() if name.split("/")[0] != gone}
    if status == 204:
        app("PUT", f"{tree}/{gone}", b"new")
        assert values(app, f"{tree}/{gone}", "colour") == [None]


def test_the_root_stays(app: Local) -> None:
    assert app("DELETE", "/").status == 403
    assert app("MOVE", "/", Destination="/elsewhere").status == 403
    assert app("COPY", "/", Destination="/").status == 403


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Local, Path]]:
    """Two shares of one file system, one within the other's URL space, and one that is read-only."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    shares = {
        "/": {"directory": str(tmp_path / "one")},
        "/two": {"directory": str(tmp_path / "two")},
        "/three": {"directory": str(tmp_path / "three"), "read_only": True},
    }
    with local(tmp_path, shares=shares) as app:
        app("MKCOL", "/a")
        app("PUT", "/a/f", b"f")
        colour(app, "/a/f", "red")
        yield app, tmp_path


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_across_shares(method: str, two: tuple[Local, Path]) -> None:
    app, place = two
    inode = (place / "one/a/f").stat().st_ino
    assert app(method, "/a", Destination="/two/b").status == 201
    assert app("GET", "/two/b/f").body == b"f"
    assert values(app, "/two/b/f", "colour") == ["red"]
    assert app("GET", "/a/f").status == (200 if method == "COPY" else 404)
    # On one file system a move is a rename.
    assert ((place / "two/b/f").stat().st_ino == inode) is (method == "MOVE")


def test_shares_are_not_moved_about(two: tuple[Local, Path]) -> None:
    app, _ = two
    for method, source, target in (
        ("MOVE", "/two", "/b"),
        ("COPY", "/a", "/two"),
        ("MOVE", "/a", "/two"),
        ("COPY", "/a", "/three/x"),
        ("MOVE", "/three", "/x"),
    ):
        assert app(method, source, Destination=target).status == 403
    assert app("COPY", "/two", Destination="/b").status == 201
    assert app("DELETE", "/two").status == 403
    assert app("MOVE", "/a", Destination="/three/a").status == 403
    assert app.propfind("/two", "getetag").status == 207


def test_a_move_within_a_file_system_keeps_the_version(app: Local, tree: str) -> None:
    """The ETag is that of the file, wherever it is (RFC 9110 §8.8.3)."""
    tag = app("HEAD", f"{tree}/f").headers["etag"]
    app("MOVE", f"{tree}/f", Destination=app.url(f"{tree}/new"))
    assert app("HEAD", f"{tree}/new").headers["etag"] == tag
    app("COPY", f"{tree}/new", Destination=app.url(f"{tree}/f"))
    assert app("HEAD", f"{tree}/f").headers["etag"] != tag


def test_a_destination_taken_by_what_is_not_served(app: Local, tree: str, disk: Path) -> None:
    (disk / "link").symlink_to("/etc")
    os.mkfifo(disk / "pipe")
    for target in ("link", "pipe"):
        for method in ("COPY", "MOVE"):
            assert app(method, f"{tree}/f", Destination=app.url(f"{tree}/{target}")).status == 403
        assert app("MKCOL", f"{tree}/{target}").status == 403
        assert app("PUT", f"{tree}/{target}", b"x").status == 403
        assert app("DELETE", f"{tree}/{target}").status == 404
    assert (disk / "link").is_symlink()
    assert app("GET", f"{tree}/f").body == b"f"
