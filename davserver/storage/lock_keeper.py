"""LockKeeper: tidies up after locks that are over.

What it does could wait, and nothing depends on when it is done: an expired lock protects nothing whether its end
is noted or not. It notes the end of locks that expired, with the version that the file had; removes the empty file
that a LOCK on an unmapped URL made and nobody wrote (RFC 4918 §7.3); drops what nobody will ask for any more.

The row of a lock says that it made a file until that file has been seen to. So a server that is killed between the
end of a lock and the removal of its file leaves no litter: the next sweep finds the row. And since a LOCK stores
its row before it makes the file, there is no file without one.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from davserver.protocol.errors import InsufficientStorage, Locked, NotFound, Refused, Unavailable
from davserver.protocol.locks import ABSENT, NOBODY, Claim, End, Ending, Lock, is_unchanged
from davserver.protocol.paths import DavPath
from davserver.storage import changes
from davserver.storage.lock_events import KEEP_SECONDS, KEEP_UNDELIVERED, LockEvents
from davserver.storage.node import Node
from davserver.storage.share import Share, Shares
from davserver.storage.staging import Discarded

#: Seconds that a released lock is remembered: a client whose connection broke sends its UNLOCK once more.
RELEASED_SECONDS = 60.0
#: Locks that are seen to in one transaction.
BATCH = 1000

_log = logging.getLogger("davserver")


class LockKeeper:
    """Tidying for the locks of some shares."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._locks = shares.locks
        self._events = LockEvents(shares.state)

    def sweep(self) -> None:
        """All that can be tidied now. Raises Unavailable, InsufficientStorage; what is left is done another time."""
        while len(expired := self._locks.expired(BATCH)) > 0:
            self._locks.note_expired({lock: self._end_of(lock) for lock in expired})
        for lock in self._locks.untidied(BATCH):
            self.tidy(lock)
        now = self._locks.now()
        while self._locks.drop_old(released_before=now - RELEASED_SECONDS, limit=BATCH) == BATCH:
            pass
        self._events.drop_old(now - KEEP_SECONDS, now - KEEP_UNDELIVERED)

    def tidy(self, lock: Lock) -> None:
        """Remove the empty file that this ended lock made, unless somebody wrote it or gave it properties. While there
        is a lock on it or on the membership of its folder, be it the same one by now, it is the next sweep's."""
        if lock.made is None:
            return
        removed = Discarded()
        with self._locks.hold([lock.root], principal=NOBODY, tokens=frozenset()) as hold:
            node = self.node(lock.root)
            version = None
            if self._shares.journal.about([lock.root]):
                return
            if node is not None and node.tag == lock.made and not self._shares.properties.any_at(lock.root):
                try:
                    hold.check(Claim(trees=(lock.root,), members_of=(lock.root.parent,)))
                    removed = changes.delete(self._shares, hold, lock.root)
                    version = ABSENT
                except (Locked, Unavailable):
                    return
                except Refused as refused:
                    _log.warning("%s, an empty file that a LOCK made, stays: %s", lock.root, refused.message)
            self._locks.tidied(lock, version)
        removed.empty()

    def tidy_if_possible(self, lock: Lock) -> None:
        """`tidy`, by whoever has just ended this lock: that is done, and he is told so. What is left is the sweep's."""
        with suppress(Unavailable, InsufficientStorage):
            self.tidy(lock)

    def node(self, path: DavPath) -> Node | None:
        """What is at a path; None also where no share is served any more."""
        share = self._share(path)
        return None if share is None else share.tree.stat(path)

    def version(self, path: DavPath) -> str | None:
        """What a file is now; None where nobody can tell, since its share is not known here."""
        share = self._share(path)
        if share is None:
            return None
        version = share.tree.version(path)
        return ABSENT if version is None else version.text

    def _end_of(self, lock: Lock) -> End:
        share, now = self._share(lock.root), self._locks.now()
        version = None if share is None else share.tree.version(lock.root)
        unchanged = version is not None and is_unchanged(lock, now, *version)
        text = None if version is None else version.text
        return End(Ending.EXPIRED, lock.expires or now, version=text, void=not unchanged)

    def _share(self, path: DavPath) -> Share | None:
        try:
            return self._shares.of(path)
        except NotFound:
            return None
