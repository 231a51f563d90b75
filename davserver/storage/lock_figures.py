"""How many locks there are and were: one statement each, for whoever watches over the server."""

from __future__ import annotations

from typing import NamedTuple

from davserver.protocol.locks import Kind
from davserver.storage.state import State


class Held(NamedTuple):
    """Active locks of one kind."""

    number: int
    #: When the oldest of them was granted.
    since: float


class Totals(NamedTuple):
    """What has happened to locks since there is this state. Only ever grows."""

    acquired: int
    refreshed: int
    expired: int
    broken: int


def held(state: State, now: float) -> dict[Kind, Held]:
    """By kind, of the kinds that are held."""
    rows = state.query(
        "SELECT kind, count(*), min(created) FROM locks WHERE ended IS NULL AND (expires IS NULL OR expires > ?) "
        "GROUP BY kind",
        (now,),
    )
    return {Kind(kind): Held(count, since) for kind, count, since in rows}


def totals(state: State) -> Totals:
    (row,) = state.query("SELECT locked, refreshed, expired, broken FROM progress")
    return Totals(*row)
