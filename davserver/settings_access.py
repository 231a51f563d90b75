"""Settings of access: users, rules, logins, and what is allowed to pages of other origins."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from davserver.names import require_composed, require_group_name, require_user_name
from davserver.setting_types import Place, Seconds, Section

UserName = Annotated[str, AfterValidator(require_user_name)]
GroupName = Annotated[str, AfterValidator(require_group_name)]
#: A user or a @group, where it is referred to.
Name = Annotated[str, AfterValidator(require_composed)]

_HASH = re.compile(r"\$argon2(id|i|d)\$|\$2[aby]\$")


class UserSettings(Section):
    #: argon2 or bcrypt hash, made by `davserver hash-password`; null: they log in by another way than a password here.
    password: str | None = None
    #: Shown to others as the holder of a lock; the user's name where it is empty.
    display_name: str = ""
    groups: tuple[GroupName, ...] = ()
    #: What Digest logins need, made by `davserver hash-password --digest NAME`.
    digest: tuple[str, ...] = ()

    @field_validator("password")
    @classmethod
    def _hashed(cls, value: str | None) -> str | None:
        if value is not None and not _HASH.match(value):
            raise ValueError("must be a hash, not a password: make one with `davserver hash-password`")
        return value

    @field_validator("digest")
    @classmethod
    def _digests(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", text) for text in value):
            raise ValueError("must be what `davserver hash-password --digest NAME` prints")
        if len({len(text) for text in value}) != len(value):
            raise ValueError("one for MD5 and one for SHA-256 at most")
        return value


class RuleSettings(Section):
    #: What it is about, with all that is below. `*`, `?`, `[a-z]` within a name; `**` for any folders; `{user}`.
    path: str
    #: A user, @group, anonymous (whoever does not log in), authenticated (whoever does), everyone; or a list of these.
    who: tuple[Name, ...]
    #: r, rw, w (create only: a drop box), none, or letters of crud.
    allow: str
    #: Whoever may write may also lock.
    lock: bool = True

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        names = value.strip("/").split("/") if value.strip("/") else []
        if not value.startswith("/") or any(name in ("", ".", "..") for name in names):
            raise ValueError(f"{value!r} is no path: write it like /docs or /projects/*/public")
        if re.search(r"\{(?!user\})|%[0-9A-Fa-f]{2}", value):
            raise ValueError(f"{value!r}: write names as they are, not percent-encoded; only {{user}} is filled in")
        return value

    @field_validator("who", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("who")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(name.removeprefix("@") for name in value):
            raise ValueError("name a user, @group, anonymous, authenticated or everyone")
        return value

    @field_validator("allow", mode="before")
    @classmethod
    def _allow(cls, value: object) -> object:
        if value is None:
            return "none"
        if not isinstance(value, str) or value in ("r", "rw", "w", "none"):
            return value
        if not value or set(value) - set("crud") or len(set(value)) != len(value):
            raise ValueError("write r, rw, w (create only), none, or letters of crud: create, read, update, delete")
        return value


class AuthSettings(Section):
    #: Named by clients when they ask for a password. Digest hashes hold it: changed, they are void.
    realm: str = Field(default="davserver", pattern=r"^[ !#-\[\]-~]{1,80}$")
    #: Passwords as they are; over plain HTTP everybody on the way can read them.
    basic: bool = True
    #: Digest (RFC 7616), which Windows and Office take over plain HTTP. Needs hashes of its own for each user.
    digest: bool = False
    #: Kept by `davserver user`, and read again when it changes, as are the next two.
    users_file: Place | None = None
    #: Of Apache's htpasswd: bcrypt, apr1 or SHA.
    htpasswd_file: Place | None = None
    #: Of Apache's htdigest: lines of our realm.
    htdigest_file: Place | None = None
    #: Field in which a proxy of `trusted_proxies` names the user whom it has logged in: Remote-User.
    proxy_user_header: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9-]{0,60}$")
    #: Users may have passwords for single devices and programs.
    app_passwords: bool = True
    #: Whose programs are asked for a login where everybody may read: windows, or nobody. Windows never asks its user by
    #: itself, and could then not write.
    force_login: Literal["none", "windows"] = "none"
    #: Slow down, and in the end refuse, addresses from which logins fail.
    throttle: bool = True
    #: Failed logins with different passwords, within `ban_time`, after which an address is refused.
    ban_after: int = Field(default=15, ge=6, le=1000, strict=True)
    ban_time: Seconds = 30 * 60

    @model_validator(mode="after")
    def _possible(self) -> AuthSettings:
        if not self.basic and not self.digest and self.proxy_user_header is None:
            raise ValueError("basic and digest are both off, and no proxy_user_header is set: nobody could log in")
        return self


class CorsSettings(Section):
    """Web pages of other origins: apps that run in a browser."""

    #: Like "app://obsidian.md" or "https://notes.example.com"; "*": all.
    allowed_origins: tuple[str, ...] = ()
    #: The browser may send its own cookies and certificates. What an app sends as Authorization needs it not.
    allow_credentials: bool = False

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[!-.0-~]+", origin):
                raise ValueError(f"{origin!r} is no origin: write https://notes.example.com, without a path, or *")
        return value

    @model_validator(mode="after")
    def _safe(self) -> CorsSettings:
        if self.allow_credentials and "*" in self.allowed_origins:
            raise ValueError("allow_credentials needs the origins by name, not *")
        return self
