"""Gate: who waits for whom, over threads and processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import serving

from davserver.protocol.errors import Unavailable
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage import gate as gate_module
from davserver.storage.gate import Gate


def path(text: str) -> DavPath:
    return DavPath.parse(text)


def waits(gate: Gate, held: list[str], wanted: list[str]) -> bool:
    """Does a thread that wants some paths wait for one that holds others?"""
    entered = threading.Event()

    def enter() -> None:
        with gate.reserve(map(path, wanted)):
            entered.set()

    with gate.reserve(map(path, held)):
        other = threading.Thread(target=enter)
        other.start()
        waited = not entered.wait(0.3 if held_conflicts(held, wanted) else 10)
    other.join(10)
    assert entered.is_set()
    return waited


def held_conflicts(held: list[str], wanted: list[str]) -> bool:
    return any(path(a).contains(path(b)) or path(b).contains(path(a)) for a in held for b in wanted)


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        (["/a"], ["/b"], False),
        (["/a/x"], ["/a/y"], False),
        (["/a/x/1", "/b"], ["/a/x/2", "/c"], False),
        (["/a"], ["/a"], True),
        (["/a"], ["/a/b/c"], True),
        (["/a/b/c"], ["/a"], True),
        (["/"], ["/a"], True),
        (["/a/b"], ["/"], True),
        (["/a", "/a/b"], ["/c"], False),
        ([], ["/a"], False),
    ],
)
def test_only_paths_that_touch_wait_for_each_other(
    held: list[str], wanted: list[str], expected: bool, tmp_path: Path
) -> None:
    assert waits(Gate(str(tmp_path)), held, wanted) is expected


def test_crossing_reservations_do_not_block_each_other_for_ever(tmp_path: Path) -> None:
    gate = Gate(str(tmp_path))

    def run(first: str, second: str) -> None:
        for _ in range(300):
            with gate.reserve([path(first), path(second)]):
                pass

    pairs = [("/a", "/b"), ("/b", "/a"), ("/a/x", "/b/y"), ("/b", "/a/x"), ("/", "/a"), ("/b/y", "/a")]
    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_a_folder_in_which_somebody_always_writes_is_free_for_a_moment_all_the_same(tmp_path: Path) -> None:
    """Eight writers hand a folder from one to the next without a gap; who wants it alone gets it."""
    gate, stop, inside = Gate(str(tmp_path)), threading.Event(), threading.Semaphore(0)
    turns = [threading.Event() for _ in range(8)]

    def write(number: int) -> None:
        """Leaves only when the next one has come in, or waits in front of the door for the one who wants it all."""
        while not stop.is_set():
            with gate.reserve([path(f"/a/{number}")]):
                inside.release()
                turns[(number + 1) % 8].set()
                turns[number].wait(0.05)
                turns[number].clear()

    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        assert inside.acquire(timeout=10)
    alone = threading.Event()

    def want_all() -> None:
        with gate.reserve([path("/a")]):
            alone.set()

    waiting = threading.Thread(target=want_all, daemon=True)
    waiting.start()
    got_it = alone.wait(20)
    stop.set()
    for thread in (*threads, waiting):
        thread.join(10)
    assert got_it


class Turns:
    """How often others were let in while somebody waited."""

    def __init__(self) -> None:
        self.granted = 0
        self.passed: list[int] = []

    def take(self, gate: Gate, wanted: str, seconds: float) -> None:
        before = self.granted
        with gate.reserve([path(wanted)]):
            self.passed.append(self.granted - before)
            self.granted += 1
            time.sleep(seconds)


@pytest.mark.slow
def test_who_has_waited_longest_is_the_next(tmp_path: Path) -> None:
    """Eight threads, which come again as soon as they were in."""
    gate, turns = Gate(str(tmp_path)), Turns()

    def come(_: int) -> None:
        for _ in range(50):
            turns.take(gate, "/a/f", 0.002)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come, range(8)))
    assert len(turns.passed) == 400
    # Seven were there before. A busy machine keeps somebody from getting in line at all, for a moment.
    assert sorted(turns.passed)[350] <= 8
    assert max(turns.passed) <= 64


@pytest.mark.parametrize("wanted", ["/a", "/a/f"])
def test_a_process_that_is_always_there_lets_others_in(wanted: str, tmp_path: Path) -> None:
    """Each gate has threads of its own: they are to one another what processes are."""
    busy, other, turns, stop = Gate(str(tmp_path)), Gate(str(tmp_path)), Turns(), threading.Event()

    def come(_: int) -> None:
        while not stop.is_set():
            turns.take(busy, "/a", 0.002)

    with ThreadPoolExecutor(6) as pool:
        coming = pool.map(come, range(6))
        passed = []
        try:
            for _ in range(30):
                before = turns.granted
                with other.reserve([path(wanted)]):
                    passed.append(turns.granted - before)
        finally:
            stop.set()
        list(coming)
    assert sorted(passed)[15] <= 4
    assert max(passed) <= 64


def test_a_line_is_kept_in_its_order(tmp_path: Path) -> None:
    gate, went = Gate(str(tmp_path)), []

    def come(number: int) -> None:
        with gate.reserve([path("/a")]):
            went.append(number)

    with gate.reserve([path("/a/b")]):
        threads = [threading.Thread(target=come, args=(number,)) for number in range(6)]
        for number, thread in enumerate(threads, start=1):
            thread.start()
            until(lambda number=number: stand(gate) == number)
    for thread in threads:
        thread.join(10)
    assert went == [0, 1, 2, 3, 4, 5]
    assert stand(gate) == 0


def test_those_who_share_do_not_wait_for_one_another_in_line(tmp_path: Path) -> None:
    """They stood behind one who had the folder alone. All are in it at once when he has left."""
    gate, together = Gate(str(tmp_path)), threading.Barrier(5)

    def come(number: int) -> None:
        with gate.reserve([path(f"/a/{number}")]):
            together.wait(10)

    with ThreadPoolExecutor(4) as pool:
        with gate.reserve([path("/a")]):
            coming = pool.map(come, range(4))
            until(lambda: stand(gate) == 4)
        together.wait(10)
        list(coming)


def test_who_gives_up_leaves_the_line_to_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the one behind him give up; the third has more patience."""
    gate, told, went = Gate(str(tmp_path)), [], threading.Event()

    def give_up() -> None:
        with pytest.raises(Unavailable), gate.reserve([path("/a")]):
            raise AssertionError("nobody gets here")
        told.append(1)

    def come() -> None:
        with gate.reserve([path("/a")]):
            went.set()

    with gate.reserve([path("/a")]):
        threads = [threading.Thread(target=each) for each in (give_up, give_up, come)]
        monkeypatch.setattr(gate_module, "PATIENCE", 0.3)
        for number, thread in enumerate(threads, start=1):
            if number == 3:
                monkeypatch.undo()
            thread.start()
            until(lambda number=number: stand(gate) >= number - len(told))
        until(lambda: len(told) == 2)
        assert not went.is_set()
    assert went.wait(10)
    for thread in threads:
        thread.join(10)
    assert stand(gate) == 0


