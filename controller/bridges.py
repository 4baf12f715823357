"""What is one bridge's own: its ports, the VTEPs it reaches, its networks' ways in and out.

Each ``*_flows`` function gives one unit of a bridge's private table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from controller.desired import (
    GUARD_PRIORITY,
    arp_probes,
    flood,
    group_id,
    unicast_miss,
    unknown_arp_binding,
    unknown_source,
    unknown_unicast_drop,
)
from controller.flow import (
    ANY_VLAN,
    Action,
    Bucket,
    CopyToController,
    Field,
    FloodGroup,
    Flow,
    Group,
    Meter,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    match,
)
from controller.pipeline import (
    LEARN_METER,
    MISS_PRIORITY,
    PACKET_IN_BYTES,
    PROBE_ETH_TYPE,
    PROBE_MAC,
    PROBE_METER,
    Kind,
    Table,
)
from topology.model import Network, Remote, Topology
from topology.types import VtepIp

PORT_PRIORITY = 10
PROBE_PRIORITY = 100
VTEP_PRIORITY = 10
DELIVER_PRIORITY = 10
EGRESS_PEER_PRIORITY = 20
EGRESS_FLOW_PRIORITY = 10
EGRESS_FLOOD_PRIORITY = 5
_TAGGED_FIRST = 1

METERS = (Meter(LEARN_METER, 200, 400), Meter(PROBE_METER, 100, 200))
"""Copies per second that one switch may send here: of unknown sources, and of probes."""

OFPP_MAX = 0xFFFFFF00


@dataclass(frozen=True, slots=True)
class PortNames:
    """How ports are told apart: by name, as OpenFlow says no more about them."""

    patch: str = "patch-tun"
    tunnels: tuple[str, ...] = ("vxlan*", "gre*", "geneve*")

    def is_tunnel(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self.tunnels)


@dataclass(frozen=True, slots=True)
class Bridge:
    """A connected br-tun: its ports as they are now, and what its switch can do."""

    dpid: int
    patch_port: int | None = None
    tunnel_ports: tuple[tuple[int, str], ...] = ()  # (number, name), by number
    meters: bool = True
    names: PortNames = field(default_factory=PortNames)

    @classmethod
    def of_ports(cls, dpid: int, ports: dict[int, str], names: PortNames, meters: bool) -> Bridge:
        """Sort a switch's ports {number: name} into patch and tunnels."""
        usable = sorted((number, name) for number, name in ports.items() if number < OFPP_MAX)
        patch = [number for number, name in usable if name == names.patch]
        tunnels = tuple(pair for pair in usable if names.is_tunnel(pair[1]))
        return cls(dpid, patch[0] if patch else None, tunnels, meters, names)


@dataclass(frozen=True, slots=True)
class Egress:
    """Which ports lead where, from the host's facts: per-peer ports, unproven ones, flow-based."""

    peers: dict[int, int]  # VTEP address -> port, one per VTEP
    unproven: tuple[int, ...]  # ports whose other end is no VTEP we know
    flow_port: int | None  # flow-based; or the only port, as long as nothing is known of it

    @property
    def presumed(self) -> bool:
        """Whether the flow-based port is one only by presumption.

        An address in tun_dst does no harm on a port with one peer, so a single port of unknown
        kind serves both kinds at once.
        """
        return self.flow_port in self.unproven

    @classmethod
    def of(cls, topology: Topology, bridge: Bridge) -> Egress:
        host = topology.hosts.get(bridge.dpid)
        peers: dict[int, int] = {}
        unproven: list[int] = []
        flow_port: int | None = None
        for port, name in bridge.tunnel_ports:
            remote: Remote | None = None if host is None else host.remote_of(name)
            if remote == "flow":
                flow_port = port if flow_port is None else flow_port
            elif remote is None or topology.host_at(remote) is None:
                unproven.append(port)
            else:
                peers.setdefault(remote, port)
        if len(bridge.tunnel_ports) == len(unproven) == 1:
            flow_port = unproven[0]
        return cls(peers, tuple(unproven), flow_port)

    @property
    def peer_ports(self) -> tuple[int, ...]:
        """Every port that is not flow-based: its remote_ip says who may send on it."""
        return tuple(sorted((*self.peers.values(), *self.unproven)))


# The base of the pipeline


def base_flows() -> tuple[Flow, ...]:
    """Every table drops, and counts, what nothing in it matches; VMs may not send probes."""
    misses = tuple(
        Flow(Kind.TABLE_MISS, table, MISS_PRIORITY, ()) for table in Table if table != Table.UNICAST
    )
    guard = Flow(
        Kind.PROBE_GUARD, Table.FROM_LOCAL, GUARD_PRIORITY, match((Field.ETH_DST, PROBE_MAC))
    )
    return (*misses, unicast_miss(), guard)


def probe_flow(metered: bool) -> Flow:
    """A probe that comes out of a tunnel goes to the controller only.

    Sent alone and first: under any pipeline that still runs on the bridge it takes nothing away.
    """
    return Flow(
        Kind.PROBE_IN,
        Table.CLASSIFY,
        PROBE_PRIORITY,
        match((Field.ETH_DST, PROBE_MAC), (Field.ETH_TYPE, PROBE_ETH_TYPE)),
        (CopyToController(PACKET_IN_BYTES, PROBE_METER if metered else None),),
    )


