"""What runs out under a server at work: files that may be open, threads, the patience of a disk. Told with the right
status, and over without a restart when it is over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from power import Disk
from serving import Process
from wire import Answer, Dav

from davserver.storage.gate import flock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW
COLOUR = '<D:set><D:prop><colour xmlns="urn:x">{}</colour></D:prop></D:set>'


def serve(folder: Path, *, state: Path | None = None, **settings: object) -> Process:
    config = folder / "davserver.yaml"
    config.write_text(json.dumps({"workers": 1, "log": {"access": False}, **settings}))
    return Process(folder, "-c", str(config), "--log-level", "warning", state=state)


def is_refused(answer: Answer) -> bool:
    """For a while."""
    return answer.status == 503 and int(answer.headers["retry-after"]) > 0 and bool(answer.body)


def all_is_well(client: Dav) -> None:
    assert client("PUT", "/after", b"x").status == 201
    assert client.proppatch("/after", COLOUR.format("green")).status == 207
    token = client.lock("/after").token
    assert client("UNLOCK", "/after", Lock_Token=f"<{token}>").status == 204
    assert client("MOVE", "/after", Destination=client.url("/moved")).status == 201
    assert "green" in client.propfind("/moved", "colour", namespace="urn:x").body.decode()
    assert client("DELETE", "/moved").status == 204
    assert client("GET", "/f").body == b"content"
    assert "red" in client.propfind("/f", "colour", namespace="urn:x").body.decode()


def plant(client: Dav) -> None:
    assert client("PUT", "/f", b"content").status == 201
    assert client.proppatch("/f", COLOUR.format("red")).status == 207
    assert client("PUT", "/g", b"content").status == 201


@contextlib.contextmanager
def no_more_files(server: Process) -> Iterator[list[Dav]]:
    """Not one more than are open. Connections that have taken whatever was left, the last one for use."""
    (pid,) = server.workers
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    limit = max(taken) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        clients = [server.client() for _ in range(limit - len(taken) + 2)]
        for client in clients:
            assert client("OPTIONS", "/").status in (200, 503)
        yield clients
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_no_file_may_be_opened_any_more(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        plant(server.client())
        (pid,) = server.workers
        with no_more_files(server) as clients:
            client = clients[-1]
            for name, answer in {
                "GET": client("GET", "/f"),
                "PUT": client("PUT", "/f", b"new"),
                "PUT new": client("PUT", "/new", b"new"),
                "LOCK": client.lock("/f"),
                "LOCK new": client.lock("/new"),
                "PROPPATCH": client.proppatch("/f", COLOUR.format("blue")),
                "MOVE": client("MOVE", "/f", Destination=client.url("/moved")),
                "COPY": client("COPY", "/f", Destination=client.url("/copy")),
                "DELETE": client("DELETE", "/g"),
                "PROPFIND": client.propfind("/", "getetag", depth="1"),
            }.items():
                assert is_refused(answer), (name, answer)
            # Who comes now takes the place of the connection that was idle longest, and keeps it.
            for _ in range(5):
                clients.append(server.client())
                client = clients[-1]
                assert is_refused(client("GET", "/f"))
                assert is_refused(client("GET", "/f"))
        assert server.workers == [pid]
        all_is_well(client)
        assert client.propfind("/", depth="1").hrefs() == ["/", "/f", "/g"]
        assert not client.propfind("/f", "lockdiscovery").find("//D:activelock")


@contextlib.contextmanager
def no_more_threads(pid: int) -> Iterator[None]:
    """Not one more than run: a control group of its own, of which the server's limit is."""
    group = Path("/sys/fs/cgroup/pids" if Path("/sys/fs/cgroup/pids").is_dir() else "/sys/fs/cgroup") / f"dav{pid}"
    before = group.parent / "cgroup.procs"
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text((group / "pids.current").read_text())
    except OSError as error:
        pytest.skip(f"threads cannot be limited, so that they run out is NOT TESTED here: {error}")
    try:
        yield
    finally:
        (group / "pids.max").write_text("max")
        with contextlib.suppress(OSError):  # version 2 without a group of its own
            before.write_text(str(pid))
            group.rmdir()


def test_no_thread_can_be_started_any_more(tmp_path: Path) -> None:
    """What needs one to wait with is refused or waits its turn; what does not is answered."""
    with serve(tmp_path) as server:
        client = server.client()
        plant(client)
        (pid,) = server.workers
        with no_more_threads(pid), contextlib.ExitStack() as stack:
            slow = [stack.enter_context(server.raw()) for _ in range(20)]
            for number, upload in enumerate(slow):
                upload.send(f"PUT /slow{number} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nbegun".encode())
            for _ in range(10):
                assert client("GET", "/f").body == b"content"
                assert client("PUT", "/g", b"quick").status == 204
            for upload in slow:
                upload.send_all(b"x" * 99995)
            answers = [upload.answer() for upload in slow]
        told = [status for status, _, _ in answers]
        assert 503 in told
        assert set(told) <= {201, 503}
        assert all(int(fields["retry-after"]) > 0 and body for status, fields, body in answers if status == 503)
        assert server.workers == [pid]
        all_is_well(client)
        assert len(client.propfind("/", depth="1").hrefs()) == 3 + told.count(201)


@contextlib.contextmanager
def frozen(disk: Disk) -> Iterator[None]:
    """Whoever writes there waits, in the kernel, where nothing can interrupt him."""
    fd = os.open(disk.place, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _FREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(fd, _THAW, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("what", ["files", "state"])
def test_a_disk_that_hangs(what: str, tmp_path: Path) -> None:
    """What lies elsewhere is served meanwhile, whoever reads is answered, and what waited goes on."""
    with Disk(tmp_path, "ext4") as disk, ThreadPoolExecutor(20) as pool:
        slow = {"shares": {"/slow": {"directory": str(disk.place)}}} if what == "files" else {}
        state = disk.place / "state" if what == "state" else None
        with serve(tmp_path, state=state, **slow) as server:
            client = server.client()
            plant(client)
            if slow:
                assert client("PUT", "/slow/f", b"old").status == 201
            with frozen(disk):
                if slow:
                    waiting = pool.submit(lambda: server.client()("PUT", "/slow/f", b"new"))
                    for number in range(5):
                        assert client("PUT", f"/quick{number}", b"x").status == 201
                        assert client("DELETE", f"/quick{number}").status == 204
                    assert client("GET", "/slow/f").body == b"old"
                    all_is_well(client)
                    assert not waiting.done()
                else:
                    waiting = pool.submit(lambda: server.client().proppatch("/g", COLOUR.format("blue")))
                    while not is_writing(server):
                        assert client("GET", "/f").body == b"content"
                    # The one who writes waits for the disk; those behind him do not wait for ever.
                    others = [
                        pool.submit(lambda n=n: timed(lambda: server.client().proppatch("/f", COLOUR.format(n))))
                        for n in range(3)
                    ]
                    for other in others:
                        answer, seconds = other.result(60)
                        assert is_refused(answer)
                        assert seconds < 16
                    assert client("GET", "/f").body == b"content"
                    assert "red" in client.propfind("/f", "colour", namespace="urn:x").body.decode()
                    assert not waiting.done()
            assert waiting.result(60).status in (204, 207)
            all_is_well(client)


def is_writing(server: Process) -> bool:
    """Does somebody have the turn to write?"""
    with (server.state / "writers").open("rb") as found:
        answer = fcntl.fcntl(found.fileno(), fcntl.F_OFD_GETLK, flock(fcntl.F_RDLCK, 0, 1))
    return struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK


def timed(act: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.monotonic()
    return act(), time.monotonic() - began
