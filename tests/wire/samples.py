"""Every flow there is, on a bridge with ports 1 (patch), 5 (peer), 6 (unproven), 7 (flow)."""

from __future__ import annotations

from collections.abc import Iterator

from controller.bridges import (
    Bridge,
    Egress,
    base_flows,
    flow_port_flows,
    host_vtep_flows,
    network_flows,
    port_flows,
    probe_flow,
    service_flows,
    vtep_flows,
)
from controller.desired import conversation, ip_recipe, mac_recipe
from controller.floods import flood_group
from controller.flow import FloodGroup, Flow
from controller.neighbours import nd_trial
from controller.terms import Timing
from controller.wire.encode import encode_flow, identity_of
from topology.model import Host, LearnedMac, Network, Put, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Subnet, Vlan, Vni, VtepIp

SELF, PEER, FAR = Dpid(1), Dpid(2), Dpid(3)
BLUE, SECURE, SPARING, LAZY = Vni(100), Vni(200), Vni(300), Vni(400)
TIMING = Timing(300)
ADDRESSES = {dpid: VtepIp(Ip.parse(f"192.168.33.{11 + dpid}")) for dpid in (SELF, PEER, FAR)}
FOREIGN, MUTE = (VtepIp(Ip.parse(f"192.168.33.{number}")) for number in (200, 201))
FOREIGN_PLACE = Foreign.at(FOREIGN)
SUBNETS = (Subnet.parse("10.1.1.0/24"), Subnet.parse("fd00::/64"))
NETWORKS = (
    Network(Vni(0), unknown_unicast="drop"),
    Network(BLUE, "blue", Vlan(10)),
    Network(SECURE, "secure", Vlan(20), port_security=True, subnets=SUBNETS, dhcp=True),
    Network(
        SPARING,
        "sparing",
        Vlan(30),
        unknown_arp="drop",
        multicast="drop",
        quiet=True,
        subnets=SUBNETS,
        arp_responder=False,
        learning=False,
    ),
    Network(
        LAZY,
        "lazy",
        Vlan(40),
        mode="reactive",
        unknown_unicast="drop",
        unknown_arp="drop",
        multicast="drop",
        subnets=SUBNETS,
    ),
)
IPS = (Ip.parse("10.1.1.2"), Ip.parse("fd00::2"))
LEARNED_IPS = ((Ip.parse("10.1.1.3"), 1.0), (Ip.parse("fd00::3"), 1.0))
VIPS = (Ip.parse("10.1.1.9"), Ip.parse("fd00::9"))
VM = Vm(Mac(0x525400000001), BLUE, PEER, IPS, "web-1")
LEARNED = LearnedMac(BLUE, Mac(0x525400000002), PEER, 1.0, LEARNED_IPS)
MINE = Mac(0x525400000003)
AFAR, HEARD_AFAR = Mac(0x525400000005), Mac(0x525400000006)


def facts() -> Iterator[Host | Network | Vm | LearnedMac | Vtep | Vip]:
    """Three hosts, a foreign VTEP that is learned from and one that is not, and who is where."""
    yield from (Host(dpid, None, vtep) for dpid, vtep in ADDRESSES.items())
    yield from NETWORKS
    vnis = tuple(network.vni for network in NETWORKS)
    yield Vtep(FOREIGN, vnis)
    yield Vtep(MUTE, vnis, learning=False)
    yield VM
    yield LEARNED
    yield Vm(MINE, BLUE, SELF)
    yield Vm(Mac(0x525400000004), BLUE, FAR)
    yield Vm(AFAR, BLUE, FOREIGN_PLACE)
    yield LearnedMac(BLUE, HEARD_AFAR, FOREIGN_PLACE, 1.0, LEARNED_IPS)
    yield Vm(MINE, SECURE, SELF, IPS)
    yield Vm(MINE, SPARING, SELF, IPS)
    yield Vm(MINE, LAZY, SELF)
    yield Vm(VM.mac, LAZY, PEER, IPS)
    for vni in (BLUE, SECURE):
        for ip in VIPS:
            yield Vip(vni, ip, (VM.mac, MINE), holder=VM.mac)


def topology() -> Topology:
    there = Topology()
    for fact in facts():
        there.apply(Put(fact))
    return there


BRIDGE = Bridge(SELF, 1, ((5, "vxlan0"), (6, "vxlan1"), (7, "vxlan2")))
LESSER = Bridge(SELF, 1, BRIDGE.tunnel_ports, meters=False, nd=False)
MIXED = Egress({ADDRESSES[PEER]: 5}, (6,), 7)
PEERS_ONLY = Egress({ADDRESSES[PEER]: 5}, (6,), None)
KEYLESS = Egress({ADDRESSES[PEER]: 5}, (6,), None, frozenset({5}))


def every_flow() -> list[Flow]:
    """All kinds, both sides of units, tagged and untagged, with and without meters."""
    there = topology()
    flows = [
        *base_flows(True),
        *base_flows(False),
        probe_flow(True),
        *flow_port_flows(MIXED),
        *nd_trial(),
    ]
    flows += port_flows(there, BRIDGE, MIXED)
    for vtep in (ADDRESSES[PEER], ADDRESSES[FAR], FOREIGN, MUTE):
        flows += vtep_flows(there, BRIDGE, MIXED, vtep)
    flows += host_vtep_flows(ADDRESSES[PEER], MIXED.flow_ports)
    flows += host_vtep_flows(ADDRESSES[FAR], MIXED.flow_ports)
    flows += vtep_flows(there, BRIDGE, KEYLESS, ADDRESSES[PEER])
    for network in NETWORKS:
        flows += network_flows(BRIDGE, PEERS_ONLY, network)
    flows += network_flows(LESSER, MIXED, NETWORKS[1])
    for vni, mac in there.vms:
        if there.vms[vni, mac].host == SELF:
            vm, network = there.vms[vni, mac], there.networks[vni]
            flows += service_flows(there, BRIDGE, network, vm)
    for key in (*there.vms, *there.learned):
        network = there.networks[key[0]]
        recipe = mac_recipe(there, network, key[1])
        assert recipe is not None
        unit = recipe.flows(network, TIMING)
        flows += (*unit.remote, *unit.local)
        if key[0] == LAZY:
            flows += conversation(unit, SELF)
    for vni in (BLUE, SECURE, LAZY):
        for ip in (*IPS, *(ip for ip, _seen_s in LEARNED_IPS), *VIPS):
            recipe = ip_recipe(there, there.networks[vni], ip)
            if recipe is not None:
                answering = recipe.flows(there.networks[vni], TIMING)
                flows += (*answering.remote, *answering.local)
                flows += conversation(answering, SELF) if vni == LAZY else ()
    return list(dict.fromkeys(flows))


def coexisting() -> list[Flow]:
    """One of those that would take each other's place on one bridge."""
    by_place = {identity_of(encode_flow(flow)): flow for flow in every_flow()}
    return list(by_place.values())


def every_group() -> list[FloodGroup]:
    there = topology()
    return [flood_group(there, BRIDGE, MIXED, network) for network in NETWORKS]
