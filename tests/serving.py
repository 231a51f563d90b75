"""Real servers for tests: in this process on a random port, or as a user starts one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from wire import Dav, Raw

from davserver.server.http.own_hosts import OwnHosts
from davserver.server.http.server import DavServer, Limits
from davserver.server.run import open_server
from davserver.settings import Settings

#: For the hashes of test users: the least that argon2 allows.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    host: str
    port: int
    root: Path
    state: Path
    server: DavServer
    prefix: str = ""

    def client(self, **headers: str) -> Dav:
        return Dav(
            self.host, self.port, {name.replace("_", "-"): value for name, value in headers.items()}, self.prefix
        )

    def raw(self, *, receive_buffer: int | None = None) -> Raw:
        return Raw(self.host, self.port, receive_buffer=receive_buffer)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.prefix}/"


class AnyHost(OwnHosts):
    """So that tests about something else may write any name into Host."""

    def include(self, host: str) -> bool:
        return True


@contextmanager
def serving(
    folder: Path, *, server_limits: Limits | None = None, any_host: bool = True, **settings: Any
) -> Iterator[Running]:
    """A server in this process: `folder/share` at "/", state in `folder/state`. `server_limits`: in place of those
    that the settings make, which have the patience of a server. `any_host`: False where it is to mind its name."""
    root, state = folder / "share", folder / "state"
    root.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "state": str(state),
        "shares": {"/": {"directory": str(root)}},
        "durability": "relaxed",
        **settings,
    }
    with ExitStack() as stack:
        server = open_server(Settings(**values), str(state), stack)
        server.limits = server_limits or server.limits
        server.own_hosts = AnyHost(()) if any_host else server.own_hosts
        loop = threading.Thread(target=server.serve)
        loop.start()
        port = 0 if isinstance(server.bind_addr, str) else server.bind_addr[1]
        try:
            yield Running("127.0.0.1", port, root, state, server, values.get("prefix", ""))
        finally:
            server.stop()
            loop.join()


class Process:
    """`davserver serve` as a user starts it, on a free port."""

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        state: Path | None = None,
        environ: Mapping[str, str] | None = None,
        ready: str = "",
    ) -> None:
        """`ready`: what it prints once it listens, where that is no address of this machine."""
        self.root, self.state = folder / "share", state or folder / "state"
        self._ready = ready
        self.root.mkdir(exist_ok=True)
        self._arguments, self._environ = arguments, environ
        self.start()

    def start(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("DAVSERVER_")}
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "davserver", "serve", str(self.root)),
                *("--port", "0", "--state", str(self.state)),
                *self._arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**environ, "PYTHONUNBUFFERED": "1", **(self._environ or {})},
        )
        self.output: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)
            if self._ready and self._ready in line and " ready at " in line:
                break
            found = re.search(r"https?://(127\.0\.0\.1):(\d+)(/\S*)?", line)
            if found:
                self.port = int(found[2])
                break
        else:
            self._process.wait(timeout=20)
            self._process.stdout.close()
            raise AssertionError(f"the server did not start:\n{''.join(self.output)}")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.output.extend(self._process.stdout)

    @property
    def pid(self) -> int:
        """Of the parent, which serves nothing itself."""
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        """Process ids of those that serve."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def client(self, **headers: str) -> Dav:
        return Dav("127.0.0.1", self.port, {name.replace("_", "-"): value for name, value in headers.items()})

    def raw(self) -> Raw:
        return Raw("127.0.0.1", self.port)

    def kill(self) -> None:
        """SIGKILL to all of it: nothing is written, nothing is tidied."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._finish()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self._process.send_signal(number)
        return self._finish()

    def _finish(self) -> int:
        code = self._process.wait(timeout=20)
        self._reader.join(timeout=20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            self.kill()
