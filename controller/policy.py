"""FLOOD: what of broadcast, unknown unicast and multicast goes on, by each network's policy."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from controller.flow import Action, Field, Flow, Group, Term, match
from controller.pipeline import ASKED_METER, CONVERSATION_METER, MISS_PRIORITY, Kind, Table
from controller.terms import (
    ADVERTISEMENT,
    ARP,
    ARP_REQUEST,
    IPV4,
    MLD2_REPORT,
    MLD_DONE,
    MLD_REPORT,
    MULTICAST,
    PROTO_IGMP,
    ROUTER_SOLICITATION,
    SOLICITATION,
    TO_ALL,
    UNICAST,
    group_id,
    icmpv6,
    in_subnet,
    service_copy,
)
from topology.model import Network
from topology.types import Subnet

FLOOD_PRIORITY = 1
KIND_PRIORITY = 2
BROADCAST_PRIORITY = 3
NEIGHBOUR_PRIORITY = 4
SUBNET_PRIORITY = 5
QUIET_PRIORITY = 6


def unicast_miss() -> Flow:
    """Unknown unicast is FLOOD's to decide, in every network."""
    return Flow(Kind.UNICAST_MISS, Table.UNICAST, MISS_PRIORITY, (), (), Table.FLOOD)


def bum_flows(network: Network, metered: bool) -> Iterator[Flow]:
    """All that the network's policy says, down to the flood for everything else."""
    yield from unknown_unicast(network, metered)
    yield from unknown_neighbours(network, metered)
    yield from multicast(network)
    yield from quiet(network)
    yield flood(network.vni)


def flood(vni: int) -> Flow:
    """Everything else gets one copy to each VTEP of the network."""
    terms = match((Field.TUN_ID, vni))
    return Flow(Kind.NETWORK_FLOOD, Table.FLOOD, FLOOD_PRIORITY, terms, (Group(group_id(vni)),))


def unknown_unicast(network: Network, metered: bool) -> Iterator[Flow]:
    """Unknown unicast is flooded, dropped, or punted as a new conversation, as the network says.

    What is flooded would be without a flow of its own; that one counts it apart from the rest.
    """
    terms = match((Field.TUN_ID, network.vni), UNICAST)
    dropped = network.unknown_unicast == "drop"
    if network.mode == "reactive":
        actions = _punt(CONVERSATION_METER, network, dropped, metered)
        yield Flow(Kind.UNICAST_PUNT, Table.FLOOD, KIND_PRIORITY, terms, actions)
    elif dropped:
        yield Flow(Kind.UNICAST_DROP, Table.FLOOD, KIND_PRIORITY, terms)
    else:
        on = (Group(group_id(network.vni)),)
        yield Flow(Kind.UNICAST_FLOOD, Table.FLOOD, KIND_PRIORITY, terms, on)


def unknown_neighbours(network: Network, metered: bool) -> Iterator[Flow]:
    """Who-has for addresses inside the subnets, by ARP or ND, is dropped or punted likewise."""
    dropped = network.unknown_arp == "drop"
    reactive = network.mode == "reactive"
    if dropped:
        kind = Kind.NEIGHBOUR_PUNT if reactive else Kind.NEIGHBOUR_DROP
        actions = _punt(ASKED_METER, network, dropped=True, metered=metered) if reactive else ()
        for subnet in _outermost(network.subnets):
            terms = match((Field.TUN_ID, network.vni), *_who_has(subnet))
            yield Flow(kind, Table.FLOOD, SUBNET_PRIORITY, terms, actions)
    if reactive:
        actions = _punt(ASKED_METER, network, dropped=False, metered=metered)
        for query in (
            (ARP, (Field.ARP_OP, ARP_REQUEST, None), TO_ALL),
            (*icmpv6(SOLICITATION), MULTICAST),
        ):
            terms = match((Field.TUN_ID, network.vni), *query)
            yield Flow(Kind.NEIGHBOUR_PUNT, Table.FLOOD, NEIGHBOUR_PRIORITY, terms, actions)


def _punt(meter: int, network: Network, dropped: bool, metered: bool) -> tuple[Action, ...]:
    """To the controller; and flooded too unless that is dropped, so that it is never needed."""
    copy = service_copy(meter, network.vni, metered)
    return (copy,) if dropped else (copy, Group(group_id(network.vni)))


def _outermost(subnets: Collection[Subnet]) -> Iterator[Subnet]:
    """Those that are within no other: of two flows for one address none would come first."""
    for subnet in subnets:
        if not any(subnet.ip in other and subnet.bits > other.bits for other in subnets):
            yield subnet


def _who_has(subnet: Subnet) -> tuple[Term, ...]:
    if subnet.is_v4:
        return (
            ARP,
            (Field.ARP_OP, ARP_REQUEST, None),
            TO_ALL,
            in_subnet(Field.ARP_TPA, subnet),
        )
    return (*icmpv6(SOLICITATION), MULTICAST, in_subnet(Field.ND_TARGET, subnet))


def multicast(network: Network) -> Iterator[Flow]:
    """Multicast is dropped where the network says so; what is not for some group only goes on."""
    if network.multicast == "flood":
        return
    tun_id: Term = (Field.TUN_ID, network.vni, None)
    on = (Group(group_id(network.vni)),)
    yield Flow(Kind.MULTICAST_DROP, Table.FLOOD, KIND_PRIORITY, match(tun_id, MULTICAST))
    yield Flow(Kind.BROADCAST_FLOOD, Table.FLOOD, BROADCAST_PRIORITY, match(tun_id, TO_ALL), on)
    kinds = (ADVERTISEMENT,) if network.mode == "reactive" else (SOLICITATION, ADVERTISEMENT)
    for kind in kinds:
        terms = match(tun_id, MULTICAST, *icmpv6(kind))
        yield Flow(Kind.NEIGHBOUR_FLOOD, Table.FLOOD, NEIGHBOUR_PRIORITY, terms, on)


def quiet(network: Network) -> Iterator[Flow]:
    """Membership reports (IGMP, MLD) and router solicitations stay on their host if it says so."""
    if not network.quiet:
        return
    chatter: list[tuple[Term, ...]] = [(IPV4, (Field.IP_PROTO, PROTO_IGMP, None))]
    chatter += [icmpv6(kind) for kind in (MLD_REPORT, MLD_DONE, MLD2_REPORT, ROUTER_SOLICITATION)]
    for terms in chatter:
        found = match((Field.TUN_ID, network.vni), MULTICAST, *terms)
        yield Flow(Kind.QUIET_DROP, Table.FLOOD, QUIET_PRIORITY, found)
