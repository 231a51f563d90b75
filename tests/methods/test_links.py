"""Links and locks: whoever takes a link away from what it leads to needs the tokens of the locks on that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from inprocess import Local, local
from test_permits import HASH, as_
from wire import Answer, lockinfo

from davserver.methods import links
from davserver.protocol.paths import DavPath
from davserver.storage.tree import Tree

#: What is to be done with a link by its name, and what comes of it where nothing is in the way.
TAKINGS: list[tuple[Callable[..., Answer], int]] = [
    (lambda app, link, **fields: app("DELETE", link, **fields), 204),
    (lambda app, link, **fields: app("MOVE", link, Destination=app.url(link + "2"), **fields), 201),
    (lambda app, link, **fields: app("MOVE", "/other", Destination=app.url(link), **fields), 204),
    (lambda app, link, **fields: app("COPY", "/other", Destination=app.url(link), **fields), 204),
]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[Local, Local, Path]]]:
    """Alice, Bob, and the folder of a share with links in it."""
    with ExitStack() as stack:

        def open_app(**settings: Any) -> tuple[Local, Local, Path]:
            root = tmp_path / "share"
            (root / "folder" / "deep").mkdir(parents=True)
            for name in ("real", "other", "folder/deep/f"):
                (root / name).write_text(name)
            (root / "doc").symlink_to("real")
            (root / "way").symlink_to("folder")
            shares = {"/": {"directory": str(root), "follow_symlinks": True}}
            users = {name: {"password": HASH} for name in ("alice", "bob")}
            app = stack.enter_context(local(tmp_path, shares=shares, users=users, anonymous=None, **settings))
            return as_("alice", app), as_("bob", app), root

        yield open_app


@pytest.mark.parametrize(("take", "done"), TAKINGS)
def test_the_name_of_what_is_locked_is_its_holders_alone(
    take: Callable[..., Answer], done: int, make: Callable[..., tuple[Local, Local, Path]]
) -> None:
    """RFC 4918 §7: a lock prevents that the mapping of its root is changed, to another resource or to none."""
    alice, bob, root = make()
    token = alice.lock("/doc").token
    refused = take(bob, "/doc")
    assert refused.status == 423
    assert refused.texts("//D:lockroot/D:href") == ["/real"]
    assert (root / "doc").is_symlink()
    assert take(alice, "/doc").status == 423
    assert alice("PUT", "/doc", b"saved", If=f"(<{token}>)").status == 204
    assert (root / "real").read_text() == "saved"
    assert take(alice, "/doc", If=f"<{alice.url('/doc')}> (<{token}>)").status == done
    assert (root / "real").read_text() == "saved"


@pytest.mark.parametrize(("take", "done"), TAKINGS)
def test_what_lies_below_what_a_link_leads_to_keeps_its_name_too(
    take: Callable[..., Answer], done: int, make: Callable[..., tuple[Local, Local, Path]]
) -> None:
    alice, bob, root = make()
    token = alice.lock("/way/deep/f").token
    assert take(bob, "/way").status == 423
    alice("UNLOCK", "/way/deep/f", Lock_Token=f"<{token}>")
    assert take(bob, "/way").status == done
    assert (root / "folder" / "deep" / "f").read_text() == "folder/deep/f"


@pytest.mark.parametrize(("take", "done"), TAKINGS)
def test_a_lock_elsewhere_keeps_no_link(
    take: Callable[..., Answer], done: int, make: Callable[..., tuple[Local, Local, Path]]
) -> None:
    alice, bob, _ = make()
    assert alice.lock("/folder", Depth="infinity").status == 200
    assert take(bob, "/doc").status == done


@pytest.mark.parametrize(("take", "done"), TAKINGS)
def test_the_links_in_a_folder_go_with_it(
    take: Callable[..., Answer], done: int, make: Callable[..., tuple[Local, Local, Path]]
) -> None:
    alice, bob, root = make()
    (root / "folder" / "deep" / "link").symlink_to("../../real")
    (root / "folder" / "inside").symlink_to("deep")
    (root / "folder" / "dangling").symlink_to("nowhere")
    token = alice.lock("/folder/deep/link").token
    refused = take(bob, "/folder")
    assert refused.status == 423
    assert refused.texts("//D:lockroot/D:href") == ["/real"]
    assert (root / "folder" / "deep" / "link").is_symlink()
    assert take(alice, "/folder", If=f"<{alice.url('/real')}> (<{token}>)").status == done
    assert (root / "real").read_text() == "real"


def test_what_very_many_links_lead_to_counts_as_a_whole(make: Callable[..., tuple[Local, Local, Path]]) -> None:
    alice, bob, root = make()
    (root / "valley" / "fields").mkdir(parents=True)
    (root / "links").mkdir()
    for number in range(links.MANY + 1):
        (root / "valley" / "fields" / str(number)).touch()
        (root / "links" / str(number)).symlink_to(f"../valley/fields/{number}")
    assert alice.lock("/other").status == 200
    last = alice.lock(f"/links/{links.MANY}").token
    assert bob("DELETE", "/links").status == 423
    assert bob("UNLOCK", "/other", Lock_Token=f"<{last}>").status == 409
    assert alice("UNLOCK", f"/links/{links.MANY}", Lock_Token=f"<{last}>").status == 204
    assert bob("DELETE", "/links").status == 204


def test_of_several_folders_the_topmost_counts() -> None:
    def few(*keys: str) -> list[str]:
        return [path.key for path in links._few(DavPath.from_key("/a"), map(DavPath.from_key, keys))]

    assert few() == few("/a", "/a/b") == []
    assert few("/b/c", "/b", "/b/c/d", "/b c", "/a b") == ["/a b", "/b", "/b c"]
    many = [f"/x/y/{number}" for number in range(links.MANY + 1)]
    assert few(*many) == ["/x/y"]
    assert few(*many, "/z") == ["/"]


def test_a_link_in_another_share_is_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "f").touch()
    (tmp_path / "two" / "real").touch()
    (tmp_path / "two" / "doc").symlink_to("real")
    shares = {
        f"/{name}": {"directory": str(tmp_path / name), "follow_symlinks": name == "two"} for name in ("one", "two")
    }
    with local(tmp_path, shares=shares) as app:
        token = app.lock("/two/doc").token
        assert app("COPY", "/one/f", Destination=app.url("/two/doc")).status == 423
        assert app("UNLOCK", "/two/doc", Lock_Token=f"<{token}>").status == 204
        assert app("COPY", "/one/f", Destination=app.url("/two/doc")).status == 204


def test_who_removes_a_link_writes_nothing_to_what_it_leads_to(make: Callable[..., tuple[Local, Local, Path]]) -> None:
    """The late save of a lock that was broken is still accepted."""
    alice, bob, _ = make(administrators=["bob"])
    token = alice.lock("/real").token
    (lock,) = bob("GET", "/-/api/v1/locks").json["locks"]
    assert bob("DELETE", f"/-/api/v1/locks/{lock['id']}?reason=away").status == 204
    assert bob("DELETE", "/doc").status == 204
    assert alice("PUT", "/real", b"late", If=f"(<{token}>)").status == 204


def test_a_link_to_what_may_not_be_seen_tells_nothing_of_its_locks(
    make: Callable[..., tuple[Local, Local, Path]],
) -> None:
    """As for a PUT through it, it is not there; and nothing else takes its name."""
    rules = [
        {"path": "/real", "who": "bob", "allow": "none"},
        {"path": "/folder/deep/f", "who": "bob", "allow": "none"},
        {"path": "/", "who": "authenticated", "allow": "rw"},
    ]
    alice, bob, root = make(rules=rules)

    def statuses() -> list[int]:
        return [
            take(bob, link, Overwrite=overwrite).status
            for link in ("/doc", "/way")
            for take, _ in TAKINGS
            for overwrite in ("T", "F")
        ]

    before = statuses()
    assert before == [404, 404, 404, 404, 403, 412, 403, 412, 403, 403, 403, 403, 403, 412, 403, 412]
    assert bob("PUT", "/doc", b"x").status == 404
    assert alice.lock("/doc").status == alice.lock("/way/deep/f").status == 200
    assert statuses() == before
    assert (root / "doc").is_symlink()
    assert (root / "way").is_symlink()
    (root / "box").mkdir()
    (root / "box" / "link").symlink_to("../real")
    assert [take(bob, "/box").status for take, _ in TAKINGS] == [403] * 4
    (root / "box" / "link").unlink()
    assert bob("DELETE", "/box").status == 204


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """As soon as somebody has looked where a link leads, it leads elsewhere, or nowhere."""

    def turn(link: Path, to: str) -> None:
        locate, turned = Tree.locate, []

        def turning(tree: Tree, path: DavPath, *, link: bool = False, name: Path = link) -> DavPath:
            found = locate(tree, path, link=link)
            if path.name == name.name and not link and not turned:
                turned.append(found)
                name.unlink()
                if to:
                    name.symlink_to(to)
            return found

        monkeypatch.setattr(Tree, "locate", turning)

    return turn


@pytest.mark.parametrize("method", ["DELETE", "PUT", "LOCK"])
def test_a_link_that_is_turned_under_a_request_is_looked_at_again(
    method: str, make: Callable[..., tuple[Local, Local, Path]], turn: Callable[[Path, str], None]
) -> None:
    """Neither is a lock on what it leads to now overlooked, nor one granted by a name that means something else."""
    _, bob, root = make()
    turn(root / "doc", "other")
    body = {"DELETE": None, "PUT": b"new", "LOCK": lockinfo()}[method]
    answer = bob(method, "/doc", body)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert bob(method, "/doc", body).status in (200, 204)
    assert (root / "real").read_text() == "real"


def test_no_lock_is_granted_by_a_name_that_has_gone(
    make: Callable[..., tuple[Local, Local, Path]], turn: Callable[[Path, str], None]
) -> None:
    alice, _, root = make()
    turn(root / "doc", "")
    assert alice.lock("/doc").status == 503
    assert alice.lock("/real").status == 200
