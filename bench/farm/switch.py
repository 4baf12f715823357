"""One fake switch: OpenFlow 1.3 bytes in, replies out. No socket, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import pack, unpack_from
from typing import Final

from bench.farm.held import CookieLog, FlowStore, Unsupported
from bench.farm.walk import WRAPPER_BYTES, Strider, wraps_flow_mod
from controller.wire import decode, encode

PATCH_PORT: Final = 1
TUNNEL_PORT: Final = 2
PORTS: Final = ((PATCH_PORT, b"patch-tun"), (TUNNEL_PORT, b"vxlan0"))

NEW_MAC: Final = b"\x02\xfa"
"""What the MACs of packet-ins begin with: then 12 bits for the switch, 20 for the source."""

_FROM_LOCAL = 1
_NX_CONTROLLER2 = b"\0\0\x23\x20\0\x25"
_OUTPUT_CONTROLLER = b"\0\0\0\x10\xff\xff\xff\xfd"
_SET_TUN_ID = b"\x80\0\x4c\x08"
_OXM_BASIC = 0x8000
_ETH_DST, _VLAN_VID = (_OXM_BASIC, 3), (_OXM_BASIC, 6)
_IN_PORT, _TUN_ID = decode.FIELDS[_OXM_BASIC, 0], decode.FIELDS[_OXM_BASIC, 38]
_MULTICAST = 0x01
_BUNDLE_CONTROL_BYTES = 24
_FAULTS_KEPT = 5


@dataclass(frozen=True, slots=True)
class Copying:
    """A flow that copies unicast of unknown sources to the controller. vlan: their tag."""

    cookie: int
    vni: int
    vlan: int | None


@dataclass(slots=True)
class Counts:
    """What came in. Flow-mods inside of bundles are counted among flow_mods when they arrive."""

    flow_mods: int = 0
    deletes: int = 0
    group_mods: int = 0
    packet_outs: int = 0
    barriers: int = 0
    errors: int = 0
    octets: int = 0

    @property
    def changes(self) -> int:
        """What came that is no question, no echo and no packet-out."""
        return self.flow_mods + self.deletes + self.group_mods


def new_mac(switch: int, serial: int) -> bytes:
    """The MAC of the given source behind a switch."""
    return NEW_MAC + (switch << 20 | serial).to_bytes(4, "big")


@dataclass(repr=False)
class Switch:
    """hold: flows are kept, else counted and known by cookie.

    awaited: MACs that flow-mods of this switch are searched for; `arrived` is told of each once.
    out: what is to be sent, in order: bytes, or iterators of bytes.
    """

    index: int
    dpid: int
    hold: bool
    arrived: Callable[[bytes], None]
    ready: bool = False  # its handshake is done
    counts: Counts = field(default_factory=Counts)
    faults: list[str] = field(default_factory=list)
    awaited: set[bytes] | None = None
    copying: dict[int, Copying] = field(default_factory=dict)  # by VNI
    sample: list[bytes] = field(default_factory=list)
    sample_size: int = 0
    out: deque[memoryview | Iterator[bytes]] = field(default_factory=deque)
    groups: dict[int, bytes] = field(default_factory=dict)  # as a group description has them
    meters: dict[int, bytes] = field(default_factory=dict)  # as a meter configuration has them

    def __post_init__(self) -> None:
        self.flows: CookieLog | FlowStore = FlowStore() if self.hold else CookieLog()
        self._strider = Strider()
        self._bundles: dict[int, list[bytes]] = {}

    def say(self, message: bytes) -> None:
        self.out.append(memoryview(message))

    def connected(self) -> None:
        """A new connection: what an earlier one left half done is gone."""
        self.ready = False
        self.out.clear()
        self._bundles.clear()
        self._strider.forget()
        self.say(encode.message(encode.HELLO, 1))

    def receive(self, buffer: bytearray, end: int) -> int:
        """Take the whole messages in buffer[:end]; answers how many bytes they were."""
        at = 0
        drained = self.flows if self.awaited is None else None
        while end - at >= 8:
            size = buffer[at + 2] << 8 | buffer[at + 3]
            if end - at < size:
                break
            if size < 8:
                raise ValueError(f"a message of {size} bytes")
            message = bytes(buffer[at : at + size])
            at += size
            kind = message[1]
            wrapped = kind == encode.EXPERIMENTER and wraps_flow_mod(message)
            if kind == encode.FLOW_MOD:
                recurs = self._flow_mod(message)
            elif wrapped:
                recurs = self._bundled(message)
            else:
                self._other(kind, message)
                continue
            if not recurs or size % 8:
                self._strider.forget()
            elif isinstance(drained, CookieLog):
                self._strider.note(message, wrapped=wrapped)
                taken, cookies = self._strider.stride(buffer, at, end)
                if taken:
                    self.counts.flow_mods += len(cookies) // 8
                    drained.add_cookies(cookies)
                    at += taken
        self.counts.octets += at
        return at

    def _flow_mod(self, mod: bytes) -> bool:
        """Take it; True if those that follow may be like it, and need not be looked at alone."""
        self.counts.flow_mods += 1
        if len(self.sample) < self.sample_size:
            self.sample.append(mod)
            self._apply(mod)
            return False
        return self._apply(mod)

    def _apply(self, mod: bytes) -> bool:
        """Add or delete; True for an add that copies nothing to the controller."""
        command = mod[25]
        if command == encode.ADD:
            self.flows.add(mod)
            if self.awaited:
                self._look_for_mac(mod, self.awaited)
            if not _copies(mod):
                return True
            self._note_copying(mod)
            return False
        self.counts.deletes += 1
        try:
            if command not in (encode.DELETE, encode.DELETE_STRICT):
                raise Unsupported(f"flow-mod command {command}")
            self.flows.delete(mod)
        except Unsupported as fault:
            self._fault(str(fault))
        return False

    def _fault(self, text: str) -> None:
        self.counts.errors += 1
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(f"switch {self.index}: {text}")

    def _note_copying(self, mod: bytes) -> None:
        """Keep the flow that unicast of unknown sources takes: it matches on nothing else."""
        match_end = encode.FLOW_MOD_FIXED_BYTES + int.from_bytes(mod[50:52], "big")
        fields = decode.oxm_fields(mod[52:match_end])
        set_at = mod.find(_SET_TUN_ID, match_end)
        unicast = not fields.pop(_ETH_DST, b"\xff")[0] & _MULTICAST
        vid = int.from_bytes(fields.pop(_VLAN_VID, b"\0\0")[:2], "big")
        if unicast and not fields and set_at >= 0:
            vni = int.from_bytes(mod[set_at + 4 : set_at + 12], "big")
            self.copying[vni] = Copying(encode.cookie_of(mod), vni, vid & 0xFFF if vid else None)

    def _look_for_mac(self, mod: bytes, awaited: set[bytes]) -> None:
        at = mod.find(NEW_MAC, encode.FLOW_MOD_FIXED_BYTES)
        while at >= 0:
            mac = mod[at : at + 6]
            if mac in awaited:
                awaited.discard(mac)
                self.arrived(mac)
                return
            at = mod.find(NEW_MAC, at + 1)

    def _bundled(self, message: bytes) -> bool:
        """A bundle's flow-mod: held when it is committed, drained at once."""
        mod = message[WRAPPER_BYTES:]
        if not self.hold:
            return self._flow_mod(mod)
        self.counts.flow_mods += 1
        self._bundles.setdefault(int.from_bytes(message[16:20], "big"), []).append(mod)
        return False

    def _other(self, kind: int, message: bytes) -> None:
        self._strider.forget()
        if kind == encode.BARRIER_REQUEST:
            self.counts.barriers += 1
            self.say(encode.message(encode.BARRIER_REPLY, _xid(message)))
        elif kind == encode.ECHO_REQUEST:
            self.say(encode.message(encode.ECHO_REPLY, _xid(message), message[8:]))
        elif kind == encode.PACKET_OUT:
            self.counts.packet_outs += 1
        elif kind == encode.GROUP_MOD:
            self._group_mod(message)
        elif kind == encode.METER_MOD:
            self._meter_mod(message)
        elif kind == encode.MULTIPART_REQUEST:
            self._multipart(message)
        elif kind == encode.FEATURES_REQUEST:
            body = pack("!QIBB2xII", self.dpid, 0, 254, 0, 0x47, 0)
            self.say(encode.message(encode.FEATURES_REPLY, _xid(message), body))
        elif kind == encode.SET_CONFIG:  # some controllers never ask for ports
            self.ready = True
        elif kind == encode.EXPERIMENTER:
            self._bundle_control(message)
        elif kind == encode.ERROR:
            self._fault(f"the controller says error {message[8:12].hex()}")

    def _group_mod(self, message: bytes) -> None:
        self.counts.group_mods += 1
        command, kind, group_id = unpack_from("!HBxI", message, 8)
        if command == encode.GROUP_DELETE:
            self.groups.pop(group_id, None)
        else:
            self.groups[group_id] = pack("!HBxI", len(message) - 8, kind, group_id) + message[16:]

    def _meter_mod(self, message: bytes) -> None:
        _command, flags, meter_id = unpack_from("!HHI", message, 8)
        bands = message[16:]
        self.meters[meter_id] = pack("!HHI", 8 + len(bands), flags, meter_id) + bands

    def _multipart(self, message: bytes) -> None:
        xid = _xid(message)
        (kind,) = unpack_from("!H", message, 8)
        if kind == encode.MP_FLOW:
            self.out.append(_multipart_replies(xid, kind, self.flows.stats(message[16])))
        elif kind == encode.MP_GROUP_DESC:
            self.out.append(_multipart_replies(xid, kind, _parts(self.groups)))
        elif kind == encode.MP_METER_CONFIG:
            self.out.append(_multipart_replies(xid, kind, _parts(self.meters)))
        elif kind == encode.MP_PORT_DESC:
            ports = b"".join(_port(number, name) for number, name in PORTS)
            self.out.append(_multipart_replies(xid, kind, iter((ports,))))
            self.ready = True
        else:
            self.out.append(_multipart_replies(xid, kind, iter(())))

    def _bundle_control(self, message: bytes) -> None:
        vendor, kind, bundle_id, control = unpack_from("!IIIH", message.ljust(24, b"\0"), 8)
        if vendor != encode.ONF_VENDOR or kind != 2300 or len(message) < _BUNDLE_CONTROL_BYTES:
            self._fault(f"experimenter message {vendor:#x}, {kind}")
        elif control == encode.BUNDLE_OPEN:
            self._bundles[bundle_id] = []
            self.say(encode.bundle_control(encode.BUNDLE_OPENED, bundle_id, _xid(message)))
        elif control == encode.BUNDLE_COMMIT:
            for mod in self._bundles.pop(bundle_id, ()):
                self._apply(mod)
            self.say(encode.bundle_control(encode.BUNDLE_COMMITTED, bundle_id, _xid(message)))
        else:
            self._fault(f"bundle control {control}")

    def packet_in(
        self, copying: Copying | None, mac: bytes, eth_dst: bytes, in_port: int = PATCH_PORT
    ) -> bytes:
        """An IPv4 frame from `mac`, copied by this flow; without one a table miss."""
        terms = [(_IN_PORT, in_port, None)]
        tag = b""
        if copying is not None:
            terms.append((_TUN_ID, copying.vni, None))
            tag = b"" if copying.vlan is None else pack("!HH", 0x8100, copying.vlan)
        frame = (eth_dst + mac + tag + b"\x08\x00" + _IPV4).ljust(60, b"\0")
        fixed = pack(
            "!IHBBQ",
            encode.NO_BUFFER,
            len(frame),
            0 if copying is None else 1,  # OFPR_NO_MATCH, OFPR_ACTION
            0 if copying is None else 1,  # the table
            0 if copying is None else copying.cookie,
        )
        body = fixed + encode.encode_match(tuple(terms)) + b"\0\0" + frame
        return encode.message(encode.PACKET_IN, 0, body)


