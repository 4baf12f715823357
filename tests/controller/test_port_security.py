"""With port security only registered (MAC, IP) pairs send; without it, nobody is taken over."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from controller.frames import ADVERTISEMENT, SOLICITATION, Arp, Nd
from controller.journey import Ambiguous, IpHeader, Packet
from controller.pipeline import Kind
from controller.security import link_local
from tests.fake import FakeFabric, Station
from tests.fake.stations import BROADCAST
from tests.fake.voices import multicast_mac, solicited_node
from topology.model import Network
from topology.types import Ip, Mac, Vlan, Vni

VNI, VLAN = 100, 10
A = Station(1, Mac(0x525400000001), Ip.parse("10.1.1.2"), VNI, VLAN)
B = Station(2, Mac(0x525400000002), Ip.parse("10.1.1.3"), VNI, VLAN)
STRANGER = Mac(0x525400000099)
OTHER, OTHER_6 = Ip.parse("10.1.1.77"), Ip.parse("fd00::77")
VIP, VIP_6 = Ip.parse("10.1.1.99"), Ip.parse("fd00::99")
ALL_NODES, ALL_ROUTERS, MLD_ROUTERS = (Ip(0xFF02 << 112 | group) for group in (1, 2, 0x16))
ANY, ALL_ONES = Ip.v4(0), Ip.v4(0xFFFFFFFF)
UDP, ICMPV6 = 17, 58


def arp(sha=A.mac, spa=A.ip, tpa=OTHER, op=1, eth_src=A.mac, to=BROADCAST):
    return replace(
        Packet.carrying(Arp(op, sha, spa.low32, 0, tpa.low32), to, VLAN), eth_src=eth_src
    )


def solicit(source=A.ip6, target=OTHER_6, sll=A.mac, eth_src=A.mac):
    nd = Nd(SOLICITATION, source, solicited_node(target), target, sll)
    return Packet.soliciting(nd, eth_src, multicast_mac(nd.destination), VLAN)


def advertise(target=A.ip6, tll=A.mac, source=None, eth_src=A.mac, solicited=False):
    nd = Nd(ADVERTISEMENT, target if source is None else source, ALL_NODES, target, tll, solicited)
    return Packet.soliciting(nd, eth_src, multicast_mac(ALL_NODES), VLAN)


def ip(src, dst=B.ip, to=B.mac, eth_src=A.mac, **more):
    return Packet.routed(IpHeader(src, dst, **more), eth_src, to, VLAN)


def dhcp(src=ANY, dst=ALL_ONES, sport=68, dport=67, to=BROADCAST, eth_src=A.mac):
    return ip(src, dst, to, eth_src, proto=UDP, sport=sport, dport=dport)


def icmp6(src, icmp_type, dst=MLD_ROUTERS, eth_src=A.mac):
    to = multicast_mac(dst)
    return ip(src, dst, to, eth_src, proto=ICMPV6, icmp_type=icmp_type)


UNSPECIFIED = Ip(0)
LL_A, LL_B = link_local(A.mac), link_local(B.mac)

FORGED = {
    "a stranger's broadcast": Packet(STRANGER, BROADCAST, VLAN, 0x88B6),
    "a stranger's frame to a VM": ip(A.ip, eth_src=STRANGER),
    "a stranger's ARP": arp(sha=STRANGER, eth_src=STRANGER),
    "a stranger's DHCP": dhcp(eth_src=STRANGER),
    "a stranger's DAD": solicit(UNSPECIFIED, sll=0, eth_src=STRANGER),
    "another VM's MAC": ip(B.ip, Ip.v4(0x0A010105), 0x525400000005, eth_src=B.mac),
    "another VM's MAC in ARP": arp(sha=B.mac, spa=B.ip, eth_src=B.mac),
    "who-has from another's IP": arp(spa=B.ip),
    "who-has from an unknown IP": arp(spa=OTHER),
    "who-has with another's sender MAC": arp(sha=B.mac),
    "gratuitous ARP for another's IP": arp(spa=B.ip, tpa=B.ip),
    "is-at for another's IP": arp(spa=B.ip, tpa=A.ip, op=2, to=B.mac),
    "is-at for the own IP with another MAC": arp(sha=STRANGER, op=2),
    "an ARP probe with another's MAC": arp(sha=B.mac, spa=ANY),
    "a solicitation from another's IP": solicit(B.ip6),
    "a solicitation that binds another's MAC": solicit(sll=B.mac),
    "a solicitation from an unknown link-local IP": solicit(LL_B),
    "an advertisement for another's IP": advertise(B.ip6),
    "an advertisement for another's IP from the own": advertise(B.ip6, source=A.ip6),
    "an advertisement for another's IP without option": advertise(B.ip6, tll=0),
    "an advertisement for the own IP with another MAC": advertise(tll=B.mac),
    "an advertisement from another's IP": advertise(source=B.ip6),
    "an advertisement from nowhere": advertise(source=UNSPECIFIED),
    "a solicited advertisement for another's IP": advertise(B.ip6, solicited=True),
    "IPv4 from another's IP": ip(B.ip),
    "IPv4 from an unknown IP": ip(OTHER),
    "IPv4 from nowhere": ip(ANY),
    "IPv4 to all from another's IP": ip(OTHER, ALL_ONES, BROADCAST),
    "IPv6 from another's IP": ip(B.ip6, A.ip6),
    "IPv6 from an unknown IP": ip(OTHER_6, B.ip6),
    "IPv6 from another's link-local IP": ip(LL_B, B.ip6),
    "IPv6 from nowhere": ip(UNSPECIFIED, B.ip6),
    "an echo from nowhere": icmp6(UNSPECIFIED, 128),
    "a router advertisement from another's IP": icmp6(LL_B, 134, ALL_NODES),
    "a router advertisement from nowhere": icmp6(UNSPECIFIED, 134, ALL_NODES),
    "a DHCP server without address": dhcp(sport=67, dport=68),
    "a DHCP server with another's address": dhcp(B.ip, sport=67, dport=68),
    "a DHCP client with another's address": dhcp(B.ip),
    "DHCP from nowhere to one address": dhcp(dst=B.ip, to=B.mac),
    "UDP from nowhere": dhcp(sport=1000, dport=2000),
    "RARP": Packet(A.mac, BROADCAST, VLAN, 0x8035),
    "an unknown protocol": Packet(A.mac, BROADCAST, VLAN, 0x88CC),
    "a group address as source": Packet(A.mac | 1 << 40, BROADCAST, VLAN),
}

LEGAL = {
    "who-has": arp(),
    "gratuitous ARP": arp(tpa=A.ip),
    "gratuitous ARP reply": arp(tpa=A.ip, op=2),
    "is-at": arp(tpa=B.ip, op=2, to=B.mac),
    "an ARP probe": arp(spa=ANY, tpa=A.ip),
    "a solicitation": solicit(),
    "a solicitation without option": solicit(sll=0, target=OTHER_6),
    "a solicitation from the link-local IP": solicit(LL_A),
    "DAD of the own IP": solicit(UNSPECIFIED, A.ip6, sll=0),
    "DAD of the link-local IP": solicit(UNSPECIFIED, LL_A, sll=0),
    "an advertisement": advertise(),
    "an advertisement without option": advertise(tll=0),
    "a solicited advertisement": advertise(solicited=True),
    "an advertisement of the link-local IP": advertise(LL_A),
    "an advertisement from the link-local IP": advertise(source=LL_A),
    "IPv4": ip(A.ip),
    "IPv4 broadcast": ip(A.ip, ALL_ONES, BROADCAST),
    "IPv6": ip(A.ip6, B.ip6),
    "IPv6 from the link-local IP": ip(LL_A, LL_B),
    "DHCP of a VM that has no address yet": dhcp(),
    "DHCP renewal": dhcp(A.ip, B.ip, to=B.mac),
    "a router solicitation before it has an address": icmp6(UNSPECIFIED, 133, ALL_ROUTERS),
    "a router solicitation": icmp6(LL_A, 133, ALL_ROUTERS),
    "an MLD report before it has an address": icmp6(UNSPECIFIED, 131),
    "an MLDv2 report before it has an address": icmp6(UNSPECIFIED, 143),
    "an MLDv2 report": icmp6(LL_A, 143),
    "IGMP": ip(A.ip, Ip.v4(0xE0000016), 0x01005E000016, proto=2),
}


@pytest.fixture
def world(tunnels):
    """A network with port security, and two registered VMs, on hosts 1 and 2."""
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(VNI, VLAN, port_security=True)
    for vm in (A, B):
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    return fabric


def facts(fabric):
    topology = fabric.engine.topology
    return (
        dict(topology.vms),
        dict(topology.learned),
        {key: vip.holder for key, vip in topology.vips.items()},
    )


def everywhere(fabric, journey):
    return [place for one in (journey, *fabric.emitted) for place in one.reached]


@pytest.mark.parametrize("what", FORGED)
def test_forged_frames_are_dropped_and_counted(world, what):
    before, counted = facts(world), world.switches[1].counted(Kind.FORGED)

    journey = world.send(A, FORGED[what])

    assert (everywhere(world, journey), journey.copies, journey.punts) == ([], [], [])
    assert world.switches[1].counted(Kind.FORGED) == counted + 1
    assert facts(world) == before


@pytest.mark.parametrize("what", LEGAL)
def test_legal_frames_arrive(world, what):
    journey = world.send(A, LEGAL[what])

    assert everywhere(world, journey) == [2]
    assert world.switches[1].counted(Kind.FORGED) == 0


def test_vms_ping_and_are_answered_for(world):
    assert world.ping(A, B)
    assert world.ping(B, A)
    assert world.solicit(A, B.ip6).deliveries[0].answered
    world.assert_in_sync()


def test_nothing_is_copied_and_nothing_is_learned(world):
    world.send(A, LEGAL["gratuitous ARP"])
    world.gratuitous(replace(A, mac=STRANGER, ip=OTHER))

    assert world.engine.topology.learned == {}


def test_other_networks_are_free(world):
    vm = world.vm(0)

    assert world.broadcast(vm).reached == [2, 3]
    assert world.learned(vm) is not None


def test_security_switched_on_forgets_strangers_and_off_hears_them(tunnels):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(VNI, VLAN)
    for vm in (A, B):
        fabric.register(vm)
    guest = replace(A, mac=STRANGER, ip=OTHER)
    fabric.gratuitous(guest)
    assert fabric.unicast(B, guest).reached == [1]

    fabric.network(VNI, VLAN, port_security=True)
    assert fabric.gratuitous(guest).reached == []
    assert fabric.ping(A, B)
    fabric.assert_in_sync()

    fabric.network(VNI, VLAN)
    assert fabric.gratuitous(guest).reached == [2]
    fabric.assert_in_sync()


def test_security_is_switched_on_without_losing_a_frame(tunnels):
    fabric = FakeFabric(2, tunnels).connect_all()
    fabric.network(VNI, VLAN)
    for vm in (A, B):
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    for secured in (True, False):
        fact = Network(Vni(VNI), None, Vlan(VLAN), port_security=secured)
        fabric.commit(lambda draft, fact=fact: draft.set_network(fact))
        while fabric.step():
            for name in ("IPv4", "IPv6", "who-has", "IPv4 broadcast"):
                # Where the flows of both ways stand side by side, either leads there.
                with suppress(Ambiguous):
                    assert fabric.forwarding().send(1, LEGAL[name]).reached == [2], name
    fabric.assert_in_sync()


def test_a_new_address_is_legal_once_it_is_registered(world):
    assert world.send(A, ip(OTHER)).reached == []
    world.register(A, ips=(A.ip, OTHER))

    assert world.send(A, ip(OTHER)).reached == [2]
    assert world.send(A, ip(A.ip6, B.ip6)).reached == []
    world.assert_in_sync()


def test_a_vm_that_moved_is_legal_at_its_new_host_only(world):
    moved = replace(A, host=3)
    world.register(moved, ips=(A.ip, A.ip6))

    assert world.send(moved, ip(A.ip)).reached == [2]
    assert world.send(A, ip(A.ip)).reached == []
    world.assert_in_sync()


# -- virtual IPs -----------------------------------------------------------------------------------


@pytest.fixture
def shared(world):
    """A and B may hold a virtual IP of each family."""
    world.vip(VIP, A, B)
    world.vip(VIP_6, A, B)
    return world


def test_members_may_use_a_virtual_ip(shared):
    assert shared.send(A, ip(VIP)).reached == [2]
    assert shared.send(A, ip(VIP_6, B.ip6)).reached == [2]


def test_members_may_claim_a_virtual_ip(shared):
    for vm in (A, B):
        shared.advance(2)
        shared.gratuitous(replace(vm, ip=VIP))
        shared.advertise(vm, VIP_6)
        assert (shared.holder(VNI, VIP), shared.holder(VNI, VIP_6)) == (vm.mac, vm.mac)
    shared.assert_in_sync()


@pytest.mark.parametrize("holder", [None, B])
def test_others_may_not_claim_a_virtual_ip(shared, holder):
    c = Station(3, Mac(0x525400000003), Ip.parse("10.1.1.4"), VNI, VLAN)
    shared.register(c)
    if holder:
        shared.gratuitous(replace(holder, ip=VIP))
    before = facts(shared)
    for thief in (c, replace(A, mac=STRANGER)):
        assert shared.gratuitous(replace(thief, ip=VIP)).reached == []
        assert shared.advertise(thief, VIP_6).reached == []
    assert facts(shared) == before


def test_a_member_does_not_claim_with_anothers_mac(shared):
    before = facts(shared)
    for packet in (arp(sha=STRANGER, spa=VIP, tpa=VIP), advertise(VIP_6, tll=STRANGER)):
        assert shared.send(A, packet).reached == []

    assert facts(shared) == before


# -- source guard, without port security -----------------------------------------------------------


@pytest.fixture
def open_world(tunnels):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(VNI, VLAN, hosts="all")
    for vm in (A, B):
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    return fabric


@pytest.mark.parametrize("packet", [ip(A.ip), arp(tpa=A.ip), advertise()], ids=["ip", "arp", "nd"])
def test_a_registered_mac_from_elsewhere_is_dropped_at_its_own_host(open_world, packet):
    """Else its own br-int would learn it behind the patch port, and cut it off."""
    before = facts(open_world)

    journey = open_world.send(replace(A, host=3), packet)

    assert 1 not in journey.reached
    assert facts(open_world) == before
    if packet.eth_dst == BROADCAST:
        assert open_world.switches[1].counted(Kind.SOURCE_GUARD) == 1


def test_registered_addresses_are_not_captured_from_elsewhere(open_world):
    thief = replace(A, host=3, mac=STRANGER)
    open_world.gratuitous(thief)
    open_world.advertise(thief, A.ip6)

    answers = [open_world.who_has(B, A.ip), open_world.solicit(B, A.ip6)]
    assert [journey.deliveries[0].packet.eth_src for journey in answers] == [A.mac, A.mac]
    assert open_world.unicast(B, A).reached == [1]


def test_the_guard_moves_with_its_vm(open_world):
    moved = replace(A, host=3)
    open_world.register(moved)

    assert 1 in open_world.broadcast(moved).reached
    assert 3 not in open_world.broadcast(A).reached
    open_world.assert_in_sync()
