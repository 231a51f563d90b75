"""Refusals as the API gives them: problem details (RFC 9457), and the JSON 423 that WebDAV clients get as well."""

from __future__ import annotations

from davserver.protocol.errors import Locked, Refused, UnprocessableContent
from davserver.protocol.holder import Viewer
from davserver.protocol.messages import Response
from davserver.protocol.reasons import reason
from davserver.protocol.refusal import JSON, render
from davserver.web.models import FaultModel, ProblemModel

PROBLEM = "application/problem+json"


def refusal(refused: Refused, viewer: Viewer, now: float, prefix: str) -> Response:
    """Status, header fields and body; whoever sends it adds the length."""
    if isinstance(refused, Locked):
        return render(refused, accept=JSON, content_type=None, now=now, prefix=prefix, viewer=viewer)
    faults = refused.faults if isinstance(refused, UnprocessableContent) else ()
    body = ProblemModel(
        title=reason(refused.status),
        status=refused.status,
        detail=refused.message,
        errors=[FaultModel(field=where, message=what) for where, what in faults] or None,
    )
    headers = (*refused.headers, ("Content-Type", PROBLEM))
    return Response(refused.status, headers, body.model_dump_json(exclude_none=True).encode())
