"""From one share to another that hides other names (see `served`).

Nothing can be made under a name that is hidden. So what is seen may not be hidden by a MOVE: it is refused as a whole,
as it is one step. What is hidden already is taken along, or it would be lost.
"""

from __future__ import annotations

import os

from davserver.protocol.errors import Forbidden
from davserver.protocol.paths import DavPath, quote_name
from davserver.storage.oserrors import refusing
from davserver.storage.resolve import Resolver
from davserver.storage.tree import Tree

#: The names of some folder below the top of its share.
BELOW = ("",)


def require_crossing(tree: Tree, source: DavPath, target: Tree) -> None:
    """May the collection `source` be moved to the other tree? Costs a look through all of it where that hides other
    names. Raises Forbidden."""
    if not target.served.hides or tree.served.hides_as(target.served):
        return
    with tree.source(source) as fd, refusing():
        resolver = Resolver(fd)
        todo: list[tuple[str, ...]] = [()]
        while todo:
            names = todo.pop()
            folder = resolver.open(names, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        _require_seen(tree, target, entry)
                        if entry.is_dir(follow_symlinks=False):
                            todo.append((*names, entry.name))
            finally:
                os.close(folder)


def _require_seen(tree: Tree, target: Tree, entry: os.DirEntry[str]) -> None:
    if entry.is_symlink() and not tree.follows_links:
        return  # not there for anybody, whatever its name
    if tree.served.member(BELOW, entry.name) and not target.served.member(BELOW, entry.name):
        raise hidden_there(entry.name)


def hidden_there(name: str) -> Forbidden:
    """`name`: of something that would be made where it is hidden."""
    return Forbidden(f"The destination takes nothing that is called {quote_name(name)}.")
