"""FROM_LOCAL, and foreign VTEPs' part of FROM_TUNNEL: who sends, and does the controller know it.

One function per flow kind; each docstring is the sentence that it installs.
"""

from __future__ import annotations

from controller.flow import Action, Field, Flow, Term, match
from controller.pipeline import CLAIM_METER, DHCP_METER, Kind, Table
from controller.terms import (
    ADVERTISEMENT,
    ARP,
    DHCP_TO_SERVER,
    MULTICAST,
    SOLICITATION,
    UNICAST,
    Timing,
    enter,
    icmpv6,
    learning_copy,
    local_vlan,
    neighbour_copy,
    service_copy,
)
from topology.model import Network
from topology.types import Ip, VtepIp

# Priorities in FROM_LOCAL: who is known comes first, then what the controller wants to see.
UNKNOWN_PRIORITY = 1
KNOWN_SOURCE_PRIORITY = 10
NEIGHBOUR_PRIORITY = 20
KNOWN_BINDING_PRIORITY = 30
VIP_PRIORITY = 35
SERVICE_PRIORITY = 38

# Priorities in FROM_TUNNEL, of foreign VTEPs in the same order below those of the fabric's.
FOREIGN_PRIORITY = 1
FOREIGN_SOURCE_PRIORITY = 3
FOREIGN_NEIGHBOUR_PRIORITY = 5
FOREIGN_BINDING_PRIORITY = 7
SOURCE_GUARD_PRIORITY = 30


