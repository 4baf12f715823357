"""What is one bridge's own: its ports, the VTEPs it reaches, its networks' ways in and out.

Each ``*_flows`` function gives one unit of a bridge's private table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from controller.flow import (
    ANY_VLAN,
    CopyToController,
    Field,
    Flow,
    Group,
    Meter,
    Output,
    PopVlan,
    match,
)
from controller.neighbours import arp_probes, dhcp_server_arp, nd_policy
from controller.pipeline import (
    ASK_MAC,
    ASK_METER,
    ASKED_METER,
    CLAIM_METER,
    CONVERSATION_METER,
    DHCP_METER,
    LEARN_METER,
    METER_SHARDS,
    MISS_PRIORITY,
    ND_RESPONDER_KINDS,
    NEIGHBOUR_METER,
    PACKET_IN_BYTES,
    PROBE_ETH_TYPE,
    PROBE_MAC,
    PROBE_METER,
    STRAY_METER,
    Kind,
    Table,
)
from controller.policy import bum_flows, unicast_miss
from controller.security import secure_in, secure_vip_claim, split
from controller.sources import (
    dhcp_request,
    foreign_source,
    unknown_binding,
    unknown_source,
    vip_claim,
)
from controller.terms import group_id, to_local_vlan
from topology.model import Host, Network, Remote, Topology, Vm
from topology.types import Dpid, Ip, VtepIp

PORT_PRIORITY = 10
PROBE_PRIORITY = 100
PROBE_GUARD_PRIORITY = 110
VTEP_PRIORITY = 10
UNPROVEN_PRIORITY = 9
DELIVER_PRIORITY = 10
EGRESS_PEER_PRIORITY = 20
EGRESS_FLOW_PRIORITY = 10
EGRESS_FLOOD_PRIORITY = 5
_TAGGED_FIRST = 1

METERS = (
    Meter(PROBE_METER, 100, 200),
    Meter(ASK_METER, 50, 100),
    Meter(STRAY_METER, 1, 10),
    *(
        Meter(first + shard, rate_per_s, burst)
        for first, rate_per_s, burst in (
            (LEARN_METER, 100, 400),
            (NEIGHBOUR_METER, 100, 400),
            (ASKED_METER, 200, 400),
            (CONVERSATION_METER, 200, 400),
            (DHCP_METER, 100, 200),
            (CLAIM_METER, 50, 100),
        )
        for shard in range(METER_SHARDS)
    ),
)
"""Copies per second that one switch may send here: of probes, of VMs' answers to the controller, of
what is on no network's VLAN; and, for each share of its networks, of unknown sources, of unknown
addresses, of who-has and of conversations to be answered, of DHCP, and of claims to virtual IPs."""

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
    """A connected br-tun: its ports as they are now, and what its switch can do.

    ``nd``: it can turn solicitations into answers. ``trusting``: it is new here, and a tunnel port
    whose other end is not proven yet carries network 0 all the same.
    """

    dpid: int
    patch_port: int | None = None
    tunnel_ports: tuple[tuple[int, str], ...] = ()  # (number, name), by number
    meters: bool = True
    nd: bool = True
    trusting: bool = True
    names: PortNames = field(default_factory=PortNames)

    def with_ports(self, ports: dict[int, str]) -> Bridge:
        """Sort a switch's ports {number: name} into patch and tunnels."""
        usable = sorted((number, name) for number, name in ports.items() if number < OFPP_MAX)
        patch = [number for number, name in usable if name == self.names.patch]
        tunnels = tuple(pair for pair in usable if self.names.is_tunnel(pair[1]))
        return replace(self, patch_port=patch[0] if patch else None, tunnel_ports=tunnels)

    @property
    def skips(self) -> frozenset[Kind]:
        """Kinds of flows that this switch cannot take."""
        return frozenset() if self.nd else ND_RESPONDER_KINDS


