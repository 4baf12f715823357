"""Values to OpenFlow 1.3.5 messages.

A flow is encoded once into the bytes of its add message, cookie included, and every switch gets
those same bytes: their xid is FLOW_XID for all, because an error names the flow by the cookie in
the bytes it quotes, and a bundle wants the inner and the outer xid equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import Struct, pack

from controller.flow import (
    Action,
    CopyToController,
    Field,
    FloodGroup,
    Flow,
    Group,
    Match,
    Meter,
    Move,
    Output,
    PopVlan,
    PushVlan,
    SetField,
)
from controller.pipeline import COOKIE_OWNER, check

VERSION = 4
FLOW_XID = 0x76000001
NX_VENDOR = 0x00002320
ONF_VENDOR = 0x4F4E4600
NO_BUFFER = 0xFFFFFFFF
ANY = 0xFFFFFFFF
OFPP_CONTROLLER = 0xFFFFFFFD
ALL_ONES_64 = 0xFFFFFFFFFFFFFFFF

# Message types (OpenFlow 1.3.5, 7.1.1)
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, EXPERIMENTER = 0, 1, 2, 3, 4
FEATURES_REQUEST, FEATURES_REPLY, SET_CONFIG = 5, 6, 9
PACKET_IN, FLOW_REMOVED, PORT_STATUS, PACKET_OUT, FLOW_MOD, GROUP_MOD = 10, 11, 12, 13, 14, 15
MULTIPART_REQUEST, MULTIPART_REPLY, BARRIER_REQUEST, BARRIER_REPLY, METER_MOD = 18, 19, 20, 21, 29
SET_ASYNC = 28

MP_FLOW, MP_PORT_STATS, MP_GROUP_DESC, MP_METER_CONFIG, MP_PORT_DESC = 1, 4, 7, 10, 13

ADD, MODIFY, DELETE, DELETE_STRICT = 0, 1, 3, 4
GROUP_ADD, GROUP_MODIFY, GROUP_DELETE = 0, 1, 2
GROUP_TYPE_ALL = 0
SEND_FLOW_REMOVED = 1  # OFPFF_SEND_FLOW_REM

_HEADER = Struct("!BBHI")
_FLOW_MOD = Struct("!BBHIQQBBHHHIIIHxx")
FLOW_MOD_FIXED_BYTES = _FLOW_MOD.size  # 48
_COMMAND_AT = 25
_COOKIE_AT = 8
_NAMED = Struct("!2xH4xQ")


def message(msg_type: int, xid: int, body: bytes = b"") -> bytes:
    """A whole message of version 1.3."""
    return _HEADER.pack(VERSION, msg_type, 8 + len(body), xid) + body


def _pad8(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def oxm(field: Field, value: int, mask: int | None = None) -> bytes:
    """One OXM TLV."""
    if mask is None:
        return pack("!I", field.header) + value.to_bytes(field.width, "big")
    header = field.header & ~0x1FF | 0x100 | field.width * 2
    return (
        pack("!I", header) + value.to_bytes(field.width, "big") + mask.to_bytes(field.width, "big")
    )


def encode_match(terms: Match) -> bytes:
    """An ofp_match of type OXM, padded."""
    tlvs = b"".join([oxm(*term) for term in terms])
    return _pad8(pack("!HH", 1, 4 + len(tlvs)) + tlvs)


def _property(prop_type: int, value: bytes) -> bytes:
    return _pad8(pack("!HH", prop_type, 4 + len(value)) + value)


@lru_cache(maxsize=65536)
def encode_action(action: Action) -> bytes:
    """One action, padded to 8 bytes."""
    match action:
        case Output(port):
            return pack("!HHIH6x", 0, 16, port, 0)
        case Group(group_id):
            return pack("!HHI", 22, 8, group_id)
        case SetField(field, value):
            body = oxm(field, value | 0x1000 if field is Field.VLAN_VID else value)
            length = 4 + len(body) + -(4 + len(body)) % 8
            return _pad8(pack("!HH", 25, length) + body)
        case Move(source, target):
            bits = source.width * 8
            return pack(
                "!HHIHHHHII", 0xFFFF, 24, NX_VENDOR, 6, bits, 0, 0, source.header, target.header
            )
        case PushVlan():
            return pack("!HHHxx", 17, 8, 0x8100)
        case PopVlan():
            return pack("!HH4x", 18, 8)
        case CopyToController(max_len_bytes, None):
            return pack("!HHIH6x", 0, 16, OFPP_CONTROLLER, max_len_bytes)
        case CopyToController(max_len_bytes, meter_id):
            properties = _property(0, pack("!H", max_len_bytes)) + _property(
                5, pack("!I", meter_id)
            )
            return pack("!HHIH6x", 0xFFFF, 16 + len(properties), NX_VENDOR, 37) + properties


def encode_actions(actions: Iterable[Action]) -> bytes:
    return b"".join([encode_action(action) for action in actions])


def encode_flow(flow: Flow) -> bytes:
    """The add message of a flow, named by its cookie: owner(8) | kind(8) | hash(48).

    The hash covers all that the message says but the cookie, so any change to a flow renames it.
    """
    check(flow)
    body = encode_match(flow.match)
    if flow.actions:
        actions = encode_actions(flow.actions)
        body += pack("!HH4x", 4, 8 + len(actions)) + actions
    if flow.goto is not None:
        body += pack("!HHB3x", 1, 8, flow.goto)
    digest = blake2b(hashed_terms(flow) + body, digest_size=6).digest()
    cookie = COOKIE_OWNER << 56 | flow.kind << 48 | int.from_bytes(digest, "big")
    head = _FLOW_MOD.pack(
        VERSION,
        FLOW_MOD,
        FLOW_MOD_FIXED_BYTES + len(body),
        FLOW_XID,
        cookie,
        0,
        flow.table,
        ADD,
        flow.idle_timeout_s,
        flow.hard_timeout_s,
        flow.priority,
        NO_BUFFER,
        ANY,
        ANY,
        SEND_FLOW_REMOVED if flow.idle_timeout_s or flow.reported else 0,
    )
    return head + body


def hashed_terms(flow: Flow) -> bytes:
    """What a cookie's hash covers besides match and actions."""
    terms = pack("!BHH", flow.table, flow.priority, flow.hard_timeout_s)
    if flow.idle_timeout_s or flow.reported:
        terms += pack("!HH", flow.idle_timeout_s, SEND_FLOW_REMOVED)
    return terms


