"""Tree: files below one root, whole or not at all, and nothing outside of it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davserver.protocol.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    IncompleteBody,
    InsufficientStorage,
    NotFound,
    Refused,
    UriTooLong,
)
from davserver.protocol.paths import ROOT, DavPath
from davserver.storage import rename
from davserver.storage.copying import stage_copy
from davserver.storage.hold import Unproven
from davserver.storage.node import AlreadyThere, Node, OtherDevice
from davserver.storage.staging import FOLDER
from davserver.storage.tree import Tree


class Everything:
    """A hold in which all was checked."""

    def require(self, path: DavPath) -> None:
        pass


class Nothing:
    def require(self, path: DavPath) -> None:
        raise Unproven(path.key)


HOLD = Everything()


class Content:
    """A body that comes in blocks, and may end before it should."""

    length = None

    def __init__(self, *blocks: bytes, cut: bool = False) -> None:
        self._blocks, self._cut = list(blocks), cut

    def read(self, size: int) -> bytes:
        if self._blocks:
            return self._blocks.pop(0)
        if self._cut:
            raise IncompleteBody("cut")
        return b""


def path(text: str) -> DavPath:
    return DavPath.parse(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=["kernel", "fallbacks"])
def tree(request: pytest.FixtureRequest, root: Path) -> Iterator[Tree]:
    """With what the kernel offers, and with what is used where it does not."""
    modern = request.param == "kernel"
    tree = Tree(str(root), ROOT, durable=modern, use_openat2=modern, use_tmpfile=modern)
    tree.open_stage()
    yield tree
    tree.close()


def write(tree: Tree, where: str, content: bytes, *, mtime: int | None = None) -> Node:
    target = path(where)
    with tree.stage(target, Content(content)) as staged:
        return staged.commit(HOLD, target, replace=tree.stat(target) is not None, mtime=mtime)


def read(tree: Tree, where: str) -> bytes:
    file = tree.open(path(where))
    try:
        return os.pread(file.fd, file.node.size, 0)
    finally:
        file.close()


def names(tree: Tree, where: str = "/") -> list[str]:
    return sorted(name for name, _ in tree.members(path(where)))


def stage_of(root: Path) -> list[str]:
    return os.listdir(root / FOLDER)


# --- reading


def test_what_is_there_is_seen(tree: Tree, root: Path) -> None:
    (root / "f").write_bytes(b"12345")
    (root / "d").mkdir()
    file, folder = tree.stat(path("/f")), tree.stat(path("/d"))
    assert file is not None
    assert folder is not None
    assert (file.is_collection, file.size) == (False, 5)
    assert (folder.is_collection, folder.size) == (True, 0)
    assert file.last_modified == int(os.stat(root / "f").st_mtime)
    assert tree.stat(ROOT) is not None
    assert read(tree, "/f") == b"12345"
    assert names(tree) == ["d", "f"]


@pytest.mark.parametrize("where", ["/missing", "/missing/below", "/f/below", "/link", "/link/x", "/dangling", "/pipe"])
def test_what_is_not_served_is_not_there(where: str, tree: Tree, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"secret")
    (root / "f").touch()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "inner").symlink_to("f")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    assert tree.stat(path(where)) is None
    with pytest.raises(Refused):
        tree.open(path(where))
    assert tree.stat(path("/inner")) is None
    assert names(tree) == ["f"]


def test_a_folder_is_not_opened_as_a_file(tree: Tree, root: Path) -> None:
    (root / "d").mkdir()
    with pytest.raises(NotFound):
        tree.open(path("/d"))
    with pytest.raises(NotFound):
        tree.members(path("/missing"))
    with pytest.raises(UriTooLong):
        tree.stat(path("/" + "n" * 300))


def test_private_names_do_not_exist_and_cannot_be_made(tree: Tree, root: Path) -> None:
    assert tree.stat(path("/" + FOLDER)) is None
    assert names(tree) == []
    with pytest.raises(NotFound):
        tree.open(path(f"/{FOLDER}/x"))
    for where in (FOLDER, f"{FOLDER}/x", ".davserver~mine"):
        with pytest.raises(Forbidden):
            tree.create_collection(HOLD, path("/" + where))
    (root / ".davserver.yaml").touch()
    assert names(tree) == [".davserver.yaml"]


def test_a_listing_leaves_out_what_has_no_url(tree: Tree, root: Path) -> None:
    for name in (b"plain", b"\xff\xfe", "ü".encode(), b"line\nbreak"):
        with open(os.path.join(os.fsencode(root), name), "wb"):
            pass
    assert names(tree) == ["line\nbreak", "plain", "ü"]


def test_a_member_that_vanishes_is_left_out(tree: Tree, root: Path) -> None:
    for number in range(50):
        (root / str(number)).touch()
    members = tree.members(ROOT)
    first, _ = next(members)
    for entry in root.iterdir():
        if entry.is_file():
            entry.unlink()
    assert [first, *(name for name, _ in members)] == [first]


def test_a_listing_that_is_never_read_keeps_nothing_open(tree: Tree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        tree.members(ROOT)
        next(tree.members(ROOT), None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_space_is_that_of_the_file_system(tree: Tree, root: Path) -> None:
    available, used = tree.space(ROOT)
    status = os.statvfs(root)
    assert used > 0
    assert available <= status.f_blocks * status.f_frsize


def test_a_mounted_tree_knows_its_place(root: Path) -> None:
    (root / "f").write_bytes(b"x")
    tree = Tree(str(root), path("/at/here"))
    assert tree.stat(path("/at/here")) is not None
    assert read(tree, "/at/here/f") == b"x"
    with pytest.raises(ValueError, match="not below"):
        tree.stat(path("/elsewhere"))
    tree.close()


# --- writing


def test_a_file_appears_whole(tree: Tree, root: Path) -> None:
    with tree.stage(path("/f"), Content(b"abc", b"def")) as staged:
        assert names(tree) == []
        node = staged.commit(HOLD, path("/f"), replace=False)
    assert node == tree.stat(path("/f"))
    assert read(tree, "/f") == b"abcdef"
    assert stage_of(root) == []
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat(root / "f").st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("body", [Content(b"new", cut=True), Content(cut=True)])
def test_a_cut_upload_leaves_no_trace(body: Content, tree: Tree, root: Path) -> None:
    before = write(tree, "/f", b"old")
    for where in ("/f", "/new"):
        with pytest.raises(IncompleteBody):
            tree.stage(path(where), body)
    assert tree.stat(path("/f")) == before
    assert names(tree) == ["f"]
    assert stage_of(root) == []


def test_a_body_of_another_length_than_expected_is_refused(tree: Tree, root: Path) -> None:
    for expected in (2, 4):
        with pytest.raises(BadRequest):
            tree.stage(path("/f"), Content(b"abc"), expected=expected)
    with tree.stage(path("/f"), Content(b"abc"), expected=3) as staged:
        staged.discard()
        staged.discard()
    assert names(tree) == stage_of(root) == []


def test_leaving_without_commit_discards(tree: Tree, root: Path) -> None:
    with pytest.raises(ZeroDivisionError), tree.stage(path("/f"), Content(b"abc")):
        raise ZeroDivisionError
    assert names(tree) == stage_of(root) == []


def test_replacing_keeps_mode_and_attributes(tree: Tree, root: Path) -> None:
    write(tree, "/f", b"old")
    os.chmod(root / "f", 0o640)
    os.setxattr(root / "f", "user.tag", b"kept")
    if os.geteuid() == 0:
        os.chown(root / "f", 1234, 1234)
    write(tree, "/f", b"new")
    status = os.stat(root / "f")
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert os.getxattr(root / "f", "user.tag") == b"kept"
    if os.geteuid() == 0:
        assert (status.st_uid, status.st_gid) == (1234, 1234)
    assert read(tree, "/f") == b"new"


def test_a_reader_keeps_its_version(tree: Tree) -> None:
    write(tree, "/f", b"old")
    file = tree.open(path("/f"))
    write(tree, "/f", b"new!")
    assert os.pread(file.fd, 100, 0) == b"old"
    file.close()


def test_every_version_has_an_etag_of_its_own(tree: Tree) -> None:
    tags = {write(tree, "/f", b"%04d" % number).etag for number in range(500)}
    tags |= {write(tree, "/f", b"%04d" % number, mtime=1_600_000_000).etag for number in range(500)}
    assert len(tags) == 1000


def test_the_time_a_client_asks_for_is_kept_to_the_second(tree: Tree) -> None:
    node = write(tree, "/f", b"x", mtime=1_600_000_000)
    assert node.last_modified == 1_600_000_000
    tree.set_mtime(HOLD, path("/f"), 1_500_000_000)
    later = tree.stat(path("/f"))
    assert later is not None
    assert later.last_modified == 1_500_000_000
    assert later.etag != node.etag


def test_a_new_name_is_made_once(tree: Tree) -> None:
    ready, won, lost = threading.Barrier(16), [], []

    def race(number: int) -> None:
        with tree.stage(path("/f"), Content(b"%02d" % number)) as staged:
            ready.wait()
            try:
                won.append(staged.commit(HOLD, path("/f"), replace=False))
            except AlreadyThere:
                lost.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 15)
    assert tree.stat(path("/f")) == won[0]


def test_folders_and_empty_files(tree: Tree) -> None:
    tree.create_collection(HOLD, path("/d"))
    tree.create_empty(HOLD, path("/d/f"))
    assert names(tree, "/d") == ["f"]
    assert read(tree, "/d/f") == b""
    for make in (tree.create_collection, tree.create_empty):
        for taken in ("/d", "/d/f"):
            with pytest.raises(AlreadyThere):
                make(HOLD, path(taken))
        for orphan in ("/missing/x", "/d/f/x"):
            with pytest.raises(Conflict):
                make(HOLD, path(orphan))
        with pytest.raises(Forbidden):
            make(HOLD, ROOT)


def test_a_name_taken_by_what_is_not_served_is_forbidden(tree: Tree, root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(Forbidden):
        tree.create_collection(HOLD, path("/link"))
    with tree.stage(path("/link"), Content(b"x")) as staged, pytest.raises(Forbidden):
        staged.commit(HOLD, path("/link"), replace=False)
    with pytest.raises(Refused):
        tree.stage(path("/link/x"), Content(b"x"))
    assert not (tmp_path / "outside").exists()
    assert stage_of(root) == []


def test_nothing_is_staged_for_a_folder_that_is_not_there(tree: Tree) -> None:
    for where in ("/missing/f", "/missing/deep/f"):
        with pytest.raises(Conflict):
            tree.stage(path(where), Content(b"x"))
    long = path(f"/{'n' * 300}/f")
    with pytest.raises(UriTooLong):
        tree.stage(long, Content(b"x"))
    with pytest.raises(UriTooLong):
        tree.create_collection(HOLD, long)


def test_nothing_changes_without_the_proof(tree: Tree) -> None:
    write(tree, "/f", b"x")
    with tree.stage(path("/g"), Content(b"x")) as staged:
        changes: list[Callable[[], object]] = [
            lambda: staged.commit(Nothing(), path("/g"), replace=False),
            lambda: tree.create_collection(Nothing(), path("/g")),
            lambda: tree.create_empty(Nothing(), path("/g")),
            lambda: tree.move(Nothing(), path("/f"), path("/g"), replace=False),
            lambda: tree.remove(Nothing(), path("/f")),
            lambda: tree.set_mtime(Nothing(), path("/f"), 1),
        ]
        for change in changes:
            with pytest.raises(Unproven):
                change()
    with stage_copy(tree, path("/f"), tree, path("/g"), recursive=True) as copy, pytest.raises(Unproven):
        copy.commit(Nothing(), path("/g"), replace=False)
    assert names(tree) == ["f"]


# --- moving, copying, removing


def plant(tree: Tree, root: Path) -> None:
    for folder in ("a", "a/b", "z"):
        (root / folder).mkdir()
    for file in ("f", "a/1", "a/b/2", "z/old"):
        (root / file).write_text(file)


@pytest.fixture(params=[True, False], ids=["exchange", "no exchange"])
def exchanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With renameat2, and on a file system that knows none of its flags."""
    if not request.param:

        def refuse(*_: object) -> None:
            raise OSError(22, "EINVAL")

        monkeypatch.setattr(rename, "_renameat2", refuse)
    return bool(request.param)


