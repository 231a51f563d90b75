"""Writes docs/configuration.md from config/davserver.yaml, which tests hold to the settings themselves. `make docs`.

What stands in a comment of that file is an example; the default of it is what the settings say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel

from davserver.settings import ShareSettings, UserSettings
from davserver.webhook_settings import WebhookSettings

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "config" / "davserver.yaml"
PAGE = ROOT / "docs" / "configuration.md"

_LINE = re.compile(r"(#?)( *)([\w/]+):(?: (.*))?")
#: Keys of examples that stand for any other.
_EXAMPLES = {("shares", "/"): "PATH", ("users", "alice"): "NAME", ("webhooks", "chat"): "NAME"}
#: What may stand below these.
_MODELS: dict[str, type[BaseModel]] = {"shares": ShareSettings, "users": UserSettings, "webhooks": WebhookSettings}
_FOR_EXAMPLE = re.compile(r"[,.] [Ff]or example:$")
#: A setting that is a list, and its example below it.
_LIST = re.compile(r"^(\w+): \[\].*[Ff]or example:\n((?:#  - .*\n)+)", re.MULTILINE)

HEAD = """# Configuration

<!-- Written by `make docs` from config/davserver.yaml. -->

Where a setting comes from, the strongest first: the command line, the environment, the configuration file, the default.
The file is the one that `-c` names, else `davserver.yaml` in the current folder, else `/etc/davserver/davserver.yaml`;
in the Docker image `/config/davserver.yaml`. [config/davserver.yaml](../config/davserver.yaml) is all of it, to copy.

In the environment a setting is `DAVSERVER_` and its keys in capitals, joined by two underscores; what it holds is YAML,
but for `host`, `prefix`, `state`, `auth.realm`, and a user's `password` and a webhook's `secret`, which are plain text.
One user may come from `DAVSERVER_USERNAME` and `DAVSERVER_PASSWORD`, or `DAVSERVER_PASSWORD_FILE`, which names a file
that holds the password. What whoever packages the server presets stands in a file that `DAVSERVER_DEFAULTS` names.

A path in the file that is not absolute is relative to the folder of the file, wherever the command is run; one from the
environment or the command line to the current folder. `~` is the home of whoever runs the server.

Durations are a number and `s`, `m`, `h` or `d`; sizes a number and `KiB`, `MiB` or `GiB` (or `KB`, `MB`, `GB`). A key
that is not known stops the start, with its line and what was probably meant. This says what is in force, and whether a
server would start with it, on the files and folders that there are:

```sh
davserver check-config -c davserver.yaml
```
"""


class Setting(NamedTuple):
    keys: tuple[str, ...]
    default: str
    explained: str


def settings(text: str) -> Iterator[Setting]:
    """Every line that sets something, or shows how, in order; a section has no default."""
    _, _, body = text.partition("\n\n")
    path: list[tuple[int, str]] = []
    for line in body.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        depth = len(found[2]) + (1 if found[1] else 0)
        while path and path[-1][0] >= depth:
            path.pop()
        path.append((depth, found[3]))
        value, _, explained = (found[4] or "").partition("# ")
        keys = tuple(key for _, key in path)
        for example, name in _EXAMPLES.items():
            if keys[: len(example)] == example:
                keys = (*example[:-1], name, *keys[len(example) :])
        yield Setting(keys, value.strip(), explained.strip())


def page(text: str) -> str:
    sections: dict[tuple[str, ...], list[str]] = {}
    lists = dict(_LIST.findall(text))
    for setting in settings(text):
        if not setting.default:
            continue  # a section's own line
        above, name = setting.keys[:-1], setting.keys[-1]
        if above[:1] and above[0] in _MODELS:  # named by people: they may hold what no variable may
            rows = sections.setdefault(above, ["| Setting | Default | Example | |", "|---|---|---|---|"])
            rows.append(_row(f"`{name}`", *_default(_MODELS[above[0]], name, setting.default), setting.explained))
            continue
        explained = setting.explained
        if _FOR_EXAMPLE.search(explained):
            below = (
                name if name in lists else next(f"{name}.{any_}" for (top, _), any_ in _EXAMPLES.items() if top == name)
            )
            explained = _FOR_EXAMPLE.sub(f": [{below}](#{below.replace('.', '').lower()})", explained)
        rows = sections.setdefault(above, ["| Setting | Default | In the environment | |", "|---|---|---|---|"])
        rows.append(
            _row(f"`{name}`", f"`{setting.default}`", f"`DAVSERVER_{'__'.join(setting.keys).upper()}`", explained)
        )
        if name in lists:
            example = lists[name].replace("#", "", 1).replace("\n#", "\n")
            sections[setting.keys] = ["For example:", "", "```yaml", f"{name}:", *example.splitlines(), "```"]
    lines = [HEAD]
    for above, rows in sections.items():
        lines += [f"## {'.'.join(above) if above else 'The server'}", "", *rows, ""]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(model: type[BaseModel], name: str, example: str) -> tuple[str, str]:
    """Two cells: what holds where nothing is said, and what could be said instead."""
    field = model.model_fields[name]
    if field.is_required():
        return "must be said", f"`{example}`"
    default = field.get_default(call_default_factory=True)
    default = list(default) if isinstance(default, tuple) else default
    shown = '""' if default == "" else yaml.safe_dump(default, default_flow_style=True).removesuffix("...\n").strip()
    return f"`{shown}`", "" if yaml.safe_load(example) == default else f"`{example}`"


if __name__ == "__main__":
    PAGE.write_text(page(SOURCE.read_text()))
