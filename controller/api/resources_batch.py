"""/v1/vms/batch: many VMs at once, all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

from pydantic import ValidationError
from webob import Response

from controller.api import shapes
from controller.api.answers import written
from controller.api.bodies import MSGPACK, NDJSON
from controller.api.call import Call
from controller.api.described import DRY_RUN, VNI, Described, Parameter, choice
from controller.api.planned import Tally, at, carry_out, placed, sliced, slices, twice
from controller.api.problems import FieldError, invalid_fields
from controller.api.schemas import VmBody, VmParts, field_errors, read_changes, read_vms
from controller.api.vmsets import set_vms
from topology.draft import Draft
from topology.errors import VxlanError
from topology.model import MacKey, Vm
from topology.types import Location, Vni

P = TypeVar("P")
_Wanted: TypeAlias = tuple[VmParts, frozenset[str]]

ERRORS_MAX: Final = 100
_PLANNED: Final = ("on_existing", "prune", "dry_run")


@Described(
    "vms",
    shapes.WrittenBatch | shapes.WrittenPlan,
    query=(
        choice(
            "on_existing",
            ("refuse", "update"),
            "VMs that are there and not equal: 409, or they are changed or moved, and what their"
            " body leaves out stays",
            default="refuse",
        ),
        Parameter("prune", VNI.schema, "remove those of this network that the batch does not name"),
        DRY_RUN,
    ),
    body=list[VmBody],
    bodies={NDJSON: "one VM a line", MSGPACK: "the same array as MessagePack"},
    writes=True,
    creates=True,
)
def create(call: Call) -> Response:
    """Register VMs; one that cannot be makes the whole batch fail, and is named by its index.

    With ``on_existing``, ``prune`` or ``dry_run`` the answer tells what is done, VM by VM where it
    is only planned. An address that one VM gives up another may take in the same batch.
    """
    call.allow_query("wait", *_PLANNED)
    call.wait_s()
    if any(call.query(name) is not None for name in _PLANNED):
        return _planned(call)
    wanted = _read(call.items(), read_vms)
    created, ticket = call.service.commit(lambda draft: _create(draft, wanted))
    counts = {"items": len(wanted), "created": created, "unchanged": len(wanted) - created}
    return written(call, ticket, lambda: counts, created=created > 0)


def _planned(call: Call) -> Response:
    update = call.query_choice("on_existing", ("refuse", "update")) == "update"
    prune = call.query_vni("prune")
    call.query_flag("dry_run")
    wanted = _read(call.items(), read_changes)

    def run(draft: Draft) -> Tally:
        tally = Tally()
        vms = _vms(draft, wanted, keep=update)
        if prune is not None:
            _prune(draft, prune, {vm.key for _index, vm in vms}, tally)
        if update:
            set_vms(draft, vms, tally)
        else:
            for index, vm in sliced(vms):
                with at(index):
                    draft.create_vm(vm)
                tally.note(draft.topology.vms.get(vm.key), vm)
        return tally

    return carry_out(call, run)


def _read(items: Iterable[object], read: Callable[[list[object]], list[P]]) -> list[P]:
    wanted: list[P] = []
    errors: list[FieldError] = []
    culprit = first = 0
    for some in slices(items):
        try:
            wanted += read(some)
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
        for some in slices(wanted):
            for ref, mac, vni, ips, name, respond in some:
                place = places.get(ref)
                if place is None:
                    place = places[ref] = draft.find_place(ref)
                outcome = draft.create_vm(Vm(mac, vni, place, ips, name, respond))
                created += outcome == "created"
                index += 1
    except VxlanError as error:
        raise placed(index, error) from error
    return created


def _vms(draft: Draft, wanted: Sequence[_Wanted], *, keep: bool) -> list[tuple[int, Vm]]:
    """The VMs as they are wanted, each with its index; what is left out stays, where asked."""
    places: dict[str, Location] = {}
    firsts: dict[MacKey, int] = {}
    vms: list[tuple[int, Vm]] = []
    for index, ((ref, mac, vni, ips, name, respond), left_out) in enumerate(sliced(wanted)):
        with at(index):
            place = places.get(ref)
            if place is None:
                place = places[ref] = draft.find_place(ref)
            vm = Vm(mac, vni, place, ips, name, respond)
        there = draft.vm(vm.key) if keep and left_out else None
        if there is not None:
            vm = replace(vm, **{field: getattr(there, field) for field in left_out})
        if firsts.setdefault(vm.key, index) != index:
            raise twice(index, firsts[vm.key])
        vms.append((index, vm))
    return vms


def _prune(draft: Draft, vni: Vni, named: set[MacKey], tally: Tally) -> None:
    draft.need_network(vni, "prune")
    for key in sliced(list(draft.topology.vms_in(vni))):
        if key not in named and draft.vm(key) is not None:
            tally.note(draft.remove_vm(key), None)
