"""Settings: one validated value. Where each comes from: command line > environment > file > default.

The law of this module: a setting that comes out is valid, and one that cannot be meant stops the start with
one sentence that says where it stands, what is wrong and how to mend it. Durations are seconds and sizes
bytes inside; people write `30m` and `1MiB`.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from davserver.setting_types import (
    UNIX,
    Auto,
    Bytes,
    Place,
    Seconds,
    SecondsOrNone,
    Section,
    count,
    networks,
    parse_duration,
)
from davserver.settings_access import AuthSettings, CorsSettings, GroupName, Name, RuleSettings, UserName, UserSettings
from davserver.sources import SettingsError, Source, from_defaults, from_environment, from_file
from davserver.webhook_settings import WebhookSettings
from davserver.yaml_text import parse

__all__ = ["Settings", "SettingsError", "UserSettings", "load", "parse_duration", "parse_users"]


class ShareSettings(Section):
    #: Folder that is served. `~` is the home of whoever runs the server; `/{user}` at its end: a folder for each user.
    directory: Place
    #: Make the folder of a user who logs in.
    create: bool = False
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
    def _personal_at_its_end(cls, value: str) -> str:
        if "{user}" in value.removesuffix("/{user}"):
            raise ValueError("{user} stands for a whole name, and at the end: /srv/homes/{user}")
        return value

    @model_validator(mode="after")
    def _personal(self) -> ShareSettings:
        if self.create and not self.for_each_user:
            raise ValueError("create makes folders of users: end the directory in /{user}")
        return self

    @property
    def for_each_user(self) -> bool:
        """Users have folders of their own in it."""
        return self.directory.endswith("/{user}")

    @property
    def folder(self) -> str:
        """The folder that is served, all users' together."""
        return self.directory.removesuffix("/{user}") or "/"


class LockSettings(Section):
    """Explorer asks for 1 h, Finder for 10 min, LibreOffice for 3 min: below that it would lose its locks."""

    default_timeout: Seconds = 30 * 60
    min_timeout: Seconds = 3 * 60
    max_timeout: Seconds = 24 * 3600
    #: Longest check-out.
    max_checkout: Seconds = 30 * 86400
    #: How long a lock that expired or was broken is remembered: so long its holder's next save is still accepted,
    #: if nobody has written to the file, or locked it, since; or else it is told who broke the lock, and why.
    grace_after_expiry: SecondsOrNone = 24 * 3600
    #: A file that a LOCK made goes with the lock when nobody wrote it or gave it properties.
    remove_empty_lock_files: bool = True
    #: Who is told the name of somebody else who holds a lock: users who log in, everyone, or none.
    reveal_holder: Literal["users", "none", "everyone"] = "users"
    #: Users and @groups who may break any lock.
    breakers: list[Name] = Field(default_factory=list)
    #: Who may break a lock whose client has probably gone.
    stale_break: Literal["breakers", "writers"] = "breakers"

    @model_validator(mode="after")
    def _ordered(self) -> LockSettings:
        if not self.min_timeout <= self.default_timeout <= self.max_timeout:
            raise ValueError("min_timeout must not exceed default_timeout, nor that max_timeout")
        return self


class TlsSettings(Section):
    #: Certificate with its chain, PEM; null: plain HTTP.
    cert: Place | None = None
    #: Its key; null: it stands in the file of the certificate.
    key: Place | None = None

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        if self.key is not None and self.cert is None:
            raise ValueError("a key needs its certificate: set cert too")
        return self


class LimitSettings(Section):
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
    threads: Annotated[Auto | int, count(4, 10_000)] = "auto"
    #: Requests of one worker that may wait for something to happen to a lock (long polls and event streams). auto: a
    #: quarter of `threads`, 250 at most.
    waiting: Annotated[Auto | int, count(1, 10_000)] = "auto"
    #: Connections of one worker. auto: 20,000, or what the limit of open files permits.
    connections: Annotated[Auto | int, count(4, 1_000_000)] = "auto"

    @field_validator("header")
    @classmethod
    def _enough(cls, value: int) -> int:
        if not 4 * 2**10 <= value <= 2**20:
            raise ValueError("must be between 4KiB and 1MiB")
        return value


class HealthSettings(Section):
    #: /-/health says "not ready" when a file system that is written to has less room than this left.
    free_space: Bytes = 64 * 2**20


class MetricsSettings(Section):
    #: Addresses, networks, or "unix", that may read /-/metrics without a login. Whoever logs in may read them, too.
    allow: list[str] = Field(default_factory=lambda: ["127.0.0.1", "::1", UNIX])

    @field_validator("allow")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        return networks(value)


