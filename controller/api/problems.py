"""Errors as answers: application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from webob import Response

from controller.api.jsontext import encode_json
from topology.errors import InvalidValue, VxlanError

REASON_MAX_CHARS = 500

GUARD: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "same-origin"),  # no-referrer would have the log-in form say Origin: null
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""Headers of every answer that does not say otherwise."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a request: ``ips[0]``, ``[17].mac``, ``limit``."""

    field: str
    reason: str


class Problem(Exception):
    """An answer that is an error. ``extra`` adds members of its own to the body."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def invalid(field: str, reason: str) -> Problem:
    """A 422 about one field."""
    return invalid_fields([FieldError(field, reason)])


def agree(field: str, said: object, there: object, what: str) -> None:
    """Refuse a body that says another value than its path; it may say the same again."""
    if said is not None and said != there:
        raise invalid(field, f"{said} is not the {what} of the path, {there}")


def invalid_fields(
    errors: Sequence[FieldError], extra: Mapping[str, object] | None = None
) -> Problem:
    """A 422 about at least one field."""
    errors = [FieldError(error.field, _short(error.reason)) for error in errors]
    detail = "; ".join(f"{error.field}: {error.reason}" for error in errors[:3])
    if len(errors) > 3:
        detail += f"; and {len(errors) - 3} more"
    return Problem(422, detail, title=InvalidValue.title, errors=errors, extra=extra)


def problem_of(error: VxlanError, extra: Mapping[str, object] | None = None) -> Problem:
    """What a user is told about an error of the facts or the store."""
    if isinstance(error, InvalidValue):
        return invalid_fields([FieldError(error.field, error.reason)], extra)
    headers = {"Retry-After": "1"} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Problem(
        error.status, _short(str(error)), title=error.title, headers=headers, extra=extra
    )


def problem_response(problem: Problem) -> Response:
    body: dict[str, object] = {
        "type": "urn:vxlan-l2:problem:" + problem.title.lower().replace(" ", "-"),
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [{"field": e.field, "reason": e.reason} for e in problem.errors]
    response = Response(
        status=problem.status,
        body=encode_json(body | problem.extra),
        content_type="application/problem+json",
    )
    for name, value in problem.headers.items():
        response.headers[name] = value
    return response


def _short(text: str) -> str:
    """A text that may quote what the user sent, cut to what a person reads."""
    return text if len(text) <= REASON_MAX_CHARS else text[:REASON_MAX_CHARS] + "..."
