"""Ethernet frames, read with struct: what learning and probing need, and never more than is there.

Packet-ins carry only the first bytes of a frame. A frame that is cut short or odd is not an error:
what could be read is used, the rest is absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from controller.flow import ETH_TYPE_ARP

_ARP = Struct("!HHBBH6sI6sI")
ARP_BYTES = _ARP.size
_VLAN_TYPES = (0x8100, 0x88A8)


@dataclass(frozen=True, slots=True)
class Arp:
    """An Ethernet/IPv4 ARP packet (RFC 826)."""

    op: int
    sender_mac: int
    sender_ip: int
    target_mac: int
    target_ip: int


@dataclass(frozen=True, slots=True)
class Frame:
    eth_dst: int
    eth_src: int
    eth_type: int
    payload: bytes
    arp: Arp | None


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
    )


def _arp(payload: bytes) -> Arp | None:
    if len(payload) < ARP_BYTES:
        return None
    hardware, protocol, hlen, plen, op, sha, spa, tha, tpa = _ARP.unpack_from(payload)
    if (hardware, protocol, hlen, plen) != (1, 0x0800, 6, 4):
        return None
    return Arp(op, int.from_bytes(sha, "big"), spa, int.from_bytes(tha, "big"), tpa)
