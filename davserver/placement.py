"""Where things lie: the state apart from what is served, and each file under one name.

What can only be judged of all settings together, and of the folders that they name.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Mapping

from davserver.settings import Settings, SettingsError, ShareSettings


def state_folder(settings: Settings, environ: Mapping[str, str]) -> str:
    """Where locks and properties are kept. Raises SettingsError when that is inside what is served, or around it."""
    if settings.state is not None:
        folder = settings.state
    else:
        base = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
        folder = os.path.join(os.path.abspath(base), "davserver", _state_name(settings.shares))
    real = os.path.realpath(folder)
    for path, share in settings.shares.items():
        served = os.path.realpath(share.folder)
        if os.path.commonpath([real, served]) in (real, served):
            raise SettingsError(
                f"The state folder {folder} and the folder of share {path} ({share.folder}) lie within each other; "
                "set state (or --state) to a folder apart from it."
            )
    return folder


def _state_name(shares: Mapping[str, ShareSettings]) -> str:
    """One name for each served folder, whatever way leads to it; it stays when shares are added below it."""
    main = shares.get("/") or (next(iter(shares.values())) if len(shares) == 1 else None)
    if main is None:
        raise SettingsError(
            "Shares without one at / need a state folder of their own, which stays when shares come and go: "
            "set state (or --state)."
        )
    real = os.path.realpath(main.folder)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(real)).strip("-.")
    return f"{readable or 'share'}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:12]}"


def _require_one_name_each(shares: Mapping[str, ShareSettings]) -> None:
    """A file with two URLs would have two sets of locks. Raises SettingsError."""
    places = [(path.strip("/"), os.path.realpath(share.folder), share) for path, share in shares.items()]
    for (outer, above, one), (inner, below, other) in itertools.permutations(places, 2):
        if one.read_only or other.read_only or os.path.commonpath([above, below]) != above:
            continue
        way = os.path.relpath(below, above)
        same_url = outer if way == "." else f"{outer}/{way}".lstrip("/")
        if inner != same_url:
            raise SettingsError(
                f"The folder of share /{inner} ({other.folder}) lies within that of share /{outer} "
                f"({one.folder}): its files would have two names, and a lock on one would not hold on the other. "
                "Make one of them read_only, or share the folder once."
            )


def require_folders(settings: Settings) -> None:
    """Raises SettingsError where there is nothing that a share could serve."""
    for path, share in settings.shares.items():
        if not os.path.isdir(share.folder):
            raise SettingsError(f"The folder of share {path}, {share.folder}, is not there; create it first.")


def require_startable(settings: Settings) -> None:
    """What can only be judged of all settings together. Raises SettingsError."""
    if not settings.shares:
        raise SettingsError("There is nothing to serve: name a folder, or shares in the configuration file.")
    require_folders(settings)
    _require_one_name_each(settings.shares)
    if not settings.is_loopback and not settings.has_logins and not settings.rules and settings.anonymous is None:
        raise SettingsError(
            f"Listening on {settings.host} would let everybody in: add a user with -u NAME, or users in the "
            "configuration file, or say --anonymous ro or --anonymous rw if that is what you want."
        )
    if settings.allows_anonymous == "none" and not settings.rules and not settings.has_logins:
        raise SettingsError("Nobody could get in: anonymous is none and there are no users; add one with -u NAME.")
