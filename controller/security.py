"""Port security: in tables SENDER and SOURCE_IP only registered (MAC, IP) pairs go on.

SENDER checks the MAC and what ARP and ND claim in it, SOURCE_IP the address a packet comes from;
SPLIT then parts unicast from multicast, as FROM_LOCAL does elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow import Field, Flow, Match, Term, match
from controller.pipeline import CLAIM_METER, Kind, Table
from controller.terms import (
    ADVERTISEMENT,
    ARP,
    DHCP_TO_SERVER,
    IPV4,
    IPV6,
    MLD2_REPORT,
    MLD_REPORT,
    MULTICAST,
    ROUTER_SOLICITATION,
    SOLICITATION,
    UNICAST,
    enter,
    icmpv6,
    local_vlan,
    service_copy,
)
from topology.model import Network
from topology.types import Ip, Mac

FORGED_PRIORITY = 1
SECURE_PRIORITY = 2  # while port security is being switched on, it is on
IP_PRIORITY = 10
ND_GUARD_PRIORITY = 20
CLAIM_PRIORITY = 30
VIP_PRIORITY = 35

_FE80 = 0xFE80 << 112
_UNSPECIFIED: Term = (Field.IPV6_SRC, 0, None)


def link_local(mac: int) -> Ip:
    """The IPv6 link-local address made of a MAC (RFC 4291, 2.5.1 and appendix A)."""
    high, low = mac >> 24, mac & 0xFFFFFF
    return Ip(_FE80 | (high ^ 0x020000) << 40 | 0xFFFE << 24 | low)


def secure_in(network: Network) -> Iterator[Flow]:
    """Frames of a network with port security are checked; what nothing allows is counted."""
    yield Flow(
        Kind.SECURE_IN,
        Table.FROM_LOCAL,
        SECURE_PRIORITY,
        match(local_vlan(network)),
        (enter(network),),
        Table.SENDER,
    )
    for table in (Table.SENDER, Table.SOURCE_IP):
        yield Flow(Kind.FORGED, table, FORGED_PRIORITY, match((Field.TUN_ID, network.vni)))


def split() -> Iterator[Flow]:
    """What was checked goes to UNICAST or FLOOD."""
    for destination, goto in ((UNICAST, Table.UNICAST), (MULTICAST, Table.FLOOD)):
        yield Flow(Kind.SPLIT, Table.SPLIT, IP_PRIORITY, match(destination), (), goto)


def secure_sender(vni: int, mac: Mac, ips: tuple[Ip, ...], local: Ip) -> Iterator[Flow]:
    """A registered VM sends as itself: its MAC, its IPs, and what it must before it has one.

    ``local`` is its link-local address.
    """
    own = (*(ip for ip in ips if not ip.is_v4), local)
    yield from _claims(vni, mac, [ip for ip in ips if ip.is_v4], own)
    yield from _sources(vni, mac, ips, own)


def secure_vip_claim(vni: int, mac: Mac, ip: Ip, metered: bool) -> Iterator[Flow]:
    """A VM that speaks for a virtual IP which another one holds is heard, once it is checked."""
    copy = (service_copy(CLAIM_METER, vni, metered),)
    if ip.is_v4:
        terms = _from(vni, mac, ARP, (Field.ARP_SHA, mac, None), (Field.ARP_SPA, ip.low32, None))
        yield Flow(Kind.VIP_CLAIM, Table.SENDER, VIP_PRIORITY, terms, copy, Table.SPLIT)
        return
    own: tuple[Term, ...] = ((Field.IPV6_SRC, int(ip), None), (Field.ND_TARGET, int(ip), None))
    for link_layer in (0, mac):
        tll: Term = (Field.ND_TLL, link_layer, None)
        terms = _from(vni, mac, *icmpv6(ADVERTISEMENT), *own, tll)
        yield Flow(Kind.VIP_CLAIM, Table.SENDER, VIP_PRIORITY, terms, copy, Table.SOURCE_IP)


def _from(vni: int, mac: int, *terms: Term) -> Match:
    return match((Field.TUN_ID, vni), (Field.ETH_SRC, mac), *terms)


def _sender(priority: int, terms: Match, goto: Table | None) -> Flow:
    return Flow(Kind.SECURE_SENDER, Table.SENDER, priority, terms, (), goto)


def _claims(vni: int, mac: Mac, v4: list[Ip], v6: tuple[Ip, ...]) -> Iterator[Flow]:
    sha: Term = (Field.ARP_SHA, mac, None)
    # An ARP probe claims nothing yet (RFC 5227, 2.1.1).
    for spa in (0, *(ip.low32 for ip in v4)):
        terms = _from(vni, mac, ARP, sha, (Field.ARP_SPA, spa, None))
        yield _sender(CLAIM_PRIORITY, terms, Table.SPLIT)
    for term in (IPV4, IPV6):
        yield _sender(IP_PRIORITY, _from(vni, mac, term), Table.SOURCE_IP)
    for kind in (SOLICITATION, ADVERTISEMENT):
        terms = _from(vni, mac, *icmpv6(kind))
        yield Flow(Kind.FORGED, Table.SENDER, ND_GUARD_PRIORITY, terms)
    # An absent link-layer option reads as 0.
    for link_layer in (0, mac):
        terms = _from(vni, mac, *icmpv6(SOLICITATION), (Field.ND_SLL, link_layer, None))
        yield _sender(CLAIM_PRIORITY, terms, Table.SOURCE_IP)
        for ip in v6:
            terms = _from(
                vni,
                mac,
                *icmpv6(ADVERTISEMENT),
                (Field.ND_TARGET, int(ip), None),
                (Field.ND_TLL, link_layer, None),
            )
            yield _sender(CLAIM_PRIORITY, terms, Table.SOURCE_IP)


def _sources(vni: int, mac: Mac, ips: tuple[Ip, ...], own_v6: tuple[Ip, ...]) -> Iterator[Flow]:
    allowed: list[tuple[Term, ...]] = [
        (IPV4, (Field.IPV4_SRC, ip.low32, None)) for ip in ips if ip.is_v4
    ]
    allowed += [(IPV6, (Field.IPV6_SRC, int(ip), None)) for ip in own_v6]
    allowed.append(
        (
            *DHCP_TO_SERVER,
            (Field.IPV4_SRC, 0, None),
            (Field.IPV4_DST, 0xFFFFFFFF, None),
        )
    )
    allowed += [
        (*icmpv6(kind), _UNSPECIFIED)
        for kind in (SOLICITATION, ROUTER_SOLICITATION, MLD_REPORT, MLD2_REPORT)
    ]
    for terms in allowed:
        yield Flow(
            Kind.SECURE_IP, Table.SOURCE_IP, IP_PRIORITY, _from(vni, mac, *terms), (), Table.SPLIT
        )
