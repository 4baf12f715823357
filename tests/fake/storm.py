"""Packet-ins as a switch without meters, or one that lies, would send them: any number at once."""

from __future__ import annotations

from collections.abc import Iterable

from controller.flow import Field
from controller.pipeline import Kind, cookie_kind
from controller.wire.decode import PacketIn
from controller.wire.encode import encode_match
from tests.fake.fabric import PATCH, FakeFabric

BROADCAST = b"\xff" * 6
KNOWN = bytes.fromhex("020000000001")


def mac_bytes(host: int, number: int) -> bytes:
    """The MAC of that number behind a host."""
    return (0x02FA_0000_0000 | host << 24 | number).to_bytes(6, "big")


def plain(mac: bytes, vlan: int | None = None, to: bytes = KNOWN) -> bytes:
    """An IPv4 frame with nothing in it."""
    tag = b"" if vlan is None else b"\x81\0" + vlan.to_bytes(2, "big")
    return to + mac + tag + b"\x08\0" + bytes(46)


def arp(mac: bytes, ip: int, asked: int | None = None, vlan: int | None = None) -> bytes:
    """A who-has, an announcement unless ``asked`` is another address."""
    tag = b"" if vlan is None else b"\x81\0" + vlan.to_bytes(2, "big")
    target = ip if asked is None else asked
    body = bytes.fromhex("0001080006040001") + mac + ip.to_bytes(4, "big")
    return BROADCAST + mac + tag + b"\x08\x06" + body + bytes(6) + target.to_bytes(4, "big")


class Storm:
    """Sends packet-ins of flows that a host of a fabric really holds."""

    def __init__(self, fabric: FakeFabric) -> None:
        self.fabric = fabric
        self._cookies: dict[tuple[int, Kind, int], int] = {}

    def cookie(self, dpid: int, kind: Kind, vni: int) -> int:
        """A flow of this kind that the host holds, of this network where that can be told."""
        at = (dpid, kind, vni)
        if at not in self._cookies:
            there = [
                (cookie, add)
                for cookie, add in self.fabric.switches[dpid].cookies.items()
                if cookie_kind(cookie) is kind
            ]
            said = vni.to_bytes(8, "big")
            self._cookies[at] = next((cookie for cookie, add in there if said in add), there[0][0])
        return self._cookies[at]

    def packets(
        self, dpid: int, frames: Iterable[bytes], kind: Kind = Kind.LOCAL_UNKNOWN, vni: int = 0
    ) -> list[PacketIn]:
        cookie = self.cookie(dpid, kind, vni)
        return [PacketIn(cookie, PATCH, vni, 0, 0, frame) for frame in frames]

    def send(self, dpid: int, packets: list[PacketIn]) -> None:
        """As they come by one read of the connection; nothing else gets a turn."""
        self.fabric.packets_in(dpid, packets)

    def new_macs(self, dpid: int, numbers: Iterable[int], vni: int = 0) -> None:
        """Unicast frames of sources that nobody knows yet."""
        self.send(dpid, self.packets(dpid, (plain(mac_bytes(dpid, n)) for n in numbers), vni=vni))


def message(packet: PacketIn) -> bytes:
    """The same as OpenFlow bytes (1.3.5, 7.4.1)."""
    from controller.wire import encode

    fixed = b"\xff" * 4 + len(packet.frame).to_bytes(2, "big") + b"\x01\x00"
    terms = [(Field.IN_PORT, packet.in_port, None), (Field.TUN_ID, packet.tun_id, None)]
    body = fixed + packet.cookie.to_bytes(8, "big") + encode_match(tuple(terms))
    return encode.message(encode.PACKET_IN, 0, body + b"\0\0" + packet.frame)
