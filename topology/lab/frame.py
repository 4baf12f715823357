"""Ethernet frames to send, honest and forged; every checksum is right.

`mac` and `ip` are the sender's. Where `eth_src` can be given it differs from the MAC inside.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from topology.lab.addressing import TunnelType
from topology.lab.dissect import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_RARP,
    ETH_TRANSPARENT,
    GENEVE_PORT,
    GRE_KEY,
    ICMPV6_MLD2_REPORT,
    ICMPV6_NA,
    ICMPV6_NS,
    ICMPV6_RA,
    ICMPV6_RS,
    IP_GRE,
    IP_HOP_BY_HOP,
    IP_ICMPV6,
    IP_IGMP,
    IP_UDP,
    ND_FLAGS,
    ND_SOURCE_LLADDR,
    ND_TARGET_LLADDR,
    VXLAN_PORT,
    Frame,
    mac_text,
    parse,
)

# What is built here is read there: one name for both.
__all__ = [
    "ETH_ARP",
    "ETH_IPV4",
    "ETH_IPV6",
    "ETH_RARP",
    "ICMPV6_MLD2_REPORT",
    "ICMPV6_NA",
    "ICMPV6_NS",
    "ICMPV6_RA",
    "ICMPV6_RS",
    "Frame",
    "mac_text",
    "parse",
]

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP_REQUEST = 1
ARP_REPLY = 2

ALL_NODES = "ff02::1"
ALL_ROUTERS = "ff02::2"
_ALL_MLD2_ROUTERS = "ff02::16"
_ALL_IGMP3_ROUTERS = "224.0.0.22"
_NO_MAC = "00:00:00:00:00:00"
_RARP_REVERSE_REQUEST = 3
_TO_EXCLUDE = 4  # record type of a group just joined, IGMPv3 and MLDv2
_ROUTER_ALERT_V4 = bytes([0x94, 4, 0, 0])
_ROUTER_ALERT_V6 = bytes([5, 2, 0, 0, 1, 0])  # and PadN


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def multicast_mac(group: str) -> str:
    """The MAC that carries an IPv4 or IPv6 multicast group."""
    raw = ip_address(group).packed
    if len(raw) == 16:
        return mac_text(b"\x33\x33" + raw[-4:])
    return mac_text(b"\x01\x00\x5e" + bytes([raw[1] & 0x7F]) + raw[2:])


def solicited_node(ip: str) -> str:
    """The multicast group in which a neighbour is asked for."""
    return str(
        IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + IPv6Address(ip).packed[-3:])
    )


# -- ARP, and frames of no protocol ---------------------------------------------------------


def plain(eth_src: str, eth_dst: str = BROADCAST) -> bytes:
    """A frame of no known protocol (IEEE 802 local experimental EtherType 2)."""
    return mac_bytes(eth_dst) + mac_bytes(eth_src) + b"\x88\xb6" + bytes(46)


def garp(mac: str, ip: str) -> bytes:
    """A gratuitous ARP request: sender and target address are `ip`."""
    return arp(ARP_REQUEST, mac, ip, _NO_MAC, ip, BROADCAST)


def arp_probe(mac: str, ip: str) -> bytes:
    """Is this address taken? Asked before using it, with no sender address (RFC 5227)."""
    return arp(ARP_REQUEST, mac, "0.0.0.0", _NO_MAC, ip, BROADCAST)


def arp(
    op: int, sha: str, spa: str, tha: str, tpa: str, eth_dst: str, eth_src: str | None = None
) -> bytes:
    """An ARP packet in an Ethernet frame from `eth_src`, or from `sha`."""
    return (
        mac_bytes(eth_dst)
        + mac_bytes(eth_src or sha)
        + struct.pack("!HHHBBH", ETH_ARP, 1, ETH_IPV4, 6, 4, op)
        + mac_bytes(sha)
        + IPv4Address(spa).packed
        + mac_bytes(tha)
        + IPv4Address(tpa).packed
    )


def rarp(mac: str) -> bytes:
    """What QEMU broadcasts when a VM has arrived: a RARP request for its own address."""
    own = mac_bytes(mac)
    head = mac_bytes(BROADCAST) + own
    head += struct.pack("!HHHBBH", ETH_RARP, 1, ETH_IPV4, 6, 4, _RARP_REVERSE_REQUEST)
    return (head + own + bytes(4) + own).ljust(60, b"\0")


# -- IP -------------------------------------------------------------------------------------


def udp(
    eth_src: str,
    ip_src: str,
    eth_dst: str,
    ip_dst: str,
    port_src: int = 40000,
    port_dst: int = 40001,
    payload: bytes = b"vxlan-l2",
) -> bytes:
    """A UDP packet over IPv4 or IPv6, from whatever source."""
    packet = struct.pack("!HHHH", port_src, port_dst, 8 + len(payload), 0) + payload
    packet = _with_checksum(ip_src, ip_dst, IP_UDP, packet, at=6)
    return _ethernet_ip(eth_src, eth_dst, ip_src, ip_dst, IP_UDP, packet)


def igmp2_report(mac: str, ip: str, group: str) -> bytes:
    """A host joins an IPv4 group (IGMPv2)."""
    packet = _igmp(struct.pack("!BBH", 0x16, 0, 0) + IPv4Address(group).packed)
    return _ethernet_ip(mac, multicast_mac(group), ip, group, IP_IGMP, packet, 1, _ROUTER_ALERT_V4)


def igmp3_report(mac: str, ip: str, group: str) -> bytes:
    """A host joins an IPv4 group (IGMPv3)."""
    record = struct.pack("!BBH", _TO_EXCLUDE, 0, 0) + IPv4Address(group).packed
    packet = _igmp(struct.pack("!BBHHH", 0x22, 0, 0, 0, 1) + record)
    to = _ALL_IGMP3_ROUTERS
    return _ethernet_ip(mac, multicast_mac(to), ip, to, IP_IGMP, packet, 1, _ROUTER_ALERT_V4)


# -- ICMPv6 ---------------------------------------------------------------------------------


def ns(
    mac: str,
    ip: str,
    target: str,
    eth_dst: str | None = None,
    *,
    sll: bool = True,
    eth_src: str | None = None,
) -> bytes:
    """A neighbour solicitation: to the target's solicited-node group, or unicast to `eth_dst`.

    sll: whether `mac` is in it as the source link-layer address; from "::" it never is (DAD).
    """
    ip_dst = solicited_node(target) if eth_dst is None else target
    options = _lladdr(ND_SOURCE_LLADDR, mac) if sll and ip != "::" else b""
    message = struct.pack("!BBHI", ICMPV6_NS, 0, 0, 0) + IPv6Address(target).packed + options
    return _icmpv6(eth_src or mac, eth_dst or multicast_mac(ip_dst), ip, ip_dst, message)


def dad(mac: str, target: str) -> bytes:
    """Is this address taken? Asked before using it (duplicate address detection)."""
    return ns(mac, "::", target)


def na(
    mac: str,
    target: str,
    eth_dst: str | None = None,
    ip_dst: str = ALL_NODES,
    *,
    flags: str | None = None,
    tll: bool = True,
    ip_src: str | None = None,
    eth_src: str | None = None,
) -> bytes:
    """A neighbour advertisement: unsolicited to all nodes, or the answer to one.

    flags: of "RSO"; None is "SO" to one, "O" to all. tll: whether `mac` is in it as the target
    link-layer address.
    """
    if flags is None:
        flags = "O" if IPv6Address(ip_dst).is_multicast else "SO"
    bits = sum(ND_FLAGS[flag] for flag in flags)
    options = _lladdr(ND_TARGET_LLADDR, mac) if tll else b""
    message = struct.pack("!BBHI", ICMPV6_NA, 0, 0, bits << 24)
    message += IPv6Address(target).packed + options
    to = eth_dst or multicast_mac(ip_dst)
    return _icmpv6(eth_src or mac, to, ip_src or target, ip_dst, message)


def rs(mac: str, ip: str) -> bytes:
    """A router solicitation, from a host's link-local address or from "::"."""
    options = b"" if ip == "::" else _lladdr(ND_SOURCE_LLADDR, mac)
    message = struct.pack("!BBHI", ICMPV6_RS, 0, 0, 0) + options
    return _icmpv6(mac, multicast_mac(ALL_ROUTERS), ip, ALL_ROUTERS, message)


