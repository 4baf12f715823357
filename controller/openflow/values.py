"""Messages of a switch to what the engine is told."""

from __future__ import annotations

from controller.events import (
    BarrierAnswered,
    BundleCommitted,
    DumpPart,
    FlowUpdates,
    Message,
    MonitorPaused,
)
from controller.openflow import guard
from controller.replica import XID_BASE
from controller.wire import decode, encode


def value_of(message: bytes) -> Message | None:
    """What the engine is told of a message of a live switch, if anything; packet-ins go apart.

    Malformed when what it would be told does not add up.
    """
    msg_type = message[1]
    if msg_type == encode.BARRIER_REPLY:
        return BarrierAnswered(int.from_bytes(message[4:8], "big"))
    if msg_type == encode.MULTIPART_REPLY:
        return _reply(message)
    if msg_type == encode.PORT_STATUS:
        return decode.port_status(message)
    if msg_type == encode.FLOW_REMOVED:
        return decode.flow_removed(message)
    if msg_type == encode.ERROR:
        return decode.error(message)
    if msg_type == encode.EXPERIMENTER:
        return _extension(message)
    return None


def _reply(message: bytes) -> Message | None:
    kind, more, body = decode.multipart(message)
    xid = int.from_bytes(message[4:8], "big")
    if xid >> 24 == XID_BASE >> 24:
        return DumpPart(xid, kind, body, more)
    if kind == encode.MP_EXPERIMENTER and body.startswith(encode.FLOW_MONITOR_NAME):
        return FlowUpdates(body[len(encode.FLOW_MONITOR_NAME) :])
    return None


def _extension(message: bytes) -> Message | None:
    bundle_id = guard.committed_bundle(message)
    if bundle_id is not None:
        return BundleCommitted(bundle_id)
    paused = guard.monitor_paused(message)
    return None if paused is None else MonitorPaused(paused)
