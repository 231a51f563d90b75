"""Servers to measure: ours, and every other that is installed, each as its own documentation would have it."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_paths

_SOURCE = Path(__file__).parents[2]
#: What runs the servers that are written in Python: the interpreter of this program, or another one of its version.
PYTHON = os.environ.get("BENCH_PYTHON", sys.executable)
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


class Peer(ABC):
    """One server, which serves `root` read-write and without logins on a port of this machine."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.root, self.own = folder / self.name / "root", folder / self.name
        self.root.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @classmethod
    @abstractmethod
    def program(cls) -> str | None:
        """Its executable; None where it is not installed."""

    @classmethod
    def version(cls) -> str:
        return ""

    @abstractmethod
    def command(self) -> list[str]: ...

    @staticmethod
    def environ() -> dict[str, str]:
        """Another interpreter finds here what is installed for this one."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join((str(_SOURCE), get_paths()["purelib"]))}

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Peer]:
        with open(self.own / "output", "wb") as output:
            process = subprocess.Popen(
                self.command(), env=self.environ(), stdout=output, stderr=output, start_new_session=True
            )
        try:
            self._wait(process)
            self.pid = process.pid
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(300):
            if process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not start:\n{(self.own / 'output').read_text(errors='replace')}")

    def processes(self) -> list[int]:
        """The server's process, and all below it."""
        found = [self.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            if children.exists():
                found += map(int, children.read_text().split())
        return found


def _first_line(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else ""


def _number(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else ""


class Davserver(Peer):
    name = "davserver"
    settings: dict[str, object] = {"durability": "relaxed", "log": {"access": False}}  # noqa: RUF012

    @classmethod
    def program(cls) -> str | None:
        return PYTHON

    @classmethod
    def version(cls) -> str:
        from davserver import __version__

        return __version__

    def command(self) -> list[str]:
        config = self.own / "davserver.yaml"
        config.write_text(json.dumps(self.settings))
        return [
            *(PYTHON, "-m", "davserver", "serve", str(self.root), "--port", str(self.port)),
            *("--state", str(self.own / "state"), "-c", str(config)),
        ]


class DavserverDurable(Davserver):
    """As it is without any configuration."""

    name = "davserver, durable"
    settings: dict[str, object] = {}  # noqa: RUF012


class Apache(Peer):
    name = "Apache"
    _MODULES = ("mpm_event", "authz_core", "mime", "dav", "dav_fs", "dav_lock", "unixd")

    @classmethod
    def program(cls) -> str | None:
        found = shutil.which("apache2", path=_PATH) or shutil.which("httpd", path=_PATH)
        return found if found and cls._modules() else None

    @classmethod
    def version(cls) -> str:
        return _number(_first_line(cls.program() or "", "-v"))

    @staticmethod
    def _modules() -> Path | None:
        places = map(Path, ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2"))
        return next((place for place in places if (place / "mod_dav.so").exists()), None)

    def command(self) -> list[str]:
        modules = self._modules()
        lines = [f'ServerRoot "{self.own}"', f"PidFile {self.own}/pid", f"ErrorLog {self.own}/errors"]
        lines += [
            f"LoadModule {name}_module {modules}/mod_{name}.so"
            for name in self._MODULES
            if (Path(str(modules)) / f"mod_{name}.so").exists()
        ]
        if os.geteuid() == 0:
            # It refuses to serve as root; whoever it serves as must get into the folder.
            account = next(entry for entry in pwd.getpwall() if entry.pw_name in ("www-data", "apache", "nobody"))
            lines += [f"User {account.pw_name}", f"Group #{account.pw_gid}"]
            for path in (self.own, self.root):
                os.chown(path, account.pw_uid, account.pw_gid)
        lines += [
            f"Listen {self.host}", "ServerName localhost", "TypesConfig /etc/mime.types", f"DocumentRoot {self.root}",
            f"DavLockDB {self.own}/locks", "LimitRequestBody 0", f"<Directory {self.root}>", "Require all granted",
            "Dav On", "</Directory>",
        ]  # fmt: skip
        config = self.own / "httpd.conf"
        config.write_text("\n".join(lines) + "\n")
        return [self.program() or "", "-f", str(config), "-DFOREGROUND"]


class Nginx(Peer):
    name = "nginx"

    @classmethod
    def program(cls) -> str | None:
        return shutil.which("nginx", path=_PATH) if cls._module() else None

    @classmethod
    def version(cls) -> str:
        return _number(_first_line(cls.program() or "", "-v"))

    @staticmethod
    def _module() -> Path | None:
        places = map(Path, ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"))
        return next((file for place in places if (file := place / "ngx_http_dav_ext_module.so").exists()), None)

    def command(self) -> list[str]:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {self.own}/{kind};" for kind in kinds)
        config = self.own / "nginx.conf"
        config.write_text(f"""
            {"user root;" if os.geteuid() == 0 else ""} daemon off; worker_processes auto; pid {self.own}/pid;
            error_log {self.own}/errors; load_module {self._module()};
            events {{ worker_connections 1024; }}
            http {{
                access_log off; sendfile on; client_max_body_size 0; {temporary}
                include /etc/nginx/mime.types; dav_ext_lock_zone zone=locks:10m;
                server {{
                    listen {self.host}; root {self.root};
                    location / {{
                        dav_methods PUT DELETE MKCOL COPY MOVE;
                        dav_ext_methods PROPFIND OPTIONS LOCK UNLOCK; dav_ext_lock zone=locks;
                    }}
                }}
            }}
        """)
        return [self.program() or "", "-p", str(self.own), "-c", str(config)]


class Rclone(Peer):
    name = "rclone"

    @classmethod
    def program(cls) -> str | None:
        return shutil.which("rclone", path=_PATH)

    @classmethod
    def version(cls) -> str:
        return _number(_first_line("rclone", "version"))

    def command(self) -> list[str]:
        config = self.own / "rclone.conf"
        config.touch()
        return [
            *("rclone", "serve", "webdav", str(self.root), "--addr", self.host, "--config", str(config)),
            *("--cache-dir", str(self.own / "cache")),
        ]


class WsgiDAV(Peer):
    """What davserver is built on, as it comes."""

    name = "WsgiDAV"

    @classmethod
    def program(cls) -> str | None:
        return PYTHON if find_spec("wsgidav") else None

    @classmethod
    def version(cls) -> str:
        from importlib.metadata import version

        return f"{version('wsgidav')} on cheroot {version('cheroot')}"

    def command(self) -> list[str]:
        return [
            *(PYTHON, "-c", "from wsgidav.server.server_cli import run; run()"),
            *("--no-config", "--quiet", "--auth", "anonymous", "--root", str(self.root)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]


PEERS: tuple[type[Peer], ...] = (Davserver, DavserverDurable, Apache, Nginx, Rclone, WsgiDAV)
