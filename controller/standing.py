"""How a host stands: its session's state, and what keeps it from working, in words."""

from __future__ import annotations

from controller.certificates import Certificate
from controller.engine import Engine
from controller.identities import why_held
from controller.replica import Replica, State
from controller.service import HostStatus, TunnelPort
from topology.model import Host, Topology
from topology.types import Fingerprint

HELD = "HELD"


def host_status(engine: Engine, dpid: int) -> HostStatus:
    """What the API shows of a host beside its facts."""
    replica = engine.replicas.get(dpid)
    if replica is None:
        held = engine.identities.held.get(dpid)
        if held is None:
            return HostStatus(False, "DISCONNECTED", None, (), 0, shed=_shed(engine, dpid))
        certificate = _fingerprint(held.certificate)
        return HostStatus(
            True, HELD, why_held(dpid), (), 0, address=held.peer, certificate=certificate
        )
    state, reason = standing(engine.topology, replica)
    host = engine.topology.hosts.get(dpid)
    ports = tuple(
        TunnelPort(port, name, _remote(host, name)) for port, name in replica.bridge.tunnel_ports
    )
    answers = "switch" if replica.bridge.nd else "controller"
    return HostStatus(
        True,
        state,
        reason,
        ports,
        replica.desired_count(),
        answers,
        bool(replica.watch.works),
        replica.address,
        _fingerprint(replica.certificate),
        _shed(engine, dpid),
    )


def _shed(engine: Engine, dpid: int) -> int:
    budget = engine.budgets.known(dpid)
    return 0 if budget is None else budget.shed


def standing(topology: Topology, replica: Replica) -> tuple[str, str | None]:
    """A connected host's state as it is shown, and what keeps it from working."""
    reason = _trouble(topology, replica)
    degraded = reason is not None and replica.state is State.LIVE
    return "DEGRADED" if degraded else str(replica.state), reason


def _fingerprint(certificate: Certificate | None) -> Fingerprint | None:
    return None if certificate is None else certificate.fingerprint


def _remote(host: Host | None, port_name: str) -> str | None:
    remote = None if host is None else host.remote_of(port_name)
    return None if remote is None else str(remote)


def _trouble(topology: Topology, replica: Replica) -> str | None:
    bridge = replica.bridge
    host = topology.hosts.get(replica.dpid)
    if bridge.patch_port is None:
        return f"no patch port: br-tun has no port named {bridge.names.patch!r}"
    if not bridge.tunnel_ports:
        return f"no tunnel port: none is named like {', '.join(bridge.names.tunnels)}"
    if host is None or host.vtep is None:
        return "VTEP address not known; set it with PUT /v1/hosts/{dpid}"
    unproven = _unproven(topology, replica)
    if unproven:
        return unproven
    if replica.rejected:
        first = next(iter(replica.rejected.values()))
        return f"{len(replica.rejected)} flows refused by the switch, such as {first.reason}"
    return None


def _unproven(topology: Topology, replica: Replica) -> str | None:
    bridge, egress = replica.bridge, replica.egress
    names = dict(bridge.tunnel_ports)
    if egress.unproven and egress.flow_port is None and not bridge.trusting:
        return (
            f"tunnel port {names[egress.unproven[0]]}: no known VTEP answers through it, so it"
            " is not used; connect its peer, or declare it with PUT /v1/vteps/{ip} and PUT"
            " /v1/hosts/{dpid}"
        )
    if egress.keyless and any(vni for vni in topology.networks_on(bridge.dpid)):
        return (
            f"tunnel port {names[min(egress.keyless)]} carries network 0 only: it needs"
            " options:key=flow for the others"
        )
    return None
