"""Packets as the bytes of frames, and back: what a question is about, and what a probe carries."""

from __future__ import annotations

from dataclasses import replace
from struct import pack, unpack_from

from controller import frames
from controller.flow import ETH_TYPE_IPV4, ETH_TYPE_IPV6
from controller.frames import Nd, checksum
from controller.journey import IpHeader, Packet
from controller.terms import ADVERTISEMENT, PROTO_ICMPV6, PROTO_UDP, SOLICITATION
from topology.types import Ip

_SOLICITED, _OVERRIDE = 1 << 30, 1 << 29
_MIN_BYTES = 60
_HEADER_BYTES = 14
_ICMP, _ECHO_REPLY6 = 1, 129  # RFC 792; RFC 4443, 4.2
_EXPERIMENT = 0x88B6  # IEEE 802 local experimental EtherType 2
FRAME_MAX_BYTES = 9216


class Unreadable(ValueError):
    """Bytes that are no frame."""


def to_bytes(packet: Packet) -> bytes:
    """The frame, tag and all, padded as Ethernet wants it."""
    head = packet.eth_dst.to_bytes(6, "big") + packet.eth_src.to_bytes(6, "big")
    if packet.vlan is not None:
        head += b"\x81\x00" + packet.vlan.to_bytes(2, "big")
    body = packet.payload
    if packet.arp is not None:
        body = frames.arp_bytes(packet.arp)
    elif packet.nd is not None:
        body = _nd_bytes(packet.nd)
    elif packet.ip is not None:
        body = _ip_bytes(packet.ip, packet.payload)
    return (head + packet.eth_type.to_bytes(2, "big") + body).ljust(_MIN_BYTES, b"\0")


def from_bytes(data: bytes) -> Packet:
    """A frame as a packet, as far as flows can match on it; Unreadable if it is none."""
    frame = frames.parse(data)
    if frame is None:
        raise Unreadable(f"{len(data)} bytes are no Ethernet frame: its header has {_HEADER_BYTES}")
    vlan = None
    if data[12:14] == b"\x81\x00" and len(data) >= 16:
        vlan = int.from_bytes(data[14:16], "big") & 0xFFF
    ip = None
    if frame.eth_type == ETH_TYPE_IPV4:
        ip = _read_ipv4(frame.payload)
    elif frame.eth_type == ETH_TYPE_IPV6 and frame.nd is None:
        ip = _read_ipv6(frame.payload)
    return Packet(
        frame.eth_src, frame.eth_dst, vlan, frame.eth_type, frame.arp, frame.payload, frame.nd, ip
    )


def harmless(packet: Packet) -> Packet:
    """The packet as its receiver ignores it: an echo reply that nobody asked for (RFC 792)."""
    if packet.ip is None:
        return replace(packet, eth_type=_EXPERIMENT, payload=b"")
    if packet.ip.src.is_v4:
        return replace(packet, ip=replace(packet.ip, proto=_ICMP), payload=_summed(bytes(8), 2))
    return replace(packet, ip=replace(packet.ip, proto=PROTO_ICMPV6, icmp_type=_ECHO_REPLY6))


def _nd_bytes(nd: Nd) -> bytes:
    flags = (_SOLICITED if nd.solicited else 0) | (_OVERRIDE if nd.kind == ADVERTISEMENT else 0)
    option = b""
    if nd.link_layer:
        option = bytes((1 if nd.kind == SOLICITATION else 2, 1)) + nd.link_layer.to_bytes(6, "big")
    body = pack("!I", flags) + nd.target.to_bytes(16, "big") + option
    return _ipv6(nd.source, nd.destination, PROTO_ICMPV6, 255, _icmpv6(nd.kind, body))


def _icmpv6(kind: int, body: bytes) -> bytes:
    return bytes((kind, 0, 0, 0)) + body


def _ipv6(src: int, dst: int, proto: int, hops: int, message: bytes) -> bytes:
    addresses = src.to_bytes(16, "big") + dst.to_bytes(16, "big")
    if proto in (PROTO_ICMPV6, PROTO_UDP):
        pseudo = addresses + pack("!II", len(message), proto)
        message = _summed(message, 2 if proto == PROTO_ICMPV6 else 6, pseudo)
    return b"\x60\0\0\0" + pack("!HBB", len(message), proto, hops) + addresses + message


def _ip_bytes(ip: IpHeader, payload: bytes) -> bytes:
    message = payload
    if ip.proto == PROTO_UDP:
        message = pack("!HHHH", ip.sport, ip.dport, 8 + len(payload), 0) + payload
    elif ip.proto == PROTO_ICMPV6:
        message = _icmpv6(ip.icmp_type, payload or bytes(4))
    if not ip.src.is_v4:
        hops = 255 if ip.proto == PROTO_ICMPV6 else 64
        return _ipv6(int(ip.src), int(ip.dst), ip.proto, hops, message)
    head = pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 1, 0, 64, ip.proto, 0)
    head += pack("!II", ip.src.low32, ip.dst.low32)
    return _summed(head, 10) + message


def _summed(data: bytes, at: int, pseudo: bytes = b"") -> bytes:
    """The data with its Internet checksum (RFC 1071) put in at this place, where it has zeros."""
    return data[:at] + checksum(pseudo + data).to_bytes(2, "big") + data[at + 2 :]


def _read_ipv4(data: bytes) -> IpHeader | None:
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    src, dst = (Ip.v4(value) for value in unpack_from("!II", data, 12))
    return _with_ports(IpHeader(src, dst, data[9]), data[(data[0] & 0xF) * 4 :])


def _read_ipv6(data: bytes) -> IpHeader | None:
    if len(data) < 40 or data[0] >> 4 != 6:
        return None
    src, dst = (Ip(int.from_bytes(data[at : at + 16], "big")) for at in (8, 24))
    proto, message = data[6], data[40:]
    if proto == PROTO_ICMPV6 and message:
        return IpHeader(src, dst, proto, icmp_type=message[0])
    return _with_ports(IpHeader(src, dst, proto), message)


def _with_ports(ip: IpHeader, message: bytes) -> IpHeader:
    if ip.proto != PROTO_UDP or len(message) < 4:
        return ip
    return IpHeader(ip.src, ip.dst, ip.proto, *unpack_from("!HH", message))
