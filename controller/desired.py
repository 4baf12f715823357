"""Facts in, flows out: what one fact puts on all hosts of its network.

``mac_recipe`` and ``ip_recipe`` are put together from the functions of sources.py, security.py and
neighbours.py, one for each flow kind; bridges.py says what is one host's own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

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
from controller.security import link_local, secure_sender
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
from topology.types import Foreign, Ip, Mac, VtepIp

Flows: TypeAlias = tuple[Flow, ...]

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


@dataclass(frozen=True, slots=True)
class Recipe:
    """One fact's flows: a shape that many facts of the network share, and this one's values.

    ``make`` takes the values as integers and gives (remote, local); it may depend on the network
    and on ``shape``, and on nothing else.
    """

    owner: int | None
    shape: Hashable
    values: tuple[bytes, ...]
    make: Callable[..., tuple[Flows, Flows]]

    def flows(self) -> UnitFlows:
        remote, local = self.make(*(int.from_bytes(value, "big") for value in self.values))
        return UnitFlows(self.owner, remote, local)


def mac_recipe(topology: Topology, vni: int, mac: int, timing: Timing) -> Recipe | None:
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


def _registered(topology: Topology, network: Network, vm: Vm) -> Recipe:
    vni, vtep = network.vni, topology.vtep_of(vm.host)
    mac = vm.mac.to_bytes(6, "big")
    where = () if vtep is None else (vtep.packed,)
    if isinstance(vm.host, Foreign):

        def behind(mac: int, *vtep: int) -> tuple[Flows, Flows]:
            flows = (registered_unicast, foreign_registered)
            return tuple(flow(vni, mac, _vtep(low)) for low in vtep for flow in flows), ()

        return Recipe(None, ("VM behind a VTEP", len(where)), (mac, *where), behind)

    def here(mac: int) -> Flows:
        return (local_unicast(vni, mac), source_guard(vni, mac))

    def there(mac: int, vtep: Iterable[int]) -> Flows:
        return tuple(registered_unicast(vni, mac, _vtep(low)) for low in vtep)

    if not network.port_security:

        def plain(mac: int, *vtep: int) -> tuple[Flows, Flows]:
            return there(mac, vtep), (*registered_source(network, mac), *here(mac))

        return Recipe(vm.host, ("VM", len(where)), (mac, *where), plain)

    ips = (*vm.ips, *(vip.ip for vip in topology.vips_of(vni, vm.mac)))
    families = _families(ips)

    def secured(mac: int, local: int, *rest: int) -> tuple[Flows, Flows]:
        own, vtep = _ips(families, rest), rest[len(families) :]
        sends = secure_sender(vni, Mac(mac), own, Ip(local))
        return there(mac, vtep), (*sends, *here(mac))

    values = (mac, link_local(vm.mac).packed, *(ip.packed for ip in ips), *where)
    return Recipe(vm.host, ("secured VM", families, len(where)), values, secured)


def _learned(topology: Topology, network: Network, learned: LearnedMac, timing: Timing) -> Recipe:
    vni, vtep = network.vni, topology.vtep_of(learned.host)
    ips = tuple(ip for ip, _seen_s in learned.ips)
    families = _families(ips)
    foreign = isinstance(learned.host, Foreign)

    def make(mac: int, *rest: int) -> tuple[Flows, Flows]:
        own, vtep = _ips(families, rest), [_vtep(low) for low in rest[len(families) :]]
        remote = tuple(learned_unicast(vni, mac, there, timing) for there in vtep)
        if foreign:
            for there in vtep:
                remote += foreign_learned(vni, mac, there, own, timing)
            return remote, ()
        local = learned_source(network, mac, timing)
        for ip in own:
            local += learned_binding(network, mac, ip, timing)
        return remote, local

    where = () if vtep is None else (vtep.packed,)
    values = (learned.mac.to_bytes(6, "big"), *(ip.packed for ip in ips), *where)
    return Recipe(_owner(learned), ("learned", foreign, families, len(where)), values, make)


def _families(ips: Iterable[Ip]) -> tuple[bool, ...]:
    return tuple(ip.is_v4 for ip in ips)


def _ips(families: Sequence[bool], values: Sequence[int]) -> tuple[Ip, ...]:
    return tuple(_ip(v4, value) for v4, value in zip(families, values, strict=False))


def _ip(is_v4: bool, value: int) -> Ip:
    return Ip.v4(value) if is_v4 else Ip(value)


def _vtep(low32: int) -> VtepIp:
    return VtepIp(VtepIp.v4(low32))


def ip_recipe(topology: Topology, vni: int, ip: int, timing: Timing) -> Recipe | None:
    """Who answers for an IP, for all hosts of its network: registered wins over learned."""
    network = topology.networks.get(vni)
    if network is None:
        return None
    address = Ip(ip)
    v4 = address.is_v4
    owner = owner_of(topology, vni, ip)
    if owner is None or not answers(network, owner):
        declared = isinstance(owner, Vm) or (vni, ip) in topology.vips
        if declared and network.unknown_arp == "drop" and network.subnet_of(address):

            def known(ip: int) -> tuple[Flows, Flows]:
                return (known_neighbour(vni, _ip(v4, ip)),), ()

            return Recipe(None, ("known IP", v4), (address.packed,), known)
        return None

    def registered(mac: int, ip: int) -> tuple[Flows, Flows]:
        return _registered_ip(vni, mac, _ip(v4, ip))

    def learned(mac: int, ip: int) -> tuple[Flows, Flows]:
        return _learned_ip(vni, mac, _ip(v4, ip), timing), ()

    values = (owner.mac.to_bytes(6, "big"), address.packed)
    if isinstance(owner, Vm):
        return Recipe(_owner(owner), ("IP", v4), values, registered)
    return Recipe(_owner(owner), ("learned IP", v4), values, learned)


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


def _registered_ip(vni: int, mac: int, ip: Ip) -> tuple[Flows, Flows]:
    if not ip.is_v4:
        return nd_responder(vni, mac, ip), (local_nd(vni, ip),)
    gratuitous = gratuitous_arp(vni, ip)
    return (
        (gratuitous, arp_responder(vni, mac, ip)),
        (gratuitous, arp_probe(vni, ip), local_arp(vni, ip)),
    )


def _learned_ip(vni: int, mac: int, ip: Ip, timing: Timing) -> Flows:
    if not ip.is_v4:
        return learned_nd_responder(vni, mac, ip, timing)
    return (
        learned_gratuitous_arp(vni, ip, timing),
        learned_arp_responder(vni, mac, ip, timing),
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
