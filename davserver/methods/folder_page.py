"""The plain page a browser gets for a collection: its members as links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from davserver.methods.permits import Seen
from davserver.protocol.dates import utc
from davserver.protocol.messages import Request, Response
from davserver.protocol.paths import DavPath, quote_name
from davserver.storage.node import Node
from davserver.storage.share import Shares

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .5rem}"
    "td:nth-child(2),th:nth-child(2){text-align:right}tr:nth-child(even){background:#8881}"
    "a{text-decoration:none}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8bf}}"
)
_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
)


def folder_page(request: Request, shares: Shares) -> Response:
    """GET on a collection. Links are absolute, so that they are right with and without the URL's slash."""
    return Response(200, _HEADERS, _page(request, _members(request, shares)))


def _page(request: Request, members: list[tuple[str, Node]]) -> Iterator[bytes]:
    path = request.path
    base = path.href(request.prefix, collection=True)
    if not base.endswith("/"):
        base += "/"
    title = escape(path.key)
    yield (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><table><tr><th>Name</th><th>Size</th><th>Changed (UTC)</th></tr>"
    ).encode()
    if not path.is_root:
        up = escape(path.parent.href(request.prefix, collection=True))
        yield f'<tr><td><a href="{up}">..</a></td><td></td><td></td></tr>'.encode()
    for name, node in members:
        slash = "/" if node.is_collection else ""
        size = "" if node.is_collection else f"{node.size:,}"
        moment = utc(node.last_modified)
        yield (
            f'<tr><td><a href="{escape(base + quote_name(name) + slash)}">{escape(name)}{slash}</a></td>'
            f"<td>{size}</td><td>{moment.isoformat(' ', 'minutes')[:16]}</td></tr>"
        ).encode()
    yield b"</table></body></html>\n"


def _members(request: Request, shares: Shares) -> list[tuple[str, Node]]:
    share = shares.of(request.path)
    seen = Seen(request, request.path)
    found = dict(share.tree.members(request.path))
    if not seen.all or share.tree.follows_links:
        found = dict(_shown(shares, seen, request.path, found))
    for mount in shares.mounted_in(request.path):
        node = mount.tree.stat(mount.at)
        if node is not None and seen.shows(mount.at.name, node):
            found[mount.at.name] = node
    return sorted(found.items(), key=lambda item: (not item[1].is_collection, item[0].casefold()))


def _shown(shares: Shares, seen: Seen, folder: DavPath, members: Mapping[str, Node]) -> Iterator[tuple[str, Node]]:
    """Those that may be seen, a link as what it leads to."""
    for name, found in members.items():
        true, node = shares.led(folder.child(name), found) if found.is_link else (None, found)
        if node is not None and seen.shows(name, node, true):
            yield name, node
