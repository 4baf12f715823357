"""/v1/vms: registered VMs, one by one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from webob import Response

from controller.api import shapes
from controller.api.answers import answer, written
from controller.api.call import Call
from controller.api.described import (
    HOST,
    IP_QUERY,
    MAC_QUERY,
    NAME,
    VNI,
    Described,
    Q,
    choice,
)
from controller.api.paging import one_at_a_time, page
from controller.api.problems import agree
from controller.api.schemas import VmBody, VmPutBody, read
from controller.api.search import SORTS, search
from controller.api.shown import show_vm
from controller.api.turns import Turns
from topology.draft import Draft, Outcome
from topology.errors import InvalidValue, NotFound
from topology.model import MacKey, Topology, Vm
from topology.sorted_keys import Listing, SortedKeys
from topology.types import Ip, Location, Mac

_SEARCHES: Final = Turns(4, "searches")


@Described(
    "vms",
    shapes.Vm,
    paged=2,
    searched=True,
    query=(
        VNI,
        MAC_QUERY,
        HOST,
        IP_QUERY,
        NAME,
        Q,
        choice("sort", SORTS, "by this, falling with - before it", default="vni"),
    ),
)
def index(call: Call) -> Response:
    """VMs, all or those that fit every filter.

    With ``q`` or ``sort`` each VM is looked at, which takes about a second for 100,000. A cursor is
    good for the order that it comes from.
    """
    call.allow_query("vni", "mac", "host", "ip", "name", "q", "sort", "limit", "cursor")
    topology = call.service.topology
    if call.query("q") is not None or call.query("sort") is not None:
        with _SEARCHES.one():
            return search(call, topology, _filtered(call, topology))

    def show(key: MacKey) -> shapes.Vm:
        return show_vm(topology.vms[key])

    with one_at_a_time(call, len(topology.vms)):
        return page(call, _filtered(call, topology), show, parts=2)


def _filtered(call: Call, topology: Topology) -> Listing[MacKey]:
    """The VMs that fit, found by the index that has the fewest of them."""
    vni, ip, host, name = call.query_vni(), _ip(call), _host(call, topology), call.query("name")
    mac = call.query("mac")
    found: Collection[MacKey]
    if mac is not None:
        wanted = Mac.parse(mac)
        found = [key for each in topology.networks if (key := (each, wanted)) in topology.vms]
    elif ip is not None:
        owners = [topology.vm_with_ip(each, ip) for each in topology.networks]
        found = [vm.key for vm in owners if vm is not None]
    elif name is not None:
        found = topology.vms_named(name)
    elif host is not None and vni is not None:
        found = min(topology.vms_on(host), topology.vms_in(vni), key=len)
    elif host is not None:
        return topology.vms_on(host)
    else:
        return topology.keys_of_vms() if vni is None else topology.vms_in(vni)
    return SortedKeys(
        key
        for key in found
        if vni in (None, key[0])
        and host in (None, topology.vms[key].host)
        and name in (None, topology.vms[key].name)
        and (ip is None or ip in topology.vms[key].ips)
    )


def _ip(call: Call) -> Ip | None:
    text = call.query("ip")
    return None if text is None else Ip.parse(text)


def _host(call: Call, topology: Topology) -> Location | None:
    ref = call.query("host")
    if ref is None:
        return None
    place = topology.find_place(ref)
    if place is None:
        raise InvalidValue(
            "host",
            f"{ref!r} is no known host's dpid, name or VTEP address, nor a foreign VTEP's",
        )
    return place


@Described("vms", shapes.Vm)
def show(call: Call) -> Response:
    """One registered VM."""
    call.allow_query()
    key = (call.path_vni(), call.path_mac())
    vm = call.service.topology.vms.get(key)
    if vm is None:
        raise NotFound(f"no VM {key[1]} is registered in network {key[0]}")
    return answer(show_vm(vm))


@Described("vms", shapes.WrittenVm, body=VmBody, writes=True, creates=True)
def create(call: Call) -> Response:
    """Register a VM; the same again is no error."""
    call.allow_only_wait()
    body = read(VmBody, call.body())

    def plan(draft: Draft) -> tuple[Vm, Outcome]:
        vm = body.fact(draft.find_place(body.host))
        return vm, draft.create_vm(vm)

    (vm, outcome), ticket = call.service.commit(plan)
    return written(
        call,
        ticket,
        lambda: show_vm(vm),
        created=outcome == "created",
        location=_location(vm),
    )


@Described("vms", shapes.WrittenVm, body=VmPutBody, writes=True, creates=True)
def put(call: Call) -> Response:
    """Register a VM, or change what the body names of it: another host alone is a move."""
    call.allow_only_wait()
    vni, mac = call.path_vni(), call.path_mac()
    body = read(VmPutBody, call.body())
    agree("vni", body.vni, vni, "network")
    agree("mac", body.mac, mac, "MAC")

    def plan(draft: Draft) -> tuple[Vm, Outcome]:
        there = draft.vm((vni, mac))
        vm = body.changed(vni, mac, draft.find_place(body.host), there)
        return vm, draft.set_vm(vm)

    (vm, outcome), ticket = call.service.commit(plan)
    return written(
        call,
        ticket,
        lambda: show_vm(vm),
        created=outcome == "created",
        location=_location(vm),
    )


@Described("vms", shapes.WrittenVm, writes=True)
def delete(call: Call) -> Response:
    """Take a VM's registration away; from then on it is learned like any other."""
    call.allow_only_wait()
    vni, mac = call.path_vni(), call.path_mac()

    def plan(draft: Draft) -> Vm:
        if draft.vm((vni, mac)) is None:
            raise NotFound(f"no VM {mac} is registered in network {vni}")
        return draft.remove_vm((vni, mac))

    vm, ticket = call.service.commit(plan)
    return written(call, ticket, lambda: show_vm(vm))


def _location(vm: Vm) -> str:
    return f"/v1/vms/{vm.vni}/{vm.mac}"