def from_local(
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


def _listens(network: Network) -> bool:
    """Whether the controller wants to see who it does not know: to learn it, or to follow it."""
    return network.learning or network.follow_moves


def unknown_source(network: Network, metered: bool) -> tuple[Flow, ...]:
    """An unknown source is delivered at once and copied to the controller, which learns it."""
    copies = (learning_copy(network.vni, metered),) if _listens(network) else ()
    return from_local(Kind.LOCAL_UNKNOWN, network, UNKNOWN_PRIORITY, (), copies=copies)


def unknown_binding(network: Network, metered: bool) -> tuple[Flow, ...]:
    """ARP and ND are copied too, also from a learned MAC, until its sender's IP is known."""
    if not _listens(network):
        return ()
    flows: tuple[Flow, ...] = ()
    for kind, terms in (
        (Kind.LOCAL_ARP, (ARP,)),
        (Kind.LOCAL_ND, icmpv6(SOLICITATION)),
        (Kind.LOCAL_ND, icmpv6(ADVERTISEMENT)),
    ):
        flows += from_local(
            kind,
            network,
            NEIGHBOUR_PRIORITY,
            terms,
            copies=(neighbour_copy(network.vni, metered),),
        )
    return flows


def registered_source(network: Network, mac: int) -> tuple[Flow, ...]:
    """A registered VM of this host sends without being copied."""
    return from_local(
        Kind.LOCAL_REGISTERED, network, KNOWN_BINDING_PRIORITY, ((Field.ETH_SRC, mac, None),)
    )


def learned_source(network: Network, mac: int, timing: Timing) -> tuple[Flow, ...]:
    """A learned MAC of this host sends without being copied, until it is time to renew it."""
    return from_local(
        Kind.LOCAL_LEARNED,
        network,
        KNOWN_SOURCE_PRIORITY,
        ((Field.ETH_SRC, mac, None),),
        hard_timeout_s=timing.source_s,
    )


def _bindings(mac: int, ip: Ip) -> tuple[tuple[Term, ...], ...]:
    """How ARP and ND look when this MAC speaks for this IP."""
    source: Term = (Field.ETH_SRC, mac, None)
    if ip.is_v4:
        return ((ARP, source, (Field.ARP_SPA, ip.low32, None)),)
    return (
        (*icmpv6(SOLICITATION), source, (Field.IPV6_SRC, int(ip), None)),
        (*icmpv6(ADVERTISEMENT), source, (Field.ND_TARGET, int(ip), None)),
    )


def learned_binding(network: Network, mac: int, ip: Ip, timing: Timing) -> tuple[Flow, ...]:
    """ARP or ND of a learned MAC with an IP that is known for it is not copied, until renewal."""
    flows: tuple[Flow, ...] = ()
    for terms in _bindings(mac, ip):
        flows += from_local(
            Kind.LOCAL_LEARNED_ARP if ip.is_v4 else Kind.LOCAL_LEARNED_ND,
            network,
            KNOWN_BINDING_PRIORITY,
            terms,
            hard_timeout_s=timing.source_s,
        )
    return flows


def dhcp_request(network: Network, mac: int, metered: bool) -> Flow:
    """DHCP of a registered VM goes to the controller, which answers from its registration."""
    return Flow(
        Kind.DHCP_REQUEST,
        Table.FROM_LOCAL,
        SERVICE_PRIORITY,
        match(local_vlan(network), (Field.ETH_SRC, mac), *DHCP_TO_SERVER),
        (enter(network), service_copy(DHCP_METER, network.vni, metered)),
    )


def vip_claim(network: Network, mac: int, ip: Ip, metered: bool) -> tuple[Flow, ...]:
    """A VM that speaks for a virtual IP which another one holds is heard, and delivered."""
    flows: tuple[Flow, ...] = ()
    for terms in _bindings(mac, ip):
        flows += from_local(
            Kind.VIP_CLAIM,
            network,
            VIP_PRIORITY,
            terms,
            copies=(service_copy(CLAIM_METER, network.vni, metered),),
        )
    return flows


# FROM_TUNNEL


def source_guard(vni: int, mac: int) -> Flow:
    """Nobody elsewhere takes a registered VM over by sending with its MAC: its host drops that."""
    terms = match((Field.TUN_ID, vni), (Field.ETH_SRC, mac))
    return Flow(Kind.SOURCE_GUARD, Table.FROM_TUNNEL, SOURCE_GUARD_PRIORITY, terms)


def _from_foreign(
    kind: Kind,
    priority: int,
    vtep: VtepIp,
    vni: int,
    terms: tuple[Term, ...] = (),
    *,
    copies: tuple[Action, ...] = (),
    hard_timeout_s: int = 0,
) -> Flow:
    return Flow(
        kind,
        Table.FROM_TUNNEL,
        priority,
        match((Field.TUN_SRC, vtep.low32), (Field.TUN_ID, vni), *terms),
        copies,
        Table.TO_LOCAL,
        hard_timeout_s,
    )


def foreign_source(
    network: Network, vtep: VtepIp, learning: bool, metered: bool
) -> tuple[Flow, ...]:
    """A foreign VTEP is heard in its networks; unknown sources are copied, which replaces learn().

    Where port security lets only registered VMs send, nothing else of it is let in.
    """
    if network.port_security:
        return ()
    if not (learning and _listens(network)):
        return (_from_foreign(Kind.TUNNEL_FOREIGN, FOREIGN_PRIORITY, vtep, network.vni),)
    copies = (learning_copy(network.vni, metered),)
    spoken = (neighbour_copy(network.vni, metered),)
    kind, priority = Kind.TUNNEL_FOREIGN_NEIGHBOUR, FOREIGN_NEIGHBOUR_PRIORITY
    return (
        _from_foreign(Kind.TUNNEL_FOREIGN, FOREIGN_PRIORITY, vtep, network.vni, copies=copies),
        *(
            _from_foreign(kind, priority, vtep, network.vni, terms, copies=spoken)
            for terms in ((ARP,), icmpv6(SOLICITATION), icmpv6(ADVERTISEMENT))
        ),
    )


def foreign_registered(vni: int, mac: int, vtep: VtepIp) -> Flow:
    """A MAC that is registered behind a foreign VTEP comes from there, and is not copied."""
    return _from_foreign(
        Kind.TUNNEL_FOREIGN_REGISTERED,
        FOREIGN_BINDING_PRIORITY,
        vtep,
        vni,
        ((Field.ETH_SRC, mac, None),),
    )


def foreign_learned(
    vni: int, mac: int, vtep: VtepIp, ips: tuple[Ip, ...], timing: Timing
) -> tuple[Flow, ...]:
    """A learned MAC behind a foreign VTEP, and its known IPs, are not copied until renewal."""
    source = _from_foreign(
        Kind.TUNNEL_FOREIGN_LEARNED,
        FOREIGN_SOURCE_PRIORITY,
        vtep,
        vni,
        ((Field.ETH_SRC, mac, None),),
        hard_timeout_s=timing.source_s,
    )
    bindings = (
        _from_foreign(
            Kind.TUNNEL_FOREIGN_BINDING,
            FOREIGN_BINDING_PRIORITY,
            vtep,
            vni,
            terms,
            hard_timeout_s=timing.source_s,
        )
        for ip in ips
        for terms in _bindings(mac, ip)
    )
    return (source, *bindings)
