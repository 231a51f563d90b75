"""The rules that the documents show do what they say there."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from inprocess import Local, local
from serving import QUICK

ROOT = Path(__file__).parents[2]
HASH = QUICK.hash("x")


def of_the_page() -> dict[str, Any]:
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", (ROOT / "docs/accounts.md").read_text(), re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def of_the_reference() -> dict[str, Any]:
    """The comment of config/davserver.yaml, without its marks."""
    (block,) = re.findall(r"^rules: \[\].*\n((?:#.*\n)+)", (ROOT / "config/davserver.yaml").read_text(), re.MULTILINE)
    return {"groups": {"editors": ["bob"]}, "rules": yaml.safe_load(block.replace("#", "", 1).replace("\n#", "\n"))}


@pytest.fixture(params=[of_the_page, of_the_reference], ids=["accounts.md", "davserver.yaml"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Local]:
    """alice and bob are editors; carol is in no group."""
    users = {name: {"password": HASH} for name in ("alice", "bob", "carol")}
    for name in ("public", "inbox", "projects/one/final", "private/bob", "private/carol"):
        (tmp_path / "share" / name).mkdir(parents=True)
        (tmp_path / "share" / name / "f").write_text("x")
    with local(tmp_path, users=users, anonymous=None, **request.param()) as made:
        yield made


def as_(app: Local, name: str) -> Local:
    return Local(app.app, Authorization="Basic " + b64encode(f"{name}:x".encode()).decode())


def test_a_private_folder_is_its_users_alone(app: Local) -> None:
    bob = as_(app, "bob")
    assert bob("PUT", "/private/bob/diary", b"x").status == 201
    for name in ("alice", "carol"):
        other = as_(app, name)
        for method in ("GET", "HEAD", "PROPFIND", "DELETE", "PUT", "LOCK", "MKCOL"):
            assert other(method, "/private/bob/diary").status in (403, 404), (name, method)
        assert other("COPY", "/private/bob/diary", Destination="/public/stolen").status in (403, 404)
        assert other("MOVE", "/private/bob", Destination="/private/mine").status in (403, 404)
        assert "/private/bob/" not in other.propfind("/private/", depth="1").hrefs()
    assert bob.propfind("/private/", depth="1").hrefs() == ["/private/", "/private/bob/"]
    # Who has none yet makes it.
    assert as_(app, "alice")("MKCOL", "/private/alice").status == 201
    assert as_(app, "alice")("PUT", "/private/alice/f", b"x").status == 201
    assert bob("GET", "/private/bob/diary").body == b"x"


def test_a_drop_box_is_emptied_by_editors(app: Local) -> None:
    carol = as_(app, "carol")
    assert carol("PUT", "/inbox/new", b"x").status == 201
    assert carol("GET", "/inbox/new").status == 403
    assert carol("PUT", "/inbox/f", b"x").status == 403
    assert as_(app, "bob")("GET", "/inbox/new").status == 200
    assert as_(app, "bob")("DELETE", "/inbox/new").status == 204


def test_the_rest(app: Local) -> None:
    assert app("GET", "/public/f").status == 200
    assert app("PUT", "/public/f", b"x").status == 401
    bob, carol = as_(app, "bob"), as_(app, "carol")
    assert carol("GET", "/public/f").status == 200
    assert carol("PUT", "/public/f", b"x").status == 403
    assert bob("GET", "/projects/one/final/f").status == 200
    assert bob("PUT", "/projects/one/final/f", b"x").status == 403
    assert bob("PUT", "/projects/one/draft", b"x").status == 201
    assert carol("GET", "/projects/one/final/f").status == 404
    assert bob("PUT", "/public/f", b"y").status == 204
