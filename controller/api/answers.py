"""Answers that are no errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from webob import Response

from controller.api.call import Call
from controller.api.jsontext import encode_json
from controller.api.shown import show_place
from controller.service import Applied, Ticket

WAITING_FOR_MAX: Final = 10
"""So many of the hosts that lag are named."""


def answer(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(status=status, body=encode_json(body), content_type="application/json")


def written(
    call: Call,
    ticket: Ticket,
    show: Callable[[], Mapping[str, object]],
    *,
    created: bool = False,
    location: str | None = None,
) -> Response:
    """A write's answer: durable by now, and as far applied as ``?wait=`` asks and time allows.

    ``show`` is asked after the wait, so that it shows what came of the write.
    """
    wait_s = call.wait_s()
    applied = _receipt(call, ticket, wait_s)
    status = 201 if created else 200
    if wait_s is not None and not applied.everywhere:
        status = 202
    body = {**show(), "applied": {"hosts": applied.hosts, "of": applied.of}}
    if status == 202:
        topology = call.service.topology
        behind = applied.behind[:WAITING_FOR_MAX]
        body["waiting_for"] = [show_place(topology, dpid) for dpid in behind]
    response = answer(body, status)
    if location is not None:
        response.headers["Location"] = location
    return response


def _receipt(call: Call, ticket: Ticket, wait_s: float | None) -> Applied:
    applied = call.service.applied(ticket)
    if wait_s and not applied.everywhere:
        return call.service.wait(ticket, wait_s)
    return applied
