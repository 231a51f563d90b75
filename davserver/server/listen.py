"""Sockets that listen: on an address, on a path, or handed over by systemd."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress

UNIX_PREFIX = "unix:"

#: Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
BACKLOG = 1024
#: sd_listen_fds(3): the first descriptor that systemd hands over.
_FIRST_FD = 3


class Listeners:
    """Sockets that listen, one or more."""

    def __init__(self, sockets: list[socket.socket], path: str | None = None) -> None:
        """`path`: the name in the file system that was made for them."""
        self.sockets = sockets
        self._path = path

    def close(self) -> None:
        """Listen no more, and leave no name behind. Other processes that have these sockets keep them."""
        if self._path is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            self._path = None
        for listener in self.sockets:
            listener.close()


def open_listeners(host: str, port: int, environ: Mapping[str, str]) -> Listeners:
    """Raises OSError."""
    handed = _from_systemd(environ)
    if handed:
        return Listeners(handed)
    if host.startswith(UNIX_PREFIX):
        path = host.removeprefix(UNIX_PREFIX)
        return Listeners([_on_path(path)], path)
    return Listeners([_on_address(host, port)])


def _on_address(host: str, port: int) -> socket.socket:
    """The first address of that name which can be listened on."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        listener = socket.socket(family, kind, protocol)
        try:
            if port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and host == "::":
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            # Accepted sockets inherit it: the end of an answer must not wait for the acknowledgement of its begin.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            failure = failure or error
        else:
            return listener
    raise failure or OSError(errno.EADDRNOTAVAIL, "the name has no address")


def _on_path(path: str) -> socket.socket:
    """Who may connect is up to the umask, as for any file. A socket that a dead server left behind is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_behind(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, path) from error
    return listener


def _is_left_behind(path: str) -> bool:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    return True
    return False


def _from_systemd(environ: Mapping[str, str]) -> list[socket.socket]:
    """sd_listen_fds(3): LISTEN_FDS descriptors from 3 on, meant for the process LISTEN_PID."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    listeners = []
    for fd in range(_FIRST_FD, _FIRST_FD + int(count) if count.isdigit() else _FIRST_FD):
        listener = socket.socket(fileno=fd)
        os.set_inheritable(fd, False)
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listeners.append(listener)
    return listeners
