"""Why does A not reach B: everything that is known, weighed, and said in one sentence.

Pure. The order of the evidence is the order in which a packet needs things: names that mean
somebody, hosts that are there, flows, tunnels, room for the packet, and a VM at the other end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controller.faults import Fault
from controller.inquiries import Answer
from controller.service import CheckResult, Evidence, TunnelStatus, WhyReport
from controller.stations import Station, place_name
from controller.trace import Asked, Trace
from topology.model import Host, Topology
from topology.types import Dpid, Vlan


@dataclass(frozen=True, slots=True)
class Presence:
    """What a VM itself said when it was asked: ``where`` it answered, and on which local VLAN.

    ``vlan`` is the one that its network has. Not asked: it has no IP, or its host is not here.
    """

    station: Station
    asked: bool = True
    answers: tuple[Answer, ...] = ()
    where: Dpid | None = None
    vlan: Vlan | None = None


def answer(
    topology: Topology,
    asked: Asked,
    trace: Trace,
    tunnels: Sequence[TunnelStatus],
    presences: Sequence[Presence],
    silent: Mapping[Dpid, str],
    noticed: Sequence[tuple[Evidence, Fault | None]] = (),
) -> WhyReport:
    """Weigh it all. ``silent`` hosts are connected, and do not answer.

    ``noticed`` is what is known to be wrong with these hosts, VMs and networks.
    """
    findings: list[tuple[Evidence, Fault | None]] = list(_of_trace(trace))
    findings += [_of_silence(topology, dpid, text) for dpid, text in silent.items()]
    findings += [_of_tunnel(topology, tunnel) for tunnel in tunnels]
    findings += [_of_presence(topology, presence) for presence in presences]
    findings += noticed
    faults = [fault for _evidence, fault in findings if fault is not None]
    fault = min(faults, key=_weight, default=None)
    evidence = tuple(found for found, _fault in findings)
    src, dst = str(asked.src), str(asked.dst)
    if fault is None:
        sentence = f"{src} reaches {dst}: {_reached(trace)}"
        return WhyReport(asked.src.vni, src, dst, True, sentence, None, None, evidence)
    reaches = trace.delivered and fault.cause in _HARMS_LITTLE
    verb = "reaches" if reaches else "does not reach"
    sentence = f"{src} {verb} {dst}{', but' if reaches else ''}: {fault.text}"
    return WhyReport(
        asked.src.vni, src, dst, reaches, sentence, fault.cause, fault.command, evidence
    )


_ORDER = (
    "different-networks",
    "no-patch-port",
    "no-tunnel-port",
    "duplicate-mac",
    "vm-elsewhere",
    "vlan-mismatch",
    "duplicate-ip",
    "foreign-flow",
    "flow-missing",
    "wrong-vtep",
    "host-silent",
    "tunnel-down",
    "underlay",
    "host-disconnected",
    "no-tunnel-to-vtep",
    "mtu",
)
"""What explains most comes first: a flow that is not hit because a port is gone is no cause."""


_HARMS_LITTLE = frozenset({"flow-missing", "foreign-flow", "flow-not-hit", "recent-drift"})
"""What may be wrong while frames arrive all the same: flooded, for one."""


def _weight(fault: Fault) -> int:
    if fault.cause in ("silent", "recent-drift"):
        return len(_ORDER) + 1
    return _ORDER.index(fault.cause) if fault.cause in _ORDER else len(_ORDER)


_CAUSES = {"vm-place": "vm-elsewhere", "vlan": "vlan-mismatch"}
"""What checks of the doctor are called here, where they are about two VMs."""


def of_check(result: CheckResult) -> tuple[Evidence, Fault | None]:
    """What the doctor says of one of these hosts or VMs. Only an error is a fault."""
    text = result.summary if result.cause is None else f"{result.summary} ({result.cause})"
    evidence = Evidence(f"check {result.check}", result.status, text)
    cause = _CAUSES.get(result.check, result.check)
    return evidence, Fault(cause, text, result.command) if result.status == "error" else None


def _of_trace(trace: Trace) -> Iterator[tuple[Evidence, Fault | None]]:
    for stage in trace.stages:
        if stage.fault is not None:
            yield Evidence(stage.what, "error", stage.fault.text), stage.fault
        else:
            counted = [hop.packets for hop in stage.hops if hop.packets is not None]
            proof = f"; a probe's {min(counted)} frames were counted all the way" if counted else ""
            yield Evidence(stage.what, "ok" if stage.ok else "warning", stage.outcome + proof), None


def _of_silence(topology: Topology, dpid: Dpid, text: str) -> tuple[Evidence, Fault]:
    name = place_name(topology, dpid)
    said = f"host {name} is connected, but does not answer: {text}"
    command = f"ping {topology.vtep_of(dpid) or name}; ovs-appctl version   # the latter on {name}"
    return Evidence(f"host {name}", "error", said), Fault("host-silent", said, command)


def _of_tunnel(topology: Topology, tunnel: TunnelStatus) -> tuple[Evidence, Fault | None]:
    name = tunnel.host_name or str(Dpid(tunnel.dpid))
    peer = tunnel.peer_name or (tunnel.vtep if tunnel.peer is None else str(Dpid(tunnel.peer)))
    what = f"tunnel {name} to {peer}"
    host = None if tunnel.peer is None else topology.hosts.get(tunnel.peer)
    if tunnel.state == "down" and host is not None and _is_misdeclared(host):
        text = (
            f"the VTEP of {peer} is declared as {host.declared_vtep}, where no probe arrives, while"
            f" it connects from {host.seen_address}"
        )
        command = f"vxlanctl host declare {peer} --vtep {host.seen_address}"
        return Evidence(what, "error", text), Fault("wrong-vtep", text, command)
    if tunnel.state == "down":
        seen = (
            "before this controller started, if ever"
            if tunnel.last_seen_s is None
            else f"{tunnel.last_seen_s:.0f} s ago"
        )
        text = (
            f"the tunnel from {name} to {peer} (VTEP {tunnel.vtep}) is down: a probe came through"
            f" last {seen}"
        )
        fault = Fault(
            "tunnel-down", text, f"ping {tunnel.vtep}   # on {name}; UDP 4789 let through?"
        )
        return Evidence(what, "error", text), fault
    if tunnel.mtu_ok is False:
        carried = tunnel.mtu_bytes
        most = "" if carried is None else f", the largest that came through has {carried} bytes"
        text = (
            f"IP packets of {tunnel.mtu_needed_bytes} bytes do not get from {name} to {peer}: small"
            f" ones arrive, large ones vanish{most}"
        )
        mtu_bytes = (tunnel.mtu_needed_bytes or 0) + 50
        command = (
            f"ip link set UNDERLAY mtu {mtu_bytes}   # between {name} and {peer}, or lower mtu"
        )
        return Evidence(what, "error", text), Fault("mtu", text, command)
    if tunnel.state == "up":
        rtt = "" if tunnel.rtt_s is None else f", {tunnel.rtt_s * 1000:.1f} ms"
        mtu = "" if tunnel.mtu_bytes is None else f", carries {tunnel.mtu_bytes} bytes"
        return Evidence(what, "ok", f"up{rtt}{mtu}"), None
    return Evidence(what, "unknown", "not probed yet"), None


def _is_misdeclared(host: Host) -> bool:
    """Whether its VTEP was declared, and is not where it connects from."""
    return host.declared_vtep is not None and host.seen_address not in (None, host.declared_vtep)


def _of_presence(topology: Topology, presence: Presence) -> tuple[Evidence, Fault | None]:
    station = presence.station
    what, home = f"VM {station}", place_name(topology, station.place)
    ip = station.ip or next(iter(station.ips), None)
    if not presence.asked:
        detail = "cannot be asked: it has no known IP, or its switch has no meters"
        return Evidence(what, "unknown", detail), None
    if not presence.answers:
        text = (
            f"{station} does not answer for {ip} on {home}, nor on any other host: it is down, has"
            " another address, or its port is on a VLAN that no network uses"
        )
        command = (
            f"ovs-vsctl --columns=name,tag list port; ovs-appctl fdb/show br-int   # on {home}"
        )
        return Evidence(what, "error", text), Fault("silent", text, command)
    first = presence.answers[0]
    if presence.where != station.place:
        where = place_name(topology, presence.where)
        text = (
            f"{station} is {'registered' if station.registered else 'known'} on {home}, but"
            f" answers on {where}"
        )
        command = f"vxlanctl vm move {station} {where} --network {station.vni}"
        return Evidence(what, "error", text), Fault("vm-elsewhere", text, command)
    if first.vlan != presence.vlan:
        text = (
            f"{station} answers on {home} on {_tag(first.vlan)}, but its network, VNI"
            f" {station.vni}, has {_tag(presence.vlan)}: its port has the wrong tag"
        )
        tag = f"tag={presence.vlan}" if presence.vlan else "tag=[]"
        command = (
            f"ovs-vsctl set port PORT {tag}   # on {home}; PORT: the one that `ovs-appctl fdb/show"
            f" br-int` shows for {first.mac}"
        )
        return Evidence(what, "error", text), Fault("vlan-mismatch", text, command)
    macs = {heard.mac for heard in presence.answers}
    if station.mac is not None and macs != {station.mac}:
        others = ", ".join(str(mac) for mac in sorted(macs - {station.mac}))
        text = f"{ip} is answered by {others} too, or instead of {station.mac}, on {home}"
        command = f"vxlanctl vm list --ip {ip}; arping -D {ip}"
        return Evidence(what, "error", text), Fault("duplicate-ip", text, command)
    after = f"{first.after_s * 1000:.1f} ms"
    return Evidence(what, "ok", f"answers for {ip} on {home} in {after}"), None


def _tag(vlan: Vlan | None) -> str:
    return "no VLAN" if vlan is None else f"local VLAN {vlan}"


def _reached(trace: Trace) -> str:
    return "; ".join(f"{stage.what} {stage.outcome}" for stage in trace.stages)
