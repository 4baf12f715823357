"""What the OpenFlow front end makes of a switch's messages, without its sockets."""

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
from controller.wire import decode, encode


def as_value(message: bytes) -> Message | None:
    """What the front end makes of a switch's message."""
    kind, xid = message[1], int.from_bytes(message[4:8], "big")
    if kind == encode.PACKET_IN:
        return decode.packet_in(message)
    if kind == encode.BARRIER_REPLY:
        return BarrierAnswered(xid)
    if kind == encode.MULTIPART_REPLY:
        what, more, body = decode.multipart(message)
        if what == encode.MP_EXPERIMENTER and not xid:
            return FlowUpdates(body.removeprefix(encode.FLOW_MONITOR_NAME))
        return DumpPart(xid, what, body, more)
    if kind == encode.PORT_STATUS:
        return decode.port_status(message)
    if kind == encode.FLOW_REMOVED:
        return decode.flow_removed(message)
    if kind == encode.ERROR:
        return decode.error(message)
    paused = guard.monitor_paused(message)
    if paused is not None:
        return MonitorPaused(paused)
    bundle_id = guard.committed_bundle(message)
    return None if bundle_id is None else BundleCommitted(bundle_id)
