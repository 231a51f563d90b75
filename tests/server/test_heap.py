"""The heap of a worker: one for all threads, and what is free of it goes back to the system."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys

import pytest

from davserver.server import heap, worker

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is not glibc, whose heaps these are")

_PROGRAM = """
import ctypes, os, threading
from pathlib import Path
from davserver.server.heap import give_back, share_one_heap

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

def use():
    had = [libc.malloc(2048) for _ in range(5000)]
    for one in had:
        ctypes.memset(one, 1, 2048)
    kept.append(libc.malloc(2048))  # what lies behind the rest
    for one in had:
        libc.free(one)

kept = []
share_one_heap()
for _ in range(2):
    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
before = resident()
give_back()
print(before, resident())
"""


def test_what_is_free_is_given_back() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    told = subprocess.run([sys.executable, "-c", _PROGRAM], env=environ, capture_output=True, text=True, check=True)
    before, after = map(int, told.stdout.split())
    assert after <= before - 5, f"{before} MiB, and then {after}"


def test_a_worker_does_so_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told, tell = os.pipe()
    parent, life = os.pipe()
    times = 0

    def give_back() -> None:
        nonlocal times
        times += 1
        if times == 3:
            os.write(tell, bytes([signal.SIGHUP]))

    monkeypatch.setattr(worker, "_TIDY", 0.01)
    monkeypatch.setattr(worker, "give_back", give_back)
    try:
        assert worker._next(told, parent) is signal.SIGHUP
    finally:
        for fd in (told, tell, parent, life):
            os.close(fd)
    assert times == 3


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_libc", object())
    heap.share_one_heap()
    heap.give_back()
