"""FLOOD and ND_REPLY: who-has is answered in the switch, for IPv4 (ARP) and IPv6 (ND) alike.

One function per flow kind; each docstring is the sentence that it installs. An ND answer takes two
tables: ``nd_tll`` can be set only in a flow that matches an advertisement, so FLOOD first turns the
solicitation into one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from controller.flow import (
    OFPP_IN_PORT,
    Action,
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
from controller.pipeline import ASKED_METER, DHCP_MAC, Kind, Table
from controller.terms import (
    ADVERTISEMENT,
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    LEARNED_RESPONDER_PRIORITY,
    MULTICAST,
    RESPONDER_PRIORITY,
    SOLICITATION,
    TO_ALL,
    Timing,
    group_id,
    icmpv6,
    service_copy,
)
from topology.types import Ip

KNOWN_PRIORITY = 8
LEARNED_PROBE_PRIORITY = 15
DHCP_SERVER_PRIORITY = 18
ND_PUNT_PRIORITY = 19
ARP_PROBE_PRIORITY = 30
ND_NO_OPTION_PRIORITY = 30
GRATUITOUS_PRIORITY = 40
DAD_PRIORITY = 40

SOLICITED_OVERRIDE = 0x60000000  # S and O of R, S, O: RFC 4861, 4.4
OPTION_TARGET_ADDRESS = 2  # RFC 4861, 4.6.1
TRIAL_TUN_ID = (1 << 64) - 1


# ARP


def _who_has(vni: int, ip: Ip, *more: Term) -> Match:
    return match(
        ARP, (Field.TUN_ID, vni), (Field.ARP_OP, ARP_REQUEST), (Field.ARP_TPA, ip.low32), *more
    )


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
        _who_has(vni, ip, TO_ALL),
        arp_reply(mac, ip),
    )


def learned_arp_responder(vni: int, mac: int, ip: Ip, timing: Timing) -> Flow:
    """A broadcast who-has for a learned IP is answered while its MAC is known."""
    return Flow(
        Kind.ARP_RESPONDER_LEARNED,
        Table.FLOOD,
        LEARNED_RESPONDER_PRIORITY,
        _who_has(vni, ip, TO_ALL),
        arp_reply(mac, ip),
        hard_timeout_s=timing.learn_s,
    )


def gratuitous_arp(vni: int, ip: Ip) -> Flow:
    """A gratuitous ARP request (RFC 5227, 3) for an answered IP still reaches every host."""
    return Flow(
        Kind.ARP_GRATUITOUS,
        Table.FLOOD,
        GRATUITOUS_PRIORITY,
        _who_has(vni, ip, TO_ALL, (Field.ARP_SPA, ip.low32, None)),
        (Group(group_id(vni)),),
    )


def learned_gratuitous_arp(vni: int, ip: Ip, timing: Timing) -> Flow:
    """The same for a learned IP: whoever takes the address over must be heard everywhere."""
    flow = gratuitous_arp(vni, ip)
    return replace(flow, kind=Kind.ARP_GRATUITOUS_LEARNED, hard_timeout_s=timing.learn_s)


def arp_probe(vni: int, ip: Ip) -> Flow:
    """An ARP probe (RFC 5227, 2.1.1) from the owner's own host reaches every other host."""
    return Flow(
        Kind.ARP_PROBE,
        Table.FLOOD,
        ARP_PROBE_PRIORITY,
        _who_has(vni, ip, TO_ALL, (Field.ARP_SPA, 0, None)),
        (Group(group_id(vni)),),
    )


def arp_probes(vni: int) -> Flow:
    """ARP probes are answered for registered IPs only: a learned IP's owner answers for itself."""
    return Flow(
        Kind.ARP_PROBE,
        Table.FLOOD,
        LEARNED_PROBE_PRIORITY,
        match(ARP, TO_ALL, (Field.TUN_ID, vni), (Field.ARP_OP, ARP_REQUEST), (Field.ARP_SPA, 0)),
        (Group(group_id(vni)),),
    )


def local_arp(vni: int, ip: Ip) -> Flow:
    """A broadcast who-has on the owner's own host is answered by the VM itself, not flooded."""
    return Flow(Kind.ARP_LOCAL, Table.FLOOD, RESPONDER_PRIORITY, _who_has(vni, ip, TO_ALL))


def known_neighbour(vni: int, ip: Ip) -> Flow:
    """Who-has for a declared IP that its owner answers for goes on where unknown ones do not."""
    if ip.is_v4:
        terms = _who_has(vni, ip, TO_ALL)
    else:
        terms = _solicitation(vni, (Field.ND_TARGET, int(ip), None))
    return Flow(Kind.NEIGHBOUR_FLOOD, Table.FLOOD, KNOWN_PRIORITY, terms, (Group(group_id(vni)),))


