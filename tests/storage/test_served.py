"""Names that are not served."""

from __future__ import annotations

import pytest

from davserver.storage.served import Served


@pytest.mark.parametrize(
    ("names", "at_root", "served"),
    [
        ((), True, True),
        (("-",), True, False),
        (("-", "f"), True, False),
        (("d", "-"), True, True),
        (("-", "f"), False, True),
        ((".davserver~stage",), False, False),
        (("d", ".davserver~x", "f"), False, False),
        (("d", "notes.TMP"), False, False),
        (("notes.tmp", "f"), False, False),
        (("notes.tmpl",), False, True),
    ],
)
def test_paths(names: tuple[str, ...], at_root: bool, served: bool) -> None:
    rules = Served(("*.tmp",), at_root=at_root)
    assert rules.path(names) is served
    if names:
        assert rules.member(names[:-1], names[-1]) or not rules.path(names)