@pytest.mark.parametrize(
    ("source", "target", "replace", "expected"),
    [
        ("/f", "/g", False, b"f"),
        ("/f", "/a/1", True, b"f"),
        ("/f", "/a", True, b"f"),
        ("/a", "/new", False, None),
        ("/a", "/z", True, None),
        ("/a", "/f", True, None),
    ],
)
@pytest.mark.parametrize("how", ["move", "copy"])
def test_move_and_copy(
    how: str, source: str, target: str, replace: bool, expected: bytes | None, tree: Tree, root: Path, exchanging: bool
) -> None:
    plant(tree, root)
    if how == "move":
        removed = tree.move(HOLD, path(source), path(target), replace=replace)
        assert tree.stat(path(source)) is None
    else:
        with stage_copy(tree, path(source), tree, path(target), recursive=True) as copy:
            removed = copy.commit(HOLD, path(target), replace=replace)
        assert tree.stat(path(source)) is not None
    removed.empty()
    if expected is None:
        assert names(tree, target) == ["1", "b"]
        assert read(tree, f"{target}/b/2") == b"a/b/2"
    else:
        assert read(tree, target) == expected
    assert stage_of(root) == []


@pytest.mark.parametrize("source", ["/f", "/a"])
def test_a_taken_destination_is_not_replaced_by_mistake(source: str, tree: Tree, root: Path, exchanging: bool) -> None:
    plant(tree, root)
    for target in ("/z", "/a/1"):
        with pytest.raises(AlreadyThere):
            tree.move(HOLD, path("/f"), path(target), replace=False)
        with stage_copy(tree, path(source), tree, path(target), recursive=True) as copy, pytest.raises(AlreadyThere):
            copy.commit(HOLD, path(target), replace=False)
    assert names(tree, "/z") == ["old"]
    assert stage_of(root) == []


