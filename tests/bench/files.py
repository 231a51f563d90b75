"""What files, properties and listings cost: tables, for people. `make bench-files`.

Requests go to the application without sockets, so that what is measured is what lies behind HTTP. Each figure is the
median of some rounds. Nothing here fails for being slow; compare figures of one run only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from inprocess import Content, Local, local

TEN = (
    '<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/>'
    "<D:creationdate/><D:getetag/><D:getcontenttype/><D:displayname/><D:lockdiscovery/><D:supportedlock/>"
    '<x:executable xmlns:x="http://apache.org/dav/props/"/></D:prop></D:propfind>'
)
COLOUR = '<D:set><D:prop><c xmlns="urn:x">red</c></D:prop></D:set>'
WIN32 = "".join(
    f'<Z:{name} xmlns:Z="urn:schemas-microsoft-com:">Sun, 13 Sep 2020 12:26:40 GMT</Z:{name}>'
    for name in ("Win32CreationTime", "Win32LastAccessTime", "Win32LastModifiedTime")
)


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"file number {number}.txt").write_bytes(b"file %d" % number)


@contextmanager
def application(durability: str = "relaxed") -> Iterator[tuple[Local, Path]]:
    place = Path(tempfile.mkdtemp(prefix="bench-files-"))
    try:
        with local(place, durability=durability) as app:
            yield app, place / "share"
    finally:
        shutil.rmtree(place)


def median(rounds: int, act: Callable[[], object]) -> float:
    """Seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}\n")
    for row in (head, tuple("-" * width for width in widths), *rows):
        first, *others = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        print("  ".join((first.strip().ljust(widths[0]), *others)))


def listings() -> None:
    rows = []
    with application() as (app, root):
        for count in (10, 1000, 10_000):
            fill(root / f"d{count}", count)
            for what, body in (("ten properties", TEN), ("allprop", ""), ("Explorer", "")):
                agent = {"User-Agent": "Microsoft-WebDAV-MiniRedir/10"} if what == "Explorer" else {}
                seconds = median(5 if count < 10_000 else 3, lambda body=body, agent=agent, count=count: app(
                    "PROPFIND", f"/d{count}", body, {"Depth": "1", **agent}
                ))  # fmt: skip
                rows.append((f"{count} files, {what}", f"{seconds * 1e3:.1f} ms", f"{seconds / count * 1e6:.1f} us"))
        with_properties(app, 1000)
        seconds = median(5, lambda: app("PROPFIND", "/d1000", b"", Depth="1"))
        rows.append(
            ("1000 files with 3 dead properties, allprop", f"{seconds * 1e3:.1f} ms", f"{seconds * 1e3:.1f} us")
        )
        for number in range(0, 1000, 10):
            app.lock(f"/d1000/file%20number%20{number}.txt")
        seconds = median(5, lambda: app("PROPFIND", "/d1000", b"", Depth="1"))
        rows.append(("  and a lock on every tenth", f"{seconds * 1e3:.1f} ms", f"{seconds * 1e3:.1f} us"))
        seconds = median(500, lambda: app("PROPFIND", "/d10", TEN, Depth="0"))
        rows.append(("Depth 0, ten properties", f"{seconds * 1e3:.2f} ms", ""))
    table("PROPFIND Depth 1", ("", "whole", "an entry"), rows)


def with_properties(app: Local, count: int) -> None:
    for number in range(count):
        app.proppatch(f"/d{count}/file%20number%20{number}.txt", f"<D:set><D:prop>{WIN32}</D:prop></D:set>")


def huge() -> None:
    """In a process of its own: its memory is what is measured."""
    place = Path(tempfile.mkdtemp(prefix="bench-files-"))
    try:
        fill(place / "share" / "d", 100_000)
        run = subprocess.run([sys.executable, __file__, "huge", str(place)], capture_output=True, text=True, check=True)
        rows = [tuple(line.split("\t")) for line in run.stdout.splitlines()]
    finally:
        shutil.rmtree(place)
    table("PROPFIND Depth 1 of 100,000 files", ("", ""), rows)


def list_huge(place: Path) -> None:
    with local(place) as app:
        environ = {"REQUEST_METHOD": "PROPFIND", "REQUEST_URI": "/d", "HTTP_DEPTH": "1", "wsgi.input": Content(b"")}
        Path("/proc/self/clear_refs").write_text("5")  # the most so far was the password hash at the start
        before = most_memory()
        began = time.perf_counter()
        blocks = iter(app.app(environ, lambda *_: None))
        size = len(next(blocks))
        first = time.perf_counter() - began
        for block in blocks:
            size += len(block)
        whole = time.perf_counter() - began
        after = most_memory()
    print(f"first byte\t{first * 1e3:.1f} ms")
    print(f"whole ({size / 1e6:.0f} MB)\t{whole:.2f} s")
    print(f"memory at its peak\t{after:.0f} MB")
    print(f"of it for the listing\t{after - before:.0f} MB")


