"""What runs out under a server at work: files that may be open, threads, the patience of a disk. Told with the right
status, and over without a restart when it is over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from power import Disk
from serving import Process, serving
from wire import Answer, Dav

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW
COLOUR = '<D:set><D:prop><colour xmlns="urn:x">{}</colour></D:prop></D:set>'


def serve(folder: Path, **settings: object) -> Process:
    config = folder / "davserver.yaml"
    config.write_text(json.dumps({"workers": 1, "log": {"access": False}, **settings}))
    return Process(folder, "-c", str(config), "--log-level", "warning")


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
                head = f"PUT /slow{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
                upload.send(head.encode() + b"begun")
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


def test_a_disk_that_hangs(tmp_path: Path) -> None:
    """What lies elsewhere is served meanwhile, whoever reads is answered, and what waited goes on."""
    with Disk(tmp_path, "ext4") as disk, ThreadPoolExecutor() as pool:
        shares = {"/slow": {"directory": str(disk.place)}}
        with serve(tmp_path, shares=shares) as server:
            client = server.client()
            plant(client)
            assert client("PUT", "/slow/f", b"old").status == 201
            with frozen(disk):
                waiting = pool.submit(lambda: server.client()("PUT", "/slow/f", b"new"))
                for number in range(5):
                    assert client("PUT", f"/quick{number}", b"x").status == 201
                    assert client("DELETE", f"/quick{number}").status == 204
                assert client("GET", "/slow/f").body == b"old"
                all_is_well(client)
                assert not waiting.done()
            assert waiting.result(60).status == 204
            assert client("GET", "/slow/f").body == b"new"


def test_a_disk_of_the_state_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who changes something is answered when it is on the disk, and not before; who reads is answered at once."""
    with serving(tmp_path, durability="full") as server, ThreadPoolExecutor() as pool:
        client = server.client()
        plant(client)
        hangs, goes_on, real = threading.Event(), threading.Event(), os.fdatasync

        def flush(fd: int) -> None:
            hangs.set()
            assert goes_on.wait(60)
            real(fd)

        monkeypatch.setattr(os, "fdatasync", flush)
        waiting = [pool.submit(lambda n=n: server.client().proppatch("/g", COLOUR.format(n))) for n in range(5)]
        assert hangs.wait(20)
        for _ in range(20):
            assert client("GET", "/f").body == b"content"
            assert "red" in client.propfind("/f", "colour", namespace="urn:x").body.decode()
            assert client("PUT", "/plain", b"x").status in (201, 204)  # has no rows, so the state has no part in it
        assert not any(each.done() for each in waiting)
        goes_on.set()
        assert {each.result(60).status for each in waiting} == {207}
        all_is_well(client)
