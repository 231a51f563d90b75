"""Raw settings: what the configuration file and the environment say, and where each of it stands.

Nothing is judged here but the form. What comes out is nested like the file; `settings` makes sense of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from davserver.yaml_text import NotYaml, parse

#: Looked for in this order when no file is named.
FILES = ("davserver.yaml", "/etc/davserver/davserver.yaml")
PREFIX = "DAVSERVER_"
_DEFAULTS = f"{PREFIX}DEFAULTS"
#: Settings that are paths, by their keys; "*": any. In a file they are relative to its folder, elsewhere to the current
#: one, which is another one for whoever adds a user than for a server that systemd starts.
PLACES = (
    ("state",),
    ("shares", "*", "directory"),
    ("tls", "cert"),
    ("tls", "key"),
    ("auth", "users_file"),
    ("auth", "htpasswd_file"),
    ("auth", "htdigest_file"),
    ("webhooks", "*", "secret_file"),
)


class SettingsError(Exception):
    """Settings that cannot be used; the message is one sentence for the person who starts the server."""


@dataclass(frozen=True)
class Source:
    """Raw settings, and where each stands."""

    name: str
    values: dict[str, Any]
    #: Path of keys → "davserver.yaml, line 3".
    places: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    #: Passwords of users that came as they are: what is made of them depends on all settings.
    passwords: Mapping[str, str] = field(default_factory=dict)


def from_file(name: str | None) -> Source:
    path = name or next((known for known in FILES if os.path.exists(known)), None)
    if path is None:
        return Source("default", {})
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"The configuration file {path} cannot be read: {why}.") from error
    try:
        values, lines = parse(text)
    except NotYaml as error:
        line = "" if error.line is None else f", line {error.line}"
        raise SettingsError(f"{path}{line}: {error.why}.") from error
    if values is None:
        return Source(path, {})
    if not isinstance(values, dict):
        raise SettingsError(f"{path}, line 1: the file must hold settings like `port: 8080`.")
    for keys in PLACES:
        _locate(values, keys, os.path.dirname(os.path.abspath(path)))
    return Source(path, values, {keys: f"{path}, line {line}" for keys, line in lines.items()})


def _locate(values: Any, keys: Sequence[str], folder: str) -> None:
    """Make the path at `keys`, if there is one, one that is the same wherever the command is run."""
    if not isinstance(values, dict):
        return
    first, *rest = keys
    for key in [key for key in values if first in ("*", key)]:
        value = values[key]
        if rest:
            _locate(value, rest, folder)
        elif isinstance(value, str) and value:
            values[key] = os.path.join(folder, os.path.expanduser(value))


def from_defaults(environ: Mapping[str, str]) -> Source:
    """What whoever packaged the server presets, in a file that DAVSERVER_DEFAULTS names: below all that people set."""
    name = environ.get(_DEFAULTS)
    return from_file(name) if name else Source("default", {})


def from_environment(environ: Mapping[str, str], hash_password: Callable[[str], str]) -> Source:
    values: dict[str, Any] = {}
    places: dict[tuple[str, ...], str] = {}
    own = {name: text for name, text in environ.items() if name.startswith(PREFIX) and name != _DEFAULTS}
    user = _user(own)
    for name, text in own.items():
        keys = tuple(name.removeprefix(PREFIX).lower().split("__"))
        try:
            value = text if _is_text(keys) else parse(text)[0]
        except NotYaml as error:
            raise SettingsError(f"The environment variable {name} is not a value: {error.why}.") from error
        target = values
        for key in keys[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise SettingsError(f"The environment variable {name} contradicts another of the same section.")
        target[keys[-1]] = value
        for count in range(1, len(keys) + 1):
            places.setdefault(keys[:count], f"environment variable {name}")
    if user is not None:
        values.setdefault("users", {})[user[0]] = {"password": hash_password(user[1])}
        places["users", user[0]] = f"environment variable {PREFIX}USERNAME"
    return Source("environment", values, places, {} if user is None else dict([user]))


_TEXTS = frozenset({("host",), ("prefix",), ("state",), ("auth", "realm")})
_SECRETS = frozenset({("users", "password"), ("webhooks", "secret")})


def _is_text(keys: tuple[str, ...]) -> bool:
    """A name stays text even where it looks like a number: DAVSERVER_STATE=1. And a secret may hold any character."""
    return keys in _TEXTS or (len(keys) == 3 and (keys[0], keys[2]) in _SECRETS)


def _user(own: dict[str, str]) -> tuple[str, str] | None:
    """DAVSERVER_USERNAME with DAVSERVER_PASSWORD, or a file that holds it; taken out of `own`."""
    name, password, file = (own.pop(PREFIX + key, None) for key in ("USERNAME", "PASSWORD", "PASSWORD_FILE"))
    if password is not None and file is not None:
        raise SettingsError(f"Set {PREFIX}PASSWORD or {PREFIX}PASSWORD_FILE, not both.")
    if file is not None:
        try:
            with open(file, encoding="utf-8") as secret:
                password = secret.read().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"The file that {PREFIX}PASSWORD_FILE names, {file}, cannot be read.") from error
    if (name is None) != (password is None):
        raise SettingsError(f"{PREFIX}USERNAME and {PREFIX}PASSWORD (or {PREFIX}PASSWORD_FILE) go together.")
    if name is None or password is None:
        return None
    if not name or not password:
        raise SettingsError(f"{PREFIX}USERNAME and {PREFIX}PASSWORD must not be empty.")
    return name, password
