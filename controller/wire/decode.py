"""OpenFlow 1.3.5 messages to values: only what the controller reads, every length checked.

Bytes that do not add up raise Malformed, whose text says what was wrong; the caller ends the
connection. Nothing here loops without advancing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, TypeAlias

from controller.flow import Field
from controller.wire import lengths

Malformed = lengths.Malformed

FIELDS = {(field.oxm_class, field.number): field for field in Field}

_MULTIPART = Struct("!HH4x")
_FLOW_STATS = Struct("!HBxIIHHHH4xQQQ")
_FLOW_NAME = Struct("!H22xQ")
_FLOW_UPDATE = Struct("!HHHHHBxQ")
_FLOW_COUNTED = Struct("!HB21xQQQHH")
_FLOW_REMOVED = Struct("!Q2sBB12xQQ")
_PORT = Struct("!I4x6s2x16s")
_ERROR = Struct("!HH")

PORT_BYTES = 64
FLOW_STATS_MIN_BYTES = 56
MORE = 0x0001

_TUN_ID = (0x8000, 38)
_TUN_ID_HEADER = Field.TUN_ID.header.to_bytes(4, "big")
_APPLY_ACTIONS, _GROUP, _SET_FIELD = 4, 22, 25
_IN_PORT = (0x8000, 0)
_TUN_SRC = (0x0001, 31)
_TUN_DST = (0x0001, 32)


class PacketIn(NamedTuple):
    """A frame (or its first bytes) that a flow copied here, with the pipeline fields then."""

    cookie: int
    in_port: int
    tun_id: int
    tun_src: int
    tun_dst: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Port:
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class PortStatus:
    reason: int  # 0 add, 1 delete, 2 modify
    port: Port


@dataclass(frozen=True, slots=True)
class SwitchError:
    """An error message; ``quoted`` is the beginning of what caused it (64 bytes or more)."""

    type: int
    code: int
    quoted: bytes


@dataclass(frozen=True, slots=True)
class FlowRemoved:
    """A flow that was to be reported has ended in the switch, and what it had counted.

    ``place`` names its table, priority and match as CountedFlow does.
    """

    cookie: int
    timed_out: bool
    place: bytes = b""
    packets: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """An installed flow as a dump tells it: enough to compare by cookie, and its match as bytes."""

    cookie: int
    table: int
    priority: int
    duration_s: int
    hard_timeout_s: int
    idle_timeout_s: int
    packets: int
    octets: int
    raw: bytes

    @property
    def match_bytes(self) -> bytes:
        """Its match as it is on the wire, padded."""
        size = int.from_bytes(self.raw[50:52], "big")
        return self.raw[48 : 48 + size + -size % 8]

    @property
    def name(self) -> bytes:
        """Table, priority and match: two with the same ones replace each other."""
        return bytes((self.table,)) + self.priority.to_bytes(2, "big") + self.match_bytes


class Updated(IntEnum):
    """What a flow monitor tells (ONFFME); of the subscriber's own changes, only that."""

    ADDED = 0
    DELETED = 1
    MODIFIED = 2
    OWN = 3


TIMED_OUT, GROUP_DELETED = (0, 1), 3  # OFPRR


class FlowUpdate(NamedTuple):
    """A flow that somebody else added or modified, as it is now; or deleted, and why."""

    event: Updated
    reason: int
    entry: FlowEntry


class CountedFlow(NamedTuple):
    """A flow of a dump that has counted something.

    ``place`` is its table, priority and match: what takes that place inherits its counters
    (OpenFlow 1.3.5, 6.4). ``start`` and ``end`` say where it stands in the dump.
    """

    cookie: int
    place: bytes
    packets: int
    octets: int
    start: int
    end: int


def _need(data: bytes, size: int, what: str) -> None:
    if len(data) < size:
        raise Malformed(f"{what}: {len(data)} bytes, at least {size} needed")


