"""What the start tells: what is served, to whom, and how to connect."""

from __future__ import annotations

from davserver.settings import Settings

_ACCESS = {"rw": "everybody may read and write", "ro": "everybody may read", "none": "users who log in"}


def banner(settings: Settings, url: str, folder: str) -> str:
    """`url`: where the server listens; `folder`: the state folder."""
    host = url.split("/")[2]
    path = settings.prefix.replace("/", "\\")
    who = _ACCESS[settings.allows_anonymous]
    if settings.users and settings.allows_anonymous != "none":
        who += "; users who log in may write"
    lines = [f"davserver is ready at {url}", ""]
    for share, found in sorted(settings.shares.items()):
        lines.append(f"  {share}  {found.directory}  ({'read-only' if found.read_only else who})")
    lines += [
        f"  state  {folder}",
        "",
        "Connect:",
        f"  Windows  net use * {url}     or in Explorer  \\\\{host.replace(':', '@')}\\DavWWWRoot{path}",
        f"  macOS    Finder, Go > Connect to Server: {url}",
        f"  Linux    gio mount dav://{host}{settings.prefix}/     or  mount -t davfs {url} FOLDER",
        "",
        "Stop with Ctrl-C.",
    ]
    if settings.users and not settings.is_loopback:
        lines += ["", "WARNING: passwords cross the network unencrypted; put a proxy that speaks TLS in front."]
    return "\n".join(lines)
