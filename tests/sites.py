"""Servers for client programs: plain or TLS, with a login or without, each test in a folder of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from realclients import CERTIFICATE, PASSWORD, TLS, anonymous, configure
from serving import Process

#: Ways to reach a server. "login" takes Basic and Digest.
KINDS = ("anonymous", "login", "anonymous over TLS", "login over TLS")
#: For tests to which the way is all the same.
LEAST, MOST = KINDS[0], KINDS[-1]


@dataclass(frozen=True)
class Site:
    """A folder on a server. `name`, `password`: "" where nobody logs in. `certificate`: what to trust, None for plain
    HTTP."""

    server: Process
    folder: str
    name: str
    password: str
    certificate: Path | None

    @property
    def url(self) -> str:
        """Of the folder, with the slash at its end."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.server.port}/{self.folder}/"

    @property
    def root(self) -> Path:
        """The folder as the server's disk has it."""
        return self.server.root / self.folder

    def asked(self, pattern: str) -> bool:
        """Whether a request matched: `METHOD /path below the folder" status`. Waits for it, as the line is written
        after the answer."""
        wanted = re.compile(pattern.replace(" /", f" /{self.folder}/", 1))
        end = time.monotonic() + 20
        while not any(wanted.search(line) for line in list(self.server.output)):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True


@contextmanager
def sites(folder: Path) -> Iterator[Callable[[str, str], Site]]:
    """Gives what gives the site of (kind, name of a folder on it); a server is started when it is first wanted."""
    with ExitStack() as stack:
        servers: dict[str, Process] = {}

        def site(kind: str, name: str) -> Site:
            login, tls = kind.startswith("login"), kind.endswith("over TLS")
            if kind not in servers:
                place = folder / kind.replace(" ", "-")
                place.mkdir()
                settings = (configure if login else anonymous)(place, **({"tls": TLS} if tls else {}))
                servers[kind] = stack.enter_context(Process(place, "-c", str(settings)))
            made = Site(
                servers[kind],
                name,
                "alice" if login else "",
                PASSWORD if login else "",
                CERTIFICATE if tls else None,
            )
            made.root.mkdir()
            return made

        yield site


def troubles(lines: list[str]) -> list[str]:
    """What no client may bring about: errors of the server, and answers that blame it."""
    return [line for line in lines if re.search(r'" 50[0-6] |Traceback|ERROR', line)]


#: Names that clients write in several ways, and servers read in several.
NAMES = (
    "plain.txt",
    "with blanks  two.txt",
    "Größe und Maß.txt",
    "100% #1 & co; a+b=c, 'x' (y) [z] {w} ~ @ ! $.txt",
    "%41 is no A.txt",
    "日本語 🎉.txt",
    "a folder/ünter/x#%&+;.txt",
    ".hidden",
)


def tree(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """The folder, filled: a file for each name that says its name, an empty one, and one of 300,000 bytes."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"this is {name}\n")
    (folder / "empty").touch()
    (folder / "bytes").write_bytes(bytes(range(256)) * 1172)
    return folder


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 by path of each file below, "" for a folder."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }
