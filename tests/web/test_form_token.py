"""Tokens of forms."""

from __future__ import annotations

import pytest

from davserver.web.form_token import OPEN_SECONDS, FormTokens

TOKENS = FormTokens(lambda: b"k" * 32)
NOW = 1_800_000_000.5


def test_one_is_good_for_its_user_and_for_a_while() -> None:
    token = TOKENS.new("alice", NOW)
    assert TOKENS.is_good(token, "alice", NOW)
    assert TOKENS.is_good(token, "alice", NOW + OPEN_SECONDS - 1)
    for user, now in ("bob", NOW), ("alice", NOW + OPEN_SECONDS), ("alice", NOW - 10), ("alic", NOW), ("", NOW):
        assert not TOKENS.is_good(token, user, now)
    assert not FormTokens(lambda: b"x" * 32).is_good(token, "alice", NOW)
    assert FormTokens(lambda: b"k" * 32).is_good(token, "alice", NOW)  # another worker


@pytest.mark.parametrize(
    "token", ["", ".", "1800000000", "1800000000.", "x.y", "-1.0", "9" * 99 + ".0", "1800000000.é"]
)
def test_what_is_none(token: str) -> None:
    assert not TOKENS.is_good(token, "alice", NOW)


def test_a_moment_is_not_moved() -> None:
    moment, _, proof = TOKENS.new("alice", NOW).partition(".")
    assert not TOKENS.is_good(f"{int(moment) + 1}.{proof}", "alice", NOW + 2)
    assert not TOKENS.is_good(f"0{moment}.{proof}", "alice", NOW)


def test_the_key_is_asked_for_once_and_not_before() -> None:
    asked: list[int] = []

    def key() -> bytes:
        asked.append(1)
        return b"k"

    tokens = FormTokens(key)
    assert not asked
    tokens.is_good(tokens.new("alice", NOW), "alice", NOW)
    assert asked == [1]
