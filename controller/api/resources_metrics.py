"""/metrics: for Prometheus, in its text format or as OpenMetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import eventlet
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from webob import Response

from controller.api.call import Call
from controller.api.described import Described
from controller.api.metrics import families

SAMPLES_AT_ONCE: Final = 500
"""So many are encoded before others get a turn: some milliseconds."""

_END: Final = b"# EOF\n"  # of OpenMetrics


class _One:
    """A registry of one family, as encoders want it."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


@Described("observability", media_types=("text/plain", "application/openmetrics-text"))
def show(call: Call) -> Response:
    """Everything that is measured, for Prometheus: in its text format, or as ``Accept`` asks."""
    call.allow_query()
    encode, content_type = choose_encoder(call.accept)
    parts: list[bytes] = []
    for family in families(call.service, _pause):
        parts += _encoded(family, encode)
    if content_type.startswith("application/openmetrics-text"):
        parts.append(_END)
    response = Response(body=b"".join(parts))
    response.headers["Content-Type"] = content_type
    return response


def _encoded(family: Metric, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    """A family's text, in parts; only the first has its HELP and TYPE."""
    samples = family.samples
    for at in range(0, max(1, len(samples)), SAMPLES_AT_ONCE):
        part = Metric(family.name, family.documentation, family.type, family.unit)
        part.samples = samples[at : at + SAMPLES_AT_ONCE]
        lines = encode(_One(part)).removesuffix(_END).splitlines(keepends=True)
        yield b"".join(line for line in lines if not at or not line.startswith(b"#"))
        _pause()


def _pause() -> None:
    eventlet.sleep(0)
