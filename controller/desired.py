"""Facts in, flows out: what one fact puts on all hosts of its network.

``mac_unit`` and ``ip_unit`` are put together from the functions of sources.py, security.py and
neighbours.py, one for each flow kind; bridges.py says what is one host's own.
"""

from __future__ import annotations

from dataclasses import replace

from controller.flow import Field, Flow, Match, SetField, match
from controller.learning import believed
from controller.neighbours import (
    arp_probe,
    arp_responder,
    gratuitous_arp,
    known_neighbour,
    learned_arp_responder,
    learned_gratuitous_arp,
    learned_nd_responder,
    local_arp,
    local_nd,
    nd_responder,
)
from controller.pipeline import LEARNED_PRIORITY, REGISTERED_PRIORITY, Kind, Table
from controller.security import secure_sender
from controller.sources import (
    foreign_learned,
    foreign_registered,
    learned_binding,
    learned_source,
    registered_source,
    source_guard,
)
from controller.terms import Timing, UnitFlows
from topology.model import LearnedMac, Network, Topology, Vm
from topology.types import Foreign, Ip, VtepIp

CONVERSATION_IDLE_S = 60
"""How long a pair that talked keeps its flows in a reactive network."""


# UNICAST


def _to(vni: int, mac: int) -> Match:
    return match((Field.TUN_ID, vni), (Field.ETH_DST, mac))


def registered_unicast(vni: int, mac: int, vtep: VtepIp) -> Flow:
    """Frames to a registered VM of another host go to that host's VTEP."""
    return Flow(
        Kind.UNICAST_REGISTERED,
        Table.UNICAST,
        REGISTERED_PRIORITY,
        _to(vni, mac),
        (SetField(Field.TUN_DST, vtep.low32),),
        Table.EGRESS,
    )


def learned_unicast(vni: int, mac: int, vtep: VtepIp, timing: Timing) -> Flow:
    """Frames to a learned MAC of another host go to that host's VTEP, for learn_s at most."""
    return Flow(
        Kind.UNICAST_LEARNED,
        Table.UNICAST,
        LEARNED_PRIORITY,
        _to(vni, mac),
        (SetField(Field.TUN_DST, vtep.low32),),
        Table.EGRESS,
        timing.learn_s,
    )


def local_unicast(vni: int, mac: int) -> Flow:
    """Frames to a registered VM of this host are br-int's; what it floods here is dropped."""
    return Flow(Kind.UNICAST_LOCAL, Table.UNICAST, REGISTERED_PRIORITY, _to(vni, mac))


# Units of a network's shared table


def mac_unit(topology: Topology, vni: int, mac: int, timing: Timing) -> UnitFlows | None:
    """Where a MAC is, for all hosts of its network: a registered VM wins over a learned MAC."""
    network = topology.networks.get(vni)
    if network is None:
        return None
    vm = topology.vms.get((vni, mac))
    if vm is not None:
        return _registered(topology, network, vm)
    learned = topology.learned.get((vni, mac))
    if learned is not None and believed(topology, learned):
        return _learned(topology, network, learned, timing)
    return None


def _registered(topology: Topology, network: Network, vm: Vm) -> UnitFlows:
    vni, mac, vtep = network.vni, vm.mac, topology.vtep_of(vm.host)
    remote = () if vtep is None else (registered_unicast(vni, mac, vtep),)
    if isinstance(vm.host, Foreign):
        heard = () if vtep is None else (foreign_registered(vni, mac, vtep),)
        return UnitFlows(None, (*remote, *heard))
    if network.port_security:
        ips = (*vm.ips, *(vip.ip for vip in topology.vips_of(vni, mac)))
        sends = tuple(secure_sender(vni, mac, ips))
    else:
        sends = registered_source(network, mac)
    return UnitFlows(vm.host, remote, (*sends, local_unicast(vni, mac), source_guard(vni, mac)))


def _learned(
    topology: Topology, network: Network, learned: LearnedMac, timing: Timing
) -> UnitFlows:
    vni, mac, vtep = network.vni, learned.mac, topology.vtep_of(learned.host)
    remote = () if vtep is None else (learned_unicast(vni, mac, vtep, timing),)
    ips = tuple(ip for ip, _seen_s in learned.ips)
    if isinstance(learned.host, Foreign):
        heard = () if vtep is None else foreign_learned(vni, mac, vtep, ips, timing)
        return UnitFlows(None, (*remote, *heard))
    local = learned_source(network, mac, timing)
    for ip in ips:
        local += learned_binding(network, mac, ip, timing)
    return UnitFlows(learned.host, remote, local)


def ip_unit(topology: Topology, vni: int, ip: int, timing: Timing) -> UnitFlows | None:
    """Who answers for an IP, for all hosts of its network: registered wins over learned."""
    network = topology.networks.get(vni)
    if network is None:
        return None
    address = Ip(ip)
    owner = owner_of(topology, vni, ip)
    if owner is None or not answers(network, owner):
        declared = isinstance(owner, Vm) or (vni, ip) in topology.vips
        if declared and network.unknown_arp == "drop" and network.subnet_of(address):
            return UnitFlows(None, (known_neighbour(vni, address),))
        return None
    if isinstance(owner, Vm):
        return _registered_ip(vni, owner, address)
    if address.is_v4:
        flows: tuple[Flow, ...] = (
            learned_gratuitous_arp(vni, address, timing),
            learned_arp_responder(vni, owner.mac, address, timing),
        )
    else:
        flows = learned_nd_responder(vni, owner.mac, address, timing)
    return UnitFlows(_owner(owner), flows)


def owner_of(topology: Topology, vni: int, ip: int) -> Vm | LearnedMac | None:
    """Whose an IP is: a registered VM's, a virtual IP's holder's, else a learned MAC's."""
    vip = topology.vips.get((vni, ip))
    if vip is not None:
        return None if vip.holder is None else topology.vms.get((vni, vip.holder))
    vm = topology.vm_with_ip(vni, ip)
    if vm is not None:
        return vm
    learned = topology.learned_with_ip(vni, ip)
    return learned if learned is not None and believed(topology, learned) else None


def answers(network: Network, owner: Vm | LearnedMac) -> bool:
    """Whether others answer for an IP in the place of its owner."""
    return network.arp_responder and (not isinstance(owner, Vm) or owner.respond)


def _owner(fact: Vm | LearnedMac) -> int | None:
    return None if isinstance(fact.host, Foreign) else fact.host


def _registered_ip(vni: int, vm: Vm, ip: Ip) -> UnitFlows:
    if not ip.is_v4:
        return UnitFlows(_owner(vm), nd_responder(vni, vm.mac, ip), (local_nd(vni, ip),))
    gratuitous = gratuitous_arp(vni, ip)
    return UnitFlows(
        _owner(vm),
        (gratuitous, arp_responder(vni, vm.mac, ip)),
        (gratuitous, arp_probe(vni, ip), local_arp(vni, ip)),
    )


def conversation(flows: UnitFlows, dpid: int) -> tuple[Flow, ...]:
    """What one host of a reactive network holds of a fact while somebody there talks to it.

    A responder answers gratuitous ARP too unless that is told to go on; it does as long as the
    responder is there, however seldom it is used.
    """
    if flows.owner == dpid:
        return ()
    kinds = (Kind.ARP_GRATUITOUS, Kind.ARP_GRATUITOUS_LEARNED)
    return tuple(
        flow if flow.kind in kinds else replace(flow, idle_timeout_s=CONVERSATION_IDLE_S)
        for flow in flows.remote
        if flow.table != Table.FROM_TUNNEL
    )
