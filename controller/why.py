"""Why does A not reach B: everything that is known, weighed, and said in one sentence.

Pure. The order of the evidence is the order in which a packet needs things: names that mean
somebody, hosts that are there, flows, tunnels, room for the packet, and a VM at the other end.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from controller import remedies
from controller.faults import Fault, kind_at, no_tunnel_to
from controller.inquiries import Answer
from controller.service import CheckResult, Evidence, TunnelStatus, WhyReport
from controller.stations import Station, place_name
from controller.trace import Asked, Trace
from topology.model import Host, Topology
from topology.types import Dpid, Mac, Vlan, VtepIp


@dataclass(frozen=True, slots=True)
class Presence:
    """What a VM itself said when it was asked: ``where`` it answered, and on which local VLAN.

    ``vlan`` is the one that its network has. Not asked: it has no IP, or its host is not here.
    ``neighbours`` are other VMs of its host that were asked because it is silent, and are too.
    """

    station: Station
    asked: bool = True
    answers: tuple[Answer, ...] = ()
    where: Dpid | None = None
    vlan: Vlan | None = None
    neighbours: int = 0
    patch: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it answered as it should: then whatever was noticed before is over."""
        return (
            bool(self.answers)
            and self.where == self.station.place
            and self.answers[0].vlan == self.vlan
            and {answer.mac for answer in self.answers} == {self.station.mac}
        )


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
    found_out = _answering_strangers(findings, trace, presences)
    delivered = trace.delivered or found_out != findings
    proven = delivered and not silent and all(one.is_well for one in presences)
    firm = [fault for _evidence, fault in found_out if fault is not None]
    doubts = [fault for _evidence, fault in noticed if fault is not None]
    # The doctor's word on these comes first: it knows which host is narrow, or who was refused.
    known = {fault.cause for fault in firm} & {"mtu", "host-disconnected"}
    better = [fault for fault in doubts if fault.cause in known]
    if delivered:  # then what it says of hosts is no fault of this way
        doubts = [fault for fault in doubts if fault.cause in _MATTERS_ANYWAY]
    fault = min([*better, *firm, *doubts], key=_weight, default=None)
    evidence = tuple(found for found, _fault in (*found_out, *noticed))
    src, dst = str(asked.src), str(asked.dst)
    if fault is None:
        sentence = f"{src} reaches {dst}: {_reached(trace, presences)}"
        return WhyReport(asked.src.vni, src, dst, True, sentence, None, None, evidence)
    harmless = fault.cause in _HARMS_LITTLE or (proven and fault.cause not in _HARMS_MUCH)
    reaches = delivered and harmless
    if fault.cause in ("not-known", "unknown-address-dropped"):
        fault = replace(fault, command=_register(topology, presences) or fault.command)
    sentence = f"{_verdict(src, dst, fault, firm, delivered, reaches)}: {fault.text}"
    return WhyReport(
        asked.src.vni, src, dst, reaches, sentence, fault.cause, fault.command, evidence
    )


_ORDER = (
    "no-patch-port",
    "no-tunnel-port",
    "vm-elsewhere",
    "host-silent",
    "host-disconnected",
    "vlan-mismatch",
    "different-networks",
    "duplicate-mac",
    "duplicate-ip",
    "foreign-flow",
    "flow-missing",
    "wrong-vtep",
    "key-flow",
    "no-tunnel-to-vtep",
    "underlay",
    "tunnel-down",
    "bridges-apart",
    "mtu",
)
"""What explains most comes first: a flow that is not hit because a port is gone is no cause."""


_HARMS_LITTLE = frozenset({"flow-missing", "foreign-flow", "flow-not-hit", "recent-drift"})
"""What may be wrong while frames arrive all the same: flooded, for one."""

_HARMS_MUCH = frozenset({"mtu"})
"""What may be wrong although small frames and answers get through."""

_MATTERS_ANYWAY = frozenset(
    {"vm-elsewhere", "vlan-mismatch", "duplicate-ip", "duplicate-mac", "flapping"} | _HARMS_LITTLE
)
"""What may be known of VMs that no probe between two hosts can disprove."""


