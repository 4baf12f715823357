"""The simulator takes a packet through the same flows as Open vSwitch's own ofproto/trace."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from controller.engine import Engine, Settings
from controller.events import Connected
from controller.frames import Arp
from controller.journey import Packet
from controller.pipeline import COOKIE_OWNER, Kind, cookie_kind
from controller.simulator import SimulatedFabric
from controller.wire import encode
from tests.wire.samples import ADDRESSES, BLUE, FAR, NETWORKS, PEER, SELF
from topology.model import Host, LearnedMac, Vm
from topology.types import Ip, Mac, Vni

BROADCAST = (1 << 48) - 1
HERE, THERE, STRANGER = (Mac(0x525400000000 | number) for number in (1, 2, 9))
HERE_IP, THERE_IP, LEARNED_IP = (Ip.parse(f"10.1.1.{number}") for number in (2, 3, 4))
LEARNED = Mac(0x525400000003)


def engine_with(tunnel_port: int) -> Engine:
    """Hosts 1 and 2 on flow-based ports; VMs and a learned MAC in both networks."""
    engine = Engine(Settings(), b"secret")
    facts = [
        Host(dpid, None, vtep, declared_remotes=(("vxlan0", "flow"),))
        for dpid, vtep in ADDRESSES.items()
    ]
    facts += NETWORKS
    for vni in (Vni(0), BLUE):
        facts.append(Vm(HERE, vni, SELF, (HERE_IP,)))
        facts.append(Vm(THERE, vni, PEER, (THERE_IP,)))
        facts.append(LearnedMac(vni, LEARNED, FAR, 1.0, ((LEARNED_IP, 1.0),)))
    engine.load(facts)
    for dpid in (SELF, PEER):
        ports = {1: "patch-tun", tunnel_port: "vxlan0"}
        engine.handle(Connected(dpid, 1, "", None, ports), 1.0)
    return engine


def arp(op: int, spa: Ip | int, tpa: Ip, sha: Mac = HERE) -> Arp:
    return Arp(op, sha, spa.low32 if isinstance(spa, Ip) else spa, 0, tpa.low32)


UP = {
    "unicast to a registered VM": Packet(HERE, THERE),
    "unicast to a learned MAC": Packet(HERE, LEARNED),
    "unknown unicast": Packet(HERE, STRANGER),
    "a stranger's broadcast": Packet(STRANGER, BROADCAST),
    "a known VM's multicast": Packet(HERE, 0x01005E000001),
    "who-has, registered": Packet.carrying(arp(1, HERE_IP, THERE_IP), BROADCAST),
    "who-has, learned": Packet.carrying(arp(1, HERE_IP, LEARNED_IP), BROADCAST),
    "who-has, local": Packet.carrying(arp(1, THERE_IP, HERE_IP, STRANGER), BROADCAST),
    "who-has, unknown": Packet.carrying(arp(1, HERE_IP, Ip.parse("10.1.1.77")), BROADCAST),
    "gratuitous": Packet.carrying(arp(1, HERE_IP, HERE_IP), BROADCAST),
    "address probe": Packet.carrying(arp(1, 0, THERE_IP, STRANGER), BROADCAST),
    "unicast ARP": Packet.carrying(arp(1, HERE_IP, THERE_IP), THERE),
    "ARP reply": Packet.carrying(arp(2, HERE_IP, THERE_IP), THERE),
}


def in_words(packet: Packet, port: int, tunnel: str = "") -> str:
    """The packet as ofproto/trace takes it."""
    words = [f"in_port={port}", f"dl_src={Mac(packet.eth_src)}", f"dl_dst={Mac(packet.eth_dst)}"]
    if packet.vlan is not None:
        words.append(f"dl_vlan={packet.vlan}")
    if packet.arp is None:
        words.append("dl_type=0x0800")
    else:
        spa, tpa = Ip.v4(packet.arp.sender_ip), Ip.v4(packet.arp.target_ip)
        words += [f"arp,arp_op={packet.arp.op}", f"arp_spa={spa}", f"arp_tpa={tpa}"]
        words.append(f"arp_sha={Mac(packet.arp.sender_mac)}")
    return ",".join(words) + tunnel


def traced(host, words: str) -> list[Kind]:
    """The kinds of our flows that the packet hits in br-tun."""
    text = host.appctl("ofproto/trace", "br-tun", words)
    cookies = [int(found, 16) for found in re.findall(r"^\s*\d+\. .*cookie (0x\w+)", text, re.M)]
    return [cookie_kind(cookie) for cookie in cookies if cookie >> 56 == COOKIE_OWNER]


@pytest.fixture
def both(host, ready):
    """The bridge holds what host 1 should; the simulator holds hosts 1 and 2."""
    port = host.ports["vxlan0"]
    engine = engine_with(port)
    replica = engine.replicas[SELF]
    groups = replica.private.groups.items()
    mods = [encode.group_mod(encode.GROUP_MODIFY, gid, buckets) for gid, buckets in groups]
    assert ready.ask([*mods, *replica.desired().values()]) == []
    wiring = {(SELF, port): "flow", (PEER, port): "flow"}
    return host, port, SimulatedFabric.desired(engine, wiring)


@pytest.mark.parametrize("vlan", [None, 10])
def test_frames_from_br_int_take_the_same_way(both, vlan):
    host, _port, simulated = both
    for name, packet in UP.items():
        tagged = replace(packet, vlan=vlan)
        ours = [
            cookie_kind(hop.cookie) for hop in simulated.send(SELF, tagged).hops if hop.dpid == SELF
        ]

        assert traced(host, in_words(tagged, 1)) == ours, name
        assert len(ours) > 2, name


@pytest.mark.parametrize("vlan", [None, 10])
def test_frames_from_a_tunnel_take_the_same_way(both, vlan):
    host, port, simulated = both
    for destination in (HERE, BROADCAST):
        sent = Packet(THERE, destination, vlan)
        journey = simulated.send(PEER, sent)
        ours = [cookie_kind(hop.cookie) for hop in journey.hops if hop.dpid == SELF]
        vni = 0 if vlan is None else BLUE
        tunnel = f",tun_src={ADDRESSES[PEER]},tun_dst={ADDRESSES[SELF]},tun_id={int(vni)}"

        assert traced(host, in_words(Packet(THERE, destination), port, tunnel)) == ours
        assert ours[-1] is Kind.DELIVER


def test_a_stranger_on_the_underlay_gets_nothing_in(both):
    host, port, _simulated = both
    tunnel = f",tun_src=192.0.2.66,tun_dst={ADDRESSES[SELF]},tun_id=0"

    kinds = traced(host, in_words(Packet(THERE, HERE), port, tunnel))

    assert kinds == [Kind.TUNNEL_IN, Kind.TABLE_MISS]


def test_a_flooded_frame_of_a_tagged_network_leaves_untagged(both):
    host, _port, _simulated = both
    text = host.appctl("ofproto/trace", "br-tun", in_words(Packet(STRANGER, BROADCAST, 10), 1))

    assert text.count("pop_vlan") >= 1
    assert "set_field:192.168.33.13->tun_dst" in text
