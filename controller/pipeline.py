"""The pipeline of br-tun as data: tables, what each may match and where it may go, flow kinds.

docs/pipeline.md walks through it. A table is a name everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from controller.flow import Field, Flow, PopVlan
from topology.types import Mac


class Table(IntEnum):
    """The tables of br-tun; 0, 1, 2, 20 and 21 keep the numbers they have in the seed documents."""

    CLASSIFY = 0
    FROM_LOCAL = 1
    FROM_TUNNEL = 2
    TO_LOCAL = 3
    SENDER = 10
    SOURCE_IP = 11
    SPLIT = 12
    UNICAST = 20
    FLOOD = 21
    ND_REPLY = 22
    EGRESS = 30


class Kind(IntEnum):
    """What a flow is for: 8 bits of its cookie. Numbers are never used again for something else."""

    TABLE_MISS = 1
    PATCH_IN = 2
    TUNNEL_IN = 3
    PROBE_IN = 4
    PROBE_GUARD = 5
    LOCAL_UNKNOWN = 6
    LOCAL_ARP = 7
    LOCAL_REGISTERED = 8
    LOCAL_LEARNED = 9
    LOCAL_LEARNED_ARP = 10
    TUNNEL_PEER_PORT = 11
    TUNNEL_VTEP = 12
    DELIVER = 13
    UNICAST_REGISTERED = 14
    UNICAST_LEARNED = 15
    UNICAST_LOCAL = 16
    UNICAST_MISS = 17
    ARP_RESPONDER = 18
    ARP_RESPONDER_LEARNED = 19
    ARP_GRATUITOUS = 20
    ARP_PROBE = 21
    ARP_LOCAL = 22
    NETWORK_FLOOD = 23
    EGRESS_VTEP = 24
    EGRESS_FLOOD = 25
    ARP_GRATUITOUS_LEARNED = 26
    UNICAST_DROP = 27
    TUNNEL_FOREIGN = 28
    TUNNEL_FOREIGN_NEIGHBOUR = 29
    TUNNEL_FOREIGN_REGISTERED = 30
    TUNNEL_FOREIGN_LEARNED = 31
    TUNNEL_FOREIGN_BINDING = 32
    SOURCE_GUARD = 33
    LOCAL_ND = 34
    LOCAL_LEARNED_ND = 35
    ND_SOLICIT = 36
    ND_REPLY = 37
    ND_SOLICIT_LEARNED = 38
    ND_REPLY_LEARNED = 39
    ND_LOCAL = 40
    ND_DAD = 41
    ND_PUNT = 42
    SECURE_IN = 43
    SECURE_SENDER = 44
    SECURE_IP = 45
    FORGED = 46
    SPLIT = 47
    NEIGHBOUR_DROP = 48
    NEIGHBOUR_FLOOD = 49
    MULTICAST_DROP = 50
    BROADCAST_FLOOD = 51
    QUIET_DROP = 52
    VIP_CLAIM = 53
    DHCP_REQUEST = 54
    DHCP_SERVER = 55
    UNICAST_PUNT = 56
    NEIGHBOUR_PUNT = 57
    ND_TRIAL = 58
    UNICAST_FLOOD = 59
    LOCAL_STRAY = 64
    ASK_ANSWER = 70


LEARNED_KINDS = frozenset(
    {
        Kind.LOCAL_LEARNED,
        Kind.LOCAL_LEARNED_ARP,
        Kind.UNICAST_LEARNED,
        Kind.ARP_RESPONDER_LEARNED,
        Kind.ARP_GRATUITOUS_LEARNED,
        Kind.LOCAL_LEARNED_ND,
        Kind.ND_SOLICIT_LEARNED,
        Kind.ND_REPLY_LEARNED,
        Kind.TUNNEL_FOREIGN_LEARNED,
        Kind.TUNNEL_FOREIGN_BINDING,
    }
)
"""Flows of soft facts: all have a hard timeout, and a restarted controller leaves them to it."""

FOREIGN_KINDS = frozenset({Kind.TUNNEL_FOREIGN, Kind.TUNNEL_FOREIGN_NEIGHBOUR})
"""Copies of what a foreign VTEP sent."""

SOURCE_KINDS = frozenset(
    {
        Kind.LOCAL_LEARNED,
        Kind.LOCAL_LEARNED_ARP,
        Kind.LOCAL_LEARNED_ND,
        Kind.TUNNEL_FOREIGN_LEARNED,
        Kind.TUNNEL_FOREIGN_BINDING,
    }
)
"""Learned flows whose end is meant: the source's next frame is copied again and renews all."""

