"""From settings to the application: state, locks, shares and accounts, each opened once and closed together."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from davserver.build import build_data
from davserver.operations.figures import Figures
from davserver.operations.health import Folder, Health
from davserver.operations.metrics import Sources, metrics_page
from davserver.operations.pages import Page, health_page
from davserver.protocol.errors import Unavailable
from davserver.protocol.holder import Reveal
from davserver.protocol.locks import LockPolicy, StaleBreak
from davserver.protocol.paths import ROOT, DavPath
from davserver.server.app import DavApp
from davserver.server.cors import Cors
from davserver.server.http.balance import Balance
from davserver.server.http.proxies import TrustedProxies
from davserver.server.people import People
from davserver.server.sweeping import Sweeping
from davserver.settings import Settings, ShareSettings
from davserver.storage.deliveries import Deliveries
from davserver.storage.gate import Gate
from davserver.storage.journal import Journal
from davserver.storage.lock_events import LockEvents, What
from davserver.storage.lock_manager import LockManager
from davserver.storage.lock_service import LockService
from davserver.storage.mounts import network_type
from davserver.storage.property_store import PropertyStore
from davserver.storage.quota import Quota
from davserver.storage.recovery import recover_all
from davserver.storage.share import Limits, Share, Shares
from davserver.storage.sqlite import SqliteState
from davserver.storage.state import StateError
from davserver.storage.tree import Tree

_log = logging.getLogger("davserver")


def open_app(
    settings: Settings,
    folder: str,
    stack: ExitStack,
    *,
    clock: Callable[[], float] = time.time,
    seats: int = 250,
    working: bool = True,
    figures: Figures | None = None,
    balance: Balance | None = None,
) -> DavApp:
    """The application on the state in `folder`. What it opens is closed with `stack`. `figures` and `balance`: those of
    the worker that it is for.

    `seats`: requests that may wait for something to happen to a lock at the same time. `working`: False where it is
    opened only to see whether it can be: then no webhook is called.

    Raises OSError where a folder cannot be used, StateError where the state cannot.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    figures = Figures() if figures is None else figures
    shares = open_shares(settings, folder, stack, clock=clock, figures=figures)
    recover_all(shares)
    for share in shares:
        if not share.read_only:
            directory = settings.shares[share.at.key].folder
            try:
                share.tree.open_stage()
            except OSError as error:
                _log.warning("share %s: %s cannot be written: %s", share.at, directory, error.strerror)
            except Unavailable as refused:
                raise StateError(f"Share {share.at}, {directory}: {refused.message}") from None
        if share.quota is not None:
            share.quota.start_counting()
    sweeping = Sweeping(LockService(shares).keeper)
    stack.callback(sweeping.stop)
    sweeping.start()
    _open_webhooks(settings, folder, shares, stack, clock=clock, working=working)
    people = People(folder, shares.state, clock)
    stack.callback(people.close)
    app = DavApp(
        shares,
        people,
        people.access(settings),
        prefix=settings.prefix,
        reveal=_reveal(settings),
        clock=clock,
        pages=_pages(settings, folder, shares, figures, Balance() if balance is None else balance),
        seats=seats,
        figures=figures,
        cors=_cors(settings),
        breakers=settings.locks.breakers,
    )
    stack.callback(app.stop_waiting)
    return app


def _pages(settings: Settings, folder: str, shares: Shares, figures: Figures, balance: Balance) -> dict[str, Page]:
    sources = Sources(figures, shares.state, shares.locks.now, lambda: balance.counts, build_data())
    return {
        "health": health_page(_health(settings, folder, shares)),
        "metrics": metrics_page(sources, TrustedProxies(settings.metrics.allow).trusts),
    }


def _cors(settings: Settings) -> Cors | None:
    found = settings.cors
    return Cors(found.allowed_origins, allow_credentials=found.allow_credentials) if found.allowed_origins else None


def _health(settings: Settings, folder: str, shares: Shares) -> Health:
    def touch_state() -> None:
        with shares.state.transaction():
            shares.state.query("UPDATE progress SET latest = latest")

    folders = [Folder(found.folder, not found.read_only) for found in settings.shares.values()]
    return Health(touch_state, folder, folders, free_space=settings.health.free_space)


