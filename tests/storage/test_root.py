"""The folder of a share that goes away and comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from davserver.protocol.errors import Unavailable
from davserver.storage import root
from davserver.storage.root import Root


def test_a_folder_that_was_taken_away_is_found_again(tmp_path: Path) -> None:
    place = tmp_path / "share"
    place.mkdir()
    found = Root(str(place))
    number, before = found.fd, os.fstat(found.fd).st_ino
    found.require()
    place.rename(tmp_path / "moved")
    place.mkdir()
    found.require()  # the folder that was opened is still there
    assert os.fstat(found.fd).st_ino == before
    (tmp_path / "moved").rmdir()
    with pytest.raises(Unavailable):
        found.require()
    found.require()
    assert (found.fd, found.generation) == (number, 1)
    assert os.path.samestat(os.fstat(found.fd), os.stat(place))
    assert not os.get_inheritable(found.fd)
    found.close()


def test_a_file_system_that_counts_no_links_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Root(str(tmp_path))
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        fields = list(real(fd))
        fields[3] = 0
        return os.stat_result(fields)

    monkeypatch.setattr(root.os, "fstat", fstat)
    found.require()
    found.close()


def test_who_comes_second_looks_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "share"
    place.mkdir()
    found = Root(str(place))
    place.rmdir()
    real = Root._is_in_place

    def meanwhile(self: Root) -> bool:
        """Another thread finds the new folder between the two looks."""
        monkeypatch.undo()
        assert not real(self)
        place.mkdir()
        with pytest.raises(Unavailable):
            self.require()
        return False

    monkeypatch.setattr(Root, "_is_in_place", meanwhile)
    with pytest.raises(Unavailable):
        found.require()
    assert found.generation == 1
    found.close()
