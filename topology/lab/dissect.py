"""What a captured Ethernet frame says, the one inside a tunnel packet included."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

ETH_ARP = 0x0806
ETH_RARP = 0x8035
ETH_IPV4 = 0x0800
ETH_IPV6 = 0x86DD
ETH_TRANSPARENT = 0x6558  # an Ethernet frame, in GRE and Geneve

IP_HOP_BY_HOP = 0
IP_IGMP = 2
IP_UDP = 17
IP_GRE = 47
IP_ICMPV6 = 58

VXLAN_PORT = 4789
GENEVE_PORT = 6081

ICMPV6_RS, ICMPV6_RA, ICMPV6_NS, ICMPV6_NA, ICMPV6_MLD2_REPORT = 133, 134, 135, 136, 143
ND_SOURCE_LLADDR, ND_TARGET_LLADDR = 1, 2
#: bits of a neighbour advertisement's first flag byte
ND_FLAGS = {"R": 0x80, "S": 0x40, "O": 0x20}

GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE = 0x8000, 0x2000, 0x1000

_ETH_VLAN = 0x8100
#: where the options begin in each kind of neighbour discovery message
_ND_OPTIONS_AT = {ICMPV6_RS: 8, ICMPV6_RA: 16, ICMPV6_NS: 24, ICMPV6_NA: 24}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; in a tunnel the inner one, with encap, outer_src, outer_dst and vni set.

    time_s: seconds since the epoch; port: where it came in (a host's name on the underlay);
    MACs aa:bb:cc:dd:ee:ff, addresses as text, eth_type after any VLAN tag; data: the frame from
    its Ethernet header on, as far as captured; length_bytes: on the wire, outer headers included.
    encap: "vxlan", "gre" or "geneve"; vni: GRE's key there, 0 without one. ip_proto: what follows
    any IPv6 hop-by-hop header. nd_sll, nd_tll: source and target link-layer address options;
    nd_flags: those of "RSO" that a neighbour advertisement has set.
    """

    time_s: float
    port: str
    eth_src: str
    eth_dst: str
    eth_type: int
    data: bytes
    length_bytes: int
    outer_src: str | None = None
    outer_dst: str | None = None
    vni: int | None = None
    vlan: int | None = None
    arp_op: int | None = None
    arp_spa: str | None = None
    arp_tpa: str | None = None
    ip_src: str | None = None
    ip_dst: str | None = None
    ip_proto: int | None = None
    encap: str | None = None
    udp_src: int | None = None
    udp_dst: int | None = None
    icmpv6_type: int | None = None
    nd_target: str | None = None
    nd_sll: str | None = None
    nd_tll: str | None = None
    nd_flags: str | None = None

    @property
    def is_tunnelled(self) -> bool:
        return self.encap is not None

    @property
    def is_vxlan(self) -> bool:
        return self.encap == "vxlan"

    @property
    def is_multicast(self) -> bool:
        """Broadcast or multicast destination."""
        return bool(int(self.eth_dst[:2], 16) & 1)


def mac_text(raw: bytes) -> str:
    return raw.hex(":")


def parse(data: bytes, time_s: float, port: str, length_bytes: int) -> Frame | None:
    """Read an Ethernet frame, and the one inside a tunnel packet; None if it is cut too short."""
    outer = _ethernet(data, time_s, port, length_bytes)
    if outer is None or outer.eth_type != ETH_IPV4:
        return outer
    start = _payload_offset(data)
    start += (data[start] & 0x0F) * 4
    found = _tunnel(outer, data[start:])
    if found is None:
        return outer
    encap, vni, header_bytes = found
    inner = _ethernet(data[start + header_bytes :], time_s, port, length_bytes)
    if inner is None:
        return outer
    return replace(inner, encap=encap, outer_src=outer.ip_src, outer_dst=outer.ip_dst, vni=vni)


