"""Reader for the files tcpdump -w writes: classic pcap, Ethernet or Linux cooked v2."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from topology.lab.dissect import Frame, parse
from topology.lab.errors import LabError

_FILE_HEADER_BYTES = 24
_RECORD_HEADER_BYTES = 16
_ETHERNET = 1
_COOKED_V2 = 276
_COOKED_V2_BYTES = 20
_TO_EVERYBODY = 1
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}


def read(data: bytes, ports: Mapping[int, str], default_port: str = "") -> Iterator[Frame]:
    """Frames in order of capture; a record still being written at the end is left out.

    In cooked files only frames from an interface index in `ports` count, under its name there;
    their outer destination MAC is not recorded (00:00:00:00:00:00 unless broadcast).
    """
    if len(data) < _FILE_HEADER_BYTES:
        return
    if data[:4] not in _MAGIC:
        raise LabError("not a pcap file")
    order, tick_s = _MAGIC[data[:4]]
    (link_type,) = struct.unpack_from(order + "I", data, 20)
    link_type &= 0x0FFFFFFF
    if link_type not in (_ETHERNET, _COOKED_V2):
        raise LabError(f"link type {link_type}: neither Ethernet nor Linux cooked v2")
    offset = _FILE_HEADER_BYTES
    while offset + _RECORD_HEADER_BYTES <= len(data):
        whole_s, ticks, size, wire_bytes = struct.unpack_from(order + "IIII", data, offset)
        start = offset + _RECORD_HEADER_BYTES
        offset = start + size
        if offset > len(data):
            return
        packet, port = data[start:offset], default_port
        if link_type == _COOKED_V2:
            known = _uncook(packet, ports)
            if known is None:
                continue
            packet, port = known
            wire_bytes -= _COOKED_V2_BYTES - 14
        parsed = parse(packet, whole_s + ticks * tick_s, port, wire_bytes)
        if parsed is not None:
            yield parsed


def _uncook(packet: bytes, ports: Mapping[int, str]) -> tuple[bytes, str] | None:
    """Put the Ethernet header back from the cooked one."""
    if len(packet) < _COOKED_V2_BYTES:
        return None
    protocol, _, index, _, kind, _ = struct.unpack_from("!HHIHBB", packet)
    if index not in ports:
        return None
    destination = b"\xff" * 6 if kind == _TO_EVERYBODY else bytes(6)
    header = destination + packet[12:18] + struct.pack("!H", protocol)
    return header + packet[_COOKED_V2_BYTES:], ports[index]