def test_who_gives_up_behind_another_leaves_him_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, went = Gate(str(tmp_path)), threading.Event()

    def come() -> None:
        with gate.reserve([path("/a")]):
            went.set()

    first = threading.Thread(target=come)
    with Gate(str(tmp_path)).reserve([path("/a")]):
        first.start()
        until(lambda: stand(gate) == 1)
        monkeypatch.setattr(gate_module, "PATIENCE", 0.05)
        with pytest.raises(Unavailable), gate.reserve([path("/a")]):
            raise AssertionError("nobody gets here")
        assert stand(gate) == 1
        assert not went.is_set()
    assert went.wait(10)
    first.join(10)
    assert stand(gate) == 0


def test_who_leaves_twice_wakes_once() -> None:
    lines, first, second = gate_module._Lines(), threading.Lock(), threading.Lock()
    assert first.acquire()
    lines.join(2, first)
    for _ in range(2):
        lines.leave([0, 2], second)
    assert first.acquire(timeout=0)
    assert not first.acquire(timeout=0)
    lines.leave([2], first)
    assert 2 not in lines


def stand(gate: Gate) -> int:
    """How many threads stand in line."""
    return sum(map(len, list(gate._lines._of.values())))


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_without_its_folder_nobody_passes(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    gate = Gate(str(folder))
    folder.rename(tmp_path / "away")
    with pytest.raises(Unavailable), gate.reserve([ROOT]):
        raise AssertionError("nobody gets here")
    (tmp_path / "away").rename(folder)
    with gate.reserve([ROOT]):
        pass


def test_the_block_may_raise(tmp_path: Path) -> None:
    gate = Gate(str(tmp_path))
    with pytest.raises(ZeroDivisionError), gate.reserve([ROOT]):
        raise ZeroDivisionError
    assert not waits(gate, [], ["/"])


HOLDER = (
    "import sys\n"
    "from davserver.storage.gate import Gate\n"
    "from davserver.protocol.paths import ROOT\n"
    "with Gate(sys.argv[1]).reserve([ROOT]):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_a_killed_process_leaves_no_reservation(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=-1, stdout=-1)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        entered = threading.Event()

        def enter() -> None:
            with Gate(str(tmp_path)).reserve([path("/deep/inside")]):
                entered.set()

        other = threading.Thread(target=enter)
        other.start()
        assert not entered.wait(0.3)
        holder.kill()
        assert entered.wait(10)
        other.join()


def test_a_stopped_process_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "PATIENCE", 0.2)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=-1, stdout=-1)
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        gate = Gate(str(tmp_path))
        for _ in range(2):
            with pytest.raises(Unavailable), gate.reserve([path("/deep/inside")]):
                raise AssertionError("nobody gets here")
        os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.close()
        assert holder.wait(20) == 0
        with gate.reserve([path("/deep/inside")]):
            pass


