"""Own hosts: does Host name this machine?

A web page whose name suddenly leads to 127.0.0.1 (DNS rebinding) is, for its browser, of one origin with what it
finds there, and may read and write it. What gives it away is its name, which the browser sends as Host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

#: RFC 1035 §2.3.4, with a port behind. Nothing longer is remembered, or it would be memory for strangers to fill.
_LONGEST = 255 + len(":65535")


class OwnHosts:
    """What this machine may be called, from this machine."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: those with a dot in them, beside what leads here for everybody."""
        self._names = frozenset(name.lower() for name in names)
        # A client says the same with each request.
        self._known = lru_cache(256)(self._judge)

    @classmethod
    def of(cls, hostname: str, listening: str) -> OwnHosts:
        """`hostname`: as gethostname(2) tells it, with or without a domain; `listening`: what the settings name."""
        return cls([listening, *_spellings(hostname)])

    def include(self, host: str) -> bool:
        """`host`: a valid Host field; "" where there is none, which no browser leaves out."""
        return len(host) <= _LONGEST and self._known(host)

    def _judge(self, host: str) -> bool:
        # RFC 9110 §7.2: uri-host [ ":" port ].
        if host.startswith("["):
            return _is_address(host[1:].partition("]")[0])
        name = host.partition(":")[0].lower().removesuffix(".")
        # A name without a dot is in nobody's domain, so that no page of elsewhere has it. RFC 6761 §6.3: names below
        # localhost lead here, whoever is asked. An address was not asked of anybody.
        return "." not in name or name in self._names or name.endswith(".localhost") or _is_address(name)


def _spellings(hostname: str) -> Iterator[str]:
    name = hostname.removesuffix(".")
    if name:
        yield name
        yield f"{name.partition('.')[0]}.local"  # RFC 6762 §3: what mDNS makes of it


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(64)
def is_loopback(address: str) -> bool:
    """`address`: of one end of a TCP connection."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_loopback