@dataclass(frozen=True, slots=True)
class Egress:
    """Which ports lead where, from the host's facts: per-peer ports, unproven ones, flow-based."""

    peers: dict[int, int]  # VTEP address -> port, the first of those that lead there
    unproven: tuple[int, ...]  # ports whose other end is no VTEP we know
    flow_port: int | None  # flow-based; or the only port, as long as nothing is known of it
    keyless: frozenset[int] = frozenset()  # ports that put every frame into network 0
    others: tuple[tuple[int, Remote], ...] = ()  # ports that only hear: something else leads there
    remotes: frozenset[int] = frozenset()  # where ports lead, also where nobody is known to be

    def carries(self, port: int, vni: int) -> bool:
        """Whether what leaves by this port arrives in this network: only 0 needs no key."""
        return vni == 0 or port not in self.keyless

    @property
    def presumed(self) -> bool:
        """Whether the flow-based port is one only by presumption.

        An address in tun_dst does no harm on a port with one peer, so a single port of unknown
        kind serves both kinds at once.
        """
        return self.flow_port in self.unproven

    @classmethod
    def of(cls, topology: Topology, bridge: Bridge) -> Egress:
        host = topology.hosts.get(bridge.dpid) or Host(Dpid(bridge.dpid))
        peers: dict[int, int] = {}
        unproven: list[int] = []
        remotes: set[int] = set()
        others: list[tuple[int, Remote]] = []
        flow_port: int | None = None
        # Of several ports to one peer the first sends, of those that carry every network if any.
        for port, name in sorted(bridge.tunnel_ports, key=lambda it: it[1] in host.seen_keyless):
            remote: Remote | None = host.remote_of(name)
            if remote is not None and remote != "flow":
                remotes.add(remote)
            if remote is None or (remote != "flow" and not topology.is_endpoint(remote)):
                unproven.append(port)
            elif remote == "flow" and flow_port is None:
                flow_port = port
            elif remote == "flow" or remote in peers:
                others.append((port, remote))
            else:
                peers[remote] = port
        if len(bridge.tunnel_ports) == len(unproven) == 1:
            flow_port = unproven[0]
        # No probe comes back from a foreign VTEP: what is left over leads there.
        unreached = topology.vteps.keys() - peers.keys()
        if (
            flow_port is None
            and len(unproven) == len(unreached) == 1
            and all(other.vtep in (host.vtep, None, *peers) for other in topology.hosts.values())
        ):
            peers[unreached.pop()] = unproven.pop()
        keyless = frozenset(p for p, name in bridge.tunnel_ports if name in host.seen_keyless)
        return cls(peers, tuple(unproven), flow_port, keyless, tuple(others), frozenset(remotes))

    @property
    def plain(self) -> bool:
        """Whether there is one flow-based port and nothing else: the same on most hosts."""
        return not (self.peers or self.unproven or self.keyless or self.others)

    @property
    def peer_ports(self) -> list[tuple[int, int]]:
        """(port, VTEP at its other end) of every port with one proven peer."""
        others = [(port, remote) for port, remote in self.others if remote != "flow"]
        return sorted([*((port, vtep) for vtep, port in self.peers.items()), *others])

    @property
    def flow_ports(self) -> list[int]:
        """Every flow-based port."""
        first = () if self.flow_port is None else (self.flow_port,)
        return [*first, *(port for port, remote in self.others if remote == "flow")]


# The base of the pipeline


def base_flows(metered: bool) -> tuple[Flow, ...]:
    """Every table drops, and counts, what nothing in it matches."""
    told = Table.FROM_LOCAL if metered else None
    misses = tuple(
        Flow(Kind.TABLE_MISS, table, MISS_PRIORITY, ())
        for table in Table
        if table not in (Table.UNICAST, told)
    )
    strays = () if told is None else (stray_flow(),)
    return (*misses, *strays, unicast_miss(), *split())


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


def stray_flow() -> Flow:
    """A frame on a VLAN of no network here goes nowhere; who sends it is worth knowing."""
    return Flow(
        Kind.LOCAL_STRAY,
        Table.FROM_LOCAL,
        MISS_PRIORITY,
        (),
        (CopyToController(PACKET_IN_BYTES, STRAY_METER),),
    )


def port_flows(topology: Topology, bridge: Bridge, egress: Egress) -> Iterator[Flow]:
    """Frames of the patch port are from here, frames of tunnel ports from afar.

    A port with one peer vouches for a host of the fabric: its remote_ip lets nobody else in.
    """
    if bridge.patch_port is not None:
        yield Flow(
            Kind.PATCH_IN,
            Table.CLASSIFY,
            PORT_PRIORITY,
            match((Field.IN_PORT, bridge.patch_port)),
            (),
            Table.FROM_LOCAL,
        )
        # No VM may send probes, nor use up the meter of those that come out of tunnels.
        yield Flow(
            Kind.PROBE_GUARD,
            Table.CLASSIFY,
            PROBE_GUARD_PRIORITY,
            match((Field.IN_PORT, bridge.patch_port), (Field.ETH_DST, PROBE_MAC)),
        )
        if bridge.meters:
            yield ask_answer(bridge.patch_port)
    for port, _name in bridge.tunnel_ports:
        yield Flow(
            Kind.TUNNEL_IN,
            Table.CLASSIFY,
            PORT_PRIORITY,
            match((Field.IN_PORT, port)),
            (),
            Table.FROM_TUNNEL,
        )
    for port, vtep in egress.peer_ports:
        if topology.host_at(vtep) is not None:
            yield _peer_port(VTEP_PRIORITY, port)
    if bridge.trusting:
        for port in egress.unproven:
            yield _peer_port(UNPROVEN_PRIORITY, port, (Field.TUN_ID, 0))


def ask_answer(patch_port: int) -> Flow:
    """What a VM answers the controller, which asked whether it is there, goes to the controller."""
    return Flow(
        Kind.ASK_ANSWER,
        Table.CLASSIFY,
        PROBE_GUARD_PRIORITY,
        match((Field.IN_PORT, patch_port), (Field.ETH_DST, ASK_MAC)),
        (CopyToController(PACKET_IN_BYTES, ASK_METER),),
    )


def _peer_port(priority: int, port: int, *more: tuple[Field, int]) -> Flow:
    return Flow(
        Kind.TUNNEL_PEER_PORT,
        Table.FROM_TUNNEL,
        priority,
        match((Field.IN_PORT, port), *more),
        (),
        Table.TO_LOCAL,
    )


