"""The OpenAPI 3.1 document, written from the operations and their types: it cannot say anything else than they do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from davserver import __version__
from davserver.protocol.reasons import reason
from davserver.web.contract import Operation
from davserver.web.models import EventModel, LockedModel, ProblemModel
from davserver.web.problem import PROBLEM

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
#: Refusals that every operation may give, that those with a body may, and that those which write may.
_ALWAYS, _WITH_BODY, _WRITING = (401, 405, 422, 429, 503), (400, 408, 413, 415), (403, 423, 507)
#: Where an answer names what it has made.
_NAMED = {"number": "$response.body#/id", "transaction_id": "$response.body#/transaction_id"}
_PARAMETERS = {
    "number": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    "transaction_id": {"type": "string", "pattern": r"^txn-[0-9]{1,18}$"},
}


def document(operations: Iterable[Operation], base: str) -> dict[str, Any]:
    """`base`: path of the API's URL."""
    table = list(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in table:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, table)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "davserver",
            "version": __version__,
            "description": (
                "Locks beside WebDAV: who holds what, check-outs, transactions, maintenance, events; and app passwords."
            ),
        },
        "servers": [{"url": base}],
        # Where the server lets people in without a login, the API does too.
        "security": [{"basic": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "schemas": _schemas(table),
        },
    }


def _schemas(table: list[Operation]) -> dict[str, Any]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
    for operation in table:
        if operation.body is not None:
            wanted[operation.body, "validation"] = None
        for model in operation.answers.values():
            if model is not None:
                wanted[model, "serialization"] = None
    for model in (EventModel, LockedModel, ProblemModel):
        wanted[model, "serialization"] = None
    _, found = models_json_schema(list(wanted), ref_template=_REF)
    requests = {operation.body.__name__ for operation in table if operation.body is not None}
    schemas: dict[str, Any] = found["$defs"]
    return {name: schema if name in requests else _absent_not_null(schema) for name, schema in schemas.items()}


def _absent_not_null(schema: Any) -> Any:
    """In answers what does not apply is left out: of "X or null" X is left."""
    if isinstance(schema, list):
        return [_absent_not_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _absent_not_null(each) for name, each in schema.items()}
    choices = kept.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        (only,) = [each for each in choices if each != {"type": "null"}]
        del kept["anyOf"]
        kept.pop("default", None)
        kept |= only
    return kept


def _operation(operation: Operation, table: list[Operation]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_in_path(operation), *_in_query(operation), *_in_head(operation)],
        "responses": _responses(operation, table),
    }
    if operation.description:
        found["description"] = operation.description
    if operation.body is not None:
        schema = {"$ref": _REF.format(model=operation.body.__name__)}
        found["requestBody"] = {"required": not operation.body_optional, "content": {_JSON: {"schema": schema}}}
    return found


def _in_path(operation: Operation) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": _PARAMETERS[name]} for name in _names(operation)]


def _names(operation: Operation) -> list[str]:
    """Of the parameters in its path."""
    return re.findall(r"\{(\w+)\}", operation.path)


def _in_query(operation: Operation) -> list[dict[str, Any]]:
    schema = operation.query.model_json_schema(ref_template=_REF)
    parameters = []
    for name, each in schema.get("properties", {}).items():
        plain = _absent_not_null(each)
        described = {"description": plain.pop("description")} if "description" in plain else {}
        parameters.append({"name": name, "in": "query", "required": False, "schema": plain, **described})
    return parameters


def _in_head(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": meaning}
        for name, meaning in operation.headers.items()
    ]


def _responses(operation: Operation, table: list[Operation]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, model in operation.answers.items():
        answer: dict[str, Any] = {"description": reason(status)}
        if model is not None:
            answer["content"] = {operation.media: {"schema": {"$ref": _REF.format(model=model.__name__)}}}
        elif status == 200:
            answer["content"] = {operation.media: {"schema": {"type": "string"}}}
        if status == 201:
            answer["headers"] = {"Location": {"schema": {"type": "string"}, "required": True}}
            answer["links"] = {
                other.name: {"operationId": other.name, "parameters": {name: _NAMED[name] for name in _names(other)}}
                for other in table
                if other.path.startswith(f"{operation.path}/")
            }
        responses[str(status)] = answer
    every = {*_ALWAYS, *operation.refusals}
    every |= set(_WITH_BODY) if operation.body is not None else set()
    every |= set(_WRITING) if operation.writes else set()
    for status in sorted(every):
        responses[str(status)] = _refusal(status)
    return responses


def _refusal(status: int) -> dict[str, Any]:
    locked = status == 423
    schema = {"$ref": _REF.format(model="LockedModel" if locked else "ProblemModel")}
    found: dict[str, Any] = {
        "description": reason(status),
        "content": {_JSON if locked else PROBLEM: {"schema": schema}},
    }
    if status in (423, 429, 503):
        described = "Seconds; absent where what is in the way has no end." if locked else "Seconds."
        found["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": described}}
    return found
