"""A virtual IP is where its holder is; one announcement of another member moves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.moves import HOLD_S, MANY_MOVES
from tests.fake import FakeFabric
from topology.types import Ip

VNI, VLAN = 100, 10
VIP, VIP_6 = Ip.parse("10.1.1.99"), Ip.parse("fd00::99")


@pytest.fixture
def world(tunnels):
    """Two VMs on hosts 1 and 2 that share a virtual IP of each family, and an asker on host 3."""
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(VNI, VLAN)
    a, b, asker = (fabric.vm(index, VNI, VLAN) for index in range(3))
    for vm in (a, b, asker):
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    fabric.vip(VIP, a, b)
    fabric.vip(VIP_6, a, b)
    return fabric, a, b, asker


def claim(fabric, vm):
    return fabric.gratuitous(replace(vm, ip=VIP)), fabric.advertise(vm, VIP_6)


def answers(fabric, asker):
    """Who answers for it, in each family."""
    v4 = [d.packet.arp.sender_mac for d in fabric.who_has(asker, VIP).deliveries if d.answered]
    v6 = [d.packet.nd.link_layer for d in fabric.solicit(asker, VIP_6).deliveries if d.answered]
    return v4, v6


def test_a_virtual_ip_that_nobody_holds_is_asked_for_everywhere(world):
    fabric, _a, _b, asker = world

    assert fabric.who_has(asker, VIP).reached == [1, 2]
    assert fabric.solicit(asker, VIP_6).reached == [1, 2]


def test_who_announces_it_holds_it(world):
    fabric, a, _b, asker = world
    claim(fabric, a)

    assert answers(fabric, asker) == ([a.mac], [a.mac])
    fabric.assert_in_sync()


def test_one_announcement_flips_every_responder(world):
    fabric, a, b, asker = world
    claim(fabric, a)
    fabric.advance(2)
    claim(fabric, b)

    assert answers(fabric, asker) == ([b.mac], [b.mac])
    assert answers(fabric, a) == ([b.mac], [b.mac])
    fabric.assert_in_sync()


def test_its_announcement_reaches_everybody(world):
    fabric, a, b, _asker = world
    for vm, others in ((a, [2, 3]), (b, [1, 3]), (a, [2, 3])):
        fabric.advance(2)
        assert [journey.reached for journey in claim(fabric, vm)] == [others, others]


def test_it_follows_back(world):
    fabric, a, b, asker = world
    for vm in (a, b, a, b):
        claim(fabric, vm)
        assert answers(fabric, asker) == ([vm.mac], [vm.mac])
        fabric.advance(HOLD_S)


def test_it_follows_back_at_once(world):
    """The announcement itself is no late packet of a VM that was left."""
    fabric, a, b, asker = world
    for vm in (a, b, a):
        claim(fabric, vm)

    assert answers(fabric, asker) == ([a.mac], [a.mac])


def test_the_holder_is_not_copied_and_the_others_are(world):
    fabric, a, b, _asker = world
    claim(fabric, a)

    assert not any(journey.punts for journey in claim(fabric, a))
    assert all(journey.punts for journey in claim(fabric, b))


def test_speaking_for_it_in_any_arp_or_nd_is_an_announcement(world):
    fabric, a, b, _asker = world
    fabric.who_has(replace(a, ip=VIP), b.ip)

    assert fabric.holder(VNI, VIP) == a.mac


def test_others_cannot_have_it(world):
    fabric, a, _b, asker = world
    claim(fabric, a)
    claim(fabric, asker)
    claim(fabric, replace(asker, mac=fabric.vm(2).mac))

    assert fabric.holder(VNI, VIP) == fabric.holder(VNI, VIP_6) == a.mac
    assert all(VIP not in dict(entry.ips) for entry in fabric.engine.topology.learned.values())


def test_a_member_cannot_claim_it_from_another_host(world):
    fabric, a, b, _asker = world
    claim(fabric, a)
    fabric.advance(2)
    claim(fabric, replace(b, host=3))

    assert fabric.holder(VNI, VIP) == a.mac


def test_its_holder_survives_a_controller_restart(world):
    fabric, a, b, asker = world
    claim(fabric, a)
    fabric.advance(2)
    claim(fabric, b)
    fabric.restart_controller()
    assert fabric.holder(VNI, VIP) == b.mac
    mods = {dpid: switch.flow_mods for dpid, switch in fabric.switches.items()}
    fabric.connect_all()

    assert {dpid: switch.flow_mods for dpid, switch in fabric.switches.items()} == mods
    assert answers(fabric, asker) == ([b.mac], [b.mac])
    fabric.assert_in_sync()


def test_it_moves_with_its_holder(world):
    fabric, a, b, asker = world
    claim(fabric, a)
    moved = replace(a, host=3)
    fabric.register(moved, ips=(a.ip, a.ip6))

    assert fabric.who_has(asker, VIP).deliveries == []  # a itself answers on its host
    assert fabric.who_has(b, VIP).deliveries[0].packet.arp.sender_mac == a.mac
    fabric.assert_in_sync()


def test_a_holder_that_is_deleted_answers_no_longer(world):
    fabric, a, b, asker = world
    claim(fabric, a)
    fabric.unregister(a)
    assert answers(fabric, asker) == ([], [])

    claim(fabric, b)
    assert answers(fabric, asker) == ([b.mac], [b.mac])
    fabric.assert_in_sync()


def test_a_member_taken_out_holds_it_no_longer(world):
    fabric, a, b, asker = world
    claim(fabric, a)
    fabric.vip(VIP, b)
    fabric.vip(VIP_6, b)
    assert answers(fabric, asker) == ([], [])

    claim(fabric, a)
    assert fabric.holder(VNI, VIP) is None
    fabric.assert_in_sync()


def test_a_virtual_ip_that_is_removed_leaves_nothing(world):
    fabric, a, _b, asker = world
    before = {dpid: len(switch.flows) for dpid, switch in fabric.switches.items()}
    claim(fabric, a)
    for ip in (VIP, VIP_6):
        fabric.commit(lambda draft, ip=ip: draft.remove_vip((VNI, ip)))
    fabric.settle()

    assert answers(fabric, asker) == ([], [])
    assert all(len(s.flows) < before[d] for d, s in fabric.switches.items() if d != 3)
    fabric.assert_in_sync()


def test_two_members_on_one_host(world):
    fabric, a, _b, asker = world
    other = fabric.vm(0, VNI, VLAN)
    fabric.register(other)
    fabric.vip(VIP, a, other)
    for vm in (a, other):
        fabric.advance(2)
        fabric.gratuitous(replace(vm, ip=VIP))
        assert fabric.who_has(asker, VIP).deliveries[0].packet.arp.sender_mac == vm.mac
        assert fabric.who_has(replace(vm, mac=fabric.vm(0).mac), VIP).copies == []


def test_who_fights_for_it_is_held_and_that_is_said(world):
    fabric, a, b, _asker = world
    for turn in range(MANY_MOVES + 6):
        fabric.gratuitous(replace((a, b)[turn % 2], ip=VIP))
        fabric.advance(1)

    assert len([line for line in fabric.log if "flaps" in line and str(VIP) in line]) == 1


def test_its_answer_never_lacks_while_it_moves(world):
    from controller.frames import Arp
    from controller.journey import Packet
    from tests.fake.stations import BROADCAST

    fabric, a, b, asker = world
    claim(fabric, a)
    fabric.advance(2)
    ask = Packet.carrying(Arp(1, asker.mac, asker.ip.low32, 0, VIP.low32), BROADCAST, VLAN)
    claiming = Packet.carrying(Arp(1, b.mac, VIP.low32, 0, VIP.low32), BROADCAST, VLAN)
    fabric.send(b, claiming, settle=False)
    while fabric.step():
        (answer,) = fabric.forwarding().send(3, ask).deliveries
        assert answer.answered
        assert answer.packet.arp.sender_mac in (a.mac, b.mac)
    assert fabric.holder(VNI, VIP) == b.mac
