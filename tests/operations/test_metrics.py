"""/-/metrics: what is told is what was done, whichever worker did it and whichever is asked."""

from __future__ import annotations

import os
import signal
import threading
from base64 import b64encode
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import QUICK, Process, serving
from test_workers import configured, until
from wire import Dav

from davserver.cli import main
from davserver.operations.figures import METHODS, REQUEST_SECONDS, Figures


class Told:
    """The samples of one answer."""

    def __init__(self, dav: Dav) -> None:
        answer = dav("GET", "/-/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.text = answer.body.decode()
        families = list(text_string_to_metric_families(self.text))
        assert all(family.documentation for family in families)
        self.samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    def __call__(self, name: str, *labels: str) -> float:
        return self.samples.get((f"davserver_{name}", *sorted(labels)), 0.0)


# --- figures


def test_each_worker_adds_to_its_own_and_all_tell_the_sum() -> None:
    memory = Figures.shared(3)
    workers = [Figures(memory, number) for number in range(3)]
    for number, worker in enumerate(workers):
        for _ in range(number + 1):
            worker.count_request("PUT", 201, 0.004, 10, 5)
        worker.count_request("BREW", 599, 1000.0, 0, 0)
        worker.count_refused()
        worker.count_gate(0.002)
        worker.count_store(0.5)
    for worker in workers:
        assert worker.requests == {("PUT", 201): 6, ("other", 599): 3}
        assert (worker.sent, worker.received, worker.refused) == (60, 30, 3)
        put, other = worker.seconds["PUT"], worker.seconds["other"]
        assert put.counts[REQUEST_SECONDS.index(0.005)] == 6
        assert put.seconds == pytest.approx(0.024)
        assert other.counts[-1] == 3
        assert sum(worker.gate.counts) == sum(worker.store.counts) == 3
        assert worker.workers == [os.getpid()] * 3
    assert set(workers[0].seconds) == {"PUT", "other"}


def test_a_worker_that_takes_a_place_goes_on_counting() -> None:
    memory = Figures.shared(1)
    Figures(memory, 0).count_request("GET", 200, 0.0, 1, 0)
    again = Figures(memory, 0)
    again.count_request("GET", 200, 0.0, 1, 0)
    assert again.requests == {("GET", 200): 2}


def test_threads_lose_no_count() -> None:
    figures = Figures()

    def count() -> None:
        for _ in range(2000):
            figures.count_request("GET", 200, 0.01, 1, 0)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert figures.requests == {("GET", 200): 16_000}
    assert figures.sent == 16_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", [100, 599])
def test_every_method_and_status_has_a_place_of_its_own(method: str, status: int) -> None:
    figures = Figures()
    figures.count_request(method, status, 0.0, 0, 0)
    assert figures.requests == {(method, status): 1}


# --- the page


def test_what_is_told_is_what_was_done(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        dav = server.client()
        assert dav("PUT", "/f", b"x" * 1000).status == 201
        assert dav("PUT", "/g", [b"y" * 500, b"z" * 500]).status == 201  # chunked
        assert dav("GET", "/f").body == b"x" * 1000
        assert dav("GET", "/missing").status == 404
        lock = dav.lock("/f")
        assert dav("PUT", "/f", b"y").status == 423
        assert dav.lock("/f").status == 423
        assert dav("LOCK", "/f", None, If=f"(<{lock.token}>)").status == 200
        assert dav.lock("/g").status == 200
        told = Told(dav)
        assert told("requests_total", "PUT", "201") == 2
        assert told("requests_total", "PUT", "423") == 1
        assert told("requests_total", "GET", "200") == 1
        assert told("requests_total", "LOCK", "200") == 3
        assert told("request_seconds_count", "PUT") == 3
        assert told("request_seconds_bucket", "PUT", "+Inf") == 3
        assert told("request_seconds_sum", "PUT") > 0
        assert told("received_bytes_total") >= 2000
        assert told("sent_bytes_total") >= 1000
        assert told("locks_held", "write") == 2
        assert told("locks_held", "maintenance") == 0
        assert 0 <= told("locks_oldest_seconds", "write") < 100
        assert told("locks_acquired_total") == 2
        assert told("locks_refreshed_total") == 1
        assert told("locks_refused_total") == 2
        assert told("locks_broken_total") == 0
        assert told("store_seconds_count") >= 3
        assert told("gate_wait_seconds_count") >= 4
        assert told("store_up") == 1
        assert told("connections") == 1
        assert told("workers") == 1
        assert told("threads") > 1
        assert told("open_files") > 1
        assert told("resident_bytes") > 1e6
        assert "davserver_build_info{" in told.text
        assert lock.token not in told.text
        assert str(tmp_path) not in told.text
        options = ["--directory", str(server.root), "--state", str(server.state)]
        assert main(["locks", "break", "1", "--reason", "test", *options]) == 0  # by another process's hand
        again = Told(dav)
        assert again("locks_broken_total") == 1
        assert again("locks_held", "write") == 1
        assert again("requests_total", "GET", "200") == told("requests_total", "GET", "200") + 1


def test_without_the_state_it_says_so(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        dav = server.client()
        server.state.rename(tmp_path / "away")
        for _ in range(20_000):
            told = Told(dav)
            if not told("store_up"):
                break
        assert told("requests_total", "GET", "200") >= 0
        assert "davserver_store_up 0.0" in told.text
        (tmp_path / "away").rename(server.state)


def test_who_may_read(tmp_path: Path) -> None:
    users = {"alice": {"password": QUICK.hash("x")}}
    login = "Basic " + b64encode(b"alice:x").decode()
    with serving(tmp_path, users=users, metrics={"allow": ["192.0.2.0/24"]}) as server:
        refused = server.client()("GET", "/-/metrics")
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert server.client(Authorization=login)("GET", "/-/metrics").status == 200
        assert server.client(Authorization=login)("POST", "/-/metrics", b"").status == 405
    with serving(tmp_path, users=users) as server:
        assert server.client()("GET", "/-/metrics").status == 200  # this machine may
    with serving(tmp_path, metrics={"allow": []}) as server:
        assert server.client()("GET", "/-/metrics").status == 403  # nobody could log in


@pytest.mark.slow
def test_workers_are_summed_up_also_those_that_died(tmp_path: Path) -> None:
    with Process(tmp_path, "-c", str(configured(tmp_path, workers=3))) as server:
        clients = [server.client() for _ in range(9)]
        for client in clients:
            for _ in range(5):
                assert client("GET", "/missing").status == 404
        for client in clients:
            told = Told(client)
            assert told("requests_total", "GET", "404") == 45
            assert told("request_seconds_count", "GET") >= 45
            assert told("workers") == 3
            assert told("connections") == 9
        before = server.workers
        os.kill(before[0], signal.SIGKILL)
        dav = server.client()
        until(lambda: len(set(server.workers) - set(before)) == 1 and len(server.workers) == 3, dav)
        assert Told(dav)("requests_total", "GET", "404") == 45
        assert server.stop() == 0
