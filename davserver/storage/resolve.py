"""From names to an open file, never outside a root and never through a symbolic link.

A link is a second name of a file, and a way round the locks of its first; so links are not followed, also not to
places within the root. (Where a share follows links, `spelling` first finds the true names of what they lead to.)
The kernel resolves in one step, relative to an open directory (openat2
with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS): there is no moment between a check and an open. Where the
kernel (before 5.6) or a sandbox has no openat2, the path is walked name by name with O_NOFOLLOW.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from functools import cache

_OPENAT2 = 437  # the same number on every architecture (include/uapi/asm-generic/unistd.h)
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_LINKED = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
_STRICT = _LINKED | _RESOLVE_NO_SYMLINKS
_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW
#: Opening a pipe must not wait for somebody at its other end. openat2 refuses these beside O_PATH.
_OPENING = os.O_NONBLOCK | os.O_NOCTTY
#: Renames elsewhere that may disturb the kernel's walk over links before it counts as leading nowhere.
_TRIES = 20
#: Bytes of a path that the kernel takes in one piece, with the NUL at its end.
_PATH_MAX = 4096


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)


@cache
def has_openat2() -> bool:
    """Does openat2 work here?"""
    root = os.open("/", os.O_PATH)  # and not the folder we are in, which may be closed to us
    try:
        os.close(_openat2(root, b".", os.O_PATH))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return False
        raise
    finally:
        os.close(root)
    return True


class Resolver:
    """Opens what lies below the directory `root_fd`, which it does not own."""

    def __init__(self, root_fd: int, *, use_openat2: bool | None = None) -> None:
        self._root = root_fd
        self._openat2 = has_openat2() if use_openat2 is None else use_openat2

    def open(self, names: Sequence[str], flags: int) -> int:
        """A file descriptor for root/names… Raises OSError: ELOOP or ENOTDIR where a link is in the way."""
        if not self._openat2 or len(names) < 2:
            return self._walk(names, flags)  # a single name leads nowhere else
        path = os.fsencode("/".join(names))
        try:
            return _openat2(self._root, path, flags)
        except OSError as error:
            # A rename elsewhere disturbed the kernel's walk, or there are more names than it takes at once.
            if error.errno == errno.EAGAIN or (error.errno == errno.ENAMETOOLONG and len(path) >= _PATH_MAX):
                return self._walk(names, flags)
            raise

    def status(self, names: Sequence[str]) -> os.stat_result:
        """Of what `open` would open, also where it must not be opened. Raises OSError."""
        if len(names) == 1:
            return os.stat(names[0], dir_fd=self._root, follow_symlinks=False)
        fd = self.open(names, os.O_PATH)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def follow(self, names: Sequence[str], flags: int) -> int:
        """`open`, through links that stay below the root. Raises OSError: EXDEV where one leads out, ENOSYS where
        the kernel cannot tell."""
        if not self._openat2:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        path = os.fsencode("/".join(names)) or b"."
        for _ in range(_TRIES):
            try:
                return _openat2(self._root, path, flags, links=True)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def _walk(self, names: Sequence[str], flags: int) -> int:
        if len(names) < 2:
            return os.open(names[0] if names else ".", _complete(flags), dir_fd=self._root)
        at, owned = self._root, False
        try:
            for name in names[:-1]:
                inner = os.open(name, os.O_PATH | os.O_DIRECTORY | _ALWAYS, dir_fd=at)
                if owned:
                    os.close(at)
                at, owned = inner, True
            return os.open(names[-1], _complete(flags), dir_fd=at)
        finally:
            if owned:
                os.close(at)


def _openat2(directory: int, path: bytes, flags: int, *, links: bool = False) -> int:
    fd: int = _syscall(_OPENAT2, directory, path, _how(flags, links), ctypes.sizeof(_OpenHow))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


@cache
def _how(flags: int, links: bool) -> object:
    """A reference to the struct, which keeps it. The kernel only reads it, so all threads may share it."""
    flags = _complete(flags)
    return ctypes.byref(_OpenHow(flags & ~os.O_NOFOLLOW, 0, _LINKED) if links else _OpenHow(flags, 0, _STRICT))


def _complete(flags: int) -> int:
    return flags | _ALWAYS if flags & os.O_PATH else flags | _ALWAYS | _OPENING
