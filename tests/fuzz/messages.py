"""Valid messages of every type that a switch may send, and ways to spoil them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from struct import pack

from controller import frames
from controller.flow import ETH_TYPE_ARP, ETH_TYPE_IPV6
from controller.wire import encode
from tests.apps.switches import features, hello, ports_reply
from tests.fake.switch import Entry, FakeSwitch
from tests.wire.samples import every_flow, every_group

ODD = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 0x7FFF, 0x8000, 0xFFF8, 0xFFFF)


def multipart(kind: int, body: bytes, xid: int = 0x11223344, more: bool = False) -> bytes:
    return encode.message(encode.MULTIPART_REPLY, xid, pack("!HH4x", kind, more) + body)


def packet_in(cookie: int, frame: bytes, in_port: int = 1) -> bytes:
    """A packet-in as Open vSwitch makes it, from a tunnel."""
    fields = (
        bytes.fromhex("80000004")
        + pack("!I", in_port)
        + bytes.fromhex("80004c08")
        + pack("!Q", 100)
        + bytes.fromhex("00013e04c0a8210c 00014004c0a8210d")
    )
    match = pack("!HH", 1, 4 + len(fields)) + fields
    match += bytes(-len(match) % 8)
    fixed = pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 1, cookie)
    return encode.message(encode.PACKET_IN, 0, fixed + match + b"\0\0" + frame)


def hostile_frames() -> Iterator[bytes]:
    """What a VM may send to make a parser of packets stumble."""
    ethernet = bytes.fromhex("ffffffffffff 525400000002")
    arp = frames.arp_bytes(frames.Arp(1, 0x525400000002, 0x0A010102, 0, 0x0A010103))
    kind = ETH_TYPE_ARP.to_bytes(2, "big")
    yield ethernet + kind + arp
    yield ethernet + kind + arp[:4] + b"\xff\x04" + arp[6:]  # hardware addresses of 255 bytes
    yield ethernet + kind + arp[:4] + b"\0\0" + arp[6:]
    yield ethernet + bytes.fromhex("8100000a") * 200 + kind + arp
    yield ethernet + bytes.fromhex("88a8000a 8100000a") + kind + arp[:9]
    yield ethernet + b"\x08\x06"
    yield ethernet[:13]
    head = bytes.fromhex("6000000000183aff") + bytes(15) + b"\1" + bytes(15) + b"\2"
    solicitation = bytes.fromhex("87000000 00000000") + bytes(16)
    six = ETH_TYPE_IPV6.to_bytes(2, "big")
    yield ethernet + six + head + solicitation + bytes.fromhex("0101525400000002")
    yield ethernet + six + head + solicitation + bytes.fromhex("0100525400000002") * 4
    yield ethernet + six + head[:6] + b"\0\xff" + head[8:] + bytes.fromhex("0000000000000000") * 9
    # TCP and SCTP with an option of no length: they hang ryu.lib.packet.
    ip = bytes.fromhex("4500002c000000004006000001020304 05060708")
    yield (
        ethernet
        + b"\x08\0"
        + ip
        + bytes.fromhex("0001000200000000000000006002000000000000 02000000")
    )
    ip = ip[:9] + b"\x84" + ip[10:]
    yield ethernet + b"\x08\0" + ip + bytes.fromhex("000100020000000000000000 01000014") + bytes(40)


def valid_messages() -> list[bytes]:
    """One of each, as a correct switch sends them."""
    flows, groups = every_flow(), every_group()
    switch = FakeSwitch(1, 1, {}, dump_part_bytes=3000)
    for flow in flows[::8]:
        add = encode.encode_flow(flow)
        switch.flows[encode.identity_of(add)] = Entry(add, 0.0)
    switch.groups = {group.group_id: encode.encode_buckets(group) for group in groups}
    dumps = [
        reply
        for kind in (encode.MP_FLOW, encode.MP_GROUP_DESC)
        for reply in switch.receive(encode.multipart_request(kind, 0x11223344), 1.0)
    ]
    add = encode.encode_flow(flows[5])
    name = b"\0\0\0\2" + bytes(4) + b"\2\0\0\0\0\2\0\0" + b"vxlan0".ljust(16, b"\0") + bytes(32)
    bands = pack("!HHII4x", 1, 16, 100, 10)
    table = pack("!HB5x32sQQII", 64 + 8 + 8 + 8, 0, b"t", 0, 0, 0, 100)
    table += pack("!HHHH", 0, 8, 1, 4) + pack("!HHBx2x", 2, 5, 3) + pack("!HHI", 8, 8, 0x80000A06)
    queue = pack("!IIH6x", 1, 2, 32) + pack("!HH4xH6x", 1, 16, 100)
    flow_monitor = pack("!HHHHHHHBxQ", len(add) - 24, 0, 0, 5, 0, 0, 0, 1, 9)
    match_len = int.from_bytes(add[50:52], "big")
    flow_monitor = flow_monitor[:12] + pack("!H", match_len) + flow_monitor[14:] + add[48:]
    cookies = [encode.cookie_of(encode.encode_flow(flow)) for flow in flows[::6]]
    punts = [
        packet_in(cookie, frame)
        for cookie, frame in zip(cookies * 9, [*hostile_frames()] * 4, strict=False)
    ]
    return [
        hello(),
        hello()[:1] + b"\0\0\x10" + bytes(4) + pack("!HHI", 1, 8, 0x12),
        encode.message(encode.ERROR, 5, b"\0\4\0\x09" + add[:64]),
        encode.message(encode.ERROR, 5, b"\0\0\0\0incompatible"),
        encode.message(encode.ERROR, 5, b"\xff\xff\0\1\0\0\x23\x20" + add[:64]),
        encode.message(encode.ECHO_REQUEST, 5, b"x" * 40),
        encode.message(encode.ECHO_REPLY, 5),
        encode.bundle_control(5, 7, 7),
        encode.message(
            encode.EXPERIMENTER, 0, pack("!II", encode.ONF_VENDOR, encode.MONITOR_PAUSED)
        ),
        encode.message(
            encode.EXPERIMENTER, 0, pack("!II", encode.ONF_VENDOR, encode.MONITOR_RESUMED)
        ),
        features(0x21),
        encode.message(8, 4, bytes(4)),
        *punts,
        encode.message(
            encode.FLOW_REMOVED,
            0,
            pack("!QHBBIIHHQQ", cookies[0], 5, 0, 1, 1, 1, 1, 1, 5, 300)
            + add[48 : 48 + match_len + -match_len % 8],
        ),
        *(
            encode.message(encode.PORT_STATUS, 0, bytes((why,)) + bytes(7) + name)
            for why in range(4)
        ),
        *dumps,
        multipart(0, bytes(1056)),
        multipart(2, bytes(24)),
        multipart(3, bytes(48)),
        multipart(4, bytes(224)),
        multipart(5, bytes(80)),
        multipart(6, pack("!H38x", 56) + bytes(16)),
        multipart(8, bytes(40)),
        multipart(9, pack("!IH34x", 1, 56) + bytes(16)),
        multipart(10, pack("!HHI", 24, 1, 1) + bands),
        multipart(11, bytes(16)),
        multipart(12, table),
        ports_reply([(1, "patch-tun"), (2, "vxlan0")]),
        multipart(0xFFFF, encode.FLOW_MONITOR_NAME + flow_monitor, 0),
        multipart(0xFFFF, pack("!II", 0x2320, 1) + bytes(20)),
        encode.message(encode.BARRIER_REPLY, 0x77000001),
        encode.message(23, 6, pack("!I4x", 1) + queue),
        encode.message(25, 6, bytes(16)),
        encode.message(27, 6, bytes(24)),
    ]


class Spoiler:
    """Spoils messages, reproducibly."""

    def __init__(self, chance: random.Random, valid: list[bytes]) -> None:
        self._chance, self._valid = chance, valid
        self._ways = (
            self._flip, self._length, self._length, self._cut, self._double, self._splice,
            self._type, self._version, self._noise,
        )  # fmt: skip

    def message(self) -> bytes:
        """Some message, spoiled or not."""
        return self.spoil(self._chance.choice(self._valid))

    def spoil(self, message: bytes) -> bytes:
        chance = self._chance
        data = bytearray(message)
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 5))):
            chance.choice(self._ways)(data)
        del data[0xFFF0:]
        if chance.random() < 0.85 and len(data) >= 8:
            data[2:4] = len(data).to_bytes(2, "big")
        return bytes(data)

    def _flip(self, data: bytearray) -> None:
        for _ in range(self._chance.randint(1, 8)):
            if data:
                data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _length(self, data: bytearray) -> None:
        """Two bytes somewhere, most often where lengths are, become an odd length."""
        if len(data) > 12:
            at = self._chance.randrange(4, len(data) - 2) & ~1
            value = self._chance.choice((*ODD, len(data), len(data) + 1, len(data) - at))
            data[at : at + 2] = (value & 0xFFFF).to_bytes(2, "big")

    def _cut(self, data: bytearray) -> None:
        del data[self._chance.randint(8, max(8, len(data))) :]

    def _double(self, data: bytearray) -> None:
        if len(data) > 16:
            start = self._chance.randrange(8, len(data) - 4)
            size = self._chance.randint(1, len(data) - start)
            times = self._chance.choice((1, 2, 50))
            data[start:start] = bytes(data[start : start + size]) * times

    def _splice(self, data: bytearray) -> None:
        other = self._chance.choice(self._valid)
        start = self._chance.randrange(len(data) + 1)
        data[start:] = other[self._chance.randrange(len(other)) :]

    def _type(self, data: bytearray) -> None:
        if len(data) > 1:
            data[1] = self._chance.choice((*range(32), 255))

    def _version(self, data: bytearray) -> None:
        if data and self._chance.random() < 0.3:
            data[0] = self._chance.choice((0, 1, 3, 5, 6, 0x16, 0x47))

    def _noise(self, data: bytearray) -> None:
        data += self._chance.randbytes(self._chance.choice((1, 3, 8, 64)))