def dhcp_server_arp(vni: int, ip: Ip) -> Flow:
    """Who-has for the DHCP responder's own address is answered like a VM's."""
    flow = arp_responder(vni, DHCP_MAC, ip)
    return replace(flow, kind=Kind.DHCP_SERVER, priority=DHCP_SERVER_PRIORITY)


# ND (RFC 4861, 7.2)


def _solicitation(vni: int, *more: Term) -> Match:
    return match(*icmpv6(SOLICITATION), (Field.TUN_ID, vni), MULTICAST, *more)


def nd_responder(tun_id: int, mac: int, ip: Ip) -> tuple[Flow, Flow]:
    """A multicast solicitation for a registered VM is answered on every host but its own."""
    target: Term = (Field.ND_TARGET, int(ip), None)
    turn = Flow(
        Kind.ND_SOLICIT,
        Table.FLOOD,
        RESPONDER_PRIORITY,
        _solicitation(tun_id, target),
        (
            SetField(Field.ICMPV6_TYPE, ADVERTISEMENT),
            SetField(Field.ICMPV6_CODE, 0),
            SetField(Field.ND_OPTIONS_TYPE, OPTION_TARGET_ADDRESS),
            SetField(Field.ND_RESERVED, SOLICITED_OVERRIDE),
        ),
        Table.ND_REPLY,
    )
    reply = Flow(
        Kind.ND_REPLY,
        Table.ND_REPLY,
        RESPONDER_PRIORITY,
        match(
            *icmpv6(ADVERTISEMENT),
            (Field.ICMPV6_CODE, 0),
            (Field.ND_OPTIONS_TYPE, OPTION_TARGET_ADDRESS),
            (Field.TUN_ID, tun_id),
            target,
        ),
        (
            Move(Field.ETH_SRC, Field.ETH_DST),
            SetField(Field.ETH_SRC, mac),
            Move(Field.IPV6_SRC, Field.IPV6_DST),
            SetField(Field.IPV6_SRC, int(ip)),
            SetField(Field.ND_TLL, mac),
            Output(OFPP_IN_PORT),
        ),
    )
    return turn, reply


def learned_nd_responder(vni: int, mac: int, ip: Ip, timing: Timing) -> tuple[Flow, Flow]:
    """A multicast solicitation for a learned IPv6 address is answered while its MAC is known."""
    turn, reply = nd_responder(vni, mac, ip)

    def soft(flow: Flow, kind: Kind) -> Flow:
        return replace(
            flow,
            kind=kind,
            priority=LEARNED_RESPONDER_PRIORITY,
            hard_timeout_s=timing.learn_s,
        )

    return soft(turn, Kind.ND_SOLICIT_LEARNED), soft(reply, Kind.ND_REPLY_LEARNED)


def nd_trial() -> tuple[Flow, Flow]:
    """The same two flows for a network that cannot be: a switch that refuses them has no such."""
    turn, reply = nd_responder(TRIAL_TUN_ID, DHCP_MAC, Ip(2))
    return replace(turn, kind=Kind.ND_TRIAL), replace(reply, kind=Kind.ND_TRIAL)


def local_nd(vni: int, ip: Ip) -> Flow:
    """A multicast solicitation on the owner's own host is answered by the VM itself."""
    terms = _solicitation(vni, (Field.ND_TARGET, int(ip), None))
    return Flow(Kind.ND_LOCAL, Table.FLOOD, RESPONDER_PRIORITY, terms)


def nd_policy(vni: int, responder: bool, in_switch: bool, metered: bool) -> Iterator[Flow]:
    """What of ND flows cannot answer: DAD is everybody's (RFC 4862, 5.4), the rest is punted.

    A solicitation without a source link-layer option has no room for the answer's; and where the
    switch cannot turn solicitations into answers, all of them are the controller's.
    """
    dad = _solicitation(vni, (Field.IPV6_SRC, 0, None))
    yield Flow(Kind.ND_DAD, Table.FLOOD, DAD_PRIORITY, dad, (Group(group_id(vni)),))
    if not responder:
        return
    copy = (service_copy(ASKED_METER, vni, metered),)
    bare = _solicitation(vni, (Field.ND_SLL, 0, None))
    yield Flow(Kind.ND_PUNT, Table.FLOOD, ND_NO_OPTION_PRIORITY, bare, copy)
    if not in_switch:
        yield Flow(Kind.ND_PUNT, Table.FLOOD, ND_PUNT_PRIORITY, _solicitation(vni), copy)
