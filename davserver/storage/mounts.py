"""Mounts: is a folder on a file system of this machine?

SQLite shares memory and byte-range locks among the processes that use a database. A network file system that
seems to have both lets two machines write at once, and the database is then damaged without a word.
"""

from __future__ import annotations

import os
import re

#: File systems over a network, or shared by several machines, as the kernel names their types.
_NETWORK = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "orangefs", "smb3", "smbfs", "vboxsf",
    }
)  # fmt: skip
#: Of those in user space, which are told apart by what stands behind "fuse.".
_LOCAL_FUSE = frozenset({"fuseblk", "fuse.lxcfs", "fuse.mergerfs", "fuse.unionfs-fuse", "fuse.bindfs", "fuse.encfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")


def network_type(folder: str, mountinfo: str | None = None) -> str | None:
    """The type of the network file system that `folder` lies on; None where it is on one of this machine.

    `mountinfo`: what proc_pid_mountinfo(5) says; read where it is not given.
    """
    if mountinfo is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mountinfo = file.read()
        except OSError:
            return None  # a sandbox without /proc: nothing is known, and nothing is claimed
    kind = _type(os.path.realpath(folder), mountinfo)
    is_network = kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)
    return kind if is_network else None


def _type(path: str, mountinfo: str) -> str:
    """The type of what is mounted nearest above `path`; of several on one place the last hides the others."""
    nearest, found = -1, ""
    for line in mountinfo.splitlines():
        # ID, parent, device, root, mount point, options, optional fields…, "-", type, source, options
        before, _, after = line.partition(" - ")
        point = _OCTAL.sub(lambda escape: chr(int(escape[1], 8)), before.split(" ")[4])
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= nearest:
            nearest, found = len(point), after.partition(" ")[0]
    return found
