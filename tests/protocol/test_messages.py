"""Requests and responses as values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.locks import ANYBODY
from davserver.protocol.messages import Action, Client, FileSlice, Headers, Request, Response
from davserver.protocol.paths import ROOT, DavPath


class Everything:
    def allows(self, action: Action, path: DavPath) -> bool:
        return True


class NoBody:
    length = 0
    is_here = True

    def read(self, size: int) -> bytes:
        return b""


def test_header_names_are_case_insensitive() -> None:
    """RFC 9110 §5.1."""
    headers = Headers({"If-Match": "*", "DEPTH": "0"})
    assert headers["if-match"] == headers["IF-MATCH"] == "*"
    assert headers.get("Depth") == "0"
    assert "dEPTH" in headers
    assert "Timeout" not in headers
    assert headers.get("Timeout") is None
    with pytest.raises(KeyError):
        headers["Timeout"]


def test_what_is_no_text_is_no_header() -> None:
    assert 1 not in Headers({"1": "x"})
    assert None not in Headers({})


@given(st.dictionaries(st.text(st.characters(max_codepoint=127), min_size=1), st.text()))
@settings(deadline=None)
def test_headers_are_a_mapping(fields: dict[str, str]) -> None:
    headers = Headers(fields)
    assert len(headers) == len(set(headers)) == len({name.lower() for name in fields})
    assert all(headers[name] == headers[name.upper()] for name in headers)
    assert dict(Headers(headers)) == dict(headers)


def test_headers_of_lower_case_are_taken_as_they_are() -> None:
    fields = {"if-match": "*", "depth": "0"}
    headers = Headers.of_lower_case(fields)
    assert dict(headers) == fields
    assert headers["If-Match"] == headers.get("IF-MATCH") == "*"
    assert headers.get("If") is None
    assert headers.get("If", "none") == "none"
    assert not headers.lacks(frozenset({"depth", "if"}))
    assert headers.lacks(frozenset({"if", "lock-token"}))


def test_a_request_is_at_the_top_of_an_unnamed_host_unless_said_otherwise() -> None:
    request = Request("GET", ROOT, Headers({}), NoBody(), ANYBODY, Everything(), Client(), 0.0)
    assert (request.prefix, request.hosts) == ("", frozenset())
    assert request.client == Client("", "")
    with pytest.raises(AttributeError):
        request.method = "PUT"  # type: ignore[misc]


def test_a_response_is_empty_unless_said_otherwise() -> None:
    assert Response(204) == Response(204, (), b"")


def test_a_file_slice_is_closed_by_whoever_sends_it() -> None:
    closed = []
    slice_ = FileSlice(fd=3, offset=10, length=20, close=lambda: closed.append(True))
    assert not closed
    slice_.close()
    assert closed == [True]
