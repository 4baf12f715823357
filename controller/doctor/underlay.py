"""Tunnel endpoints and the underlay between them: addresses, reachability, size."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from controller.doctor.evidence import Evidence, HostEvidence
from controller.doctor.findings import Findings, error, named, warning
from controller.remedies import add_tunnel_port, kind_of
from controller.service import CheckResult, TunnelStatus

OVERHEAD_BYTES = 50
"""Inner Ethernet, VXLAN or Geneve, UDP and outer IPv4 header, around an inner IP packet."""

PAIRS_TOLD = 20


@named("vtep-unknown")
def vtep_unknown(evidence: Evidence) -> Findings:
    """Every host's VTEP address is known."""
    for host in evidence.connected:
        if host.vtep is None:
            yield error(
                host.called,
                f"nobody knows where the tunnels of {host.called} end",
                "it connects from a loopback or IPv6 address, and no probe told another",
                host.declare("ADDRESS"),
            )


@named("vtep-duplicate")
def vtep_duplicate(evidence: Evidence) -> Findings:
    """No two hosts have one VTEP address."""
    for host in evidence.hosts:
        if host.vtep is None:
            continue
        others = [one for one in evidence.topology.hosts_at(host.vtep) if one.dpid != host.dpid]
        foreign = evidence.topology.vteps.get(host.vtep)
        if others and host.dpid < min(other.dpid for other in others):
            both = [one for one in evidence.hosts if one.vtep == host.vtep]
            wrong = next((one for one in both if one.heard_at not in (None, one.vtep)), None)
            gone = next((one for one in both if not one.connected and not one.vms), None)
            yield error(
                host.called,
                f"{' and '.join(one.called for one in both)} have one VTEP, {host.vtep}",
                "one of them is declared wrongly, or is a host that was set up anew",
                wrong.declare(str(wrong.heard_at))
                if wrong is not None
                else None
                if gone is None
                else f"vxlanctl host forget {gone.dpid_text}",
            )
        if foreign is not None:
            yield error(
                host.called,
                f"{host.vtep} is {host.called}'s VTEP, and also declared as a foreign one",
                "a foreign VTEP is one that does not connect here",
                f"vxlanctl vtep delete {host.vtep}",
            )


@named("vtep-wrong")
def vtep_wrong(evidence: Evidence) -> Findings:
    """Every host's tunnels end where it is declared."""
    up = {tunnel.peer for tunnel in evidence.tunnels if tunnel.state == "up"}
    for host in evidence.hosts:
        if host.heard_at is None or host.vtep is None or host.heard_at == host.vtep:
            continue
        make = warning if host.dpid in up else error
        yield make(
            host.called,
            f"{host.called}'s VTEP is declared as {host.vtep}, but its tunnels end at"
            f" {host.heard_at}",
            "the declaration is wrong, or the host has another address now",
            host.declare(str(host.heard_at)),
        )


@named("tunnel-down")
def tunnel_down(evidence: Evidence) -> Findings:
    """Every tunnel between connected hosts is up."""
    hosts: dict[int, HostEvidence] = {host.dpid: host for host in evidence.hosts}
    known = [tunnel for tunnel in evidence.tunnels if tunnel.state != "unknown"]
    down = [tunnel for tunnel in known if tunnel.state == "down"]
    portless = [tunnel for tunnel in down if tunnel.port is None]
    for tunnel in portless[:PAIRS_TOLD]:
        host = hosts[tunnel.dpid]
        if host.tunnel_ports:
            yield error(
                host.called,
                f"no tunnel port of {host.called} leads to {_peer(tunnel)} ({tunnel.vtep})",
                "the port was removed, or its remote_ip is another address",
                add_tunnel_port(_free_name(host), tunnel.vtep),
            )
    told = {
        host.dpid
        for host in evidence.hosts
        if host.heard_at not in (None, host.vtep) or (host.connected and not host.tunnel_ports)
    }
    lost = [one for one in down if one.port is not None and one.peer not in told]
    for dpid, tunnels in blamed(lost, known):
        blame = None if dpid is None else hosts.get(dpid)
        if blame is not None:
            yield _cut_off(hosts, blame, tunnels)
            continue
        for tunnel in tunnels[:PAIRS_TOLD]:
            yield _one_down(hosts[tunnel.dpid], tunnel, _has_own_port(evidence, tunnel))


def _cut_off(
    hosts: dict[int, HostEvidence], host: HostEvidence, tunnels: list[TunnelStatus]
) -> CheckResult:
    away = sum(tunnel.dpid == host.dpid for tunnel in tunnels)
    ways = "to or from" if 0 < away < len(tunnels) else "from" if away else "to"
    if host.address_only:
        cause = (
            f"{host.vtep} is the source of its OpenFlow connection; where that goes over another"
            " network than the tunnels, the VTEP is to be declared. Or the underlay drops what"
            " tunnels send"
        )
    else:
        cause = (
            f"its cable, its route, a firewall that drops UDP port 4789, or {host.vtep} is not its"
            " address"
        )
    first = tunnels[0]
    other = first.vtep if first.dpid == host.dpid else _vtep(hosts, first)
    return error(
        host.called,
        f"no probe comes through any tunnel {ways} {host.called} ({host.vtep})",
        cause,
        f"ping -c 3 -I {host.vtep} {other}",
    )


