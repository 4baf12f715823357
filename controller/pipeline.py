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
    UNICAST = 20
    FLOOD = 21
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


LEARNED_KINDS = frozenset(
    {
        Kind.LOCAL_LEARNED,
        Kind.LOCAL_LEARNED_ARP,
        Kind.UNICAST_LEARNED,
        Kind.ARP_RESPONDER_LEARNED,
        Kind.ARP_GRATUITOUS_LEARNED,
    }
)
"""Flows of soft facts: all have a hard timeout, and a restarted controller leaves them to it."""

SOURCE_KINDS = frozenset({Kind.LOCAL_LEARNED, Kind.LOCAL_LEARNED_ARP})
"""Learned flows whose end is meant: the source's next frame is copied again and renews all."""

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
    Kind.UNICAST_DROP: "unknown unicast is dropped in this network",
    Kind.ARP_RESPONDER: "answers who-has for a registered VM",
    Kind.ARP_RESPONDER_LEARNED: "answers who-has for a learned IP",
    Kind.ARP_GRATUITOUS: "gratuitous ARP reaches everybody, and the controller",
    Kind.ARP_GRATUITOUS_LEARNED: "gratuitous ARP for a learned IP reaches everybody",
    Kind.ARP_PROBE: "duplicate address detection reaches everybody",
    Kind.ARP_LOCAL: "who-has for a VM of this host: it answers itself",
    Kind.NETWORK_FLOOD: "one copy to each VTEP of the network",
    Kind.EGRESS_VTEP: "the tunnel port that leads to a VTEP",
    Kind.EGRESS_FLOOD: "no port is known to lead to that VTEP yet: flood",
}


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What flows of a table may do. Any table may hold its miss flow."""

    purpose: str
    matches: frozenset[Field]
    gotos: frozenset[Table]


_F = Field
_ARP = frozenset({_F.ETH_TYPE, _F.ARP_OP, _F.ARP_SPA, _F.ARP_TPA})

SPECS: dict[Table, TableSpec] = {
    Table.CLASSIFY: TableSpec(
        "where a frame comes from",
        frozenset({_F.IN_PORT, _F.ETH_DST, _F.ETH_TYPE}),
        frozenset({Table.FROM_LOCAL, Table.FROM_TUNNEL}),
    ),
    Table.FROM_LOCAL: TableSpec(
        "which network, and is the source known",
        frozenset({_F.VLAN_VID, _F.ETH_SRC, _F.ETH_DST}) | _ARP,
        frozenset({Table.UNICAST, Table.FLOOD}),
    ),
    Table.FROM_TUNNEL: TableSpec(
        "is the sender a VTEP we know",
        frozenset({_F.IN_PORT, _F.TUN_SRC, _F.TUN_ID}),
        frozenset({Table.TO_LOCAL}),
    ),
    Table.TO_LOCAL: TableSpec("hand to br-int", frozenset({_F.TUN_ID}), frozenset()),
    Table.UNICAST: TableSpec(
        "which VTEP has the destination",
        frozenset({_F.TUN_ID, _F.ETH_DST}),
        frozenset({Table.FLOOD, Table.EGRESS}),
    ),
    Table.FLOOD: TableSpec(
        "answer ARP here, else one copy per VTEP",
        frozenset({_F.TUN_ID, _F.ETH_DST, _F.VLAN_VID}) | _ARP,
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
LEARN_METER = 1
PROBE_METER = 2
GROUP_BASE = COOKIE_OWNER << 24
"""A network's flood group is GROUP_BASE | VNI."""

PROBE_MAC = Mac(0x02_76_78_6C_61_6E)
PROBE_ETH_TYPE = 0x88B5  # IEEE 802 local experimental EtherType 1


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


def cookie_kind(cookie: int) -> Kind | None:
    """What a cookie says its flow is for; None when the flow is not ours."""
    if cookie >> 56 != COOKIE_OWNER:
        return None
    try:
        return Kind(cookie >> 48 & 0xFF)
    except ValueError:
        return None
