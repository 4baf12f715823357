"""What a bridge should hold, flow by flow, in ovs-ofctl's words and with the reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from controller.bridges import (
    Egress,
    base_flows,
    flow_port_flows,
    network_flows,
    port_flows,
    probe_flow,
    vtep_flows,
)
from controller.desired import UnitFlows, ip_unit, mac_unit
from controller.engine import Engine
from controller.flow import Flow, ofctl_actions, ofctl_match
from controller.pipeline import WHY, Kind, cookie_kind
from controller.replica import PRIVATE, Replica
from controller.service import FlowView
from controller.wire.decode import FlowEntry
from controller.wire.dumptext import actions_text, match_text
from controller.wire.encode import cookie_of, encode_flow
from topology.types import Ip, Mac


def flow_view(flow: Flow, subject: str | None = None) -> FlowView:
    why = WHY[Kind(flow.kind)]
    return FlowView(
        f"{cookie_of(encode_flow(flow)):#018x}",
        flow.table,
        flow.priority,
        ofctl_match(flow.match),
        ofctl_actions(flow),
        f"{subject}: {why}" if subject else why,
    )


def entry_view(entry: FlowEntry) -> FlowView:
    """An installed flow that should not be there, as far as its dump can be read."""
    kind = cookie_kind(entry.cookie)
    why = "not one of this controller's flows" if kind is None else f"stale: {WHY[kind]}"
    return FlowView(
        f"{entry.cookie:#018x}",
        entry.table,
        entry.priority,
        match_text(entry),
        actions_text(entry),
        why,
    )


def flow_views(engine: Engine, dpid: int) -> list[FlowView]:
    """All that this bridge should hold, in table order, highest priority first."""
    replica = engine.replicas.get(dpid)
    views = [] if replica is None else list(_private(engine, replica))
    views.extend(_shared(engine, dpid))
    return sorted(views, key=lambda view: (view.table, -view.priority, view.match))


def views_of(engine: Engine, dpid: int, cookies: Collection[int]) -> tuple[FlowView, ...]:
    """Those of the flows that this bridge should hold which have these cookies."""
    if not cookies:
        return ()
    wanted = {f"{cookie:#018x}" for cookie in cookies}
    return tuple(view for view in flow_views(engine, dpid) if view.cookie in wanted)


def _private(engine: Engine, replica: Replica) -> Iterator[FlowView]:
    bridge = replica.bridge
    egress = Egress.of(engine.topology, bridge)
    for flow in (
        *base_flows(),
        probe_flow(bridge.meters),
        *port_flows(bridge, egress),
        *flow_port_flows(egress),
    ):
        yield flow_view(flow)
    for host in engine.topology.hosts.values():
        if host.vtep is not None and host.dpid != replica.dpid:
            for flow in vtep_flows(bridge, egress, host.vtep):
                yield flow_view(flow, f"host {host.name or host.dpid}")
    for vni in replica.tables:
        network = engine.topology.networks.get(vni) if vni != PRIVATE else None
        if network is not None:
            for flow in network_flows(bridge, egress, network):
                yield flow_view(flow, f"network {network.name or network.vni}")


def _shared(engine: Engine, dpid: int) -> Iterator[FlowView]:
    topology = engine.topology
    for vni in topology.networks_on(dpid):
        keys = {*topology.vms_in(vni), *topology.learned_in(vni)}
        ips: dict[Ip, None] = {}
        for key in sorted(keys):
            vm = topology.vms.get(key)
            learned = topology.learned.get(key)
            for ip in () if vm is None else vm.ips:
                ips[ip] = None
            for ip, _seen_s in learned.ips if learned is not None else ():
                ips[ip] = None
            named = f" {vm.name}" if vm is not None and vm.name else ""
            subject = f"{'VM' if vm else 'learned'}{named} {Mac(key[1])}, VNI {vni}"
            yield from _side(mac_unit(topology, vni, key[1], engine.timing), dpid, subject)
        for ip in ips:
            subject = f"{ip}, VNI {vni}"
            yield from _side(ip_unit(topology, vni, ip, engine.timing), dpid, subject)


def _side(unit: UnitFlows | None, dpid: int, subject: str) -> Iterator[FlowView]:
    if unit is not None:
        for flow in unit.local if unit.owner == dpid else unit.remote:
            yield flow_view(flow, subject)
