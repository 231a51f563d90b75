"""What the start tells: what is served, to whom, and how to connect."""

from __future__ import annotations

from davserver.settings import Settings

_ACCESS = {"rw": "everybody may read and write", "ro": "everybody may read", "none": "users who log in"}


def banner(settings: Settings, url: str, folder: str) -> str:
    """`url`: where the server listens; `folder`: the state folder."""
    who = _ACCESS[settings.allows_anonymous]
    if settings.has_logins and settings.allows_anonymous != "none":
        who += "; users who log in may write"
    lines = [f"davserver is ready at {url}", ""]
    for share, found in sorted(settings.shares.items()):
        lines.append(f"  {share}  {found.directory}  ({'read-only' if found.read_only else who})")
    lines += [f"  state  {folder}", "", *_ways(settings, url), "Stop with Ctrl-C."]
    if sends_passwords_openly(settings):
        lines += [
            "",
            "WARNING: passwords cross the network unencrypted; set tls, or put a proxy that speaks it in front.",
        ]
    return "\n".join(lines)


def _ways(settings: Settings, url: str) -> list[str]:
    """How to connect."""
    if settings.is_unix:
        return []  # whoever speaks to a socket in the file system is a program
    secure, host = settings.tls.cert is not None, url.split("/")[2]
    path = settings.prefix.replace("/", "\\")
    name, _, port = host.rpartition(":")
    # A colon has no place in a UNC path: Windows has a name for such addresses.
    name = name.strip("[]").replace(":", "-") + ".ipv6-literal.net" if name.startswith("[") else name
    at = f"{name}@SSL@{port}" if secure else f"{name}@{port}"
    elsewhere = "  (from other machines with this one's name or address in place of localhost)"
    return [
        "Connect:" + (elsewhere if name == "localhost" else ""),
        f"  Windows  net use * {url}     or in Explorer  \\\\{at}\\DavWWWRoot{path}",
        f"  macOS    Finder, Go > Connect to Server: {url}",
        f"  Linux    gio mount {'davs' if secure else 'dav'}://{host}{settings.prefix}/"
        f"     or  mount -t davfs {url} FOLDER",
        "",
    ]


def sends_passwords_openly(settings: Settings) -> bool:
    """Can whoever is on the way read them? Behind a proxy of ours the way is its business, and this machine is safe."""
    on_the_way = not settings.is_loopback and not settings.trusted_proxies and settings.tls.cert is None
    return on_the_way and settings.has_logins and settings.auth.basic
