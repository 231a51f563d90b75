"""Settings: where they come from, what they refuse, and how they say so."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from serving import QUICK

from davserver.placement import require_startable, state_folder
from davserver.setting_types import Place
from davserver.settings import Settings, SettingsError, load, parse_users
from davserver.sources import PLACES

HASH = QUICK.hash("x")


def read(
    text: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Settings:
    file = None
    if text is not None:
        assert folder is not None
        file = folder / "my.yaml"
        file.write_text(text)
    return load(
        file=None if file is None else str(file), environ=environ or {}, flags=flags or {}, hash_password=QUICK.hash
    )


def refusal(text: str | None, folder: Path, **more: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        read(text, folder=folder, **more)
    return str(refused.value)


def test_without_anything_there_are_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read() == Settings()


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    text = "host: file\nport: 1\nprefix: /file\nlocks: {default_timeout: 10m, max_timeout: 2h}\n"
    environ = {"DAVSERVER_HOST": "environment", "DAVSERVER_PORT": "2", "DAVSERVER_LOCKS__DEFAULT_TIMEOUT": "20m"}
    settings = read(text, environ=environ, flags={"port": 3}, folder=tmp_path)
    assert (settings.host, settings.port, settings.prefix) == ("environment", 3, "/file")
    assert (settings.locks.default_timeout, settings.locks.max_timeout) == (1200, 7200)


def places(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Settings that are paths, by what their models say of them."""
    for name, field in model.model_fields.items():
        below = "*" if get_origin(field.annotation) is dict else None
        for part in [field.annotation, *get_args(field.annotation), *field.metadata]:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from places(part, (*above, name, *filter(None, [below])))
            elif part in (Place, Place.__metadata__[0]):  # type: ignore[attr-defined]
                yield (*above, name)


