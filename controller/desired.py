"""Facts in, flows out: one function per flow kind, whose docstring is the sentence it installs.

Two groups of functions build units (the flows that one fact puts on bridges) from these:
``mac_unit`` and ``ip_unit`` for the tables that all hosts of a network share, and the ``*_flows``
functions of bridges.py for what is one host's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.flow import (
    ETH_TYPE_ARP,
    NO_VLAN,
    OFPP_IN_PORT,
    VLAN_PRESENT,
    Action,
    CopyToController,
    Field,
    Flow,
    Group,
    Match,
    Move,
    Output,
    SetField,
    Term,
    match,
)
from controller.pipeline import (
    GROUP_BASE,
    LEARN_METER,
    LEARNED_PRIORITY,
    MISS_PRIORITY,
    PACKET_IN_BYTES,
    REGISTERED_PRIORITY,
    Kind,
    Table,
)
from topology.model import LearnedMac, Network, Topology
from topology.types import Ip, VtepIp

BROADCAST = (1 << 48) - 1
GROUP_BIT = 1 << 40
UNICAST: Term = (Field.ETH_DST, 0, GROUP_BIT)
MULTICAST: Term = (Field.ETH_DST, GROUP_BIT, GROUP_BIT)
ARP: Term = (Field.ETH_TYPE, ETH_TYPE_ARP, None)
ARP_REQUEST, ARP_REPLY = 1, 2

# Priorities in FROM_LOCAL: who is known comes first, then what the controller wants to see.
UNKNOWN_PRIORITY = 1
KNOWN_SOURCE_PRIORITY = 10
ARP_PRIORITY = 20
KNOWN_BINDING_PRIORITY = 30
GUARD_PRIORITY = 40

# Priorities in FLOOD
FLOOD_PRIORITY = 1
UNICAST_DROP_PRIORITY = 2
LEARNED_RESPONDER_PRIORITY = 10
LEARNED_PROBE_PRIORITY = 15
RESPONDER_PRIORITY = 20
ARP_PROBE_PRIORITY = 30
GRATUITOUS_PRIORITY = 40


@dataclass(frozen=True, slots=True)
class Timing:
    """Hard timeouts of learned flows, in seconds.

    A known source is forgotten at source_s, before its flows elsewhere end at learn_s: its next
    frame is copied to the controller again and renews them all, so that a MAC that speaks stays.
    """

    learn_s: int = 300

    @property
    def source_s(self) -> int:
        return max(1, self.learn_s * 2 // 3)


@dataclass(frozen=True, slots=True)
class UnitFlows:
    """What one fact puts on bridges: ``local`` on its owner's, ``remote`` on all others."""

    owner: int | None
    remote: tuple[Flow, ...]
    local: tuple[Flow, ...] = ()


# FROM_LOCAL


def local_vlan(network: Network) -> Term:
    """How the network's frames come from br-int: on its local VLAN, or untagged."""
    if network.vlan is None:
        return NO_VLAN
    return (Field.VLAN_VID, VLAN_PRESENT | network.vlan, None)


def enter(network: Network) -> SetField:
    """The VNI is set once, on the way in; all later tables match on it alone."""
    return SetField(Field.TUN_ID, network.vni)


def copy_to_controller(metered: bool) -> CopyToController:
    """The copy is limited by a meter, the frame itself is not."""
    return CopyToController(PACKET_IN_BYTES, LEARN_METER if metered else None)


def _from_local(
    kind: Kind,
    network: Network,
    priority: int,
    terms: tuple[Term, ...],
    *,
    copies: tuple[Action, ...] = (),
    hard_timeout_s: int = 0,
) -> tuple[Flow, Flow]:
    """Unicast goes to UNICAST, multicast and broadcast go to FLOOD, as in the seed documents."""
    unicast, multicast = (
        Flow(
            kind,
            Table.FROM_LOCAL,
            priority,
            match(local_vlan(network), destination, *terms),
            (enter(network), *copies),
            goto,
            hard_timeout_s,
        )
        for destination, goto in ((UNICAST, Table.UNICAST), (MULTICAST, Table.FLOOD))
    )
    return unicast, multicast


def unknown_source(network: Network, metered: bool) -> tuple[Flow, ...]:
    """An unknown source is delivered at once and copied to the controller, which learns it."""
    copies = (copy_to_controller(metered),) if network.learning else ()
    return _from_local(Kind.LOCAL_UNKNOWN, network, UNKNOWN_PRIORITY, (), copies=copies)