def oxm_fields(data: bytes) -> dict[tuple[int, int], bytes]:
    """(class, field) -> value (and mask, if any) of a sequence of OXM TLVs."""
    fields: dict[tuple[int, int], bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < 4:
            raise Malformed("OXM: cut short")
        oxm_class = data[at] << 8 | data[at + 1]
        size = data[at + 3]
        if size == 0 or at + 4 + size > len(data):
            raise Malformed("OXM: bad length")
        fields[oxm_class, data[at + 2] >> 1] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return fields


def _int(fields: dict[tuple[int, int], bytes], key: tuple[int, int], size: int) -> int:
    value = fields.get(key, b"")
    if len(value) not in (0, size):
        raise Malformed(f"packet-in: a field of {len(value)} bytes, {size} expected")
    return int.from_bytes(value, "big")


def packet_in(message: bytes) -> PacketIn:
    """A packet-in's cookie, pipeline fields and frame.

    Those of one flow and port are the same bytes but for the frame, and read once.
    """
    _need(message, 34, "packet-in")
    match_len = message[26] << 8 | message[27]
    data_at = 24 + match_len + -match_len % 8 + 2
    if data_at > len(message):
        raise Malformed("packet-in: bad match")
    head = message[16:data_at]
    origin = _origins.get(head)
    if origin is None:
        origin = _origin(head, match_len)
        if len(_origins) >= _ORIGINS_MAX:
            _origins.clear()
        if len(head) <= _ORIGIN_MAX_BYTES:
            _origins[head] = origin
    return PacketIn(*origin, message[data_at:])


_Origin: TypeAlias = tuple[int, int, int, int, int]
_origins: dict[bytes, _Origin] = {}
_ORIGINS_MAX, _ORIGIN_MAX_BYTES = 4096, 256


def _origin(head: bytes, match_len: int) -> _Origin:
    if head[8:10] != b"\0\1" or match_len < 4:
        raise Malformed("packet-in: bad match")
    fields = oxm_fields(head[12 : 8 + match_len])
    return (
        int.from_bytes(head[:8], "big"),
        _int(fields, _IN_PORT, 4),
        _int(fields, _TUN_ID, 8),
        _int(fields, _TUN_SRC, 4),
        _int(fields, _TUN_DST, 4),
    )


def features_dpid(message: bytes) -> int:
    _need(message, 32, "features reply")
    return int.from_bytes(message[8:16], "big")


def _port(data: bytes) -> Port:
    number, _mac, name = _PORT.unpack_from(data)
    return Port(number, name.split(b"\0", 1)[0].decode("utf-8", "replace"))


def port_status(message: bytes) -> PortStatus:
    _need(message, 16 + PORT_BYTES, "port status")
    return PortStatus(message[8], _port(message[16:]))


def error(message: bytes) -> SwitchError:
    _need(message, 12, "error")
    kind, code = _ERROR.unpack_from(message, 8)
    return SwitchError(kind, code, message[12:])


def flow_removed(message: bytes) -> FlowRemoved:
    _need(message, 56, "flow removed")
    cookie, priority, reason, table, packets, octets = _FLOW_REMOVED.unpack_from(message, 8)
    match_len = int.from_bytes(message[50:52], "big")
    if match_len < 4 or 48 + match_len > len(message):
        raise Malformed("flow removed: bad match")
    place = bytes((table,)) + priority + message[48 : 48 + match_len]
    return FlowRemoved(cookie, reason in (0, 1), place, packets, octets)


def multipart(message: bytes) -> tuple[int, bool, bytes]:
    """(type, more to come, body) of a multipart reply."""
    _need(message, 16, "multipart reply")
    kind, flags = _MULTIPART.unpack_from(message, 8)
    return kind, bool(flags & MORE), message[16:]


def ports(body: bytes) -> Iterator[Port]:
    if len(body) % PORT_BYTES:
        raise Malformed("port description: not a whole number of ports")
    for at in range(0, len(body), PORT_BYTES):
        yield _port(body[at : at + PORT_BYTES])


def _entries(body: bytes, least: int, what: str) -> Iterator[bytes]:
    """Entries that begin with their own length."""
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 2], "big")
        if size < least or at + size > len(body):
            raise Malformed(f"{what}: entry of {size} bytes")
        yield body[at : at + size]
        at += size


def flow_names(body: bytes) -> Iterator[tuple[int, int, int]]:
    """(cookie, start, end) of each entry of flow stats: enough to compare, and quick."""
    unpack, at, end = _FLOW_NAME.unpack_from, 0, len(body)
    while at < end:
        if end - at < FLOW_STATS_MIN_BYTES:
            raise Malformed("flow stats: cut short")
        size, cookie = unpack(body, at)
        if size < FLOW_STATS_MIN_BYTES or at + size > end:
            raise Malformed(f"flow stats: entry of {size} bytes")
        yield cookie, at, at + size
        at += size


def counted_flows(body: bytes) -> Iterator[CountedFlow]:
    """The entries of flow stats that have counted anything; most have not, and cost little."""
    unpack, at, end = _FLOW_COUNTED.unpack_from, 0, len(body)
    while at < end:
        if end - at < FLOW_STATS_MIN_BYTES:
            raise Malformed("flow stats: cut short")
        size, table, cookie, packets, octets, _match_type, match_len = unpack(body, at)
        if size < FLOW_STATS_MIN_BYTES or at + size > end:
            raise Malformed(f"flow stats: entry of {size} bytes")
        if packets:
            if match_len < 4 or 48 + match_len > size:
                raise Malformed("flow stats: bad match")
            place = bytes((table,)) + body[at + 12 : at + 14] + body[at + 48 : at + 48 + match_len]
            yield CountedFlow(cookie, place, packets, octets, at, at + size)
        at += size