ND_RESPONDER_KINDS = frozenset(
    {
        Kind.ND_SOLICIT,
        Kind.ND_REPLY,
        Kind.ND_SOLICIT_LEARNED,
        Kind.ND_REPLY_LEARNED,
        Kind.ND_TRIAL,
    }
)
"""Flows that turn a solicitation into its answer, which not every datapath can."""

WHY: dict[Kind, str] = {
    Kind.TABLE_MISS: "nothing else matches in this table: drop",
    Kind.PATCH_IN: "frames from br-int",
    Kind.TUNNEL_IN: "frames from a tunnel",
    Kind.PROBE_IN: "the controller's tunnel probes",
    Kind.PROBE_GUARD: "a VM may not send probes",
    Kind.LOCAL_UNKNOWN: "a local source that is not known yet: deliver, and copy to the controller",
    Kind.LOCAL_ARP: "a local ARP binding not known yet: deliver, and copy to the controller",
    Kind.LOCAL_REGISTERED: "a registered VM of this host sends",
    Kind.LOCAL_LEARNED: "a learned MAC of this host sends",
    Kind.LOCAL_LEARNED_ARP: "a learned MAC of this host sends ARP with its known IP",
    Kind.TUNNEL_PEER_PORT: "a port with one peer: its remote_ip vouches for the sender",
    Kind.TUNNEL_VTEP: "a VTEP of the fabric",
    Kind.DELIVER: "from a tunnel to br-int only, never back into a tunnel",
    Kind.UNICAST_REGISTERED: "where a registered VM is",
    Kind.UNICAST_LEARNED: "where a learned MAC is",
    Kind.UNICAST_LOCAL: "a VM of this host: br-int delivers, the underlay is not asked",
    Kind.UNICAST_MISS: "unknown unicast: treat it like broadcast",
    Kind.UNICAST_FLOOD: "unknown unicast goes to every VTEP of the network",
    Kind.UNICAST_DROP: "unknown unicast is dropped in this network",
    Kind.ARP_RESPONDER: "answers who-has for a registered VM",
    Kind.ARP_RESPONDER_LEARNED: "answers who-has for a learned IP",
    Kind.ARP_GRATUITOUS: "gratuitous ARP reaches everybody",
    Kind.ARP_GRATUITOUS_LEARNED: "gratuitous ARP for a learned IP reaches everybody",
    Kind.ARP_PROBE: "duplicate address detection reaches everybody",
    Kind.ARP_LOCAL: "who-has for a VM of this host: it answers itself",
    Kind.NETWORK_FLOOD: "one copy to each VTEP of the network",
    Kind.EGRESS_VTEP: "the tunnel port that leads to a VTEP",
    Kind.EGRESS_FLOOD: "no port is known to lead to that VTEP yet: flood",
    Kind.TUNNEL_FOREIGN: "a foreign VTEP, in a network it was declared with",
    Kind.TUNNEL_FOREIGN_NEIGHBOUR: "ARP or ND from behind a foreign VTEP: deliver and copy",
    Kind.TUNNEL_FOREIGN_REGISTERED: "a registered MAC behind a foreign VTEP sends",
    Kind.TUNNEL_FOREIGN_LEARNED: "a learned MAC behind a foreign VTEP sends",
    Kind.TUNNEL_FOREIGN_BINDING: "a learned MAC behind a foreign VTEP speaks for its known IP",
    Kind.SOURCE_GUARD: "a registered VM of this host never comes from a tunnel: drop",
    Kind.LOCAL_ND: "a local IPv6 binding not known yet: deliver, and copy to the controller",
    Kind.LOCAL_LEARNED_ND: "a learned MAC of this host speaks ND for its known IPv6 address",
    Kind.ND_SOLICIT: "a neighbour solicitation for a registered VM becomes its answer",
    Kind.ND_REPLY: "answers the neighbour solicitation for a registered VM",
    Kind.ND_SOLICIT_LEARNED: "a neighbour solicitation for a learned IPv6 becomes its answer",
    Kind.ND_REPLY_LEARNED: "answers the neighbour solicitation for a learned IPv6",
    Kind.ND_LOCAL: "a neighbour solicitation for a VM of this host: it answers itself",
    Kind.ND_DAD: "duplicate address detection (IPv6) reaches everybody",
    Kind.ND_PUNT: "a neighbour solicitation that flows cannot answer: the controller does",
    Kind.SECURE_IN: "port security: only registered senders go on",
    Kind.SECURE_SENDER: "the sender speaks for its registered MAC and addresses",
    Kind.SECURE_IP: "the sender uses a registered IP",
    Kind.FORGED: "port security: not a registered sender, drop and count",
    Kind.SPLIT: "unicast and multicast go their ways",
    Kind.NEIGHBOUR_DROP: "who-has for an unknown address of the network's subnets: drop",
    Kind.NEIGHBOUR_FLOOD: "neighbour discovery goes on where other multicast is dropped",
    Kind.MULTICAST_DROP: "multicast is dropped in this network",
    Kind.BROADCAST_FLOOD: "broadcast goes on where multicast is dropped",
    Kind.QUIET_DROP: "membership reports and router solicitations stay on their host",
    Kind.VIP_CLAIM: "a VM speaks for a virtual IP that another holds: the controller is told",
    Kind.DHCP_REQUEST: "DHCP of a registered VM: the controller answers",
    Kind.DHCP_SERVER: "answers who-has for the DHCP responder's own address",
    Kind.UNICAST_PUNT: "no conversation yet: the controller installs it",
    Kind.NEIGHBOUR_PUNT: "no conversation yet: the controller looks the address up",
    Kind.ASK_ANSWER: "a VM answers the controller, which asked whether it is there",
    Kind.LOCAL_STRAY: "on a VLAN, or untagged, of no network here: drop, and copy a few",
    Kind.ND_TRIAL: "asks the switch whether it can answer neighbour solicitations",
}


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What flows of a table may do. Any table may hold its miss flow."""

    purpose: str
    matches: frozenset[Field]
    gotos: frozenset[Table]


_F = Field
_ARP = frozenset({_F.ETH_TYPE, _F.ARP_OP, _F.ARP_SPA, _F.ARP_TPA})
_ND = frozenset({_F.ETH_TYPE, _F.IP_PROTO, _F.ICMPV6_TYPE, _F.IPV6_SRC, _F.ND_TARGET, _F.ND_SLL})
_UDP = frozenset({_F.ETH_TYPE, _F.IP_PROTO, _F.UDP_SRC, _F.UDP_DST})

SPECS: dict[Table, TableSpec] = {
    Table.CLASSIFY: TableSpec(
        "where a frame comes from",
        frozenset({_F.IN_PORT, _F.ETH_DST, _F.ETH_TYPE}),
        frozenset({Table.FROM_LOCAL, Table.FROM_TUNNEL}),
    ),
    Table.FROM_LOCAL: TableSpec(
        "which network, and is the source known",
        frozenset({_F.VLAN_VID, _F.ETH_SRC, _F.ETH_DST}) | _ARP | _ND | _UDP,
        frozenset({Table.SENDER, Table.UNICAST, Table.FLOOD}),
    ),
    Table.FROM_TUNNEL: TableSpec(
        "is the sender a VTEP we know",
        frozenset({_F.IN_PORT, _F.TUN_SRC, _F.TUN_ID, _F.ETH_SRC}) | _ARP | _ND,
        frozenset({Table.TO_LOCAL}),
    ),
    Table.TO_LOCAL: TableSpec("hand to br-int", frozenset({_F.TUN_ID}), frozenset()),
    Table.SENDER: TableSpec(
        "port security: may this MAC send, and claim what ARP and ND claim",
        frozenset({_F.TUN_ID, _F.ETH_SRC, _F.ARP_SHA, _F.ND_TLL}) | _ARP | _ND,
        frozenset({Table.SOURCE_IP, Table.SPLIT}),
    ),
    Table.SOURCE_IP: TableSpec(
        "port security: is the source IP the sender's",
        frozenset({_F.TUN_ID, _F.ETH_SRC, _F.IPV4_SRC, _F.IPV4_DST}) | _ND | _UDP,
        frozenset({Table.SPLIT}),
    ),
    Table.SPLIT: TableSpec(
        "unicast or multicast", frozenset({_F.ETH_DST}), frozenset({Table.UNICAST, Table.FLOOD})
    ),
    Table.UNICAST: TableSpec(
        "which VTEP has the destination",
        frozenset({_F.TUN_ID, _F.ETH_DST}),
        frozenset({Table.FLOOD, Table.EGRESS}),
    ),
    Table.FLOOD: TableSpec(
        "answer ARP and ND here, else one copy per VTEP",
        frozenset({_F.TUN_ID, _F.ETH_DST, _F.VLAN_VID}) | _ARP | _ND,
        frozenset({Table.ND_REPLY}),
    ),
    Table.ND_REPLY: TableSpec(
        "the second half of an ND answer",
        frozenset({_F.TUN_ID, _F.ND_OPTIONS_TYPE, _F.ICMPV6_CODE}) | _ND,
        frozenset(),
    ),
    Table.EGRESS: TableSpec(
        "which tunnel port leads to the VTEP",
        frozenset({_F.TUN_DST, _F.VLAN_VID, _F.TUN_ID}),
        frozenset(),
    ),
}

COOKIE_OWNER = 0x76
"""The first byte of every cookie of ours; a flow without it is foreign."""

MISS_PRIORITY = 0
LEARNED_PRIORITY = 1
REGISTERED_PRIORITY = 10

PACKET_IN_BYTES = 128
WHOLE_FRAME_BYTES = 0xFFFF  # OFPCML_NO_BUFFER
PROBE_METER = 2
STRAY_METER = 4
ASK_METER = 5
METER_SHARDS = 8
LEARN_METER, NEIGHBOUR_METER, ASKED_METER = 16, 32, 48
CONVERSATION_METER, DHCP_METER, CLAIM_METER = 64, 80, 96
"""The first of METER_SHARDS meters each: networks share them by their VNI, so that one that floods
takes nothing from most others of its host. 1 and 3 were used by earlier releases.
"""
GROUP_BASE = COOKIE_OWNER << 24
"""A network's flood group is GROUP_BASE | VNI."""

