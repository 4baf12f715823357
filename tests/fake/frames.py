"""Frames back to packets of the simulator, strictly: what is wrong with one fails the test."""

from __future__ import annotations

from struct import pack, unpack_from

from controller import frames
from controller.craft import to_bytes
from controller.flow import ETH_TYPE_ARP, ETH_TYPE_IPV4, ETH_TYPE_IPV6, Field
from controller.journey import IpHeader, Packet, Punt
from controller.wire import encode
from controller.wire.encode import encode_match
from topology.types import Ip

_UDP, _ICMPV6 = 17, 58


def from_bytes(data: bytes) -> Packet:
    """An untagged frame as a packet; what is read of it must be sound, checksums included."""
    frame = frames.parse(data)
    assert frame is not None
    ip, payload = None, frame.payload
    if frame.eth_type == ETH_TYPE_IPV4:
        ip, payload = _read_ipv4(frame.payload)
    elif frame.eth_type == ETH_TYPE_IPV6:
        ip, payload = _read_ipv6(frame.payload)
    return Packet(
        frame.eth_src,
        frame.eth_dst,
        None,
        frame.eth_type,
        frame.arp if frame.eth_type == ETH_TYPE_ARP else None,
        payload,
        frame.nd,
        None if frame.nd is not None else ip,
    )


def _read_ipv4(data: bytes) -> tuple[IpHeader | None, bytes]:
    if len(data) < 20 or data[0] >> 4 != 4:
        return None, data
    head = (data[0] & 0xF) * 4
    size, proto = unpack_from("!H", data, 2)[0], data[9]
    assert 20 <= head <= size <= len(data), "an IPv4 packet that is cut short"
    assert checksum(data[:head]) == b"\0\0", "IPv4 header checksum"
    src, dst = (Ip.v4(value) for value in unpack_from("!II", data, 12))
    pseudo = data[12:20] + pack("!HH", proto, size - head)
    return _read_udp(IpHeader(src, dst, proto), data[head:size], pseudo)


def _read_ipv6(data: bytes) -> tuple[IpHeader | None, bytes]:
    if len(data) < 40 or data[0] >> 4 != 6:
        return None, data
    size, proto = unpack_from("!HB", data, 4)
    assert 40 + size <= len(data), "an IPv6 packet that is cut short"
    message = data[40 : 40 + size]
    src, dst = (Ip(int.from_bytes(data[at : at + 16], "big")) for at in (8, 24))
    ip = IpHeader(src, dst, proto)
    pseudo = data[8:40] + pack("!II", size, proto)
    if proto == _ICMPV6:
        assert checksum(pseudo + message) == b"\0\0", "ICMPv6 checksum"
        return IpHeader(src, dst, proto, icmp_type=message[0]), message[4:]
    return _read_udp(ip, message, pseudo)


def _read_udp(ip: IpHeader, message: bytes, pseudo: bytes) -> tuple[IpHeader, bytes]:
    if ip.proto != _UDP:
        return ip, message
    sport, dport, size, sum_ = unpack_from("!HHHH", message)
    assert size == len(message), "UDP length"
    if sum_ or not ip.src.is_v4:
        assert checksum(pseudo + message) == b"\0\0", "UDP checksum"
    return IpHeader(ip.src, ip.dst, ip.proto, sport, dport), message[8:]


def checksum(data: bytes) -> bytes:
    """The Internet checksum, RFC 1071; of sound data it is 0."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def packet_in(punt: Punt) -> bytes:
    """The packet-in message that a switch makes of a punt."""
    frame = to_bytes(punt.packet)
    terms = [(Field.IN_PORT, punt.in_port, None), (Field.TUN_ID, punt.tun_id, None)]
    if punt.tun_src:
        terms += [(Field.TUN_SRC, punt.tun_src, None), (Field.TUN_DST, punt.tun_dst, None)]
    fixed = (
        b"\xff\xff\xff\xff"
        + len(frame).to_bytes(2, "big")
        + b"\x01\x00"
        + punt.cookie.to_bytes(8, "big")
    )
    body = fixed + encode_match(tuple(terms)) + b"\0\0" + frame[: punt.max_len_bytes]
    return encode.message(encode.PACKET_IN, 0, body)
