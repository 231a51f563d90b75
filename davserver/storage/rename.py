"""Names in open folders, and renaming: what never replaces, what exchanges, and what takes the place of another.

renameat2 is Linux's (3.15); a file system that does not know its flags gets the nearest thing there is.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat as modes
from typing import NamedTuple

_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


class Place(NamedTuple):
    """A name in an open folder, whether there is anything under it or not. The folder is its maker's to close."""

    folder: int
    name: str

    def status(self) -> os.stat_result | None:
        """Of whatever is there, a link itself; None where nothing is."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def rename(self, to: Place) -> None:
        """rename(2): replaces a file that is there."""
        os.rename(self.name, to.name, src_dir_fd=self.folder, dst_dir_fd=to.folder)

    @property
    def device(self) -> int:
        """The file system that the folder lies on."""
        return os.fstat(self.folder).st_dev

    @property
    def path(self) -> str:
        """For system calls that take no folder. It leads through no link but the kernel's own."""
        return f"/proc/self/fd/{self.folder}/{self.name}"


def rename_new(source: Place, destination: Place) -> None:
    """Rename; FileExistsError when the destination is taken, by whoever."""
    try:
        _renameat2(source, destination, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        # A file system without the flag: only somebody who does not pass the gate could come in between.
        if destination.status() is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        source.rename(destination)


def exchange(source: Place, destination: Place) -> bool:
    """Swap two names in one step. False where the file system cannot."""
    try:
        _renameat2(source, destination, _RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def replace(source: Place, destination: Place, aside: Place, *, keep: bool = False) -> bool:
    """Rename `source` to `destination`, in place of what is there. True: that lies at `aside` now. `keep`: as far as
    the file system can, also a file that one rename would replace for good.

    One of the two is whole at the destination at every moment, but on file systems
    that cannot exchange names: there, where a folder is involved, the old one steps aside first, and back when the
    new one cannot come.
    """
    new, old = source.status(), destination.status()
    if new is not None and old is not None and (new.st_dev, new.st_ino) == (old.st_dev, old.st_ino):
        source.rename(aside)  # two names of one file: rename(2) would leave both
        return True
    in_one_step = not takes_steps(new, old)
    if in_one_step and not (keep and old is not None):
        source.rename(destination)
        return False
    if exchange(source, destination):
        try:
            source.rename(aside)
        except OSError:
            exchange(source, destination)
            raise
        return True
    if in_one_step:
        source.rename(destination)
        return False
    destination.rename(aside)
    try:
        source.rename(destination)
    except OSError:
        aside.rename(destination)
        raise
    return True


def takes_steps(new: os.stat_result | None, old: os.stat_result | None) -> bool:
    """Does `replace` take more than one step, so that a crash can come in between?"""
    return old is not None and not (_is_file(old) and _is_file(new))


def _is_file(status: os.stat_result | None) -> bool:
    return status is not None and modes.S_ISREG(status.st_mode)


def _renameat2(source: Place, destination: Place, flags: int) -> None:
    if _libc.renameat2(
        source.folder, os.fsencode(source.name), destination.folder, os.fsencode(destination.name), flags
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
