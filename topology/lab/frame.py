"""Ethernet frames as the lab needs them: what a captured one says, and a few to send."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

BROADCAST = "ff:ff:ff:ff:ff:ff"
ETH_ARP = 0x0806
ETH_IPV4 = 0x0800
ETH_IPV6 = 0x86DD
ARP_REQUEST = 1
ARP_REPLY = 2

_ETH_VLAN = 0x8100
_UDP = 17
_VXLAN_PORT = 4789


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; for VXLAN the inner one, with outer_src, outer_dst and vni set.

    time_s: seconds since the epoch; port: where it came in (a host's name on the underlay);
    MACs aa:bb:cc:dd:ee:ff, addresses as text, eth_type after any VLAN tag; data: the frame from
    its Ethernet header on, as far as captured; length_bytes: on the wire, outer headers included.
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

    @property
    def is_vxlan(self) -> bool:
        return self.vni is not None

    @property
    def is_multicast(self) -> bool:
        """Broadcast or multicast destination."""
        return bool(int(self.eth_dst[:2], 16) & 1)


def mac_text(raw: bytes) -> str:
    return raw.hex(":")


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def garp(mac: str, ip: str) -> bytes:
    """A gratuitous ARP request: sender and target address are `ip`."""
    return arp(ARP_REQUEST, mac, ip, "00:00:00:00:00:00", ip, BROADCAST)


def plain(eth_src: str, eth_dst: str = BROADCAST) -> bytes:
    """A frame of no known protocol (IEEE 802 local experimental EtherType 2)."""
    return mac_bytes(eth_dst) + mac_bytes(eth_src) + b"\x88\xb6" + bytes(46)


def arp_probe(mac: str, ip: str) -> bytes:
    """Is this address taken? Asked before using it, with no sender address (RFC 5227)."""
    return arp(ARP_REQUEST, mac, "0.0.0.0", "00:00:00:00:00:00", ip, BROADCAST)


def arp(op: int, sha: str, spa: str, tha: str, tpa: str, eth_dst: str) -> bytes:
    """An ARP packet in an Ethernet frame from `sha`."""
    return (
        mac_bytes(eth_dst)
        + mac_bytes(sha)
        + struct.pack("!HHHBBH", ETH_ARP, 1, ETH_IPV4, 6, 4, op)
        + mac_bytes(sha)
        + IPv4Address(spa).packed
        + mac_bytes(tha)
        + IPv4Address(tpa).packed
    )


def parse(data: bytes, time_s: float, port: str, length_bytes: int) -> Frame | None:
    """Read an Ethernet frame, and the one inside if it is VXLAN; None if it is cut too short."""
    outer = _ethernet(data, time_s, port, length_bytes, None, None, None)
    if outer is None or outer.ip_proto != _UDP or outer.eth_type != ETH_IPV4:
        return outer
    udp = _after_ipv4(data)
    if len(data) < udp + 16 or struct.unpack_from("!H", data, udp + 2)[0] != _VXLAN_PORT:
        return outer
    vni = int.from_bytes(data[udp + 12 : udp + 15], "big")
    inner = data[udp + 16 :]
    return _ethernet(inner, time_s, port, length_bytes, outer.ip_src, outer.ip_dst, vni) or outer


def _after_ipv4(data: bytes) -> int:
    start = _payload_offset(data)
    return start + (data[start] & 0x0F) * 4


def _payload_offset(data: bytes) -> int:
    return 18 if data[12:14] == b"\x81\x00" else 14


def _ethernet(
    data: bytes,
    time_s: float,
    port: str,
    length_bytes: int,
    outer_src: str | None,
    outer_dst: str | None,
    vni: int | None,
) -> Frame | None:
    if len(data) < 18:
        return None
    vlan: int | None = None
    (eth_type,) = struct.unpack_from("!H", data, 12)
    if eth_type == _ETH_VLAN:
        tci, eth_type = struct.unpack_from("!HH", data, 14)
        vlan = tci & 0xFFF
    body = data[_payload_offset(data) :]
    arp_op, arp_spa, arp_tpa = _arp(eth_type, body)
    ip_src, ip_dst, ip_proto = _ip(eth_type, body)
    return Frame(
        time_s=time_s,
        port=port,
        eth_src=mac_text(data[6:12]),
        eth_dst=mac_text(data[:6]),
        eth_type=eth_type,
        data=data,
        length_bytes=length_bytes,
        outer_src=outer_src,
        outer_dst=outer_dst,
        vni=vni,
        vlan=vlan,
        arp_op=arp_op,
        arp_spa=arp_spa,
        arp_tpa=arp_tpa,
        ip_src=ip_src,
        ip_dst=ip_dst,
        ip_proto=ip_proto,
    )


def _arp(eth_type: int, body: bytes) -> tuple[int | None, str | None, str | None]:
    if eth_type != ETH_ARP or len(body) < 28:
        return None, None, None
    (op,) = struct.unpack_from("!H", body, 6)
    return op, str(IPv4Address(body[14:18])), str(IPv4Address(body[24:28]))


def _ip(eth_type: int, body: bytes) -> tuple[str | None, str | None, int | None]:
    if eth_type == ETH_IPV4 and len(body) >= 20:
        return str(IPv4Address(body[12:16])), str(IPv4Address(body[16:20])), body[9]
    if eth_type == ETH_IPV6 and len(body) >= 40:
        return str(IPv6Address(body[8:24])), str(IPv6Address(body[24:40])), body[6]
    return None, None, None
