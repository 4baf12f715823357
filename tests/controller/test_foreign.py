"""Foreign VTEPs are flooded to, learned from, and believed only where they were declared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.frames import ADVERTISEMENT, Arp, Nd
from controller.journey import Packet
from controller.moves import SETTLE_S
from controller.pipeline import Kind
from tests.fake import FakeFabric, Station
from tests.fake.stations import BROADCAST
from topology.model import Vm
from topology.types import Dpid, Foreign, Ip, Mac, Vni, VtepIp

RED, BLUE = 100, 200
RED_VLAN, BLUE_VLAN = 10, 20
RACK = VtepIp(Ip.parse("192.168.33.200"))
UNDECLARED = VtepIp(Ip.parse("192.168.33.201"))
X = Station(0, Mac(0x525400AA0001), Ip.parse("10.1.1.201"), RED)
Y = Station(0, Mac(0x525400AA0002), Ip.parse("10.1.1.202"), RED)
FOREIGN_KINDS = {
    Kind.TUNNEL_FOREIGN,
    Kind.TUNNEL_FOREIGN_NEIGHBOUR,
    Kind.TUNNEL_FOREIGN_LEARNED,
    Kind.TUNNEL_FOREIGN_BINDING,
    Kind.TUNNEL_FOREIGN_REGISTERED,
}


@pytest.fixture
def world(tunnels):
    """Red on hosts 1 and 2 and behind a foreign VTEP, blue on host 3; each port is declared."""
    fabric = FakeFabric(3, tunnels)
    if tunnels == "peer":
        for dpid, switch in fabric.switches.items():
            switch.ports[30] = "vxlan30"
            fabric.remotes[dpid]["vxlan30"] = RACK
            remotes = (("vxlan30", RACK),)
            fabric.declare(dpid=Dpid(dpid), declared_remotes=remotes)
    fabric.connect_all()
    fabric.network(RED, RED_VLAN)
    fabric.network(BLUE, BLUE_VLAN)
    a, b = fabric.vm(0, RED, RED_VLAN), fabric.vm(1, RED, RED_VLAN)
    c = fabric.vm(2, BLUE, BLUE_VLAN)
    for vm in (a, b, c):
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    fabric.vtep(RACK, [RED], name="rack")
    return fabric, a, b, c


def arp(vm, op=1, tpa=None):
    target = vm.ip if tpa is None else tpa
    return Packet.carrying(Arp(op, vm.mac, vm.ip.low32, 0, target.low32), BROADCAST)


def advertise(vm):
    nd = Nd(ADVERTISEMENT, vm.ip6, 0xFF02 << 112 | 1, vm.ip6, vm.mac)
    return Packet.soliciting(nd, vm.mac, 0x333300000001)


def to(journey):
    """Where copies went on the underlay."""
    return sorted(copy.to for copy in journey.copies)


def holds(switch):
    return {kind for kind in switch.kinds() if kind in FOREIGN_KINDS}


# -- flood lists -----------------------------------------------------------------------------------


def test_broadcast_reaches_the_foreign_vtep_in_its_networks(world):
    fabric, a, _b, _c = world
    journey = fabric.broadcast(a)

    assert to(journey) == [2, Foreign.at(RACK)]
    assert {copy.vni for copy in journey.copies} == {RED}
    assert {copy.packet.vlan for copy in journey.copies} == {None}
    fabric.assert_in_sync()


def test_broadcast_of_another_network_does_not(world):
    fabric, _a, _b, c = world

    assert to(fabric.broadcast(c)) == []


def test_unknown_unicast_reaches_it(world):
    fabric, a, _b, _c = world

    assert Foreign.at(RACK) in to(fabric.unicast(a, X))


# -- what it sends ---------------------------------------------------------------------------------


def test_what_it_sends_is_delivered_with_the_local_tag(world):
    fabric, a, b, _c = world
    for host, vm in ((1, a), (2, b)):
        (delivery,) = fabric.arrive(host, RACK, RED, Packet(X.mac, vm.mac)).deliveries
        assert delivery.packet.vlan == RED_VLAN


def test_nothing_that_it_sends_enters_a_tunnel_again(world):
    fabric, _a, _b, _c = world

    assert fabric.arrive(1, RACK, RED, Packet(X.mac, BROADCAST)).copies == []


@pytest.mark.parametrize(
    ("vtep", "vni"),
    [(UNDECLARED, RED), (UNDECLARED, BLUE), (UNDECLARED, 0), (RACK, BLUE), (RACK, 0), (RACK, 7)],
)
def test_an_undeclared_vtep_or_vni_is_not_heard(world, vtep, vni):
    fabric, a, _b, _c = world
    fabric.advance(20, step_s=1)  # new bridges trust their ports for a while
    before = dict(fabric.engine.topology.learned)
    for host in (1, 2, 3):
        for packet in (Packet(X.mac, BROADCAST), Packet(X.mac, a.mac), arp(X), advertise(X)):
            assert fabric.arrive(host, vtep, vni, packet).deliveries == []
    assert fabric.engine.topology.learned == before


def test_a_host_without_members_does_not_hear_it(world):
    fabric, _a, _b, _c = world

    assert fabric.arrive(3, RACK, RED, Packet(X.mac, BROADCAST)).deliveries == []
    assert holds(fabric.switches[3]) == set()


def test_a_host_that_gets_a_member_hears_it(world):
    fabric, _a, _b, _c = world
    d = fabric.vm(2, RED, RED_VLAN)
    fabric.register(d)

    assert fabric.arrive(3, RACK, RED, Packet(X.mac, d.mac)).reached == [3]
    fabric.unregister(d)
    assert holds(fabric.switches[3]) == set()
    fabric.assert_in_sync()


@pytest.mark.parametrize("packet", [Packet(0, BROADCAST), arp(X)], ids=["frame", "arp"])
def test_it_does_not_take_a_registered_vm_over(world, packet):
    fabric, a, b, _c = world
    forged = replace(packet, eth_src=a.mac)
    if packet.arp:
        forged = replace(forged, arp=packet.arp._replace(sender_mac=a.mac, sender_ip=a.ip.low32))
    assert fabric.arrive(1, RACK, RED, forged).deliveries == []
    fabric.arrive(2, RACK, RED, forged)

    assert fabric.unicast(b, a).reached == [1]
    assert fabric.who_has(b, a.ip).deliveries[0].packet.arp.sender_mac == a.mac
    assert fabric.learned(a) is None


# -- learning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("packet", [Packet(X.mac, BROADCAST), arp(X), advertise(X)])
def test_any_frame_teaches_its_mac(world, packet):
    fabric, a, b, _c = world
    fabric.arrive(1, RACK, RED, packet)

    assert fabric.learned(X).host == Foreign.at(RACK)
    for vm in (a, b):
        assert to(fabric.unicast(vm, X)) == [Foreign.at(RACK)]
    fabric.assert_in_sync()


def test_arp_and_nd_teach_addresses(world):
    fabric, a, _b, _c = world
    fabric.arrive(1, RACK, RED, arp(X))
    fabric.advance(1)
    fabric.arrive(2, RACK, RED, advertise(X))

    assert [ip for ip, _seen in fabric.learned(X).ips] == sorted([X.ip, X.ip6])
    assert fabric.who_has(a, X.ip).deliveries[0].packet.arp.sender_mac == X.mac
    assert fabric.solicit(a, X.ip6).deliveries[0].packet.nd.link_layer == X.mac


def test_what_is_known_is_not_copied_again(world):
    fabric, _a, _b, _c = world
    for packet in (Packet(X.mac, BROADCAST), arp(X), advertise(X)):
        assert fabric.arrive(1, RACK, RED, packet).punts
        fabric.advance(1)
    for host in (1, 2):
        for packet in (Packet(X.mac, BROADCAST), arp(X), advertise(X)):
            journey = fabric.arrive(host, RACK, RED, packet)
            assert (journey.reached, journey.punts) == ([host], [])


def test_a_flood_that_each_host_copies_teaches_once(world):
    fabric, _a, _b, _c = world
    fabric.arrive(1, RACK, RED, arp(X))
    first = fabric.learned(X)
    fabric.arrive(2, RACK, RED, arp(X))

    assert fabric.learned(X) == first


def test_a_vm_that_moves_into_the_rack_is_followed(world):
    fabric, a, _b, _c = world
    x = replace(X, host=1, vlan=RED_VLAN)
    fabric.gratuitous(x)
    fabric.advance(SETTLE_S)
    fabric.arrive(2, RACK, RED, arp(X))
    assert to(fabric.unicast(a, X)) == [Foreign.at(RACK)]
    fabric.advance(SETTLE_S)
    fabric.gratuitous(replace(x, host=2))

    assert fabric.unicast(a, X).reached == [2]
    fabric.assert_in_sync()


def test_what_was_learned_ages(world):
    fabric, a, _b, _c = world
    fabric.arrive(1, RACK, RED, arp(X))
    fabric.advance(301, step_s=1)

    assert fabric.learned(X) is None
    assert to(fabric.unicast(a, X)) == [2, Foreign.at(RACK)]
    fabric.assert_in_sync()


def test_what_speaks_stays(world):
    fabric, a, _b, _c = world
    for _ in range(12):
        fabric.arrive(1, RACK, RED, arp(X))
        fabric.advance(60, step_s=2)
        assert to(fabric.unicast(a, X)) == [Foreign.at(RACK)]


@pytest.mark.parametrize("where", ["vtep", "network"])
def test_nothing_is_learned_where_learning_is_off(world, where):
    fabric, a, _b, _c = world
    if where == "vtep":
        fabric.vtep(RACK, [RED], learning=False)
    else:
        fabric.network(RED, RED_VLAN, learning=False)

    journey = fabric.arrive(1, RACK, RED, arp(X))

    assert (journey.reached, journey.punts) == ([1], [])
    assert fabric.learned(X) is None
    assert Foreign.at(RACK) in to(fabric.unicast(a, X))


def test_learning_switched_off_takes_back_what_was_learned(world):
    fabric, a, _b, _c = world
    fabric.arrive(1, RACK, RED, arp(X))
    fabric.vtep(RACK, [RED], learning=False)

    assert to(fabric.unicast(a, X)) == [2, Foreign.at(RACK)]
    assert not any(d.answered for d in fabric.who_has(a, X.ip).deliveries)
    fabric.assert_in_sync()


def test_restart_recalls_what_was_learned(world):
    fabric, a, _b, _c = world
    fabric.arrive(1, RACK, RED, arp(X))
    fabric.advance(1)
    fabric.arrive(1, RACK, RED, advertise(X))
    fabric.restart_controller()
    fabric.connect_all()

    assert fabric.learned(X).host == Foreign.at(RACK)
    assert [ip for ip, _seen in fabric.learned(X).ips] == sorted([X.ip, X.ip6])
    assert to(fabric.unicast(a, X)) == [Foreign.at(RACK)]
    fabric.assert_in_sync()


def test_a_host_that_was_away_does_not_bring_back_what_a_vtep_no_longer_has(world):
    fabric, a, _b, _c = world
    fabric.network(BLUE, BLUE_VLAN, hosts=(Dpid(1),))
    fabric.vtep(RACK, [RED, BLUE])
    fabric.arrive(1, RACK, BLUE, arp(X))
    fabric.disconnect(1)
    fabric.vtep(RACK, [RED])
    fabric.commit(lambda draft: draft.remove_vm((RED, a.mac)))
    fabric.restart_controller()
    fabric.connect_all()

    assert fabric.engine.topology.learned == {}


# -- changes ---------------------------------------------------------------------------------------


def test_a_vni_taken_from_it_is_heard_no_longer(world):
    fabric, a, _b, _c = world
    fabric.arrive(1, RACK, RED, arp(X))
    assert fabric.arrive(1, RACK, RED, arp(X)).reached == [1]
    fabric.vtep(RACK, [])

    for packet in (arp(X), Packet(X.mac, a.mac), arp(Y)):
        assert fabric.arrive(1, RACK, RED, packet).deliveries == []
    assert to(fabric.unicast(a, X)) == [2]
    assert not any(d.answered for d in fabric.who_has(a, X.ip).deliveries)
    assert all(holds(switch) == set() for switch in fabric.switches.values())
    fabric.assert_in_sync()


def test_a_vtep_that_is_removed_leaves_nothing(world):
    fabric, a, _b, _c = world
    fabric.arrive(1, RACK, RED, arp(X))
    fabric.commit(lambda draft: draft.remove_vtep(RACK))
    fabric.settle()
    fabric.advance(20, step_s=1)

    assert fabric.engine.topology.learned == {}
    assert to(fabric.broadcast(a)) == [2]
    assert to(fabric.unicast(a, X)) == [2]
    assert fabric.arrive(1, RACK, RED, arp(X)).deliveries == []
    assert all(holds(switch) == set() for switch in fabric.switches.values())
    fabric.assert_in_sync()


def test_a_vtep_comes_without_losing_a_frame(tunnels):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(RED, RED_VLAN)
    a, b = fabric.vm(0, RED, RED_VLAN), fabric.vm(1, RED, RED_VLAN)
    fabric.register(a)
    fabric.register(b)
    from topology.model import Vtep

    fabric.commit(lambda draft: draft.set_vtep(Vtep(RACK, (Vni(RED),))))
    while fabric.step():
        assert 2 in fabric.forwarding().send(1, Packet(a.mac, BROADCAST, RED_VLAN)).reached
        assert fabric.forwarding().send(1, Packet(a.mac, b.mac, RED_VLAN)).reached == [2]
    fabric.assert_in_sync()


# -- static entries --------------------------------------------------------------------------------


@pytest.fixture
def static(world):
    """X is registered behind the foreign VTEP."""
    fabric, *_ = world
    fabric.vtep(RACK, [RED], learning=False)
    fabric.register(replace(X, host=Foreign.at(RACK)), ips=(X.ip, X.ip6))
    return world


def test_a_static_entry_is_reached_and_answered_for(static):
    fabric, a, b, _c = static
    for vm in (a, b):
        assert to(fabric.unicast(vm, X)) == [Foreign.at(RACK)]
        assert fabric.who_has(vm, X.ip).deliveries[0].packet.arp.sender_mac == X.mac
        assert fabric.solicit(vm, X.ip6).deliveries[0].packet.nd.link_layer == X.mac
    assert fabric.arrive(1, RACK, RED, arp(X, 2, a.ip)).reached == [1]
    fabric.assert_in_sync()


def test_a_static_entry_becomes_a_vm_of_a_host(static):
    fabric, a, _b, _c = static
    fabric.register(replace(X, host=2, vlan=RED_VLAN))

    assert fabric.unicast(a, X).reached == [2]
    assert fabric.arrive(2, RACK, RED, arp(X)).deliveries == []
    fabric.assert_in_sync()


def test_with_port_security_only_static_entries_are_heard(static):
    fabric, a, _b, _c = static
    fabric.network(RED, RED_VLAN, port_security=True)

    assert fabric.arrive(1, RACK, RED, Packet(X.mac, a.mac)).reached == [1]
    assert fabric.arrive(1, RACK, RED, Packet(Y.mac, a.mac)).reached == []
    fabric.assert_in_sync()


# -- ports -----------------------------------------------------------------------------------------


def test_a_known_host_behind_an_unproven_port_is_not_taken_for_the_foreign_vtep():
    """Host 3 is known and away; what is left over leads there, not to the rack."""
    fabric = FakeFabric(3)
    fabric.declare(dpid=Dpid(3), declared_vtep=VtepIp(fabric.switches[3].vtep))
    fabric.connect(1)
    fabric.connect(2)
    fabric.settle()
    fabric.network(RED, RED_VLAN)
    a, c = fabric.vm(0, RED, RED_VLAN), fabric.vm(2, RED, RED_VLAN)
    fabric.register(a)
    fabric.commit(lambda draft: draft.set_vm(Vm(c.mac, Vni(RED), Dpid(3), (c.ip,))))
    fabric.vtep(RACK, [RED])
    fabric.advance(30, step_s=1)

    assert 3 not in to(fabric.unicast(a, X))
    assert 3 not in to(fabric.broadcast(a))
    fabric.connect(3)
    fabric.settle()
    fabric.advance(5)
    assert fabric.ping(a, c)
