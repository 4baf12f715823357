"""What a switch's error means: which flow it is about, and whether it matters."""

from __future__ import annotations

from dataclasses import dataclass

from controller.wire import encode
from controller.wire.decode import SwitchError

_TYPES = {
    0: "hello failed",
    1: "bad request",
    2: "bad action",
    3: "bad instruction",
    4: "bad match",
    5: "flow-mod failed",
    6: "group-mod failed",
    7: "port-mod failed",
    12: "meter-mod failed",
    13: "table features failed",
    0xFFFF: "experimenter error",
}
_ABOUT_FLOWS = (2, 3, 4, 5)
_GROUP_MOD_FAILED, _METER_MOD_FAILED = 6, 12
_METER_EXISTS, _GROUP_EXISTS, _UNKNOWN_GROUP = 1, 0, 8


@dataclass(frozen=True, slots=True)
class Refusal:
    """``cookie`` names the flow refused; ``meter`` says the switch has no meters for us,
    ``monitor`` that it has no flow monitor."""

    text: str
    cookie: int | None = None
    meter: bool = False
    ignorable: bool = False
    monitor: bool = False


def explain(error: SwitchError) -> Refusal:
    """Read an error by what it quotes."""
    text = f"{_TYPES.get(error.type, f'error type {error.type}')}, code {error.code}"
    quoted = error.quoted
    msg_type = quoted[1] if len(quoted) >= 2 else -1
    if msg_type == encode.METER_MOD:
        exists = error.type == _METER_MOD_FAILED and error.code == _METER_EXISTS
        return Refusal(f"a meter ({text})", meter=not exists, ignorable=exists)
    if msg_type == encode.GROUP_MOD:
        settled = error.type == _GROUP_MOD_FAILED and error.code in (_GROUP_EXISTS, _UNKNOWN_GROUP)
        return Refusal(f"a group ({text})", ignorable=settled)
    if msg_type == encode.MULTIPART_REQUEST:
        if quoted[8:10] == b"\xff\xff":
            return Refusal(f"a flow monitor ({text})", monitor=True, ignorable=True)
        return Refusal(f"a request for statistics ({text})", meter=quoted[8:10] == b"\x00\x0a")
    if msg_type == encode.EXPERIMENTER:
        if quoted[8:16] == encode.FLOW_MONITOR_NAME:
            return Refusal(f"a flow monitor's end ({text})", ignorable=True)
        inner = quoted[24:]
        if error.type in _ABOUT_FLOWS and len(inner) >= 16 and inner[1] == encode.FLOW_MOD:
            return _flow(inner, text)
        return Refusal(f"a bundle ({text})")
    if msg_type == encode.FLOW_MOD and len(quoted) >= 16:
        return _flow(quoted, text)
    return Refusal(f"message type {msg_type} ({text})")


def _flow(quoted: bytes, text: str) -> Refusal:
    cookie = encode.cookie_of(quoted)
    return Refusal(f"flow {cookie:#018x} ({text})", cookie=cookie)