def flow_entries(body: bytes) -> Iterator[FlowEntry]:
    """Entries to be kept or shown: whatever reads their matches and actions later on ends."""
    for entry in _entries(body, FLOW_STATS_MIN_BYTES, "flow stats"):
        lengths.flow_stats(entry, 0, len(entry))
        (_len, table, duration_s, _ns, priority, idle, hard, _flags, cookie, packets, octets) = (
            _FLOW_STATS.unpack_from(entry)
        )
        yield FlowEntry(cookie, table, priority, duration_s, hard, idle, packets, octets, entry)


def flow_updates(body: bytes) -> Iterator[FlowUpdate]:
    """What a flow monitor says that others did."""
    for update in _entries(body, 8, "flow monitor"):
        event = int.from_bytes(update[2:4], "big")
        if event == Updated.OWN:
            continue
        if event > Updated.OWN or len(update) < 32:
            raise Malformed(f"flow monitor: event {event} of {len(update)} bytes")
        (reason, priority, idle_s, hard_s, match_len, table, cookie) = _FLOW_UPDATE.unpack_from(
            update, 4
        )
        if match_len < 4 or 24 + match_len > len(update) or update[26:28] != update[12:14]:
            raise Malformed("flow monitor: bad match")
        lengths.instructions(update, lengths.match(update, 24, len(update)), len(update))
        rest = update[24:]
        head = _FLOW_STATS.pack(
            48 + len(rest), table, 0, 0, priority, idle_s, hard_s, 0, cookie, 0, 0
        )
        entry = FlowEntry(cookie, table, priority, 0, hard_s, idle_s, 0, 0, head + rest)
        yield FlowUpdate(Updated(event), reason, entry)


def group_entries(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(group id, type, buckets) of each group."""
    for entry in _entries(body, 8, "group description"):
        yield int.from_bytes(entry[4:8], "big"), entry[2], entry[8:]


def meter_entries(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(meter id, flags and bands) of each meter."""
    for entry in _entries(body, 8, "meter configuration"):
        yield int.from_bytes(entry[4:8], "big"), entry[2:4] + entry[8:]


def place_match(place: bytes) -> dict[Field, tuple[int, int | None]]:
    """What a place matches on: value and mask, if any, by field."""
    found: dict[Field, tuple[int, int | None]] = {}
    for key, value in oxm_fields(place[7:]).items():
        field = FIELDS.get(key)
        if field is not None:
            mask = value[field.width :]
            found[field] = (
                int.from_bytes(value[: field.width], "big"),
                int.from_bytes(mask, "big") if mask else None,
            )
    return found


def sets_tunnel(entry: bytes) -> int | None:
    """The VNI that an entry of flow stats sets (OFPAT_SET_FIELD of tunnel_id), if it does."""
    return next((int.from_bytes(body[8:16], "big") for body in _sets_tunnel(entry)), None)


def floods(entry: bytes) -> bool:
    """Whether an entry of flow stats sends frames to a group."""
    return any(kind == _GROUP for kind, _body in _entry_actions(entry))


def _sets_tunnel(entry: bytes) -> Iterator[bytes]:
    for kind, body in _entry_actions(entry):
        if kind == _SET_FIELD and body[4:8] == _TUN_ID_HEADER and len(body) >= 16:
            yield body


def _entry_actions(entry: bytes) -> Iterator[tuple[int, bytes]]:
    match_len = int.from_bytes(entry[50:52], "big")
    at = 48 + match_len + -match_len % 8
    for kind, body in _tlvs(entry[at:], "instruction"):
        if kind == _APPLY_ACTIONS:
            yield from _tlvs(body[8:], "action")


def _tlvs(data: bytes, what: str) -> Iterator[tuple[int, bytes]]:
    """(type, all of it) of entries that begin with their type and length."""
    at = 0
    while at < len(data):
        kind, size = (
            int.from_bytes(data[at : at + 2], "big"),
            int.from_bytes(data[at + 2 : at + 4], "big"),
        )
        if size < 8 or at + size > len(data):
            raise Malformed(f"{what} of {size} bytes")
        yield kind, data[at : at + size]
        at += size


def bucket_count(buckets: bytes) -> int:
    """How many buckets a group of ours has; those of one size, as most are, without a walk."""
    if not buckets:
        return 0
    size = int.from_bytes(buckets[:2], "big")
    count, rest = divmod(len(buckets), size)
    sizes = buckets[::size] + buckets[1::size]
    if not rest and sizes == buckets[:1] * count + buckets[1:2] * count:
        return count
    return sum(1 for _bucket in _entries(buckets, 16, "bucket"))


def entry_match(entry: FlowEntry) -> dict[Field, int]:
    """What an entry of a dump matches on, values only: how a learned fact is read back."""
    match_len = int.from_bytes(entry.raw[50:52], "big")
    if match_len < 4 or 48 + match_len > len(entry.raw):
        raise Malformed("flow stats: bad match")
    found: dict[Field, int] = {}
    for key, value in oxm_fields(entry.raw[52 : 48 + match_len]).items():
        field = FIELDS.get(key)
        if field is not None:
            found[field] = int.from_bytes(value[: field.width], "big")
    return found
