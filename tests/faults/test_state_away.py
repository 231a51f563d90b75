"""The state goes away under a server at work, over HTTP: no change is answered without it, each is told 503 in time,
reading goes on, and when it is back all goes on without a restart, with every lock and property that there was.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mixed import COLOUR
from power import Disk
from serving import Process
from wire import Answer, Dav

from davserver.storage.sqlite import _LOOK_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: Seconds within which a change is refused, and within which all is well again.
PATIENCE, RECOVERY = 6, 20


@contextlib.contextmanager
def busy(state: Path, disk: Disk) -> Iterator[None]:
    """A stranger writes and does not end."""
    with contextlib.closing(sqlite3.connect(state / "state.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        yield


@contextlib.contextmanager
def removed(state: Path, disk: Disk) -> Iterator[None]:
    """The folder is somewhere else."""
    away = state.with_name("away")
    state.rename(away)
    try:
        yield
    finally:
        away.rename(state)


@contextlib.contextmanager
def deleted(state: Path, disk: Disk) -> Iterator[None]:
    """The database is deleted, and a backup put in its place."""
    backup = state.with_name("backup.db")
    with contextlib.closing(sqlite3.connect(state / "state.db")) as here, contextlib.closing(
        sqlite3.connect(backup)
    ) as there:  # fmt: skip
        here.backup(there)
    for suffix in ("", "-wal", "-shm"):
        (state / f"state.db{suffix}").unlink()
    try:
        yield
    finally:
        backup.rename(state / "state.db")


@contextlib.contextmanager
def damaged(state: Path, disk: Disk) -> Iterator[None]:
    """Something has written over the database, and puts back what was there."""
    with contextlib.closing(sqlite3.connect(state / "state.db")) as here:
        here.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (state / "state.db").read_bytes()
    with (state / "state.db").open("r+b") as file:
        file.write(os.urandom(len(content)))
    try:
        yield
    finally:
        with (state / "state.db").open("r+b") as file:
            file.write(content)


@contextlib.contextmanager
def vanished(state: Path, disk: Disk) -> Iterator[None]:
    """Its disk has gone: every access fails. It is mounted anew, under files that are open still."""
    os.sync()
    disk.cut()
    try:
        yield
    finally:
        disk.replace()


TROUBLES: dict[str, Callable[[Path, Disk], AbstractContextManager[None]]] = {
    function.__name__: function for function in (busy, removed, deleted, damaged, vanished)
}
CHANGES: dict[str, Callable[[Dav, str], Answer]] = {
    "PUT": lambda client, token: client("PUT", "/f", b"new"),
    "PUT new": lambda client, token: client("PUT", "/new", b"new"),
    "PUT into a lock": lambda client, token: client("PUT", "/held", b"new", If=f"(<{token}>)"),
    "PUT without the lock": lambda client, token: client("PUT", "/held", b"new"),
    "PROPPATCH": lambda client, token: client.proppatch("/f", COLOUR.format("blue")),
    "MKCOL": lambda client, token: client("MKCOL", "/new"),
    "LOCK": lambda client, token: client.lock("/f"),
    "LOCK new": lambda client, token: client.lock("/new"),
    "LOCK again": lambda client, token: client("LOCK", "/held", b"", If=f"(<{token}>)"),
    "UNLOCK": lambda client, token: client("UNLOCK", "/held", Lock_Token=f"<{token}>"),
    "MOVE": lambda client, token: client("MOVE", "/f", Destination=client.url("/moved")),
    "COPY": lambda client, token: client("COPY", "/f", Destination=client.url("/copy")),
    "DELETE": lambda client, token: client("DELETE", "/f"),
}


#: What is tried where the state is busy: it takes some seconds each, and where the locks can be asked for what needs no
#: rows of its own is done.
WRITING = {"PROPPATCH", "LOCK new", "UNLOCK", "MOVE"}


def content_of(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", TROUBLES)
def test_nothing_is_changed_without_it_and_reading_goes_on(name: str, tmp_path: Path) -> None:
    config = tmp_path / "davserver.yaml"
    config.write_text(json.dumps({"workers": 2, "log": {"access": False}}))
    with Disk(tmp_path, "ext4") as disk, contextlib.ExitStack() as stack:
        state = disk.place / "state"
        server = stack.enter_context(Process(tmp_path, "-c", str(config), "--log-level", "warning", state=state))
        clients = [server.client() for _ in range(4)]
        for path in ("/f", "/held"):
            assert clients[0]("PUT", path, path.encode()).status == 201
            assert clients[0].proppatch(path, COLOUR.format("red")).status == 207
        token = clients[0].lock("/held", Timeout="Second-3600").token
        before, workers = content_of(server.root), server.workers
        with TROUBLES[name](state, disk):
            time.sleep(2 * _LOOK_SECONDS)  # readers look so often whether it is still there
            for number, (change, act) in enumerate(CHANGES.items()):
                if name == "busy" and change not in WRITING:
                    continue
                client = clients[number % len(clients)]
                began = time.monotonic()
                answer = act(client, token)
                took = time.monotonic() - began
                assert answer.status == 503, (change, answer)
                assert int(answer.headers["retry-after"]) > 0
                assert b"/state" not in answer.body
                assert took < PATIENCE, (change, took)
                assert client("GET", "/f").body == b"/f"
                assert client.propfind("/", "getetag", "getcontentlength", depth="1").hrefs() == ["/", "/f", "/held"]
            assert content_of(server.root) == before
        end = time.monotonic() + RECOVERY
        while clients[0].proppatch("/f", COLOUR.format("green")).status != 207:
            assert time.monotonic() < end, "it does not come back by itself:\n" + "".join(server.output)[-3000:]
        assert server.workers == workers, "it was started anew"
        for client in clients:
            assert "green" in client.propfind("/f", "colour", namespace="urn:x").body.decode()
            assert client.propfind("/held", "lockdiscovery").texts("//D:locktoken/D:href") == [token]
            assert client("PUT", "/held", b"of somebody else").status == 423
            assert client("PUT", "/held", b"of the holder", If=f"(<{token}>)").status == 204
        assert client("UNLOCK", "/held", Lock_Token=f"<{token}>").status == 204
        assert client("MOVE", "/f", Destination=client.url("/moved")).status == 201
        assert "Traceback" not in "".join(server.output)