_IPV4 = bytes.fromhex("4500001c0001000040110000") + bytes((10, 0, 0, 1, 10, 0, 0, 2)) + bytes(8)


def _copies(mod: bytes) -> bool:
    """Whether a flow of FROM_LOCAL copies to the controller."""
    return mod[24] == _FROM_LOCAL and (_NX_CONTROLLER2 in mod or _OUTPUT_CONTROLLER in mod)


def _xid(message: bytes) -> int:
    return int.from_bytes(message[4:8], "big")


def _port(number: int, name: bytes) -> bytes:
    return pack("!I4x6s2x16s", number, b"\x02\0\0\0\0" + bytes((number,)), name) + bytes(32)


def _parts(entries: dict[int, bytes]) -> Iterator[bytes]:
    part = b""
    for entry in list(entries.values()):
        if len(part) + len(entry) > 65_000:
            yield part
            part = b""
        part += entry
    if part:
        yield part


def _multipart_replies(xid: int, kind: int, parts: Iterator[bytes]) -> Iterator[bytes]:
    """One reply for each part, at least one; all but the last say that there are more."""
    part = next(parts, b"")
    for following in parts:
        yield encode.message(encode.MULTIPART_REPLY, xid, pack("!HH4x", kind, 1) + part)
        part = following
    yield encode.message(encode.MULTIPART_REPLY, xid, pack("!HH4x", kind, 0) + part)
