"""Settings of webhooks."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_settings import read, refusal

from davserver.sources import SettingsError

SECRET = "0123456789abcdef"


def test_a_webhook(tmp_path: Path) -> None:
    text = f"webhooks: {{chat: {{url: 'https://example.org:8443/hook?x=1', secret: {SECRET}, events: [locked]}}}}\n"
    hook = read(text, folder=tmp_path).webhooks["chat"]
    assert (hook.url, hook.events, hook.path) == ("https://example.org:8443/hook?x=1", ("locked",), "/")
    assert hook.key() == SECRET.encode()


def test_a_secret_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    hook = read(f"webhooks: {{a: {{url: 'http://h/', secret_file: '{file}'}}}}\n", folder=tmp_path).webhooks["a"]
    with pytest.raises(SettingsError, match=r"secret, .*, cannot be read: No such file"):
        hook.key()
    file.write_text("short\n")
    with pytest.raises(SettingsError, match="must hold at least 16"):
        hook.key()
    file.write_text(f"{SECRET}\n")
    assert hook.key() == SECRET.encode()


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://example.org/", "http://", "http:///x", "http://h:x/", "http://h:0/", "http://h:99999/",
        "http://h/#x", "http://h/ x", "http://h\u00e4/", "http://h/\t", "http://[::1/", "javascript:alert(1)", "//h/",
    ],
)  # fmt: skip
def test_urls_that_are_none(url: str, tmp_path: Path) -> None:
    said = refusal(f'webhooks: {{a: {{url: "{url}", secret: {SECRET}}}}}\n', tmp_path)
    assert "webhooks.a.url: write a whole URL" in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("secret: 0123456789abcde", "should have at least 16 characters"),
        ("path: /x", "webhooks.a: set secret, or secret_file"),
        (f"secret: {SECRET}, secret_file: /x", "webhooks.a: set secret, or secret_file"),
        (f"secret: {SECRET}, path: docs", "webhooks.a.path: write a path like /docs"),
        (f"secret: {SECRET}, path: /../x", "webhooks.a.path: write a path like /docs"),
        (f"secret: {SECRET}, events: [opened]", "webhooks.a.events.0: "),
        (f"secret: {SECRET}, event: []", "webhooks.a.event is not a setting; did you mean events?"),
    ],
)
def test_what_else_is_refused(fields: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(f"webhooks: {{a: {{url: 'http://h/', {fields}}}}}\n", tmp_path)


def test_a_login_in_the_url_is_refused(tmp_path: Path) -> None:
    said = refusal(f"webhooks: {{a: {{url: 'http://u:p@h/', secret: {SECRET}}}}}\n", tmp_path)
    assert "a login in the URL is not sent" in said