def _tunnel(outer: Frame, packet: bytes) -> tuple[str, int, int] | None:
    """Kind, VNI and length of all headers between the outer IP header and the inner frame."""
    if outer.ip_proto == IP_UDP and outer.udp_dst == VXLAN_PORT and len(packet) >= 16:
        return "vxlan", int.from_bytes(packet[12:15], "big"), 16
    if outer.ip_proto == IP_UDP and outer.udp_dst == GENEVE_PORT and len(packet) >= 16:
        if int.from_bytes(packet[10:12], "big") == ETH_TRANSPARENT:
            options_bytes = (packet[8] & 0x3F) * 4
            return "geneve", int.from_bytes(packet[12:15], "big"), 16 + options_bytes
    elif outer.ip_proto == IP_GRE and len(packet) >= 4:
        flags, protocol = struct.unpack_from("!HH", packet)
        if protocol == ETH_TRANSPARENT:
            key_at = 8 if flags & GRE_CHECKSUM else 4
            end = key_at + 4 * bool(flags & GRE_KEY) + 4 * bool(flags & GRE_SEQUENCE)
            key = int.from_bytes(packet[key_at : key_at + 4], "big") if flags & GRE_KEY else 0
            return "gre", key, end
    return None


def _payload_offset(data: bytes) -> int:
    return 18 if data[12:14] == b"\x81\x00" else 14


def _ethernet(data: bytes, time_s: float, port: str, length_bytes: int) -> Frame | None:
    if len(data) < 18:
        return None
    vlan: int | None = None
    (eth_type,) = struct.unpack_from("!H", data, 12)
    if eth_type == _ETH_VLAN:
        tci, eth_type = struct.unpack_from("!HH", data, 14)
        vlan = tci & 0xFFF
    read = _READERS.get(eth_type)
    more = {} if read is None else read(data[_payload_offset(data) :])
    return Frame(
        time_s=time_s,
        port=port,
        eth_src=mac_text(data[6:12]),
        eth_dst=mac_text(data[:6]),
        eth_type=eth_type,
        data=data,
        length_bytes=length_bytes,
        vlan=vlan,
        **more,
    )


def _arp(body: bytes) -> Mapping[str, Any]:
    if len(body) < 28:
        return {}
    return {
        "arp_op": int.from_bytes(body[6:8], "big"),
        "arp_spa": str(IPv4Address(body[14:18])),
        "arp_tpa": str(IPv4Address(body[24:28])),
    }


def _ipv4(body: bytes) -> Mapping[str, Any]:
    if len(body) < 20:
        return {}
    return {
        "ip_src": str(IPv4Address(body[12:16])),
        "ip_dst": str(IPv4Address(body[16:20])),
        "ip_proto": body[9],
        **_transport(body[9], body[(body[0] & 0x0F) * 4 :]),
    }


def _ipv6(body: bytes) -> Mapping[str, Any]:
    if len(body) < 40:
        return {}
    proto, start = body[6], 40
    if proto == IP_HOP_BY_HOP and len(body) >= 48:
        proto, start = body[40], 48 + body[41] * 8
    return {
        "ip_src": str(IPv6Address(body[8:24])),
        "ip_dst": str(IPv6Address(body[24:40])),
        "ip_proto": proto,
        **_transport(proto, body[start:]),
    }


def _transport(proto: int, packet: bytes) -> Mapping[str, Any]:
    if proto == IP_UDP and len(packet) >= 4:
        src, dst = struct.unpack_from("!HH", packet)
        return {"udp_src": src, "udp_dst": dst}
    if proto == IP_ICMPV6 and packet:
        return {"icmpv6_type": packet[0], **_nd(packet[0], packet)}
    return {}


def _nd(kind: int, packet: bytes) -> Mapping[str, Any]:
    """Target, flags and link-layer addresses of a neighbour discovery message."""
    at = _ND_OPTIONS_AT.get(kind)
    if at is None or len(packet) < at:
        return {}
    found: dict[str, Any] = {}
    if kind in (ICMPV6_NS, ICMPV6_NA):
        found["nd_target"] = str(IPv6Address(packet[8:24]))
    if kind == ICMPV6_NA:
        found["nd_flags"] = "".join(name for name, bit in ND_FLAGS.items() if packet[4] & bit)
    while at + 8 <= len(packet) and packet[at + 1]:
        name = {ND_SOURCE_LLADDR: "nd_sll", ND_TARGET_LLADDR: "nd_tll"}.get(packet[at])
        if name is not None:
            found[name] = mac_text(packet[at + 2 : at + 8])
        at += packet[at + 1] * 8
    return found


_READERS = {ETH_ARP: _arp, ETH_IPV4: _ipv4, ETH_IPV6: _ipv6}
