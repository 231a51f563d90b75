"""Processes: one parent, some workers, and what happens to them. All of it from outside, as an operator sees it."""

from __future__ import annotations

import base64
import json
import os
import platform
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from serving import QUICK, Process
from test_http_tls import connect, pair, trusting
from wire import Dav

from davserver.server.workers import Workers
from davserver.settings import Settings

pytestmark = pytest.mark.slow


def configured(folder: Path, **settings: object) -> Path:
    """A configuration file; JSON is YAML."""
    path = folder / "davserver.yaml"
    path.write_text(json.dumps({"workers": 2, "durability": "relaxed", **settings}))
    return path


@contextmanager
def workers(folder: Path, **settings: object) -> Iterator[Process]:
    with Process(folder, "-c", str(configured(folder, **settings))) as server:
        yield server


def until(condition: Callable[[], bool], dav: Dav) -> None:
    """Asks the server something until `condition` is true; each round is a request, not a pause."""
    for _ in range(20_000):
        if condition():
            return
        try:
            dav("OPTIONS", "/")
        except OSError:
            dav.close()
    raise AssertionError("what the test waits for did not happen")


def open_files(pid: int) -> Iterator[str]:
    """What the descriptors of a process lead to."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield os.readlink(link)


class Load:
    """Clients that write and read back, each its own file, and count what goes wrong. A connection that is cut is
    no wrong answer: the request is sent again, as every client does."""

    def __init__(self, server: Process, count: int = 4) -> None:
        self.wrong: list[str] = []
        self.cut = self.done = 0
        self._stop = threading.Event()
        self._server = server
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def _run(self, number: int) -> None:
        dav = self._server.client()
        written = 0
        while not self._stop.is_set():
            content = f"{number}:{written}".encode() * 100
            try:
                status = dav("PUT", f"/load-{number}", content).status
                answer = dav("GET", f"/load-{number}")
            except (OSError, EOFError) as error:
                self.cut += 1
                dav.close()
                if isinstance(error, ConnectionRefusedError):
                    return  # nobody listens any more
                continue
            except Exception as error:
                self.wrong.append(repr(error))
                dav.close()
                continue
            if status not in (201, 204) or answer.status != 200 or answer.body != content:
                self.wrong.append(f"{status} {answer.status} {answer.body[:20]!r}")
            written += 1
            self.done += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def sockets(server: Process) -> list[int]:
    """How many each worker has open."""
    return [sum("socket:" in link for link in open_files(pid)) for pid in server.workers]


def test_workers_share_the_work_and_one_set_of_locks(tmp_path: Path) -> None:
    with workers(tmp_path, workers=3) as server:
        before = sockets(server)
        assert len(before) == 3
        clients = [server.client() for _ in range(9)]
        for client in clients:
            assert client("OPTIONS", "/").status == 200
        assert all(now > then for now, then in zip(sockets(server), before, strict=True))
        assert clients[0]("PUT", "/f", b"x").status == 201
        token = clients[0].lock("/f").token
        assert {client("PUT", "/f", b"y").status for client in clients} == {423}
        assert {client.lock("/f").status for client in clients} == {423}
        assert clients[8]("PUT", "/f", b"y", If=f"(<{token}>)").status == 204
        assert server.stop() == 0


def test_a_worker_that_is_killed_under_load_is_replaced_and_nothing_wrong_is_answered(tmp_path: Path) -> None:
    with workers(tmp_path) as server:
        dav = server.client()
        with Load(server) as load:
            for _ in range(3):
                before, done = server.workers, load.done
                until(lambda done=done: load.done > done + 20, dav)
                os.kill(before[0], signal.SIGKILL)
                until(
                    lambda before=before: len(set(server.workers) - set(before)) == 1 and len(server.workers) == 2, dav
                )
        assert load.wrong == []
        assert load.done > 60
        assert server.stop() == 0
        assert "was ended by SIGKILL" in "".join(server.output)


def test_a_reload_under_load_changes_who_may_log_in_and_disturbs_nobody(tmp_path: Path) -> None:
    def settings(password: str) -> dict[str, object]:
        return {"users": {"alice": {"password": QUICK.hash(password)}}, "anonymous": "rw", "prefix": ""}

    def logs_in(password: str) -> bool:
        login = base64.b64encode(f"alice:{password}".encode()).decode()
        statuses = set()
        for _ in range(6):  # enough connections to meet every worker
            client = server.client(Authorization=f"Basic {login}")
            statuses.add(client("PUT", "/mine", b"x").status < 300)
            client.close()
        return statuses == {True}

    with workers(tmp_path, **settings("before")) as server:
        dav = server.client()
        assert logs_in("before")
        assert not logs_in("after")
        with Load(server) as load:
            pids = server.workers
            configured(tmp_path, **settings("after"), workers=3, locks={"max_timeout": "12h"})
            os.kill(server.pid, signal.SIGHUP)
            until(lambda: logs_in("after"), dav)
            assert not logs_in("before")
        assert load.wrong == []
        assert load.cut == 0
        assert server.workers == pids
        configured(tmp_path, prot=1)
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: "did you mean port" in "".join(server.output), dav)
        assert logs_in("after")
        assert server.stop() == 0
        told = "".join(server.output)
    assert "changed, and in force from the next start: workers, locks" in told
    assert "Traceback" not in told


def test_a_reload_renews_the_certificate(tmp_path: Path) -> None:
    for name, content in pair("one").items():
        (tmp_path / name).write_bytes(Path(content).read_bytes())
    tls = {"cert": str(tmp_path / "cert"), "key": str(tmp_path / "key")}
    with workers(tmp_path, tls=tls) as server:
        before = [connect(server) for _ in range(4)]
        for name, content in pair("two").items():
            (tmp_path / name).write_bytes(Path(content).read_bytes())
        os.kill(server.pid, signal.SIGHUP)
        for _ in range(1000):
            try:
                for _ in range(4):
                    connect(server, trusting("two")).close()
                break
            except OSError:
                continue
        else:
            raise AssertionError("the new certificate is not in use")
        for sock in before:
            sock.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
            sock.close()
        # A worker that starts later has the new one too; and one that cannot be used changes nothing.
        (tmp_path / "cert").write_text("this is no certificate")
        os.kill(server.pid, signal.SIGHUP)
        while "cannot be used for TLS" not in "".join(server.output):
            connect(server, trusting("two")).close()
        old = set(server.workers)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        served = 0
        while served < 4 or len(server.workers) < 2:
            with suppress(ConnectionError):
                connect(server, trusting("two")).close()
                served += 1
        assert not old & set(server.workers)
        assert server.stop() == 0


def test_the_end_under_load_is_clean(tmp_path: Path) -> None:
    with workers(tmp_path) as server:
        dav = server.client()
        with Load(server, 8) as load:
            until(lambda: load.done > 50, dav)
            assert server.stop() == 0
        assert load.wrong == []
        assert "Traceback" not in "".join(server.output)
        for number in range(8):
            content = (server.root / f"load-{number}").read_bytes()
            assert len(content) % 100 == 0
            assert content == content[: len(content) // 100] * 100


def test_requests_that_never_end_do_not_keep_it_alive(tmp_path: Path) -> None:
    with workers(tmp_path) as server, server.raw() as upload, server.raw() as idle, server.raw() as download:
        upload.send(b"PUT /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert upload.head()[0] == 100
        with (server.root / "big").open("wb") as big:
            big.truncate(1 << 30)
        download.send(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert download.head()[0] == 200  # and reads no more
        idle.send(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.answer()[0] == 200
        assert server.stop() == 0
        assert not (server.root / "f").exists()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with workers(tmp_path) as server, server.raw() as upload:
        upload.send(b"PUT /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert upload.head()[0] == 100
        os.kill(server.pid, signal.SIGINT)
        while not any("stopping" in line for line in server.output):
            pass
        assert server.stop(signal.SIGINT) == 0


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    with workers(tmp_path) as server, server.raw() as raw:
        pids = server.workers
        raw.send(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.answer()[0] == 200
        watched = [os.pidfd_open(pid) for pid in pids]
        os.kill(server.pid, signal.SIGKILL)
        assert raw.rest() == b""
        for fd in watched:
            assert select.select([fd], [], [], 20)[0] == [fd]
            os.close(fd)


def test_what_cannot_be_opened_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    for settings, said in (
        ({"tls": {"cert": "/no/such/file"}}, "/no/such/file"),
        ({"host": "192.0.2.1", "anonymous": "ro"}, "192.0.2.1"),
        ({"host": "unix:/no/such/folder/socket"}, "/no/such/folder/socket"),
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "davserver", "serve", str(tmp_path / "share")),
                *("--state", str(tmp_path / "state"), "-c", str(configured(tmp_path, **settings))),
            ],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


# --- where it listens


def ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_a_unix_socket_is_taken_over_from_the_dead_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    config = configured(tmp_path, host=f"unix:{path}")
    with Process(tmp_path, "-c", str(config), ready=f"unix:{path}") as server:
        assert ask(path).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(AssertionError, match="cannot be used"):
            Process(tmp_path, "-c", str(config), ready=f"unix:{path}")
        assert ask(path).startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0
    assert not path.exists()


def test_a_socket_may_come_from_systemd(tmp_path: Path) -> None:
    """sd_listen_fds(3): the descriptor is number 3, and is meant for this process."""
    (tmp_path / "share").mkdir()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        start = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), "
            "LISTEN_FDS='1'); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        command = ["-m", "davserver", "serve", str(tmp_path / "share"), "--port", "1"]
        command += ["--state", str(tmp_path / "state")]
        server = subprocess.Popen(
            [sys.executable, "-c", start, str(listener.fileno()), *command],
            pass_fds=[listener.fileno()], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        port = listener.getsockname()[1]
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}/" in server.stdout.readline()
        dav = Dav("127.0.0.1", port)
        assert dav("OPTIONS", "/").status == 200
        dav.close()
    finally:
        server.terminate()
        assert server.wait(20) == 0
        server.stdout.close()


def test_it_ends_with_the_terminal_that_it_was_started_in(tmp_path: Path) -> None:
    """SIGHUP is a reload; but when the terminal is gone nobody would know that a server still runs."""
    (tmp_path / "share").mkdir()
    command = ["serve", str(tmp_path / "share"), "--state", str(tmp_path / "state"), "--port", "0"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "davserver", *command])
    told = b""
    while b"Stop with Ctrl-C" not in told:
        told += os.read(terminal, 1000)
    os.kill(pid, signal.SIGHUP)
    while b"reloading" not in told:
        told += os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- what it takes


def peak(pid: int) -> float:
    """The most that a process has held in memory since this was asked last, in MiB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return int(fields["VmHWM"].split()[0]) / 1024


