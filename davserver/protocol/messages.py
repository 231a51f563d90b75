"""Request and Response: what a method takes and gives. Values, no sockets.

A body that is read is a `Body`; a body that is sent is bytes, an iterator of bytes (sent as it is
produced) or a `FileSlice`, which the HTTP side may send without copying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple, Protocol, TypeVar, overload

from davserver.protocol.locks import Principal
from davserver.protocol.paths import DavPath

_Default = TypeVar("_Default")


class Action(Enum):
    """What a principal may or may not do with a path."""

    READ = "read"
    #: Change what is there.
    WRITE = "write"
    #: Make something where nothing is.
    CREATE = "create"
    DELETE = "delete"
    LOCK = "lock"


#: In the order of `Action`. Few, and compared by identity: an Enum's own hash is slow.
Rights = tuple[Action, ...]


class Reach(Enum):
    """How much of a person a login stands for."""

    #: Their own password, or a proxy that vouches for them; also whoever does not log in.
    WHOLE = "whole"
    #: An app password that may do what they may, but for making others like it.
    DEVICE = "device"
    #: One that is narrower than they are: it gives none of the powers of administrators and lock breakers.
    PART = "part"
    #: One that only reads.
    READING = "reading"

    @property
    def has_powers(self) -> bool:
        """Does it give what somebody may do beside their permissions?"""
        return self in (Reach.WHOLE, Reach.DEVICE)


class Permissions(Protocol):
    """Who is asking has been settled; this says what they may do where. Nobody asks whether anything is there: what
    the answer is must not tell."""

    def rights(self, path: DavPath) -> Rights: ...

    def allows(self, action: Action, path: DavPath) -> bool: ...

    def leads(self, path: DavPath) -> bool:
        """Is something below that they may do something with? Then a collection on the way to it may be seen."""

    def whole(self, path: DavPath) -> Rights | None:
        """The rights at `path` where everything below it has the same; None where that may differ."""


class Headers(Mapping[str, str]):
    """Header fields of one request. Names are case-insensitive; repeated fields were joined by ", "."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields: Mapping[str, str] = {name.lower(): value for name, value in fields.items()}

    @classmethod
    def of_lower_case(cls, fields: Mapping[str, str]) -> Headers:
        """Of fields whose names are in lower case already, as they are."""
        headers = cls.__new__(cls)
        headers._fields = fields
        return headers

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str, /) -> str: ...
    @overload
    def get(self, name: str, default: _Default, /) -> str | _Default: ...
    def get(self, name: str, default: object = None, /) -> object:
        """Mapping's own would raise and catch a KeyError for each field that is absent."""
        return self._fields.get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def lacks(self, names: frozenset[str]) -> bool:
        """Is none of these fields there? `names` are in lower case."""
        return names.isdisjoint(self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Body(Protocol):
    """The content of a request, read once and in order."""

    @property
    def length(self) -> int | None:
        """Announced bytes; None when chunked. 0 means there is no body."""

    @property
    def is_here(self) -> bool:
        """All of it has arrived: reading it takes no waiting, and nobody is spared anything by a refusal before."""

    def read(self, size: int) -> bytes:
        """Up to `size` (> 0) bytes, b"" only at the true end.

        Raises IncompleteBody when the sender stopped early, RequestTimeout when it stalled.
        """


class Client(NamedTuple):
    """Where a request came from: address as text, the User-Agent field or ""."""

    address: str = ""
    agent: str = ""


class Request(NamedTuple):
    """A tuple, as are its neighbours: every request makes one of each, and a frozen dataclass takes thrice as long."""

    method: str
    path: DavPath
    headers: Headers
    body: Body
    principal: Principal
    permissions: Permissions
    client: Client
    #: Seconds since the epoch, read once when the request began.
    now: float
    #: Escaped path prefix that hrefs carry and Destination must begin with ("" or "/dav").
    prefix: str = ""
    #: Authorities ("host[:port]", lower case) under which the client reaches this server.
    hosts: frozenset[str] = frozenset()
    #: `path` as the client spelt it, where that is another spelling of the same path.
    asked: DavPath | None = None
    #: How much of the principal the login stands for.
    reach: Reach = Reach.WHOLE

    @property
    def shown(self) -> DavPath:
        """The path as it stands in an answer: Finder tells a folder from its members by the spelling it sent."""
        return self.path if self.asked is None else self.asked


class FileSlice(NamedTuple):
    """`length` bytes of an open file from `offset`. Whoever sends it calls `close` at the end."""

    fd: int
    offset: int
    length: int
    close: Callable[[], None]
    #: Told after that how many of the bytes have gone out: fewer where the client went away.
    sent: Callable[[int], None] | None = None


class Response(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterator[bytes] | FileSlice = b""
