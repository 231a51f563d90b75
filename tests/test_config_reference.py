"""config/davserver.yaml is the reference of the settings, and says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from serving import QUICK

from davserver.settings import Settings, load

REFERENCE = Path(__file__).parent.parent / "config" / "davserver.yaml"


def read(file: Path) -> Settings:
    return load(file=str(file), environ={}, flags={}, hash_password=str)


def keys(values: object, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not isinstance(values, dict) or not values:
        return {path}
    return {found for key, value in values.items() for found in keys(value, (*path, key))}


def test_the_reference_holds_every_setting_with_its_default() -> None:
    assert read(REFERENCE) == Settings()
    assert keys(yaml.safe_load(REFERENCE.read_text())) == keys(Settings().model_dump())


def test_its_commented_examples_are_valid(tmp_path: Path) -> None:
    """An example is what is commented out right below a setting; the head of the file is prose."""
    head, _, settings_text = REFERENCE.read_text().partition("\n\n")
    assert all(line.startswith("# ") for line in head.splitlines())
    text = settings_text.replace("shares: {}", "shares:").replace("users: {}", "users:").replace("rules: []", "rules:")
    text = text.replace("webhooks: {}", "webhooks:")
    text = re.sub(r"^#( +\S)", r"\1", text, flags=re.MULTILINE)
    text = text.replace("$argon2id$...", QUICK.hash("x"))
    example = tmp_path / "davserver.yaml"
    example.write_text(text)
    settings = read(example)
    assert settings.shares["/"].directory == "/srv/files"
    assert settings.webhooks["chat"].path == "/docs"
    assert settings.users["alice"].display_name == "Alice Smith"
    assert settings.rules[0].who == ("anonymous",)


def test_every_setting_is_explained() -> None:
    for line in REFERENCE.read_text().splitlines():
        if re.match(r" *#? *[a-z_]+: +\S", line) and not re.match(r" *# *directory:|.*read_only:|# ", line):
            assert "#" in line.split(":", 1)[1], line
