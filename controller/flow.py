"""Flows as values: what a match, an action and a flow are, and how ovs-ofctl would write them.

Nothing here knows what the flows are for (desired.py) or how they look on the wire (wire/).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from socket import AF_INET6, inet_ntop
from typing import TypeAlias

from topology.types import Ip, Mac


class Field(Enum):
    """A match field: ovs-ofctl name, OXM class and field number, width in bytes.

    The order is the order on the wire: a field comes after the fields it requires
    (OpenFlow 1.3.5, section 7.2.3.6).
    """

    IN_PORT = ("in_port", 0x8000, 0, 4)
    ETH_DST = ("dl_dst", 0x8000, 3, 6)
    ETH_SRC = ("dl_src", 0x8000, 4, 6)
    ETH_TYPE = ("eth_type", 0x8000, 5, 2)
    VLAN_VID = ("vlan_tci", 0x8000, 6, 2)
    IP_PROTO = ("nw_proto", 0x8000, 10, 1)
    IPV4_SRC = ("nw_src", 0x8000, 11, 4)
    IPV4_DST = ("nw_dst", 0x8000, 12, 4)
    UDP_SRC = ("udp_src", 0x8000, 15, 2)
    UDP_DST = ("udp_dst", 0x8000, 16, 2)
    ARP_OP = ("arp_op", 0x8000, 21, 2)
    ARP_SPA = ("arp_spa", 0x8000, 22, 4)
    ARP_TPA = ("arp_tpa", 0x8000, 23, 4)
    ARP_SHA = ("arp_sha", 0x8000, 24, 6)
    ARP_THA = ("arp_tha", 0x8000, 25, 6)
    IPV6_SRC = ("ipv6_src", 0x8000, 26, 16)
    IPV6_DST = ("ipv6_dst", 0x8000, 27, 16)
    ICMPV6_TYPE = ("icmpv6_type", 0x8000, 29, 1)
    ICMPV6_CODE = ("icmpv6_code", 0x8000, 30, 1)
    ND_TARGET = ("nd_target", 0x8000, 31, 16)
    ND_SLL = ("nd_sll", 0x8000, 32, 6)
    ND_TLL = ("nd_tll", 0x8000, 33, 6)
    ND_RESERVED = ("nd_reserved", 0x1000, 1, 4)
    ND_OPTIONS_TYPE = ("nd_options_type", 0x1000, 2, 1)
    TUN_ID = ("tun_id", 0x8000, 38, 8)
    TUN_SRC = ("tun_src", 0x0001, 31, 4)
    TUN_DST = ("tun_dst", 0x0001, 32, 4)

    def __init__(self, ofctl_name: str, oxm_class: int, number: int, width: int) -> None:
        self.ofctl_name = ofctl_name
        self.oxm_class = oxm_class
        self.number = number
        self.width = width

        # The 32-bit OXM header of an exact match.
        self.header = oxm_class << 16 | number << 9 | width

    # Enum hashes by name, in Python; every match and action hashes its fields.
    __hash__ = object.__hash__


_RANK = {field: rank for rank, field in enumerate(Field)}
_MACS = {
    Field.ETH_DST,
    Field.ETH_SRC,
    Field.ARP_SHA,
    Field.ARP_THA,
    Field.ND_SLL,
    Field.ND_TLL,
}
_IPV4S = {
    Field.IPV4_SRC,
    Field.IPV4_DST,
    Field.ARP_SPA,
    Field.ARP_TPA,
    Field.TUN_SRC,
    Field.TUN_DST,
}
_IPV6S = {Field.IPV6_SRC, Field.IPV6_DST, Field.ND_TARGET}
_MOVE_NAMES = {
    Field.ETH_DST: "NXM_OF_ETH_DST[]",
    Field.ETH_SRC: "NXM_OF_ETH_SRC[]",
    Field.ARP_SHA: "NXM_NX_ARP_SHA[]",
    Field.ARP_THA: "NXM_NX_ARP_THA[]",
    Field.ARP_SPA: "NXM_OF_ARP_SPA[]",
    Field.ARP_TPA: "NXM_OF_ARP_TPA[]",
    Field.IPV6_SRC: "NXM_NX_IPV6_SRC[]",
    Field.IPV6_DST: "NXM_NX_IPV6_DST[]",
}
_SET_NAMES = {Field.ETH_DST: "eth_dst", Field.ETH_SRC: "eth_src", Field.VLAN_VID: "vlan_vid"}

ETH_TYPE_IPV4 = 0x0800
ETH_TYPE_ARP = 0x0806
ETH_TYPE_IPV6 = 0x86DD
_ETH_TYPE_NAMES = {ETH_TYPE_IPV4: "ip", ETH_TYPE_ARP: "arp", ETH_TYPE_IPV6: "ipv6"}
VLAN_PRESENT = 0x1000  # OFPVID_PRESENT
NO_VLAN = (Field.VLAN_VID, 0, None)
ANY_VLAN = (Field.VLAN_VID, VLAN_PRESENT, VLAN_PRESENT)

Term: TypeAlias = tuple[Field, int, int | None]  # field, value, mask (None: exact)
Match: TypeAlias = tuple[Term, ...]


def match(*terms: Term | tuple[Field, int]) -> Match:
    """A match on these terms, in wire order; a pair is an exact term."""
    full: list[Term] = [term if len(term) == 3 else (term[0], term[1], None) for term in terms]
    return tuple(sorted(full, key=lambda term: _RANK[term[0]]))


@dataclass(frozen=True, slots=True)
class Output:
    port: int


@dataclass(frozen=True, slots=True)
class Group:
    group_id: int


@dataclass(frozen=True, slots=True)
class SetField:
    field: Field
    value: int


@dataclass(frozen=True, slots=True)
class Move:
    """Copy one whole field to another (NXAST_REG_MOVE)."""

    source: Field
    target: Field


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Push an 802.1Q tag."""


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Pop the outer tag; legal only in a flow that matches on a tag's presence."""


