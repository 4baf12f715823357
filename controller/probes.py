"""Tunnel probes: frames of the controller's own that tell which port leads to which VTEP.

OpenFlow does not say a tunnel port's remote_ip. A probe leaves by packet-out; whoever gets it is at
the other end, and the outer addresses are both hosts' VTEPs. A blank probe (no tun_dst set) arrives
only through a port with one peer; one addressed to a VTEP arrives also through a flow-based port.

A sized probe asks something else: whether a packet of that size comes through (tunnels.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct

from controller.pipeline import PROBE_ETH_TYPE, PROBE_MAC

_BODY = Struct("!4sBQIQdH")
_MAGIC = b"vxl2"
_MAC_BYTES = 16
_SOURCE_MAC = PROBE_MAC
_MIN_FRAME_BYTES = 60
_ETHERNET_BYTES = 14

_ADDRESSED, _KEYED = 1, 2


@dataclass(frozen=True, slots=True)
class Probe:
    """Sent by dpid on connection ``epoch`` out of port at sent_s, addressed to a VTEP or blank.

    ``keyed``: it was sent in PROBE_VNI; a port without ``key=flow`` makes network 0 of that.
    ``size_bytes``: what its Ethernet frame carries, padding included; 0 where that does not matter.
    """

    dpid: int
    port: int
    epoch: int
    sent_s: float
    addressed: bool
    keyed: bool = False
    size_bytes: int = 0


def encode(probe: Probe, secret: bytes) -> bytes:
    """The probe as a frame, sealed so that nobody else can make one."""
    body = _BODY.pack(
        _MAGIC,
        probe.addressed * _ADDRESSED | probe.keyed * _KEYED,
        probe.dpid,
        probe.port,
        probe.epoch,
        probe.sent_s,
        probe.size_bytes,
    )
    seal = blake2b(body, key=secret, digest_size=_MAC_BYTES).digest()
    header = PROBE_MAC.to_bytes(6, "big") + _SOURCE_MAC.to_bytes(6, "big")
    frame = header + PROBE_ETH_TYPE.to_bytes(2, "big") + body + seal
    return frame.ljust(max(_MIN_FRAME_BYTES, _ETHERNET_BYTES + probe.size_bytes), b"\0")


def decode(payload: bytes, secret: bytes) -> Probe | None:
    """The probe in an Ethernet payload; None when it is not one of ours."""
    body = payload[: _BODY.size]
    seal = payload[_BODY.size : _BODY.size + _MAC_BYTES]
    if len(seal) < _MAC_BYTES:
        return None
    if not compare_digest(seal, blake2b(body, key=secret, digest_size=_MAC_BYTES).digest()):
        return None
    magic, flags, dpid, port, epoch, sent_s, size_bytes = _BODY.unpack(body)
    if magic != _MAGIC:
        return None
    addressed, keyed = bool(flags & _ADDRESSED), bool(flags & _KEYED)
    return Probe(dpid, port, epoch, sent_s, addressed, keyed, size_bytes)
