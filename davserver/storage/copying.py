"""COPY: a file, or a tree of them, built aside.

Each file is one whole version of its source. Links, special files and private names are left out. Copies
keep mode, attributes and the second of the last change.
"""

from __future__ import annotations

import errno
import os

from davserver.protocol.errors import NotFound
from davserver.protocol.paths import DavPath
from davserver.storage.node import node_of
from davserver.storage.oserrors import refusing
from davserver.storage.resolve import Resolver
from davserver.storage.staged import StagedCopy
from davserver.storage.staging import PRIVATE_PREFIX, Stage, keep_attributes
from davserver.storage.tree import Tree

_CHUNK = 64 << 20


def stage_copy(
    source_tree: Tree, source: DavPath, target_tree: Tree, destination: DavPath, *, recursive: bool
) -> StagedCopy:
    """Copy `source` aside, on the file system that `destination` will lie on. Not recursive: a folder alone."""
    stage = target_tree.stage_for(destination)
    name = stage.new_name()
    copy = StagedCopy(target_tree, stage, name)
    fd = source_tree.source(source)
    try:
        with refusing():
            node = node_of(os.fstat(fd))
            if node is None:
                raise NotFound("There is no file at this path.")
            if not node.is_collection:
                _copy_file(target_tree, fd, stage.fd, name)
            else:
                os.mkdir(name, dir_fd=stage.fd)
                if recursive:
                    _copy_members(target_tree, fd, stage, name)
    except BaseException:
        copy.discard()
        raise
    finally:
        os.close(fd)
    return copy


def _copy_members(tree: Tree, source: int, stage: Stage, name: str) -> None:
    """Folder by folder, without recursion: a tree may be deeper than Python's stack."""
    sources, targets = Resolver(source), Resolver(stage.fd)
    todo: list[tuple[str, ...]] = [()]
    while todo:
        names = todo.pop()
        here = sources.open(names, os.O_RDONLY | os.O_DIRECTORY)
        there = targets.open((name, *names), os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith(PRIVATE_PREFIX):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        os.mkdir(entry.name, dir_fd=there)
                        todo.append((*names, entry.name))
                    elif entry.is_file(follow_symlinks=False):
                        _copy_entry(tree, here, there, entry.name)
            tree.sync(there)
        finally:
            os.close(here)
            os.close(there)


def _copy_entry(tree: Tree, here: int, there: int, name: str) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    except FileNotFoundError:
        return  # gone since the folder was read
    try:
        _copy_file(tree, fd, there, name)
    finally:
        os.close(fd)


def _copy_file(tree: Tree, source: int, directory: int, name: str) -> None:
    status = os.fstat(source)
    target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=directory)
    try:
        _copy_content(source, target)
        keep_attributes(status, source, target)
        tree.stamp(target, status.st_mtime_ns // 1_000_000_000)
        tree.sync(target)
    finally:
        os.close(target)


def _copy_content(source: int, target: int) -> None:
    """In the kernel, and shared between the two files where the file system can."""
    try:
        while os.copy_file_range(source, target, _CHUNK):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            raise
        while os.sendfile(target, source, None, _CHUNK):
            pass
