"""Inspection: where files and state do not agree, and mending it. Works beside a running server, and without one.

What outsiders do behind the server's back leaves rows about nothing: they harm nobody, and whoever makes something at
their path forgets them first; but they take room, and a lock on nothing stops people. What crashes leave is mended by
the next start; this tells what is still open, and does what a start does.

A folder that is empty where the state knows of files in it looks like a disk that is not mounted: nothing about it is
forgotten, unless that is said explicitly.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum

from davserver.protocol.errors import Refused
from davserver.protocol.locks import ANYBODY, Kind, Lock
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage.journal import STAGED, Intent
from davserver.storage.recovery import recover
from davserver.storage.share import Share, Shares


class Problem(Enum):
    PROPERTIES = "properties of nothing"
    LOCK = "lock on nothing"
    INTENT = "interrupted change"
    STAGE = "leftover of a process"


@dataclass(frozen=True, slots=True)
class Finding:
    problem: Problem
    #: Path of the resource; of the share for what lies in its stage.
    path: DavPath
    detail: str
    #: How it may be mended; None: it may not, as long as the share looks unmounted.
    mendable: bool = True
    lock: Lock | None = None
    intent: Intent | None = None
    #: Of the properties, in the state.
    key: str = ""


def inspect(shares: Shares, *, force: bool = False) -> Iterator[Finding]:
    """Everything that is not as it should be. `force`: also what looks like an unmounted disk may be mended."""
    intents = shares.journal.all()
    deserted = {share.at for share in shares if share.tree.is_empty and not force}
    for intent in intents:
        detail = intent.kind.value if intent.source is None else f"{intent.kind.value} of {intent.source}"
        yield Finding(Problem.INTENT, intent.path, detail, intent=intent)
    yield from _stray_properties(shares, deserted, {intent.staged for intent in intents})
    for lock in shares.locks.active():
        # A transaction or a maintenance may be about what is still to come.
        if lock.kind in (Kind.WRITE, Kind.CHECKOUT) and _is_gone(shares, lock.root):
            mendable = shares.of(lock.root).at not in deserted
            yield Finding(Problem.LOCK, lock.root, f"lock {lock.id}", mendable, lock=lock)
    for share in shares:
        for name in share.tree.left_behind():
            yield Finding(Problem.STAGE, share.at, name)


def _stray_properties(shares: Shares, deserted: Container[DavPath], awaited: Container[str]) -> Iterator[Finding]:
    for key, count in shares.properties.counted():
        detail = "1 property" if count == 1 else f"{count} properties"
        path = DavPath.from_key(key)
        if key.startswith(STAGED):
            if key.partition("/")[0] not in awaited:
                yield Finding(Problem.PROPERTIES, ROOT, f"{detail} of a copy that never came", key=key)
        elif _is_gone(shares, path):
            yield Finding(Problem.PROPERTIES, path, detail, shares.of(path).at not in deserted, key=key)


def mend(shares: Shares, finding: Finding) -> bool:
    """Is it mended? What somebody has mended meanwhile is. Raises Unavailable."""
    if not finding.mendable:
        return False
    match finding.problem:
        case Problem.INTENT if finding.intent is not None:
            return _mend_intent(shares, finding.intent)
        case Problem.STAGE:
            return _mend_stage(shares.of(finding.path), finding.detail)
    with shares.locks.hold((finding.path,), principal=ANYBODY, tokens=frozenset()):
        # Looked at again: a server may have made something there since.
        if not finding.path.is_root and not _is_gone(shares, finding.path):
            return True
        if finding.lock is not None:
            shares.locks.withdraw(finding.path, finding.lock.token)
        else:
            shares.properties.forget(finding.key)
    return True


def _is_gone(shares: Shares, path: DavPath) -> bool:
    """Is nothing at all at this path? What is there and not served, or cannot be looked at, is not gone."""
    try:
        return shares.of(path).tree.inode(path) is None
    except Refused:
        return False


def _mend_intent(shares: Shares, intent: Intent) -> bool:
    try:
        recover(shares, [intent])
    except Refused:
        return False
    return not shares.journal.has(intent)


def _mend_stage(share: Share, name: str) -> bool:
    """Whoever repairs may clear what those left who had another state."""
    try:
        share.tree.open_stage(foreign=True)
    except OSError:
        return False
    return name not in share.tree.left_behind()
