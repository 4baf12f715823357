"""A dumped flow's match and actions as text: for people who ask what a foreign flow does."""

from __future__ import annotations

from controller.flow import ofctl_match
from controller.wire import decode

_ACTIONS = {17: "push_vlan", 18: "pop_vlan", 25: "set_field", 0xFFFF: "experimenter"}


def match_text(entry: decode.FlowEntry) -> str:
    """The match in ovs-ofctl's words; fields that this controller never uses by their numbers."""
    if len(entry.raw) < 56:
        return ""
    length = int.from_bytes(entry.raw[50:52], "big")
    words = []
    for key, value in decode.oxm_fields(entry.raw[52 : 48 + max(length, 4)]).items():
        field = decode.FIELDS.get(key)
        if field is None:
            words.append(f"oxm({key[0]:#06x},{key[1]})=0x{value.hex()}")
            continue
        mask = int.from_bytes(value[field.width :], "big") if len(value) > field.width else None
        words.append(ofctl_match(((field, int.from_bytes(value[: field.width], "big"), mask),)))
    return ",".join(words)


def actions_text(entry: decode.FlowEntry) -> str:
    """The instructions in brief: outputs, groups and gotos by number, others by name."""
    if len(entry.raw) < 56:
        return ""
    match_length = int.from_bytes(entry.raw[50:52], "big")
    at = 48 + match_length + -match_length % 8
    words: list[str] = []
    for kind, body in _tlvs(entry.raw[at:]):
        if kind == 1 and body:
            words.append(f"goto_table:{body[0]}")
        elif kind in (3, 4):
            words.extend(_action(action, rest) for action, rest in _tlvs(body[4:]))
        else:
            words.append(f"instruction:{kind}")
    return ",".join(words) or "drop"


def _tlvs(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 4 or at + size > len(data):
            break
        found.append((int.from_bytes(data[at : at + 2], "big"), data[at + 4 : at + size]))
        at += size
    return found


def _action(kind: int, body: bytes) -> str:
    number = int.from_bytes(body[:4], "big")
    if kind == 0:
        return f"output:{number}"
    if kind == 22:
        return f"group:{number}"
    return _ACTIONS.get(kind, f"action:{kind}")