def unknown_arp_binding(network: Network, metered: bool) -> tuple[Flow, ...]:
    """ARP is copied too, also from a learned MAC, until its sender's IP is known."""
    if not network.learning:
        return ()
    copies = (copy_to_controller(metered),)
    return _from_local(Kind.LOCAL_ARP, network, ARP_PRIORITY, (ARP,), copies=copies)


def registered_source(network: Network, mac: int) -> tuple[Flow, ...]:
    """A registered VM of this host sends without being copied."""
    return _from_local(
        Kind.LOCAL_REGISTERED, network, KNOWN_BINDING_PRIORITY, ((Field.ETH_SRC, mac, None),)
    )


def learned_source(network: Network, mac: int, timing: Timing) -> tuple[Flow, ...]:
    """A learned MAC of this host sends without being copied, until it is time to renew it."""
    return _from_local(
        Kind.LOCAL_LEARNED,
        network,
        KNOWN_SOURCE_PRIORITY,
        ((Field.ETH_SRC, mac, None),),
        hard_timeout_s=timing.source_s,
    )


def learned_binding(network: Network, mac: int, ip: Ip, timing: Timing) -> tuple[Flow, ...]:
    """ARP of a learned MAC with an IP that is known for it is not copied, until renewal."""
    return _from_local(
        Kind.LOCAL_LEARNED_ARP,
        network,
        KNOWN_BINDING_PRIORITY,
        (ARP, (Field.ETH_SRC, mac, None), (Field.ARP_SPA, ip.low32, None)),
        hard_timeout_s=timing.source_s,
    )


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


def unicast_miss() -> Flow:
    """Unknown unicast is FLOOD's to decide, in every network."""
    return Flow(Kind.UNICAST_MISS, Table.UNICAST, MISS_PRIORITY, (), (), Table.FLOOD)


# FLOOD


def group_id(vni: int) -> int:
    """The flood group of a network."""
    return GROUP_BASE | vni


def _who_has(vni: int, ip: Ip, *more: Term) -> Match:
    return match(
        ARP, (Field.TUN_ID, vni), (Field.ARP_OP, ARP_REQUEST), (Field.ARP_TPA, ip.low32), *more
    )


_BROADCAST_ONLY: Term = (Field.ETH_DST, BROADCAST, None)


def arp_reply(mac: int, ip: Ip) -> tuple[Action, ...]:
    """Turn a request into its answer and send it back where it came from (RFC 826)."""
    return (
        Move(Field.ETH_SRC, Field.ETH_DST),
        SetField(Field.ETH_SRC, mac),
        SetField(Field.ARP_OP, ARP_REPLY),
        Move(Field.ARP_SHA, Field.ARP_THA),
        Move(Field.ARP_SPA, Field.ARP_TPA),
        SetField(Field.ARP_SHA, mac),
        SetField(Field.ARP_SPA, ip.low32),
        Output(OFPP_IN_PORT),
    )


def arp_responder(vni: int, mac: int, ip: Ip) -> Flow:
    """A broadcast who-has for a registered VM is answered on every host but its own."""
    return Flow(
        Kind.ARP_RESPONDER,
        Table.FLOOD,
        RESPONDER_PRIORITY,
        _who_has(vni, ip, _BROADCAST_ONLY),
        arp_reply(mac, ip),
    )


def learned_arp_responder(vni: int, mac: int, ip: Ip, timing: Timing) -> Flow:
    """A broadcast who-has for a learned IP is answered while its MAC is known."""
    return Flow(
        Kind.ARP_RESPONDER_LEARNED,
        Table.FLOOD,
        LEARNED_RESPONDER_PRIORITY,
        _who_has(vni, ip, _BROADCAST_ONLY),
        arp_reply(mac, ip),
        hard_timeout_s=timing.learn_s,
    )


def gratuitous_arp(vni: int, ip: Ip) -> Flow:
    """A gratuitous ARP request (RFC 5227, 3) for an answered IP still reaches every host."""
    return Flow(
        Kind.ARP_GRATUITOUS,
        Table.FLOOD,
        GRATUITOUS_PRIORITY,
        _who_has(vni, ip, (Field.ARP_SPA, ip.low32, None)),
        (Group(group_id(vni)),),
    )


def learned_gratuitous_arp(vni: int, ip: Ip, timing: Timing) -> Flow:
    """The same for a learned IP: whoever takes the address over must be heard everywhere."""
    return Flow(
        Kind.ARP_GRATUITOUS_LEARNED,
        Table.FLOOD,
        GRATUITOUS_PRIORITY,
        _who_has(vni, ip, (Field.ARP_SPA, ip.low32, None)),
        (Group(group_id(vni)),),
        hard_timeout_s=timing.learn_s,
    )


