"""Nonces: counts that only go up, in any number of processes, for as long as the machine runs."""

from __future__ import annotations

import fcntl
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.storage import nonces as nonces_module
from davserver.storage.gate import flock, take
from davserver.storage.nonces import Fate, Nonces

GOOD, STALE, REPLAYED = Fate.GOOD, Fate.STALE, Fate.REPLAYED


@pytest.fixture
def nonces(tmp_path: Path) -> Iterator[Nonces]:
    found = Nonces(str(tmp_path), 1000)
    yield found
    found.close()


def test_a_nonce_tells_when_it_was_made(nonces: Nonces) -> None:
    nonce = nonces.new(1234.5)
    assert nonces.made_at(nonce) == 1234.5
    assert nonces.new(1234.5) != nonce


@pytest.mark.parametrize("change", [0, 5, 12, 20, 40])
def test_nobody_else_makes_one(change: int, nonces: Nonces) -> None:
    nonce = nonces.new(1234.5)
    other = "A" if nonce[change] != "A" else "B"
    changed = nonce[:change] + other + nonce[change + 1 :]
    assert nonces.made_at(changed) is None
    assert nonces.use(changed, 1) is STALE


@pytest.mark.parametrize("text", ["", "x", "ü", "A" * 43, "====", "A" * 100, "\0"])
def test_what_is_no_nonce(text: str, nonces: Nonces) -> None:
    assert nonces.made_at(text) is None


@given(st.text())
@settings(max_examples=50)
def test_no_text_raises(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    found = Nonces(str(tmp_path_factory.getbasetemp()), 1)
    assert found.made_at(text) is None
    found.close()


@pytest.mark.parametrize(
    ("counts", "fates"),
    [
        ([1, 2, 3], [GOOD] * 3),
        ([1, 1], [GOOD, REPLAYED]),
        ([3, 1, 2, 2, 1, 3], [GOOD, GOOD, GOOD, REPLAYED, REPLAYED, REPLAYED]),
        ([5, 300, 5, 45, 44, 299], [GOOD, GOOD, REPLAYED, GOOD, REPLAYED, GOOD]),
        ([1, 1 << 31, 1, (1 << 31) - 255, (1 << 31) - 256], [GOOD, GOOD, REPLAYED, GOOD, REPLAYED]),
        ([0xFFFFFFFF, 0xFFFFFFFF], [GOOD, REPLAYED]),
    ],
)
def test_a_count_comes_once(counts: list[int], fates: list[Fate], nonces: Nonces) -> None:
    nonce = nonces.new(1001)
    assert [nonces.use(nonce, count) for count in counts] == fates


@given(st.lists(st.integers(1, 600), min_size=1, max_size=80))
@settings(max_examples=60)
def test_no_count_is_good_twice(tmp_path_factory: pytest.TempPathFactory, counts: list[int]) -> None:
    found = Nonces(str(tmp_path_factory.getbasetemp()), 1)
    nonce = found.new(1e10)
    good = [count for count in counts if found.use(nonce, count) is GOOD]
    assert len(set(good)) == len(good)
    highest = 0
    for count in counts:
        if count > highest - 256 and counts.index(count) == len(counts) - 1:
            assert count in good  # what is new and not too old is not lost
        highest = max(highest, count)
    found.close()


def test_a_slot_that_a_stopped_process_holds_makes_a_nonce_stale(
    tmp_path: Path, nonces: Nonces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonces_module, "PATIENCE", 0.05)
    nonce = nonces.new(1234.5)
    (file,) = [path for path in tmp_path.iterdir() if path.stat().st_size > 4096]
    with file.open("r+b") as held:
        assert take(held.fileno(), flock(fcntl.F_WRLCK, 0, 0), 0)
        assert nonces.use(nonce, 1) is STALE
    assert nonces.use(nonce, 1) is GOOD


def test_counts_outlive_the_process(tmp_path: Path) -> None:
    first = Nonces(str(tmp_path), 1000)
    nonce = first.new(1001)
    assert first.use(nonce, 1) is GOOD
    second = Nonces(str(tmp_path), 2000)  # another worker, and after a kill nothing else happens
    assert second.made_at(nonce) == 1001
    assert second.use(nonce, 1) is REPLAYED
    assert second.use(nonce, 2) is GOOD
    assert first.use(nonce, 2) is REPLAYED
    first.close()
    second.close()
    assert os.stat(tmp_path / "nonces").st_mode & 0o777 == 0o600


def test_after_the_machine_itself_has_stopped_all_nonces_are_new(tmp_path: Path) -> None:
    first = Nonces(str(tmp_path), 1000, b"one")
    nonce = first.new(1001)
    assert first.use(nonce, 1) is GOOD
    first.close()
    second = Nonces(str(tmp_path), 2000, b"two")
    assert second.made_at(nonce) is None
    assert second.use(nonce, 2) is STALE
    second.close()


@pytest.mark.parametrize("damage", [b"", b"x" * 100, b"\0" * (4096 + 16384 * 64)])
def test_a_damaged_file_is_made_anew(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "nonces").write_bytes(damage)
    found = Nonces(str(tmp_path), 1000)
    assert found.use(found.new(1001), 1) is GOOD
    found.close()


def test_nonces_of_before_the_file_are_stale(nonces: Nonces) -> None:
    assert nonces.use(nonces.new(999), 1) is STALE


def test_who_loses_a_slot_is_stale_and_never_new_again(nonces: Nonces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces_module, "SLOTS", 1)
    first, unused, second = nonces.new(1001), nonces.new(1001.5), nonces.new(1002)
    assert nonces.use(first, 1) is GOOD
    assert nonces.use(second, 1) is GOOD
    for count in (1, 2):
        assert nonces.use(first, count) is STALE
        assert nonces.use(unused, count) is STALE
    assert nonces.use(second, 2) is GOOD
    assert nonces.use(nonces.new(1003), 1) is GOOD


def test_threads_and_workers_count_each_once(tmp_path: Path) -> None:
    workers = [Nonces(str(tmp_path), 1000) for _ in range(3)]
    nonce = workers[0].new(1001)
    good: list[int] = []

    def use(worker: Nonces) -> None:
        counts = list(range(1, 200))
        random.Random(id(worker)).shuffle(counts)
        for count in counts:
            if worker.use(nonce, count) is GOOD:
                good.append(count)

    threads = [threading.Thread(target=use, args=(worker,)) for worker in workers for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(good) == list(range(1, 200))
    for worker in workers:
        worker.close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Nonces(str(tmp_path / "none"), 1)


def test_nothing_is_left_open_when_it_cannot_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no memory")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(nonces_module.mmap, "mmap", fail)
    with pytest.raises(OSError, match="no memory"):
        Nonces(str(tmp_path), 1)
    assert len(os.listdir("/proc/self/fd")) == before
