"""Ethernet frames, read with struct: what learning and probing need, and never more than is there.

Packet-ins carry only the first bytes of a frame. A frame that is cut short or odd is not an error:
what could be read is used, the rest is absent.
"""

from __future__ import annotations

from struct import Struct, unpack
from typing import NamedTuple

from controller.flow import ETH_TYPE_ARP, ETH_TYPE_IPV6
from controller.terms import ADVERTISEMENT, PROTO_ICMPV6, SOLICITATION

_ARP = Struct("!HHBBH6sI6sI")
ARP_BYTES = _ARP.size
ETH_TYPE_RARP = 0x8035
_IPV6_BYTES, _ND_BYTES = 40, 24
_SOURCE_OPTION, _TARGET_OPTION = 1, 2
_SOLICITED, _OVERRIDE = 1 << 30, 1 << 29
_ALL_NODES, _ALL_NODES_MAC = 0xFF02 << 112 | 1, 0x333300000001
_VLAN_TYPES = (0x8100, 0x88A8)


class Arp(NamedTuple):
    """An Ethernet/IPv4 ARP packet (RFC 826)."""

    op: int
    sender_mac: int
    sender_ip: int
    target_mac: int
    target_ip: int


class Nd(NamedTuple):
    """A neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4)."""

    kind: int
    source: int  # IPv6 addresses, 0 for ::
    destination: int
    target: int
    link_layer: int  # of the source or target option, 0 without one
    solicited: bool = False


class Frame(NamedTuple):
    eth_dst: int
    eth_src: int
    eth_type: int
    payload: bytes
    arp: Arp | None
    nd: Nd | None = None

    @property
    def announces(self) -> bool:
        """Whether the sender says where it is now: gratuitous ARP, RARP or an unsolicited NA."""
        if self.eth_type == ETH_TYPE_RARP:
            return True
        if self.arp is not None:
            return self.arp.sender_ip == self.arp.target_ip
        return self.nd is not None and self.nd.kind == ADVERTISEMENT and not self.nd.solicited


def parse(data: bytes) -> Frame | None:
    """Read a frame; None when it has not even an Ethernet header."""
    if len(data) < 14:
        return None
    at = 12
    eth_type = data[12] << 8 | data[13]
    while eth_type in _VLAN_TYPES and len(data) >= at + 6:
        at += 4
        eth_type = data[at] << 8 | data[at + 1]
    payload = data[at + 2 :]
    return Frame(
        int.from_bytes(data[0:6], "big"),
        int.from_bytes(data[6:12], "big"),
        eth_type,
        payload,
        _arp(payload) if eth_type == ETH_TYPE_ARP else None,
        _nd(payload) if eth_type == ETH_TYPE_IPV6 else None,
    )


def vlan_of(data: bytes) -> int:
    """The VLAN id of the outer 802.1Q tag, 0 without one."""
    if data[12:14] != b"\x81\x00" or len(data) < 16:
        return 0
    return (data[14] << 8 | data[15]) & 0xFFF


def untagged(data: bytes) -> bytes:
    """The frame without its outer 802.1Q tag, if it has one."""
    return data[:12] + data[16:] if data[12:14] == b"\x81\x00" else data


def _arp(payload: bytes) -> Arp | None:
    if len(payload) < ARP_BYTES:
        return None
    hardware, protocol, hlen, plen, op, sha, spa, tha, tpa = _ARP.unpack_from(payload)
    if (hardware, protocol, hlen, plen) != (1, 0x0800, 6, 4):
        return None
    return Arp(op, int.from_bytes(sha, "big"), spa, int.from_bytes(tha, "big"), tpa)


def _nd(payload: bytes) -> Nd | None:
    """ND is never behind extension headers that a correct node would send (RFC 6980)."""
    if len(payload) < _IPV6_BYTES + _ND_BYTES or payload[0] >> 4 != 6:
        return None
    message = payload[_IPV6_BYTES:]
    kind = message[0]
    if payload[6] != PROTO_ICMPV6 or payload[7] != 255 or kind not in (SOLICITATION, ADVERTISEMENT):
        return None
    wanted = _SOURCE_OPTION if kind == SOLICITATION else _TARGET_OPTION
    return Nd(
        kind,
        int.from_bytes(payload[8:24], "big"),
        int.from_bytes(payload[24:40], "big"),
        int.from_bytes(message[8:24], "big"),
        _link_layer(message[_ND_BYTES:], wanted),
        kind == ADVERTISEMENT and bool(int.from_bytes(message[4:8], "big") & _SOLICITED),
    )


def _link_layer(options: bytes, wanted: int) -> int:
    at = 0
    while at + 8 <= len(options) and options[at + 1]:
        if options[at] == wanted:
            return int.from_bytes(options[at + 2 : at + 8], "big")
        at += options[at + 1] * 8
    return 0


def advertisement(mac: int, target: int, asked: Nd, asker_mac: int) -> bytes:
    """The answer to a solicitation, as the owner of the target would send it (RFC 4861, 7.2.4).

    Who asks without an address yet (DAD) is answered by multicast to all nodes, unsolicited.
    """
    to_all = asked.source == 0
    destination = _ALL_NODES if to_all else asked.source
    eth_dst = _ALL_NODES_MAC if to_all else asker_mac
    flags = _OVERRIDE if to_all else _SOLICITED | _OVERRIDE
    body = (
        flags.to_bytes(4, "big")
        + target.to_bytes(16, "big")
        + bytes((_TARGET_OPTION, 1))
        + mac.to_bytes(6, "big")
    )
    addresses = target.to_bytes(16, "big") + destination.to_bytes(16, "big")
    unsummed = bytes((ADVERTISEMENT, 0, 0, 0)) + body
    pseudo = addresses + len(unsummed).to_bytes(4, "big") + bytes((0, 0, 0, PROTO_ICMPV6))
    summed = bytes((ADVERTISEMENT, 0)) + checksum(pseudo + unsummed).to_bytes(2, "big") + body
    header = b"\x60\0\0\0" + len(summed).to_bytes(2, "big") + bytes((PROTO_ICMPV6, 255)) + addresses
    ethernet = eth_dst.to_bytes(6, "big") + mac.to_bytes(6, "big")
    return ethernet + ETH_TYPE_IPV6.to_bytes(2, "big") + header + summed


def arp_bytes(arp: Arp) -> bytes:
    """An ARP packet, without its Ethernet header."""
    sha, tha = arp.sender_mac.to_bytes(6, "big"), arp.target_mac.to_bytes(6, "big")
    return _ARP.pack(1, 0x0800, 6, 4, arp.op, sha, arp.sender_ip, tha, arp.target_ip)


def solicited_node(target: int) -> tuple[int, int]:
    """The IPv6 group that an address's owner hears solicitations on, and its MAC (RFC 4291, 2.7.1;
    RFC 2464, 7).
    """
    low24 = target & 0xFFFFFF
    return 0xFF02_0000_0000_0000_0000_0001_FF00_0000 | low24, 0x3333FF000000 | low24


def arp_answer(mac: int, asked: Arp, asker_mac: int) -> bytes:
    """The answer to a who-has, as the owner of the address would send it (RFC 826)."""
    packed = arp_bytes(Arp(2, mac, asked.target_ip, asked.sender_mac, asked.sender_ip))
    ethernet = asker_mac.to_bytes(6, "big") + mac.to_bytes(6, "big")
    return (ethernet + ETH_TYPE_ARP.to_bytes(2, "big") + packed).ljust(60, b"\0")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); zero over data that holds its own right checksum."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
