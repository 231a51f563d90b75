"""One heap for all threads of a worker, which shrinks again.

glibc gives each thread a heap of its own, up to eight for each core, so that they need not wait for each other. What
one thread has freed there serves no thread of another heap; and as threads come and go, each heap grows to the most
that was ever needed in it, which none gives back. Threads of Python wait for each other anyway: with one heap a worker
answers as many requests, and is as large as what all of its threads need together. And glibc gives back only what is
free at the end of a heap: so all that is free is given back from time to time, which takes less than a millisecond.
"""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # mallopt(3)
_libc = ctypes.CDLL(None)


def share_one_heap() -> None:
    """To be called before there is a second thread. An administrator who has said how many there may be is obeyed, see
    mallopt(3), "Environment variables". Another library than glibc knows no such thing: then nothing is done."""
    said = "MALLOC_ARENA_MAX" in os.environ or "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None and not said:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """To the system, what is free: after a time of many threads, most of it."""
    trim = getattr(_libc, "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
