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
from world import (
    HOLD,
    Nothing,
    commit,
    make_folder,
    mounted,
    names,
    path,
    read,
    stage,
    staged_names,
    write,
)

from davserver.protocol.errors import (
    Conflict,
    Forbidden,
    IncompleteBody,
    InsufficientStorage,
    NotFound,
    Refused,
    UriTooLong,
)
from davserver.protocol.paths import ROOT
from davserver.storage import node, rename
from davserver.storage.hold import Unproven
from davserver.storage.node import AlreadyThere, Node
from davserver.storage.rename import Place
from davserver.storage.staging import FOLDER
from davserver.storage.tree import Tree


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


def test_what_is_opened_is_a_file_or_a_folder(tree: Tree, root: Path) -> None:
    (root / "d").mkdir()
    (root / "f").touch()
    for where, is_collection in (("/d", True), ("/f", False), ("/", True)):
        file = tree.open(path(where))
        assert file.node == tree.stat(path(where))
        assert file.node.is_collection is is_collection
        file.close()
        file.close()
    with pytest.raises(NotFound):
        tree.members(path("/missing"))
    for act in (tree.stat, tree.open):
        with pytest.raises(UriTooLong):
            act(path("/" + "n" * 300))


def test_a_file_that_nobody_closes_is_closed(tree: Tree, root: Path) -> None:
    (root / "f").touch()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        tree.open(path("/f"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_private_names_do_not_exist_and_cannot_be_made(tree: Tree, root: Path) -> None:
    assert tree.stat(path("/" + FOLDER)) is None
    assert names(tree) == []
    with pytest.raises(NotFound):
        tree.open(path(f"/{FOLDER}/x"))
    for where in (FOLDER, f"{FOLDER}/x", ".davserver~mine"):
        with pytest.raises(Forbidden):
            make_folder(tree, "/" + where)
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


def test_a_member_that_cannot_be_looked_at_is_left_out(tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder that may be read and not entered. The others are listed."""
    for name in ("a", "b", "c"):
        (root / name).touch()
    real = node.node_of

    def refuse(status: os.stat_result) -> Node | None:
        if status.st_ino == os.lstat(root / "b").st_ino:
            raise PermissionError(13, "EACCES")
        return real(status)

    monkeypatch.setattr("davserver.storage.tree.node_of", refuse)
    assert names(tree) == ["a", "c"]


def test_a_listing_that_is_never_read_keeps_nothing_open(tree: Tree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        tree.members(ROOT)
        next(tree.members(ROOT), None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_space_is_that_of_the_file_system(tree: Tree, root: Path) -> None:
    space, status = tree.space(ROOT), os.statvfs(root)
    assert space.used > 0
    assert space.available is not None
    assert 0 <= space.available <= status.f_blocks * status.f_frsize


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
    with stage(tree, "/f", b"abc", b"def") as staged:
        assert names(tree) == []
        node = commit(tree, staged, "/f", replace=False)
    assert node == tree.stat(path("/f"))
    assert read(tree, "/f") == b"abcdef"
    assert staged_names(root) == []
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat(root / "f").st_mode) == 0o666 & ~umask


def test_a_new_file_has_the_group_of_its_folder(tree: Tree, root: Path) -> None:
    if not tree.use_tmpfile or os.geteuid():
        pytest.skip("needs unnamed files, and the right to give a folder another group")
    (root / "team").mkdir()
    os.chown(root / "team", -1, 4321)
    os.chmod(root / "team", 0o2775)
    write(tree, "/team/f", b"x")
    assert os.stat(root / "team" / "f").st_gid == 4321


@pytest.mark.parametrize("blocks", [(b"new",), ()])
def test_a_cut_upload_leaves_no_trace(blocks: tuple[bytes, ...], tree: Tree, root: Path) -> None:
    before = write(tree, "/f", b"old")
    for where in ("/f", "/new"):
        with pytest.raises(IncompleteBody):
            stage(tree, where, *blocks, cut=True)
    assert tree.stat(path("/f")) == before
    assert names(tree) == ["f"]
    assert staged_names(root) == []


def test_leaving_without_commit_discards(tree: Tree, root: Path) -> None:
    with pytest.raises(ZeroDivisionError), stage(tree, "/f", b"abc"):
        raise ZeroDivisionError
    with stage(tree, "/f", b"abc") as staged:
        staged.discard()
        staged.discard()
    assert names(tree) == staged_names(root) == []


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


def test_the_mode_that_counts_is_the_one_at_the_end_of_an_upload(tree: Tree, root: Path) -> None:
    write(tree, "/f", b"old")
    with stage(tree, "/f", b"new") as staged:
        os.chmod(root / "f", 0o600)
        commit(tree, staged, "/f", replace=True)
    assert stat.S_IMODE(os.stat(root / "f").st_mode) == 0o600


def test_a_reader_keeps_its_version(tree: Tree) -> None:
    write(tree, "/f", b"old")
    file = tree.open(path("/f"))
    write(tree, "/f", b"new!")
    assert os.pread(file.fd, 100, 0) == b"old"
    file.close()


@pytest.mark.slow
def test_every_version_has_an_etag_of_its_own(tree: Tree) -> None:
    tags = {write(tree, "/f", b"%04d" % number).etag for number in range(500)}
    tags |= {write(tree, "/f", b"%04d" % number, mtime=1_600_000_000).etag for number in range(500)}
    assert len(tags) == 1000


def test_the_time_a_client_asks_for_is_kept_to_the_second(tree: Tree) -> None:
    node = write(tree, "/f", b"x", mtime=1_600_000_000)
    assert node.last_modified == 1_600_000_000
    tree.set_mtime(HOLD, path("/f"), tree.new_time(1_500_000_000))
    later = tree.stat(path("/f"))
    assert later is not None
    assert later.last_modified == 1_500_000_000
    assert later.etag != node.etag


def test_a_new_name_is_made_once(tree: Tree) -> None:
    ready, won, lost = threading.Barrier(16), list[Node](), list[int]()

    def race(number: int) -> None:
        with stage(tree, "/f", b"%02d" % number) as staged:
            ready.wait()
            try:
                won.append(commit(tree, staged, "/f", replace=False))
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
    make_folder(tree, "/d")
    write(tree, "/d/f", b"")
    assert names(tree, "/d") == ["f"]
    assert read(tree, "/d/f") == b""
    for taken in ("/d", "/d/f"):
        with pytest.raises(AlreadyThere):
            make_folder(tree, taken)
    for orphan in ("/missing/x", "/d/f/x"):
        with pytest.raises(Conflict):
            make_folder(tree, orphan)
    with pytest.raises(Forbidden):
        make_folder(tree, "/")


def test_what_is_at_a_path_that_something_is_to_be_made_at(tree: Tree) -> None:
    write(tree, "/f", b"x")
    assert tree.look(path("/f")).node == tree.stat(path("/f"))
    assert tree.look(path("/new")).node is None
    assert tree.look(ROOT).node == tree.stat(ROOT)
    assert tree.look(ROOT).device == tree.look(path("/new")).device
    for orphan in ("/missing/x", "/f/x"):
        with pytest.raises(Conflict):
            tree.look(path(orphan))
        assert tree.inode(path(orphan)) is None
    assert tree.inode(path("/new")) is None


def test_a_name_taken_by_what_is_not_served_is_forbidden(tree: Tree, root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(Forbidden):
        make_folder(tree, "/link")
    with stage(tree, "/link", b"x") as staged, pytest.raises(Forbidden):
        commit(tree, staged, "/link", replace=False)
    with pytest.raises(Refused):
        stage(tree, "/link/x", b"x")
    assert not (tmp_path / "outside").exists()
    assert staged_names(root) == []


def test_a_name_that_is_free_again_at_once_counts_as_taken(
    tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made it has removed it since: the caller looks again."""
    with tree.spot(path("/f")) as spot, pytest.raises(AlreadyThere), tree.making(spot):
        raise FileExistsError


def test_nothing_is_staged_for_a_folder_that_is_not_there(tree: Tree) -> None:
    for where in ("/missing/f", "/missing/deep/f"):
        with pytest.raises(Conflict):
            stage(tree, where, b"x")
    long = f"/{'n' * 300}/f"
    with pytest.raises(UriTooLong):
        stage(tree, long, b"x")
    with pytest.raises(UriTooLong):
        make_folder(tree, long)


def test_nothing_changes_without_the_proof(tree: Tree) -> None:
    write(tree, "/f", b"x")
    with stage(tree, "/g", b"x") as staged, tree.spot(path("/g")) as spot:
        changes: list[Callable[[], object]] = [
            lambda: staged.commit(Nothing(), spot, replace=False),
            lambda: tree.create_collection(Nothing(), spot),
            lambda: tree.set_mtime(Nothing(), path("/f"), 1),
        ]
        for change in changes:
            with pytest.raises(Unproven):
                change()
    assert names(tree) == ["f"]


# --- faults


def test_an_upload_that_cannot_replace_leaves_the_old_file(
    tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(tree, "/f", b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "ENOSPC")

    with stage(tree, "/f", b"new") as staged:
        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(InsufficientStorage):
            commit(tree, staged, "/f", replace=True)
        monkeypatch.undo()
    assert tree.stat(path("/f")) == before
    assert staged_names(root) == []


def test_a_failed_fsync_of_the_data_is_told_and_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(str(root), ROOT, durable=True)
    before = write(tree, "/f", b"old")
    calls = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(5, "EIO")

    monkeypatch.setattr(os, "fsync", fail)
    for where in ("/f", "/new"):
        with pytest.raises(Refused):
            stage(tree, where, b"new")
    assert len(calls) == 2  # once each: never tried again
    assert tree.stat(path("/f")) == before
    assert names(tree) == ["f"]
    assert staged_names(root) == []
    tree.close()


def test_a_file_that_cannot_be_made_like_the_old_one_is_not_begun(
    tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tree, "/f", b"old")
    os.chmod(root / "f", 0o600)
    before = len(os.listdir("/proc/self/fd"))

    def fail(*_: object) -> None:
        raise OSError(5, "EIO")

    monkeypatch.setattr(os, "fchmod", fail)
    with pytest.raises(Refused):
        stage(tree, "/f", b"new")
    assert len(os.listdir("/proc/self/fd")) == before
    assert staged_names(root) == []


def test_a_file_that_vanishes_while_it_is_replaced(tree: Tree, root: Path) -> None:
    with stage(tree, "/f", b"new") as staged:
        commit(tree, staged, "/f", replace=True)
    assert read(tree, "/f") == b"new"
    with stage(tree, "/f", b"newer") as staged, tree.spot(path("/f")) as spot:
        os.chmod(root / "f", 0o600)
        os.unlink(root / "f")
        staged.commit(HOLD, spot, replace=True)
    assert read(tree, "/f") == b"newer"


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
            rename.exchange(Place(directory, "d"), Place(directory, "l"))

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen, tries = set(), 0
    try:
        while tries < 2000 or b"public" not in seen:  # a busy machine may let the other thread go first for long
            tries += 1
            try:
                seen.add(read(tree, "/d/f"))
            except Refused:
                seen.add(b"")
    finally:
        done.set()
        swapper.join()
        os.close(directory)
    assert b"secret" not in seen


def test_a_full_disk_is_507_and_changes_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=1m") as small:
        tree = Tree(str(small), ROOT)
        tree.open_stage()
        before = write(tree, "/f", b"old")
        for where in ("/f", "/new"):
            with pytest.raises(InsufficientStorage):
                stage(tree, where, *[b"x" * 100_000] * 20)
        assert tree.stat(path("/f")) == before
        assert names(tree) == ["f"]
        assert staged_names(small) == []
        write(tree, "/new", b"fits")
        tree.close()


def test_a_file_system_without_a_limit_does_not_tell_what_is_left(tmp_path: Path) -> None:
    with mounted(tmp_path / "endless", "size=0") as endless:
        tree = Tree(str(endless), ROOT)
        assert tree.space(ROOT).available is None
        tree.close()


def test_a_file_system_mounted_inside_has_a_stage_of_its_own(root: Path) -> None:
    (root / "m").mkdir()
    with mounted(root / "m", "size=4m"):
        (root / "m" / "deep").mkdir()
        tree = Tree(str(root), ROOT)
        tree.open_stage()
        write(tree, "/m/deep/g", b"g")
        write(tree, "/m/deep/g", b"again")
        assert read(tree, "/m/deep/g") == b"again"
        assert FOLDER in os.listdir(root / "m")
        assert FOLDER not in os.listdir(root / "m" / "deep")
        with pytest.raises(Refused):
            tree.stage(path("/m/deep/g"), 12345)  # what was mounted there has gone meanwhile
        tree.close()
        assert FOLDER not in os.listdir(root / "m")


def test_the_leftovers_of_a_kill_are_invisible_and_cleared_by_the_next_start(root: Path) -> None:
    code = (
        "import sys, os, signal\n"
        "from davserver.storage.tree import Tree\n"
        "from davserver.storage.staged import StagedFile\n"
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
        "with tree.spot(DavPath.parse('/f')) as spot:\n"
        "    StagedFile(tree, spot).receive(Body())\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    assert killed.returncode == -9
    assert len(staged_names(root)) == 1
    (session,) = (root / FOLDER).iterdir()
    (session / "tree").mkdir()
    (session / "tree" / "file").touch()
    tree = Tree(str(root), ROOT)
    assert names(tree) == []
    tree.open_stage()
    for opened in tree._stages.values():
        opened._sweeper.join()  # on a busy machine it takes longer than a start waits
    assert staged_names(root) == []
    assert not session.exists()
    tree.close()
    assert os.listdir(root) == []


def test_a_second_server_leaves_the_stage_of_the_first_alone(root: Path) -> None:
    first = Tree(str(root), ROOT, use_tmpfile=False)
    first.open_stage()
    with stage(first, "/f", b"x") as staged:
        second = Tree(str(root), ROOT)
        second.open_stage()
        assert len(staged_names(root)) == 1
        second.close()
        commit(first, staged, "/f", replace=False)
    assert read(first, "/f") == b"x"
    first.close()


def test_a_stage_that_is_no_folder_is_an_error(root: Path) -> None:
    (root / FOLDER).symlink_to("/")
    tree = Tree(str(root), ROOT, use_tmpfile=False)
    with pytest.raises(OSError, match=r"(?i)directory|symbolic"):
        tree.open_stage()
    with pytest.raises(Refused):
        stage(tree, "/f", b"x")
    tree.close()
