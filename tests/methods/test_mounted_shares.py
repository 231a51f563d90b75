"""Shares within shares: what is mounted in a folder is a member of it, and what it covers is not there."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from inprocess import Local, local
from serving import QUICK

WORD = "x"
USERS = {name: {"password": QUICK.hash(WORD)} for name in ("alice", "bob")}

Make = Callable[..., Local]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """An application with the share "/" of `share`, and one of `tmp_path`/NAME at each path that is named."""
    with ExitStack() as stack:

        def open_app(shares: dict[str, str | dict[str, Any]], **settings: Any) -> Local:
            found = {}
            for at, share in shares.items():
                values = {"directory": share} if isinstance(share, str) else share
                directory = str(tmp_path / values["directory"])
                Path(directory.removesuffix("/{user}")).mkdir(exist_ok=True)
                found[at] = {**values, "directory": directory}
            return stack.enter_context(local(tmp_path, shares=found, **settings))

        yield open_app


def as_(name: str, app: Local) -> Local:
    return Local(app.app, Authorization="Basic " + b64encode(f"{name}:{WORD}".encode()).decode())


# --- locks


def transaction(client: Local, *paths: str) -> int:
    return client("POST", "/-/api/v1/transactions", _json(paths=paths), Content_Type="application/json").status


def check_out(client: Local, path: str) -> int:
    return client("POST", "/-/api/v1/checkouts", _json(path=path), Content_Type="application/json").status


def test_nobody_locks_a_tree_with_a_share_in_it_that_is_not_theirs(make: Make) -> None:
    homes = {"directory": "homes/{user}", "create": True}
    app = make({"/": "share", "/home": homes}, users=USERS)
    alice, bob = as_("alice", app), as_("bob", app)
    assert alice.propfind("/home/alice").status == 207
    assert bob.lock("/home/alice", Depth="infinity").status == 404
    refused = bob.lock("/", Depth="infinity")
    assert refused.status == 403
    assert b"alice" not in refused.body
    assert b"home" not in refused.body
    assert (transaction(bob, "/"), check_out(bob, "/")) == (403, 403)
    assert alice("PUT", "/home/alice/f", b"x").status == 201
    # The folder alone is theirs to lock, and what is theirs in that share.
    assert bob.lock("/", Depth="0").status == 200
    assert bob.lock("/home/bob", Depth="infinity").status == 200


def test_rules_about_a_share_in_a_tree_count_for_a_lock_of_the_tree(make: Make, tmp_path: Path) -> None:
    rules = [
        {"path": "/docs/private", "who": "bob", "allow": "none"},
        {"path": "/docs/public/inner/f", "who": "bob", "allow": "r"},
        {"path": "/", "who": ["alice", "bob"], "allow": "rw"},
    ]
    shares = {"/": "share", "/docs/private": "private", "/docs/public": "public", "/docs/public/inner": "inner"}
    app = make(shares, users=USERS, rules=rules, anonymous=None)
    alice, bob = as_("alice", app), as_("bob", app)
    # The way to a share need not be there as a folder.
    assert bob.lock("/", Depth="infinity").status == 403
    (tmp_path / "share" / "docs").mkdir()
    for path in ("/", "/docs"):
        assert bob.lock(path, Depth="infinity").status == 403
        assert (transaction(bob, path), check_out(bob, path)) == (403, 403)
    assert transaction(bob, "/docs/public") == 201
    # What is in a share within a share counts as well.
    (tmp_path / "inner" / "f").write_text("x")
    assert transaction(bob, "/docs/public") == 403
    assert check_out(alice, "/docs/private") == 201


def test_what_a_share_covers_does_not_count_for_a_lock(make: Make, tmp_path: Path) -> None:
    rules = [{"path": "/d/m/covered", "who": "bob", "allow": "none"}, {"path": "/", "who": "bob", "allow": "rw"}]
    (tmp_path / "share/d/m/covered").mkdir(parents=True)
    bob = as_("bob", make({"/": "share", "/d/m": "mounted"}, users=USERS, rules=rules, anonymous=None))
    assert bob.lock("/d", Depth="infinity").status == 200


@pytest.mark.parametrize("path", ["/", "/d"])
def test_a_share_that_cannot_be_written_cannot_be_locked_from_above(path: str, make: Make, tmp_path: Path) -> None:
    (tmp_path / "share/d").mkdir(parents=True)
    app = make({"/": "share", "/d/m": {"directory": "mounted", "read_only": True}})
    refused = app.lock(path, Depth="infinity")
    assert refused.status == 403
    assert b"read-only" in refused.body
    assert (app.lock("/d/m").status, transaction(app, path)) == (403, 403)
    assert app.lock(path, Depth="0").status == 200


def _json(**values: object) -> str:
    return json.dumps({**values, "seconds": 60})