def _is_about(faults: Sequence[Fault], cause: str) -> bool:
    return any(fault.cause == cause for fault in faults)


def _verdict(
    src: str, dst: str, fault: Fault, firm: Sequence[Fault], delivered: bool, reaches: bool
) -> str:
    if reaches:
        return f"{src} reaches {dst}, but"
    away = fault.cause in ("host-disconnected", "host-silent")
    if away and not _is_about(firm, "tunnel-down"):  # its flows forward without us
        return f"whether {src} reaches {dst} cannot be told"
    if fault.cause == "mtu" and delivered:
        return f"{src} reaches {dst} with small packets only"
    return f"{src} does not reach {dst}"


def _weight(fault: Fault) -> int:
    if fault.cause in ("silent", "recent-drift"):
        return len(_ORDER) + 1
    return _ORDER.index(fault.cause) if fault.cause in _ORDER else len(_ORDER)


_CAUSES = {
    "vm-place": "vm-elsewhere",
    "vlan": "vlan-mismatch",
    "patch-port": "no-patch-port",
    "key-flow": "keyless-port",  # of some port; key-flow is that the way of this packet is one
}
"""What checks of the doctor are called here, where they are about two VMs."""

_CHECKS_OF_VMS = ("vm-place", "vlan", "duplicate-ip", "flapping")
_OF_HOSTS = ("ovs-", "ip ", "ping ", "dev=", "arping ")


def of_check(result: CheckResult, answered: Mac | None = None) -> tuple[Evidence, Fault | None]:
    """What the doctor says of one of these hosts or VMs. Only an error is a fault.

    ``answered``: the VM that it is about has just answered as it should, so it is no longer on
    the wrong VLAN; and who sends by its MAC elsewhere is somebody else.
    """
    text = result.summary if result.cause is None else f"{result.summary} ({result.cause})"
    command, status, cause = result.command, result.status, _CAUSES.get(result.check, result.check)
    if command is not None and result.subject and command.startswith(_OF_HOSTS):
        command = remedies.on(command, result.subject)
    if answered is not None and cause == "vlan-mismatch":
        text, status = f"{result.summary}; it answers on its own VLAN now", "warning"
    elif answered is not None and cause == "vm-elsewhere":
        text = f"{result.summary}: another VM there has the same MAC, or it has just moved back"
        cause, command = "duplicate-mac", f"{remedies.find_port(answered)}   # there"
    evidence = Evidence(f"check {result.check}", status, text)
    return evidence, Fault(cause, text, command) if status == "error" else None


def concerns(result: CheckResult, stations: Sequence[Station | None], hosts: Sequence[str]) -> bool:
    """Whether a finding is about these VMs, or about their hosts and the way between them."""
    known = [one for one in stations if one is not None]
    if result.check == "key-flow" and not any(one.vni for one in known):
        return False  # network 0 needs no key
    if result.check in _CHECKS_OF_VMS:
        words = {str(word) for one in known for word in (one.mac, one.ip, *one.ips) if word}
        return any(names(result, word) for word in words)
    if result.subject not in hosts or result.check == "drift":  # drifts are told flow by flow
        return False
    whole = "any tunnel" in result.summary or "to and from" in result.summary
    pair = result.check in ("tunnel-down", "mtu") and not whole
    return not pair or all(names(result, host) for host in hosts)


def names(result: CheckResult, word: str) -> bool:
    """Whether a finding has this very word: 10.1.1.1 is not in 10.1.1.12."""
    bounded = rf"(?<![\w.:-]){re.escape(word)}(?![\w:-]|\.\w)"
    return re.search(bounded, f"{result.subject} {result.summary}") is not None