def idle_timeout_of(add: bytes) -> int:
    """The idle timeout in an encoded flow, in seconds."""
    return int.from_bytes(add[26:28], "big")


def cookie_of(add: bytes) -> int:
    """The cookie in an encoded flow."""
    return int.from_bytes(add[_COOKIE_AT : _COOKIE_AT + 8], "big")


def split(stream: bytes) -> list[bytes]:
    """The messages that were joined."""
    messages, at, end = [], 0, len(stream)
    while at < end:
        after = at + (stream[at + 2] << 8 | stream[at + 3])
        messages.append(stream[at:after])
        at = after
    return messages


def cookies_of(adds: bytes) -> list[int]:
    """The cookie of each of the joined add messages."""
    cookies, at, end = [], 0, len(adds)
    while at < end:
        size, cookie = _NAMED.unpack_from(adds, at)
        cookies.append(cookie)
        at += size
    return cookies


def identity_of(add: bytes) -> bytes:
    """Table, priority and match of an encoded flow: two with the same one replace each other."""
    match_end = FLOW_MOD_FIXED_BYTES + int.from_bytes(add[50:52], "big")
    return add[24:25] + add[30:32] + add[FLOW_MOD_FIXED_BYTES:match_end]


def delete_of(add: bytes) -> bytes:
    """The message that deletes exactly this flow: strict, and only while it bears this cookie."""
    match_len = int.from_bytes(add[50:52], "big")
    total = FLOW_MOD_FIXED_BYTES + match_len + -match_len % 8
    return b"".join(
        (
            pack("!BBHI", VERSION, FLOW_MOD, total, FLOW_XID),
            add[8:16],
            b"\xff" * 8,
            add[24:25],
            bytes((DELETE_STRICT,)),
            add[26:total],
        )
    )


def delete_by_cookie(cookie: int, table: int = 0xFF) -> bytes:
    """The message that deletes every flow with this cookie (in one table, or in all)."""
    head = _FLOW_MOD.pack(
        VERSION,
        FLOW_MOD,
        FLOW_MOD_FIXED_BYTES + 8,
        FLOW_XID,
        cookie,
        ALL_ONES_64,
        table,
        DELETE,
        0,
        0,
        0,
        NO_BUFFER,
        ANY,
        ANY,
        0,
    )
    return head + encode_match(())


def delete_entry(table: int, priority: int, cookie: int, match_bytes: bytes) -> bytes:
    """The message that deletes one flow as the switch itself describes it."""
    head = _FLOW_MOD.pack(
        VERSION,
        FLOW_MOD,
        FLOW_MOD_FIXED_BYTES + len(match_bytes),
        FLOW_XID,
        cookie,
        ALL_ONES_64,
        table,
        DELETE_STRICT,
        0,
        0,
        priority,
        NO_BUFFER,
        ANY,
        ANY,
        0,
    )
    return head + match_bytes


def encode_buckets(group: FloodGroup) -> bytes:
    """The buckets as both a group-mod and a group description carry them."""
    parts = []
    for bucket in group.buckets:
        actions = encode_actions(bucket.actions)
        parts.append(pack("!HHII4x", 16 + len(actions), 0, ANY, ANY) + actions)
    return b"".join(parts)


def group_mod(command: int, group_id: int, buckets: bytes = b"") -> bytes:
    return message(GROUP_MOD, FLOW_XID, pack("!HBxI", command, GROUP_TYPE_ALL, group_id) + buckets)


def meter_mod(command: int, meter: Meter) -> bytes:
    """ADD or MODIFY a meter that counts packets per second, with a burst."""
    band = pack("!HHII4x", 1, 16, meter.rate_pps, meter.burst_packets)
    return message(METER_MOD, FLOW_XID, pack("!HHI", command, 0x0006, meter.meter_id) + band)