def _egress_flows(
    egress: Egress, priority: int, port: int, vtep: VtepIp | None
) -> tuple[Flow, Flow]:
    """A tunnel carries frames untagged (RFC 7348, 6.1): the local VLAN ends here.

    A port with a VNI of its own (none given: 0) would put other networks' frames into that one.
    """
    to = () if vtep is None else ((Field.TUN_DST, vtep.low32),)
    only = ((Field.TUN_ID, 0),) if port in egress.keyless else ()
    return (
        Flow(
            Kind.EGRESS_VTEP,
            Table.EGRESS,
            priority + _TAGGED_FIRST,
            match(ANY_VLAN, *to, *only),
            (PopVlan(), Output(port)),
        ),
        Flow(Kind.EGRESS_VTEP, Table.EGRESS, priority, match(*to, *only), (Output(port),)),
    )


def host_vtep_flows(vtep: VtepIp, flow_ports: Iterable[int]) -> tuple[Flow, ...]:
    """A host of the fabric may send on every flow-based port."""
    return tuple(
        Flow(
            Kind.TUNNEL_VTEP,
            Table.FROM_TUNNEL,
            VTEP_PRIORITY,
            match((Field.IN_PORT, port), (Field.TUN_SRC, vtep.low32)),
            (),
            Table.TO_LOCAL,
        )
        for port in flow_ports
    )


def vtep_flows(topology: Topology, bridge: Bridge, egress: Egress, vtep: VtepIp) -> Iterator[Flow]:
    """A VTEP is reached by its own port if it has one.

    A foreign VTEP may send on any, but only in the networks that it was declared with and that
    this host carries.
    """
    foreign = topology.vteps.get(vtep)
    if foreign is not None and topology.host_at(vtep) is None:
        for vni in foreign.vnis:
            network = topology.networks.get(vni)
            if network is not None and topology.is_member(bridge.dpid, vni):
                yield from foreign_source(network, vtep, foreign.learning, bridge.meters)
    own = egress.peers.get(vtep)
    if own is not None:
        yield from _egress_flows(egress, EGRESS_PEER_PRIORITY, own, vtep)


def flow_port_flows(egress: Egress) -> tuple[Flow, ...]:
    """All other VTEPs are reached by the flow-based port, which takes its address from tun_dst."""
    if egress.flow_port is None:
        return ()
    return _egress_flows(egress, EGRESS_FLOW_PRIORITY, egress.flow_port, None)


# Networks


def deliver(bridge: Bridge, network: Network) -> Iterator[Flow]:
    """What a tunnel brings goes to br-int, on the network's local VLAN, and nowhere else."""
    if bridge.patch_port is None:
        return
    yield Flow(
        Kind.DELIVER,
        Table.TO_LOCAL,
        DELIVER_PRIORITY,
        match((Field.TUN_ID, network.vni)),
        (*to_local_vlan(network), Output(bridge.patch_port)),
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
    """A network's own flows; those that a ledger counts by say at their end what they counted."""
    for flow in _network_flows(bridge, egress, network):
        yield replace(flow, reported=True) if flow.table in _COUNTED else flow


_COUNTED = (Table.SENDER, Table.SOURCE_IP, Table.FLOOD, Table.EGRESS)


def _network_flows(bridge: Bridge, egress: Egress, network: Network) -> Iterator[Flow]:
    """A network's way in from br-int, its way out to it, and its misses."""
    if network.port_security:
        yield from secure_in(network)
    else:
        yield from unknown_source(network, bridge.meters)
        yield from unknown_binding(network, bridge.meters)
    yield from deliver(bridge, network)
    yield arp_probes(network.vni)
    yield from nd_policy(network.vni, network.arp_responder, bridge.nd, bridge.meters)
    server = dhcp_server(network)
    if server is not None and server != network.gateway:
        yield dhcp_server_arp(network.vni, server)
    yield from bum_flows(network, bridge.meters)
    yield from egress_flood(egress, network)


def dhcp_server(network: Network) -> Ip | None:
    """The DHCP responder's address: the gateway's, else the last of the first IPv4 subnet."""
    if not network.dhcp or network.gateway is not None:
        return network.gateway if network.dhcp else None
    subnet = next(subnet for subnet in network.subnets if subnet.is_v4)
    size = 1 << (subnet.width_bits - subnet.bits)
    return Ip.v4(subnet.value + max(0, size - 2))


def service_flows(topology: Topology, bridge: Bridge, network: Network, vm: Vm) -> Iterator[Flow]:
    """What of a registered VM's frames its own host shows to the controller."""
    if network.dhcp and any(ip.is_v4 and network.subnet_of(ip) for ip in vm.ips):
        yield dhcp_request(network, vm.mac, bridge.meters)
    for vip in topology.vips_of(network.vni, vm.mac):
        if vip.holder != vm.mac:
            if network.port_security:
                yield from secure_vip_claim(network.vni, vm.mac, vip.ip, bridge.meters)
            else:
                yield from vip_claim(network, vm.mac, vip.ip, bridge.meters)
