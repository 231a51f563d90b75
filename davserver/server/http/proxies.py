"""Reverse proxies: what they say of the client counts when they are ours, and is dropped when they are not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache

#: Everybody who connects to the Unix socket.
UNIX = "unix"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: What a proxy says, under the names of `Head.fields`.
FORWARDED = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})


class TrustedProxies:
    """Addresses and networks whose X-Forwarded-* fields are believed."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """Raises ValueError for what is neither an address, nor a network, nor "unix"."""
        names = set(trusted)
        self._unix = UNIX in names
        self._networks: list[_Network] = [ipaddress.ip_network(name) for name in names - {UNIX}]
        # One address is asked for with every connection, and a few come again and again.
        self.trusts = lru_cache(1024)(self._trusts)

    def _trusts(self, address: str) -> bool:
        """`address`: of whoever is connected, "" on a Unix socket."""
        if not address:
            return self._unix
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)

    def client(self, forwarded: str, peer: str) -> str:
        """Who asked: the last address in X-Forwarded-For that no proxy of ours can vouch away.

        Each proxy appends the address that it saw. What stands left of the first one that is not ours, somebody
        else has written.
        """
        client = peer
        for hop in reversed(forwarded.split(",")):
            address = _address(hop)
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client


def _address(hop: str) -> str | None:
    """ "192.0.2.1", "192.0.2.1:4711", "[2001:db8::1]:4711" → the address; None for anything else."""
    text = hop.strip(" \t")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def forget_forwarded(fields: Mapping[str, str], environ: dict[str, str]) -> dict[str, str]:
    """Without what somebody says who is no proxy of ours: the fields, and in place the environ."""
    for name in FORWARDED.intersection(fields):
        del environ[f"HTTP_{name.upper().replace('-', '_')}"]
    return {name: value for name, value in fields.items() if name not in FORWARDED}
