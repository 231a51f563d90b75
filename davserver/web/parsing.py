"""Parsing: query and body of a request → values of the operation's types, or a refusal that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from flask import request
from pydantic import BaseModel, ValidationError

from davserver.protocol.errors import BadRequest, ContentTooLarge, UnprocessableContent, UnsupportedMediaType
from davserver.protocol.messages import Body
from davserver.web.contract import Operation

#: Largest body, in bytes: a transaction of a thousand long paths.
BODY_LIMIT = 1 << 20
_BLOCK = 64 * 1024
_JSON = "application/json"
#: Faults that one answer tells.
_FAULTS = 20

_Model = TypeVar("_Model", bound=BaseModel)


def query_of(operation: Operation) -> BaseModel:
    try:
        # Letters beyond ASCII may stand as they are; PEP 3333 has each byte as one character.
        text = request.environ["QUERY_STRING"].encode("latin-1").decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except UnicodeDecodeError as error:
        raise BadRequest("The query of the URL must be UTF-8, percent-encoded or as it is.") from error
    except ValueError as error:
        raise BadRequest("The query of the URL has too many fields.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise UnprocessableContent("A field stands twice in the query of the URL.")
    return _valid(operation.query.model_validate, fields, "query")


def body_of(operation: Operation, model: type[BaseModel]) -> BaseModel | None:
    body: Body = request.environ["wsgi.input"]
    if body.length == 0 and operation.body_optional:
        return None
    if request.mimetype != _JSON:
        raise UnsupportedMediaType(f"Send the body as {_JSON}, and say so in Content-Type.")
    return _valid(model.model_validate_json, content_of(body, BODY_LIMIT), "body")


def content_of(body: Body, limit: int) -> bytes:
    """The whole body. Raises ContentTooLarge, with the rest of it unread."""
    too_large = ContentTooLarge(f"The body may have at most {limit} bytes.")
    if (body.length or 0) > limit:
        raise too_large
    blocks, size = [], 0
    while block := body.read(_BLOCK):
        size += len(block)
        if size > limit:
            raise too_large
        blocks.append(block)
    return b"".join(blocks)


def _valid(read: Callable[[Any], _Model], data: object, where: str) -> _Model:
    try:
        return read(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise BadRequest(f"The body is not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}.") from error
        raise UnprocessableContent(
            f"The {where} of this request is not what this resource takes.",
            [(".".join([where, *map(str, fault["loc"])]), fault["msg"]) for fault in faults[:_FAULTS]],
        ) from error
