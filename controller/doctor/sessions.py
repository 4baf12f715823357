"""OpenFlow sessions: who is away, who flaps, who is refused."""

from __future__ import annotations

from collections.abc import Iterable

from controller.doctor.evidence import Evidence
from controller.doctor.findings import RECENT_S, Findings, ago, error, named, warning

FLAPS_S, FLAPS_MANY = 300.0, 4


@named("host-disconnected")
def host_disconnected(evidence: Evidence) -> Findings:
    """Every host that is known is connected."""
    for host in evidence.hosts:
        if host.connected:
            continue
        past = evidence.sessions.past(host.dpid)
        if past is None or past.left_s is None:
            started = ago(evidence.now_s - evidence.sessions.started_s)
            summary = f"{host.called} has not connected since the controller started {started} ago"
        else:
            gone = ago(evidence.now_s - past.left_s)
            summary = f"{host.called} is not connected, for {gone}; it was at {past.address}"
        vms = f"; {host.vms} VMs are registered there" if host.vms else ""
        came_s = past.came_s[-1] if past is not None and past.came_s else 0.0
        refused = evidence.sessions.refused_since(max(evidence.now_s - RECENT_S, came_s))
        reason = next((one.reason for one in refused if one.address == host.address), None)
        if reason is not None:
            cause = f"a connection from its address was refused: {reason}"
            yield error(host.called, summary, cause, cure_of_refusal(reason))
            continue
        yield error(
            host.called,
            summary,
            "its br-tun cannot reach the controller, and forwards by the flows that it has; or it"
            " has none set, and no flows then; or ovs-vswitchd does not run" + vms,
            f"ovs-vsctl set-controller br-tun {evidence.target}",
        )


@named("host-flaps")
def host_flaps(evidence: Evidence) -> Findings:
    """No host connects again and again."""
    since_s = evidence.now_s - FLAPS_S
    for host in evidence.hosts:
        past = evidence.sessions.past(host.dpid)
        if past is None or clashing(past.clashes, since_s):
            continue
        times = sum(at_s >= since_s for at_s in past.came_s)
        if times >= FLAPS_MANY:
            yield warning(
                host.called,
                f"{host.called} connected {times} times in the last {ago(FLAPS_S)}",
                "the network to the controller loses packets, large ones perhaps, or ovs-vswitchd"
                " restarts",
                f"ping -c 20 -M do -s 1472 {evidence.controller_ip}",
            )


@named("duplicate-dpid")
def duplicate_dpid(evidence: Evidence) -> Findings:
    """No two bridges claim one datapath id."""
    since_s = evidence.now_s - FLAPS_S
    for host in evidence.hosts:
        past = evidence.sessions.past(host.dpid)
        both = clashing(past.clashes, since_s) if past is not None else None
        if both is not None:
            yield error(
                host.called,
                f"two bridges, at {both[0]} and {both[1]}, both say they are {host.dpid_text}",
                "the datapath id comes from a MAC address: one of the two hosts is a copy of the"
                " other; the one that came first is served, the other one refused",
                "ovs-vsctl set bridge br-tun other_config:datapath-id="
                '"$(od -An -N8 -tx8 /dev/urandom | tr -d " ")"',
            )


def clashing(clashes: Iterable[tuple[float, str, str]], since_s: float) -> tuple[str, str] | None:
    """Two addresses that claim to be one host, if that happened of late."""
    for at_s, old, new in clashes:
        if at_s >= since_s and old != new:
            return old, new
    return None


@named("host-held")
def host_held(evidence: Evidence) -> Findings:
    """No switch waits to be declared."""
    for dpid, address in evidence.held:
        yield warning(
            str(dpid),
            f"switch {dpid} at {address} is held: it gets no flows, and keeps those it has",
            "nobody declared it, and hold_unknown is set",
            f"vxlanctl host declare {dpid}",
        )


@named("openflow-refused")
def openflow_refused(evidence: Evidence) -> Findings:
    """No connection to the OpenFlow port was refused in the last 10 minutes."""
    for refused in evidence.sessions.refused_since(evidence.now_s - RECENT_S):
        host = next((h for h in evidence.hosts if h.address == refused.address), None)
        past = None if host is None else evidence.sessions.past(host.dpid)
        came_since = past is not None and past.came_s and past.came_s[-1] > refused.at_s
        if host is not None and (host.connected or came_since):
            continue
        yield error(
            refused.address if host is None else host.called,
            f"a connection from {refused.address} was refused"
            f" {ago(evidence.now_s - refused.at_s)} ago",
            refused.reason,
            cure_of_refusal(refused.reason),
        )


def cure_of_refusal(reason: str) -> str | None:
    """What to type on the host whose connection was refused."""
    if "protocols=OpenFlow13" in reason:
        return "ovs-vsctl set bridge br-tun protocols=OpenFlow13"
    if "without TLS" in reason:
        secure = '"$(ovs-vsctl get-controller br-tun | sed s/^tcp/ssl/)"'
        return f"ovs-vsctl set-controller br-tun {secure}"
    if "presents no certificate" in reason or "its certificate is refused" in reason:
        return "ovs-vsctl get-ssl"
    if "speaks TLS" in reason:
        plain = '"$(ovs-vsctl get-controller br-tun | sed s/^ssl/tcp/)"'
        return f"ovs-vsctl set-controller br-tun {plain}"
    return None