def most_memory() -> float:
    """The most that this process has ever had, in MB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def writes() -> None:
    rows: dict[str, list[str]] = {}
    for durability, count in (("relaxed", 1000), ("full", 200)):
        with application(durability) as (app, _):
            for name, act in requests(app):
                rows.setdefault(name, []).append(f"{median(count, act) * 1e6:.0f} us")
    table("One request, without HTTP", ("", "relaxed", "full"), [(name, *figures) for name, figures in rows.items()])


def requests(app: Local) -> list[tuple[str, Callable[[], object]]]:
    app("MKCOL", "/d")
    body, numbers = os.urandom(4096), iter(range(10**9))
    right = b64encode(hashlib.sha256(body).digest()).decode()
    time_of_change = f"<D:set><D:prop>{WIN32}</D:prop></D:set>"
    return [
        ("PUT 4 KiB, new", lambda: app("PUT", f"/d/{next(numbers)}", body)),
        ("  with its SHA-256", lambda: app("PUT", f"/d/{next(numbers)}", body, Content_Digest=f"sha-256=:{right}:")),
        ("PUT 4 KiB, over", lambda: app("PUT", "/d/over", body)),
        ("PATCH of 4 KiB, append", patcher(app)),
        ("MKCOL", lambda: app("MKCOL", f"/d/{next(numbers)}")),
        ("PROPPATCH", lambda: app.proppatch("/d/over", COLOUR)),
        ("PROPPATCH with a time", lambda: app.proppatch("/d/over", time_of_change)),
        ("MOVE, no properties", mover(app, "/d/a", "/d/b", coloured=False)),
        ("MOVE, with properties", mover(app, "/d/c", "/d/d", coloured=True)),
        ("DELETE, no properties", deleter(app)),
        ("GET 4 KiB", lambda: app("GET", "/d/over")),
    ]


def patcher(app: Local) -> Callable[[], object]:
    app("PUT", "/d/parts", b"")
    fields = {"Content-Type": "application/x-sabredav-partialupdate", "X-Update-Range": "bytes=0-"}
    return lambda: app("PATCH", "/d/parts", b"x" * 4096, fields)


def mover(app: Local, one: str, two: str, *, coloured: bool) -> Callable[[], object]:
    app("PUT", one, b"x")
    if coloured:
        app.proppatch(one, COLOUR)
    there = [one, two]

    def move() -> None:
        assert app("MOVE", there[0], Destination=there[1]).status == 201
        there.reverse()

    return move


def deleter(app: Local) -> Callable[[], object]:
    for number in range(1000):
        app("PUT", f"/d/x{number}", b"x")
    numbers = iter(range(1000))
    return lambda: app("DELETE", f"/d/x{next(numbers)}")


def trees() -> None:
    rows = []
    for durability in ("relaxed", "full"):
        for coloured in (False, True):
            with application(durability) as (app, root):
                fill(root / "d10000", 10_000)
                if coloured:
                    app.proppatch("/d10000", COLOUR)
                    # Rows are what is measured, not how they came: as many requests would take minutes.
                    share = next(iter(app.app.application._shares))  # type: ignore[attr-defined]
                    with share.state.transaction():
                        for number in range(10_000):
                            share.state.query(
                                "INSERT INTO properties VALUES (?, 'urn:x', 'c', '/d10000', ?)",
                                (f"/d10000/file number {number}.txt", b'<c xmlns="urn:x">red</c>'),
                            )
                figures = []
                for method, source, target in (
                    ("COPY", "/d10000", "/copy"),
                    ("MOVE", "/copy", "/moved"),
                    ("DELETE", "/moved", ""),
                ):
                    began = time.perf_counter()
                    answer = app(method, source, headers={"Destination": target} if target else {})
                    assert answer.status in (201, 204), answer
                    figures.append(f"{(time.perf_counter() - began) * 1e3:.0f} ms")
                rows.append((f"{durability}, {'a property each' if coloured else 'no properties'}", *figures))
    table("A folder of 10,000 files", ("", "COPY", "MOVE", "DELETE"), rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["huge"]:
        list_huge(Path(sys.argv[2]))
    else:
        print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, files in {tempfile.gettempdir()}")
        for part in (listings, huge, writes, trees):
            if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
                part()
