"""Faults in words: what keeps a packet from arriving, and the command that mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller import remedies
from controller.flow import ofctl_actions, ofctl_match
from controller.journey import Hop, Packet
from controller.pipeline import Kind, Table, cookie_kind
from controller.stations import Station, place_name
from topology.model import Network, Topology
from topology.types import Dpid, VtepIp


@dataclass(frozen=True, slots=True)
class Fault:
    """``cause`` is for programs, ``text`` for people; ``command`` mends it where one can."""

    cause: str
    text: str
    command: str | None = None


def foreign_flow(host: str, hop: Hop) -> Fault:
    """A flow that nobody asked for takes the packet away."""
    assert hop.flow is not None
    flow = hop.flow
    text = (
        f"host {host}: a flow that is not this controller's takes the packet in table {flow.table}"
        f" (priority {flow.priority}, {ofctl_match(flow.match) or 'any'}"
        f" -> {ofctl_actions(flow)}); the controller removes it, but somebody else writes to br-tun"
    )
    return Fault("foreign-flow", text, f"ovs-ofctl snoop br-tun   # on {host}: who writes there?")


def missing_flow(host: str, hop: Hop) -> Fault:
    """A flow that should be there is not."""
    if hop.flow is None:
        return Fault("flow-missing", f"host {host}: table {hop.table.name} lacks its miss flow")
    text = (
        f"host {host}: a flow of table {hop.table.value} {hop.table.name} is missing or changed"
        f" ({hop.why}: {ofctl_match(hop.flow.match) or 'any'}); somebody else"
        " deleted or modified it, and the controller mends it when it notices"
    )
    return Fault("flow-missing", text, f"vxlanctl host diff {host}")


def fault_of_loss(reason: str) -> Fault:
    """The simulator's own words: a port that leads nowhere, nobody at the other end."""
    return Fault("no-way", reason, "vxlanctl doctor")


def fault_of_drop(
    topology: Topology,
    network: Network,
    hop: Hop,
    packet: Packet,
    src: Station,
    dst: Station | None,
) -> Fault:
    """Why a flow, or the want of one, drops the packet."""
    host = place_name(topology, hop.dpid)
    kind = None if hop.cookie is None else cookie_kind(hop.cookie)
    name = f"network {network.name or network.vni}"
    if kind in _POLICY:
        cause, text, command = _POLICY[kind]
        return Fault(
            cause,
            f"host {host}: {text.format(src=src, dst=dst, network=name)}",
            command.format(src=src, dst=dst, vni=network.vni),
        )
    if kind in (Kind.TABLE_MISS, None):
        miss = _MISSES.get(hop.table)
        if miss is not None:
            return miss(topology, network, hop, packet, host, dst)
    return Fault("dropped", f"host {host}: {hop.why}", f"vxlanctl host flows {host}")


_POLICY: dict[Kind | None, tuple[str, str, str]] = {
    Kind.UNICAST_DROP: (
        "unknown-unicast-dropped",
        "{dst} is not known in {network}, which drops unknown unicast",
        "vxlanctl vm add {dst} --network {vni} --host HOST   # or unknown_unicast: flood",
    ),
    Kind.NEIGHBOUR_DROP: (
        "unknown-address-dropped",
        "no VM is registered with this address in {network}, which drops who-has for unknown"
        " addresses of its subnets (unknown_arp: drop)",
        "vxlanctl vm set NAME --network {vni} --ip ADDRESS   # register the address",
    ),
    Kind.MULTICAST_DROP: (
        "multicast-dropped",
        "{network} drops multicast",
        "vxlanctl network set {vni} --multicast flood",
    ),
    Kind.QUIET_DROP: (
        "quiet",
        "{network} keeps membership reports and router solicitations on their host (quiet)",
        "vxlanctl network set {vni} --no-quiet",
    ),
    Kind.FORGED: (
        "port-security",
        "port security of {network}: {src} uses a MAC or IP that it is not registered with",
        "vxlanctl vm set {src} --network {vni} --ip ADDRESS   # register the address it uses",
    ),
    Kind.SOURCE_GUARD: (
        "vm-elsewhere",
        "{src} is registered on this very host, but its frame came through a tunnel: it runs on"
        " another host than it is registered on",
        "vxlanctl vm move {src} HOST --network {vni}",
    ),
    Kind.UNICAST_LOCAL: (
        "same-host",
        "{dst} is registered on this host, so br-int has to deliver it; br-int floods it to"
        " br-tun, so it does not know the VM: it is down, on another host, or on another VLAN",
        "ovs-appctl fdb/show br-int",
    ),
}


