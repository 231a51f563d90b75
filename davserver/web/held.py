"""What people and programs hold beside WebDAV: check-outs, transactions, maintenance."""

from __future__ import annotations

from davserver.methods.guard import require_writable
from davserver.methods.permits import require_change, require_permission, require_tree
from davserver.protocol.errors import Forbidden, NotFound, NotPermitted
from davserver.protocol.locks import Kind, Lock
from davserver.protocol.messages import Action
from davserver.protocol.moments import iso
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage.lock_service import Transaction
from davserver.web.caller import Caller
from davserver.web.contract import Answer
from davserver.web.locks import Locks
from davserver.web.models import CheckoutBody, ExtendBody, MaintenanceBody, TransactionBody, TransactionModel


class Held:
    def __init__(self, locks: Locks, base: str) -> None:
        self._locks = locks
        self._service, self._places = locks.service, locks.places
        self._base = base

    # --- check-outs

    def check_out(self, caller: Caller, body: CheckoutBody) -> Answer:
        path = self._lockable(caller, body.path)
        if caller.principal.is_anonymous:
            raise NotPermitted("A check-out stops everybody but the one who made it, so it needs a login.")
        lock = self._service.check_out(path, caller.principal, body.seconds, body.reason, caller.client)
        return self._made(caller, lock, "checkouts")

    def checkout(self, caller: Caller, number: int) -> Answer:
        return self._shown(caller, number, Kind.CHECKOUT)

    def extend_checkout(self, caller: Caller, number: int, body: ExtendBody) -> Answer:
        lock = self._of(caller, number, Kind.CHECKOUT)
        self._require_still(caller, lock)
        return self._extended(caller, lock, body)

    def end_checkout(self, caller: Caller, number: int) -> Answer:
        self._of(caller, number, Kind.CHECKOUT)
        self._service.end(number, caller.principal)
        return Answer(204)

    # --- transactions

    def begin(self, caller: Caller, body: TransactionBody) -> Answer:
        paths = [self._lockable(caller, text) for text in body.paths]
        begun = self._service.begin(paths, caller.principal, body.seconds, body.reason, caller.client)
        location = f"{self._base}/transactions/{begun.id}"
        return Answer(201, self._transaction(caller, begun), (("Location", location),))

    def transaction(self, caller: Caller, transaction_id: str) -> Answer:
        return Answer(200, self._transaction(caller, self._seen(caller, transaction_id)))

    def renew(self, caller: Caller, transaction_id: str, body: ExtendBody) -> Answer:
        self._require_still(caller, *self._seen(caller, transaction_id).locks)
        renewed = self._service.renew(transaction_id, caller.principal, body.seconds)
        return Answer(200, self._transaction(caller, renewed))

    def finish(self, caller: Caller, transaction_id: str) -> Answer:
        self._seen(caller, transaction_id)
        self._service.finish(transaction_id, caller.principal)
        return Answer(204)

    # --- maintenance

    def maintain(self, caller: Caller, body: MaintenanceBody) -> Answer:
        path = ROOT if body.path is None else self._places.find(body.path)
        caller.require_administrator("Maintenance")
        lock = self._service.maintain(
            path,
            caller.principal,
            body.seconds,
            body.reason,
            blocks_reads=body.blocks_reads,
            breaking=body.break_locks,
            client=caller.client,
        )
        return self._made(caller, lock, "maintenance")

    def maintenance(self, caller: Caller, number: int) -> Answer:
        return self._shown(caller, number, Kind.MAINTENANCE)

    def extend_maintenance(self, caller: Caller, number: int, body: ExtendBody) -> Answer:
        caller.require_administrator("Maintenance")
        lock = self._of(caller, number, Kind.MAINTENANCE)
        return self._extended(caller, lock, body)

    def end_maintenance(self, caller: Caller, number: int) -> Answer:
        caller.require_powers("Maintenance")
        lock = self._of(caller, number, Kind.MAINTENANCE)
        if lock.principal != caller.principal:
            raise Forbidden(
                f"Somebody else has set this maintenance; DELETE {self._base}/locks/{number} breaks it, with a reason."
            )
        self._service.end_maintenance(lock.root, caller.principal)
        return Answer(204)

    # --- inside

    def _lockable(self, caller: Caller, text: str) -> DavPath:
        path = self._places.find(text)
        self._require_lockable(caller, path)
        return path

    def _require_lockable(self, caller: Caller, path: DavPath) -> None:
        """A lock keeps others from changing it: that is for those who may change it themselves, all of it."""
        share = self._places.shares.of(path)
        node = share.tree.stat(path)
        if node is not None and node.is_collection:
            require_tree(caller, self._places.shares, path, node, Action.LOCK, Action.WRITE)
        else:
            require_permission(caller, path, Action.LOCK)
            require_change(caller, path, node)
        require_writable(share, path)

    def _require_still(self, caller: Caller, *locks: Lock) -> None:
        """To hold them for longer takes the rights that making them took; to end them takes none."""
        for lock in locks:
            if lock.principal == caller.principal:  # that somebody else's are not extended is for the service to say
                self._require_lockable(caller, lock.root)

    def _of(self, caller: Caller, number: int, kind: Kind) -> Lock:
        lock = caller.require_sees(self._service.get(number))
        if lock.kind is not kind:
            raise NotFound(f"Lock {number} is no {kind.value}.")
        return lock

    def _shown(self, caller: Caller, number: int, kind: Kind) -> Answer:
        return Answer(200, self._locks.model(caller, self._of(caller, number, kind)))

    def _extended(self, caller: Caller, lock: Lock, body: ExtendBody) -> Answer:
        extended = self._service.extend(lock.id, caller.principal, body.seconds)
        return Answer(200, self._locks.model(caller, extended))

    def _made(self, caller: Caller, lock: Lock, kind: str) -> Answer:
        location = f"{self._base}/{kind}/{lock.id}"
        return Answer(201, self._locks.model(caller, lock), (("Location", location),))

    def _seen(self, caller: Caller, transaction_id: str) -> Transaction:
        """Raises NotFound where it is none, or none of the caller's business."""
        found = self._service.transaction(transaction_id)
        if not all(caller.sees(lock) for lock in found.locks):
            raise NotFound("There is no such transaction, or it has ended.")
        return found

    def _transaction(self, caller: Caller, found: Transaction) -> TransactionModel:
        models = [self._locks.model(caller, lock) for lock in found.locks]
        first = found.locks[0]
        return TransactionModel(
            transaction_id=found.id,
            fencing_number=found.fence,
            locked_until=iso(first.expires or 0.0),
            lock_reason=first.reason,
            locked_by=models[0].locked_by,
            paths=[model.path for model in models],
            locks=models,
        )
