"""The words that flows are put together from: terms of matches, recurring actions, priorities."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.flow import (
    ETH_TYPE_ARP,
    ETH_TYPE_IPV4,
    ETH_TYPE_IPV6,
    NO_VLAN,
    VLAN_PRESENT,
    Action,
    CopyToController,
    Field,
    Flow,
    PushVlan,
    SetField,
    Term,
)
from controller.pipeline import (
    GROUP_BASE,
    LEARN_METER,
    NEIGHBOUR_METER,
    PACKET_IN_BYTES,
    WHOLE_FRAME_BYTES,
    meter_of,
)
from topology.model import Network
from topology.types import Subnet

BROADCAST = (1 << 48) - 1
GROUP_BIT = 1 << 40
UNICAST: Term = (Field.ETH_DST, 0, GROUP_BIT)
MULTICAST: Term = (Field.ETH_DST, GROUP_BIT, GROUP_BIT)
TO_ALL: Term = (Field.ETH_DST, BROADCAST, None)
ARP: Term = (Field.ETH_TYPE, ETH_TYPE_ARP, None)
IPV4: Term = (Field.ETH_TYPE, ETH_TYPE_IPV4, None)
IPV6: Term = (Field.ETH_TYPE, ETH_TYPE_IPV6, None)
ARP_REQUEST, ARP_REPLY = 1, 2

PROTO_IGMP, PROTO_UDP, PROTO_ICMPV6 = 2, 17, 58
SOLICITATION, ADVERTISEMENT, ROUTER_SOLICITATION = 135, 136, 133  # RFC 4861, 4
MLD_REPORT, MLD_DONE, MLD2_REPORT = 131, 132, 143  # RFC 2710, 3; RFC 3810, 5.2
DHCP_CLIENT, DHCP_SERVER = 68, 67  # RFC 2131, 4.1

LEARNED_RESPONDER_PRIORITY = 10
RESPONDER_PRIORITY = 20

KEPT_S = 0xFFFF
"""The longest hard timeout there is, 18 hours: when nobody comes back, all of it goes."""


def icmpv6(kind: int) -> tuple[Term, ...]:
    """ICMPv6 of one type."""
    return (IPV6, (Field.IP_PROTO, PROTO_ICMPV6, None), (Field.ICMPV6_TYPE, kind, None))


DHCP_TO_SERVER: tuple[Term, ...] = (
    IPV4,
    (Field.IP_PROTO, PROTO_UDP, None),
    (Field.UDP_SRC, DHCP_CLIENT, None),
    (Field.UDP_DST, DHCP_SERVER, None),
)


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

    def kept(self, *, dropped: bool) -> Timing:
        """The same for flows towards a learned MAC, or those that answer for its IPs.

        Where the network drops what nobody knows, a controller that is away for longer than learn_s
        would cost who speaks its connectivity: there only the controller ends them.
        """
        return replace(self, learn_s=KEPT_S) if dropped else self


@dataclass(frozen=True, slots=True)
class UnitFlows:
    """What one fact puts on bridges: ``local`` on its owner's, ``remote`` on all others."""

    owner: int | None
    remote: tuple[Flow, ...]
    local: tuple[Flow, ...] = ()


def local_vlan(network: Network) -> Term:
    """How the network's frames come from br-int: on its local VLAN, or untagged."""
    if network.vlan is None:
        return NO_VLAN
    return (Field.VLAN_VID, VLAN_PRESENT | network.vlan, None)


def to_local_vlan(network: Network) -> tuple[Action, ...]:
    """Put an untagged frame on the network's local VLAN, if it has one."""
    if network.vlan is None:
        return ()
    return (PushVlan(), SetField(Field.VLAN_VID, network.vlan))


def enter(network: Network) -> SetField:
    """The VNI is set once, on the way in; all later tables match on it alone."""
    return SetField(Field.TUN_ID, network.vni)


def in_subnet(field: Field, subnet: Subnet) -> Term:
    """An address field within a subnet."""
    return (field, subnet.value, subnet.mask)


def learning_copy(vni: int, metered: bool) -> CopyToController:
    """A copy to learn a MAC from: limited by a meter, while the frame itself is not."""
    return CopyToController(PACKET_IN_BYTES, meter_of(LEARN_METER, vni) if metered else None)


def neighbour_copy(vni: int, metered: bool) -> CopyToController:
    """A copy to learn an address from: other frames of unknown sources do not use its meter up."""
    return CopyToController(PACKET_IN_BYTES, meter_of(NEIGHBOUR_METER, vni) if metered else None)


def service_copy(meter: int, vni: int, metered: bool) -> CopyToController:
    """The whole frame, for the controller to answer or to send on."""
    return CopyToController(WHOLE_FRAME_BYTES, meter_of(meter, vni) if metered else None)


def group_id(vni: int) -> int:
    """The flood group of a network."""
    return GROUP_BASE | vni