def test_a_replacement_that_cannot_come_leaves_the_old_one(
    tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where names cannot be exchanged: the old one stepped aside, the new one fails, the old one is back."""
    plant(tree, root)
    monkeypatch.setattr("davserver.storage.tree.exchange", lambda *_, **__: False)
    real, calls = os.rename, []

    def fail_second(*arguments: object, **keywords: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(5, "EIO")
        real(*arguments, **keywords)  # type: ignore[arg-type]

    with stage_copy(tree, path("/a"), tree, path("/z"), recursive=True) as copy:
        monkeypatch.setattr(os, "rename", fail_second)
        with pytest.raises(Refused):
            copy.commit(HOLD, path("/z"), replace=True)
        monkeypatch.undo()
    assert names(tree, "/z") == ["old"]
    assert stage_of(root) == []


def test_an_upload_that_cannot_replace_leaves_the_old_file(
    tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(tree, "/f", b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "ENOSPC")

    with tree.stage(path("/f"), Content(b"new")) as staged:
        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(InsufficientStorage):
            staged.commit(HOLD, path("/f"), replace=True)
        monkeypatch.undo()
    assert tree.stat(path("/f")) == before
    assert stage_of(root) == []


def test_a_file_that_vanishes_while_it_is_replaced(tree: Tree, root: Path) -> None:
    with tree.stage(path("/f"), Content(b"new")) as staged:
        staged.commit(HOLD, path("/f"), replace=True)
    assert read(tree, "/f") == b"new"


def test_a_copy_keeps_what_a_file_is_and_leaves_out_what_is_none(tree: Tree, root: Path, tmp_path: Path) -> None:
    plant(tree, root)
    (tmp_path / "secret").write_text("secret")
    (root / "a" / "link").symlink_to(tmp_path / "secret")
    (root / "a" / ".davserver~x").touch()
    os.mkfifo(root / "a" / "pipe")
    os.chmod(root / "a/1", 0o600)
    os.utime(root / "a/1", (1_600_000_000, 1_600_000_000))
    with stage_copy(tree, path("/a"), tree, path("/c"), recursive=True) as copy:
        copy.commit(HOLD, path("/c"), replace=False).empty()
    assert sorted(os.listdir(root / "c")) == ["1", "b"]
    status = os.stat(root / "c/1")
    assert (stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0o600, 1_600_000_000)
    original, copied = tree.stat(path("/a/1")), tree.stat(path("/c/1"))
    assert original is not None
    assert copied is not None
    assert original.etag != copied.etag


def test_a_copy_that_is_not_recursive_is_a_folder_alone(tree: Tree, root: Path) -> None:
    plant(tree, root)
    with stage_copy(tree, path("/a"), tree, path("/c"), recursive=False) as copy:
        copy.commit(HOLD, path("/c"), replace=False)
    assert names(tree, "/c") == []


def test_a_copy_that_is_not_committed_leaves_nothing(tree: Tree, root: Path) -> None:
    plant(tree, root)
    with stage_copy(tree, path("/a"), tree, path("/c"), recursive=True) as copy:
        copy.discard()
    assert names(tree) == ["a", "f", "z"]
    assert stage_of(root) == []
    os.mkfifo(root / "pipe")
    for source in ("/missing", "/pipe"):
        with pytest.raises(NotFound):
            stage_copy(tree, path(source), tree, path("/c"), recursive=True)
    assert stage_of(root) == []


def test_a_tree_deeper_than_the_stack_is_copied_and_removed(tree: Tree, root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    with stage_copy(tree, path("/d"), tree, path("/c"), recursive=True) as copy:
        copy.commit(HOLD, path("/c"), replace=False)
    tree.remove(HOLD, path("/d")).empty()
    tree.remove(HOLD, path("/c")).empty()
    assert names(tree) == stage_of(root) == []


def test_removal_is_one_step_and_follows_no_link(tree: Tree, root: Path, tmp_path: Path) -> None:
    plant(tree, root)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").touch()
    (root / "a" / "link").symlink_to(tmp_path / "outside")
    removed = tree.remove(HOLD, path("/a"))
    assert names(tree) == ["f", "z"]
    (removed + tree.remove(HOLD, path("/f"))).empty()
    assert stage_of(root) == []
    assert (tmp_path / "outside" / "x").exists()
    with pytest.raises(NotFound):
        tree.remove(HOLD, path("/a"))


# --- faults


def test_a_link_swapped_in_never_leads_outside(tree: Tree, root: Path, tmp_path: Path) -> None:
    """While somebody exchanges a folder for a link to another place, nothing of that place is ever read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"secret")
    (root / "d").mkdir()
    (root / "d" / "f").write_bytes(b"public")
    (root / "l").symlink_to(tmp_path / "outside")
    directory = os.open(root, os.O_RDONLY)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            rename.exchange("d", "l", source_fd=directory, destination_fd=directory)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    for _ in range(2000):
        try:
            seen.add(read(tree, "/d/f"))
        except Refused:
            seen.add(b"")
    done.set()
    swapper.join()
    os.close(directory)
    assert b"secret" not in seen
    assert b"public" in seen


