"""What storage tells of a resource: a node, a file open for reading."""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from davserver.protocol.headers import ETag


class AlreadyThere(Exception):
    """A name that was to be new is taken. What that means is the method's to say."""


class OtherDevice(Exception):
    """rename(2) does not cross file systems."""


#: Of an inode, its mtime in nanoseconds and its size: quicker than an f-string.
TAG = "%x-%x-%x"


class Node(NamedTuple):
    """A file or a folder, as it was when it was looked at. A tuple, since a listing makes one for each member."""

    is_collection: bool
    size: int
    mtime_ns: int
    inode: int
    #: It was found through a symbolic link: its locks and properties are those of another path.
    is_link: bool = False

    @classmethod
    def of(cls, status: os.stat_result) -> Node:
        """`status` is that of a file or a folder."""
        folder = S_ISDIR(status.st_mode)
        return cls(folder, 0 if folder else status.st_size, status.st_mtime_ns, status.st_ino)

    @property
    def tag(self) -> str:
        """Strong (RFC 9110 §8.8.1): every write makes a new inode, and no two get the same nanosecond."""
        return TAG % (self.inode, self.mtime_ns, self.size)

    @property
    def etag(self) -> ETag:
        return ETag(self.tag)

    @property
    def last_modified(self) -> int:
        """Seconds since the epoch."""
        return self.mtime_ns // 1_000_000_000


class Version(NamedTuple):
    """Changes with whatever is done to a resource, also behind the server's back, where no ETag tells of it."""

    text: str
    #: Of content, name or attributes, in seconds since the epoch: a time that nobody can set.
    changed: float

    @classmethod
    def of(cls, status: os.stat_result) -> Version:
        return cls(f"{Node.of(status).tag}-{status.st_ctime_ns:x}", status.st_ctime_ns / 1e9)


#: Without what NamedTuple puts before it: a listing makes one for each member.
_new = tuple.__new__


def node_of(status: os.stat_result) -> Node | None:
    """None for what is neither file nor folder: links, pipes, sockets and devices are not served."""
    if S_ISREG(status.st_mode):
        return _new(Node, (False, status.st_size, status.st_mtime_ns, status.st_ino, False))
    if S_ISDIR(status.st_mode):
        return _new(Node, (True, 0, status.st_mtime_ns, status.st_ino, False))
    return None


class OpenFile:
    """A file, or a folder, open for reading: it stays the same version, whoever replaces it.

    Closed at the latest when nobody refers to it any more: an answer may be given up before it was begun.
    """

    __slots__ = ("_open", "fd", "node")

    def __init__(self, fd: int, node: Node) -> None:
        self.fd, self.node = fd, node
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)

    __del__ = close
