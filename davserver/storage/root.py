"""Root: the folder of a share, which is held open, and found again where it was away.

What is removed under a running server (a disk that is cleared, a volume that is made anew) leaves an open folder in
which nothing is and nothing can be made. That must not look like a share that has been emptied: a client that keeps a
copy of it would empty the copy as well. So whoever finds nothing asks here whether there is still anything to find
something in.
"""

from __future__ import annotations

import logging
import os
import threading

from davserver.protocol.errors import Unavailable

_log = logging.getLogger("davserver")

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Root:
    """`fd` is the same number for as long as the server runs, whatever folder it leads to."""

    def __init__(self, path: str) -> None:
        """Raises OSError when it cannot be opened as a directory."""
        self._path = path
        self.fd = os.open(path, _OPEN)
        self.device = os.fstat(self.fd).st_dev
        #: Grows whenever another folder is found in place.
        self.generation = 0
        self._lock = threading.Lock()
        self._is_missed = False

    def require(self) -> None:
        """Raises Unavailable when the folder is gone. Costs one fstat."""
        if not os.fstat(self.fd).st_nlink and not self._is_in_place():
            self._find()
            raise Unavailable("The folder of this share is away; try again in a moment.")

    def _is_in_place(self) -> bool:
        """There are file systems that count no links at all."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self.fd))
        except OSError:
            return False

    def _find(self) -> None:
        """Look for a folder that has taken the place, for the requests to come."""
        with self._lock:
            if self._is_in_place():
                return  # somebody was faster
            try:
                fd = os.open(self._path, _OPEN)
            except OSError as error:
                if not self._is_missed:
                    _log.error("the folder %s is gone: %s", self._path, error.strerror)
                self._is_missed = True
                return
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)
            self.device = os.fstat(self.fd).st_dev
            self.generation += 1
            self._is_missed = False
            _log.warning("the folder %s, which was gone, is there again", self._path)

    def close(self) -> None:
        os.close(self.fd)