def test_a_full_disk_is_507_and_changes_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=1m") as small:
        tree = Tree(str(small), ROOT)
        tree.open_stage()
        before = write(tree, "/f", b"old")
        for where in ("/f", "/new"):
            with pytest.raises(InsufficientStorage):
                tree.stage(path(where), Content(*[b"x" * 100_000] * 20))
        (small / "big").write_bytes(b"x" * 700_000)
        with pytest.raises(InsufficientStorage):
            stage_copy(tree, path("/big"), tree, path("/copy"), recursive=True)
        assert tree.stat(path("/f")) == before
        assert names(tree) == ["big", "f"]
        assert stage_of(small) == []
        tree.remove(HOLD, path("/big")).empty()
        write(tree, "/new", b"fits again")
        tree.close()


def test_a_file_system_mounted_inside_has_a_stage_of_its_own(root: Path) -> None:
    (root / "m").mkdir()
    (root / "f").write_bytes(b"f")
    with mounted(root / "m", "size=4m"):
        (root / "m" / "deep").mkdir()
        tree = Tree(str(root), ROOT)
        tree.open_stage()
        write(tree, "/m/deep/g", b"g")
        write(tree, "/m/deep/g", b"again")
        assert read(tree, "/m/deep/g") == b"again"
        assert FOLDER in os.listdir(root / "m")
        assert FOLDER not in os.listdir(root / "m" / "deep")
        for source, target in (("/f", "/m/f"), ("/m/deep", "/deep")):
            with pytest.raises(OtherDevice):
                tree.move(HOLD, path(source), path(target), replace=False)
        with stage_copy(tree, path("/m/deep"), tree, path("/deep"), recursive=True) as copy:
            copy.commit(HOLD, path("/deep"), replace=False)
        assert read(tree, "/deep/g") == b"again"
        with pytest.raises(Conflict):
            tree.remove(HOLD, path("/m"))
        tree.close()