def port_flows(bridge: Bridge, egress: Egress) -> Iterator[Flow]:
    """Frames of the patch port are from here, frames of tunnel ports from afar."""
    if bridge.patch_port is not None:
        yield Flow(
            Kind.PATCH_IN,
            Table.CLASSIFY,
            PORT_PRIORITY,
            match((Field.IN_PORT, bridge.patch_port)),
            (),
            Table.FROM_LOCAL,
        )
    for port, _name in bridge.tunnel_ports:
        yield Flow(
            Kind.TUNNEL_IN,
            Table.CLASSIFY,
            PORT_PRIORITY,
            match((Field.IN_PORT, port)),
            (),
            Table.FROM_TUNNEL,
        )
    for port in egress.peer_ports:
        yield Flow(
            Kind.TUNNEL_PEER_PORT,
            Table.FROM_TUNNEL,
            VTEP_PRIORITY,
            match((Field.IN_PORT, port)),
            (),
            Table.TO_LOCAL,
        )


def _egress_flows(kind: Kind, priority: int, port: int, vtep: VtepIp | None) -> tuple[Flow, Flow]:
    """A tunnel carries frames untagged (RFC 7348, 6.1): the local VLAN ends here."""
    to = () if vtep is None else ((Field.TUN_DST, vtep.low32),)
    return (
        Flow(
            kind,
            Table.EGRESS,
            priority + _TAGGED_FIRST,
            match(ANY_VLAN, *to),
            (PopVlan(), Output(port)),
        ),
        Flow(kind, Table.EGRESS, priority, match(*to), (Output(port),)),
    )


def vtep_flows(bridge: Bridge, egress: Egress, vtep: VtepIp) -> Iterator[Flow]:
    """A VTEP of the fabric may send on the flow-based port, and is reached by its own port."""
    if egress.flow_port is not None and not egress.presumed:
        yield Flow(
            Kind.TUNNEL_VTEP,
            Table.FROM_TUNNEL,
            VTEP_PRIORITY,
            match((Field.IN_PORT, egress.flow_port), (Field.TUN_SRC, vtep.low32)),
            (),
            Table.TO_LOCAL,
        )
    port = egress.peers.get(vtep)
    if port is not None:
        yield from _egress_flows(Kind.EGRESS_VTEP, EGRESS_PEER_PRIORITY, port, vtep)


def flow_port_flows(egress: Egress) -> tuple[Flow, ...]:
    """All other VTEPs are reached by the flow-based port, which takes its address from tun_dst."""
    if egress.flow_port is None:
        return ()
    return _egress_flows(Kind.EGRESS_VTEP, EGRESS_FLOW_PRIORITY, egress.flow_port, None)


# Networks


def deliver(bridge: Bridge, network: Network) -> Iterator[Flow]:
    """What a tunnel brings goes to br-int, on the network's local VLAN, and nowhere else."""
    if bridge.patch_port is None:
        return
    tag: tuple[Action, ...] = ()
    if network.vlan is not None:
        tag = (PushVlan(), SetField(Field.VLAN_VID, network.vlan))
    yield Flow(
        Kind.DELIVER,
        Table.TO_LOCAL,
        DELIVER_PRIORITY,
        match((Field.TUN_ID, network.vni)),
        (*tag, Output(bridge.patch_port)),
    )


def egress_flood(egress: Egress, network: Network) -> Iterator[Flow]:
    """While no port is known to lead to a VTEP, its frames are flooded: never a black hole."""
    if egress.unproven and not egress.presumed and egress.flow_port is None:
        yield Flow(
            Kind.EGRESS_FLOOD,
            Table.EGRESS,
            EGRESS_FLOOD_PRIORITY,
            match((Field.TUN_ID, network.vni)),
            (Group(group_id(network.vni)),),
        )


def network_flows(bridge: Bridge, egress: Egress, network: Network) -> Iterator[Flow]:
    """A network's way in from br-int, its way out to it, and its misses."""
    yield from unknown_source(network, bridge.meters)
    yield from unknown_arp_binding(network, bridge.meters)
    yield from deliver(bridge, network)
    yield from unknown_unicast_drop(network)
    yield arp_probes(network.vni)
    yield flood(network.vni)
    yield from egress_flood(egress, network)


def flood_group(topology: Topology, bridge: Bridge, egress: Egress, network: Network) -> FloodGroup:
    """One bucket for each VTEP of the network, and unproven ports if it is everywhere."""
    untag: tuple[Action, ...] = () if network.vlan is None else (PopVlan(),)
    ways: dict[tuple[Action, ...], None] = {}
    own = topology.hosts.get(bridge.dpid)
    for dpid in topology.members(network.vni):
        vtep = topology.hosts[dpid].vtep if dpid in topology.hosts else None
        if dpid == bridge.dpid or vtep is None or (own is not None and vtep == own.vtep):
            continue
        port = egress.peers.get(vtep)
        if port is not None:
            ways[Output(port),] = None
        elif egress.flow_port is not None:
            ways[SetField(Field.TUN_DST, vtep.low32), Output(egress.flow_port)] = None
    if network.everywhere and not (egress.presumed and ways):
        for port in egress.unproven:
            ways[Output(port),] = None
    return FloodGroup(
        group_id(network.vni), tuple(Bucket((*untag, *way)) for way in sorted(ways, key=repr))
    )
