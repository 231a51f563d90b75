"""Staging: new content is made aside and becomes visible in one step, or never.

The staging folder `.davserver~stage` lies at the top of the file system that the target is on, so that the last
step is a rename. In it every process that is at work has a folder of its own, and a lock (flock) on it for as long
as it lives. So who opens a stage can tell what the dead left behind, and clears it; what an intent still needs
(`journal`) stays.

The folder's name tells whose state its process works on. A file that is served with two states has two sets of locks,
and neither holds: so nobody serves here while a process with another state lives. What the dead of another state left
is not cleared unasked, since nobody can tell what their intents still need.

Uploads are unnamed files (O_TMPFILE), which the kernel forgets with the process. Copies of folders, uploads where a
file system has no unnamed files, and what is on its way out have a name in the process's folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat as modes
import threading
from collections.abc import Callable, Container, Iterator

from davserver.protocol.errors import Refused, Unavailable
from davserver.storage.rename import Place
from davserver.storage.served import PRIVATE_PREFIX

FOLDER = PRIVATE_PREFIX + "stage"

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
#: Seconds that a start waits for what the dead left to be cleared; what is left then is cleared beside the work.
_PATIENCE = 1.0


class Stage:
    """The staging folder of one file system, and this process's own folder in it, which `fd` is."""

    def __init__(self, top: int, *, owner: str = "", needed: Callable[[], Container[str]] = frozenset) -> None:
        """`top`: the directory at the top of the file system. `owner`: the state that goes with what is served.
        `needed`: references that must outlive their process.

        Raises OSError where it cannot be written, Unavailable where a process with another state is at work.
        """
        self._owned = f"{owner}."
        self._top = os.dup(top)
        try:
            self._folder, self.session, self.fd = self._open()
        except BaseException:
            os.close(self._top)
            raise
        self._needed = needed
        self._closing = threading.Event()
        self._sweeper = threading.Thread(target=self.sweep, name="davserver sweeper", daemon=True)
        self._sweeper.start()
        self._sweeper.join(_PATIENCE)

    def _open(self) -> tuple[int, str, int]:
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(FOLDER, 0o700, dir_fd=self._top)
            with contextlib.ExitStack() as undo:
                try:
                    folder = os.open(FOLDER, _OPEN, dir_fd=self._top)
                    undo.callback(os.close, folder)
                    name = self._owned + secrets.token_hex(8)
                    os.mkdir(name, 0o700, dir_fd=folder)
                    own = os.open(name, _OPEN, dir_fd=folder)
                    undo.callback(os.close, own)
                    fcntl.flock(own, fcntl.LOCK_EX)
                    os.stat(name, dir_fd=folder)
                    self._require_alone(folder, name)
                    undo.pop_all()
                    return folder, name, own
                except FileNotFoundError:
                    continue  # somebody who closed, or swept, took it away before it was locked

    def _require_alone(self, folder: int, own: str) -> None:
        """Each has locked its own folder before it looks: of two that start at once at least one sees the other."""
        for name in os.listdir(folder):
            if not name.startswith(self._owned) and _is_alive(folder, name):
                os.rmdir(own, dir_fd=folder)
                raise Unavailable(
                    "These files are served by another davserver that keeps its locks in another state folder, so "
                    "that neither's locks would hold. Stop that one, or give both the same state folder."
                )

    def sweep(self, *, foreign: bool = False) -> None:
        """Clear what processes left that are no more. `foreign`: also those of another state."""
        for name in os.listdir(self._folder):
            if name != self.session and (foreign or name.startswith(self._owned)):
                self._sweep(name)

    def _sweep(self, name: str) -> None:
        try:
            fd = os.open(name, _OPEN, dir_fd=self._folder)
        except OSError:
            return  # gone meanwhile, or nothing of ours
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Asked after the lock: its process is dead, and records no more intents.
            keep = self._needed()
            for inner in os.listdir(fd):
                if f"{name}/{inner}" not in keep:
                    clear(fd, inner, self._closing.is_set)
            os.rmdir(name, dir_fd=self._folder)
        except (OSError, Refused):
            return  # its process lives, an intent still needs some of it, or nobody can tell
        finally:
            os.close(fd)

    def new_file(self) -> tuple[int, Slot]:
        """An empty file under a name of its own, open for reading and writing."""
        slot = self.new_slot()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(slot.place.name, flags, 0o666, dir_fd=self.fd), slot

    def new_slot(self) -> Slot:
        return Slot(self, _new_name())

    @contextlib.contextmanager
    def recall(self, reference: str) -> Iterator[Place | None]:
        """What an intent remembers, perhaps another process's; None when its folder has gone."""
        session, _, name = reference.partition("/")
        try:
            fd = os.open(session, _OPEN, dir_fd=self._folder)
        except FileNotFoundError:
            yield None
            return
        try:
            yield Place(fd, name)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Leave nothing behind, as far as others and what cannot be removed permit."""
        self._closing.set()
        self._sweeper.join()
        for name, folder in ((self.session, self._folder), (FOLDER, self._top)):
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=folder)
        for fd in (self.fd, self._folder, self._top):
            os.close(fd)


def _is_alive(folder: int, session: str) -> bool:
    """Does the process live whose folder this is?"""
    try:
        fd = os.open(session, _OPEN, dir_fd=folder)
    except OSError:
        return False  # gone meanwhile, or nothing of ours
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_served_elsewhere(root: str, owner: str) -> bool:
    """Is a process known to work on the files below `root` with another state than that of `owner`?"""
    try:
        folder = os.open(os.path.join(root, FOLDER), _OPEN)
    except OSError:
        return False
    try:
        return any(not name.startswith(f"{owner}.") and _is_alive(folder, name) for name in os.listdir(folder))
    finally:
        os.close(folder)


def left_behind(top: int, needed: Callable[[], Container[str]]) -> list[str]:
    """References of what lies in the stage at `top`, if there is one, in folders whose processes are no more."""
    try:
        folder = os.open(FOLDER, _OPEN, dir_fd=top)
    except OSError:
        return []
    found = []
    try:
        for session in os.listdir(folder):
            try:
                fd = os.open(session, _OPEN, dir_fd=folder)
            except OSError:
                continue  # gone meanwhile, or nothing of ours
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found += [f"{session}/{name}" for name in os.listdir(fd)]
            except BlockingIOError:
                continue  # its process lives
            finally:
                os.close(fd)
        keep = needed()
    finally:
        os.close(folder)
    return sorted(name for name in found if name not in keep)


def _new_name() -> str:
    return secrets.token_hex(16)


class Slot:
    """A name in the stage that something may be put aside under."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.place = Place(stage.fd, name)
        #: What an intent remembers: it leads to the same place for another process.
        self.reference = f"{stage.session}/{name}"

    def empty(self) -> int:
        """Remove what lies there, a file or a whole tree. Returns the bytes of the files that were removed."""
        return clear(*self.place)


