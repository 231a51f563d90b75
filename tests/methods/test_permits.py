"""What people may do with what there is: every method, at every path that a request touches, in every spelling."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inprocess import Local, local
from serving import QUICK
from wire import Answer, lockinfo

from davserver.access.rules import Ruled
from davserver.protocol.locks import Principal
from davserver.storage.lock_service import LockService

ALLPROP = b'<propfind xmlns="DAV:"><allprop/></propfind>'
SET = b'<propertyupdate xmlns="DAV:"><set><prop><x xmlns="urn:x">1</x></prop></set></propertyupdate>'
WORD = "x"
HASH = QUICK.hash(WORD)
RULES: list[dict[str, Any]] = [
    {"path": "/mixed/secret", "who": "bob", "allow": "none"},
    {"path": "/mixed", "who": "bob", "allow": "rw"},
    {"path": "/read", "who": ["bob", "carol"], "allow": "r"},
    {"path": "/inbox", "who": "bob", "allow": "w"},
    {"path": "/keep", "who": "bob", "allow": "cru"},
    {"path": "/unlocked", "who": "bob", "allow": "rw", "lock": False},
    {"path": "/deep/way/to", "who": "carol", "allow": "rw"},
    {"path": "/public", "who": "anonymous", "allow": "r"},
    {"path": "/", "who": "alice", "allow": "rw"},
]


@pytest.fixture(scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Path]]:
    folder = tmp_path_factory.mktemp("permits")
    users = {name: {"password": HASH} for name in ("alice", "bob", "carol")}
    with local(folder, rules=RULES, users=users, anonymous=None, limits={"propfind_infinity": True}) as app:
        yield app, folder / "share"


@pytest.fixture
def app(_served: tuple[Local, Path]) -> Iterator[Local]:
    app, root = _served
    for name in (
        "mixed/secret/deeper",
        "mixed/open",
        "read",
        "inbox",
        "keep",
        "unlocked",
        "deep/way/to",
        "other",
        "public",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "f.txt").write_text(name)
    yield app
    service, alice = LockService(app.app._terminal._shares), as_("alice", app)  # type: ignore[attr-defined]
    for lock in service.find():
        service.break_lock(lock.id, Principal("root"), "the test is over")
    for path in alice("PROPFIND", "/", ALLPROP, Depth="1").hrefs()[1:]:
        assert alice("DELETE", path).status == 204


def as_(name: str, app: Local) -> Local:
    client = Local(app.app)
    if name:
        client.headers["Authorization"] = "Basic " + b64encode(f"{name}:{WORD}".encode()).decode()
    return client


def ask(app: Local, method: str, path: str, **fields: str) -> Answer:
    body: bytes | None = {
        "PUT": b"new", "PROPFIND": ALLPROP, "PROPPATCH": SET, "LOCK": lockinfo(),
    }.get(method)  # fmt: skip
    if method == "PROPFIND":
        fields.setdefault("Depth", "0")
    return app(method, path, body, **fields)


# --- one path

#: For each place: what GET, PROPFIND, PUT on what is there, PUT on a new name, MKCOL, PROPPATCH, LOCK, DELETE say.
METHODS = ("GET", "PROPFIND", "PUT", "new", "MKCOL", "PROPPATCH", "LOCK", "DELETE")
PLACES = {
    ("alice", "/other"): (200, 207, 204, 201, 201, 207, 423, 423),
    ("bob", "/mixed/open"): (200, 207, 204, 201, 201, 207, 423, 423),
    ("bob", "/mixed/secret"): (404, 404, 404, 404, 404, 404, 404, 404),
    ("bob", "/other"): (404, 404, 404, 404, 404, 404, 404, 404),
    ("bob", "/nowhere"): (404, 404, 404, 404, 404, 404, 404, 404),
    ("bob", "/read"): (200, 207, 403, 403, 403, 403, 403, 403),
    ("bob", "/inbox"): (403, 403, 403, 201, 201, 403, 403, 403),
    ("bob", "/keep"): (200, 207, 204, 201, 201, 207, 423, 403),
    ("bob", "/unlocked"): (200, 207, 204, 201, 201, 207, 403, 204),
    ("carol", "/deep"): (404, 404, 404, 404, 404, 404, 404, 404),
    ("carol", "/read"): (200, 207, 403, 403, 403, 403, 403, 403),
    ("", "/public"): (200, 207, 401, 401, 401, 401, 401, 401),
    ("", "/other"): (401, 401, 401, 401, 401, 401, 401, 401),
    ("", "/nowhere"): (401, 401, 401, 401, 401, 401, 401, 401),
}


@pytest.mark.parametrize(("who", "place"), PLACES, ids=lambda value: value or "anybody")
def test_every_method_in_every_place(who: str, place: str, app: Local) -> None:
    client = as_(who, app)
    seen = []
    for method in METHODS:
        if method == "LOCK":
            taken = ask(client, "LOCK", f"{place}/f.txt")
            if taken.status == 200:
                # It is ours, and without its token nothing changes.
                seen.append(ask(client, "PUT", f"{place}/f.txt").status)
                continue
            seen.append(taken.status)
        elif method == "new":
            seen.append(ask(client, "PUT", f"{place}/new.txt").status)
        elif method == "MKCOL":
            seen.append(ask(client, "MKCOL", f"{place}/folder").status)
        else:
            seen.append(ask(client, method, f"{place}/f.txt").status)
    assert tuple(seen) == PLACES[who, place]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PROPFIND", "PUT", "MKCOL", "DELETE", "LOCK", "UNLOCK", "PROPPATCH",
                                    "COPY", "MOVE", "PATCH"])  # fmt: skip
def test_what_may_not_be_known_about_looks_as_if_it_were_not_there(method: str, app: Local) -> None:
    bob = as_("bob", app)
    fields = {"Destination": "/mixed/open/x"} if method in ("COPY", "MOVE") else {}
    answers = [ask(bob, method, path, **fields) for path in ("/other/f.txt", "/other/none", "/other", "/none")]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize(
    ("spelling", "status"),
    [
        ("/other/f.txt", 404),
        ("/mixed/../other/f.txt", 400),
        ("/mixed/%2e%2e/other/f.txt", 400),
        ("/mixed/%2e%2E%2fother/f.txt", 400),
        ("/mixed%2f..%2fother/f.txt", 400),
        ("/./other/f.txt", 400),
        ("/%6fther/f.txt", 404),
        ("/other/f.txt/", 404),
        ("/OTHER/f.txt", 404),
        ("/mixed/secret/", 404),
        ("/mixed/%73ecret/f.txt", 404),
        ("/mixed//secret/f.txt", 404),
        ("/mixed/secrets", 404),
        ("/mixed/open//f.txt", 200),
    ],
)
def test_spellings(spelling: str, status: int, app: Local) -> None:
    bob = as_("bob", app)
    assert bob("GET", spelling).status == status
    if status != 200:
        # As the Destination: never there, and the same for COPY and MOVE.
        for method in ("COPY", "MOVE"):
            answer = bob(method, "/mixed/open/f.txt", Destination=spelling)
            if spelling == "/mixed/secrets":
                assert answer.status == 201
                return
            assert answer.status == (403 if status == 404 else 400), method
        assert bob("GET", "/mixed/open/f.txt").status == 200


# --- COPY and MOVE


@pytest.mark.parametrize(
    ("who", "method", "source", "target", "status"),
    [
        ("bob", "COPY", "/mixed/open", "/mixed/copy", 201),
        ("bob", "COPY", "/read", "/mixed/copy", 201),
        ("bob", "COPY", "/mixed", "/keep/copy", 403),  # with what is secret in it
        ("bob", "COPY", "/mixed/open", "/mixed/secret", 403),
        ("bob", "COPY", "/mixed/open", "/mixed/secret/x", 403),
        ("bob", "COPY", "/mixed/open", "/read/x", 403),
        ("bob", "COPY", "/mixed/open/f.txt", "/inbox/x", 201),
        ("bob", "COPY", "/mixed/open/f.txt", "/inbox/f.txt", 403),  # it would change what is there
        ("bob", "COPY", "/mixed/open/f.txt", "/keep/f.txt", 204),
        ("bob", "COPY", "/mixed/open", "/keep/f.txt", 403),  # a folder in its place takes the file away
        ("bob", "COPY", "/inbox/f.txt", "/mixed/x", 403),
        ("bob", "COPY", "/other/f.txt", "/mixed/x", 404),
        ("bob", "MOVE", "/mixed/open", "/mixed/moved", 201),
        ("bob", "MOVE", "/mixed", "/keep/moved", 403),
        ("bob", "MOVE", "/read/f.txt", "/mixed/moved", 403),  # what may be read may not be taken away
        ("bob", "MOVE", "/keep/f.txt", "/mixed/moved", 403),
        ("bob", "MOVE", "/mixed/open/f.txt", "/keep/f.txt", 204),
        ("bob", "MOVE", "/mixed/open", "/keep/f.txt", 403),
        ("bob", "MOVE", "/mixed/open/f.txt", "/mixed/secret/deeper/f.txt", 403),
        ("bob", "MOVE", "/inbox/f.txt", "/mixed/moved", 403),
        ("bob", "MOVE", "/mixed/open/f.txt", "/inbox/moved", 201),
        ("alice", "MOVE", "/mixed", "/keep/moved", 201),
    ],
)  # fmt: skip
def test_copy_and_move(who: str, method: str, source: str, target: str, status: int, app: Local) -> None:
    client, alice = as_(who, app), as_("alice", app)
    before = alice("PROPFIND", "/", ALLPROP, Depth="infinity").hrefs()
    answer = client(method, source, Destination=target)
    assert answer.status == status
    if status > 299:
        assert alice("PROPFIND", "/", ALLPROP, Depth="infinity").hrefs() == before
        assert b"secret" not in answer.body.replace(target.encode(), b"")


def test_a_tree_is_not_made_where_a_part_of_it_may_not_be(app: Local) -> None:
    """/mixed/secret may not be made, whatever it is called where it comes from."""
    bob, alice = as_("bob", app), as_("alice", app)
    assert alice("DELETE", "/mixed").status == 204
    assert alice("MKCOL", "/keep/tree").status == 201
    assert alice("MKCOL", "/keep/tree/secret").status == 201
    assert bob("COPY", "/keep/tree", Destination="/mixed").status == 403
    assert alice("GET", "/mixed").status == 404
    assert bob("COPY", "/keep/tree", Destination="/mixed", Depth="0").status == 201


def test_a_secret_that_appears_while_a_tree_is_copied_is_not_copied(
    app: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    from davserver.methods import namespace

    alice = as_("alice", app)
    assert alice("DELETE", "/mixed/secret").status == 204
    real = namespace.permit_copy

    def late(*arguments: Any) -> Any:
        assert alice("MKCOL", "/mixed/secret").status == 201
        return real(*arguments)

    monkeypatch.setattr(namespace, "permit_copy", late)
    assert as_("bob", app)("COPY", "/mixed", Destination="/keep/copy").status == 403
    assert alice("GET", "/keep/copy").status == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [("/mixed", 403), ("/mixed/secret", 404), ("/mixed/open", 204), ("/unlocked", 204), ("/keep", 403), ("/read", 403)],
)
def test_a_tree_is_deleted_where_all_of_it_may_be(path: str, status: int, app: Local) -> None:
    assert as_("bob", app)("DELETE", path).status == status
    assert (as_("alice", app)("GET", path).status == 404) == (status == 204)


@pytest.mark.parametrize(
    ("path", "depth", "status"),
    [
        ("/mixed", "infinity", 403),
        ("/mixed", "0", 200),
        ("/mixed/open", "infinity", 200),
        ("/mixed/new", "0", 201),
        ("/inbox/new", "0", 201),
        ("/inbox/f.txt", "0", 403),
        ("/inbox/", "0", 403),  # others put something into it too
        ("/inbox/", "infinity", 403),
        ("/read/new", "0", 403),
        ("/read", "infinity", 403),
        ("/", "0", 403),
        ("/other", "infinity", 404),
    ],
)
def test_locks_are_for_what_may_be_changed(path: str, depth: str, status: int, app: Local) -> None:
    bob = as_("bob", app)
    answer = bob("LOCK", path, lockinfo(), Depth=depth)
    assert answer.status == status
    if status < 300:
        assert bob("UNLOCK", path, Lock_Token=answer.headers["lock-token"]).status == 204
    else:
        assert b"secret" not in answer.body


def test_a_drop_box_takes_what_is_new_with_and_without_a_lock(app: Local) -> None:
    """davfs2 and LibreOffice lock a new name, which makes an empty file, and then send what is in it."""
    bob = as_("bob", app)
    locked = bob("LOCK", "/inbox/new.txt", lockinfo(), Depth="0")
    assert locked.status == 201
    assert bob("PUT", "/inbox/new.txt", b"all", If=f"(<{locked.token}>)").status == 204
    assert bob("UNLOCK", "/inbox/new.txt", Lock_Token=f"<{locked.token}>").status == 204
    assert bob("PUT", "/inbox/new.txt", b"again").status == 403
    assert as_("alice", app)("GET", "/inbox/new.txt").body == b"all"


# --- what is told


@pytest.mark.parametrize(
    ("who", "path", "depth", "expected"),
    [
        ("alice", "/", "1", ["/", "/deep/", "/inbox/", "/keep/", "/mixed/", "/other/", "/public/", "/read/",
                             "/unlocked/"]),
        ("bob", "/", "1", ["/", "/keep/", "/mixed/", "/public/", "/read/", "/unlocked/"]),
        ("carol", "/", "1", ["/", "/deep/", "/public/", "/read/"]),
        ("carol", "/deep", "1", ["/deep/", "/deep/way/"]),
        ("carol", "/", "infinity", ["/", "/deep/", "/deep/way/", "/deep/way/to/", "/deep/way/to/f.txt", "/public/",
                                    "/public/f.txt", "/read/", "/read/f.txt"]),
        ("bob", "/mixed", "infinity", ["/mixed/", "/mixed/open/", "/mixed/open/f.txt"]),
        ("", "/", "1", ["/", "/public/"]),
        ("", "/public", "1", ["/public/", "/public/f.txt"]),
    ],
)  # fmt: skip
def test_a_listing_shows_what_may_be_read_and_the_ways_to_it(
    who: str, path: str, depth: str, expected: list[str], app: Local
) -> None:
    client = as_(who, app)
    assert client("PROPFIND", path, ALLPROP, Depth=depth).hrefs() == expected
    page = client("GET", path).body.decode()
    for name in ("secret", "other", "inbox"):
        assert (f"{name}/</a>" in page) == (f"/{name}/" in expected), name


def test_a_listing_asks_the_rules_once_where_all_members_share_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    real = Ruled._decided

    def counted(self: Ruled, segments: tuple[str, ...]) -> Any:
        asked.append(segments)
        return real(self, segments)

    monkeypatch.setattr(Ruled, "_decided", counted)
    with local(tmp_path, rules=RULES, users={"bob": {"password": HASH}}, anonymous=None) as app:
        folder = tmp_path / "share" / "mixed" / "open"
        folder.mkdir(parents=True)
        for number in range(50):
            (folder / str(number)).touch()
        assert len(as_("bob", app)("PROPFIND", "/mixed/open", ALLPROP, Depth="1").hrefs()) == 51
    assert sorted(asked) == [(), ("mixed", "open")]


@pytest.mark.parametrize(
    ("who", "path", "classes", "locks"),
    [
        ("alice", "/other/f.txt", "1, 2, 3", True),
        ("bob", "/mixed/open/f.txt", "1, 2, 3", True),
        ("bob", "/read/f.txt", "1, 3", False),
        ("bob", "/unlocked/f.txt", "1, 3", False),
        ("bob", "/other/f.txt", "1, 3", False),
        ("bob", "/mixed", "1, 2, 3", True),
        ("bob", "/", "1, 2, 3", False),  # somewhere below locks are taken
        ("carol", "/read", "1, 3", False),
        ("", "/other/f.txt", "1, 2, 3", None),
        ("", "/none", "1, 2, 3", None),
    ],
)
def test_who_only_reads_sees_a_server_without_locks(
    who: str, path: str, classes: str, locks: bool | None, app: Local
) -> None:
    client = as_(who, app)
    options = client("OPTIONS", path)
    assert options.status == 200
    assert options.headers["dav"].startswith(classes)
    assert ("LOCK" in options.headers["allow"]) == (", 2," in classes)
    if locks is not None and (found := client("PROPFIND", path, ALLPROP, Depth="0")).status == 207:
        assert bool(found.find("//D:supportedlock/D:lockentry")) == locks


def test_options_do_not_tell_strangers_what_is_there(app: Local) -> None:
    for who in ("", "bob"):
        client = as_(who, app)
        seen = {client("OPTIONS", path).headers["allow"] for path in ("/other", "/other/f.txt", "/other/none")}
        assert len(seen) == 1


def test_members_have_the_rights_of_their_own(app: Local) -> None:
    bob = as_("bob", app)
    found = bob("PROPFIND", "/", ALLPROP, Depth="1")
    lockable = {
        href for href in found.hrefs()
        if found.find(f"//D:response[D:href='{href}']//D:supportedlock/D:lockentry")
    }  # fmt: skip
    assert lockable == {"/keep/", "/mixed/"}


def test_an_if_header_does_not_tell_what_is_elsewhere(app: Local) -> None:
    """A tag of what may not be known is one of what is not there."""
    bob, alice = as_("bob", app), as_("alice", app)
    etag = alice("GET", "/other/f.txt").headers["etag"]
    token = alice.lock("/other/f.txt").token
    for condition in (etag.join("[]"), f"<{token}>", "Not <urn:uuid:none>"):
        mine = bob("PUT", "/mixed/open/f.txt", b"x", If=f"</other/f.txt> ({condition}) </mixed/none> (<urn:x:y>)")
        none = bob("PUT", "/mixed/open/f.txt", b"x", If=f"</other/none> ({condition}) </mixed/none> (<urn:x:y>)")
        assert mine.status == none.status
    assert alice("UNLOCK", "/other/f.txt", Lock_Token=f"<{token}>").status == 204


PRIVILEGES = (
    b'<propfind xmlns="DAV:"><prop><current-user-principal/><current-user-privilege-set/><owner/></prop></propfind>'
)
ALL_READ = ["read", "read-current-user-privilege-set"]
ALL_WRITE = ["write-content", "write-properties"]


@pytest.mark.parametrize(
    ("who", "path", "expected"),
    [
        ("alice", "/other", ["write", *ALL_READ, *ALL_WRITE, "bind", "unbind"]),
        ("alice", "/other/f.txt", ["write", *ALL_READ, *ALL_WRITE]),
        ("bob", "/read", ALL_READ),
        ("bob", "/keep", [*ALL_READ, *ALL_WRITE, "bind"]),
        ("bob", "/keep/f.txt", ["write", *ALL_READ, *ALL_WRITE]),
        ("carol", "/deep", []),
        ("", "/public/f.txt", ALL_READ),
    ],
)
def test_clients_can_ask_who_they_are_and_what_they_may_do(
    who: str, path: str, expected: list[str], app: Local
) -> None:
    """RFC 5397, RFC 3744."""
    found = as_(who, app)("PROPFIND", path, PRIVILEGES, Depth="0")
    names = found.find("//D:current-user-privilege-set/D:privilege/*")
    assert [str(name.tag).removeprefix("{DAV:}") for name in names] == expected
    if who:
        assert found.texts("//D:current-user-principal/D:href") == [f"/-/principals/{who}/"]
    else:
        assert found.find("//D:current-user-principal/D:unauthenticated")
    assert len(found.find("//D:owner")) == 1
    assert "current-user" not in as_(who, app)("PROPFIND", path, ALLPROP, Depth="0").body.decode()


def test_the_privileges_of_members_are_their_own(app: Local) -> None:
    found = as_("bob", app)("PROPFIND", "/", PRIVILEGES, Depth="1")
    written = found.texts("//D:response[.//D:write-content]/D:href")
    assert sorted(written) == ["/keep/", "/mixed/", "/unlocked/"]


def test_nobody_sets_what_the_server_says(app: Local) -> None:
    body = b'<propertyupdate xmlns="DAV:"><set><prop><current-user-privilege-set/></prop></set></propertyupdate>'
    answer = as_("alice", app)("PROPPATCH", "/other/f.txt", body)
    assert answer.find("//D:cannot-modify-protected-property")


# --- shares with a folder for each user, shares in which case does not matter


def test_each_user_has_a_folder_of_their_own(tmp_path: Path) -> None:
    homes = tmp_path / "homes"
    homes.mkdir()
    (tmp_path / "share").mkdir()
    shares = {
        "/": {"directory": str(tmp_path / "share")},
        "/home": {"directory": f"{homes}/{{user}}", "create": True},
    }
    users = {name: {"password": HASH} for name in ("alice", "bob")}
    with local(tmp_path, shares=shares, users=users, anonymous=None) as app:
        alice, bob = as_("alice", app), as_("bob", app)
        assert alice("PUT", "/home/alice/f.txt", b"mine").status == 201
        assert (homes / "alice" / "f.txt").read_bytes() == b"mine"
        assert bob("PROPFIND", "/home", ALLPROP, Depth="1").hrefs() == ["/home/", "/home/bob/"]
        for method in ("GET", "PUT", "DELETE", "PROPFIND", "LOCK"):
            assert ask(bob, method, "/home/alice/f.txt").status == 404
        assert bob("COPY", "/home/alice", Destination="/home/bob/x").status == 404
        assert bob("PUT", "/home/carol", b"").status == 404
        assert bob("PUT", "/shared.txt", b"").status == 201
    rules = [
        {"path": "/home/{user}/inbox", "who": "authenticated", "allow": "r"},
        {"path": "/home", "who": "alice", "allow": "r"},
        {"path": "/", "who": "authenticated", "allow": "rw"},
    ]
    with local(tmp_path, shares=shares, users=users, anonymous=None, rules=rules) as app:
        alice, bob = as_("alice", app), as_("bob", app)
        assert alice("PROPFIND", "/home/bob", ALLPROP, Depth="1").status == 207
        assert bob("GET", "/home/alice/f.txt").status == 404  # whatever is said of everything
        assert bob("PUT", "/home/bob/f.txt", b"").status == 201
        assert bob("MKCOL", "/home/bob/inbox").status == 403


def test_rules_about_a_share_in_which_case_does_not_matter(tmp_path: Path) -> None:
    root = tmp_path / "share"
    (root / "Docs" / "Secret").mkdir(parents=True)
    (root / "Docs" / "Secret" / "f.txt").write_text("x")
    rules = [
        {"path": "/docs/secret", "who": "bob", "allow": "none"},
        {"path": "/", "who": "bob", "allow": "rw"},
    ]
    shares = {"/": {"directory": str(root), "case_insensitive": True}}
    with local(tmp_path, shares=shares, users={"bob": {"password": HASH}}, anonymous=None, rules=rules) as app:
        bob = as_("bob", app)
        for path in ("/Docs/Secret/f.txt", "/docs/secret/f.txt", "/DOCS/SECRET/F.TXT"):
            assert bob("GET", path).status == 404
            assert bob("PUT", path, b"").status == 404
        assert bob("PROPFIND", "/docs", ALLPROP, Depth="1").hrefs() == ["/docs/"]
        assert bob("DELETE", "/Docs").status == 403


def test_links_lead_to_what_may_be_read(tmp_path: Path) -> None:
    root = tmp_path / "share"
    (root / "open").mkdir(parents=True)
    (root / "secret").mkdir()
    (root / "secret" / "f.txt").write_text("x")
    (root / "open" / "mine").write_text("x")
    (root / "open" / "theirs").symlink_to("../secret/f.txt")
    (root / "open" / "also").symlink_to("mine")
    shares = {"/": {"directory": str(root), "follow_symlinks": True}}
    rules = [{"path": "/open", "who": "bob", "allow": "r"}]
    with local(tmp_path, shares=shares, users={"bob": {"password": HASH}}, anonymous=None, rules=rules) as app:
        bob = as_("bob", app)
        assert bob("PROPFIND", "/open", ALLPROP, Depth="1").hrefs() == ["/open/", "/open/also", "/open/mine"]
        assert b"theirs" not in bob("GET", "/open").body
        assert bob("GET", "/open/theirs").status == 404
        assert bob("GET", "/open/also").body == b"x"
