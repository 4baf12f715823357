"""Frames as VMs send them, and what chance makes of them: every kind that packet-ins carry."""

from __future__ import annotations

import random
import struct

from controller.pipeline import ASK_MAC, DHCP_MAC, PROBE_ETH_TYPE, PROBE_MAC

_COOKIE = bytes.fromhex("63825363")
_EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFE, 0xFF)


class Payloads:
    """``macs`` and ``ips`` (IPv4 as integers) are those that are known to somebody."""

    def __init__(self, chance: random.Random, macs: list[int], ips: list[int]) -> None:
        self._chance = chance
        self._macs = macs
        self._ips = ips
        self._own = bytes(6)  # who sends the frame that is made
        self._kinds = (
            self._arp, self._rarp, self._nd, self._dhcp, self._tcp, self._sctp, self._udp,
            self._extended, self._igmp, self._probe, self._noise,
        )  # fmt: skip

    def frame(self) -> bytes:
        """One frame: sound, a little wrong, cut short, or made of two."""
        chance = self._chance
        self._own = self._some_mac()
        frame = self._ethernet(*chance.choice(self._kinds)())
        for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
            frame = self._mutated(frame)
        return frame[:128] if chance.random() < 0.5 else frame

    def _mac(self) -> bytes:
        """Mostly the sender's own, as in sound frames."""
        return self._own if self._chance.random() < 0.7 else self._some_mac()

    def _some_mac(self) -> bytes:
        chance = self._chance
        if chance.random() < 0.7:
            return chance.choice(self._macs).to_bytes(6, "big")
        return chance.randbytes(6)

    def _ip(self) -> int:
        chance = self._chance
        return chance.choice(self._ips) if chance.random() < 0.8 else chance.getrandbits(32)

    def _ip6(self) -> bytes:
        chance = self._chance
        return chance.choice(
            (
                bytes(16),
                bytes.fromhex("fd00000000000000") + chance.choice(self._ips).to_bytes(8, "big"),
                bytes.fromhex("fe80000000000000") + chance.randbytes(8),
                bytes.fromhex("ff020000000000000000000000000001"),
                chance.randbytes(16),
            )
        )

    def _ethernet(self, eth_type: int, payload: bytes, to: bytes = b"") -> bytes:
        chance = self._chance
        to = to or chance.choice(
            (b"\xff" * 6, b"\x33\x33\xff" + chance.randbytes(3), self._some_mac())
        )
        tags = chance.choice((b"", b"\x81\0\0\x0a", b"\x81\0\0\x14", b"\x88\xa8\0\x07\x81\0\0\x0a"))
        if chance.random() < 0.02:
            tags *= 20
        return to + self._own + tags + struct.pack("!H", eth_type) + payload

    def _arp(self) -> tuple[int, bytes]:
        op, sender = self._chance.choice((1, 1, 2, 3, 0)), self._ip()
        target = sender if self._chance.random() < 0.3 else self._ip()
        sender = 0 if self._chance.random() < 0.1 else sender
        body = struct.pack(
            "!HHBBH6sI6sI", 1, 0x800, 6, 4, op, self._mac(), sender, bytes(6), target
        )
        return 0x0806, body + bytes(18)

    def _rarp(self) -> tuple[int, bytes]:
        return 0x8035, self._arp()[1]

    def _nd(self) -> tuple[int, bytes]:
        kind = self._chance.choice((135, 136, 133, 134, 137))
        option = self._chance.choice((b"", b"\x01\x01" + self._mac(), b"\x02\x01" + self._mac()))
        option += self._chance.choice((b"", b"\x01\0" + bytes(6), b"\x0e\x02" + bytes(14)))
        flags = self._chance.choice((b"\0", b"\x20", b"\x60"))
        message = bytes((kind, 0, 0, 0)) + flags + bytes(3) + self._ip6() + option
        return self._ipv6(58, message, hops=self._chance.choice((255, 255, 64)))

    def _ipv6(self, proto: int, message: bytes, hops: int = 64) -> tuple[int, bytes]:
        head = struct.pack("!IHBB", 6 << 28, len(message), proto, hops)
        return 0x86DD, head + self._ip6() + self._ip6() + message

    def _extended(self) -> tuple[int, bytes]:
        """IPv6 with extension headers (RFC 8200, 4), some of length 0 or beyond the end."""
        _type, inner = self._nd()
        message, proto = inner[40:], 58
        for _ in range(self._chance.randrange(1, 5)):
            kind = self._chance.choice((0, 43, 44, 60, 51))
            size = self._chance.choice((0, 0, 1, 255))
            message = bytes((proto, size)) + self._chance.randbytes(6) + message
            proto = kind
        return self._ipv6(proto, message, 255)

    def _ipv4(self, proto: int, payload: bytes) -> tuple[int, bytes]:
        options = self._chance.choice((b"", b"\x07\0\0\0", b"\x44\x04\x05\0", b"\x94\x04\0\0" * 10))
        size = 20 + len(options) + len(payload)
        head = struct.pack("!BBHHHBBH", 0x40 | 5 + len(options) // 4, 0, size, 0, 0, 64, proto, 0)
        return 0x0800, head + struct.pack("!II", self._ip(), self._ip()) + options + payload

    def _tcp(self) -> tuple[int, bytes]:
        """Options of length 0 hang ryu.lib.packet."""
        option = self._chance.choice((b"\x02\0\0\0", b"\x02\x04\x05\xb4", b"\x01\x01\x08\0", b""))
        words = 5 + len(option) // 4
        return self._ipv4(6, struct.pack("!HHIIBBHHH", 1, 2, 0, 0, words << 4, 2, 0, 0, 0) + option)

    def _sctp(self) -> tuple[int, bytes]:
        kind, size = self._chance.choice((1, 2, 4, 5, 6, 9)), self._chance.choice((0, 4, 24))
        parameter = struct.pack("!HH", self._chance.choice((1, 5, 7, 0x8000)), 0)
        chunk = struct.pack("!BBH", kind, 0, size) + bytes(16) + parameter
        return self._ipv4(132, struct.pack("!HHII", 1, 2, 0, 0) + chunk)

    def _udp(self) -> tuple[int, bytes]:
        ports = self._chance.choice(((68, 67), (67, 68), (53, 53), (4789, 4789)))
        payload = self._chance.randbytes(self._chance.randrange(40))
        return self._ipv4(17, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload)

    def _dhcp(self) -> tuple[int, bytes]:
        chance = self._chance
        options = b"".join(
            bytes((chance.choice((53, 50, 52, 54, 61, 0, 255, 12)), size)) + chance.randbytes(size)
            for size in (chance.choice((0, 1, 4, 7)) for _ in range(chance.randrange(6)))
        )
        kind = bytes((53, 1, chance.choice((1, 3, 8, 0, 9))))
        head = struct.pack("!BBBBIHHIIII", 1, 1, 6, 0, 7, 0, 0, 0, 0, 0, 0)
        message = head + self._mac() + bytes(202) + _COOKIE + kind + options + b"\xff"
        udp = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
        head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 0, 0xFFFFFFFF)
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        return 0x0800, head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + udp

    def _igmp(self) -> tuple[int, bytes]:
        return self._ipv4(2, self._chance.randbytes(8))

    def _probe(self) -> tuple[int, bytes, bytes]:
        to = self._chance.choice((PROBE_MAC, ASK_MAC, DHCP_MAC)).to_bytes(6, "big")
        return PROBE_ETH_TYPE, self._chance.randbytes(self._chance.randrange(90)), to

    def _noise(self) -> tuple[int, bytes]:
        chance = self._chance
        return chance.getrandbits(16), chance.randbytes(chance.choice((0, 1, 27, 46, 90, 1400)))

    def _mutated(self, frame: bytes) -> bytes:
        chance = self._chance
        if not frame:
            return chance.randbytes(3)
        at = chance.randrange(len(frame))
        match chance.randrange(7):
            case 0:
                return frame[:at] + bytes((frame[at] ^ 1 << chance.randrange(8),)) + frame[at + 1 :]
            case 1:
                return frame[:at] + bytes((chance.choice(_EDGES),)) + frame[at + 1 :]
            case 2:
                return frame[:at]
            case 3:
                return frame[:at] + chance.randbytes(chance.randrange(1, 9)) + frame[at:]
            case 4:
                return frame[:at] + bytes(2) + frame[at + 2 :]
            case 5:
                return frame[:at] + frame[at:] * 2
            case _:
                other = self._ethernet(*chance.choice(self._kinds)())
                return frame[:at] + other[at:]