def _open_webhooks(
    settings: Settings, folder: str, shares: Shares, stack: ExitStack, *, clock: Callable[[], float], working: bool
) -> None:
    deliveries = Deliveries(shares.state, folder)
    stack.callback(deliveries.close)
    deliveries.know(settings.webhooks)
    if settings.webhooks:
        from davserver.web.webhooks import Webhook, Webhooks

        hooks = [
            Webhook(name, hook.url, hook.key(), frozenset(map(What, hook.events)), DavPath.from_key(hook.path))
            for name, hook in settings.webhooks.items()
        ]
        if working:
            webhooks = Webhooks(hooks, LockEvents(shares.state), deliveries, prefix=settings.prefix, clock=clock)
            stack.callback(webhooks.stop)
            webhooks.start()


def open_shares(
    settings: Settings,
    folder: str,
    stack: ExitStack,
    *,
    clock: Callable[[], float] = time.time,
    figures: Figures | None = None,
) -> Shares:
    """The shares on the state in `folder`: nothing is written yet. What is opened is closed with `stack`.

    Raises OSError where a folder cannot be used, StateError where the state cannot.
    """
    network = network_type(folder)
    if network is not None and not settings.allow_network_state:
        raise StateError(
            f"The state folder {folder} is on a network file system ({network}), where SQLite can be damaged; choose "
            "one on a disk of this machine with --state, or set allow_network_state: true."
        )
    durable = settings.durability == "full"
    state = SqliteState(folder, durable=durable)
    stack.callback(state.close)
    gate = Gate(folder)
    if figures is not None:
        gate.waited, state.took = figures.count_gate, figures.count_store
    locks = LockManager(state, gate, lock_policy(settings), clock=clock)
    properties = PropertyStore(state, limit=settings.limits.properties)
    journal = Journal(state)

    def share(path: str, found: ShareSettings) -> Share:
        at = DavPath.from_key(path)
        tree = Tree(
            found.folder,
            at,
            durable=durable,
            hide=found.hide,
            follow_symlinks=found.follow_symlinks,
            ignore_case=found.case_insensitive,
            mounted=[each for each in places if each != at and at.contains(each)],
            owner=journal.owner(),
            needed=journal.needed,
        )
        stack.callback(tree.close)
        quota = None
        if found.quota is not None:
            quota = Quota(state, at.key, found.folder, found.quota, os.path.join(folder, "counting"))
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
            reveal_holder=_reveal(settings),
            for_each_user=found.for_each_user,
        )

    places = [DavPath.from_key(path) for path in settings.shares]
    shares = [share(path, found) for path, found in settings.shares.items()]
    if not any(found.at == ROOT for found in shares):
        # Explorer and gvfs look at the root, wherever the share is: there they find the shares as folders.
        way = share("/", ShareSettings(directory=_skeleton(folder, shares), read_only=True))
        shares.append(replace(way, is_way=True))
    return Shares(shares)


def open_shares_there(settings: Settings, folder: str, stack: ExitStack) -> Shares:
    """`open_shares` for somebody who works beside a server, or without one. Raises OSError, StateError.

    Shares whose folder is not there are left out: what is known of their locks is in the state.
    """
    there = {path: found for path, found in settings.shares.items() if os.path.isdir(found.folder)}
    return open_shares(settings.model_copy(update={"shares": there}), folder, stack)


def lock_policy(settings: Settings) -> LockPolicy:
    """What the settings say of locks."""
    return LockPolicy(
        default=settings.locks.default_timeout,
        minimum=settings.locks.min_timeout,
        maximum=settings.locks.max_timeout,
        checkout=settings.locks.max_checkout,
        grace=settings.locks.grace_after_expiry,
        remove_empty_files=settings.locks.remove_empty_lock_files,
        per_principal=settings.limits.locks_per_user,
        owner_limit=settings.limits.lock_owner,
        stale_break=StaleBreak(settings.locks.stale_break),
    )


def _skeleton(folder: str, shares: list[Share]) -> str:
    """A folder in the state that holds nothing but the way to each share."""
    root = os.path.join(folder, "root")
    os.makedirs(root, exist_ok=True)
    for share in shares:
        os.makedirs(os.path.join(root, *share.at.segments), exist_ok=True)
    return root


def _reveal(settings: Settings) -> Reveal:
    return Reveal(settings.locks.reveal_holder)
