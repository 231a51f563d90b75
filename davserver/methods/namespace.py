"""COPY and MOVE: a resource, or a tree of them, under another name.

Both are all or nothing. COPY builds the copy aside first and shows it in one step; MOVE is one rename, or,
between file systems, a copy that becomes visible before the source goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from unicodedata import normalize

from davserver.methods.guard import Guard, Passage, require_removable, require_writable
from davserver.methods.permits import permit_copy, require_new_tree, require_permission, require_target, require_tree
from davserver.protocol.errors import BadRequest, Forbidden, InsufficientStorage, PreconditionFailed
from davserver.protocol.headers import parse_depth, parse_destination, parse_overwrite
from davserver.protocol.locks import Claim, Depth
from davserver.protocol.messages import Action, Request, Response
from davserver.protocol.paths import DavPath
from davserver.storage import changes
from davserver.storage.copying import stage_copy
from davserver.storage.crossing import require_crossing
from davserver.storage.node import AlreadyThere, Node, OtherDevice
from davserver.storage.quota import folder_size
from davserver.storage.share import Share, Shares
from davserver.storage.staged import StagedCopy
from davserver.storage.staging import Discarded
from davserver.storage.tree import Tree


@dataclass(frozen=True, slots=True)
class _Target:
    """Where it goes."""

    path: DavPath
    share: Share
    overwrite: bool
    #: It is another spelling of the source: the same resource, which is to get this name.
    respelt: bool

    def look(self) -> Node | None:
        """What is there now, and would be replaced. Raises PreconditionFailed (Overwrite: F), Conflict (no parent)."""
        node = None if self.respelt else self.share.tree.look(self.path).node
        if node is not None and not self.overwrite:
            # RFC 4918 §10.6.
            raise PreconditionFailed("The destination exists and Overwrite is F.", paths=[self.path])
        return node

    def new_member_of(self, node: Node | None) -> tuple[DavPath, ...]:
        return (self.path.parent,) if node is None else ()


def copy(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.8."""
    depth = parse_depth(request.headers.get("Depth"), Depth.INFINITY)
    if depth is Depth.ONE:
        raise BadRequest("COPY takes Depth: 0 or infinity.")  # RFC 4918 §9.8.3
    guard = Guard(request, shares)
    source_node = guard.existing()
    target = _target(guard)
    if target.path == request.path or target.respelt:
        # RFC 4918 §9.8.5.
        raise Forbidden("Source and destination are the same.", paths=[target.path])
    source, recursive = request.path, depth is Depth.INFINITY
    guard.require_readable(source, below=recursive)
    node = target.look()
    _require_place(guard, target, source_node, node)
    guard.look(_copy_claim(target, node))
    permit = permit_copy(request, source, target.path)
    mounted = {mount.at: mount.tree for mount in shares.mounted_inside(source)}
    staged = _stage_copy(
        guard.share, source, target, recursive=recursive, replaced=_size(node), mounted=mounted, permit=permit
    )
    with staged, guard.enter(target.path) as passage:
        while True:
            node = target.look()
            _require_place(guard, target, source_node, node)
            passage.check(_copy_claim(target, node))
            replaced = _size(node)
            try:
                with target.share.charged(staged.size - replaced):
                    removed = changes.install(
                        shares, passage.hold, staged, source, target.path,
                        replacing=node is not None, recursive=recursive,
                    )  # fmt: skip
            except AlreadyThere:
                continue  # somebody who does not pass the guard has just made something there
            break
    target.share.give_back(removed.empty() - replaced)
    return Response(201 if node is None else 204)


def move(request: Request, shares: Shares) -> Response:
    """RFC 4918 §9.9. Locks at the source end; so do those at a destination that is replaced (§9.9.3)."""
    guard = Guard(request, shares)
    node = guard.existing()
    if node.is_collection and parse_depth(request.headers.get("Depth"), Depth.INFINITY) is not Depth.INFINITY:
        raise BadRequest("A collection can be moved with Depth: infinity only.")  # RFC 4918 §9.9.2
    source, share = request.path, guard.share
    require_removable(shares, source)
    target = _target(guard)
    if target.path == source:
        # RFC 4918 §9.9.4.
        raise Forbidden("Source and destination are the same.", paths=[source])
    if source.contains(target.path):
        raise Forbidden("A collection cannot be moved into itself.", paths=[source])
    if node.is_link and source.parent != target.path.parent:
        raise Forbidden(
            "A symbolic link leads elsewhere from another folder; it cannot be moved there.", paths=[source]
        )
    with guard.enter(source, target.path, respelt=target.respelt) as passage:
        while True:
            node, there = guard.existing(), target.look()
            _require_move(guard, target, node, there)
            passage.check(_move_claim(source, target, there))
            try:
                moved = _move(guard, passage, target, node, there)
            except AlreadyThere:
                continue  # somebody who does not pass the guard has just made something there
            break
    freed = moved.removed.empty()
    share.give_back(moved.size)
    target.share.give_back(freed - moved.copied - _size(there))
    return Response(201 if there is None else 204)


