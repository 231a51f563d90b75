"""The command `health`: asks the server that runs with these settings how it is. For health checks of containers and
service managers, so it needs no login, and loads little.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from typing import Any

from davserver.settings import Settings, SettingsError

#: Gives a command its parser: (name, example, description, what it does).
Add = Callable[[str, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]
#: The settings that a command is to work with.
Load = Callable[[argparse.Namespace], Settings]

#: Seconds. A state store that is away makes a server wait for five.
_PATIENCE = 9.0


def add_health_command(add: Add, load: Load) -> None:
    """`health`."""
    command = add(
        "health",
        "davserver health",
        "Ask the server on this machine whether it is ready to serve; exits with 1 when it is not.",
        lambda arguments: _health(load(arguments), arguments),
    )
    command.add_argument("--host", help="address that the server listens on, as given to serve")
    command.add_argument("--port", type=int, help="its port")
    command.add_argument("--live", action="store_true", help="only whether it answers at all")
    command.add_argument("--json", action="store_true", help="what it answers, for programs")
    command.add_argument(
        "-c", "--config", metavar="FILE", help="(default: ./davserver.yaml, then /etc/davserver/davserver.yaml)"
    )


def _health(settings: Settings, arguments: argparse.Namespace) -> int:
    path = f"{settings.prefix}/-/health/{'live' if arguments.live else 'ready'}"
    try:
        with closing(_connection(settings)) as connection:
            connection.request("GET", path, headers={"User-Agent": "davserver-health", "Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(4096)
    except (OSError, http.client.HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise SettingsError(f"The server at {settings.host}, port {settings.port}, does not answer: {why}.") from error
    told = _told(body)
    if told is None:
        raise SettingsError(
            f"The server at {settings.host}, port {settings.port}, answers {answer.status} at {path}, not how it is. "
            "Name its configuration with -c FILE where it has a prefix or TLS; or it is another program."
        )
    failed = [part for part, found in told.get("checks", {}).items() if found != "ok"]
    if arguments.json:
        print(json.dumps(told))
    else:
        print(f"The server is {told['status']}" + (f": {', '.join(failed)}." if failed else "."))
    return int(answer.status != 200)


def _told(body: bytes) -> dict[str, Any] | None:
    """None: that is not what a davserver says of itself."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    return told if isinstance(told, dict) and isinstance(told.get("status"), str) else None


def _connection(settings: Settings) -> http.client.HTTPConnection:
    if settings.is_unix:
        return _OnPath(settings.host.removeprefix("unix:"))
    host = _reachable(settings.host)
    if settings.tls.cert is None:
        return http.client.HTTPConnection(host, settings.port, timeout=_PATIENCE)
    # It talks to this machine, and brings no secret: whose name the certificate bears does not matter.
    unverified = ssl._create_unverified_context()  # noqa: S323
    return http.client.HTTPSConnection(host, settings.port, timeout=_PATIENCE, context=unverified)


def _reachable(host: str) -> str:
    """Where somebody on this machine reaches a server that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


class _OnPath(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)
