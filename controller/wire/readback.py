"""Our own messages back to values: what was encoded is what a reader, or a simulator, sees.

Only what encode.py writes is understood; anything else raises Malformed. That a switch's dump does
not read like this (it rewrites matches) is why dumps are compared by cookie.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import error as StructError
from struct import unpack_from

from controller.flow import (
    Action,
    Bucket,
    CopyToController,
    Field,
    Flow,
    Group,
    Match,
    Move,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    Term,
)
from controller.wire import encode
from controller.wire.decode import FIELDS, FlowEntry, Malformed

_BY_HEADER = {field.header: field for field in Field}
_GOTO_TABLE, _APPLY_ACTIONS = 1, 4


def read_flow(add: bytes) -> Flow:
    """The flow of an add message; its kind is the cookie's."""
    if len(add) < encode.FLOW_MOD_FIXED_BYTES + 8 or add[1] != encode.FLOW_MOD:
        raise Malformed("flow: not a flow-mod")
    if add[25] != encode.ADD or int.from_bytes(add[2:4], "big") != len(add):
        raise Malformed("flow: not one add message")
    terms = read_match(add)
    actions, goto = _read_instructions(add)
    idle_s, hard_s, priority = unpack_from("!HHH", add, 26)
    reported = not idle_s and bool(add[45] & encode.SEND_FLOW_REMOVED)
    return Flow(add[9], add[24], priority, terms, actions, goto, hard_s, idle_s, reported)


def read_entry(entry: FlowEntry) -> Flow:
    """The flow of a dump's entry, whoever made it; Malformed if it uses what ours never use.

    An entry has its match where a flow-mod has it.
    """
    actions, goto = _read_instructions(entry.raw)
    return Flow(
        entry.cookie >> 48 & 0xFF,
        entry.table,
        entry.priority,
        read_match(entry.raw),
        actions,
        goto,
        entry.hard_timeout_s,
        entry.idle_timeout_s,
    )


def _read_instructions(message: bytes) -> tuple[tuple[Action, ...], int | None]:
    match_bytes = int.from_bytes(message[50:52], "big")
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    at = encode.FLOW_MOD_FIXED_BYTES + match_bytes + -match_bytes % 8
    for kind, body in _tlvs(message[at:], "instruction"):
        if kind == _GOTO_TABLE and len(body) == 4:
            goto = body[0]
        elif kind == _APPLY_ACTIONS:
            actions = read_actions(body[4:])
        else:
            raise Malformed(f"instruction type {kind}")
    return actions, goto


def read_match(add: bytes) -> Match:
    """The match of a flow-mod, in wire order."""
    size = int.from_bytes(add[50:52], "big")
    if size < 4 or encode.FLOW_MOD_FIXED_BYTES + size > len(add):
        raise Malformed("match: bad length")
    return tuple(_terms(add[52 : encode.FLOW_MOD_FIXED_BYTES + size]))


def read_buckets(data: bytes) -> tuple[Bucket, ...]:
    """The buckets of a group, as encode_buckets writes them."""
    buckets = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        if size < 16 or at + size > len(data):
            raise Malformed(f"bucket of {size} bytes")
        buckets.append(Bucket(read_actions(data[at + 16 : at + size])))
        at += size
    return tuple(buckets)


def read_actions(data: bytes) -> tuple[Action, ...]:
    """A list of actions, in order."""
    return tuple(_action(kind, body) for kind, body in _tlvs(data, "action"))


def _terms(data: bytes) -> Iterator[Term]:
    at = 0
    while at < len(data):
        if len(data) - at < 4:
            raise Malformed("OXM: cut short")
        field = FIELDS.get((data[at] << 8 | data[at + 1], data[at + 2] >> 1))
        masked, size = bool(data[at + 2] & 1), data[at + 3]
        value = data[at + 4 : at + 4 + size]
        if field is None or size != field.width << masked or len(value) != size:
            raise Malformed("OXM: not one of ours")
        mask = int.from_bytes(value[field.width :], "big") if masked else None
        yield field, int.from_bytes(value[: field.width], "big"), mask
        at += 4 + size


def _tlvs(data: bytes, what: str) -> Iterator[tuple[int, bytes]]:
    """(type, rest) of entries that begin with their type and length, padded to 8 bytes."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise Malformed(f"{what}: cut short")
        kind, size = unpack_from("!HH", data, at)
        if size < 8 or size % 8 or at + size > len(data):
            raise Malformed(f"{what} of {size} bytes")
        yield kind, data[at + 4 : at + size]
        at += size


def _action(kind: int, body: bytes) -> Action:
    try:
        match kind:
            case 0:
                port, max_len = unpack_from("!IH", body)
                if port == encode.OFPP_CONTROLLER:
                    return CopyToController(max_len, None)
                return Output(port)
            case 17:
                return PushVlan()
            case 18:
                return PopVlan()
            case 22:
                return Group(*unpack_from("!I", body))
            case 25:
                return _set_field(body)
            case 0xFFFF:
                return _nicira(body)
    except (KeyError, StructError) as error:
        raise Malformed(f"action type {kind}: {error}") from error
    raise Malformed(f"action type {kind}")


def _set_field(body: bytes) -> SetField:
    field = _BY_HEADER[int.from_bytes(body[:4], "big")]
    value = int.from_bytes(body[4 : 4 + field.width], "big")
    return SetField(field, value & 0xFFF if field is Field.VLAN_VID else value)


def _nicira(body: bytes) -> Action:
    vendor, subtype = unpack_from("!IH", body)
    if vendor != encode.NX_VENDOR:
        raise Malformed(f"action of vendor {vendor:#x}")
    if subtype == 6:
        source, target = unpack_from("!II", body, 12)
        return Move(_BY_HEADER[source], _BY_HEADER[target])
    if subtype == 37:
        max_len = meter_id = None
        for kind, value in _properties(body[12:]):
            if kind == 0:
                (max_len,) = unpack_from("!H", value)
            elif kind == 5:
                (meter_id,) = unpack_from("!I", value)
        if max_len is not None:
            return CopyToController(max_len, meter_id)
    raise Malformed(f"Nicira action {subtype}")


def _properties(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, size = unpack_from("!HH", data, at)
        if size < 4:
            raise Malformed(f"property of {size} bytes")
        yield kind, data[at + 4 : at + size]
        at += size + -size % 8
