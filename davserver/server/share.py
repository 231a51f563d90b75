"""A share as WsgiDAV knows it: the provider registered for its path.

davserver's methods work on `storage.share.Share`; this is the same share seen through WsgiDAV's interface,
for middleware of others that asks the application for its providers. It shows and reads; it changes nothing,
since every change must pass the guard.
"""

from __future__ import annotations

import os
from io import BufferedReader
from typing import Any

from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider

from davserver.protocol.media_types import media_type
from davserver.protocol.paths import DavPath
from davserver.storage.node import Node
from davserver.storage.share import Share


class ShareProvider(DAVProvider):  # type: ignore[misc]
    """WsgiDAV's name for a share."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share

    def is_readonly(self) -> bool:
        return True

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> _Folder | _File | None:
        """`path` is decoded and relative to the share."""
        below = DavPath.from_key(path)
        target = DavPath(self.share.at.segments + below.segments)
        node = self.share.tree.stat(target)
        if node is None:
            return None
        return _Folder(path, environ, self.share, target) if node.is_collection else _File(path, environ, self, node)

    def dav_path(self, path: str) -> DavPath:
        return DavPath(self.share.at.segments + DavPath.from_key(path).segments)


class _Folder(DAVCollection):  # type: ignore[misc]
    def __init__(self, path: str, environ: dict[str, Any], share: Share, target: DavPath) -> None:
        super().__init__(path, environ)
        self._share, self._target = share, target

    def get_member_names(self) -> list[str]:
        return [name for name, _ in self._share.tree.members(self._target)]


class _File(DAVNonCollection):  # type: ignore[misc]
    def __init__(self, path: str, environ: dict[str, Any], provider: ShareProvider, node: Node) -> None:
        super().__init__(path, environ)
        self._provider, self._node = provider, node

    def get_content_length(self) -> int:
        return self._node.size

    def get_content_type(self) -> str:
        return media_type(self.name)

    def get_etag(self) -> str:
        return self._node.etag.tag

    def support_etag(self) -> bool:
        return True

    def get_last_modified(self) -> float:
        return self._node.last_modified

    def get_content(self) -> BufferedReader:
        file = self._provider.share.tree.open(self._provider.dav_path(self.path))
        try:
            return os.fdopen(os.dup(file.fd), "rb")
        finally:
            file.close()
