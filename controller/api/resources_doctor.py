"""/v1/doctor: what is wrong with the fabric, why, and what to type."""

from __future__ import annotations

import time

from webob import Response

from controller.api import shapes_observed as shapes
from controller.api.answers import answer
from controller.api.call import Call
from controller.api.described import Described, choice
from controller.api.problems import invalid
from controller.doctor import CHECKS
from controller.journal import rfc3339
from controller.service import CheckResult


@Described("observability", shapes.Doctor, query=(choice("check", CHECKS, "only this one"),))
def index(call: Call) -> Response:
    """What is wrong with the fabric, why, and what to type; it takes up to some seconds.

    A command that begins with ``ovs-``, ``ip``, ``dev=`` or ``ping`` is for the host it is about.
    """
    call.allow_query("check")
    only = call.query("check")
    if only is not None and only not in CHECKS:
        raise invalid("check", f"{only!r} is not one of {', '.join(CHECKS)}")
    found = call.service.doctor(only)
    shown: shapes.Doctor = {
        "healthy": all(one.status != "error" for one in found),
        "now": rfc3339(time.time()),
        "checks": [_shown(one) for one in found],
    }
    return answer(shown)


def _shown(one: CheckResult) -> shapes.Check:
    return {
        "check": one.check,
        "status": one.status,
        "subject": one.subject,
        "summary": one.summary,
        "cause": one.cause,
        "command": one.command,
    }