class LogSettings(Section):
    #: text: for people; json: a JSON object a line, for programs.
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    #: One line for each request.
    access: bool = True


class Settings(Section):
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
    workers: Annotated[Auto | int, count(1, 256)] = "auto"
    #: The Server field of answers; "": none. Never a version.
    server_header: str = Field(default="davserver", pattern=r"^[!-~]*( [!-~]+)*$")
    #: Folder for locks and properties, outside every share; null: one in the user's state folder.
    state: Place | None = None
    #: Start also where the state folder is on a network file system; two machines that write there damage it.
    allow_network_state: bool = False
    #: full: on the disk before it is acknowledged; relaxed: survives a killed process, not a power cut.
    durability: Literal["full", "relaxed"] = "full"
    #: What is served, by URL path.
    shares: dict[str, ShareSettings] = Field(default_factory=dict)
    #: Who may log in. With users and no `anonymous`, everybody must.
    users: dict[UserName, UserSettings] = Field(default_factory=dict)
    #: Users of each group, beside the groups that users name themselves.
    groups: dict[GroupName, tuple[Name, ...]] = Field(default_factory=dict)
    #: Users and @groups that may break any lock and set maintenance.
    administrators: tuple[Name, ...] = ()
    #: Who may do what where; the first that fits decides, what none fits is not allowed. None: users may do everything.
    rules: tuple[RuleSettings, ...] = ()
    #: What is allowed without a login; null: everything on loopback when there are no users, else nothing.
    anonymous: Literal["none", "ro", "rw"] | None = None
    auth: AuthSettings = AuthSettings()
    cors: CorsSettings = CorsSettings()
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
        return networks(value)

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

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.rules and self.anonymous in ("ro", "rw"):
            raise ValueError(
                f"anonymous: {self.anonymous} and rules contradict each other; say it as a rule, "
                "{path: /, who: anonymous, allow: r}"
            )
        if self.auth.proxy_user_header is not None and not self.trusted_proxies:
            raise ValueError("auth.proxy_user_header needs trusted_proxies: nobody else is believed who has logged in")
        return self

    @property
    def allows_anonymous(self) -> Literal["none", "ro", "rw"]:
        """What somebody may do without a login, settled."""
        if self.anonymous is not None:
            return self.anonymous
        return "none" if self.has_logins or self.rules or not self.is_loopback else "rw"

    @property
    def has_logins(self) -> bool:
        """May anybody log in at all?"""
        auth = self.auth
        return bool(self.users) or any(
            (auth.users_file, auth.htpasswd_file, auth.htdigest_file, auth.proxy_user_header)
        )

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
    passwords: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from everywhere. `flags`: nested like the file; `passwords`: of the users among them, as they are.
    Raises SettingsError."""
    named = [from_file(file), from_environment(environ, hash_password), Source("command line", dict(flags))]
    preset = from_defaults(environ)
    if any("shares" in source.values for source in named):
        preset.values.pop("shares", None)  # who names what is served does not want something else served too
    sources = [preset, *named]
    merged: dict[str, Any] = {}
    places: dict[tuple[str, ...], str] = {}
    for source in sources:
        _merge(merged, source, (), places)
    _add_digests(merged, {**named[1].passwords, **(passwords or {})})
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_sentence(error, places)) from error


def _add_digests(merged: dict[str, Any], passwords: Mapping[str, str]) -> None:
    """What Digest needs of users whose passwords came as they are."""
    auth = merged.get("auth")
    if isinstance(auth, dict) and auth.get("digest") is True:
        realm = auth.get("realm", AuthSettings.model_fields["realm"].default)
        for name, password in passwords.items():
            data = f"{name}:{realm}:{password}".encode("utf-8", "surrogatepass")
            made = [hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()]
            merged["users"][name].setdefault("digest", made)


class _Users(Section):
    users: dict[UserName, UserSettings]


def parse_users(text: str) -> dict[str, UserSettings]:
    """A file of users: what stands below `users` in the configuration. Raises ValueError."""
    try:
        values, _ = parse(text)
        return _Users.model_validate({"users": {} if values is None else values}).users
    except ValidationError as error:
        raise ValueError(_sentence(error, {}).removeprefix("settings: ").removesuffix(".")) from error


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
    found = error.errors()
    # A misspelt key is told before the one that is missing for it.
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
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
    """Of the section at `path`: those of a dict or list of sections are below any key."""
    model: Any = Settings
    for key in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[key].annotation
        else:
            model = get_args(model)[-1 if get_args(model)[-1] is not Ellipsis else 0]
    return list(model.model_fields)
