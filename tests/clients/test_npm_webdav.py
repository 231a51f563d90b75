"""npm webdav 5 (Obsidian plug-ins, Buttercup and others are built on it): every call of its interface."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from packages import npm
from realclients import anonymous, run, tool
from serving import Process
from sites import NAMES, Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SESSION = Path(__file__).with_name("npm_webdav.mjs")


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("anonymous", "none"),
        ("login", "Password"),
        ("login", "Digest"),
        ("login", "Auto"),
        ("anonymous over TLS", "none"),
        ("login over TLS", "Password"),
        ("login over TLS", "Digest"),
    ],
)
def test_a_session(kind: str, way: str, open_site: Callable[[str], Site]) -> None:
    session(open_site(kind), way)


def test_a_session_where_listings_in_depth_are_allowed(tmp_path: Path) -> None:
    settings = anonymous(tmp_path, limits={"propfind_infinity": True})
    with Process(tmp_path, "-c", str(settings)) as server:
        (server.root / "deep").mkdir()
        session(Site(server, "deep", "", "", None), "none", "deep")


def session(site: Site, *how: str) -> None:
    way, *deep = how
    module = npm("webdav@^5.8") / "webdav" / "dist" / "node" / "index.js"
    done = run(
        tool("node"), str(SESSION), str(module), site.url, way, site.name, site.password, *deep,
        stdin="\n".join(NAMES), PATH=os.environ["PATH"], NODE_EXTRA_CA_CERTS=str(site.certificate or ""),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (site.root / "folder" / "text.txt").read_text() == "and free"
    assert {path.relative_to(site.root / "names") for path in (site.root / "names").rglob("*") if path.is_file()} == {
        Path(name) for name in NAMES
    }
    assert sorted(path.name for path in site.root.iterdir()) == ["folder", "names"]
    assert len(list((site.root / "folder").iterdir())) == 24
