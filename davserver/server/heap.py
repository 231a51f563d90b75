"""One heap for all threads of a worker.

glibc gives each thread a heap of its own, up to eight for each core, so that they need not wait for each other. What
one thread has freed there serves no thread of another heap; and as threads come and go, each heap grows to the most
that was ever needed in it, which none gives back. Threads of Python wait for each other anyway: with one heap a worker
answers as many requests, and stays as large as what all of its threads need together.
"""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # mallopt(3)


def share_one_heap() -> None:
    """To be called before there is a second thread. An administrator who has said how many there may be is obeyed, see
    mallopt(3), "Environment variables". Another library than glibc knows no such thing: then nothing is done."""
    said = "MALLOC_ARENA_MAX" in os.environ or "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not said:
        mallopt(_M_ARENA_MAX, 1)