def arp_probe(vni: int, ip: Ip) -> Flow:
    """An ARP probe (RFC 5227, 2.1.1) from the owner's own host reaches every other host."""
    return Flow(
        Kind.ARP_PROBE,
        Table.FLOOD,
        ARP_PROBE_PRIORITY,
        _who_has(vni, ip, (Field.ARP_SPA, 0, None)),
        (Group(group_id(vni)),),
    )


def arp_probes(vni: int) -> Flow:
    """ARP probes are answered for registered IPs only: a learned IP's owner answers for itself."""
    return Flow(
        Kind.ARP_PROBE,
        Table.FLOOD,
        LEARNED_PROBE_PRIORITY,
        match(ARP, (Field.TUN_ID, vni), (Field.ARP_OP, ARP_REQUEST), (Field.ARP_SPA, 0)),
        (Group(group_id(vni)),),
    )


def local_arp(vni: int, ip: Ip) -> Flow:
    """A broadcast who-has on the owner's own host is answered by the VM itself, not flooded."""
    return Flow(Kind.ARP_LOCAL, Table.FLOOD, RESPONDER_PRIORITY, _who_has(vni, ip, _BROADCAST_ONLY))


def unknown_unicast_drop(network: Network) -> tuple[Flow, ...]:
    """Unknown unicast goes no further where the network says so."""
    if network.unknown_unicast == "flood":
        return ()
    terms = match((Field.TUN_ID, network.vni), UNICAST)
    return (Flow(Kind.UNICAST_DROP, Table.FLOOD, UNICAST_DROP_PRIORITY, terms),)


def flood(vni: int) -> Flow:
    """Everything else gets one copy to each VTEP of the network."""
    terms = match((Field.TUN_ID, vni))
    return Flow(Kind.NETWORK_FLOOD, Table.FLOOD, FLOOD_PRIORITY, terms, (Group(group_id(vni)),))


# Units of a network's shared table


def mac_unit(topology: Topology, vni: int, mac: int, timing: Timing) -> UnitFlows | None:
    """Where a MAC is, for all hosts of its network: a registered VM wins over a learned MAC."""
    network = topology.networks.get(vni)
    if network is None:
        return None
    vm = topology.vms.get((vni, mac))
    if vm is not None:
        vtep = _vtep_of(topology, vm.host)
        remote = () if vtep is None else (registered_unicast(vni, mac, vtep),)
        local = (*registered_source(network, mac), local_unicast(vni, mac))
        return UnitFlows(vm.host, remote, local)
    learned = topology.learned.get((vni, mac))
    if learned is not None and network.learning:
        vtep = _vtep_of(topology, learned.host)
        remote = () if vtep is None else (learned_unicast(vni, mac, vtep, timing),)
        return UnitFlows(learned.host, remote, _learned_local(network, learned, timing))
    return None


def _learned_local(network: Network, learned: LearnedMac, timing: Timing) -> tuple[Flow, ...]:
    flows = learned_source(network, learned.mac, timing)
    for ip, _seen_s in learned.ips:
        flows += learned_binding(network, learned.mac, ip, timing)
    return flows


def ip_unit(topology: Topology, vni: int, ip: int, timing: Timing) -> UnitFlows | None:
    """Who answers for an IP, for all hosts of its network: registered wins over learned."""
    network = topology.networks.get(vni)
    if network is None or not network.arp_responder or not Ip(ip).is_v4:
        return None
    address = Ip(ip)
    vm = topology.vm_with_ip(vni, ip)
    if vm is not None:
        if not vm.respond:
            return None
        gratuitous = gratuitous_arp(vni, address)
        return UnitFlows(
            vm.host,
            (gratuitous, arp_responder(vni, vm.mac, address)),
            (gratuitous, arp_probe(vni, address), local_arp(vni, address)),
        )
    learned = topology.learned_with_ip(vni, ip)
    if learned is not None and network.learning and (vni, learned.mac) not in topology.vms:
        return UnitFlows(
            learned.host,
            (
                learned_gratuitous_arp(vni, address, timing),
                learned_arp_responder(vni, learned.mac, address, timing),
            ),
        )
    return None


def _vtep_of(topology: Topology, dpid: int) -> VtepIp | None:
    host = topology.hosts.get(dpid)
    return None if host is None else host.vtep
