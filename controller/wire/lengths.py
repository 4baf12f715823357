"""The lengths inside OpenFlow 1.3.5 structures: walked, never believed.

Each function walks one kind of structure between two offsets and raises Malformed where a length
does not add up, so that whoever reads it afterwards ends. The steps are those that Ryu 4.34's
parser takes: where it steps by a size of its own, or only by some of the lengths, exactly these
are checked. Every walk is linear in the bytes, and its nesting bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import TypeAlias

from controller.wire import encode

Data: TypeAlias = bytes | memoryview

_MATCH_TYPE_OXM = 1
_EXPERIMENTER_CLASS = 0xFFFF
_SET_FIELD, _EXPERIMENTER = 25, 0xFFFF
_ACTION_BYTES = {
    0: 16,
    **dict.fromkeys((11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 27), 8),
}
"""Actions of one size (7.2.5): Ryu steps by that size, whatever the action says of its length."""

_INSTRUCTION_BYTES = {1: 8, 2: 24, 6: 8}
_WITH_ACTIONS = (3, 4, 5)
_NX_CONNECTION_TRACKING, _NX_CONTROLLER = 35, 37
_CONTROLLER_USERDATA = 3
_NESTED_MAX = 4


class Malformed(ValueError):
    """A message that no correct switch sends."""


def match(data: Data, at: int, end: int) -> int:
    """An ofp_match with OXM fields (7.2.3); where its padding ends."""
    if end - at < 8:
        raise Malformed("match: cut short")
    kind, size = unpack_from("!HH", data, at)
    after: int = at + size + -size % 8
    if kind != _MATCH_TYPE_OXM or size < 4 or after > end:
        raise Malformed(f"match: type {kind}, {size} bytes")
    oxms(data, at + 4, at + size)
    return after


def oxms(data: Data, at: int, end: int) -> None:
    """OXM fields, one after the other."""
    while at < end:
        at = _oxm(data, at, end)


def _oxm(data: Data, at: int, end: int) -> int:
    if end - at < 4:
        raise Malformed("OXM: cut short")
    masked, size = int(data[at + 2]) & 1, int(data[at + 3])
    experimenter = data[at] << 8 | data[at + 1] == _EXPERIMENTER_CLASS
    head = 6 if experimenter else 0  # an id, and for ONF's a type
    if at + 4 + size > end or size - head < 1 + masked:
        raise Malformed(f"OXM: {size} bytes")
    return at + 4 + size


def instructions(data: Data, at: int, end: int) -> None:
    """Instructions (7.2.4) and what is in them."""
    while at < end:
        kind, after = _header(data, at, end, "instruction")
        exact = _INSTRUCTION_BYTES.get(kind)
        if exact is not None and after - at != exact:
            raise Malformed(f"instruction of {after - at} bytes")
        if kind in _WITH_ACTIONS:
            actions(data, at + 8, after)
        at = after


def actions(data: Data, at: int, end: int, depth: int = 0) -> None:
    """Actions (7.2.5); those of connection tracking hold others."""
    if depth > _NESTED_MAX:
        raise Malformed("actions: nested too deeply")
    while at < end:
        kind, after = _header(data, at, end, "action")
        exact = _ACTION_BYTES.get(kind)
        if exact is not None and after - at != exact:
            raise Malformed(f"action of {after - at} bytes")
        if kind == _SET_FIELD:
            _oxm(data, at + 4, after)
        elif kind == _EXPERIMENTER:
            _experimenter(data, at, after, depth)
        at = after


def _header(data: Data, at: int, end: int, what: str) -> tuple[int, int]:
    """(type, where it ends) of an entry that begins with type and length."""
    if end - at < 8:
        raise Malformed(f"{what}: cut short")
    kind, size = unpack_from("!HH", data, at)
    if size < 8 or size % 8 or at + size > end:
        raise Malformed(f"{what} of {size} bytes")
    return kind, at + size


def _experimenter(data: Data, at: int, end: int, depth: int) -> None:
    (vendor,) = unpack_from("!I", data, at + 4)
    if vendor != encode.NX_VENDOR:
        return
    if end - at < 16:
        raise Malformed(f"Nicira action of {end - at} bytes")
    (subtype,) = unpack_from("!H", data, at + 8)
    if subtype == _NX_CONNECTION_TRACKING:
        if end - at < 24:
            raise Malformed(f"ct action of {end - at} bytes")
        actions(data, at + 24, end, depth + 1)
    elif subtype == _NX_CONTROLLER:
        _controller_properties(data, at + 16, end)


def _controller_properties(data: Data, at: int, end: int) -> None:
    """Ryu takes each property for 8 bytes, but for userdata."""
    while at < end:
        if end - at < 8:
            raise Malformed("controller action: property cut short")
        kind, size = unpack_from("!HH", data, at)
        if kind == _CONTROLLER_USERDATA:
            if size < 5 or at + size > end:
                raise Malformed(f"controller action: property of {size} bytes")
            rounded = size - 4 + -size % 4
            at += 4 + rounded + (4 if rounded > 4 and rounded % 8 == 0 else 0)
        else:
            at += 8


def buckets(data: Data, at: int, end: int) -> None:
    """Buckets of a group (7.3.4.2)."""
    while at < end:
        size = _size(data, at, end, 16, "bucket")
        actions(data, at + 16, at + size)
        at += size


def flow_stats(data: Data, at: int, end: int) -> None:
    """One entry of flow statistics (7.3.5.2)."""
    instructions(data, match(data, at + 48, end), end)


def _size(data: Data, at: int, end: int, least: int, what: str) -> int:
    """The length that something begins with."""
    if end - at < least:
        raise Malformed(f"{what}: cut short")
    size: int = data[at] << 8 | data[at + 1]
    if size < least or at + size > end:
        raise Malformed(f"{what}: entry of {size} bytes")
    return size


# Replies to multipart requests (7.3.5)

_FIXED = {0: 1056, 2: 24, 8: 40, 11: 16}
"""Bodies of one structure: description, aggregate, group and meter features."""

_ARRAYS = {3: 24, 4: 112, 5: 40, 13: 64}
"""Arrays of structures of one size: tables, port statistics, queues, ports."""


def multipart(kind: int, data: Data, at: int) -> None:
    """The body of a multipart reply of any kind that Ryu knows, from an offset on."""
    end = len(data)
    if kind in _FIXED:
        if end - at != _FIXED[kind]:
            raise Malformed(f"multipart reply, type {kind}: {end - at} bytes")
    elif kind in _ARRAYS:
        if (end - at) % _ARRAYS[kind]:
            raise Malformed(f"multipart reply, type {kind}: not a whole number of entries")
    elif kind == _EXPERIMENTER:
        if end - at < 8:
            raise Malformed("multipart reply of an experimenter: cut short")
    elif kind in _ENTRIES:
        what, least, inside = _ENTRIES[kind]
        while at < end:
            size = _size(data, at, end, least, what)
            inside(data, at, at + size)
            at += size
    elif kind == _METER_STATS:
        _meter_stats(data, at, end)
    else:
        raise Malformed(f"multipart reply of unknown type {kind}")


_METER_STATS = 9


def _meter_stats(data: Data, at: int, end: int) -> None:
    while at < end:
        if end - at < 40:
            raise Malformed("meter statistics: cut short")
        (size,) = unpack_from("!H", data, at + 4)
        if size < 40 or (size - 40) % 16 or at + size > end:
            raise Malformed(f"meter statistics: entry of {size} bytes")
        at += size


def _group_stats(_data: Data, at: int, end: int) -> None:
    if (end - at - 40) % 16:
        raise Malformed(f"group statistics: entry of {end - at} bytes")


def _group(data: Data, at: int, end: int) -> None:
    buckets(data, at + 8, end)


def _meter(data: Data, at: int, end: int) -> None:
    at += 8
    while at < end:
        if end - at < 16 or unpack_from("!H", data, at + 2) != (16,):
            raise Malformed("meter: band of bad length")
        at += 16


_TABLE_BYTES = 64
_PROPERTIES_MAX, _PROPERTY_MAX_BYTES = 64, 4096
_IDS = frozenset(range(8)) - {2, 3}  # instructions and actions, by type and length
_PROPERTY_EXPERIMENTER = (0xFFFE, 0xFFFF)


def _table_features(data: Data, at: int, end: int) -> None:
    at += _TABLE_BYTES
    count = 0
    while at < end:
        kind, size = unpack_from("!HH", data, at) if end - at >= 4 else (0, 0)
        count += 1
        if not 4 <= size <= min(_PROPERTY_MAX_BYTES, end - at) or count > _PROPERTIES_MAX:
            raise Malformed(f"table features: property of {size} bytes")
        if kind in _IDS:
            _ids(data, at + 4, at + size)
        elif kind in _PROPERTY_EXPERIMENTER and (size < 12 or size % 4):
            raise Malformed(f"table features: property of {size} bytes")
        at += size + -size % 8


def _ids(data: Data, at: int, end: int) -> None:
    while at < end:
        size = unpack_from("!HH", data, at)[1] if end - at >= 4 else 0
        if size < 4 or at + size > end:
            raise Malformed(f"table features: id of {size} bytes")
        at += size


_ENTRIES: dict[int, tuple[str, int, Callable[[Data, int, int], None]]] = {
    1: ("flow stats", 56, flow_stats),
    6: ("group statistics", 40, _group_stats),
    7: ("group description", 8, _group),
    10: ("meter configuration", 8, _meter),
    12: ("table features", _TABLE_BYTES, _table_features),
}
"""Entries that begin with their length."""


# Queues (7.3.6)


def queues(data: Data, at: int) -> None:
    """The queues of a queue-get-config reply, from an offset on."""
    end = len(data)
    while at < end:
        if end - at < 16:
            raise Malformed("queue: cut short")
        (size,) = unpack_from("!H", data, at + 8)
        if size < 16 or at + size > end:
            raise Malformed(f"queue of {size} bytes")
        _queue_properties(data, at + 16, at + size)
        at += size


def _queue_properties(data: Data, at: int, end: int) -> None:
    while at < end:
        size = unpack_from("!HH", data, at)[1] if end - at >= 16 else 0
        if not 16 <= size <= min(_PROPERTY_MAX_BYTES, end - at):
            raise Malformed(f"queue property of {size} bytes")
        at += size


def properties(data: Data, at: int) -> None:
    """Properties with type and length, each padded to 8 bytes: those of a bundle message."""
    end = len(data)
    while at < end:
        size = unpack_from("!HH", data, at)[1] if end - at >= 4 else 0
        if not 4 <= size <= min(_PROPERTY_MAX_BYTES, end - at):
            raise Malformed(f"property of {size} bytes")
        at += size + -size % 8
