"""From settings to the application: state, locks, shares and accounts, each opened once and closed together."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack

from davserver.access.access import Access, Anonymous
from davserver.access.accounts import Account, Accounts
from davserver.protocol.locks import LockPolicy
from davserver.protocol.paths import ROOT, DavPath
from davserver.server.app import DavApp
from davserver.settings import Settings
from davserver.storage.gate import Gate
from davserver.storage.lock_manager import LockManager
from davserver.storage.property_store import PropertyStore
from davserver.storage.share import Share
from davserver.storage.sqlite import SqliteState
from davserver.storage.tree import Tree

_log = logging.getLogger("davserver")


def open_app(settings: Settings, folder: str, stack: ExitStack) -> DavApp:
    """The application on the state in `folder`. What it opens is closed with `stack`.

    Raises OSError where a folder cannot be used, StateError where the state cannot.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    durable = settings.durability == "full"
    state = SqliteState(folder, durable=durable)
    stack.callback(state.close)
    policy = LockPolicy(settings.locks.default_timeout, settings.locks.min_timeout, settings.locks.max_timeout)
    locks = LockManager(state, Gate(folder), policy)
    properties = PropertyStore(state)

    def share(path: str, directory: str, read_only: bool) -> Share:
        at = DavPath.from_key(path)
        tree = Tree(directory, at, durable=durable)
        stack.callback(tree.close)
        if not read_only:
            try:
                tree.open_stage()
            except OSError as error:
                _log.warning("share %s: %s cannot be written: %s", path, directory, error.strerror)
        return Share(
            at=at,
            tree=tree,
            locks=locks,
            properties=properties,
            state=state,
            read_only=read_only,
            propfind_infinity=settings.limits.propfind_infinity,
            xml_limit=settings.limits.xml_body,
        )

    shares = [share(path, found.directory, found.read_only) for path, found in settings.shares.items()]
    if not any(found.at == ROOT for found in shares):
        # Explorer and gvfs look at the root, wherever the share is: there they find the shares as folders.
        shares.append(share("/", _skeleton(folder, shares), True))
    return DavApp(shares, access_of(settings), prefix=settings.prefix)


def _skeleton(folder: str, shares: list[Share]) -> str:
    """A folder in the state that holds nothing but the way to each share."""
    root = os.path.join(folder, "root")
    for share in shares:
        os.makedirs(os.path.join(root, *share.at.segments), exist_ok=True)
    return root


def access_of(settings: Settings) -> Access:
    """Who may do what."""
    accounts = {name: Account(name, user.password, user.display_name or name) for name, user in settings.users.items()}
    return Access(Accounts(accounts), Anonymous(settings.allows_anonymous), settings.auth.realm)
