"""Packets of the simulator as the bytes of frames, and back."""

from __future__ import annotations

from struct import Struct

from controller import frames
from controller.flow import ETH_TYPE_ARP, Field
from controller.journey import Packet, Punt
from controller.wire import encode
from controller.wire.encode import encode_match

_ARP = Struct("!HHBBH6sI6sI")


def to_bytes(packet: Packet) -> bytes:
    """The frame, tag and all, without padding."""
    head = packet.eth_dst.to_bytes(6, "big") + packet.eth_src.to_bytes(6, "big")
    if packet.vlan is not None:
        head += b"\x81\x00" + packet.vlan.to_bytes(2, "big")
    body = packet.payload
    if packet.arp is not None:
        arp = packet.arp
        body = _ARP.pack(
            1,
            0x0800,
            6,
            4,
            arp.op,
            arp.sender_mac.to_bytes(6, "big"),
            arp.sender_ip,
            arp.target_mac.to_bytes(6, "big"),
            arp.target_ip,
        )
    return head + packet.eth_type.to_bytes(2, "big") + body


def from_bytes(data: bytes) -> Packet:
    """An untagged frame as a packet."""
    frame = frames.parse(data)
    assert frame is not None
    return Packet(
        frame.eth_src,
        frame.eth_dst,
        None,
        frame.eth_type,
        frame.arp if frame.eth_type == ETH_TYPE_ARP else None,
        frame.payload,
    )


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
