"""What settings are made of: durations, sizes, counts, and the form of a section."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

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


def _absolute(value: str) -> str:
    if not value:
        raise ValueError("write the path of a file or folder")
    return os.path.abspath(os.path.expanduser(value))


#: Of a file or folder, absolute; `~` is the home of whoever runs the server. `sources.PLACES` lists them all.
Place = Annotated[str, AfterValidator(_absolute)]
Seconds = Annotated[int, BeforeValidator(_seconds), Field(ge=1, le=366 * 86400, strict=True)]
SecondsOrNone = Annotated[int, BeforeValidator(_seconds), Field(ge=0, le=366 * 86400, strict=True)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1, strict=True)]


def count(low: int, high: int) -> PlainValidator:
    def check(value: object) -> object:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
            return value
        raise ValueError(f"must be auto or a number from {low} to {high}")

    return PlainValidator(check)


Auto = Literal["auto"]

#: Among addresses: everybody who connects to the Unix socket.
UNIX = "unix"


def networks(names: list[str]) -> list[str]:
    for name in names:
        try:
            if name != UNIX:
                ipaddress.ip_network(name)
        except ValueError:
            raise ValueError(f"{name!r} is neither an address, nor a network like 10.0.0.0/8, nor unix") from None
    return names


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
