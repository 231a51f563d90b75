"""/-/metrics: figures for Prometheus, right across all workers, whichever of them is asked.

What requests cost is counted where they are answered (`figures`). The rest is looked up when somebody asks: locks in
the state, connections where workers share them out, processes in /proc. So nothing is counted twice, and nothing
is paid for by those who do not ask. No name, path or token is among it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from davserver.operations.figures import Figures
from davserver.operations.pages import Page, require_reading
from davserver.protocol.errors import NotPermitted
from davserver.protocol.messages import Request, Response
from davserver.storage.state import State

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sources(NamedTuple):
    """Where figures come from."""

    figures: Figures
    state: State
    #: The time by which locks end.
    now: Callable[[], float]
    #: Connections of each worker that is there.
    connections: Callable[[], Sequence[int]]
    build: Mapping[str, str]


def metrics_page(sources: Sources, may_read: Callable[[str], bool]) -> Page:
    """`may_read`: may this address read without a login?"""

    def answer(request: Request) -> Response:
        require_reading(request)
        if request.principal.is_anonymous and not may_read(request.client.address):
            raise NotPermitted("Log in, or let metrics.allow name your address, to read the metrics.")
        from davserver.operations.exposition import exposition  # megabytes, most of them for what we do not use

        return Response(200, (("Content-Type", _TYPE), ("Cache-Control", "no-store")), exposition(sources))

    return answer
