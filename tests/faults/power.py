"""A disk whose power can be cut: a file system of its own in a file, which forgets at once what was not synced.

The file system is a real one, mounted through a loop device, and its own ioctl for tests (EXT4_IOC_SHUTDOWN, which is
XFS's GOINGDOWN) stops it without writing anything more: neither data nor its journal. What a mount finds afterwards is
what a machine finds that lost its power. It is made to sync nothing on its own account (no commit for ten minutes, and
of ext4 no writing of data before a rename), so that only an fsync of the server's saves anything.

What this does not try is a disk that lies about its own cache.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_GOINGDOWN, _WITHOUT_THE_LOG = 0x8004587D, 2
#: Of each file system: its size in MiB, how it is made, and how mounted.
KINDS = {
    "ext4": (48, ["mkfs.ext4", "-q", "-F"], "loop,commit=600,noauto_da_alloc,data=writeback"),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"], "loop"),
}


class Disk:
    """Mounted at `folder`/disk while it is used as a context manager."""

    def __init__(self, folder: Path, kind: str) -> None:
        size, make, self._options = KINDS[kind]
        if shutil.which(make[0]) is None:
            pytest.skip(f"{make[0]} is not installed: what a power cut does to {kind} is NOT TESTED here")
        self._image, self.place = folder / f"{kind}.img", folder / "disk"
        self.place.mkdir()
        with self._image.open("wb") as file:
            file.truncate(size << 20)
        subprocess.run([*make, str(self._image)], check=True, capture_output=True)
        self._kind, self._is_mounted = kind, False

    def mount(self) -> None:
        """What the journal of the file system has is played back."""
        command = ["mount", "-t", self._kind, "-o", self._options, str(self._image), str(self.place)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            pytest.skip(f"a power cut is NOT TESTED here, no loop device can be mounted: {run.stderr.strip()}")
        self._is_mounted = True

    def unmount(self) -> None:
        """Nobody may have anything open there."""
        subprocess.run(["umount", str(self.place)], check=True)
        self._is_mounted = False

    def replace(self) -> None:
        """Another disk with the same content, where the old one has been cut and is still in use."""
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)
        self._is_mounted = False
        other = self._image.with_suffix(".copy")
        shutil.copyfile(self._image, other)
        self._image.unlink()
        self._image = other
        self.mount()

    def cut(self) -> None:
        """From now on every access fails, and what was not synced is gone."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _GOINGDOWN, struct.pack("I", _WITHOUT_THE_LOG))
        finally:
            os.close(fd)

    def __enter__(self) -> Disk:
        with ExitStack() as stack:
            stack.enter_context(_own_mounts())
            stack.callback(lambda: self._image.unlink())
            self.mount()
            stack.callback(lambda: self.unmount() if self._is_mounted else None)
            self._leave = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.close()


@contextmanager
def _own_mounts() -> Iterator[None]:
    """Mounts that this thread sees, and what it starts, and nobody else. A process that came to a mount namespace of
    its own meanwhile (the sandbox of a browser) would keep the file system mounted, with all that it knows."""
    libc, folder = ctypes.CDLL(None, use_errno=True), os.getcwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        if libc.unshare(_NEW_MOUNTS):
            pytest.skip(f"a power cut is NOT TESTED here, mounting needs root: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        try:
            yield
        finally:
            assert libc.setns(before, _NEW_MOUNTS) == 0, os.strerror(ctypes.get_errno())
            os.chdir(folder)
    finally:
        os.close(before)
