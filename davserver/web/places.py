"""Places: from the text of a path in a request to the path that locks are asked about."""

from __future__ import annotations

from urllib.parse import quote

from davserver.protocol.errors import NotFound
from davserver.protocol.headers import path_below
from davserver.protocol.paths import DavPath
from davserver.storage.share import Shares


class Places:
    """Paths of one server."""

    def __init__(self, shares: Shares, prefix: str) -> None:
        self.shares = shares
        self.prefix = prefix

    def find(self, text: str) -> DavPath:
        """Raises BadRequest, NotFound."""
        # What people write is not escaped; what the server tells is. "%" itself is always the begin of an escape.
        escaped = "".join(character if character.isascii() else quote(character) for character in text)
        path = path_below(escaped, self.prefix)
        if path is None:
            raise NotFound(f"There is nothing at this path; this server's files are below {self.prefix}/.")
        return self.shares.locate(path)
