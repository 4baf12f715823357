"""What a bridge should hold, flow by flow, in ovs-ofctl's words and with the reason."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import asdict
from typing import Final

from controller.engine import Engine
from controller.events import Drift
from controller.flow import Flow, ofctl_actions, ofctl_match
from controller.pipeline import WHY, Kind, cookie_kind
from controller.service import FlowView
from controller.wire.decode import FlowEntry
from controller.wire.dumptext import actions_text, match_text
from controller.wire.encode import cookie_of, split
from controller.wire.readback import read_flow
from topology.model import Topology
from topology.types import Dpid, Ip, Mac, VtepIp

FLOWS_TOLD: Final = 10
"""So many flows of a drift are told in full."""


def flow_view(add: bytes, subject: str | None = None) -> FlowView:
    """An encoded flow, and what it is for."""
    flow: Flow = read_flow(add)
    why = WHY[Kind(flow.kind)]
    return FlowView(
        f"{cookie_of(add):#018x}",
        flow.table,
        flow.priority,
        ofctl_match(flow.match),
        ofctl_actions(flow),
        f"{subject}: {why}" if subject else why,
    )


def entry_view(entry: FlowEntry) -> FlowView:
    """An installed flow that should not be there, as far as its dump can be read."""
    kind = cookie_kind(entry.cookie)
    why = (
        "not one of this controller's flows"
        if kind is None
        else f"no fact asks for it any more: {WHY[kind]}"
    )
    return FlowView(
        f"{entry.cookie:#018x}",
        entry.table,
        entry.priority,
        match_text(entry),
        actions_text(entry),
        why,
    )


def views_of(engine: Engine, dpid: int, cookies: Collection[int]) -> tuple[FlowView, ...]:
    """Those of the flows that this bridge should hold which have these cookies."""
    found: dict[int, FlowView] = {}
    replica = engine.replicas.get(dpid)
    for vni, table in () if replica is None or not cookies else replica.tables.items():
        keys: set[Hashable] = {table.names[cookie] for cookie in cookies if cookie in table.names}
        if len(found) < len(cookies):
            keys.update(table.owned(dpid))
        for key in keys:
            subject = subject_of(engine.topology, vni, key)
            for add in split(table.units[key].side(dpid)):
                if cookie_of(add) in cookies:
                    found[cookie_of(add)] = flow_view(add, subject)
    return tuple(sorted(found.values(), key=lambda view: (view.table, -view.priority, view.match)))


def drift_told(engine: Engine, drift: Drift) -> dict[str, object]:
    """Drift in JSON's words, with the first of the flows."""
    host = engine.topology.hosts.get(drift.dpid)
    told: list[dict[str, object]] = []
    for how, cookies in (("missing", drift.missing), ("changed", drift.changed)):
        few = set(cookies[: FLOWS_TOLD - len(told)])
        told += [{**asdict(view), "how": how} for view in views_of(engine, drift.dpid, few)]
    for entry in drift.extra[: FLOWS_TOLD - len(told)]:
        told.append({**asdict(entry_view(entry)), "how": "extra"})
    return {
        "host": str(Dpid(drift.dpid)),
        "host_name": None if host is None else host.name,
        "missing": len(drift.missing),
        "extra": len(drift.extra),
        "changed": len(drift.changed),
        "flows": told,
        "mended": drift.mended,
        "seen_by": drift.seen_by,
    }


def subject_of(topology: Topology, vni: int, key: Hashable) -> str | None:
    """Whom a unit is about, in words."""
    match key:
        case ("mac", int(mac)):
            return station_text(topology, vni, mac)
        case (int(of), "mac", int(mac)):
            return f"talks to {station_text(topology, of, mac)}"
        case ("ip", int(ip)):
            return _address(topology, vni, ip)
        case (int(of), "ip", int(ip)):
            return f"talks to {_address(topology, of, ip)}"
        case ("vm", int(of), int(mac)):
            return station_text(topology, of, mac)
        case ("vtep", VtepIp() as vtep):
            host = topology.host_at(vtep)
            return f"VTEP {vtep}" if host is None else f"host {host.name or host.dpid}"
        case ("net", int(of)):
            network = topology.networks.get(of)
            return f"network {of if network is None else network.name or of}"
    return None


def station_text(topology: Topology, vni: int, mac: int) -> str:
    """A VM or learned MAC in words."""
    vm = topology.vms.get((vni, mac))
    named = f" {vm.name}" if vm is not None and vm.name else ""
    return f"{'VM' if vm else 'learned'}{named} {Mac(mac)}, VNI {vni}"


def _address(topology: Topology, vni: int, ip: int) -> str:
    vm = topology.vm_with_ip(vni, ip)
    named = f"VM {vm.name} " if vm is not None and vm.name else ""
    return f"{named}{Ip(ip)}, VNI {vni}"
