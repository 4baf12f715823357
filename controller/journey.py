"""What becomes of a packet, as values that people and programs read: the simulator's answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.flow import (
    ETH_TYPE_ARP,
    ETH_TYPE_IPV4,
    ETH_TYPE_IPV6,
    Flow,
    ofctl_actions,
    ofctl_match,
)
from controller.frames import Arp, Nd
from controller.pipeline import WHY, Kind, Table, cookie_kind
from topology.errors import VxlanError
from topology.types import Dpid, Ip, Location


class SimulationError(VxlanError):
    """The flows do not say what becomes of the packet."""

    title = "Ambiguous or looping flows"


class Ambiguous(SimulationError):
    """Two flows of one priority match: which one counts is not defined (OpenFlow 1.3.5, 5.3)."""


class Loop(SimulationError):
    """The packet came back to a host that it left through a tunnel."""


@dataclass(frozen=True, slots=True)
class IpHeader:
    """An IP packet's addresses and protocol; ports are UDP's, icmp_type is ICMPv6's."""

    src: Ip
    dst: Ip
    proto: int = 1
    sport: int = 0
    dport: int = 0
    icmp_type: int = 0


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame as br-int and br-tun exchange it; vlan None is untagged."""

    eth_src: int
    eth_dst: int
    vlan: int | None = None
    eth_type: int = ETH_TYPE_IPV4
    arp: Arp | None = None
    payload: bytes = b""
    nd: Nd | None = None
    ip: IpHeader | None = None

    @classmethod
    def soliciting(cls, nd: Nd, eth_src: int, eth_dst: int, vlan: int | None = None) -> Packet:
        """A neighbour solicitation or advertisement."""
        return cls(eth_src, eth_dst, vlan, ETH_TYPE_IPV6, nd=nd)

    @classmethod
    def routed(cls, ip: IpHeader, eth_src: int, eth_dst: int, vlan: int | None = None) -> Packet:
        """An IPv4 or IPv6 packet."""
        eth_type = ETH_TYPE_IPV4 if ip.src.is_v4 else ETH_TYPE_IPV6
        return cls(eth_src, eth_dst, vlan, eth_type, ip=ip)

    @classmethod
    def carrying(cls, arp: Arp, eth_dst: int, vlan: int | None = None) -> Packet:
        """An ARP packet from its sender."""
        return cls(arp.sender_mac, eth_dst, vlan, ETH_TYPE_ARP, arp)


@dataclass(frozen=True, slots=True)
class Hop:
    """A table that the packet passed; without a flow, nothing matched there."""

    dpid: Dpid
    table: Table
    flow: Flow | None
    cookie: int | None

    @property
    def why(self) -> str:
        """What the flow is for, in words."""
        kind = None if self.cookie is None else cookie_kind(self.cookie)
        if kind is None:
            return "no flow matches" if self.flow is None else "not one of this controller's flows"
        return WHY[kind]

    def __str__(self) -> str:
        where = f"host {self.dpid} table {self.table.value} {self.table.name}"
        if self.flow is None:
            return f"{where}: {self.why}"
        return (
            f"{where}: {self.why}"
            f" [{ofctl_match(self.flow.match) or '*'} -> {ofctl_actions(self.flow)}]"
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """The packet reached br-int of a host; ``answered``: it went back where it came from."""

    dpid: Dpid
    packet: Packet
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Punt:
    """A copy went to the controller, with the pipeline fields as they were then."""

    dpid: Dpid
    cookie: int
    in_port: int
    tun_id: int
    tun_src: int
    tun_dst: int
    packet: Packet
    max_len_bytes: int

    @property
    def kind(self) -> Kind | None:
        return cookie_kind(self.cookie)


@dataclass(frozen=True, slots=True)
class UnderlayCopy:
    """A copy crossed the underlay; ``to`` is None when nobody is at its outer destination."""

    sender: Dpid
    to: Location | None
    port: int
    vni: int
    packet: Packet


@dataclass(slots=True, repr=False)
class Journey:
    """All that became of one packet, in the order in which it happened."""

    hops: list[Hop] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    punts: list[Punt] = field(default_factory=list)
    copies: list[UnderlayCopy] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def reached(self) -> list[Dpid]:
        """The hosts whose br-int got a copy, once for each copy, sorted."""
        return sorted(delivery.dpid for delivery in self.deliveries)

    @property
    def kinds(self) -> list[Kind | None]:
        """What the flows on the way are for."""
        return [None if hop.cookie is None else cookie_kind(hop.cookie) for hop in self.hops]

    def __str__(self) -> str:
        lines = [str(hop) for hop in self.hops]
        lines += [f"delivered at host {delivery.dpid}" for delivery in self.deliveries]
        lines += [f"copied to the controller by host {punt.dpid}" for punt in self.punts]
        lines += [f"lost: {reason}" for reason in self.lost]
        return "\n".join(lines)

    __repr__ = __str__
