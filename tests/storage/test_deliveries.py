"""Deliveries: one process at a time is at work on a webhook, and the next one goes on where it was."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from lockworld import ALICE, Clock, World

from davserver.storage.deliveries import Deliveries


@pytest.fixture
def deliveries(world: World, stack: ExitStack) -> Deliveries:
    found = Deliveries(world.state, str(world.folder))
    stack.callback(found.close)
    return found


def test_a_new_webhook_begins_with_what_happens_next(world: World, deliveries: Deliveries) -> None:
    deliveries.know(["a"])
    assert deliveries.last("a") == 0
    world.lock("/f")
    deliveries.know(["a", "b"])
    assert (deliveries.last("a"), deliveries.last("b"), deliveries.last("c")) == (0, 1, None)
    deliveries.note("a", 1)
    world.lock("/g")
    deliveries.know(["a"])
    assert (deliveries.last("a"), deliveries.last("b")) == (1, None)
    deliveries.know(["b"])
    assert (deliveries.last("a"), deliveries.last("b")) == (None, 2)
    deliveries.know([])
    assert deliveries.last("b") is None


def test_it_is_the_turn_of_one_process(
    world: World, deliveries: Deliveries, tmp_path: Path, stack: ExitStack, clock: Clock
) -> None:
    other = Deliveries(World(tmp_path, stack, clock).state, str(world.folder))
    assert deliveries.take("a")
    assert deliveries.take("a")  # still
    assert not other.take("a")
    assert other.take("b")
    assert not deliveries.take("b")
    other.close()  # as when a process dies
    assert deliveries.take("b")
    deliveries.know(["a"])
    deliveries.note("a", 7)
    again = Deliveries(World(tmp_path, stack, clock).state, str(world.folder))
    again.know(["a"])
    assert again.last("a") == 7
    again.close()
    assert world.lock("/f", principal=ALICE).id == 1