def _answering_strangers(
    findings: Sequence[tuple[Evidence, Fault | None]],
    trace: Trace,
    presences: Sequence[Presence],
) -> list[tuple[Evidence, Fault | None]]:
    """Nobody has registered it, but somebody has answered: flooding finds it."""
    strangers = {str(one.station) for one in presences if not one.station.is_known and one.answers}
    if str(trace.asked.dst) not in strangers:
        return list(findings)
    return [
        (replace(evidence, status="warning"), None)
        if fault is not None and fault.cause == "not-known"
        else (evidence, fault)
        for evidence, fault in findings
    ]


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
    command = (
        f"ping -c 3 {topology.vtep_of(dpid) or name}; ovs-appctl -t ovs-vswitchd version"
        f"   # the latter on {name}"
    )
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
        named = f" --name {shlex.quote(host.name)}" if host.name else ""
        command = f"vxlanctl host declare {host.dpid}{named} --vtep {host.seen_address}"
        return Evidence(what, "error", text), Fault("wrong-vtep", text, command)
    if tunnel.state == "down" and tunnel.port is None:
        fault = no_tunnel_to(name, VtepIp.parse(tunnel.vtep), kind_at(topology, tunnel.dpid), peer)
        return Evidence(what, "error", fault.text), fault
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
            "tunnel-down", text, f"ping -c 3 {tunnel.vtep}   # on {name}; UDP 4789 let through?"
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
        detail = (
            "cannot be asked: it has no known IP, or its switch is away, or has no patch port or"
            " meters"
        )
        return Evidence(what, "unknown", detail), None
    if not presence.answers and not station.is_known:
        return Evidence(what, "warning", "nobody answers for it on any connected host"), None
    if not station.is_known:
        heard, where = presence.answers[0], place_name(topology, presence.where)
        text = (
            f"is not registered, but {heard.mac} answers for it on {where}: only flooding finds"
            " it, where its network floods"
        )
        return Evidence(what, "warning", text), None
    if not presence.answers and presence.neighbours:
        text = (
            f"nobody on {home} answers, neither {station} nor {presence.neighbours} more VMs that"
            " were asked: br-int there is not joined to br-tun, or the VMs are all down"
        )
        command = remedies.on(remedies.join_bridges(presence.patch), home)
        return Evidence(what, "error", text), Fault("bridges-apart", text, command)
    if not presence.answers:
        text = (
            f"{station} does not answer for {ip} on {home}, nor on any other host: it is down, has"
            " another address, its port is on a VLAN that no network uses, or br-int is not joined"
            " to br-tun"
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
        command = remedies.on(remedies.set_tag(first.mac, presence.vlan), home)
        return Evidence(what, "error", text), Fault("vlan-mismatch", text, command)
    macs = {heard.mac for heard in presence.answers}
    if station.mac is not None and macs != {station.mac}:
        others = ", ".join(str(mac) for mac in sorted(macs - {station.mac}))
        text = f"{ip} is answered by {others} too, or instead of {station.mac}, on {home}"
        command = f"vxlanctl vm list --ip {ip}; arping -D {ip}"
        return Evidence(what, "error", text), Fault("duplicate-ip", text, command)
    after = f"{first.after_s * 1000:.1f} ms"
    return Evidence(what, "ok", f"answers for {ip} on {home} in {after}"), None


def _register(topology: Topology, presences: Sequence[Presence]) -> str | None:
    """The command that registers who answered for an address that nobody has registered."""
    for one in presences:
        if not one.station.is_known and one.answers:
            where = shlex.quote(place_name(topology, one.where))
            return (
                f"vxlanctl vm add {one.answers[0].mac} --network {one.station.vni} --host {where}"
                f" --ip {one.station.ip}"
            )
    return None


def _tag(vlan: Vlan | None) -> str:
    return "no VLAN" if vlan is None else f"local VLAN {vlan}"


def _reached(trace: Trace, presences: Sequence[Presence]) -> str:
    told = "; ".join(f"{stage.what} {stage.outcome}" for stage in trace.stages)
    for presence in presences:
        if not presence.station.is_known and presence.answers:
            told += f"; {presence.answers[0].mac} answers for it, and is not registered"
    return told
