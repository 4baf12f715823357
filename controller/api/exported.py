"""Facts as a file of them has them: what was declared, and nothing that was observed."""

from __future__ import annotations

from typing import Final

from controller.api.shown import show_network, show_vip, show_vm
from topology.model import Fact, Host, LearnedMac, Network, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Vni, VtepIp

KIND: Final = "vxlan-l2"
VERSION: Final = 1

_KEYS: Final = {
    "host": ("dpid",),
    "network": ("vni",),
    "vtep": ("vtep",),
    "vm": ("vni", "mac"),
    "vip": ("vni", "ip"),
}


def show_fact(fact: Fact) -> dict[str, object]:
    """One line of an export: its kind, then its fields as a PUT or POST takes them."""
    match fact:
        case Vm():
            return {"kind": "vm", **show_vm(fact)}
        case Network():
            return {"kind": "network", **show_network(fact)}
        case Host():
            ports = [{"name": n, "remote": str(remote)} for n, remote in fact.declared_remotes]
            vtep = None if fact.declared_vtep is None else str(fact.declared_vtep)
            name = {"name": fact.name, "vtep": vtep, "tunnel_ports": ports}
            bound = None if fact.certificate is None else str(fact.certificate)
            return {"kind": "host", "dpid": str(fact.dpid), **name, "certificate": bound}
        case Vtep():
            vnis = [int(vni) for vni in fact.vnis]
            more = {"name": fact.name, "vnis": vnis, "learning": fact.learning}
            return {"kind": "vtep", "vtep": str(fact.ip), **more}
        case Vip():
            return {"kind": "vip", **show_vip(fact)}
        case LearnedMac():
            raise TypeError("what is learned is no part of an export")


def key_of(shown: dict[str, object]) -> dict[str, object]:
    """What of a shown fact names it."""
    return {name: shown[name] for name in _KEYS[str(shown["kind"])]}


def declared(topology: Topology) -> list[Fact]:
    """Every durable fact of this moment, in an order in which they can be taken in again."""
    facts: list[Fact] = [topology.hosts[Dpid(dpid)] for dpid in topology.keys_of_hosts()]
    facts += [topology.networks[Vni(vni)] for vni in topology.keys_of_networks()]
    facts += [topology.vteps[VtepIp(ip)] for ip in topology.keys_of_vteps()]
    facts += [topology.vms[key] for key in topology.keys_of_vms().after(None, len(topology.vms))]
    facts += [topology.vips[key] for key in topology.keys_of_vips().after(None, len(topology.vips))]
    return facts
