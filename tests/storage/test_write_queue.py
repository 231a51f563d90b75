"""WriteQueue: who is in line, over threads and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davserver.protocol.errors import Unavailable
from davserver.storage import write_queue
from davserver.storage.write_queue import WriteQueue

HOLDER = (
    "import sys\n"
    "from davserver.storage.write_queue import WriteQueue\n"
    "with WriteQueue(sys.argv[1]).turn():\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_one_at_a_time(tmp_path: Path) -> None:
    queues = [WriteQueue(str(tmp_path)) for _ in range(2)]
    inside, most = 0, 0

    def work(queue: WriteQueue) -> None:
        nonlocal inside, most
        for _ in range(50):
            with queue.turn():
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work, args=(queue,)) for queue in queues * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)
    for queue in queues:
        queue.close()
        queue.close()


def test_a_killed_process_leaves_the_line(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=-1, stdout=-1)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        entered = threading.Event()

        def enter() -> None:
            with WriteQueue(str(tmp_path)).turn():
                entered.set()

        other = threading.Thread(target=enter)
        other.start()
        assert not entered.wait(0.3)
        holder.kill()
        assert entered.wait(10)
        other.join()


def test_a_stopped_process_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not died, so the kernel frees nothing: who waits is told in time, and when it goes on all is well."""
    monkeypatch.setattr(write_queue, "PATIENCE", 0.2)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=-1, stdout=-1)
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        queue = WriteQueue(str(tmp_path))
        for _ in range(2):
            with pytest.raises(Unavailable), queue.turn():
                raise AssertionError("nobody gets here")
        os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.close()
        assert holder.wait(20) == 0
        with queue.turn():
            pass


def test_who_gives_up_leaves_the_door_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_queue, "PATIENCE", 0.2)
    first, second, third = (WriteQueue(str(tmp_path)) for _ in range(3))
    with first.turn(), pytest.raises(Unavailable):
        second.enter()
    with third.turn():
        pass


def test_a_process_that_always_writes_lets_others_have_their_turn(tmp_path: Path) -> None:
    """Each queue has threads of its own: they are to one another what processes are."""
    busy, other, stop = WriteQueue(str(tmp_path)), WriteQueue(str(tmp_path)), threading.Event()
    had = 0

    def write(_: int) -> None:
        nonlocal had
        while not stop.is_set():
            with busy.turn():
                had += 1
                time.sleep(0.005)

    with ThreadPoolExecutor(6) as pool:
        writing = pool.map(write, range(6))
        passed = []
        try:
            for _ in range(30):
                before = had
                with other.turn():
                    passed.append(had - before)
        finally:
            stop.set()
        list(writing)
    # One has the turn, and one may come before the other process asks again. A busy machine may keep it from asking.
    assert sorted(passed)[15] <= 4
    assert max(passed) <= 64


def test_who_waits_too_long_behind_his_own_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_queue, "PATIENCE", 0.05)
    queue, refused = WriteQueue(str(tmp_path)), threading.Event()

    def wait() -> None:
        with pytest.raises(Unavailable), queue.turn():
            raise AssertionError("nobody gets here")
        refused.set()

    with queue.turn():
        other = threading.Thread(target=wait)
        other.start()
        assert refused.wait(10)
    other.join()
    with queue.turn():
        pass


def test_who_stood_in_line_while_another_met_trouble_gives_up_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, which has only the file to learn it from. Who comes later tries anew."""
    monkeypatch.setattr(write_queue, "_USUAL", -1.0)  # whoever waits at all has waited for long
    one, two = WriteQueue(str(tmp_path)), WriteQueue(str(tmp_path))
    with two.turn():
        pass
    with one.turn():
        one.note_trouble()
    with pytest.raises(Unavailable), two.turn():
        raise AssertionError("nobody gets here")
    monkeypatch.setattr(write_queue, "_RECENT", 0.0)
    with two.turn():
        pass


def test_a_full_disk_keeps_nobody_from_noting_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    queue = WriteQueue(str(tmp_path))
    monkeypatch.setattr(write_queue.os, "pwrite", full)
    with queue.turn():
        queue.note_trouble()