def test_what_is_relative_in_a_file_is_relative_to_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not to where the server happens to be started: systemd starts it at /."""
    assert sorted(places(Settings)) == sorted(PLACES)
    (tmp_path / "etc").mkdir()
    (tmp_path / "cwd").mkdir()
    (tmp_path / "etc" / "preset.yaml").write_text("auth: {htdigest_file: htdigest}\n")
    (tmp_path / "etc" / "my.yaml").write_text(
        "state: state\nshares: {/a: {directory: ../srv/a}, /b: {directory: ~/b}, /c: {directory: 'homes/{user}'}}\n"
        "tls: {cert: tls/cert.pem, key: /abs/key.pem}\nauth: {users_file: users.yaml, htpasswd_file: htpasswd}\n"
        "webhooks: {chat: {url: 'http://h/', secret_file: secret}}\n"
    )
    monkeypatch.chdir(tmp_path / "cwd")
    for file in ("../etc/my.yaml", str(tmp_path / "etc" / "my.yaml")):
        environ = {
            "HOME": "/home/me", "DAVSERVER_DEFAULTS": "../etc/preset.yaml", "DAVSERVER_AUTH__HTPASSWD_FILE": "htpasswd",
        }  # fmt: skip
        monkeypatch.setenv("HOME", environ["HOME"])
        flags = {"shares": {"/d": {"directory": "d"}}}
        settings = load(file=file, environ=environ, flags=flags, hash_password=QUICK.hash)
        etc, cwd = str(tmp_path / "etc"), str(tmp_path / "cwd")
        assert settings.state == f"{etc}/state"
        assert {path: share.directory for path, share in settings.shares.items()} == {
            "/a": f"{tmp_path}/srv/a", "/b": "/home/me/b", "/c": f"{etc}/homes/{{user}}", "/d": f"{cwd}/d",
        }  # fmt: skip
        assert (settings.tls.cert, settings.tls.key) == (f"{etc}/tls/cert.pem", "/abs/key.pem")
        assert settings.webhooks["chat"].secret_file == f"{etc}/secret"
        auth = settings.auth
        assert (auth.users_file, auth.htpasswd_file, auth.htdigest_file) == (
            f"{etc}/users.yaml", f"{cwd}/htpasswd", f"{etc}/htdigest",
        )  # fmt: skip


def test_a_file_in_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "davserver.yaml").write_text("port: 99\n")
    monkeypatch.chdir(tmp_path)
    assert read().port == 99


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot: 8080\n", "line 1: prot is not a setting; did you mean port?"),
        ("host: x\nlocks:\n  max_timeot: 1h\n", "line 3: locks.max_timeot is not a setting; did you mean max_timeout?"),
        ("zzz: 1\n", "line 1: zzz is not a setting; known here: host, port,"),
        (
            "shares:\n  /:\n    directory: /x\n    readonly: true\n",
            "line 4: shares./.readonly is not a setting; did you mean read_only?",
        ),
        ("port: eighty\n", "line 1: port: "),
        ("port: 70000\n", "line 1: port: "),
        ("locks:\n  max_timeout: 5 parsecs\n", "line 2: locks.max_timeout: write a duration as a number and a unit"),
        ("locks:\n  min_timeout: 2h\n", "line 1: locks: min_timeout must not exceed default_timeout"),
        ("limits:\n  xml_body: lots\n", "line 2: limits.xml_body: write a size as a number and a unit"),
        ("durability: maybe\n", "line 1: durability: "),
        ("host: ''\n", "line 1: host: write an address"),
        ("host: unix:run/sock\n", "line 1: host: write a Unix socket with its whole path"),
        ("workers: many\n", "line 1: workers: must be auto or a number from 1 to 256"),
        ("workers: 0\n", "line 1: workers: must be auto or a number from 1 to 256"),
        ("workers: true\n", "line 1: workers: must be auto or a number"),
        ("limits:\n  threads: 2\n", "line 2: limits.threads: must be auto or a number from 4 to 10000"),
        ("limits:\n  header: 1KiB\n", "line 2: limits.header: must be between 4KiB and 1MiB"),
        ("tls:\n  key: /x\n", "line 1: tls: a key needs its certificate"),
        ("trusted_proxies: [10.0.0.0/8, proxy]\n", "line 1: trusted_proxies: 'proxy' is neither an address"),
        ('server_header: "a\\tb"\n', "line 1: server_header: "),
        ("prefix: dav\n", "line 1: prefix: write it like /dav"),
        ("prefix: /a b\n", "line 1: prefix: write it like /dav"),
        ("shares:\n  docs: {directory: /x}\n", "line 1: shares: 'docs' is no path"),
        ("shares:\n  /-/x: {directory: /x}\n", "'/-/x' is no path"),
        ("shares:\n  /a/../b: {directory: /x}\n", "'/a/../b' is no path"),
        ("shares:\n  /a: {directory: /x}\n  /a/: {directory: /y}\n", "'/a/' and '/a' are the same path"),
        ("users:\n  alice: {password: wonder}\n", "line 2: users.alice.password: must be a hash, not a password"),
        (f"users:\n  'a:b': {{password: '{HASH}'}}\n", "'a:b' cannot be a user name"),
        ("port: 1\nport: 2\n", "line 2: port stands here for the second time"),
        (
            "rules:\n  - {path: /, who: bob, allow: r}\n  - path: /a\n    who: bob\n    allow: r\n    allow: rw\n",
            "line 6: rules.1.allow stands here for the second time",
        ),
        ("rules: [[{a: 1, a: 2}]]\n", "line 1: rules.0.0.a stands here for the second time"),
        ("shares: &all\n  /:\n    directory: *all\n", "line 1: shares./.directory stands within itself"),
        ("locks: &some {max_timeout: 5h}\nlimits: {<<: *some, max_timeout: 4h}\n", "line 2: limits.max_timeout is not"),
        ("a: [unclosed\n", "this is not YAML"),
        ("port:\t80\n\tx: 1\n", "this is not YAML"),
        ("- a\n- b\n", "line 1: the file must hold settings"),
        ("just text\n", "line 1: the file must hold settings"),
        ("? [a, b]\n: 1\n", "this is not YAML"),
        ("? !!python/object:os.system x\n: 1\n", "this is not YAML"),
        ("auth: {realm: 'a\"b'}\n", "auth.realm: "),
        ("shares:\n  /: {directory: ''}\n", "line 2: shares./.directory: write the path of a file or folder"),
        ("state: ''\n", "line 1: state: write the path of a file or folder"),
        ("shares:\n  /: [x]\n", "line 2: shares./ must be a section"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_file_and_line(text: str, said: str, tmp_path: Path) -> None:
    told = refusal(text, tmp_path)
    assert said in told
    assert told.startswith(str(tmp_path / "my.yaml"))
    assert "\n" not in told.rstrip()


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read("# nothing\n", folder=tmp_path) == Settings()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.yaml cannot be read"):
        load(file=str(tmp_path / "missing.yaml"), environ={}, flags={}, hash_password=str)
    (tmp_path / "my.yaml").write_bytes(b"host: \xff\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(file=str(tmp_path / "my.yaml"), environ={}, flags={}, hash_password=str)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DAVSERVER_PROT": "1"}, "environment variable DAVSERVER_PROT: prot is not a setting; did you mean port?"),
        ({"DAVSERVER_LOCKS__MAX": "1h"}, "environment variable DAVSERVER_LOCKS__MAX: locks.max is not a setting"),
        ({"DAVSERVER_PORT": "x"}, "environment variable DAVSERVER_PORT: port: "),
        ({"DAVSERVER_PORT": "[1"}, "DAVSERVER_PORT is not a value"),
        ({"DAVSERVER_PORT": "1", "DAVSERVER_PORT__X": "1"}, "contradicts"),
        (
            {"DAVSERVER_RULES": "[{path: /, who: bob, allow: r, allow: rw}]"},
            "DAVSERVER_RULES is not a value: 0.allow stands",
        ),
        ({"DAVSERVER_USERNAME": "alice"}, "go together"),
        ({"DAVSERVER_PASSWORD": "wonder"}, "go together"),
        ({"DAVSERVER_USERNAME": "", "DAVSERVER_PASSWORD": "x"}, "must not be empty"),
        ({"DAVSERVER_USERNAME": "a", "DAVSERVER_PASSWORD": "x", "DAVSERVER_PASSWORD_FILE": "/x"}, "not both"),
        ({"DAVSERVER_USERNAME": "a", "DAVSERVER_PASSWORD_FILE": "/missing/file"}, "cannot be read"),
    ],
)
def test_the_environment_is_as_strict(environ: dict[str, str], said: str, tmp_path: Path) -> None:
    assert said in refusal(None, tmp_path, environ=environ)


def test_one_user_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("wonder\n")
    for more in ({"DAVSERVER_PASSWORD": "wonder"}, {"DAVSERVER_PASSWORD_FILE": str(tmp_path / "secret")}):
        settings = read(environ={"DAVSERVER_USERNAME": "alice", **more})
        assert QUICK.verify(settings.users["alice"].password, "wonder")
        assert settings.allows_anonymous == "none"


SECRETS = [
    "@Sup3r secret of mine", "*Sup3rSecretOfMine", "!Sup3rSecretOfMine x", "!Sup3r!SecretOfMine x", "!!int Sup3rSecret",
    "abcdefghijklmnop #qrst", "'quoted as it is'", "[open and never shut", "4711471147114711", "{a: b, a: b, c: d}",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_of_the_environment_is_taken_as_it_stands(secret: str) -> None:
    environ = {"DAVSERVER_WEBHOOKS__C__URL": "https://example.org/", "DAVSERVER_WEBHOOKS__C__SECRET": secret}
    assert read(environ=environ).webhooks["c"].key() == secret.encode()


@pytest.mark.parametrize("secret", [*SECRETS, "short"])
def test_what_is_wrong_is_told_without_the_secret(secret: str, tmp_path: Path) -> None:
    hook = f"{{c: {{url: 'https://example.org/', secret: {secret}, events: many}}}}"
    for told in (
        refusal(None, tmp_path, environ={"DAVSERVER_USERS__BOB__PASSWORD": secret}),
        refusal(None, tmp_path, environ={"DAVSERVER_WEBHOOKS": hook}),
        refusal(f"webhooks: {hook}", tmp_path),
    ):
        assert "sup3r" not in told.lower()
        assert secret not in told
        assert "\n" not in told
    with pytest.raises(ValueError, match=r"not YAML|hash|valid string|section|second time") as refused:
        parse_users(f"bob: {{password: {secret}}}")
    assert "sup3r" not in str(refused.value).lower()
    assert "\n" not in str(refused.value)


def test_an_account_that_stands_twice_in_the_file_of_users_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^line 3: alice stands here for the second time$"):
        parse_users("alice: {display_name: A}\nbob: {}\nalice: {display_name: B}\n")
    with pytest.raises(ValueError, match=r"^line 1: bob.groups stands here for the second time$"):
        parse_users("bob: {groups: [a], groups: [b]}\n")
    assert parse_users("# nobody\n") == {}


def test_texts_of_the_environment_stay_texts() -> None:
    assert read(environ={"DAVSERVER_STATE": "123"}).state == os.path.abspath("123")
    assert read(environ={"OTHER": "x", "DAVSERVER_LOG__ACCESS": "false"}).log.access is False


@pytest.mark.parametrize(
    ("host", "users", "anonymous", "expected"),
    [
        ("127.0.0.1", False, None, "rw"),
        ("localhost", False, None, "rw"),
        ("::1", False, None, "rw"),
        ("127.0.0.1", True, None, "none"),
        ("0.0.0.0", True, None, "none"),
        ("0.0.0.0", False, "ro", "ro"),
        ("files.example", True, "rw", "rw"),
        ("unix:/run/davserver.sock", False, None, "rw"),
    ],
)
def test_who_gets_in_without_a_login(
    host: str, users: bool, anonymous: str | None, expected: str, tmp_path: Path
) -> None:
    settings = Settings(
        host=host,
        anonymous=anonymous,  # type: ignore[arg-type]
        users={"alice": {"password": HASH}} if users else {},  # type: ignore[dict-item]
        shares={"/": {"directory": str(tmp_path)}},  # type: ignore[dict-item]
    )
    assert settings.allows_anonymous == expected
    require_startable(settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "Listening on 0.0.0.0 would let everybody in: add a user with -u NAME"),
        ({"host": "files.example"}, "--anonymous ro or --anonymous rw"),
        ({"shares": {}}, "There is nothing to serve"),
        ({"shares": {"/": {"directory": "/missing/folder"}}}, "/missing/folder, is not there"),
        ({"anonymous": "none"}, "Nobody could get in"),
    ],
)
def test_what_would_surprise_does_not_start(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=said):
        require_startable(Settings(**{"shares": {"/": {"directory": str(tmp_path)}}, **settings}))


def test_the_state_lies_apart_from_what_is_served(tmp_path: Path) -> None:
    served = tmp_path / "my files"
    served.mkdir()
    settings = Settings(shares={"/": {"directory": str(served)}})  # type: ignore[dict-item]
    folder = state_folder(settings, {"XDG_STATE_HOME": str(tmp_path / "xdg")})
    assert folder.startswith(str(tmp_path / "xdg" / "davserver"))
    assert "/my-files-" in folder
    assert "/.local/state/davserver/" in state_folder(settings, {})
    (tmp_path / "link").symlink_to(served)
    for inside in (served, served / "deep" / "er", tmp_path, tmp_path / "link" / "state"):
        with pytest.raises(SettingsError, match="lie within each other"):
            state_folder(settings.model_copy(update={"state": str(inside)}), {})


def test_two_folders_have_two_states(tmp_path: Path) -> None:
    def folder(**served: str) -> str:
        shares = {path.replace("_", "/"): {"directory": str(tmp_path / name)} for path, name in served.items()}
        return state_folder(Settings(shares=shares), {"XDG_STATE_HOME": str(tmp_path / "xdg")})  # type: ignore[arg-type]

    for name in ("x/y", "ü", "ö"):
        (tmp_path / name).mkdir(parents=True)
    assert len({folder(_=name) for name in ("x/y", "x-y", "x", "ü", "ö", "docs")}) == 6
    (tmp_path / "link").symlink_to("x/y")
    assert folder(_="link") == folder(_="x/y") == folder(_docs="x/y")
    assert folder(_="x", _docs="y") == folder(_="x")
    with pytest.raises(SettingsError, match="need a state folder of their own"):
        folder(_a="x", _b="y")


@pytest.mark.parametrize(
    ("shares", "refused"),
    [
        ({"/": "", "/alias": "docs"}, True),
        ({"/": "", "/docs": "docs"}, False),
        ({"/a": "docs", "/b": "docs"}, True),
        ({"/a": "docs", "/a/deep": "docs/deep"}, False),
        ({"/a": "docs", "/a/deep": "docs"}, True),
        ({"/a": "docs", "/b": "documents"}, False),
        ({"/a": "docs", "/b": "link"}, True),
        ({"/a": "docs", "/b": "link/../docs/deep"}, True),
        ({"/": "", "/home": "docs/{user}"}, True),
        ({"/": "", "/docs": "docs/{user}"}, False),
        ({"/home": "docs/{user}", "/mine": "docs/deep"}, True),
    ],
)
def test_a_file_has_one_name(shares: dict[str, str], refused: bool, tmp_path: Path) -> None:
    for name in ("docs/deep", "documents"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("docs")

    def settings(read_only: bool) -> Settings:
        values = {
            path: {"directory": str(tmp_path / name), "read_only": read_only and path != "/"}
            for path, name in shares.items()
        }
        return Settings(shares=values)  # type: ignore[arg-type]

    require_startable(settings(read_only=True))
    if refused:
        with pytest.raises(SettingsError, match="would have two names"):
            require_startable(settings(read_only=False))
    else:
        require_startable(settings(read_only=False))


@given(st.integers(1, 10**6), st.sampled_from("smhd"))
def test_durations_are_seconds(number: int, unit: str) -> None:
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    if seconds <= 366 * 86400:
        locks = {"min_timeout": f"{number}{unit}", "default_timeout": seconds, "max_timeout": seconds}
        assert Settings(locks=locks).locks.min_timeout == seconds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"), [("1MiB", 2**20), ("64 KiB", 65536), ("2MB", 2 * 10**6), ("100", 100), (7, 7)]
)
def test_sizes_are_bytes(text: str | int, size: int) -> None:
    assert Settings(limits={"xml_body": text}).limits.xml_body == size  # type: ignore[arg-type]
