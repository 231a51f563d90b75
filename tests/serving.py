"""Real servers for tests: in this process on a random port, or as a user starts one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from wire import Dav, Raw

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
    prefix: str = ""

    def client(self, **headers: str) -> Dav:
        return Dav(
            self.host, self.port, {name.replace("_", "-"): value for name, value in headers.items()}, self.prefix
        )

    def raw(self) -> Raw:
        return Raw(self.host, self.port)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.prefix}/"


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Running]:
    """A server in this process: `folder/share` at "/", state in `folder/state`."""
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
        loop = threading.Thread(target=server.serve)
        loop.start()
        try:
            yield Running("127.0.0.1", server.bind_addr[1], root, state, values.get("prefix", ""))
        finally:
            server.stop()
            loop.join()


class Process:
    """`davserver serve` as a user starts it, on a free port."""

    def __init__(self, folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self.root, self.state = folder / "share", folder / "state"
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
            env={**environ, "PYTHONUNBUFFERED": "1", **(self._environ or {})},
        )
        self.output: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)
            found = re.search(r"http://(127\.0\.0\.1):(\d+)(/\S*)?", line)
            if found:
                self.port = int(found[2])
                break
        else:
            raise AssertionError(f"the server did not start:\n{''.join(self.output)}")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.output.extend(self._process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def client(self, **headers: str) -> Dav:
        return Dav("127.0.0.1", self.port, {name.replace("_", "-"): value for name, value in headers.items()})

    def raw(self) -> Raw:
        return Raw("127.0.0.1", self.port)

    def kill(self) -> None:
        """SIGKILL: nothing is written, nothing is tidied."""
        self._process.kill()
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
        if self._process.poll() is None:
            self._process.kill()
            self._finish()