def ra(mac: str, ip: str, prefix: str = "fd00::/64", lifetime_s: int = 1800) -> bytes:
    """A router advertisement to all nodes: `prefix` is on-link and good for autoconfiguration."""
    net = IPv6Network(prefix)
    message = struct.pack("!BBHBBHII", ICMPV6_RA, 0, 0, 64, 0, lifetime_s, 0, 0)
    message += _lladdr(ND_SOURCE_LLADDR, mac)
    message += struct.pack("!BBBBIII", 3, 4, net.prefixlen, 0xC0, 86400, 14400, 0)
    message += net.network_address.packed
    return _icmpv6(mac, multicast_mac(ALL_NODES), ip, ALL_NODES, message)


def mld2_report(mac: str, ip: str, group: str) -> bytes:
    """A host joins an IPv6 group (MLDv2)."""
    to = _ALL_MLD2_ROUTERS
    message = struct.pack("!BBHHH", ICMPV6_MLD2_REPORT, 0, 0, 0, 1)
    message += struct.pack("!BBH", _TO_EXCLUDE, 0, 0) + IPv6Address(group).packed
    message = _with_checksum(ip, to, IP_ICMPV6, message, at=2)
    packet = bytes([IP_ICMPV6, 0]) + _ROUTER_ALERT_V6 + message
    return _ethernet_ip(mac, multicast_mac(to), ip, to, IP_HOP_BY_HOP, packet, 1)


