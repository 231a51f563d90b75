"""`make bench-files`: large folders over HTTP, ours beside Apache and stock WsgiDAV in one run, and the table of it.

One client asks for one thing at a time, and the servers take turns in every round. Beside the time from the first byte
of the request to the last of the answer stands the processor time that the server's processes took for it, which
does not depend on what else the machine does.
"""

from __future__ import annotations

import http.client
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from page import REPORT, put_in
from peers import Apache, Davserver, Peer, WsgiDAV
from report import machine, table

PEERS: tuple[type[Peer], ...] = (Davserver, Apache, WsgiDAV)
#: Files of a folder, and rounds in which it is asked for.
SIZES = {1_000: 15, 10_000: 5}
HUGE = 100_000
TREE = 10_000
_TICK = 1 / os.sysconf("SC_CLK_TCK")

TEN = (
    '<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/>'
    "<D:creationdate/><D:getetag/><D:getcontenttype/><D:displayname/><D:lockdiscovery/><D:supportedlock/>"
    '<x:executable xmlns:x="http://apache.org/dav/props/"/></D:prop></D:propfind>'
)
SEVEN = (
    '<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/>'
    "<D:creationdate/><D:getetag/><D:getcontenttype/><D:lockdiscovery/></D:prop></D:propfind>"
)
WANTED = {"ten": TEN, "seven": SEVEN}
COLOUR = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><c xmlns="urn:x">red</c></D:prop></D:set></D:propertyupdate>'


@dataclass
class Asked:
    """The same request over and over. Seconds."""

    wall: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        return statistics.median(self.wall) * 1e3

    @property
    def first_ms(self) -> float:
        return statistics.median(self.first) * 1e3

    @property
    def processor_ms(self) -> float:
        # Ticks are coarse: the sum of many requests is what they are right for.
        return sum(self.processor) / len(self.processor) * 1e3


class Client:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._connection = http.client.HTTPConnection(peer.host, timeout=600)

    def ask(self, method: str, path: str, body: str | bytes | None = None, **fields: str) -> tuple[float, float]:
        """(seconds to the first byte of the answer's body, to its last)."""
        # Some close what was idle while another server had its turn.
        self._connection.close()
        self._connection.connect()
        began = time.perf_counter()
        self._connection.request(method, path, body, fields)
        answer = self._connection.getresponse()
        answer.read(1)
        first = time.perf_counter() - began
        while answer.read(1 << 20):
            pass
        if answer.status >= 300:
            raise RuntimeError(f"{self.peer.name}: {method} {path}: {answer.status}")
        return first, time.perf_counter() - began

    def measure(self, into: Asked, method: str, path: str, body: str | None = None, **fields: str) -> None:
        before = processor(self.peer)
        first, whole = self.ask(method, path, body, **fields)
        into.processor.append(processor(self.peer) - before)
        into.first.append(first)
        into.wall.append(whole)


def processor(peer: Peer) -> float:
    """Seconds of processor time that the server's processes have had."""
    ticks = 0
    for pid in peer.processes():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * _TICK


def peak(peer: Peer) -> float:
    """MiB: the most that any of its processes has ever held."""
    most = 0
    for pid in peer.processes():
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        most = max(most, int(fields["VmHWM"].split()[0]))
    return most / 1024


def fill(folder: Path, count: int) -> None:
    """As their own files: Apache serves as somebody else."""
    owner = folder.parent.stat()
    folder.mkdir()
    for number in range(count):
        (folder / f"file number {number}.txt").write_bytes(b"file %d" % number)
    subprocess.run(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", str(folder)], check=True)


def listings(peers: list[Peer]) -> dict[str, dict[str, Asked]]:
    found: dict[str, dict[str, Asked]] = {}
    for size, rounds in SIZES.items():
        for peer in peers:
            fill(peer.root / f"d{size}", size)
        clients = [Client(peer) for peer in peers]
        for what, body in WANTED.items():
            by = found[f"PROPFIND of {size:,} files, {what} properties"] = {peer.name: Asked() for peer in peers}
            for number in range(rounds + 1):
                for client in clients:
                    if client.peer.name == "WsgiDAV" and number > 3:
                        continue  # it takes seconds each time
                    into = by[client.peer.name] if number else Asked()
                    client.measure(into, "PROPFIND", f"/d{size}/", body, Depth="1")
    return found


def huge(peer: Peer) -> Asked:
    fill(peer.root / "huge", HUGE)
    asked, client = Asked(), Client(peer)
    for _ in range(3):
        client.measure(asked, "PROPFIND", "/huge/", TEN, Depth="1")
    shutil.rmtree(peer.root / "huge")
    return asked


def trees(peers: list[Peer]) -> dict[str, dict[str, Asked]]:
    """A folder of TREE files, each tenth with a property, moved and removed."""
    found = {name: {peer.name: Asked() for peer in peers} for name in ("MOVE", "DELETE")}
    for _ in range(3):
        for peer in peers:
            fill(peer.root / "tree", TREE)
            client = Client(peer)
            for number in range(0, TREE, 10 if peer.name != "WsgiDAV" else TREE):
                if peer.name != "WsgiDAV":  # which keeps none by default
                    client.ask("PROPPATCH", f"/tree/file%20number%20{number}.txt", COLOUR)
            client.measure(found["MOVE"][peer.name], "MOVE", "/tree/", Destination=f"http://{peer.host}/moved/")
            client.measure(found["DELETE"][peer.name], "DELETE", "/moved/")
    return found


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="davserver-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        peers = [stack.enter_context(peer(folder).running()) for peer in PEERS if peer.program()]
        ours = peers[0]
        lists = listings(peers)
        rest = peak(ours)
        large = huge(ours)
        most = peak(ours)
        moved = trees(peers)
    lines = _lines([peer.name for peer in peers], lists, moved)
    lines += [
        "",
        f"A listing of {HUGE:,} files takes {statistics.median(large.wall):.1f} s; its first byte comes after "
        f"{large.first_ms:.0f} ms, and the worker that makes it holds {most:.0f} MiB at most ({rest:.0f} MiB before).",
    ]
    print("\n".join(lines))
    put_in(REPORT, "make bench-files", ["## Large folders", "", *lines])


def _lines(names: list[str], lists: dict[str, dict[str, Asked]], moved: dict[str, dict[str, Asked]]) -> list[str]:
    rows = [
        *lists.items(),
        *((f"{method} of a folder of {TREE:,} files", by) for method, by in moved.items()),
    ]
    against = [name for name in names[1:] if name in rows[0][1]]

    def cells(figure: Callable[[Asked], float]) -> list[list[str]]:
        return [
            [
                what,
                *(f"{figure(by[name]):,.1f}" for name in names),
                *(f"{figure(by[name]) / max(figure(by[names[0]]), 1e-9):,.1f}" for name in against),
            ]
            for what, by in rows
        ]

    head = ["", *names, *(f"{name} : {names[0]}" for name in against)]
    return [
        f"{machine()}. One client, one request at a time; the servers take turns. The ten properties are those that "
        "file managers ask for, of which Apache must look for the name to show among its dead properties; the seven "
        "are those that every server has at hand. Each tenth file of the folder that is moved and removed has a dead "
        "property (but in WsgiDAV, which keeps none by default). Written by `make bench-files`.",
        "",
        "Milliseconds until the last byte of the answer, the median:",
        "",
        *table(head, cells(lambda asked: asked.ms)),
        "",
        "Milliseconds of processor time that the server takes for it:",
        "",
        *table(head, cells(lambda asked: asked.processor_ms)),
    ]


if __name__ == "__main__":
    main()