class Discarded:
    """What was taken out of sight and is still to be removed, which may take its time: outside the hold."""

    def __init__(self, *slots: Slot) -> None:
        self._slots = slots

    def __add__(self, other: Discarded) -> Discarded:
        return Discarded(*self._slots, *other._slots)

    def empty(self) -> int:
        """Returns the bytes of the files that were removed."""
        return sum(slot.empty() for slot in self._slots)


def clear(folder: int, name: str, stopped: Callable[[], bool] = lambda: False) -> int:
    """Remove a file, or a tree of whatever depth, from a stage; returns the bytes of its files. `stopped`: is asked
    between folders whether to leave the rest for another time.

    What cannot be removed stays, invisible, until the next start tries again. Links are removed, not followed; a file
    system that is mounted inside is left alone, since where it is mounted cannot be renamed.
    """
    freed, todo = 0, [name]
    while todo and not stopped():
        with contextlib.suppress(OSError):
            freed += _clear(folder, todo.pop(), todo)
    return freed


def _clear(folder: int, name: str, todo: list[str]) -> int:
    """Remove one file, or one directory; what lies in a directory comes into the stage itself, and into `todo`.

    So no path is ever longer than a name, and nothing is held open or remembered for the levels of a tree.
    """
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not modes.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=folder)
        return status.st_size if modes.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0
    freed = 0
    fd = os.open(name, _OPEN, dir_fd=folder)
    try:
        for entry in os.listdir(fd):
            inner = os.stat(entry, dir_fd=fd, follow_symlinks=False)
            if modes.S_ISDIR(inner.st_mode):
                aside = _new_name()
                os.rename(entry, aside, src_dir_fd=fd, dst_dir_fd=folder)
                todo.append(aside)
            else:
                os.unlink(entry, dir_fd=fd)
                freed += inner.st_size if modes.S_ISREG(inner.st_mode) and inner.st_nlink == 1 else 0
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=folder)
    return freed


def open_unnamed(folder: int) -> int | None:
    """An empty file without a name, which will get one in `folder`: it has the group and the access control list that a
    new file there has. None where the file system has none such."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_TMPFILE:
            return None
        raise


def link_unnamed(fd: int, directory: int, name: str) -> None:
    """Give an O_TMPFILE file its name. Raises FileExistsError when the name is taken.

    With a directory descriptor Python calls linkat with AT_SYMLINK_FOLLOW, which /proc/self/fd needs.
    """
    os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)


def keep_attributes(old: os.stat_result, source: int | str, new: os.stat_result, target: int) -> None:
    """What replaces a file, or copies it, takes over its mode, and as far as that is permitted its owner and attributes
    (ACLs). But what makes a program run with more rights than those of who starts it is not handed on to content that
    somebody sent: setuid, setgid and capabilities, which the kernel drops as well when a file is written to.
    `source`: the old file, open, or a path that leads to it. Raises FileNotFoundError when it has gone."""
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with _as_far_as_permitted():
            os.fchown(target, old.st_uid, old.st_gid)
    mode = old.st_mode & 0o777
    if modes.S_ISDIR(new.st_mode):
        mode |= new.st_mode & 0o7000  # there setgid says whose group new files get
    if mode != modes.S_IMODE(new.st_mode):
        os.fchmod(target, mode)
    follow = isinstance(source, int)
    try:
        names = os.listxattr(source, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return  # the file system has none
        raise
    for name in names:
        if name == "security.capability":
            continue
        with _as_far_as_permitted():
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=follow))


@contextlib.contextmanager
def _as_far_as_permitted() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENODATA):
            raise
