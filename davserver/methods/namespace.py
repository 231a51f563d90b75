"""COPY and MOVE: a resource, or a tree of them, under another name.

Both are all or nothing. COPY builds the copy aside first and shows it in one step; MOVE is one rename, or,
between file systems, a copy that becomes visible before the source goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from davserver.methods.guard import (
    Guard,
    require_parent,
    require_permission,
    require_removable,
    require_writable,
)
from davserver.protocol.errors import BadRequest, Forbidden, PreconditionFailed
from davserver.protocol.headers import parse_depth, parse_destination, parse_overwrite
from davserver.protocol.locks import Claim, Depth
from davserver.protocol.messages import Action, Request, Response
from davserver.protocol.paths import DavPath
from davserver.storage.copying import stage_copy
from davserver.storage.node import Node, OtherDevice
from davserver.storage.share import Share, Shares


@dataclass(frozen=True, slots=True)
class _Target:
    """Where it goes."""

    path: DavPath
    share: Share
    overwrite: bool

    def look(self) -> Node | None:
        """What is there now. Raises PreconditionFailed (Overwrite: F), Conflict (no parent)."""
        node = self.share.tree.stat(self.path)
        if node is None:
            require_parent(self.share, self.path)
        elif not self.overwrite:
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
    guard.existing()
    target = _target(guard)
    source, recursive = request.path, depth is Depth.INFINITY
    guard.look(_copy_claim(target, target.look()))
    with stage_copy(guard.share.tree, source, target.share.tree, target.path, recursive=recursive) as staged:
        with guard.enter(target.path) as passage:
            node = target.look()
            passage.check(_copy_claim(target, node))
            with target.share.state.transaction():
                target.share.properties.copy(passage.hold, source, target.path, recursive=recursive)
                # RFC 4918 §7.6: locks do not travel. What was below a replaced collection is gone.
                target.share.locks.forget(passage.hold, target.path, below_only=True)
                removed = staged.commit(passage.hold, target.path, replace=node is not None)
        removed.empty()
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
    if source.contains(target.path):
        raise Forbidden("A collection cannot be moved into itself.", paths=[source])
    guard.look(_move_claim(source, target, target.look()))
    with guard.enter(source, target.path) as passage:
        guard.existing()
        node_there = target.look()
        passage.check(_move_claim(source, target, node_there))
        with share.state.transaction():
            share.properties.move(passage.hold, source, target.path)
            share.locks.forget(passage.hold, source)
            share.locks.forget(passage.hold, target.path)
            try:
                if share is not target.share:
                    raise OtherDevice
                removed = share.tree.move(passage.hold, source, target.path, replace=node_there is not None)
            except OtherDevice:
                with stage_copy(share.tree, source, target.share.tree, target.path, recursive=True) as staged:
                    removed = staged.commit(passage.hold, target.path, replace=node_there is not None)
                removed += share.tree.remove(passage.hold, source)
    removed.empty()
    return Response(201 if node_there is None else 204)


def _target(guard: Guard) -> _Target:
    request = guard.request
    path = parse_destination(request.headers.get("Destination"), request.prefix, request.hosts)
    share = guard.shares.of(path)
    target = _Target(path, share, parse_overwrite(request.headers.get("Overwrite")))
    require_permission(request, Action.WRITE, path)
    require_writable(share, path)
    if path == request.path:
        # RFC 4918 §9.8.5, §9.9.4.
        raise Forbidden("Source and destination are the same.", paths=[path])
    if path.contains(request.path):
        raise Forbidden("The destination holds the source; it cannot be replaced by it.", paths=[path])
    require_removable(guard.shares, path)
    return target


def _copy_claim(target: _Target, node: Node | None) -> Claim:
    return Claim(trees=(target.path,), members_of=target.new_member_of(node))


def _move_claim(source: DavPath, target: _Target, node: Node | None) -> Claim:
    return Claim(trees=(source, target.path), members_of=(source.parent, *target.new_member_of(node)))