# -- tunnels --------------------------------------------------------------------------------


def encapsulate(
    inner: bytes, tunnel_type: TunnelType, vni: int, ip_src: str, ip_dst: str
) -> tuple[int, bytes]:
    """IP protocol and packet that carry a frame between two VTEPs."""
    if tunnel_type == "gre":
        return IP_GRE, struct.pack("!HHI", GRE_KEY, ETH_TRANSPARENT, vni) + inner
    if tunnel_type == "vxlan":
        port, head = VXLAN_PORT, struct.pack("!II", 0x08000000, vni << 8)
    else:
        port, head = GENEVE_PORT, struct.pack("!HHI", 0, ETH_TRANSPARENT, vni << 8)
    packet = struct.pack("!HHHH", 40000, port, 8 + len(head + inner), 0) + head + inner
    return IP_UDP, _with_checksum(ip_src, ip_dst, IP_UDP, packet, at=6)


def in_tunnel(
    inner: bytes,
    tunnel_type: TunnelType,
    vni: int,
    eth_src: str,
    ip_src: str,
    eth_dst: str,
    ip_dst: str,
) -> bytes:
    """A frame as the VTEP `ip_src` would send it to the VTEP `ip_dst` on the underlay."""
    proto, packet = encapsulate(inner, tunnel_type, vni, ip_src, ip_dst)
    return _ethernet_ip(eth_src, eth_dst, ip_src, ip_dst, proto, packet)


# -- parts ----------------------------------------------------------------------------------


def _ethernet_ip(
    eth_src: str,
    eth_dst: str,
    ip_src: str,
    ip_dst: str,
    proto: int,
    packet: bytes,
    hops: int = 64,
    options_v4: bytes = b"",
) -> bytes:
    src, dst = ip_address(ip_src).packed, ip_address(ip_dst).packed
    if len(src) == 16:
        eth_type = ETH_IPV6
        head = struct.pack("!IHBB", 6 << 28, len(packet), proto, hops) + src + dst
    else:
        eth_type = ETH_IPV4
        size = 20 + len(options_v4)
        head = struct.pack(
            "!BBHHHBBH", 0x40 | size // 4, 0, size + len(packet), 0, 0, hops, proto, 0
        )
        head += src + dst + options_v4
        head = head[:10] + _checksum(head) + head[12:]
    return mac_bytes(eth_dst) + mac_bytes(eth_src) + struct.pack("!H", eth_type) + head + packet


def _icmpv6(eth_src: str, eth_dst: str, ip_src: str, ip_dst: str, message: bytes) -> bytes:
    message = _with_checksum(ip_src, ip_dst, IP_ICMPV6, message, at=2)
    return _ethernet_ip(eth_src, eth_dst, ip_src, ip_dst, IP_ICMPV6, message, 255)


def _igmp(message: bytes) -> bytes:
    return message[:2] + _checksum(message) + message[4:]


def _lladdr(kind: int, mac: str) -> bytes:
    return bytes([kind, 1]) + mac_bytes(mac)


def _with_checksum(ip_src: str, ip_dst: str, proto: int, packet: bytes, at: int) -> bytes:
    """The packet with its checksum, over IP's pseudo header too, filled in."""
    pseudo = ip_address(ip_src).packed + ip_address(ip_dst).packed
    pseudo += struct.pack("!II", len(packet), proto)
    found = _checksum(pseudo + packet)
    if proto == IP_UDP and found == b"\0\0":
        found = b"\xff\xff"  # zero would mean none
    return packet[:at] + found + packet[at + 2 :]


def _checksum(data: bytes) -> bytes:
    """The internet checksum (RFC 1071) of data whose checksum field is zero."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~total & 0xFFFF)
