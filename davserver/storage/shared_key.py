"""Secrets that all workers of a state share, and keep: one for each purpose, made by whoever asks first."""

from __future__ import annotations

import os

from davserver.storage.state import State


def shared_key(state: State, purpose: str) -> bytes:
    """32 bytes. Raises Unavailable, InsufficientStorage."""
    with state.transaction():
        state.query("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (purpose, os.urandom(32)))
        key: bytes = state.query("SELECT value FROM secrets WHERE name = ?", (purpose,))[0][0]
    return key