def test_a_worker_is_small_at_rest_and_under_large_uploads(tmp_path: Path) -> None:
    size = 60 * 2**20

    def upload(number: int) -> None:
        with server.raw() as raw:
            raw.send(f"PUT /big-{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
            for _ in range(size // 2**20):
                raw.send(b"x" * 2**20)
            statuses.append(raw.answer()[0])

    statuses: list[int] = []
    with workers(tmp_path) as server:
        for pid in server.workers:
            peak(pid)  # at the start a password is hashed, which is meant to take memory
        assert server.client()("OPTIONS", "/").status == 200
        assert max(map(peak, server.workers)) < 60
        threads = [threading.Thread(target=upload, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [201] * 10
        assert max(map(peak, server.workers)) < 100
        assert server.stop() == 0


def heaps(pid: int) -> int:
    """Those of glibc beside the main one. Each has 64 MiB of addresses, and begins at a multiple of that."""
    size, found = 64 * 2**20, 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, mode, *_, inode = line.split()[:5]
        begin, end = (int(address, 16) for address in addresses.split("-"))
        found += mode == "rw-p" and inode == "0" and begin % size == 0 and end - begin <= size
    return found


@pytest.mark.parametrize("environ", [{}, {"MALLOC_ARENA_MAX": "8"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=8"}])
def test_the_threads_of_a_worker_share_a_heap_unless_the_administrator_wants_more(
    environ: dict[str, str], tmp_path: Path
) -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("this is not glibc, whose threads have heaps of their own")
    with Process(tmp_path, "-c", str(configured(tmp_path)), environ=environ) as server:
        client = server.client()
        assert client("PUT", "/f", b"content").status == 201
        client.close()
        found = [heaps(pid) for pid in server.workers]
    assert all(found) if environ else not any(found), found


def test_a_parent_reaps_children_that_are_not_its_own(tmp_path: Path) -> None:
    """As PID 1 of a container it gets those whose parents have died."""
    parent = Workers(Settings(), 1, lambda *_: None, drain_seconds=1)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert select.select([os.pidfd_open(pid)], [], [], 20)[0]
    parent._reap()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