def test_the_leftovers_of_a_kill_are_invisible_and_cleared_by_the_next_start(root: Path) -> None:
    code = (
        "import sys, os, signal\n"
        "from davserver.storage.tree import Tree\n"
        "from davserver.protocol.paths import ROOT, DavPath\n"
        "class Body:\n"
        "    length = None\n"
        "    count = 0\n"
        "    def read(self, size):\n"
        "        self.count += 1\n"
        "        if self.count == 3:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return b'x' * size\n"
        "tree = Tree(sys.argv[1], ROOT, use_tmpfile=False)\n"
        "tree.open_stage()\n"
        "tree.stage(DavPath.parse('/f'), Body())\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    assert killed.returncode == -9
    assert len(stage_of(root)) == 1
    (root / FOLDER / "tree").mkdir()
    (root / FOLDER / "tree" / "file").touch()
    tree = Tree(str(root), ROOT)
    assert names(tree) == []
    tree.open_stage()
    assert stage_of(root) == []
    tree.close()


def test_a_second_server_leaves_the_stage_of_the_first_alone(root: Path) -> None:
    first = Tree(str(root), ROOT, use_tmpfile=False)
    first.open_stage()
    with first.stage(path("/f"), Content(b"x")) as staged:
        second = Tree(str(root), ROOT)
        second.open_stage()
        assert len(stage_of(root)) == 1
        second.close()
        staged.commit(HOLD, path("/f"), replace=False)
    assert read(first, "/f") == b"x"
    first.close()


def test_a_stage_that_is_no_folder_is_an_error(root: Path) -> None:
    (root / FOLDER).symlink_to("/")
    tree = Tree(str(root), ROOT)
    with pytest.raises(OSError, match=r"(?i)directory|symbolic"):
        tree.open_stage()
    with pytest.raises(Refused):
        tree.stage(path("/f"), Content(b"x"))
    tree.close()


class mounted:
    """A small file system of its own, in memory, for as long as the block lasts."""

    def __init__(self, place: Path, options: str) -> None:
        self._place, self._options = place, options

    def __enter__(self) -> Path:
        self._place.mkdir(exist_ok=True)
        run = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", self._options, "tmpfs", str(self._place)], capture_output=True, check=False
        )
        if run.returncode:
            pytest.skip("mounting a file system needs root: faults of a full disk are not tested")
        return self._place

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self._place)], check=True)
