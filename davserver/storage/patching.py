"""A new version of a file that is the old one with a part of it replaced."""

from __future__ import annotations

import os

from davserver.protocol.paths import DavPath
from davserver.storage.copying import copy_content
from davserver.storage.node import Node
from davserver.storage.oserrors import refusing
from davserver.storage.staged import StagedFile
from davserver.storage.tree import Tree


def stage_patch(tree: Tree, path: DavPath, base: Node, part: StagedFile, offset: int, length: int) -> StagedFile:
    """The version `base` of the file at `path`, whose bytes from `offset` on are the `length` bytes of `part`.

    A gap before `offset` is zeros. Should the file be another version by now, so is the result: who commits it looks.
    """
    with tree.spot(path) as spot:
        staged = StagedFile(tree, spot)
    try:
        file = tree.open(path)
        try:
            with refusing():
                copy_content(file.fd, staged.fd, base.size)
                os.lseek(part.fd, 0, os.SEEK_SET)
                os.lseek(staged.fd, offset, os.SEEK_SET)
                copy_content(part.fd, staged.fd, length)
                tree.sync(staged.fd)
        finally:
            file.close()
    except BaseException:
        staged.discard()
        raise
    return staged
