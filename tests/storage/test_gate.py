"""Gate: who waits for whom, over threads and processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from davserver.protocol.paths import ROOT, DavPath
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


def test_the_block_may_raise(tmp_path: Path) -> None:
    gate = Gate(str(tmp_path))
    with pytest.raises(ZeroDivisionError), gate.reserve([ROOT]):
        raise ZeroDivisionError
    assert not waits(gate, [], ["/"])


def test_a_killed_process_leaves_no_reservation(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from davserver.storage.gate import Gate\n"
            "from davserver.protocol.paths import ROOT\n"
            "with Gate(sys.argv[1]).reserve([ROOT]):\n"
            "    print('held', flush=True)\n"
            "    sys.stdin.read()\n",
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
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
