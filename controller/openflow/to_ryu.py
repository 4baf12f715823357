"""What Ryu's own handlers and other Ryu apps hear of a switch, after every length was walked."""

from __future__ import annotations

import logging
from typing import Any

from ryu.controller import ofp_event
from ryu.ofproto import ofproto_v1_3_parser

from controller.openflow import guard
from controller.wire import encode

LOG = logging.getLogger("vxlan_l2.openflow")

_EVENTS = {
    encode.FEATURES_REPLY: ofp_event.EventOFPSwitchFeatures,
    encode.PACKET_IN: ofp_event.EventOFPPacketIn,
    encode.FLOW_REMOVED: ofp_event.EventOFPFlowRemoved,
    encode.BARRIER_REPLY: ofp_event.EventOFPBarrierReply,
    encode.ERROR: ofp_event.EventOFPErrorMsg,
    encode.PORT_STATUS: ofp_event.EventOFPPortStatus,
    guard.GET_CONFIG_REPLY: ofp_event.EventOFPGetConfigReply,
    guard.QUEUE_GET_CONFIG_REPLY: ofp_event.EventOFPQueueGetConfigReply,
    guard.ROLE_REPLY: ofp_event.EventOFPRoleReply,
    guard.GET_ASYNC_REPLY: ofp_event.EventOFPGetAsyncReply,
}

_STATS = {
    0: ofp_event.EventOFPDescStatsReply,
    1: ofp_event.EventOFPFlowStatsReply,
    2: ofp_event.EventOFPAggregateStatsReply,
    3: ofp_event.EventOFPTableStatsReply,
    4: ofp_event.EventOFPPortStatsReply,
    5: ofp_event.EventOFPQueueStatsReply,
    6: ofp_event.EventOFPGroupStatsReply,
    7: ofp_event.EventOFPGroupDescStatsReply,
    8: ofp_event.EventOFPGroupFeaturesStatsReply,
    9: ofp_event.EventOFPMeterStatsReply,
    10: ofp_event.EventOFPMeterConfigStatsReply,
    11: ofp_event.EventOFPMeterFeaturesStatsReply,
    12: ofp_event.EventOFPTableFeaturesStatsReply,
    13: ofp_event.EventOFPPortDescStatsReply,
}

_HELLO_FAILED = b"\0\0"
_ERROR_MIN_BYTES = 20
"""Ryu writes a line for each error that quotes less than a header."""


class Unreadable(ValueError):
    """Ryu cannot read this message, or its handler failed."""


def others_hear(brick: Any, message: bytes) -> bool:
    """Whether any app beside Ryu's own handshake handler wants to hear of a message.

    Ryu's own keeps a switch's ports by port status.
    """
    msg_type = message[1]
    if msg_type == encode.PORT_STATUS:
        return True
    if msg_type == encode.MULTIPART_REPLY:
        event = _STATS.get(message[8] << 8 | message[9])
    else:
        event = _EVENTS.get(msg_type)
    if event is None or not brick.observers.get(event):
        return False
    failed = msg_type == encode.ERROR
    return not failed or (len(message) >= _ERROR_MIN_BYTES and message[8:10] != _HELLO_FAILED)


def others_hear_packets(brick: Any) -> bool:
    """The same of packet-ins."""
    return bool(brick.observers.get(ofp_event.EventOFPPacketIn))


def hand_over(connection: Any, message: bytes) -> None:
    """Tell Ryu; Malformed when lengths inside do not add up, Unreadable when Ryu gives up."""
    guard.inside(message)
    brick = connection.ofp_brick
    try:
        parsed = ofproto_v1_3_parser.msg_parser(
            connection,
            encode.VERSION,
            message[1],
            len(message),
            int.from_bytes(message[4:8], "big"),
            message,
        )
        event = ofp_event.ofp_msg_to_ev(parsed)
        brick.send_event_to_observers(event, connection.state)
        for handler in brick.get_handlers(event):
            if connection.state in handler.callers[event.__class__].dispatchers:
                handler(event)
    except Exception as error:
        raise Unreadable(f"Ryu cannot read message type {message[1]}: {error!r}") from error
