"""Setting many VMs at once."""

from __future__ import annotations

from dataclasses import replace

from controller.api.planned import Tally, at, sliced
from topology.draft import Draft
from topology.model import Vm


def set_vms(draft: Draft, vms: list[tuple[int, Vm]], tally: Tally) -> None:
    """Set VMs in any order: those that give an address up do so before another takes it."""
    now = draft.topology
    for _index, vm in sliced(vms):
        there = draft.vm(vm.key)
        if there is not None and not set(there.ips) <= set(vm.ips):
            kept = tuple(ip for ip in there.ips if ip in vm.ips)
            draft.set_vm(replace(there, ips=kept))
    for index, vm in sliced(vms):
        with at(index):
            draft.set_vm(vm)
        tally.note(now.vms.get(vm.key), vm)
