"""Every flow there is, on a bridge with ports 1 (patch), 5 (peer), 6 (unproven), 7 (flow)."""

from __future__ import annotations

from controller.bridges import (
    Bridge,
    Egress,
    base_flows,
    flood_group,
    flow_port_flows,
    network_flows,
    port_flows,
    probe_flow,
    vtep_flows,
)
from controller.desired import ip_unit, mac_unit
from controller.flow import FloodGroup, Flow
from controller.terms import Timing
from controller.wire.encode import encode_flow, identity_of
from topology.model import Host, LearnedMac, Network, Put, Topology, Vm
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

SELF, PEER, FAR = Dpid(1), Dpid(2), Dpid(3)
BLUE = Vni(100)
TIMING = Timing(300)
ADDRESSES = {dpid: VtepIp(Ip.parse(f"192.168.33.{11 + dpid}")) for dpid in (SELF, PEER, FAR)}
NETWORKS = (
    Network(Vni(0), unknown_unicast="drop"),
    Network(BLUE, "blue", Vlan(10)),
)
VM = Vm(Mac(0x525400000001), BLUE, PEER, (Ip.parse("10.1.1.2"),), "web-1")
LEARNED = LearnedMac(BLUE, Mac(0x525400000002), PEER, 1.0, ((Ip.parse("10.1.1.3"), 1.0),))


def topology() -> Topology:
    """Three hosts, two networks; a registered VM and a learned one in the tagged network."""
    facts = Topology()
    for dpid, vtep in ADDRESSES.items():
        facts.apply(Put(Host(dpid, None, vtep)))
    for fact in (*NETWORKS, VM, LEARNED):
        facts.apply(Put(fact))
    facts.apply(Put(Vm(Mac(0x525400000003), BLUE, SELF)))
    facts.apply(Put(Vm(Mac(0x525400000004), BLUE, FAR)))
    return facts


BRIDGE = Bridge(SELF, 1, ((5, "vxlan0"), (6, "vxlan1"), (7, "vxlan2")))
MIXED = Egress({ADDRESSES[PEER]: 5}, (6,), 7)
PEERS_ONLY = Egress({ADDRESSES[PEER]: 5}, (6,), None)


def every_flow() -> list[Flow]:
    """All kinds, both sides of units, tagged and untagged, with and without meters."""
    facts = topology()
    flows = [*base_flows(), probe_flow(True), *flow_port_flows(MIXED)]
    flows += port_flows(facts, BRIDGE, MIXED)
    for vtep in (ADDRESSES[PEER], ADDRESSES[FAR]):
        flows += vtep_flows(facts, BRIDGE, MIXED, vtep)
    for network in NETWORKS:
        flows += network_flows(BRIDGE, PEERS_ONLY, network)
    for entry in (VM, LEARNED):
        for unit in (
            mac_unit(facts, BLUE, entry.mac, TIMING),
            ip_unit(facts, BLUE, first_ip(entry), TIMING),
        ):
            assert unit is not None
            flows += (*unit.remote, *unit.local)
    return list(dict.fromkeys(flows))


def first_ip(entry: Vm | LearnedMac) -> Ip:
    first = entry.ips[0]
    return first if isinstance(first, Ip) else first[0]


def coexisting() -> list[Flow]:
    """One of those that would take each other's place on one bridge."""
    by_place = {identity_of(encode_flow(flow)): flow for flow in every_flow()}
    return list(by_place.values())


def every_group() -> list[FloodGroup]:
    facts = topology()
    return [
        flood_group(facts, BRIDGE, egress, network) for egress in (MIXED,) for network in NETWORKS
    ]
