"""Status code → reason phrase (RFC 9110 §15, RFC 4918 §11)."""

from __future__ import annotations

from http import HTTPStatus

# RFC 9110 renamed these; Python says it the new way from 3.13 on.
_RENAMED = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def reason(status: int) -> str:
    """The phrase, the same under every version of Python. ValueError for a number that is no status."""
    return _RENAMED.get(status) or HTTPStatus(status).phrase