def barrier(xid: int) -> bytes:
    return _HEADER.pack(VERSION, BARRIER_REQUEST, 8, xid)


def set_async() -> bytes:
    """Ask for what a primary controller hears unasked: Open vSwitch tells service ones nothing."""
    packet_in, port_status, flow_removed = 0b11, 0b111, 0b1111
    return message(SET_ASYNC, 0, pack("!6I", packet_in, 0, port_status, 0b111, flow_removed, 0))


def multipart_request(kind: int, xid: int, table: int = 0xFF) -> bytes:
    """A request for all entries of one kind; of flows, those of one table if told."""
    bodies = {
        MP_FLOW: pack("!B3xII4xQQ", table, ANY, ANY, 0, 0) + encode_match(()),
        MP_METER_CONFIG: pack("!I4x", ANY),
    }
    return message(MULTIPART_REQUEST, xid, pack("!HH4x", kind, 0) + bodies.get(kind, b""))


def flow_request(xid: int, cookie: int) -> bytes:
    """A request for the flows with exactly this cookie."""
    body = pack("!B3xII4xQQ", 0xFF, ANY, ANY, cookie, ALL_ONES_64) + encode_match(())
    return message(MULTIPART_REQUEST, xid, pack("!HH4x", MP_FLOW, 0) + body)


def flows_request(kind: int, table: int = 0xFF) -> Callable[[int], bytes]:
    """Given an xid: a request for our flows of one kind, of one table or of all."""
    name = (COOKIE_OWNER << 8 | kind) << 48
    body = pack("!B3xII4xQQ", table, ANY, ANY, name, 0xFFFF << 48) + encode_match(())
    return lambda xid: message(MULTIPART_REQUEST, xid, pack("!HH4x", MP_FLOW, 0) + body)


def port_stats_request() -> Callable[[int], bytes]:
    """Given an xid: a request for the counters of every port."""
    body = pack("!HH4xI4x", MP_PORT_STATS, 0, ANY)
    return lambda xid: message(MULTIPART_REQUEST, xid, body)


def packet_out(actions: Sequence[Action], frame: bytes, in_port: int = OFPP_CONTROLLER) -> bytes:
    encoded = encode_actions(actions)
    head = pack("!IIH6x", NO_BUFFER, in_port, len(encoded))
    return message(PACKET_OUT, FLOW_XID, head + encoded + frame)


# Flow monitors: the ONF extension for OpenFlow 1.3 (EXT-187)

MP_EXPERIMENTER = 0xFFFF
FLOW_MONITOR_NAME = pack("!II", ONF_VENDOR, 1870)  # of the request, its replies, and its end
MONITOR_PAUSED, MONITOR_RESUMED = 1871, 1872
_ADDED_DELETED_MODIFIED_WITH_ACTIONS = 0x001E


def flow_monitor(monitor_id: int, xid: int) -> bytes:
    """Ask to be told of every change of flows that others make, not of what is there already."""
    flags = _ADDED_DELETED_MODIFIED_WITH_ACTIONS
    request = pack("!IHHIB3x", monitor_id, flags, 4, ANY, 0xFF) + encode_match(())
    head = pack("!HH4x", MP_EXPERIMENTER, 0)
    return message(MULTIPART_REQUEST, xid, head + FLOW_MONITOR_NAME + request)


def flow_monitor_cancel(monitor_id: int) -> bytes:
    """Ask to be told no more."""
    return message(EXPERIMENTER, FLOW_XID, FLOW_MONITOR_NAME + pack("!I", monitor_id))


# Bundles: the ONF extension for OpenFlow 1.3 (EXT-230)

BUNDLE_OPEN, BUNDLE_OPENED = 0, 1
BUNDLE_COMMIT, BUNDLE_COMMITTED = 4, 5
_BUNDLE_CONTROL, _BUNDLE_ADD = 2300, 2301
_ATOMIC_ORDERED = 0x0003


def bundle_control(kind: int, bundle_id: int, xid: int) -> bytes:
    body = pack("!IIIHH", ONF_VENDOR, _BUNDLE_CONTROL, bundle_id, kind, _ATOMIC_ORDERED)
    return message(EXPERIMENTER, xid, body)


def bundle(bundle_id: int, messages: Sequence[bytes], xid: int) -> list[bytes]:
    """Open, every message in order, commit: the switch takes all of them at once or none."""
    parts = [bundle_control(BUNDLE_OPEN, bundle_id, xid)]
    wrappers: dict[int, bytes] = {}
    inner = pack("!IIIxxH", ONF_VENDOR, _BUNDLE_ADD, bundle_id, _ATOMIC_ORDERED)
    for one in messages:
        size = len(one)
        wrapper = wrappers.get(size)
        if wrapper is None:
            wrapper = _HEADER.pack(VERSION, EXPERIMENTER, 8 + len(inner) + size, FLOW_XID) + inner
            wrappers[size] = wrapper
        parts.append(wrapper)
        parts.append(one)
    parts.append(bundle_control(BUNDLE_COMMIT, bundle_id, xid))
    return parts
