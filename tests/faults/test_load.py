"""Load: a thousand connections that are kept, and two hundred people who edit documents, two of them at each.

Each edits as Office does: PROPFIND, LOCK, GET, PUT, UNLOCK. No answer is wrong, no lock is lost or held twice, nobody
reads anything but what the last holder wrote; memory and open files stay what they were. SOAK_SECONDS asks for more.

Memory is what is the workers' own: it is less than half of what they have resident, for what they share with their
parent and with each other was there before any load, and is counted once for each of them. It grows with the threads,
of which there are as many as requests wait for the disk, and then shrinks, but not quite: so before it is measured all
who edit wait at once, and what is measured is what it falls back to.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from serving import Process
from wire import lockinfo

SECONDS = int(os.environ.get("SOAK_SECONDS", "20"))
USERS, DOCUMENTS, KEPT, WORKERS = 200, 100, 1000, 2
#: Seconds between two requests of a connection that is kept.
PAUSE = 5.0
#: Seconds until caches are full and most threads of the rush have ended: nothing is measured before.
WARM_UP = min(SECONDS / 3, 300)
#: Seconds that the state is held in the rush; a worker waits for it twice as long.
RUSH = 1.0
#: What memory may grow by then, as a part; and MiB that it may grow by where the time was too short for the caches.
GROWTH, FILLING = 0.05, 1.5 if SECONDS < 600 else 0.0
#: Files of the state's log that a worker has open beside one for each thread: four spare ones, one that is never used,
#: and the one that is flushed.
LOGS = 6
#: Seconds within which every request is answered, by a machine that has much else to do.
LONGEST = 60

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + 2 * SECONDS)]

PROPFIND = b'<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><D:lockdiscovery/></D:prop></D:propfind>'


class Connection:
    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        async with asyncio.timeout(LONGEST):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            found = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            content = await self._reader.readexactly(int(found.get("content-length", 0)))
        return int(head[0].split()[1]), found, content

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class Documents:
    """What is true of them: only who holds one writes it."""

    def __init__(self) -> None:
        self.content = {f"/{number}.docx": b"" for number in range(DOCUMENTS)}
        self.holder: dict[str, int] = {}
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []

    def expect(self, what: str, status: int, *right: int) -> bool:
        self.told[f"{what} {status}"] += 1
        if status not in right:
            self.wrong.append(f"{what} was answered {status}")
        return status in right

    async def edit(self, user: int, connection: Connection, end: float) -> None:
        path, number = f"/{user % DOCUMENTS}.docx", 0
        while time.monotonic() < end and not self.wrong:
            number += 1
            status, _, _ = await connection.ask("PROPFIND", path, PROPFIND, Depth="0")
            self.expect("PROPFIND", status, 207)
            status, fields, _ = await connection.ask("LOCK", path, lockinfo(), Timeout="Second-600")
            if not self.expect("LOCK", status, 200, 423) or status == 423:
                continue
            token = fields["lock-token"]
            if path in self.holder:
                self.wrong.append(f"{path} has two holders: {self.holder[path]} and {user}")
            self.holder[path] = user
            status, _, content = await connection.ask("GET", path)
            if self.expect("GET", status, 200) and content != self.content[path]:
                self.wrong.append(f"{path} is not what its last holder wrote")
            content = f"{user} {number} ".encode() * 300
            status, _, _ = await connection.ask("PUT", path, content, If=f"({token})")
            if self.expect("PUT", status, 204):
                self.content[path] = content
            del self.holder[path]
            status, _, _ = await connection.ask("UNLOCK", path, Lock_Token=token)
            self.expect("UNLOCK", status, 204)

    async def keep(self, connection: Connection, end: float) -> None:
        while time.monotonic() < end and not self.wrong:
            status, _, _ = await connection.ask("OPTIONS", "/")
            self.expect("OPTIONS", status, 200)
            await asyncio.sleep(min(PAUSE, max(end - time.monotonic(), 0)))


class Taken(NamedTuple):
    """By all workers."""

    #: MiB that are theirs alone.
    memory: float
    threads: int


def taken(server: Process) -> Taken:
    kib = threads = 0
    for pid in server.workers:
        threads += len(os.listdir(f"/proc/{pid}/task"))
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean", "Private_Dirty")):
                kib += int(line.split()[1])
    return Taken(kib / 1024, threads)


def open_files(pid: int) -> list[str]:
    """What they are, of one worker."""
    found = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(entry.path))
    return found


def passing(server: Process) -> list[int]:
    """Of each worker: connections, and files of the share."""
    return [sum(file.startswith(("socket:", f"{server.root}/")) for file in open_files(pid)) for pid in server.workers]


def left(server: Process) -> list[int]:
    """Of each worker: connections to the state that are no thread's, and not among those few that are kept."""
    return [
        open_files(pid).count(f"{server.state}/state.db-wal") - len(os.listdir(f"/proc/{pid}/task")) - LOGS
        for pid in server.workers
    ]


