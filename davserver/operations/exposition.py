"""Figures in the form that Prometheus reads. Loaded with the first request for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from davserver.operations.figures import Distribution, Figures
from davserver.operations.metrics import Sources
from davserver.protocol.errors import Unavailable
from davserver.protocol.locks import Kind
from davserver.storage.lock_figures import held, totals

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def exposition(sources: Sources) -> bytes:
    """All of them, as they are now."""
    return generate_latest(_Collector(sources))


class _Collector(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        yield from _of_requests(self._sources.figures)
        yield from _of_steps(self._sources.figures)
        yield from _of_locks(self._sources)
        yield from _of_processes(self._sources)


def _of_requests(figures: Figures) -> Iterator[Metric]:
    requests = CounterMetricFamily("davserver_requests", "Requests that were answered.", labels=["method", "status"])
    for (method, status), count in figures.requests.items():
        requests.add_metric([method, str(status)], count)
    yield requests
    seconds = HistogramMetricFamily(
        "davserver_request_seconds",
        "Seconds from a request's head to the last byte of its answer; of an upload the client's pace is in it.",
        labels=["method"],
    )
    for method, distribution in figures.seconds.items():
        seconds.add_metric([method], _buckets(distribution), distribution.seconds)
    yield seconds
    yield CounterMetricFamily("davserver_sent_bytes", "Bytes of bodies that were sent.", figures.sent)
    yield CounterMetricFamily("davserver_received_bytes", "Bytes of bodies that were received.", figures.received)


def _of_steps(figures: Figures) -> Iterator[Metric]:
    gate = HistogramMetricFamily(
        "davserver_gate_wait_seconds", "Seconds until the paths of a change were free of other changes."
    )
    gate.add_metric([], _buckets(figures.gate), figures.gate.seconds)
    yield gate
    store = HistogramMetricFamily(
        "davserver_store_seconds", "Seconds that a change of the state took, its turn and the disk included."
    )
    store.add_metric([], _buckets(figures.store), figures.store.seconds)
    yield store


def _of_locks(sources: Sources) -> Iterator[Metric]:
    up = GaugeMetricFamily("davserver_store_up", "1 when the state can be read.")
    try:
        now = sources.now()
        active, ever = held(sources.state, now), totals(sources.state)
    except Unavailable:
        up.add_metric([], 0)
        yield up
        return
    up.add_metric([], 1)
    yield up
    locks = GaugeMetricFamily("davserver_locks_held", "Locks that protect something now.", labels=["kind"])
    oldest = GaugeMetricFamily(
        "davserver_locks_oldest_seconds", "Age of the oldest lock of that kind; 0 where there is none.", labels=["kind"]
    )
    for kind in Kind:
        found = active.get(kind)
        locks.add_metric([kind.value], 0 if found is None else found.number)
        oldest.add_metric([kind.value], 0 if found is None else now - found.since)
    yield locks
    yield oldest
    yield CounterMetricFamily("davserver_locks_acquired", "Locks that were granted.", ever.acquired)
    yield CounterMetricFamily("davserver_locks_refreshed", "Locks whose time was restarted.", ever.refreshed)
    yield CounterMetricFamily("davserver_locks_expired", "Locks that ended by their time.", ever.expired)
    yield CounterMetricFamily("davserver_locks_broken", "Locks that were broken.", ever.broken)
    yield CounterMetricFamily(
        "davserver_locks_refused", "Requests that somebody else's lock was in the way of.", sources.figures.refused
    )


def _of_processes(sources: Sources) -> Iterator[Metric]:
    connections = sources.connections()
    yield GaugeMetricFamily("davserver_workers", "Worker processes that serve.", len(connections))
    yield GaugeMetricFamily("davserver_connections", "Connections that are open.", sum(connections))
    processes = [found for pid in sources.figures.workers if pid and (found := _process(pid)) is not None]
    yield GaugeMetricFamily("davserver_threads", "Threads of all workers.", sum(each.threads for each in processes))
    yield GaugeMetricFamily("davserver_open_files", "Open files of all workers.", sum(each.files for each in processes))
    yield GaugeMetricFamily(
        "davserver_resident_bytes", "Memory of all workers; what they share is counted in each.",
        sum(each.resident for each in processes),
    )  # fmt: skip
    yield GaugeMetricFamily(
        "davserver_processor_seconds", "Processor time of the workers that are there now.",
        sum(each.processor for each in processes),
    )  # fmt: skip
    build = GaugeMetricFamily("davserver_build_info", "What this server is.", labels=list(sources.build))
    build.add_metric(list(sources.build.values()), 1)
    yield build


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Each with all that is below it, as Prometheus wants them."""
    found, sum_so_far = [], 0
    bounds = [*map(str, distribution.bounds), "+Inf"]
    for bound, count in zip(bounds, distribution.counts, strict=True):
        sum_so_far += count
        found.append((bound, float(sum_so_far)))
    return found


class _Process(NamedTuple):
    threads: int
    files: int
    resident: int
    processor: float


def _process(pid: int) -> _Process | None:
    """None: it is no more."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # proc_pid_stat(5): the name, which may hold anything, ends with the last parenthesis.
            fields = file.read().rpartition(")")[2].split()
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    return _Process(
        threads=int(fields[17]),
        files=files,
        resident=int(fields[21]) * _PAGE,
        processor=(int(fields[11]) + int(fields[12])) / _TICKS,
    )