@dataclass(frozen=True, slots=True)
class CopyToController:
    """A packet-in of the first max_len_bytes, limited by a meter that drops only the copy."""

    max_len_bytes: int
    meter_id: int | None


Action: TypeAlias = Output | Group | SetField | Move | PushVlan | PopVlan | CopyToController

OFPP_IN_PORT = 0xFFFFFFF8
_RESERVED_PORTS = {
    OFPP_IN_PORT: "IN_PORT",
    0xFFFFFFFA: "NORMAL",
    0xFFFFFFFB: "FLOOD",
    0xFFFFFFFC: "ALL",
    0xFFFFFFFD: "CONTROLLER",
    0xFFFFFFFE: "LOCAL",
}
"""Ports that are no port (OpenFlow 1.3.5, 7.2.1.1), as ovs-ofctl writes them."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow entry. ``kind`` is what it is for; timeouts in seconds, 0 for none.

    One with an idle timeout is reported by the switch when it ends, as is a ``reported`` one, with
    what it counted; it is not when another takes its place.
    """

    kind: int
    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    hard_timeout_s: int = 0
    idle_timeout_s: int = 0
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a group of type all: each gets its own copy of the packet."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class FloodGroup:
    """A group (type all) that sends a copy to every VTEP of a network."""

    group_id: int
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter that drops packets above rate_pps, with a burst allowance in packets."""

    meter_id: int
    rate_pps: int
    burst_packets: int


# In ovs-ofctl's words


def _value(field: Field, value: int) -> str:
    if field in _MACS:
        return str(Mac(value))
    if field in _IPV4S:
        return str(Ip.v4(value))
    if field in _IPV6S:
        return inet_ntop(AF_INET6, value.to_bytes(16, "big"))
    if field in (Field.TUN_ID, Field.ETH_TYPE, Field.VLAN_VID):
        return hex(value)
    return str(value)


def _term(term: Term) -> str:
    field, value, mask = term
    if field is Field.ETH_TYPE and value in _ETH_TYPE_NAMES:
        return _ETH_TYPE_NAMES[value]
    if field is Field.VLAN_VID:
        if value == 0 and mask is None:
            return "vlan_tci=0x0000/0x1fff"
        if mask == VLAN_PRESENT:
            return "vlan_tci=0x1000/0x1000"
        return f"dl_vlan={value & 0xFFF}"
    if mask is None:
        return f"{field.ofctl_name}={_value(field, value)}"
    return f"{field.ofctl_name}={_value(field, value)}/{_value(field, mask)}"


def ofctl_match(terms: Match) -> str:
    """The match as ovs-ofctl dump-flows writes it; empty when it matches everything."""
    return ",".join(_term(term) for term in terms)


def _action(action: Action) -> str:
    match action:
        case Output(port):
            return _RESERVED_PORTS.get(port, f"output:{port}")
        case Group(group_id):
            return f"group:{group_id}"
        case SetField(field, value):
            name = _SET_NAMES.get(field, field.ofctl_name)
            shown = str(VLAN_PRESENT | value) if field is Field.VLAN_VID else _value(field, value)
            return f"set_field:{shown}->{name}"
        case Move(source, target):
            return f"move:{_MOVE_NAMES[source]}->{_MOVE_NAMES[target]}"
        case PushVlan():
            return "push_vlan:0x8100"
        case PopVlan():
            return "pop_vlan"
        case CopyToController(max_len_bytes, None):
            return f"controller(max_len={max_len_bytes})"
        case CopyToController(max_len_bytes, meter_id):
            return f"controller(max_len={max_len_bytes},meter_id={meter_id})"


def ofctl_actions(flow: Flow) -> str:
    """The actions as ovs-ofctl writes them; "drop" when there are none."""
    words = [_action(action) for action in flow.actions]
    if flow.goto is not None:
        words.append(f"goto_table:{flow.goto}")
    return ",".join(words) or "drop"


def ofctl_flow(flow: Flow) -> str:
    """The whole flow as ``ovs-ofctl add-flow`` takes it (without its cookie)."""
    head = [f"table={flow.table}", f"priority={flow.priority}"]
    if flow.hard_timeout_s:
        head.append(f"hard_timeout={flow.hard_timeout_s}")
    if flow.idle_timeout_s:
        head.append(f"idle_timeout={flow.idle_timeout_s}")
    if flow.idle_timeout_s or flow.reported:
        head.append("send_flow_rem")
    if flow.match:
        head.append(ofctl_match(flow.match))
    return f"{','.join(head)} actions={ofctl_actions(flow)}"


def ofctl_buckets(group: FloodGroup) -> str:
    """The group as ``ovs-ofctl add-group`` takes it."""
    buckets = "".join(
        ",bucket=actions=" + (",".join(_action(action) for action in bucket.actions) or "drop")
        for bucket in group.buckets
    )
    return f"group_id={group.group_id},type=all{buckets}"
