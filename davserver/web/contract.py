"""Contract: what an operation of the API is. Routes, validation and the OpenAPI document all come from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from davserver.web.models import NoQuery


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    #: None: no content.
    model: BaseModel | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one resource."""

    name: str
    method: str
    #: Below /-/api/v1, with parameters as {name}.
    path: str
    summary: str
    #: Called with the caller, the parameters of the path, and `query` and `body` where there are models of them.
    run: Callable[..., Any]
    #: Status of each success → model of its content; None: no content.
    answers: Mapping[int, type[BaseModel] | None]
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | None = None
    #: The request may come without its body.
    body_optional: bool = False
    #: Statuses of refusals, beside those that every operation may have.
    refusals: tuple[int, ...] = ()
    description: str = ""
    media: str = "application/json"
    #: Header fields of the request, and what they mean.
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        return self.method not in ("GET", "HEAD")
