"""The house keeps its order: who may import whom, held by reading the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import davserver

PACKAGE = Path(davserver.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Each room, and the rooms it may import from beside itself.
ROOMS = {
    "protocol": set(),
    "storage": {"protocol"},
    "methods": {"protocol", "storage"},
    "access": {"protocol", "storage", "methods", "names"},
    "names": set(),
    "yaml_text": set(),
    "sources": {"yaml_text"},
    "webhook_settings": {"sources", "setting_types"},
    "setting_types": set(),
    "settings_access": {"setting_types", "names"},
    "settings": {"sources", "setting_types", "names", "settings_access", "webhook_settings", "yaml_text"},
    "placement": {"settings"},
    "web": {"protocol", "storage", "methods", "access", "__init__"},
    "operations": {"protocol", "storage", "methods"},
    "server": {"protocol", "storage", "methods", "access", "web", "operations", "settings", "build"},
    "banner": {"settings"},
    "cli": {
        "protocol",
        "storage",
        "methods",
        "access",
        "settings",
        "server",
        "banner",
        "placement",
        "build",
        "cli_health",
        "cli_locks",
        "cli_people",
        "cli_state",
    },
    "cli_words": {"protocol", "settings"},
    "cli_places": {"protocol", "storage", "settings", "cli_words"},
    "build": set(),
    "cli_health": {"settings"},
    "cli_locks": {"protocol", "storage", "settings", "placement", "server", "cli_several", "cli_words", "cli_places"},
    "cli_people": {
        "protocol",
        "storage",
        "access",
        "settings",
        "placement",
        "server",
        "cli_several",
        "cli_words",
        "cli_places",
    },
    "cli_several": {"protocol"},
    "cli_state": {"protocol", "storage", "settings", "placement", "server"},
    "container": {"cli", "settings", "operations", "access"},
    "__main__": {"cli"},
    "__init__": set(),
}
#: What the pure core may import: no I/O, no clock, no randomness, no framework.
PURE = {
    "__future__", "ast", "base64", "binascii", "calendar", "collections", "dataclasses", "datetime", "defusedxml",
    "enum", "functools", "hashlib", "html", "http", "itertools", "json", "lxml", "math", "mimetypes", "re", "time",
    "typing", "urllib", "xml", "zlib",
}  # fmt: skip
#: Of modules that are pure in part, the names that are not.
IMPURE_NAMES = {"time", "time_ns", "monotonic", "perf_counter", "sleep", "now", "today", "utcnow", "urlopen"}


def imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, names) of every import in a file, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield node.module or "", tuple(alias.name for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_those_below_it(path: Path) -> None:
    here = room(path)
    for module, _ in imports(path):
        if module.startswith("davserver."):
            there = module.split(".")[1]
            assert there == here or there in ROOMS[here], f"{here} must not import {module}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_is_pure_and_only_the_server_knows_its_framework(path: Path) -> None:
    for module, names in imports(path):
        top = module.split(".")[0]
        if room(path) == "protocol":
            assert top in PURE | {"davserver"}, f"protocol must not import {module}"
            assert not IMPURE_NAMES & set(names), f"protocol must not import {names} from {module}"
            assert not (top == "urllib" and module != "urllib.parse")
        if top in ("wsgidav", "cheroot"):
            assert room(path) == "server", f"{room(path)} must not import {module}"


def test_the_core_calls_no_clock() -> None:
    for path in MODULES:
        if room(path) == "protocol":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    called = (node.value.id, node.attr)
                    assert called not in {("time", "time"), ("datetime", "now"), ("datetime", "today")}, path
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("open", "print", "input", "exec", "eval"), path


def test_every_module_says_what_it_is_and_is_one_idea() -> None:
    for path in MODULES:
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), path
        assert len(text.splitlines()) <= 420, f"{path.name}: two ideas in one room?"


def test_no_line_of_the_package_relies_on_assert() -> None:
    for path in MODULES:
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text()))), path


def test_every_method_is_in_the_table_and_changes_need_a_right_to_change() -> None:
    from davserver.protocol.messages import Action
    from davserver.server.dispatch import METHODS

    reading = {"GET", "HEAD", "PROPFIND", "COPY"}
    assert set(METHODS) == reading | {
        "OPTIONS", "PUT", "PATCH", "POST", "MKCOL", "DELETE", "MOVE", "PROPPATCH", "LOCK", "UNLOCK",
    }  # fmt: skip
    for name, method in METHODS.items():
        assert (Action.READ in method.actions) == (name in reading)
        assert bool(method.actions) == (name != "OPTIONS")


def test_every_live_property_has_its_form() -> None:
    from davserver.methods import live
    from davserver.protocol.properties import LIVE

    assert live.FORMS.keys() == LIVE.keys()
