"""VMs: are they where, and on what VLAN, they are registered; does each address have one owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from controller.doctor.evidence import Evidence, HostEvidence, quoted
from controller.doctor.findings import RECENT_S, Findings, ago, error, named, warning
from controller.remedies import find_port, set_tag
from controller.service import CheckResult
from controller.sightings import Sighting
from topology.model import Vm
from topology.types import Foreign, Ip, Mac, Vlan

FRESH_S = 120.0
FLAPPING_TOLD = 20

Aged: TypeAlias = Iterator[tuple[float, CheckResult]]
"""Findings, with the seconds since what they tell of."""


@named("vm-place")
def vm_place(evidence: Evidence) -> Findings:
    """Every registered VM sends from where it is registered."""
    for sighting in evidence.sightings:
        for vm in _meant(evidence, sighting):
            if sighting.what and sighting.vni is not None:
                continue  # about an IP
            if vm.host == sighting.place:
                continue
            if sighting.vni is None and _is_carried(evidence, sighting):
                continue
            there = evidence.called(sighting.place)
            move = f"vxlanctl vm move {vm.mac} {quoted(there)} --network {int(vm.vni)}"
            yield _by_age(evidence, sighting)(
                _vm(vm),
                f"{_vm(vm)} ({vm.mac}, {evidence.network(vm.vni)}) is registered on"
                f" {evidence.called(vm.host)}, but sends from {there}, {_when(evidence, sighting)}",
                f"it runs on {there} now, or another VM there has the same MAC",
                move,
            )


@named("duplicate-ip")
def duplicate_ip(evidence: Evidence) -> Findings:
    """No registered IP is used by another MAC."""
    for sighting in evidence.sightings:
        if sighting.vni is None or not sighting.what:
            continue
        owner = evidence.topology.vm_with_ip(sighting.vni, sighting.what)
        if owner is None or owner.mac == sighting.mac:
            continue
        mac, place = Mac(sighting.mac), evidence.called(sighting.place)
        yield _by_age(evidence, sighting)(
            _vm(owner),
            f"{Ip(sighting.what)} of {_vm(owner)} ({owner.mac}, {evidence.network(owner.vni)}) is"
            f" used by {mac} on {place} too, {_when(evidence, sighting)}",
            "two VMs have this address, or the registration names the wrong MAC",
            None if isinstance(sighting.place, Foreign) else f"{find_port(mac)}  # on {place}",
        )


@named("vlan")
def vlan(evidence: Evidence) -> Findings:
    """Every VM's frames arrive on the VLAN of its network."""
    found = [one for host in evidence.connected for one in _in_another_network(evidence, host)]
    for sighting in evidence.sightings:
        if sighting.vni is None and not _is_carried(evidence, sighting):
            found += _on_no_network(evidence, sighting)
    told = set()
    for _age_s, result in sorted(found, key=lambda one: one[0]):
        # Of a VM whose tag was changed more than once, only the latest still matters.
        if result.subject not in told:
            yield result
        if (result.subject or "").startswith("VM "):
            told.add(result.subject)


def _is_carried(evidence: Evidence, stray: Sighting) -> bool:
    """Whether the host has got a network on that VLAN since."""
    vlan_id = Vlan(stray.what) if stray.what else None
    return not isinstance(stray.place, Foreign) and any(
        evidence.topology.is_member(stray.place, network.vni)
        for network in evidence.topology.networks_on_vlan(vlan_id)
    )


def _in_another_network(evidence: Evidence, host: HostEvidence) -> Aged:
    topology = evidence.topology
    learned = topology.learned_on(host.dpid)
    if not learned:
        return
    registered: dict[int, list[Vm]] = {}
    for key in topology.vms_on(host.dpid):
        registered.setdefault(key[1], []).append(topology.vms[key])
    for vni, mac in learned:
        owners = registered.get(mac, [])
        seen_s = topology.learned[vni, mac].seen_s
        if not owners or any(vm.vni == vni for vm in owners) or evidence.now_s - seen_s > RECENT_S:
            continue
        vm = owners[0]
        age_s = evidence.now_s - seen_s
        result = (error if age_s < FRESH_S else warning)(
            _vm(vm),
            f"{_vm(vm)} ({vm.mac}) on {host.called} is registered in {_on(evidence, vm.vni)}, but"
            f" its frames arrive in {_on(evidence, vni)}, the last {ago(age_s)}"
            " ago",
            "its port on br-int has another tag than its network, or it is registered in the wrong"
            " network",
            f"{_set_tag(evidence, vm)}  # on {host.called}",
        )
        yield age_s, result


