"""A naive model of locks: a list, and every path spelt out. What the server must do, without any of its means."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

from davserver.protocol.locks import NOBODY, Depth, Kind, Principal, Scope

#: Every path of the model's world. Collections end in a slash.
UNIVERSE = ("/", "/d/", "/d/e/", "/f", "/d/f", "/d/g", "/d/e/f", "/d_e", "/dXe")
GRACE = 500.0


def plain(path: str) -> str:
    return path.rstrip("/") or "/"


def parent(path: str) -> str:
    return plain(path).rpartition("/")[0] + "/"


def inside(path: str, tree: str) -> bool:
    """Is `path` the tree's root, or below it?"""
    return plain(path) == plain(tree) or plain(path).startswith(plain(tree).rstrip("/") + "/")


@dataclass
class Held:
    """One lock there is or was."""

    token: str
    number: int
    root: str
    depth: Depth
    scope: Scope
    kind: Kind
    who: Principal
    granted: float | None
    expires: float | None
    refreshed: float = 0.0
    transaction: str | None = None
    #: The content of the empty file that it made, until that was seen to.
    made: int | None = None
    #: That file was removed again, and nobody has put anything there since.
    removed: bool = False
    ended: str | None = None
    ended_at: float = 0.0
    void: bool = False

    def protects(self, path: str) -> bool:
        return plain(path) == plain(self.root) or (self.depth is Depth.INFINITY and inside(path, self.root))

    def passed_by(self, who: Principal, brought: set[str]) -> bool:
        if who != self.who:
            return False
        if self.kind is Kind.WRITE:
            return self.token in brought
        return self.kind is not Kind.TRANSACTION or bool({self.token, self.transaction} & brought)


@dataclass
class Model:
    now: float
    #: Path of each file → a number for its content.
    files: dict[str, int] = field(default_factory=lambda: {"/f": 1, "/d/f": 2, "/d/e/f": 3})
    folders: set[str] = field(default_factory=lambda: {"/", "/d/", "/d/e/"})
    locks: list[Held] = field(default_factory=list)
    contents: int = 3
    #: Those that are nothing: files that a LOCK made.
    empty: set[int] = field(default_factory=set)

    def advance(self, now: float) -> None:
        if now < self.now - 1:
            self.set_back(now)
        self.now = max(self.now, now)
        for held in self.active():
            if held.expires is not None and self.now >= held.expires:
                held.ended, held.ended_at = "expired", held.expires

    def set_back(self, now: float) -> None:
        """What has ended has; the others last no longer than they were granted."""
        self.now = now
        for held in self.locks:
            held.ended_at = min(held.ended_at, now)
            if held.ended is None and held.expires is not None and held.refreshed > now:
                held.refreshed, held.expires = now, now + (held.granted or 0.0)

    def renewed(self, held: Held, granted: float | None = None) -> None:
        held.refreshed, held.granted = self.now, granted or held.granted
        held.expires = None if held.granted is None else self.now + held.granted

    def active(self) -> list[Held]:
        return [held for held in self.locks if held.ended is None]

    def new_content(self, *, empty: bool = False) -> int:
        self.contents += 1
        if empty:
            self.empty.add(self.contents)
        return self.contents

    def exists(self, path: str) -> bool:
        return path in self.files or path in self.folders

    # --- what stands in the way

    def stopping(self, who: Principal, brought: set[str], changed: set[str]) -> list[Held]:
        """Locks that keep `who` from changing these paths: of shared ones on a path one that is passed is enough."""
        found = []
        for path in changed:
            here = [held for held in self.active() if held.protects(path)]
            shared = [held for held in here if held.scope is Scope.SHARED]
            if any(held.passed_by(who, brought) for held in shared):
                shared = []
            found += [held for held in here if held.scope is Scope.EXCLUSIVE and not held.passed_by(who, brought)]
            found += shared
        return found

    def in_the_way(self, root: str, depth: Depth, scope: Scope, kind: Kind, who: Principal) -> list[Held]:
        """Locks beside which the wanted one cannot stand."""
        wanted = Held("", 0, root, depth, scope, kind, who, None, None)
        joined = {(Kind.WRITE, Kind.CHECKOUT), (Kind.WRITE, Kind.MAINTENANCE)}
        roots = {root, *(held.root for held in self.active())} | set(UNIVERSE)
        return [
            held
            for held in self.active()
            if any(held.protects(path) and wanted.protects(path) for path in roots)
            and not (held.scope is scope is Scope.SHARED)
            and not (held.who == who and {(kind, held.kind), (held.kind, kind)} & joined)
        ]

    def forgiven(self, path: str, who: Principal, brought: set[str]) -> Held | None:
        """The ended lock whose token counts once more."""
        for held in self.locks:
            if (
                held.ended in ("expired", "broken")
                and not held.void
                and held.kind is Kind.WRITE
                and held.root == path
                and held.who == who
                and held.token in brought
                and self.now < held.ended_at + GRACE
                and (path in self.files or held.removed)
                and not self.in_the_way(path, held.depth, held.scope, held.kind, who)
            ):
                return held
        return None

    # --- what happens

    def changed(self, changed: set[str], forgiven: Held | None = None) -> None:
        """Somebody writes to these paths."""
        for held in self.locks:
            if held.ended and held.root in changed and held is not forgiven:
                held.void = True
        if forgiven is not None and forgiven.ended == "expired":
            forgiven.ended, forgiven.removed = None, False
            self.renewed(forgiven)
        elif forgiven is not None:
            forgiven.void = True

    def granted(self, new: Held) -> None:
        if new.kind is not Kind.MAINTENANCE:
            for held in self.locks:
                if held.ended and inside(held.root, new.root) and new.protects(held.root):
                    held.void = True
        new.refreshed = self.now
        self.locks.append(new)

    def end(self, held: Held, how: str) -> None:
        held.ended, held.ended_at = how, self.now
        self.tidy(held)

    def done_with(self, held: Held) -> None:
        """Its holder releases it when it has ended already: no save brings it back."""
        held.void = True
        self.tidy(held)

    def tidy(self, held: Held) -> None:
        """An empty file that nobody wrote goes with the lock that made it, unless another one stands in the way."""
        if held.made is None:
            return
        if self.files.get(held.root) == held.made:
            if self.stopping(NOBODY, set(), {held.root, parent(held.root)}):
                return
            del self.files[held.root]
            held.removed = True
        held.made = None

    def sweep(self) -> None:
        for held in self.locks:
            if held.ended:
                self.tidy(held)

    def drop(self, tree: str) -> None:
        """A resource goes, with all below it and the locks of those who write it; the others are about the name."""
        self.files = {path: content for path, content in self.files.items() if not inside(path, tree)}
        self.folders = {path for path in self.folders if not inside(path, tree)}
        named = [held for held in self.active() if held.kind is not Kind.WRITE]
        self.locks = [held for held in self.locks if held in named or not inside(held.root, tree)]

    def tree(self, root: str) -> set[str]:
        """All there is, and all that is locked, at `root` and below."""
        names = {*self.files, *self.folders, *UNIVERSE, *(held.root for held in self.locks)}
        return {path for path in names if inside(path, root)} | {root}

    # --- what must always be true

    def check(self) -> None:
        for one, two in product(self.active(), repeat=2):
            overlapping = any(one.protects(path) and two.protects(path) for path in (*UNIVERSE, one.root, two.root))
            if one is not two and overlapping:
                assert one.who == two.who or one.scope is two.scope is Scope.SHARED
