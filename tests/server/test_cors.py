"""What a browser lets pages of other origins do."""

from __future__ import annotations

from pathlib import Path

import pytest
from inprocess import Local, local
from serving import QUICK

OBSIDIAN = "app://obsidian.md"
USERS = {"alice": {"password": QUICK.hash("x")}}


def preflight(app: Local, origin: str, path: str = "/none/at/all", method: str = "PROPFIND") -> dict[str, list[str]]:
    answer = app(
        "OPTIONS", path, Origin=origin, Access_Control_Request_Method=method,
        Access_Control_Request_Headers="authorization,depth",
    )  # fmt: skip
    fields: dict[str, list[str]] = {"status": [str(answer.status)]}
    for name, value in answer.raw_headers:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def test_without_origins_there_is_nothing_of_it(tmp_path: Path) -> None:
    with local(tmp_path) as app:
        found = preflight(app, OBSIDIAN)
    assert found["status"] == ["200"]
    assert not any(name.startswith("access-control") for name in found)
    assert "Origin" not in found.get("vary", [])


@pytest.mark.parametrize("origin", [OBSIDIAN, "capacitor://localhost", "http://localhost:3000"])
def test_a_preflight_is_answered_without_a_login_at_every_path(origin: str, tmp_path: Path) -> None:
    cors = {"allowed_origins": [OBSIDIAN, "capacitor://localhost", "http://localhost:3000"]}
    with local(tmp_path, users=USERS, anonymous=None, cors=cors) as app:
        for path in ("/", "/none/at/all", "/%2e%2e/x", "/\xff"):
            found = preflight(app, origin, path)
            assert found["status"] == ["204"]
            assert found["access-control-allow-origin"] == [origin]
            assert "PROPFIND" in found["access-control-allow-methods"][0]
            for name in ("Authorization", "Depth", "Destination", "If", "Lock-Token", "X-OC-Mtime", "Timeout"):
                assert name in found["access-control-allow-headers"][0].split(", ")
            assert "access-control-allow-credentials" not in found
            assert "Origin" in found["vary"]
            assert "content-length" not in found


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PROPFIND", "/", 401), ("GET", "/none", 401), ("OPTIONS", "/", 200), ("XYZ", "/", 501)],
)
def test_what_is_answered_may_be_read_also_when_it_is_refused(
    method: str, path: str, status: int, tmp_path: Path
) -> None:
    cors = {"allowed_origins": [OBSIDIAN], "allow_credentials": True}
    with local(tmp_path, users=USERS, anonymous=None, cors=cors) as app:
        answer = app(method, path, Origin=OBSIDIAN)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == OBSIDIAN
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert {"ETag", "DAV", "Lock-Token", "WWW-Authenticate"} <= set(
            answer.headers["access-control-expose-headers"].split(", ")
        )
        other = app(method, path, Origin="https://evil.example")
        assert other.status == status
        assert not any(name.startswith("access-control") for name in other.headers)
        assert "Origin" in [value for name, value in other.raw_headers if name == "Vary"]
        assert "Origin" in [value for name, value in app(method, path).raw_headers if name == "Vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "app://obsidian.md.evil.example", "", "https://"])
def test_other_origins_are_not_allowed(origin: str, tmp_path: Path) -> None:
    with local(tmp_path, cors={"allowed_origins": [OBSIDIAN]}) as app:
        found = preflight(app, origin)
    assert not any(name.startswith("access-control") for name in found)


def test_all_origins(tmp_path: Path) -> None:
    with local(tmp_path, cors={"allowed_origins": ["*"]}) as app:
        for origin in (OBSIDIAN, "null", "https://x.example"):
            assert preflight(app, origin)["access-control-allow-origin"] == ["*"]


def test_an_options_request_that_is_no_preflight_is_what_it_was(tmp_path: Path) -> None:
    with local(tmp_path, cors={"allowed_origins": [OBSIDIAN]}) as app:
        answer = app("OPTIONS", "/", Origin=OBSIDIAN)
    assert answer.status == 200
    assert answer.headers["dav"].startswith("1, 2, 3")
