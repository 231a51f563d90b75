"""Secrets of a state."""

from __future__ import annotations

from pathlib import Path

from davserver.storage.shared_key import shared_key
from davserver.storage.sqlite import SqliteState


def test_each_purpose_has_its_own_and_keeps_it(tmp_path: Path) -> None:
    state, other = SqliteState(str(tmp_path), durable=False), SqliteState(str(tmp_path), durable=False)
    forms = shared_key(state, "forms")
    assert len(forms) == 32
    assert shared_key(other, "forms") == forms == shared_key(state, "forms")
    assert shared_key(other, "throttle") not in (forms, bytes(32))
    state.close()
    other.close()
