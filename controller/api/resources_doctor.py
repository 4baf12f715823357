"""/v1/doctor: what is wrong with the fabric, why, and what to type."""

from __future__ import annotations

import time

from webob import Response

from controller.api.answers import answer
from controller.api.call import Call
from controller.api.problems import invalid
from controller.doctor import CHECKS
from controller.journal import rfc3339
from controller.service import CheckResult


def index(call: Call) -> Response:
    """All checks, or one."""
    call.allow_query("check")
    only = call.query("check")
    if only is not None and only not in CHECKS:
        raise invalid("check", f"{only!r} is not one of {', '.join(CHECKS)}")
    found = call.service.doctor(only)
    return answer(
        {
            "healthy": all(one.status != "error" for one in found),
            "now": rfc3339(time.time()),
            "checks": [_shown(one) for one in found],
        }
    )


def _shown(one: CheckResult) -> dict[str, object]:
    return {
        "check": one.check,
        "status": one.status,
        "subject": one.subject,
        "summary": one.summary,
        "cause": one.cause,
        "command": one.command,
    }
