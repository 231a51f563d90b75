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
from davserver.settings import Settings, ShareSettings
from davserver.storage.gate import Gate
from davserver.storage.journal import Journal
from davserver.storage.lock_manager import LockManager
from davserver.storage.property_store import PropertyStore
from davserver.storage.quota import Quota
from davserver.storage.recovery import recover_all
from davserver.storage.share import Limits, Share, Shares
from davserver.storage.sqlite import SqliteState
from davserver.storage.tree import Tree

_log = logging.getLogger("davserver")


def open_app(settings: Settings, folder: str, stack: ExitStack) -> DavApp:
    """The application on the state in `folder`. What it opens is closed with `stack`.

    Raises OSError where a folder cannot be used, StateError where the state cannot.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    shares = open_shares(settings, folder, stack)
    recover_all(shares)
    for share in shares:
        if not share.read_only:
            try:
                share.tree.open_stage()
            except OSError as error:
                directory = settings.shares[share.at.key].directory
                _log.warning("share %s: %s cannot be written: %s", share.at, directory, error.strerror)
        if share.quota is not None:
            share.quota.start_counting(os.path.join(folder, "counting"))
    return DavApp(shares, access_of(settings), prefix=settings.prefix)


def open_shares(settings: Settings, folder: str, stack: ExitStack) -> Shares:
    """The shares on the state in `folder`: nothing is written yet. What is opened is closed with `stack`.

    Raises OSError where a folder cannot be used, StateError where the state cannot.
    """
    durable = settings.durability == "full"
    state = SqliteState(folder, durable=durable)
    stack.callback(state.close)
    policy = LockPolicy(settings.locks.default_timeout, settings.locks.min_timeout, settings.locks.max_timeout)
    locks = LockManager(state, Gate(folder), policy)
    properties = PropertyStore(state, limit=settings.limits.properties)
    journal = Journal(state)

    def share(path: str, found: ShareSettings) -> Share:
        at = DavPath.from_key(path)
        tree = Tree(
            found.directory,
            at,
            durable=durable,
            hide=found.hide,
            follow_symlinks=found.follow_symlinks,
            ignore_case=found.case_insensitive,
            needed=journal.needed,
        )
        stack.callback(tree.close)
        quota = None
        if found.quota is not None:
            quota = Quota(state, at.key, found.directory, found.quota)
            stack.callback(quota.close)
        return Share(
            at=at,
            tree=tree,
            locks=locks,
            properties=properties,
            journal=journal,
            state=state,
            read_only=found.read_only,
            limits=Limits(
                xml=settings.limits.xml_body,
                property=settings.limits.property,
                propfind_infinity=settings.limits.propfind_infinity,
                propfind_resources=settings.limits.propfind_resources,
                file=found.max_file_size,
            ),
            quota=quota,
        )

    shares = [share(path, found) for path, found in settings.shares.items()]
    if not any(found.at == ROOT for found in shares):
        # Explorer and gvfs look at the root, wherever the share is: there they find the shares as folders.
        shares.append(share("/", ShareSettings(directory=_skeleton(folder, shares), read_only=True)))
    return Shares(shares)


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