def _on_no_network(evidence: Evidence, sighting: Sighting) -> Aged:
    """Of a registered VM of this host; of another host's vm-place tells; of nobody known."""
    tag = "untagged" if not sighting.what else f"on VLAN {sighting.what}"
    place, mac = evidence.called(sighting.place), Mac(sighting.mac)
    meant, age_s = list(_meant(evidence, sighting)), evidence.now_s - sighting.last_s
    for vm in meant:
        if vm.host == sighting.place:
            result = _by_age(evidence, sighting)(
                _vm(vm),
                f"{_vm(vm)} ({vm.mac}) on {place} is registered in {_on(evidence, vm.vni)}, but"
                f" sends {tag}, which no network there has, {_when(evidence, sighting)}",
                "its port on br-int has another tag than its network",
                f"{_set_tag(evidence, vm)}  # on {place}",
            )
            yield age_s, result
    if not meant:
        on_vlan = evidence.topology.networks_on_vlan(Vlan(sighting.what) if sighting.what else None)
        cause = (
            f"{_on(evidence, on_vlan[0].vni)} has no VM on {place}, and is not carried there"
            if on_vlan
            else "no network has that VLAN"
        )
        register = (
            f"vxlanctl vm add {mac} --host {quoted(place)} --network {int(on_vlan[0].vni)}"
            if on_vlan
            else f"{find_port(mac)}  # on {place}"
        )
        result = warning(
            place,
            f"{mac} on {place} sends {tag}, {_when(evidence, sighting)}; that goes nowhere",
            cause,
            register,
        )
        yield age_s, result


def _meant(evidence: Evidence, sighting: Sighting) -> Iterator[Vm]:
    """The registered VMs that a sighting may be of."""
    vms = evidence.topology.vms
    vnis = evidence.topology.networks if sighting.vni is None else (sighting.vni,)
    for vni in vnis:
        vm = vms.get((vni, sighting.mac))
        if vm is not None:
            yield vm


def _by_age(evidence: Evidence, sighting: Sighting) -> Callable[..., CheckResult]:
    """What was seen a while ago may be mended since."""
    return error if evidence.now_s - sighting.last_s < FRESH_S else warning


def _when(evidence: Evidence, sighting: Sighting) -> str:
    return f"the last time {ago(evidence.now_s - sighting.last_s)} ago"


@named("flapping")
def flapping(evidence: Evidence) -> Findings:
    """No MAC or virtual IP moves to and fro."""
    for vni, what, is_ip in evidence.flapping[:FLAPPING_TOLD]:
        name = f"virtual IP {Ip(what)}" if is_ip else f"MAC {Mac(what)}"
        yield error(
            f"{name} in {evidence.network(vni)}",
            f"{name} in {evidence.network(vni)} moved so often that it is not followed for a while",
            "two VMs have this address, or there is a loop behind br-int",
            None if is_ip else find_port(Mac(what)),
        )
    if len(evidence.flapping) > FLAPPING_TOLD:
        yield error(
            None,
            f"{len(evidence.flapping) - FLAPPING_TOLD} MACs and virtual IPs more moved so often"
            " that they are not followed for a while",
            "so many at once: there is a loop behind the br-int of two hosts, or one VM copies"
            " others' MACs",
            "ovs-vsctl show  # on the hosts that the log names",
        )


@named("empty-network")
def empty_network(evidence: Evidence) -> Findings:
    """Every network is carried by a host."""
    topology = evidence.topology
    for vni, network in topology.networks.items():
        if network.everywhere or network.hosts or topology.vms_in(vni):
            continue
        yield warning(
            evidence.network(vni),
            f"{evidence.network(vni)} has no VM, and no host carries it: frames on its VLAN go"
            " nowhere",
            "no VM is registered in it, and it is pinned to no host",
            f"vxlanctl network set {vni} --host all",
        )


def _set_tag(evidence: Evidence, vm: Vm) -> str:
    return set_tag(vm.mac, evidence.topology.networks[vm.vni].vlan)


def _on(evidence: Evidence, vni: int) -> str:
    vlan_id = evidence.topology.networks[vni].vlan
    tag = "untagged" if vlan_id is None else f"VLAN {int(vlan_id)}"
    return f"{evidence.network(vni)} ({tag})"


def _vm(vm: Vm) -> str:
    return f"VM {vm.name or vm.mac}"