class _Moved(NamedTuple):
    removed: Discarded
    #: Bytes that went from one share to another.
    size: int
    #: Bytes of the source that are still to be removed, since it was copied.
    copied: int


def _move(guard: Guard, passage: Passage, target: _Target, node: Node, there: Node | None) -> _Moved:
    share, shares, source, hold = guard.share, guard.shares, guard.request.path, passage.hold
    replacing, replaced = there is not None, _size(there)
    size = _moved_size(share, target, source, node)
    try:
        with target.share.charged(size - replaced):
            removed = changes.move(shares, hold, source, target.path, replacing=replacing, respelt=target.respelt)
        return _Moved(removed, size, 0)
    except OtherDevice:
        # Copied while both are reserved: nothing that is written to the source meanwhile may be lost.
        with _stage_copy(share, source, target, recursive=True, everything=True, replaced=replaced) as staged:
            with target.share.charged(staged.size - replaced):
                removed = changes.carry(shares, hold, staged, source, target.path, replacing=replacing)
            return _Moved(removed, staged.size, staged.size)


def _moved_size(share: Share, target: _Target, source: DavPath, node: Node) -> int:
    """Bytes that one share gives and another takes; 0 where none of them counts, or both are the same."""
    if share is not target.share and not node.is_collection:
        target.share.require_size(node.size)
    if share is target.share or (share.quota is None and target.share.quota is None):
        return 0
    if not node.is_collection:
        return node.size
    with share.tree.source(source) as fd:
        return folder_size(f"/proc/self/fd/{fd}")


def _size(replaced: Node | None) -> int:
    """Of a file that goes in the same moment; what a collection holds is known when it has been removed."""
    return 0 if replaced is None else replaced.size


def _target(guard: Guard) -> _Target:
    request = guard.request
    asked = parse_destination(request.headers.get("Destination"), request.prefix, request.hosts)
    # A link of that name is what is replaced, not what it leads to.
    path = guard.shares.locate(asked, link=True)
    share = guard.shares.of(path)
    respelt = path == request.path and asked.name != path.name
    if respelt:
        path = path.parent.child(normalize("NFC", asked.name))
    target = _Target(path, share, parse_overwrite(request.headers.get("Overwrite")), respelt and path != request.path)
    require_target(request, path)
    require_writable(share, path)
    if path != request.path and path.contains(request.path):
        raise Forbidden("The destination holds the source; it cannot be replaced by it.", paths=[path])
    require_removable(guard.shares, path)
    return target


def _require_place(guard: Guard, target: _Target, node: Node, there: Node | None) -> None:
    """May what `node` is stand where `there` is? A file in the place of a file changes it; anything else takes away
    what is there, and makes something new."""
    request = guard.request
    if there is None:
        require_permission(request, target.path, Action.CREATE)
    elif node.is_collection or there.is_collection:
        require_tree(request, guard.shares, target.path, there, Action.DELETE, Action.CREATE)
    else:
        require_permission(request, target.path, Action.WRITE)


def _require_move(guard: Guard, target: _Target, node: Node, there: Node | None) -> None:
    """Who moves something could read it where it goes, so they must be allowed to read it where it is."""
    request, share = guard.request, guard.share
    require_tree(request, guard.shares, request.path, node, Action.DELETE, Action.READ)
    _require_place(guard, target, node, there)
    if there is None or node.is_collection:
        require_new_tree(request, share, request.path, node, target.path)
    if node.is_collection and not node.is_link:
        require_crossing(share.tree, request.path, target.share.tree)


def _stage_copy(
    share: Share,
    source: DavPath,
    target: _Target,
    *,
    recursive: bool,
    replaced: int,
    everything: bool = False,
    mounted: Mapping[DavPath, Tree] | None = None,
    permit: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> StagedCopy:
    """A copy of the source beside the destination, where a file of `replaced` bytes makes room. Raises
    InsufficientStorage as soon as it is too large."""
    tree, size = target.share.tree, 0

    def spend(more: int) -> None:
        nonlocal size
        target.share.require_size(more)
        size += more
        if target.share.quota is not None and size > left:
            raise InsufficientStorage("The quota of this share does not leave room for the copy.")

    left = replaced + (target.share.quota.left if target.share.quota is not None else 0)
    slot = tree.stage(target.path, tree.look(target.path).device).new_slot()
    return stage_copy(
        share.tree, source, tree, slot,
        recursive=recursive, everything=everything, mounted=mounted, spend=spend, permit=permit,
    )  # fmt: skip


def _copy_claim(target: _Target, node: Node | None) -> Claim:
    return Claim(trees=(target.path,), members_of=target.new_member_of(node))


def _move_claim(source: DavPath, target: _Target, node: Node | None) -> Claim:
    return Claim(trees=(source, target.path), members_of=(source.parent, *target.new_member_of(node)))