def test_a_kernel_without_room_for_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(str(tmp_path))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as full:
        full.setattr(fcntl, "fcntl", refuse)
        with pytest.raises(Unavailable), gate.reserve([ROOT]):
            raise AssertionError("nobody gets here")
    with pytest.raises(OSError, match="of the block"), gate.reserve([ROOT]):
        raise OSError("of the block")
    with gate.reserve([ROOT]):
        pass


def test_writers_in_different_folders_never_wait_for_each_other(tmp_path: Path) -> None:
    """Over HTTP: while somebody holds one file, everything that does not touch it is answered."""
    with serving(tmp_path) as server:
        client = server.client()
        for each in ("/one", "/two", "/one/deep"):
            assert client("MKCOL", each).status == 201
        token = client.lock("/two/f").token
        holding = {"If": f"(<{token}>)"}
        with Gate(str(server.state)).reserve([path("/one/f")]):
            assert client("PUT", "/one/g", b"x").status == 201
            assert client("PUT", "/one/deep/f", b"x").status == 201
            assert client("PUT", "/two/f", b"x", holding).status == 204
            assert client.lock("/one/h").status == 201
            assert client("UNLOCK", "/two/f", Lock_Token=f"<{token}>").status == 204
            assert client("MOVE", "/two/f", Destination="/one/deep/moved").status == 201
            assert client("DELETE", "/two").status == 204
            assert client("GET", "/one/f").status == 404  # readers wait for nobody
            assert client.propfind("/one", depth="1").status == 207
            # And this test can fail: what does touch it waits.
            answered = threading.Event()

            def write() -> None:
                server.client()("PUT", "/one/f", b"x")
                answered.set()

            waiting = threading.Thread(target=write)
            waiting.start()
            assert not answered.wait(0.3)
        assert answered.wait(10)
        waiting.join()
