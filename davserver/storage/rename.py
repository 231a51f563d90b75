"""renameat2: renaming that does not replace, and renaming that exchanges (Linux 3.15)."""

from __future__ import annotations

import ctypes
import errno
import os

_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def rename_new(source: str, destination: str, *, source_fd: int, destination_fd: int) -> None:
    """Rename; FileExistsError when the destination is taken, by whoever."""
    try:
        _renameat2(source, destination, source_fd, destination_fd, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        # A file system without the flag: only somebody who does not pass the gate could come in between.
        _refuse_taken(destination, destination_fd)
        os.rename(source, destination, src_dir_fd=source_fd, dst_dir_fd=destination_fd)


def exchange(source: str, destination: str, *, source_fd: int, destination_fd: int) -> bool:
    """Swap two names in one step. False where the file system cannot."""
    try:
        _renameat2(source, destination, source_fd, destination_fd, _RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def _renameat2(source: str, destination: str, source_fd: int, destination_fd: int, flags: int) -> None:
    if _libc.renameat2(source_fd, os.fsencode(source), destination_fd, os.fsencode(destination), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _refuse_taken(name: str, directory: int) -> None:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
