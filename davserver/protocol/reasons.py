"""Status code → reason phrase (RFC 9110 §15, RFC 4918 §11)."""

from __future__ import annotations

from http import HTTPStatus

_OWN = {413: "Content Too Large", 416: "Range Not Satisfiable"}


def reason(status: int) -> str:
    return _OWN.get(status) or HTTPStatus(status).phrase
