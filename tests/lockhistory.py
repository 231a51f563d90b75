"""What several clients did with locks at the same time, and whether it can be explained by locks that hold.

The method is Jepsen's. Each request is known by the moment when it was sent and the moment when its answer had come,
on one clock that never jumps. What the server did happened somewhere in between; so nothing has to be known of delays:

  a lock is surely held from the moment its grant had come until that when its end was first asked for;
  what was answered 2xx was surely done between its two moments; what was refused was surely not done.

Then no two locks that conflict are ever surely held at once (guarantee 1), no write was done surely while somebody
else's lock was held (guarantee 2), and whoever holds an exclusive lock reads what he last read or wrote himself.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

#: The answer never came: it may have been done or not.
UNKNOWN = 0


@dataclass(frozen=True)
class Op:
    """One request of one client. Paths as in DavPath.key: without a slash at the end, but for "/"."""

    client: int
    #: LOCK, REFRESH, UNLOCK, PUT, DELETE, MOVE; GET and LIST are reads.
    kind: str
    path: str
    sent: float
    back: float
    status: int
    #: Of a LOCK that was granted the one it got; of others those they submit.
    tokens: tuple[str, ...] = ()
    deep: bool = False
    shared: bool = False
    #: What was written, or read; None: nothing there.
    content: str | None = None
    #: Of a MOVE.
    target: str = ""

    @property
    def done(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Held:
    """A lock, and when it was surely held."""

    lock: Op
    start: float
    end: float

    @property
    def token(self) -> str:
        return self.lock.tokens[0]

    def covers(self, path: str) -> bool:
        return path == self.lock.path or (self.lock.deep and inside(path, self.lock.path))

    def overlaps(self, other: Held) -> bool:
        return self.covers(other.lock.path) or other.covers(self.lock.path)


def inside(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")


def parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def changed(op: Op) -> set[str]:
    """The resources whose state a write that was done has changed: a collection's is also who its members are."""
    match op.kind:
        case "PUT":
            return {op.path, parent(op.path)} if op.status == 201 else {op.path}
        case "DELETE":
            return {op.path, parent(op.path)}
        case "MOVE":
            return {op.path, parent(op.path), op.target} | ({parent(op.target)} if op.status == 201 else set())
    return set()


def holdings(history: Iterable[Op]) -> list[Held]:
    """Every lock that was granted, in the order in which they came to be held."""
    ends: dict[str, float] = {}
    ops = sorted(history, key=lambda op: op.sent)
    shared = [op for op in ops if op.kind == "LOCK" and op.done and op.shared]
    for op in ops:
        # A lock ends with the resource that it is rooted at, also when that is not certain.
        if op.kind in ("UNLOCK", "DELETE", "MOVE") and (op.done or op.status == UNKNOWN):
            for token in op.tokens:
                ends.setdefault(token, op.sent)
            own = [lock for lock in shared if lock.client == op.client and lock.tokens[0] in op.tokens]
            if op.kind != "UNLOCK" and any(Held(lock, 0, 0).covers(op.path) for lock in own):
                # One of the shared locks on it is enough to take it away (RFC 4918 §6.2), and the others go with it.
                for lock in shared:
                    if lock.sent < op.back and (lock.path == op.path or inside(lock.path, op.path)):
                        ends.setdefault(lock.tokens[0], op.sent)
    held = [
        Held(op, op.back, ends.get(op.tokens[0], math.inf)) for op in ops if op.kind == "LOCK" and op.done and op.tokens
    ]
    return sorted((each for each in held if each.start < each.end), key=lambda each: each.start)


def violations(history: Iterable[Op]) -> list[str]:
    """What no server could have answered whose locks hold."""
    ops = list(history)
    held = holdings(ops)
    return [*_two_holders(held), *_writes_through(ops, held), *_dead_tokens(ops), *_broken_promises(ops, held)]


def _two_holders(held: list[Held]) -> Iterator[str]:
    standing: list[Held] = []
    for new in held:
        standing = [old for old in standing if old.end > new.start]
        for old in standing:
            if old.overlaps(new) and not (old.lock.shared and new.lock.shared):
                yield f"two holders at once: {old} and {new}"
        standing.append(new)


def _writes_through(ops: list[Op], held: list[Held]) -> Iterator[str]:
    writes = sorted((op for op in ops if op.done and changed(op)), key=lambda op: op.sent)
    shared = {op.tokens[0]: op for op in ops if op.kind == "LOCK" and op.done and op.shared}
    coming, standing = iter([*held, None]), list[Held]()
    next_one = next(coming)
    for op in writes:
        while next_one is not None and next_one.start <= op.sent:
            standing.append(next_one)
            next_one = next(coming)
        standing = [each for each in standing if each.end > op.sent]
        for path in changed(op):
            for each in standing:
                if each.end < op.back or not each.covers(path):
                    continue
                if each.lock.client == op.client and each.token in op.tokens:
                    continue
                # Of shared locks any one that is the writer's own will do.
                own = [shared[token] for token in op.tokens if token in shared and shared[token].client == op.client]
                if each.lock.shared and any(Held(one, 0, 0).covers(path) for one in own):
                    continue
                yield f"written while somebody held it: {op} and {each}"


def _dead_tokens(ops: list[Op]) -> Iterator[str]:
    dead = {token: op.back for op in ops if op.kind == "UNLOCK" and op.done for token in op.tokens}
    for op in ops:
        if op.done and op.kind not in ("LOCK", "UNLOCK"):
            for token in op.tokens:
                if dead.get(token, math.inf) < op.sent:
                    yield f"a token was used that had been released: {op}"


def _broken_promises(ops: list[Op], held: list[Held]) -> Iterator[str]:
    """The holder's own requests pass, and nobody changes what he reads."""
    by_client = defaultdict(list)
    for op in sorted(ops, key=lambda op: op.sent):
        by_client[op.client].append(op)
    moments = {client: [op.sent for op in own] for client, own in by_client.items()}
    for each in held:
        client = each.lock.client
        first = bisect_left(moments[client], each.start)
        meanwhile = list(takewhile(lambda op, end=each.end: op.back <= end, by_client[client][first:]))
        for op in meanwhile:
            if op.kind in ("PUT", "REFRESH") and op.tokens == (each.token,) and not op.done and op.status != UNKNOWN:
                yield f"the holder was refused: {op} and {each}"
        if not each.lock.shared:
            yield from _changed_behind_his_back(each, meanwhile)


def _changed_behind_his_back(held: Held, meanwhile: list[Op]) -> Iterator[str]:
    known: dict[str, str | None] = {}
    for op in meanwhile:
        if op.kind in ("GET", "LIST"):
            where = f"{op.kind} {op.path}"
            if held.covers(op.path) and known.setdefault(where, op.content) != op.content:
                yield f"changed while somebody held it: {op}, which was {known[where]!r}, and {held}"
        elif op.done or op.status == UNKNOWN:
            for path in (op.path, op.target):
                known.pop(f"GET {path}", None)
                known.pop(f"LIST {parent(path)}", None)
            if op.kind == "PUT" and op.done:
                known[f"GET {op.path}"] = op.content
