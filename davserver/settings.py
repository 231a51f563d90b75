"""Settings: one validated value. Where each comes from: command line > environment > file > default.

The law of this module: a setting that comes out is valid, and one that cannot be meant stops the start with
one sentence that says where it stands, what is wrong and how to mend it. Durations are seconds and sizes
bytes inside; people write `30m` and `1MiB`.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from davserver.sources import SettingsError, Source, from_defaults, from_environment, from_file
from davserver.webhook_settings import WebhookSettings

__all__ = ["Settings", "SettingsError", "load"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_duration(text: str) -> int:
    """Seconds of "30m". Raises ValueError."""
    found = re.fullmatch(r"(\d{1,9})\s*([smhd])", text.strip())
    if found is None:
        raise ValueError("write a duration as a number and a unit: 90s, 30m, 12h or 1d")
    return int(found[1]) * _UNITS[found[2]]


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _bytes(value: object) -> object:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,15})\s*([KMG]i?B|B|)", value.strip())
        if found is None:
            raise ValueError("write a size as a number and a unit: 512KiB, 1MiB or 10GiB")
        return int(found[1]) * _SIZES[found[2]]
    return value


Seconds = Annotated[int, BeforeValidator(_seconds), Field(ge=1, le=366 * 86400, strict=True)]
SecondsOrNone = Annotated[int, BeforeValidator(_seconds), Field(ge=0, le=366 * 86400, strict=True)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1, strict=True)]


def _count(low: int, high: int) -> PlainValidator:
    def check(value: object) -> object:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
            return value
        raise ValueError(f"must be auto or a number from {low} to {high}")

    return PlainValidator(check)


Auto = Literal["auto"]
#: Among addresses: everybody who connects to the Unix socket.
UNIX = "unix"


def _networks(names: list[str]) -> list[str]:
    for name in names:
        try:
            if name != UNIX:
                ipaddress.ip_network(name)
        except ValueError:
            raise ValueError(f"{name!r} is neither an address, nor a network like 10.0.0.0/8, nor unix") from None
    return names


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShareSettings(_Section):
    #: Folder that is served. `~` is the home of whoever runs the server.
    directory: str = Field(min_length=1)
    read_only: bool = False
    #: Follow symbolic links, as far as they stay within the share. Otherwise they are not there.
    follow_symlinks: bool = False
    #: Names of files and folders, with * and ?, that are not there for anybody: not listed, not read, not made.
    hide: tuple[str, ...] = ()
    #: A name that is not there is looked for in another case too, which costs a look through its folder.
    case_insensitive: bool = False
    #: Largest file, in bytes.
    max_file_size: Bytes | None = None
    #: Bytes that all files of the share may take together.
    quota: Bytes | None = None

    @field_validator("hide")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not pattern or "/" in pattern or pattern in ("*", ".", ".."):
                raise ValueError(f"{pattern!r} cannot be hidden: write a name or a pattern like *.tmp, without a slash")
        return value

    @field_validator("directory")
    @classmethod
    def _expanded(cls, value: str) -> str:
        return os.path.abspath(os.path.expanduser(value))


class UserSettings(_Section):
    #: argon2 hash, made by `davserver hash-password`.
    password: str
    #: Shown to others as the holder of a lock; the user's name where it is empty.
    display_name: str = ""

    @field_validator("password")
    @classmethod
    def _hashed(cls, value: str) -> str:
        if not re.match(r"\$argon2(id|i|d)\$", value):
            raise ValueError("must be a hash, not a password: make one with `davserver hash-password`")
        return value


class AuthSettings(_Section):
    #: Named by clients when they ask for a password.
    realm: str = Field(default="davserver", pattern=r"^[ !#-\[\]-~]{1,80}$")


class LockSettings(_Section):
    """Explorer asks for 1 h, Finder for 10 min, LibreOffice for 3 min: below that it would lose its locks."""

    default_timeout: Seconds = 30 * 60
    min_timeout: Seconds = 3 * 60
    max_timeout: Seconds = 24 * 3600
    #: Longest check-out.
    max_checkout: Seconds = 30 * 86400
    #: How long a lock that expired or was broken is remembered: so long its holder's next save is still accepted,
    #: if nobody has written to the file, or locked it, since; or else it is told who broke the lock, and why.
    grace_after_expiry: SecondsOrNone = 24 * 3600
    #: A file that a LOCK made goes with the lock when nobody wrote it.
    remove_empty_lock_files: bool = True
    #: Who is told the name of somebody else who holds a lock: users who log in, everyone, or none.
    reveal_holder: Literal["users", "none", "everyone"] = "users"
    #: Users who may break any lock.
    breakers: list[str] = Field(default_factory=list)
    #: Who may break a lock whose client has probably gone.
    stale_break: Literal["breakers", "writers"] = "breakers"

    @model_validator(mode="after")
    def _ordered(self) -> LockSettings:
        if not self.min_timeout <= self.default_timeout <= self.max_timeout:
            raise ValueError("min_timeout must not exceed default_timeout, nor that max_timeout")
        return self


class TlsSettings(_Section):
    #: Certificate with its chain, PEM; null: plain HTTP.
    cert: str | None = None
    #: Its key; null: it stands in the file of the certificate.
    key: str | None = None

    @field_validator("cert", "key")
    @classmethod
    def _expanded(cls, value: str | None) -> str | None:
        return None if value is None else os.path.abspath(os.path.expanduser(value))

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        if self.key is not None and self.cert is None:
            raise ValueError("a key needs its certificate: set cert too")
        return self


class LimitSettings(_Section):
    #: Largest body of PROPFIND, PROPPATCH and LOCK.
    xml_body: Bytes = 2**20
    #: Answer PROPFIND with Depth: infinity; one request may then list everything.
    propfind_infinity: bool = False
    #: Largest DAV:owner of a lock: it is a name.
    lock_owner: Bytes = 8 * 1024
    #: Locks that one user may hold at a time; where nobody logs in, everybody together.
    locks_per_user: int = Field(default=10_000, ge=1, strict=True)
    #: Resources that it then lists at most.
    propfind_resources: int = Field(default=100_000, ge=1)
    #: Largest dead property: its whole element, names and markup included.
    property: Bytes = 68 * 2**10
    #: Largest sum of the dead properties of one resource.
    properties: Bytes = 2**20
    #: Largest head of a request; Apache takes 8 KiB a line, nginx 32 KiB, IIS 16 KiB.
    header: Bytes = 32 * 2**10
    #: Bytes in a second that a body must bring on average; it may fall two minutes behind, for phones.
    body_min_rate: Bytes = 2**10
    #: Requests of one worker that may wait for a slow client or a disk at the same time. auto: 1000.
    threads: Annotated[Auto | int, _count(4, 10_000)] = "auto"
    #: Requests of one worker that may wait for something to happen to a lock (long polls and event streams). auto: a
    #: quarter of `threads`, 250 at most.
    waiting: Annotated[Auto | int, _count(1, 10_000)] = "auto"
    #: Connections of one worker. auto: 20,000, or what the limit of open files permits.
    connections: Annotated[Auto | int, _count(4, 1_000_000)] = "auto"

    @field_validator("header")
    @classmethod
    def _enough(cls, value: int) -> int:
        if not 4 * 2**10 <= value <= 2**20:
            raise ValueError("must be between 4KiB and 1MiB")
        return value


class HealthSettings(_Section):
    #: /-/health says "not ready" when a file system that is written to has less room than this left.
    free_space: Bytes = 64 * 2**20


class MetricsSettings(_Section):
    #: Addresses, networks, or "unix", that may read /-/metrics without a login. Whoever logs in may read them, too.
    allow: list[str] = Field(default_factory=lambda: ["127.0.0.1", "::1", UNIX])

    @field_validator("allow")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        return _networks(value)


class LogSettings(_Section):
    #: text: for people; json: a JSON object a line, for programs.
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    #: One line for each request.
    access: bool = True


class Settings(_Section):
    #: Address to listen on, or unix:/path. Anything but loopback needs users, or `anonymous` said explicitly.
    host: str = "127.0.0.1"
    #: 0: any free port.
    port: int = Field(default=8080, ge=0, le=65535)
    #: Path below which everything is served, for a reverse proxy that passes it on: "/dav".
    prefix: str = ""
    #: Addresses, networks, or "unix", whose X-Forwarded-For, -Proto and -Host are believed.
    trusted_proxies: list[str] = Field(default_factory=list)
    tls: TlsSettings = TlsSettings()
    #: Processes that serve. auto: one for each core, eight at most.
    workers: Annotated[Auto | int, _count(1, 256)] = "auto"
    #: The Server field of answers; "": none. Never a version.
    server_header: str = Field(default="davserver", pattern=r"^[!-~]*( [!-~]+)*$")
    #: Folder for locks and properties, outside every share; null: one in the user's state folder.
    state: str | None = None
    #: Start also where the state folder is on a network file system; two machines that write there damage it.
    allow_network_state: bool = False
    #: full: on the disk before it is acknowledged; relaxed: survives a killed process, not a power cut.
    durability: Literal["full", "relaxed"] = "full"
    #: What is served, by URL path.
    shares: dict[str, ShareSettings] = Field(default_factory=dict)
    #: Who may log in. With users and no `anonymous`, everybody must.
    users: dict[str, UserSettings] = Field(default_factory=dict)
    #: What is allowed without a login; null: everything on loopback when there are no users, else nothing.
    anonymous: Literal["none", "ro", "rw"] | None = None
    auth: AuthSettings = AuthSettings()
    locks: LockSettings = LockSettings()
    #: Other servers that are told of lock events, by name.
    webhooks: dict[str, WebhookSettings] = Field(default_factory=dict)
    limits: LimitSettings = LimitSettings()
    health: HealthSettings = HealthSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()

    @field_validator("prefix")
    @classmethod
    def _path(cls, value: str) -> str:
        path = value.rstrip("/")
        if path and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path):
            raise ValueError("write it like /dav: letters, digits and . _ ~ - only")
        return path

    @field_validator("host")
    @classmethod
    def _place(cls, value: str) -> str:
        if value.startswith("unix:") and not value.startswith("unix:/"):
            raise ValueError("write a Unix socket with its whole path, like unix:/run/davserver.sock")
        if not value:
            raise ValueError("write an address: 127.0.0.1 for this machine only, 0.0.0.0 or :: for everybody")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: list[str]) -> list[str]:
        return _networks(value)

    @field_validator("shares")
    @classmethod
    def _share_paths(cls, value: dict[str, ShareSettings]) -> dict[str, ShareSettings]:
        seen: dict[str, str] = {}
        for path in value:
            names = path.strip("/").split("/") if path.strip("/") else []
            if not path.startswith("/") or any(name in ("", ".", "..", "-") for name in names):
                raise ValueError(f"{path!r} is no path: write it like /docs ('/-/' is reserved)")
            key = "/" + "/".join(names)
            if key in seen:
                raise ValueError(f"{path!r} and {seen[key]!r} are the same path")
            seen[key] = path
        return value

    @field_validator("users")
    @classmethod
    def _user_names(cls, value: dict[str, UserSettings]) -> dict[str, UserSettings]:
        for name in value:
            # RFC 7617 §2: no colon; "\" would be taken for a Windows domain.
            if not name or not name.isprintable() or set(name) & set(':\\"'):
                raise ValueError(f"{name!r} cannot be a user name: no colon, quote, backslash or control character")
        return value

    @property
    def allows_anonymous(self) -> Literal["none", "ro", "rw"]:
        """What somebody may do without a login, settled."""
        if self.anonymous is not None:
            return self.anonymous
        return "none" if self.users or not self.is_loopback else "rw"

    @property
    def is_unix(self) -> bool:
        return self.host.startswith("unix:")

    @property
    def is_loopback(self) -> bool:
        """Does only this machine get in?"""
        if self.host == "localhost" or self.is_unix:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def load(
    *,
    file: str | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    hash_password: Callable[[str], str],
) -> Settings:
    """Settings from everywhere. `flags`: nested like the file. Raises SettingsError."""
    named = [from_file(file), from_environment(environ, hash_password), Source("command line", dict(flags))]
    preset = from_defaults(environ)
    if any("shares" in source.values for source in named):
        preset.values.pop("shares", None)  # who names what is served does not want something else served too
    sources = [preset, *named]
    merged: dict[str, Any] = {}
    places: dict[tuple[str, ...], str] = {}
    for source in sources:
        _merge(merged, source, (), places)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_sentence(error, places)) from error


def _merge(into: dict[str, Any], source: Source, path: tuple[str, ...], places: dict[tuple[str, ...], str]) -> None:
    """Lay the part of `source` at `path` over `into`: sections are merged, everything else is replaced."""
    values: Any = source.values
    for key in path:
        values = values[key]
    for key, value in values.items():
        here = (*path, str(key))
        places[here] = source.places.get(here, source.name)
        if not isinstance(value, dict):
            into[key] = value
            continue
        if not isinstance(into.get(key), dict):
            into[key] = {}
        _merge(into[key], source, (*path, key), places)


def _sentence(error: ValidationError, places: Mapping[tuple[str, ...], str]) -> str:
    """The first thing that is wrong, where it stands, and what was probably meant."""
    first = error.errors()[0]
    path = tuple(str(part) for part in first["loc"] if part != "[key]")
    place = next((places[path[:count]] for count in range(len(path), 0, -1) if path[:count] in places), "settings")
    name = ".".join(path) or "settings"
    if first["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}."
        return f"{place}: {name} is not a setting; {hint}"
    if first["type"] in ("model_type", "dict_type"):
        return f"{place}: {name} must be a section, with settings of its own below it."
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {name}: {message[:1].lower()}{message[1:]}."


def _known_keys(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for index, key in enumerate(path):
        known: dict[str, type[BaseModel]] = {
            "shares": ShareSettings,
            "users": UserSettings,
            "webhooks": WebhookSettings,
        }
        if index == 0 and key in known:
            return list(known[key].model_fields)
        annotation = model.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, _Section):
            model = annotation
    return list(model.model_fields)
