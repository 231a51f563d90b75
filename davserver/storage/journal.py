"""Journal: what was about to change files and rows together, so that a crash in between can be mended.

A rename and a database cannot commit together. So whoever is about to do both first records the intent (a row, on the
disk before the rename), then renames, then changes the rows and drops the intent in one transaction (`changes`). An
intent that is found later is one whose process died: its paths were reserved, and are not any more. Whoever comes
upon it looks at the file system, which tells by an inode number whether the rename happened, and finishes or undoes
(`recovery`). Until then nobody passes: a hold looks for intents about its paths first.

A change of files alone, or of rows alone, needs no intent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from davserver.protocol.paths import DavPath
from davserver.storage.state import State


class Kind(Enum):
    #: `path` gets something new: a file that a LOCK makes, a collection with properties. Its rows are there already.
    CREATE = "create"
    #: `path` goes away, and the rows at it and below it with it.
    DELETE = "delete"
    #: `source` becomes `path`.
    MOVE = "move"
    #: A copy becomes `path`. Its properties wait under `Intent.staged`.
    COPY = "copy"
    #: A copy of `source` becomes `path`, and then the source goes: MOVE between file systems.
    CARRY = "carry"
    #: `path` gets another time of change; until its rows are changed too the old one counts.
    TOUCH = "touch"


@dataclass(frozen=True, slots=True)
class Intent:
    kind: Kind
    path: DavPath
    source: DavPath | None = None
    #: Of what goes away (DELETE), arrives (MOVE, COPY, CARRY) or is changed (TOUCH).
    inode: int = 0
    #: Of the source (CARRY), or of what was at `path` before (MOVE).
    other: int = 0
    #: Where what is at `path` steps aside: a reference of `staging`.
    aside: str = ""
    mtime_ns: int = 0
    #: Of the lock that goes with what is made (CREATE).
    token: str = ""
    id: int = 0

    @property
    def paths(self) -> tuple[DavPath, ...]:
        return (self.path,) if self.source is None else (self.source, self.path)

    @property
    def staged(self) -> str:
        """The key under which the properties of a copy wait: no path, since it begins with no slash."""
        return f"{STAGED}{self.id}"


STAGED = "copy "
_COLUMNS = "id, kind, path, source, inode, other, aside, mtime_ns, token"


class Journal:
    """The intents of one server, whatever number of processes it has."""

    def __init__(self, state: State) -> None:
        self._state = state

    def record(self, intent: Intent, rows: Callable[[Intent], None] | None = None) -> Intent:
        """The intent with its number, on the disk together with what `rows` changes."""
        with self._state.transaction():
            ((number,),) = self._state.query(
                "INSERT INTO intents (kind, path, source, inode, other, aside, mtime_ns, token) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (
                    intent.kind.value,
                    intent.path.key,
                    None if intent.source is None else intent.source.key,
                    # SQLite's integers are signed, inode numbers are not.
                    f"{intent.inode:x}",
                    f"{intent.other:x}",
                    intent.aside,
                    intent.mtime_ns,
                    intent.token,
                ),
            )
            intent = replace(intent, id=number)
            if rows is not None:
                rows(intent)
        return intent

    def drop(self, intent: Intent) -> None:
        self._state.query("DELETE FROM intents WHERE id = ?", (intent.id,))

    def has(self, intent: Intent) -> bool:
        return bool(self._state.query("SELECT 1 FROM intents WHERE id = ?", (intent.id,)))

    def all(self) -> list[Intent]:
        """Oldest first. There are as many as changes under way, and those that crashes left."""
        rows = self._state.query(f"SELECT {_COLUMNS} FROM intents ORDER BY id")  # noqa: S608
        return [
            Intent(
                Kind(kind),
                DavPath.from_key(path),
                None if source is None else DavPath.from_key(source),
                int(inode, 16),
                int(other, 16),
                aside,
                mtime_ns,
                token,
                number,
            )
            for number, kind, path, source, inode, other, aside, mtime_ns, token in rows
        ]

    def about(self, paths: Iterable[DavPath]) -> list[Intent]:
        """Those about any of `paths`, what lies below or above it."""
        intents = self.all()
        if not intents:
            return []
        wanted = tuple(paths)
        return [
            intent
            for intent in intents
            if any(one.contains(path) or path.contains(one) for one in intent.paths for path in wanted)
        ]

    def owner(self) -> str:
        """Which state this is: no other has the same."""
        ((owner,),) = self._state.query("SELECT owner FROM identity")
        return str(owner)

    def needed(self) -> frozenset[str]:
        """What of the stages must outlive its process."""
        return frozenset(intent.aside for intent in self.all())
