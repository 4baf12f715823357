"""/v1/vms/batch: many VMs at once, all or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

import eventlet
from pydantic import ValidationError
from webob import Response

from controller.api import shapes
from controller.api.answers import written
from controller.api.bodies import MSGPACK, NDJSON
from controller.api.call import Call
from controller.api.described import Described
from controller.api.problems import FieldError, Problem, invalid_fields, problem_of
from controller.api.schemas import VmBody, VmParts, field_errors, read_vms
from topology.draft import Draft
from topology.errors import InvalidValue, VxlanError
from topology.model import Vm
from topology.types import Location

T = TypeVar("T")

ERRORS_MAX: Final = 100
_AT_ONCE: Final = 200  # items, one or two milliseconds


@Described(
    "vms",
    shapes.WrittenBatch,
    body=list[VmBody],
    bodies={NDJSON: "one VM a line", MSGPACK: "the same array as MessagePack"},
    writes=True,
    creates=True,
)
def create(call: Call) -> Response:
    """Register VMs; one that cannot be makes the whole batch fail, and is named by its index."""
    call.allow_only_wait()
    wanted = _read(call.items())
    created, ticket = call.service.commit(lambda draft: _create(draft, wanted))
    counts = {"items": len(wanted), "created": created, "unchanged": len(wanted) - created}
    return written(call, ticket, lambda: counts, created=created > 0)


def _read(items: Iterable[object]) -> list[VmParts]:
    wanted: list[VmParts] = []
    errors: list[FieldError] = []
    culprit = first = 0
    for some in _slices(items):
        try:
            wanted += read_vms(some)
        except ValidationError as error:
            found = field_errors(error, first=first)
            culprit = culprit if errors else first + int(error.errors()[0]["loc"][0])
            errors += found
            if len(errors) >= ERRORS_MAX:
                break
        first += len(some)
    if errors:
        raise invalid_fields(errors[:ERRORS_MAX], {"index": culprit})
    return wanted


def _create(draft: Draft, wanted: Sequence[VmParts]) -> int:
    """How many are new."""
    created = index = 0
    places: dict[str, Location] = {}
    try:
        for some in _slices(wanted):
            for ref, mac, vni, ips, name, respond in some:
                place = places.get(ref)
                if place is None:
                    place = places[ref] = draft.find_place(ref)
                outcome = draft.create_vm(Vm(mac, vni, place, ips, name, respond))
                created += outcome == "created"
                index += 1
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
    return created


def _slices(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, some at a time; other greenlets run in between: a batch may have 100,000."""
    iterator = iter(items)
    while some := list(islice(iterator, _AT_ONCE)):
        yield some
        eventlet.sleep(0)
