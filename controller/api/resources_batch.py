"""/v1/vms/batch: many VMs at once, all or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import eventlet
from pydantic import ValidationError
from webob import Response

from controller.api.answers import written
from controller.api.call import Call
from controller.api.problems import FieldError, Problem, invalid_fields, problem_of
from controller.api.schemas import VmBody, field_errors
from topology.draft import Draft
from topology.errors import InvalidValue, VxlanError

T = TypeVar("T")

ERRORS_MAX: Final = 100
_BREATHE_EVERY: Final = 500  # items, a few milliseconds


def create(call: Call) -> Response:
    """Register VMs; one that cannot be makes the whole batch fail, and is named by its index."""
    call.allow_only_wait()
    bodies = _read(call.items())

    def plan(draft: Draft) -> int:
        return sum(_create(draft, index, body) for index, body in _breathing(bodies))

    created, ticket = call.service.commit(plan)
    counts = {"items": len(bodies), "created": created, "unchanged": len(bodies) - created}
    return written(call, ticket, lambda: counts, created=created > 0)


def _read(items: Sequence[object]) -> list[VmBody]:
    bodies: list[VmBody] = []
    errors: list[FieldError] = []
    first = 0
    for index, item in _breathing(items):
        try:
            bodies.append(VmBody.model_validate(item))
        except ValidationError as error:
            first = first if errors else index
            errors += field_errors(error, f"[{index}]")
            if len(errors) >= ERRORS_MAX:
                break
    if errors:
        raise invalid_fields(errors[:ERRORS_MAX], {"index": first})
    return bodies


def _create(draft: Draft, index: int, body: VmBody) -> bool:
    """Whether this item is new."""
    try:
        return draft.create_vm(body.fact(draft.find_place(body.host))) == "created"
    except InvalidValue as error:
        raise invalid_fields(
            [FieldError(f"[{index}].{error.field}", error.reason)], {"index": index}
        ) from error
    except VxlanError as error:
        told = problem_of(error)
        raise Problem(
            told.status,
            f"[{index}]: {told.detail}",
            title=told.title,
            headers=told.headers,
            extra={"index": index},
        ) from error


def _breathing(items: Sequence[T]) -> Iterator[tuple[int, T]]:
    """Number the items, and let other greenlets run in between: a batch may have 100,000."""
    for index, item in enumerate(items):
        if index % _BREATHE_EVERY == _BREATHE_EVERY - 1:
            eventlet.sleep(0)
        yield index, item
