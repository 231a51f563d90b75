"""Quota: one figure for all processes, right after a crash, and cheap."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davserver.protocol.errors import InsufficientStorage, Unavailable
from davserver.storage import quota as module
from davserver.storage.gate import flock, take
from davserver.storage.quota import Quota, folder_size
from davserver.storage.sqlite import SqliteState
from davserver.storage.staging import FOLDER


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    (tmp_path / "root").mkdir()
    (tmp_path / "state").mkdir()
    state = SqliteState(str(tmp_path / "state"), durable=False)
    yield state
    state.close()


@pytest.fixture
def quota(state: SqliteState, tmp_path: Path) -> Quota:
    return Quota(state, "/", str(tmp_path / "root"), 1000, str(tmp_path / "counting"))


def test_what_is_charged_and_given_back(quota: Quota, state: SqliteState, tmp_path: Path) -> None:
    assert (quota.used, quota.left) == (0, 1000)
    quota.charge(600)
    with pytest.raises(InsufficientStorage):
        quota.charge(401)
    quota.charge(400)
    quota.charge(0)
    assert (quota.used, quota.left) == (1000, 0)
    # Another process, and another share.
    other = Quota(state, "/", str(tmp_path / "root"), 1000, str(tmp_path / "counting"))
    assert other.used == 1000
    assert Quota(state, "/x", str(tmp_path / "root"), 1000, str(tmp_path / "counting")).used == 0
    other.charge(-300)
    assert quota.used == 700


def test_to_give_back_is_always_right(quota: Quota, state: SqliteState, tmp_path: Path) -> None:
    """Also where more is there than may be, and where more is given back than was known of."""
    quota.charge(1000)
    smaller = Quota(state, "/", str(tmp_path / "root"), 100, str(tmp_path / "counting"))
    assert smaller.left == 0
    smaller.charge(-50)
    assert smaller.used == 950
    smaller.charge(-2000)
    assert smaller.used == 0


def test_racing_charges_never_pass_the_limit(quota: Quota) -> None:
    ready, won = threading.Barrier(8), []

    def charge() -> None:
        ready.wait()
        for _ in range(50):
            try:
                quota.charge(7)
                won.append(7)
            except InsufficientStorage:
                return

    threads = [threading.Thread(target=charge) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert quota.used == sum(won) == 994


def test_a_count_corrects_the_figure(quota: Quota, tmp_path: Path) -> None:
    (tmp_path / "root" / "d").mkdir()
    (tmp_path / "root" / "f").write_bytes(b"12345")
    (tmp_path / "root" / "d" / "g").write_bytes(b"123")
    quota.charge(500)  # and killed before the file was there
    quota.count()
    assert quota.used == 8


def test_a_count_is_believed_as_far_as_the_share_was_at_rest(
    quota: Quota, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota.charge(300)
    for counted, expected in ((250, 300), (350, 300), (10, 10)):
        monkeypatch.setattr(
            module, "folder_size", lambda *_, counted=counted: (quota.charge(50), quota.charge(-50), counted)[2]
        )
        quota.count()
        assert quota.used == expected


def test_what_is_charged_and_not_yet_there_is_waited_for(quota: Quota, tmp_path: Path) -> None:
    """Else the count would not find it, and nobody would know of it any more."""
    with ThreadPoolExecutor() as pool:
        with quota.changing():
            quota.charge(300)
            counting = pool.submit(quota.count)
            with pytest.raises(TimeoutError):
                counting.result(0.2)
            (tmp_path / "root" / "f").write_bytes(b"x" * 300)
        counting.result(10)
        assert quota.used == 300
        with quota.changing():
            counting = pool.submit(quota.count)
            quota.close()  # which does not wait for others
            counting.result(10)
    assert quota.used == 300


def test_a_change_waits_for_a_count_to_begin_and_no_longer_than_it_may(
    quota: Quota, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(tmp_path / "counting", "ab+") as beginning:
        assert take(beginning.fileno(), flock(fcntl.F_WRLCK, 0, 1), 0)
        monkeypatch.setattr(module, "PATIENCE", 0.05)
        with pytest.raises(Unavailable, match="being counted"), quota.changing():
            raise AssertionError("it was let in")
    with quota.changing():
        pass
    quota._lock_file = str(tmp_path / "gone" / "counting")
    with pytest.raises(Unavailable, match="not available"), quota.changing():
        raise AssertionError("it was let in")


def test_what_is_counted(tmp_path: Path) -> None:
    """Every file once, whatever names it has; not what the server keeps aside, nor what links lead to."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "upload").write_bytes(b"x" * 100)
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "f").write_bytes(b"12345")
    os.link(tmp_path / "deep" / "deeper" / "f", tmp_path / "again")
    (tmp_path / ".hidden").write_bytes(b"1")
    (tmp_path / "link").symlink_to("deep/deeper/f")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")
    assert folder_size(str(tmp_path)) == 6
    assert folder_size(str(tmp_path / "missing")) == 0
    assert folder_size(str(tmp_path), lambda: True) == 0


def test_counting_is_done_by_one_process_beside_the_work(quota: Quota, state: SqliteState, tmp_path: Path) -> None:
    (tmp_path / "root" / "f").write_bytes(b"12345")
    lock_file = tmp_path / "counting"
    with open(lock_file, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        quota.start_counting()
        quota.close()
    assert quota.used == 0
    again = Quota(state, "/", str(tmp_path / "root"), 1000, str(tmp_path / "counting"))
    again.start_counting()
    assert again._counter is not None
    again._counter.join()
    assert again.used == 5
    again.close()


def test_a_count_that_is_broken_off_changes_nothing(quota: Quota, tmp_path: Path) -> None:
    quota.charge(300)
    quota.close()
    quota.count()
    assert quota.used == 300


def test_a_count_that_fails_is_told(
    quota: Quota, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise Unavailable("away")

    monkeypatch.setattr(quota, "count", fail)
    quota.start_counting()
    quota.close()
    assert "could not be counted" in caplog.text


def test_a_figure_that_cannot_be_written_does_not_undo_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from inprocess import local

    (tmp_path / "share").mkdir()
    with local(tmp_path, shares={"/": {"directory": str(tmp_path / "share"), "quota": 1000}}) as app:
        app("PUT", "/f", b"12345")
        real = Quota.charge

        def fail(self: Quota, size: int) -> None:
            if size < 0:
                raise Unavailable("away")
            real(self, size)

        monkeypatch.setattr(Quota, "charge", fail)
        assert app("DELETE", "/f").status == 204
        assert "5 bytes too many" in caplog.text
