"""What programs of an operator fetch below /-/: `health` for who watches over the server, `metrics` for Prometheus.

Each page is a function of a request and needs no login. What must not be told to everybody asks for one itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from davserver.operations.health import PARTS, Health
from davserver.protocol.errors import MethodNotAllowed, NotFound
from davserver.protocol.messages import Request, Response

#: Answers a request for a path below /-/.
Page = Callable[[Request], Response]

_READING = ("GET", "HEAD")
_NO_STORE = ("Cache-Control", "no-store")


def health_page(health: Health) -> Page:
    """`/-/health` (or `/-/health/ready`): 200 when ready, else 503. `/-/health/live`: 200."""

    def answer(request: Request) -> Response:
        require_reading(request)
        match request.path.segments[2:]:
            case ("live",):
                return _told(200, {"status": "alive"})
            case () | ("ready",):
                report = health.look()
                checks = {part: "ok" if report.about(part) else "failed" for part in PARTS}
                if report.is_ready:
                    return _told(200, {"status": "ready", "checks": checks})
                return _told(503, {"status": "not ready", "checks": checks})
        raise NotFound("There are /-/health/live and /-/health/ready.")

    return answer


def require_reading(request: Request) -> None:
    """Raises MethodNotAllowed."""
    if request.method not in _READING:
        raise MethodNotAllowed(f"{request.path} can only be read.", _READING)


def _told(status: int, values: dict[str, object]) -> Response:
    body = json.dumps(values).encode() + b"\n"
    retry = () if status == 200 else (("Retry-After", "5"),)
    return Response(status, (("Content-Type", "application/json"), _NO_STORE, *retry), body)
