"""The evidence, from the engine as it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controller.budget import told
from controller.doctor.evidence import Evidence, HostEvidence, StoreEvidence
from controller.doctor.findings import RECENT_S
from controller.engine import Engine
from controller.replica import Replica
from controller.service import TunnelStatus
from controller.sessions import Sessions
from topology.model import Host
from topology.types import Dpid


def gather(
    engine: Engine,
    sessions: Sessions,
    store: StoreEvidence,
    tunnels: list[TunnelStatus],
    target: str,
    now_s: float,
    pause: Callable[[], None] = lambda: None,
) -> Evidence:
    """``pause`` is called after each host: others may have a turn."""
    settings = engine.settings
    hosts = []
    for dpid in sorted(engine.topology.hosts):
        host = engine.topology.hosts.get(dpid)
        if host is not None:
            hosts.append(_host(engine, sessions, host, now_s))
        pause()
    return Evidence(
        engine.topology,
        hosts,
        tunnels,
        sessions,
        list(engine.packets.sightings.since(now_s - RECENT_S)),
        list(engine.packets.moves.held(now_s)),
        store,
        settings.names.patch,
        settings.names.tunnels,
        (settings.limits.per_place, settings.limits.per_network),
        target,
        now_s,
        tuple((Dpid(dpid), held.peer) for dpid, held in sorted(engine.identities.held.items())),
    )


def _host(engine: Engine, sessions: Sessions, host: Host, now_s: float) -> HostEvidence:
    topology, replica = engine.topology, engine.replicas.get(host.dpid)
    past = sessions.past(host.dpid)
    address = None if past is None else past.address
    if address is None and host.seen_address is not None:
        address = str(host.seen_address)
    there = HostEvidence(
        host.dpid,
        host.name,
        host.vtep,
        host.declared_vtep is None and host.seen_vtep is None,
        engine.heard_at.get(host.dpid),
        len(topology.vms_on(host.dpid)),
        any(vni for vni in topology.networks_on(host.dpid)),
        replica is not None,
        address,
    )
    return there if replica is None else _with_switch(there, engine, replica, now_s)


def _shed(engine: Engine, dpid: int) -> tuple[float, int, str] | None:
    budget = engine.budgets.known(dpid)
    return (
        (budget.last_s, budget.shed, told(budget)) if budget is not None and budget.shed else None
    )


def _with_switch(
    there: HostEvidence, engine: Engine, replica: Replica, now_s: float
) -> HostEvidence:
    bridge, egress = replica.bridge, replica.egress
    ports = dict(bridge.tunnel_ports)
    rejection = next(iter(replica.rejected.values()), None)
    proving = egress.flow_port is not None or bridge.trusting
    shown = replace(
        there,
        has_patch=bridge.patch_port is not None,
        tunnel_ports=tuple(ports.values()),
        unproven=() if proving else tuple(ports[port] for port in egress.unproven),
        keyless=tuple(ports[port] for port in sorted(egress.keyless) if port in ports),
        rejected=len(replica.rejected),
        rejection="" if rejection is None else rejection.reason,
        meters=bridge.meters,
        nd=bridge.nd,
        drift=replica.drifted,
        contested=replica.contest.goes_on(now_s),
        emptied=replica.emptied,
        shed=_shed(engine, replica.dpid),
    )
    found = engine.examiner.found.get(replica.dpid)
    if found is None:
        return shown
    return replace(shown, ports_s=found.ports_s, in_band=found.in_band)