async def load(server: Process, documents: Documents) -> list[Taken]:
    """What it took, from when it had warmed up until the end."""
    people = [Connection(server.port) for _ in range(USERS)]
    kept = [Connection(server.port) for _ in range(KEPT)]
    for connection in [*people, *kept]:
        await connection.open()
    end = time.monotonic() + SECONDS
    took: list[Taken] = []
    threads: list[int] = []

    async def rush() -> None:
        """Nobody can write for a while. Whoever edits waits, in a thread of his own."""
        await asyncio.sleep(WARM_UP / 6)
        with closing(sqlite3.connect(server.state / "state.db", timeout=10, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(RUSH)
            threads.append(taken(server).threads)

    async def watch() -> None:
        await asyncio.sleep(WARM_UP)
        while time.monotonic() < end:
            took.append(taken(server))
            await asyncio.sleep(max(SECONDS / 60, 0.5))

    async with asyncio.TaskGroup() as tasks:
        for user, connection in enumerate(people):
            tasks.create_task(documents.edit(user, connection, end))
        for connection in kept:
            tasks.create_task(documents.keep(connection, end))
        tasks.create_task(rush())
        tasks.create_task(watch())
    for connection in [*people, *kept]:
        await connection.close()
    assert threads[0] >= DOCUMENTS, f"only {threads[0]} threads waited in the rush"
    return took


def test_everybody_is_answered_right_and_nothing_grows(tmp_path: Path) -> None:
    config = tmp_path / "davserver.yaml"
    config.write_text(json.dumps({"workers": WORKERS, "log": {"access": False}}))
    with Process(tmp_path, "-c", str(config), "--log-level", "warning") as server:
        documents = Documents()
        client = server.client()
        for path in documents.content:
            assert client("PUT", path, b"").status == 201
        pids = server.workers
        client.close()
        before = passing(server)
        took = asyncio.run(load(server, documents))
        assert documents.wrong == []
        assert all(documents.told[what] > USERS for what in ("LOCK 200", "LOCK 423", "PUT 204", "UNLOCK 204"))
        assert documents.told["OPTIONS 200"] >= KEPT
        for path, content in documents.content.items():
            assert client("GET", path).body == content
            assert not client.propfind(path, "lockdiscovery").find("//D:activelock"), f"the lock of {path} stays"
        assert server.workers == pids, "a worker has died"
        part = max(len(took) // 5, 1)
        first, last = took[:part], took[-part:]
        begin, at_last = (min(one.memory for one in some) for some in (first, last))
        growth = at_last - begin
        course = ", ".join(f"{one.memory:.1f} ({one.threads})" for one in took[:: max(len(took) // 12, 1)])
        told = (
            f"{SECONDS} s: MiB (and threads) {course}; at least {begin:.1f} in the first fifth, "
            f"{at_last:.1f} in the last, {growth / begin:+.1%}; {dict(sorted(documents.told.items()))}"
        )
        assert growth <= begin * GROWTH + FILLING, told
        client.close()
        end = time.monotonic() + 20
        while any(now > then for now, then in zip(passing(server), before, strict=True)):
            assert time.monotonic() < end, f"{before} files were open, and now {passing(server)}"
            time.sleep(0.1)
        while max(left(server)) > 0:
            assert time.monotonic() < end, f"threads that have ended left {left(server)} connections to the state open"
            time.sleep(0.1)
        assert server.stop() == 0
        assert "Traceback" not in "".join(server.output)
    print(told)


def test_ten_thousand_connections_that_do_nothing(tmp_path: Path) -> None:
    """They cost no more than 20 kB each, and nobody else notices."""
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    if count < 10_000:
        pytest.skip(f"only {count} files may be open here: what 10,000 connections cost is NOT TESTED")
    config = tmp_path / "davserver.yaml"
    config.write_text(json.dumps({"workers": 1, "log": {"access": False}}))
    with Process(tmp_path, "-c", str(config), "--log-level", "warning") as server, ExitStack() as stack:
        client = server.client()
        assert client("PUT", "/f", b"content").status == 201
        before = taken(server).memory
        idle = [stack.enter_context(server.raw()) for _ in range(count)]
        for raw in idle:
            raw.send(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for raw in idle:
            assert raw.answer()[0] == 200
        assert client("GET", "/f").body == b"content"
        each = (taken(server).memory - before) * 1024 / count
        assert each <= 20, f"{each:.1f} kB each"
        for raw in idle:
            raw.send(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client("PUT", "/f", b"again").status == 204
        for raw in idle:
            assert raw.answer()[0] == 200
    print(f"{count} connections: {each:.1f} kB each")