def _not_carried(
    topology: Topology,
    network: Network,
    hop: Hop,
    packet: Packet,
    host: str,
    _dst: Station | None,
) -> Fault:
    tag = "untagged frames" if packet.vlan is None else f"local VLAN {packet.vlan}"
    if topology.is_member(hop.dpid, network.vni):
        return Fault("flow-missing", f"host {host}: nothing takes {tag} in", "vxlanctl doctor")
    return Fault(
        "not-carried",
        f"host {host} does not carry network {network.name or network.vni}: no VM of it is"
        " registered there, so its frames are not taken in",
        f"vxlanctl vm add MAC --network {network.vni} --host {host}",
    )


def _unknown_vtep(
    topology: Topology,
    _network: Network,
    hop: Hop,
    packet: Packet,
    host: str,
    _dst: Station | None,
) -> Fault:
    return Fault(
        "unknown-vtep",
        f"host {host} drops what comes from a VTEP that it does not know as one of the fabric",
        "vxlanctl doctor",
    )


def _no_member(
    topology: Topology,
    network: Network,
    _hop: Hop,
    _packet: Packet,
    host: str,
    _dst: Station | None,
) -> Fault:
    return Fault(
        "not-carried",
        f"host {host} does not carry network {network.name or network.vni}: what a tunnel brings"
        " of it is dropped there",
        f"vxlanctl vm add MAC --network {network.vni} --host {host}",
    )


def _no_egress(
    topology: Topology,
    network: Network,
    hop: Hop,
    _packet: Packet,
    host: str,
    dst: Station | None,
) -> Fault:
    vtep = None if dst is None or dst.place is None else topology.vtep_of(dst.place)
    here = topology.hosts.get(hop.dpid)
    keyless = [
        port
        for port in (() if here is None or not network.vni else here.seen_keyless)
        if here is not None and here.remote_of(port) == vtep
    ]
    if keyless:
        commands = [f"ovs-vsctl set interface {port} options:key=flow" for port in keyless]
        return Fault(
            "key-flow",
            f"host {host}: {' and '.join(keyless)} of it, or the port at the other end, was made"
            " without options:key=flow: it carries network 0 only, and no other port leads to"
            f" {vtep or 'that VTEP'}",
            remedies.on("; ".join(commands), host),
        )
    return no_tunnel_to(host, vtep, kind_at(topology, hop.dpid))


def kind_at(topology: Topology, dpid: int) -> str:
    """The kind of tunnel that a host's ports are."""
    host = topology.hosts.get(Dpid(dpid))
    known = () if host is None else (*host.declared_remotes, *host.seen_remotes)
    return remedies.kind_of(name for name, _remote in known)


def no_tunnel_to(host: str, vtep: VtepIp | None, kind: str, peer: str | None = None) -> Fault:
    """No port of a bridge leads to a VTEP."""
    named = f"{peer} (VTEP {vtep})" if peer else str(vtep or "that VTEP")
    port = remedies.port_name(vtep, kind) if vtep is not None else f"{kind}0"
    return Fault(
        "no-tunnel-to-vtep",
        f"host {host} has no tunnel port that leads to {named}: it was removed, renamed, or its"
        " remote_ip is another address",
        remedies.on(remedies.add_tunnel_port(port, str(vtep or "flow")), host),
    )


def lost_between(sender: str, receiver: str, vtep: VtepIp | None, own_port: str | None) -> Fault:
    """What left one host did not arrive at the other. ``own_port`` leads to that one alone."""
    remote = ""
    command = f"ping -c 3 {vtep}"
    if own_port is not None:
        remote = f", the remote_ip of {own_port} on {sender} is another address"
        command = f"ovs-vsctl get interface {own_port} options:remote_ip; {command}"
    return Fault(
        "underlay",
        f"frames leave {sender} for VTEP {vtep} and do not arrive at {receiver}: the underlay"
        f" loses them{remote}, or {vtep} is not {receiver}'s address",
        remedies.on(command, sender),
    )


_MISSES: dict[Table, Callable[[Topology, Network, Hop, Packet, str, Station | None], Fault]] = {
    Table.FROM_LOCAL: _not_carried,
    Table.FROM_TUNNEL: _unknown_vtep,
    Table.TO_LOCAL: _no_member,
    Table.EGRESS: _no_egress,
}
