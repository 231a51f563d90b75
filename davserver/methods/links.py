"""Links: what else goes when a symbolic link goes, or a folder that links are in.

A link has no locks of its own: they are kept by what it leads to, whatever name they were asked for by. RFC 4918 §7 has
a lock prevent "a modification of the mapping of the root of the write lock"; and whoever takes a link away changes what
the names mean that lead through it. So they need the tokens of all that is locked there, and it is reserved with the
link. Nobody can tell which of its names a lock was asked for by: those that nobody used are protected, too.

What a link leads to must be one's own to read: a 423 would tell of it, and if its locks did not count its holders
would lose their name for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from davserver.methods.permits import require_tree
from davserver.protocol.errors import Forbidden, NotFound, NotKnown, NotPermitted
from davserver.protocol.locks import Claim
from davserver.protocol.messages import Action, Request
from davserver.protocol.paths import DavPath
from davserver.storage.share import Shares
from davserver.storage.tree import Tree

#: Of some paths: what the links lead to that go with each.
Led = Mapping[DavPath, tuple[DavPath, ...]]
NOTHING: Led = {}
#: What one folder may lead to, one by one; beyond that all that lies between counts.
MANY = 50

_REMOVING = frozenset({"DELETE", "MOVE", "COPY"})


def led_from(request: Request, shares: Shares, paths: Iterable[DavPath]) -> Led:
    """Costs nothing where links are not followed; elsewhere a walk through each folder that is to go."""
    if request.method not in _REMOVING:
        return NOTHING
    led: dict[DavPath, tuple[DavPath, ...]] = {}
    for path in paths:
        tree = shares.of(path).tree
        if tree.follows_links:
            found = _few(path, _targets(tree, path))
            if found:
                led[path] = found
    return led


def with_led(request: Request, shares: Shares, claim: Claim, led: Led) -> Claim:
    """`claim`, with what goes along with its trees. Raises NotKnown for a link at the request's path to what may not be
    known about, as whatever else is asked of it; NotPermitted elsewhere."""
    trees = list(claim.trees)
    for tree in claim.trees:
        for path in led.get(tree, ()):
            node = shares.of(path).tree.stat(path)
            try:
                if node is not None:
                    require_tree(request, shares, path, node, Action.READ)
            except (NotKnown, NotPermitted) as refused:
                if isinstance(refused, NotKnown) and shares.locate(tree) == path and tree == request.path:
                    raise
                raise NotPermitted("A link here leads to what you may not read.", paths=[tree]) from None
            trees.append(path)
    return claim if len(trees) == len(claim.trees) else replace(claim, trees=tuple(trees))


def _targets(tree: Tree, path: DavPath) -> Iterator[DavPath]:
    """What the links at and below `path` lead to."""
    target = tree.locate(path)
    if target != path:
        yield target
        return
    node = tree.stat(path)
    todo = [path] if node is not None and node.is_collection else []
    while todo:
        folder = todo.pop()
        with suppress(NotFound, Forbidden):  # gone meanwhile, or nobody finds a link in it
            for name, node in tree.members(folder):
                member = folder.child(name)
                if node.is_link:
                    yield tree.locate(member)
                elif node.is_collection:
                    todo.append(member)


def _few(path: DavPath, targets: Iterable[DavPath]) -> tuple[DavPath, ...]:
    """The topmost of them, without what lies in `path` itself."""
    tops: list[DavPath] = []
    for target in sorted({target for target in targets if not path.contains(target)}):
        if not tops or not tops[-1].contains(target):
            tops.append(target)
    if len(tops) <= MANY:
        return tuple(tops)
    first, last = tops[0].segments, tops[-1].segments
    common = next((n for n, names in enumerate(zip(first, last, strict=False)) if names[0] != names[1]), len(first))
    return (DavPath(first[:common], True),)
