"""Staging: new content is made aside and becomes visible in one step, or never.

The staging folder `.davserver~stage` lies at the top of the file system that the target is on, so that the
last step is a rename. Uploads are unnamed files in it (O_TMPFILE), which the kernel forgets with the
process; where a file system has none of those, and for copies of folders, they have a name in it. Names
that begin with `.davserver~` are private: never listed, never reachable.

Every server that uses a staging folder holds a shared flock on it. Who can get it exclusively is alone, and
clears what a crash left behind; that is tried whenever the folder is opened.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator

from davserver.storage.resolve import Resolver

PRIVATE_PREFIX = ".davserver~"
FOLDER = PRIVATE_PREFIX + "stage"

_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})


class Stage:
    """The staging folder of one file system."""

    def __init__(self, parent_fd: int, *, use_tmpfile: bool = True) -> None:
        """`parent_fd`: the directory at the top of the file system. Raises OSError where it cannot be written."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(FOLDER, 0o700, dir_fd=parent_fd)
        self.fd = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            self._claim()
        except BaseException:
            os.close(self.fd)
            raise
        self._use_tmpfile = use_tmpfile

    def _claim(self) -> None:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # others are at work here: what lies here is theirs
        else:
            for name in os.listdir(self.fd):
                self.clear(name)
        fcntl.flock(self.fd, fcntl.LOCK_SH)

    def new_name(self) -> str:
        return secrets.token_hex(16)

    def new_file(self) -> tuple[int, str | None]:
        """An empty file open for writing, and its name in the folder if it has one."""
        if self._use_tmpfile:
            try:
                return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666, dir_fd=self.fd), None
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
                self._use_tmpfile = False
        name = self.new_name()
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self.fd), name

    def clear(self, name: str) -> None:
        """Remove a file or a whole tree from the folder. What cannot be removed stays, invisible, until the next
        start tries again."""
        with contextlib.suppress(OSError):
            try:
                os.unlink(name, dir_fd=self.fd)
            except (IsADirectoryError, PermissionError):
                self._clear_tree(name)

    def _clear_tree(self, name: str) -> None:
        """Without recursion, since a tree may be deeper than Python's stack; links are removed, not followed."""
        resolver = Resolver(self.fd)
        found: list[tuple[str, ...]] = [(name,)]
        for names in found:  # grows while it is read: parents stand before their children
            directory = resolver.open(names, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            found.append((*names, entry.name))
                        else:
                            os.unlink(entry.name, dir_fd=directory)
            finally:
                os.close(directory)
        for names in reversed(found):
            parent = resolver.open(names[:-1], os.O_PATH | os.O_DIRECTORY)
            try:
                os.rmdir(names[-1], dir_fd=parent)
            finally:
                os.close(parent)

    def close(self) -> None:
        os.close(self.fd)


def link_unnamed(fd: int, directory: int, name: str) -> None:
    """Give an O_TMPFILE file its name. Raises FileExistsError when the name is taken.

    With a directory descriptor Python calls linkat with AT_SYMLINK_FOLLOW, which /proc/self/fd needs.
    """
    os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)


def keep_attributes(old: os.stat_result, old_fd: int, new_fd: int) -> None:
    """What replaces a file takes over its mode, and as far as that is permitted its owner and attributes (ACLs)."""
    new = os.fstat(new_fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with _as_far_as_permitted():
            os.fchown(new_fd, old.st_uid, old.st_gid)
    if old.st_mode != new.st_mode:
        os.fchmod(new_fd, old.st_mode & 0o7777)
    try:
        names = os.listxattr(old_fd)
    except OSError:
        return  # the file system has none
    for name in names:
        with _as_far_as_permitted():
            os.setxattr(new_fd, name, os.getxattr(old_fd, name))


@contextlib.contextmanager
def _as_far_as_permitted() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENODATA):
            raise
