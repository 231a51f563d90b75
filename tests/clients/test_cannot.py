"""What stands for clients that cannot be run is there."""

from __future__ import annotations

import re

import test_replay
from cannot import CANNOT


def test_every_replay_that_is_named_is_one() -> None:
    cases = {name[:3] for name in test_replay.CASES}
    others = {f"R{number}" for number in re.findall(r"test_r(\d\d)_", " ".join(vars(test_replay)))}
    named = {replay for each in CANNOT.values() for replay in each.replays}
    assert named <= cases | others
