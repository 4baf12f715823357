"""What the OpenFlow front end makes of a switch's messages, without its sockets."""

from __future__ import annotations

from controller.events import FlowUpdates, Message
from controller.openflow.values import value_of
from controller.wire import decode, encode


def as_value(message: bytes) -> Message | None:
    """What the front end makes of a switch's message."""
    if message[1] == encode.PACKET_IN:
        return decode.packet_in(message)
    value = value_of(message)
    assert not isinstance(value, FlowUpdates) or message[4:8] == bytes(4)
    return value
