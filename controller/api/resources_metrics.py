"""/metrics: for Prometheus, in its text format or as OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterable

import eventlet
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from webob import Response

from controller.api.call import Call
from controller.api.metrics import families

_END = b"# EOF\n"  # of OpenMetrics


class _One:
    """A registry of one family, as encoders want it."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def show(call: Call) -> Response:
    """Everything that is measured. Others get their turns while it is put together."""
    call.allow_query("name[]")
    encode, content_type = choose_encoder(call.accept)
    parts: list[bytes] = []
    for family in families(call.service, _pause):
        parts.append(encode(_One(family)).removesuffix(_END))
        _pause()
    if content_type.startswith("application/openmetrics-text"):
        parts.append(_END)
    response = Response(body=b"".join(parts))
    response.headers["Content-Type"] = content_type
    return response


def _pause() -> None:
    eventlet.sleep(0)
