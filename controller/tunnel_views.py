"""Tunnels as a user sees them: the pairs that are watched; foreign VTEPs, which answer nothing."""

from __future__ import annotations

from collections.abc import Iterator

from controller.engine import Engine
from controller.replica import Replica
from controller.service import TunnelStatus, TunnelSummary
from controller.tunnels import Tunnel, Tunnels, TunnelState


def tunnels_of(engine: Engine, replica: Replica, now_s: float) -> Iterator[TunnelStatus]:
    """A connected host's tunnels, by the address of the far end."""
    found = [_watched(engine, replica, tunnel, now_s) for tunnel in engine.tunnels.of(replica.dpid)]
    found += _foreign(engine, replica)
    yield from sorted(found, key=lambda one: (one.peer is None, one.peer or 0, one.vtep))


def summary_of(tunnels: Tunnels, dpid: int) -> TunnelSummary:
    """How a host's tunnels to other hosts are, in numbers only."""
    states, slowest_s = dict.fromkeys(TunnelState, 0), None
    for tunnel in tunnels.of(dpid):
        states[tunnels.state_of(tunnel)] += 1
        trip_s = tunnels.round_trip_s(dpid, tunnel.peer.dpid)
        if trip_s is not None:
            slowest_s = trip_s if slowest_s is None else max(slowest_s, trip_s)
    up, down, unknown = (states[state] for state in TunnelState)
    return TunnelSummary(up, down, unknown, slowest_s)


def _watched(engine: Engine, replica: Replica, tunnel: Tunnel, now_s: float) -> TunnelStatus:
    hosts, peer = engine.topology.hosts, tunnel.peer
    there = hosts.get(peer.dpid)
    seen_s = tunnel.seen_s
    return TunnelStatus(
        replica.dpid,
        hosts[replica.dpid].name,
        str(peer.vtep),
        peer.dpid,
        None if there is None else there.name,
        peer.port,
        None if peer.port is None else replica.ports.get(peer.port),
        str(engine.tunnels.state_of(tunnel)),
        engine.tunnels.round_trip_s(replica.dpid, peer.dpid),
        None if seen_s is None else max(0.0, now_s - seen_s),
        tunnel.sent,
        tunnel.lost,
        tunnel.mtu_bytes,
        peer.mtu_bytes or None,
        tunnel.mtu_ok,
    )


def _foreign(engine: Engine, replica: Replica) -> Iterator[TunnelStatus]:
    topology, egress = engine.topology, replica.egress
    for vtep in topology.vteps.values():
        shared = [vni for vni in vtep.vnis if topology.is_member(replica.dpid, vni)]
        if not shared:
            continue
        port = egress.peers.get(vtep.ip, egress.flow_port)
        yield TunnelStatus(
            replica.dpid,
            topology.hosts[replica.dpid].name,
            str(vtep.ip),
            None,
            vtep.name,
            port,
            None if port is None else replica.ports.get(port),
            str(TunnelState.UNKNOWN),
            mtu_needed_bytes=max(topology.networks[vni].mtu_bytes for vni in shared),
        )
