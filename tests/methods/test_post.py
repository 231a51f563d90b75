"""POST: no resource takes it, and whoever sends one to what is locked is told of the lock."""

from __future__ import annotations

import pytest
from wire import Dav


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/f", {"PUT", "PATCH", "GET"}), ("/d/", {"PROPFIND", "GET"}), ("/new", {"PUT", "MKCOL"})],
)
def test_it_is_not_allowed(path: str, allowed: set[str], dav: Dav, folder: str) -> None:
    dav("PUT", f"{folder}/f", b"x")
    dav("MKCOL", f"{folder}/d")
    answer = dav("POST", folder + path, b"name=x", Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 405
    allow = set(answer.headers["allow"].split(", "))
    assert allowed <= allow
    assert "POST" not in allow
    assert dav("GET", f"{folder}/f").body == b"x"


def test_a_lock_is_told_of_first(dav: Dav, folder: str) -> None:
    dav("PUT", f"{folder}/f", b"x")
    dav("MKCOL", f"{folder}/d")
    token = dav.lock(f"{folder}/f").token
    dav.lock(f"{folder}/d/")
    for path in "/f", "/d/", "/d/new":
        for method in "POST", "PATCH":
            # A new member of a folder that is locked with depth 0 is in its way as well (RFC 4918 §7.4).
            answer = dav(method, folder + path, b"{}", Content_Type="application/json")
            assert (answer.status, answer.json["error"]) == (423, "Locked")
    assert dav("POST", f"{folder}/f", b"{}", If=f"(<{token}>)").status == 405
    assert dav("PATCH", f"{folder}/f", b"{}", If=f"(<{token}>)").status == 415
