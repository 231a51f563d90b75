"""What "auto" means on this machine."""

from __future__ import annotations

import math
import os
import resource

from davserver.server.http.inbound import Pace
from davserver.server.http.server import Limits
from davserver.settings import Settings

_WORKERS = 8
_THREADS = 1000
_CONNECTIONS = 20_000
_WAITING = 250
#: Files that are open beside connections, and what a request may have open beside its own.
_OTHER_FILES, _FILES_A_REQUEST = 256, 4
_PAUSE = 120
#: How many files this process may open is raised to this, if that is permitted.
_FILES = 1 << 17
_CPU_QUOTA = "/sys/fs/cgroup/cpu.max"


def raise_open_files() -> int:
    """As many open files as are permitted; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft if soft != resource.RLIM_INFINITY else _FILES


def limits_of(settings: Settings, open_files: int) -> Limits:
    wished = settings.limits
    threads = _THREADS if wished.threads == "auto" else int(wished.threads)
    connections = wished.connections
    if connections == "auto":
        room = open_files - _OTHER_FILES - _FILES_A_REQUEST * min(threads, open_files // 8)
        connections = max(min(_CONNECTIONS, room), 16)
    return Limits(
        header=wished.header,
        pace=Pace(wished.body_min_rate, _PAUSE),
        threads=threads,
        connections=int(connections),
    )


def seats_of(settings: Settings, limits: Limits) -> int:
    """Requests that may wait for something to happen to a lock: each holds a thread, and others need some too."""
    wished = settings.limits.waiting
    return max(min(_WAITING, limits.threads // 4), 1) if wished == "auto" else min(int(wished), limits.threads - 2)


def worker_count(settings: Settings) -> int:
    return min(cores(), _WORKERS) if settings.workers == "auto" else int(settings.workers)


def cores(quota_file: str = _CPU_QUOTA) -> int:
    """Cores that this process may use: by affinity, and by the quota of its container (cgroup v2)."""
    available = len(os.sched_getaffinity(0))
    try:
        with open(quota_file, encoding="ascii") as file:
            quota, period = file.read().split()
        return min(available, max(math.ceil(int(quota) / int(period)), 1))
    except (OSError, ValueError):
        return available  # there is no quota ("max"), or none that can be told
