"""Facts in, flows out: what one fact puts on all hosts of its network.

``mac_recipe`` and ``ip_recipe`` say what shape of flows a fact has; ``maker`` puts each shape
together from the functions of sources.py, security.py and neighbours.py, one for each flow kind.
bridges.py says what is one host's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

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
from topology.types import Foreign, Ip, Location, Mac, VtepIp

Flows: TypeAlias = tuple[Flow, ...]
Maker: TypeAlias = Callable[..., tuple[Flows, Flows]]

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


class Shape(NamedTuple):
    """What the flows of many facts have in common: kind, how many VTEPs, which IPs are IPv4."""

    kind: str
    vteps: int
    families: tuple[bool, ...] = ()


class Recipe(NamedTuple):
    """One fact's flows: a shape that many facts of the network share, and this one's values.

    What its flows are follows from the network, the shape and the values, and from nothing else.
    """

    owner: int | None
    shape: Shape
    values: tuple[bytes, ...]

    def flows(self, network: Network, timing: Timing) -> UnitFlows:
        make = maker(network, timing, self.shape)
        remote, local = make(*(int.from_bytes(value, "big") for value in self.values))
        return UnitFlows(self.owner, remote, local)


def mac_recipe(topology: Topology, network: Network, mac: int) -> Recipe | None:
    """Where a MAC is, for all hosts of its network: a registered VM wins over a learned MAC."""
    key = (network.vni, mac)
    vm = topology.vms.get(key)
    if vm is not None:
        return _registered(topology, network, vm)
    learned = topology.learned.get(key)
    if learned is not None and believed(topology, learned):
        return _learned(topology, learned)
    return None


def _registered(topology: Topology, network: Network, vm: Vm) -> Recipe:
    where = _where(topology, vm.host)
    mac = vm.mac.to_bytes(6, "big")
    if isinstance(vm.host, Foreign):
        return Recipe(None, Shape("VM behind a VTEP", len(where)), (mac, *where))
    if not network.port_security:
        return Recipe(vm.host, _VM[len(where)], (mac, *where))
    ips = (*vm.ips, *(vip.ip for vip in topology.vips_of(network.vni, vm.mac)))
    values = (mac, link_local(vm.mac).packed, *(ip.packed for ip in ips), *where)
    return Recipe(vm.host, Shape("secured VM", len(where), _families(ips)), values)


def _learned(topology: Topology, learned: LearnedMac) -> Recipe:
    where = _where(topology, learned.host)
    mac = learned.mac.to_bytes(6, "big")
    if not learned.ips and not isinstance(learned.host, Foreign):
        return Recipe(learned.host, _LEARNED[len(where)], (mac, *where))
    kind = "learned behind a VTEP" if isinstance(learned.host, Foreign) else "learned"
    ips = [ip for ip, _seen_s in learned.ips]
    shape = Shape(kind, len(where), _families(ips))
    return Recipe(_owner(learned), shape, (mac, *(ip.packed for ip in ips), *where))


_LEARNED = (Shape("learned", 0), Shape("learned", 1))
_VM = (Shape("VM", 0), Shape("VM", 1))


def _where(topology: Topology, place: Location) -> tuple[bytes, ...]:
    """The VTEP of a place, if it is known."""
    vtep = topology.vtep_of(place)
    return () if vtep is None else (vtep.packed,)


def ip_recipe(topology: Topology, network: Network, ip: int) -> Recipe | None:
    """Who answers for an IP, for all hosts of its network: registered wins over learned."""
    vni = network.vni
    address = ip if isinstance(ip, Ip) else Ip(ip)
    owner = owner_of(topology, vni, ip)
    if owner is None or not answers(network, owner):
        declared = isinstance(owner, Vm) or (vni, ip) in topology.vips
        if declared and network.unknown_arp == "drop" and network.subnet_of(address):
            return Recipe(None, Shape("known IP", 0, (address.is_v4,)), (address.packed,))
        return None
    shapes = _IP if isinstance(owner, Vm) else _LEARNED_IP
    values = (owner.mac.to_bytes(6, "big"), address.packed)
    return Recipe(_owner(owner), shapes[address.is_v4], values)


_IP = {v4: Shape("IP", 0, (v4,)) for v4 in (False, True)}
_LEARNED_IP = {v4: Shape("learned IP", 0, (v4,)) for v4 in (False, True)}


def maker(network: Network, timing: Timing, shape: Shape) -> Maker:
    """What makes a shape's flows, (remote, local), from its values as integers."""
    vni = network.vni
    families = shape.families
    kept = timing.kept(dropped=network.unknown_unicast == "drop")
    answering = timing.kept(dropped=network.unknown_arp == "drop")

    def ways(values: Sequence[int]) -> list[VtepIp]:
        return [VtepIp(VtepIp.v4(low32)) for low32 in values[len(values) - shape.vteps :]]

    def there(mac: int, values: Sequence[int]) -> Flows:
        return tuple(registered_unicast(vni, mac, vtep) for vtep in ways(values))

    def here(mac: int) -> Flows:
        return (local_unicast(vni, mac), source_guard(vni, mac))

    def vm(mac: int, *values: int) -> tuple[Flows, Flows]:
        return there(mac, values), (*registered_source(network, mac), *here(mac))

    def secured_vm(mac: int, local: int, *values: int) -> tuple[Flows, Flows]:
        sends = secure_sender(vni, Mac(mac), _ips(families, values), Ip(local))
        return there(mac, values), (*sends, *here(mac))

    def vm_behind(mac: int, *values: int) -> tuple[Flows, Flows]:
        flows = (registered_unicast, foreign_registered)
        return tuple(flow(vni, mac, vtep) for vtep in ways(values) for flow in flows), ()

    def learned(mac: int, *values: int) -> tuple[Flows, Flows]:
        remote = tuple(learned_unicast(vni, mac, vtep, kept) for vtep in ways(values))
        local = learned_source(network, mac, timing)
        for ip in _ips(families, values):
            local += learned_binding(network, mac, ip, timing)
        return remote, local

    def learned_behind(mac: int, *values: int) -> tuple[Flows, Flows]:
        remote = tuple(learned_unicast(vni, mac, vtep, kept) for vtep in ways(values))
        for vtep in ways(values):
            remote += foreign_learned(vni, mac, vtep, _ips(families, values), timing)
        return remote, ()

    def ip(mac: int, value: int) -> tuple[Flows, Flows]:
        return _registered_ip(vni, mac, _ip(families[0], value))

    def learned_ip(mac: int, value: int) -> tuple[Flows, Flows]:
        return _learned_ip(vni, mac, _ip(families[0], value), answering), ()

    def known_ip(value: int) -> tuple[Flows, Flows]:
        return (known_neighbour(vni, _ip(families[0], value)),), ()

    makers: dict[str, Maker] = {
        "VM": vm,
        "secured VM": secured_vm,
        "VM behind a VTEP": vm_behind,
        "learned": learned,
        "learned behind a VTEP": learned_behind,
        "IP": ip,
        "learned IP": learned_ip,
        "known IP": known_ip,
    }
    return makers[shape.kind]


def _families(ips: Iterable[Ip]) -> tuple[bool, ...]:
    return tuple(ip.is_v4 for ip in ips)


def _ips(families: Sequence[bool], values: Sequence[int]) -> tuple[Ip, ...]:
    return tuple(_ip(v4, value) for v4, value in zip(families, values, strict=False))


def _ip(is_v4: bool, value: int) -> Ip:
    return Ip.v4(value) if is_v4 else Ip(value)


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