def _has_own_port(evidence: Evidence, tunnel: TunnelStatus) -> bool:
    """Whether the port leads to this peer alone, by its remote_ip."""
    shared = [
        one
        for one in evidence.tunnels
        if one.dpid == tunnel.dpid and one.port == tunnel.port and one.peer != tunnel.peer
    ]
    return not shared and len(evidence.hosts) > 2


def _one_down(host: HostEvidence, tunnel: TunnelStatus, own_port: bool) -> CheckResult:
    ping = f"ping -c 3 -I {host.vtep} {tunnel.vtep}"
    remote, read = "", ""
    if own_port:
        remote = f" the remote_ip of its port {tunnel.port_name} is another address,"
        read = f"ovs-vsctl get interface {tunnel.port_name} options:remote_ip; "
    return error(
        host.called,
        f"no probe comes through from {host.called} ({host.vtep}) to {_peer(tunnel)}"
        f" ({tunnel.vtep})",
        f"the underlay between them, a firewall that drops UDP port 4789 on the way,{remote} or"
        f" {tunnel.vtep} is not that host's address",
        read + ping,
    )


@named("mtu")
def mtu(evidence: Evidence) -> Findings:
    """The underlay carries what networks need, with 50 bytes around it."""
    hosts: dict[int, HostEvidence] = {host.dpid: host for host in evidence.hosts}
    known = [tunnel for tunnel in evidence.tunnels if tunnel.mtu_ok is not None]
    short = [tunnel for tunnel in known if not tunnel.mtu_ok]
    for dpid, tunnels in blamed(short, known):
        widest = max(tunnel.mtu_needed_bytes or 0 for tunnel in tunnels)
        passed = [tunnel.mtu_bytes for tunnel in tunnels if tunnel.mtu_bytes is not None]
        some = f"; {min(passed)} do" if passed else ""
        underlay = widest + OVERHEAD_BYTES
        blame = None if dpid is None else hosts.get(dpid)
        for tunnel in tunnels[:1] if blame is not None else tunnels[:PAIRS_TOLD]:
            subject = blame or hosts[tunnel.dpid]
            where = (
                f"to and from {subject.called}"
                if blame is not None
                else f"from {subject.called} to {_peer(tunnel)}"
            )
            towards = tunnel.vtep if tunnel.dpid == subject.dpid else _vtep(hosts, tunnel)
            yield error(
                subject.called,
                f"IP packets of {widest} bytes do not come through {where}{some}",
                f"the underlay's MTU on the way is below {underlay} ({widest} + {OVERHEAD_BYTES})",
                widen(towards, underlay),
            )


def widen(towards: str, mtu_bytes: int) -> str:
    """The command that sets the MTU of the way to a VTEP, of a bridge's ports too."""
    return (
        f"dev=$(ip -o route get {towards} | sed 's/.* dev \\([^ ]*\\).*/\\1/');"
        " for each in $(ovs-vsctl list-ports $dev 2>/dev/null)"
        " $(ls /sys/class/net/$dev/brif 2>/dev/null) $dev;"
        f" do ip link set dev $each mtu {mtu_bytes}; done"
    )


def blamed(
    bad: list[TunnelStatus], known: Iterable[TunnelStatus]
) -> Iterator[tuple[int | None, list[TunnelStatus]]]:
    """Bad tunnels by the host that all its tunnels, out or in, are bad of; the rest under None.

    Where that is so of several hosts, the one with most comes first and takes its tunnels away.
    """
    left, others = list(bad), list(known)
    while True:
        ends = _by_end(others)
        counts = Counter({key: len(of) for key, of in _by_end(left).items()})
        whole = [
            dpid
            for dpid in {dpid for dpid, _way in counts}
            if sum(counts[dpid, way] for way in ("out", "in")) > 1
            and any(counts[dpid, way] == len(ends[dpid, way]) > 1 for way in ("out", "in"))
        ]
        if not whole:
            break
        worst = max(whole, key=lambda dpid: (counts[dpid, "out"] + counts[dpid, "in"], -dpid))
        yield worst, [one for one in left if worst in (one.dpid, one.peer)]
        left = [one for one in left if worst not in (one.dpid, one.peer)]
        others = [one for one in others if worst not in (one.dpid, one.peer)]
    if left:
        yield None, left


def _by_end(tunnels: Iterable[TunnelStatus]) -> dict[tuple[int, str], list[TunnelStatus]]:
    ends: dict[tuple[int, str], list[TunnelStatus]] = defaultdict(list)
    for tunnel in tunnels:
        ends[tunnel.dpid, "out"].append(tunnel)
        if tunnel.peer is not None:
            ends[tunnel.peer, "in"].append(tunnel)
    return ends


def _peer(tunnel: TunnelStatus) -> str:
    return tunnel.peer_name or (f"{tunnel.peer:016x}" if tunnel.peer is not None else tunnel.vtep)


def _vtep(hosts: dict[int, HostEvidence], tunnel: TunnelStatus) -> str:
    return str(hosts[tunnel.dpid].vtep)


def _free_name(host: HostEvidence) -> str:
    taken, kind = set(host.tunnel_ports), kind_of(host.tunnel_ports)
    return next(name for n in range(len(taken) + 1) if (name := f"{kind}{n}") not in taken)
