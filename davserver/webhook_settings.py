"""Settings of one webhook."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from davserver.setting_types import Place
from davserver.sources import SettingsError


class WebhookSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Where lock events are posted to. A redirect is not followed.
    url: str
    #: Key of the signature, at least 16 characters; or a file that holds it.
    secret: str | None = Field(default=None, min_length=16)
    secret_file: Place | None = None
    #: Which events.
    events: tuple[Literal["locked", "refreshed", "released", "expired", "broken"], ...] = (
        "locked", "refreshed", "released", "expired", "broken",
    )  # fmt: skip
    #: Of locks at this path, above it or below it.
    path: str = "/"

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        try:
            url = urlsplit(value)
            whole = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not url.fragment
        except ValueError:
            whole = False
        if not whole or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("write a whole URL, like https://example.org/hook")
        if url.username is not None or url.password is not None:
            raise ValueError("a login in the URL is not sent; the signature says who posts")
        return value

    @field_validator("path")
    @classmethod
    def _place(cls, value: str) -> str:
        if not value.startswith("/") or any(name in (".", "..") for name in value.split("/")):
            raise ValueError("write a path like /docs")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> WebhookSettings:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("set secret, or secret_file")
        return self

    def key(self) -> bytes:
        """Raises SettingsError when the file cannot be read, or holds too little."""
        if self.secret is not None:
            return self.secret.encode()
        file = self.secret_file or ""
        try:
            with open(file, "rb") as secret:
                key = secret.read().strip()
        except OSError as error:
            raise SettingsError(f"The file of a webhook's secret, {file}, cannot be read: {error.strerror}.") from error
        if len(key) < 16:
            raise SettingsError(f"The file of a webhook's secret, {file}, must hold at least 16 characters.")
        return key