PROBE_MAC = Mac(0x02_76_78_6C_61_6E)
PROBE_ETH_TYPE = 0x88B5  # IEEE 802 local experimental EtherType 1
PROBE_VNI = 0xFFFFFF
"""Set on some probes: it arrives only where both tunnel ports take the VNI from the flow."""
DHCP_MAC = Mac(0x02_76_78_6C_64_68)
ASK_MAC = Mac(0x02_76_78_6C_61_73)
"""Who asks VMs whether they are there; their answers come back by a flow of its own."""


class PipelineError(ValueError):
    """A flow that its table does not allow: a fault in desired.py, found before it is sent."""


def check(flow: Flow) -> Flow:
    """The flow itself, if its table's spec allows it; PipelineError otherwise."""
    spec = SPECS[Table(flow.table)]
    fields = {term[0] for term in flow.match}
    if not fields <= spec.matches:
        names = sorted(field.name for field in fields - spec.matches)
        raise PipelineError(f"table {Table(flow.table).name} may not match on {names}")
    if flow.goto is not None and flow.goto not in spec.gotos:
        raise PipelineError(f"table {Table(flow.table).name} may not go to table {flow.goto}")
    if flow.goto is not None and flow.goto <= flow.table:
        raise PipelineError("goto must go forward (OpenFlow 1.3.5, 5.1.1)")
    if any(isinstance(action, PopVlan) for action in flow.actions) and not any(
        term[0] is Field.VLAN_VID and term[1] & 0x1000 for term in flow.match
    ):
        raise PipelineError("pop_vlan needs a match on the tag's presence")
    if flow.kind in LEARNED_KINDS and not flow.hard_timeout_s:
        raise PipelineError("a flow of a soft fact needs a hard timeout")
    return flow


def meter_of(first: int, vni: int) -> int:
    """The meter of a network among those that begin with this one."""
    return first + vni % METER_SHARDS


def cookie_kind(cookie: int) -> Kind | None:
    """What a cookie says its flow is for; None when the flow is not ours."""
    return _KINDS.get(cookie >> 48)


_KINDS = {COOKIE_OWNER << 8 | kind: kind for kind in Kind}
