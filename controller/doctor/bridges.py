"""Bridges: their ports, what their switch can do, who else has a hand in them."""

from __future__ import annotations

from controller.doctor.evidence import Evidence
from controller.doctor.findings import RECENT_S, Findings, ago, error, named, warning
from controller.remedies import add_tunnel_port, join_bridges

STANDALONE_S, MARGIN_S = 15.0, 5.0
"""Open vSwitch takes over after three probes of its controller went unanswered, 5 s each."""


@named("patch-port")
def patch_port(evidence: Evidence) -> Findings:
    """Every br-tun has a patch port to br-int."""
    for host in evidence.connected:
        if not host.has_patch:
            name = evidence.patch_name
            yield error(
                host.called,
                f"br-tun of {host.called} has no port named {name!r}: its VMs reach nobody",
                "the port was removed, or has another name than the option patch_port says",
                join_bridges(name),
            )


@named("tunnel-port")
def tunnel_port(evidence: Evidence) -> Findings:
    """Every br-tun has tunnel ports, and each leads somewhere."""
    for host in evidence.connected:
        if not host.tunnel_ports:
            yield error(
                host.called,
                f"br-tun of {host.called} has no tunnel port"
                f" (none is named like {', '.join(evidence.tunnel_globs)})",
                "none was made, it was removed, or it has another name than tunnel_ports allows",
                add_tunnel_port("vxlan0", "flow"),
            )
        for name in host.unproven:
            yield error(
                host.called,
                f"tunnel port {name} of {host.called} leads to no known VTEP, and is not used",
                "its remote_ip is no host's address, its peer is not connected here, or the"
                " underlay drops what it sends",
                f"ovs-vsctl get interface {name} options:remote_ip",
            )


@named("key-flow")
def key_flow(evidence: Evidence) -> Findings:
    """No tunnel port loses the VNI."""
    for host in evidence.connected:
        for name in host.keyless if host.tenants else ():
            yield error(
                host.called,
                f"tunnel port {name} of {host.called} carries network 0 only",
                "it, or the port at its other end, was made without options:key=flow",
                f"ovs-vsctl set interface {name} options:key=flow",
            )


@named("flows-refused")
def flows_refused(evidence: Evidence) -> Findings:
    """No switch refuses a flow."""
    for host in evidence.connected:
        if host.rejected:
            yield error(
                host.called,
                f"{host.called} refused {host.rejected} flows, such as {host.rejection}",
                "its Open vSwitch, or its datapath, is too old for them",
                "ovs-vswitchd --version",
            )


@named("meters")
def meters(evidence: Evidence) -> Findings:
    """Every switch limits what it sends here by meters."""
    for host in evidence.connected:
        if not host.meters:
            yield warning(
                host.called,
                f"{host.called} has no meters: copies to the controller are not limited there",
                "its datapath has none (Linux has them since 4.15)",
                "ovs-appctl dpif/show-dp-features br-tun",
            )


@named("nd-responder")
def nd_responder(evidence: Evidence) -> Findings:
    """Neighbour solicitations are answered in the switch."""
    for host in evidence.connected:
        if not host.nd:
            yield warning(
                host.called,
                f"neighbour solicitations of {host.called}'s VMs are answered by the controller",
                "its datapath cannot turn a solicitation into an answer; while the controller is"
                " away, IPv6 neighbours are not found there",
                None,
            )


@named("in-band")
def in_band(evidence: Evidence) -> Findings:
    """No bridge has the hidden flows of in-band control."""
    for host in evidence.connected:
        if host.in_band:
            yield error(
                host.called,
                f"br-tun of {host.called} has hidden flows that come before all others",
                "in-band control is on: traffic to and from the controller's address, and ARP for"
                " it, is switched past the tunnels' rules",
                "ovs-vsctl set bridge br-tun other_config:disable-in-band=true",
            )


@named("fail-mode")
def fail_mode(evidence: Evidence) -> Findings:
    """No bridge lost its flows while its switch went on running."""
    for host in evidence.connected:
        ports_s, past = host.ports_s, evidence.sessions.past(host.dpid)
        if not host.emptied or ports_s is None or past is None or not past.came_s:
            continue
        session_s = evidence.now_s - past.came_s[-1]
        away_s = STANDALONE_S if past.away_s is None else past.away_s
        if ports_s < session_s + away_s + MARGIN_S or away_s < STANDALONE_S - MARGIN_S:
            continue  # the switch itself was restarted; or its controller was changed by hand
        unless = " (unless that was before this controller started)" if past.away_s is None else ""
        yield warning(
            host.called,
            f"br-tun of {host.called} came back with no flows {ago(session_s)} ago, though its"
            f" switch had not restarted{unless}",
            "fail_mode=standalone makes it a learning switch that loops while the controller is"
            " away (or somebody took its controller away)",
            "ovs-vsctl set-fail-mode br-tun secure",
        )


@named("drift")
def drift(evidence: Evidence) -> Findings:
    """Nobody else changed flows in the last 10 minutes."""
    for host in evidence.connected:
        if host.drift is None or evidence.now_s - host.drift[0] > RECENT_S:
            continue
        at_s, missing, extra = host.drift
        if host.contested:
            yield error(
                host.called,
                f"flows of {host.called} are changed as fast as they are mended",
                "another controller drives br-tun, too, or a script does: each undoes what the"
                " other did, so what is there changes all the time",
                "ovs-vsctl get-controller br-tun",
            )
            continue
        yield warning(
            host.called,
            f"on {host.called} {missing} flows were missing and {extra} were not ours,"
            f" {ago(evidence.now_s - at_s)} ago; that is mended",
            "somebody changes br-tun's flows by hand, or another controller does",
            "ovs-vsctl get-controller br-tun",
        )
