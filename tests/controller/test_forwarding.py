"""Where frames go: to one VTEP, to all, to none, and never in circles."""

from __future__ import annotations

import pytest

from controller.journey import Packet
from controller.pipeline import Kind
from tests.fake import FakeFabric
from tests.fake.stations import BROADCAST


def test_nothing_registered_every_pair_pings(fabric):
    vms = [fabric.vm(index) for index in range(3)]

    assert all(fabric.ping(a, b) for a in vms for b in vms if a is not b)


def test_unicast_reaches_one_vtep(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a)
    fabric.register(b)

    journey = fabric.unicast(a, b)

    assert journey.reached == [b.host]
    assert len(journey.copies) == 1
    assert Kind.UNICAST_REGISTERED in journey.kinds


def test_unknown_unicast_is_flooded_like_broadcast(fabric):
    journey = fabric.unicast(fabric.vm(0), fabric.vm(1))

    assert journey.reached == [2, 3]
    assert Kind.UNICAST_MISS in journey.kinds


def test_unknown_unicast_is_dropped_where_the_network_says_so(fabric):
    fabric.network(0, unknown_unicast="drop")
    a, b = fabric.vm(0), fabric.vm(1)

    assert fabric.unicast(a, b).reached == []
    assert fabric.broadcast(a).reached == [2, 3]
    assert fabric.broadcast(b).reached == [1, 3]
    assert fabric.unicast(a, b).reached == [2]


@pytest.mark.parametrize("destination", [BROADCAST, 0x01005E000001, 0x333300000001])
def test_broadcast_and_multicast_reach_each_vtep_once(fabric, destination):
    a = fabric.vm(0)

    journey = fabric.send(a, Packet(a.mac, destination))

    assert journey.reached == [2, 3]
    assert len(journey.copies) == 2


def test_bum_from_a_tunnel_never_reenters_a_tunnel(fabric):
    for index in range(3):
        vm = fabric.vm(index)
        assert {copy.sender for copy in fabric.broadcast(vm).copies} == {vm.host}


def test_a_vm_of_this_host_is_not_asked_for_on_the_underlay(fabric):
    a, b = fabric.vm(0), fabric.vm(0)
    fabric.register(b)

    journey = fabric.unicast(a, b)

    assert (journey.reached, journey.copies) == ([], [])


def test_tagged_frames_have_no_business_in_an_untagged_network(fabric):
    a = fabric.vm(0)

    assert fabric.send(a, Packet(a.mac, BROADCAST, vlan=7)).reached == []


def test_a_vm_cannot_send_probes(fabric):
    from controller.pipeline import PROBE_ETH_TYPE, PROBE_MAC

    a = fabric.vm(0)
    journey = fabric.send(a, Packet(a.mac, PROBE_MAC, eth_type=PROBE_ETH_TYPE))

    assert (journey.reached, journey.copies) == ([], [])


def test_two_hosts_of_the_first_seed():
    fabric = FakeFabric(2).connect_all()

    assert fabric.ping(fabric.vm(0), fabric.vm(1))


def test_forwarding_goes_on_while_the_controller_is_away(fabric):
    a, b, c = (fabric.vm(index) for index in range(3))
    fabric.register(a)
    fabric.register(b)
    fabric.ping(a, c)
    for dpid in fabric.switches:
        fabric.disconnect(dpid)

    assert fabric.unicast(a, b).reached == [b.host]
    fabric.now_s += 301
    for switch in fabric.switches.values():
        switch.expire(fabric.now_s)
    flooded = fabric.unicast(a, c)
    assert c.host in flooded.reached
    assert len(flooded.copies) == 2


# -- networks beside network 0 --------------------------------------------------------------


@pytest.fixture
def blue() -> FakeFabric:
    """Four hosts on flow-based ports; network 100, on local VLAN 10, has VMs on hosts 1 and 2."""
    fabric = FakeFabric(4, "flow").connect_all()
    fabric.network(100, vlan=10)
    return fabric


def test_vni_isolation(blue):
    a, b = blue.vm(0, 100, 10), blue.vm(1, 100, 10)
    blue.register(a)
    blue.register(b)
    red = blue.vm(1)

    for journey in (blue.broadcast(a), blue.unicast(a, b)):
        assert journey.reached == [b.host]
        assert {delivery.packet.vlan for delivery in journey.deliveries} == {10}
        assert {copy.vni for copy in journey.copies} == {100}
        assert {copy.packet.vlan for copy in journey.copies} == {None}
    assert {delivery.packet.vlan for delivery in blue.broadcast(red).deliveries} == {None}
    assert blue.ping(a, b)


def test_a_broadcast_goes_only_where_the_network_has_vms(blue):
    a, b, c = (blue.vm(index, 100, 10) for index in range(3))
    for vm in (a, b, c):
        blue.register(vm)
    assert blue.broadcast(a).reached == [2, 3]

    blue.unregister(c)
    blue.advance(30)

    assert blue.broadcast(a).reached == [2]
    blue.assert_in_sync()
    assert not any(cookie for cookie in blue.replica(3).tables if cookie == 100)


def test_a_network_that_is_gone_leaves_nothing_behind(blue):
    before = {dpid: set(switch.cookies) for dpid, switch in blue.switches.items()}
    a, b = blue.vm(0, 100, 10), blue.vm(1, 100, 10)
    blue.register(a)
    blue.register(b)
    assert set(blue.switches[1].cookies) != before[1]
    blue.unregister(a)
    blue.unregister(b)
    blue.commit(lambda draft: draft.remove_network(100))
    blue.settle()
    blue.advance(30)

    assert {dpid: set(switch.cookies) for dpid, switch in blue.switches.items()} == before
    assert all(set(switch.groups) == {0x76000000} for switch in blue.switches.values())


def test_an_arp_answer_carries_the_tag_of_the_question(blue):
    a, b = blue.vm(0, 100, 10), blue.vm(1, 100, 10)
    blue.register(a)
    blue.register(b)

    (answer,) = blue.who_has(a, b.ip).deliveries

    assert answer.answered
    assert answer.packet.vlan == 10
