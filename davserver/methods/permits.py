"""Permits: what the principal of a request may do with a resource, and what they are told when they may not.

What may not be done is 403; what they may not even know about is 404, whether it is there or not. Both are decided by
the path alone, so that an answer tells nothing about what is there.

About a tree (COPY, MOVE, DELETE, LOCK with Depth: infinity) the rules are asked once where they are the same in all of
it; only where they may differ is it gone through. What is mounted in it is a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from davserver.protocol.errors import Forbidden, NotFound, NotKnown, NotPermitted, Refused
from davserver.protocol.messages import Action, Permissions
from davserver.protocol.paths import DavPath
from davserver.storage.node import Node
from davserver.storage.share import Share, Shares


class Permitted(Protocol):
    """A request, or whoever else asks with permissions of his own."""

    @property
    def permissions(self) -> Permissions: ...


_ABSENT = "There is nothing at this path."


def require_permission(request: Permitted, path: DavPath, *actions: Action) -> None:
    """Raises NotPermitted, or NotKnown, unless the principal may do one of these at `path`."""
    allows = request.permissions.allows
    for action in actions:
        if allows(action, path):
            return
    raise _refused(request, actions[0], path)


def require_target(request: Permitted, path: DavPath) -> None:
    """Something is to be made, or changed, at the Destination. Never 404, which would mean the source."""
    if not any(request.permissions.allows(action, path) for action in (Action.CREATE, Action.WRITE)):
        raise NotPermitted("You may not write at the destination.", paths=[path])


def is_visible(request: Permitted, path: DavPath) -> bool:
    """May it be looked at: to be read, or as a part of the way to something else?"""
    return request.permissions.allows(Action.READ, path) or _leads(request, path)


def require_visible(request: Permitted, path: DavPath) -> None:
    if not is_visible(request, path):
        raise _refused(request, Action.READ, path)


def require_content(request: Permitted, path: DavPath, node: Node) -> None:
    """Of what may be seen a file must be readable: a way leads through collections only."""
    if not node.is_collection and not request.permissions.allows(Action.READ, path):
        raise NotKnown(_ABSENT)


def require_change(request: Permitted, path: DavPath, node: Node | None) -> None:
    """To give `path`, where `node` is, new content. An empty file counts as not made yet: LOCK on a new name makes one
    (davfs2, LibreOffice), and Explorer and Finder do before they send what is in it."""
    if node is None:
        require_permission(request, path, Action.CREATE)
    elif not node.is_collection and node.size == 0:
        require_permission(request, path, Action.WRITE, Action.CREATE)
    else:
        require_permission(request, path, Action.WRITE)


def require_tree(request: Permitted, shares: Shares, path: DavPath, node: Node, *actions: Action) -> None:
    """All of `actions`, for the resource and everything below it. Nobody does more than read in a read-only share."""
    for action in actions:
        require_permission(request, path, action)
    if not node.is_collection:
        return
    mounted = shares.mounted_inside(path)
    covered = {mount.at for mount in mounted}
    _require_below(request, shares.of(path), path, path, actions, covered)
    for mount in mounted:
        _require_inside(request, mount.at, actions, path)
        _require_below(request, mount, mount.at, mount.at, actions, covered, path)
    if actions != (Action.READ,) and any(mount.read_only for mount in mounted):
        raise Forbidden("There is a read-only share in this folder.", paths=[path])


def require_new_tree(request: Permitted, share: Share, source: DavPath, node: Node, target: DavPath) -> None:
    """To make at `target` what is at `source`."""
    require_permission(request, target, Action.CREATE)
    if node.is_collection:
        _require_below(request, share, source, target, (Action.CREATE,))


def permit_copy(request: Permitted, source: DavPath, target: DavPath) -> Callable[[tuple[str, ...]], None]:
    """Asked about each member of a tree, by its names below the top, as it is copied. Raises NotPermitted."""
    permissions = request.permissions
    readable, creatable = permissions.whole(source), permissions.whole(target)
    if readable is not None and creatable is not None and Action.READ in readable and Action.CREATE in creatable:
        return lambda _: None

    def permit(names: tuple[str, ...]) -> None:
        if not permissions.allows(Action.READ, DavPath((*source.segments, *names))):
            raise _inside(Action.READ, source)
        if not permissions.allows(Action.CREATE, DavPath((*target.segments, *names))):
            raise _inside(Action.CREATE, target)

    return permit


class Seen:
    """Which members of a collection are listed: those that may be read, and the ways to such."""

    def __init__(self, request: Permitted, collection: DavPath) -> None:
        self._request, self._collection = request, collection
        whole = request.permissions.whole(collection)
        #: All of them: nothing needs to be asked.
        self.all = whole is not None and Action.READ in whole

    def shows(self, name: str, node: Node, true: DavPath | None = None) -> bool:
        """`true`: where a link of that name leads."""
        if self.all and true is None:
            return True
        path = self._collection.child(name) if true is None else true
        return self._request.permissions.allows(Action.READ, path) or (
            node.is_collection and _leads(self._request, path)
        )


def _leads(request: Permitted, path: DavPath) -> bool:
    permissions = request.permissions
    return permissions.leads(path) and not permissions.rights(path)


def _require_below(
    request: Permitted,
    share: Share,
    tree: DavPath,
    seen_as: DavPath,
    actions: tuple[Action, ...],
    covered: Collection[DavPath] = (),
    told: DavPath | None = None,
) -> None:
    """The members of `tree`, under the names that they have below `seen_as`, without what other shares cover. What is
    refused is `told`, or `seen_as`."""
    permissions, told = request.permissions, told or seen_as
    todo = [(tree, seen_as)]
    while todo:
        here, there = todo.pop()
        whole = permissions.whole(there)
        if whole is not None:
            if not all(action in whole for action in actions):
                raise _inside(next(action for action in actions if action not in whole), told)
            continue
        for name, node in _members(share, here):
            path = there.child(name)
            if path in covered:
                continue
            _require_inside(request, path, actions, told)
            if node.is_collection and not node.is_link:
                todo.append((here.child(name), path))


def _require_inside(request: Permitted, path: DavPath, actions: tuple[Action, ...], tree: DavPath) -> None:
    """Of one member of a tree."""
    for action in actions:
        if not request.permissions.allows(action, path):
            raise _inside(action, tree)


def _members(share: Share, path: DavPath) -> Iterator[tuple[str, Node]]:
    try:
        yield from share.tree.members(path)
    except NotFound:
        return  # gone meanwhile


def _refused(request: Permitted, action: Action, path: DavPath) -> Refused:
    if request.permissions.leads(path):
        return NotPermitted(f"You may not {action.value} here.", paths=[path])
    return NotKnown(_ABSENT)


def _inside(action: Action, tree: DavPath) -> NotPermitted:
    """It does not say what it is."""
    return NotPermitted(f"There is something in this folder that you may not {action.value}.", paths=[tree])
