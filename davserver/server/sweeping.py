"""Sweeping: a thread that tidies up after locks that are over, from time to time."""

from __future__ import annotations

import logging
import threading

from davserver.protocol.errors import Refused
from davserver.storage.lock_keeper import LockKeeper

#: Seconds between two sweeps. Nothing depends on it but how long an empty file of an expired lock stays.
INTERVAL = 15.0

_log = logging.getLogger("davserver")


class Sweeping:
    """The first sweep is at once: it finds what a killed server has left."""

    def __init__(self, keeper: LockKeeper) -> None:
        self._keeper = keeper
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the sweep under way has ended."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._keeper.sweep()
            except Refused as refused:
                _log.warning("locks that are over could not be tidied up: %s", refused.message)
            except Exception:
                _log.exception("locks that are over could not be tidied up")
            if self._stopping.wait(INTERVAL):
                return
