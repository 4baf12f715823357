"""/v1/tunnels: from each host to each far end, as probes find it."""

from __future__ import annotations

from typing import Final

from webob import Response

from controller.api import shapes_observed as shapes
from controller.api.call import Call
from controller.api.described import HOST, Described, choice
from controller.api.paging import page_of
from controller.api.problems import invalid
from controller.service import TunnelStatus
from controller.tunnels import TunnelState
from topology.errors import NotFound
from topology.types import Dpid

STATES: Final = tuple(str(state) for state in TunnelState)


@Described(
    "observability",
    shapes.Tunnel,
    paged=1,
    query=(HOST, choice("state", STATES, "only those in this state")),
    errors=(404,),
)
def index(call: Call) -> Response:
    """From each connected host to each far end: whether it is up, round trip, MTU.

    A foreign VTEP answers no probe. Beyond 128 hosts each watches some others, not all.
    """
    call.allow_query("host", "state", "limit", "cursor")
    ref, state = call.query("host"), call.query("state")
    if state is not None and state not in STATES:
        raise invalid("state", f"{state!r} is not one of {', '.join(STATES)}")
    host = None if ref is None else call.service.topology.find_host(ref)
    if ref is not None and host is None:
        raise NotFound(f"no host has the dpid, name or VTEP address {ref!r}")
    found = call.service.tunnels(None if host is None else host.dpid)
    return page_of(call, [one for one in found if state in (None, one.state)], show_tunnel)


def show_tunnel(tunnel: TunnelStatus) -> shapes.Tunnel:
    rtt_s, last_seen_s = tunnel.rtt_s, tunnel.last_seen_s
    return {
        "host": str(Dpid(tunnel.dpid)),
        "host_name": tunnel.host_name,
        "vtep": tunnel.vtep,
        "peer": None if tunnel.peer is None else str(Dpid(tunnel.peer)),
        "peer_name": tunnel.peer_name,
        "port": tunnel.port,
        "port_name": tunnel.port_name,
        "state": tunnel.state,
        "rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 3),
        "last_seen_s": None if last_seen_s is None else round(last_seen_s, 3),
        "sent": tunnel.sent,
        "lost": tunnel.lost,
        "mtu": tunnel.mtu_bytes,
        "mtu_needed": tunnel.mtu_needed_bytes,
        "mtu_ok": tunnel.mtu_ok,
    }
