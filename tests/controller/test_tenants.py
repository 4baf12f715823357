"""Networks are separate worlds, on every kind of tunnel port, while they come, change and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.flow import Field
from controller.journey import Packet
from controller.pipeline import Kind
from controller.wire.readback import read_flow
from tests.fake import FakeFabric
from tests.fake.stations import BROADCAST
from topology.model import Network, Vm
from topology.types import Dpid, Vlan, Vni

RED, BLUE = 100, 200
RED_VLAN, BLUE_VLAN = 10, 20


@pytest.fixture
def tenants(tunnels):
    """Two networks on four hosts with the same MACs and IPs: red on hosts 1, 2, blue on 2, 3."""
    fabric = FakeFabric(4, tunnels).connect_all()
    fabric.network(RED, RED_VLAN)
    fabric.network(BLUE, BLUE_VLAN)
    a = fabric.vm(0, RED, RED_VLAN)
    b = fabric.vm(1, RED, RED_VLAN)
    c = replace(a, host=2, vni=BLUE, vlan=BLUE_VLAN)
    d = replace(b, host=3, vni=BLUE, vlan=BLUE_VLAN)
    for vm in (a, b, c, d):
        fabric.register(vm)
    return fabric, (a, b), (c, d)


def walk(fabric, *frames):
    """Every message, one by one; each frame must arrive at every moment."""
    while True:
        for vm, packet, wanted in frames:
            journey = fabric.forwarding().send(vm.host, packet)
            assert journey.reached == wanted, journey
        if not fabric.step():
            return


def all_about(switch, vni):
    """Everything a switch holds of a network, groups included."""
    return sum(switch.kinds(vni).values()), [
        group for group in switch.groups if group & 0xFFFFFF == vni
    ]


# -- separate worlds ---------------------------------------------------------------------------


def test_the_same_macs_and_ips_ping_within_and_never_across(tenants):
    fabric, red, blue = tenants

    for (a, b), vlan, vni in ((red, RED_VLAN, RED), (blue, BLUE_VLAN, BLUE)):
        for one, other in ((a, b), (b, a)):
            ping = fabric.ping(one, other)
            assert ping
            deliveries = [d for journey in ping.journeys for d in journey.deliveries]
            assert {d.packet.vlan for d in deliveries} == {vlan}
            assert {c.vni for journey in ping.journeys for c in journey.copies} == {vni}
    fabric.assert_in_sync()


def test_a_broadcast_stays_in_its_network(tenants):
    fabric, (a, _b), (c, _d) = tenants

    assert fabric.broadcast(a).reached == [2]
    assert fabric.broadcast(c).reached == [3]
    assert {d.packet.vlan for d in fabric.broadcast(c).deliveries} == {BLUE_VLAN}


def test_learned_macs_of_two_networks_do_not_meet(tenants):
    fabric, (_a, b), (c, _d) = tenants
    red = replace(fabric.vm(0), vni=RED, vlan=RED_VLAN)
    blue = replace(red, host=3, vni=BLUE, vlan=BLUE_VLAN)
    fabric.gratuitous(red)
    fabric.gratuitous(blue)

    assert (fabric.learned(red).host, fabric.learned(blue).host) == (1, 3)
    assert fabric.unicast(b, red).reached == [1]
    assert fabric.unicast(c, blue).reached == [3]


def test_a_host_without_members_holds_nothing_of_a_network(tenants):
    fabric, _red, _blue = tenants

    assert all_about(fabric.switches[1], BLUE) == (0, [])
    assert all_about(fabric.switches[3], RED) == (0, [])
    assert all_about(fabric.switches[4], RED) == all_about(fabric.switches[4], BLUE) == (0, [])


def test_a_host_without_members_gets_no_floods(tenants):
    fabric, (a, _b), _blue = tenants

    assert [copy.to for copy in fabric.broadcast(a).copies] == [2]
    assert [copy.to for copy in fabric.unicast(a, fabric.vm(3)).copies] == [2]


@pytest.mark.parametrize("hosts", [(Dpid(4),), "all"])
def test_a_pinned_host_carries_a_network_without_members(tenants, hosts):
    fabric, (a, _b), _blue = tenants
    fabric.network(RED, RED_VLAN, hosts=hosts)

    assert 4 in fabric.broadcast(a).reached
    assert fabric.unicast(replace(a, host=4, mac=fabric.vm(3).mac), a).reached == [1]
    fabric.network(RED, RED_VLAN)
    fabric.assert_in_sync()
    assert all_about(fabric.switches[4], RED)[0] == 0


def test_a_network_on_another_networks_vlan_is_not_heard(tenants):
    fabric, (a, _b), _blue = tenants

    assert fabric.send(a, Packet(a.mac, BROADCAST, 30)).reached == []
    assert fabric.send(replace(a, host=1), Packet(a.mac, BROADCAST, BLUE_VLAN)).reached == []


def test_a_tunnel_frame_of_a_network_without_members_is_dropped(tenants):
    fabric, _red, _blue = tenants
    host_2 = fabric.switches[2].vtep

    assert fabric.forwarding().arrive(4, host_2, RED, Packet(1, BROADCAST)).reached == []


def test_the_untagged_network_may_be_another_than_0(tunnels):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(0, vlan=5)
    fabric.network(RED)
    a, b = fabric.vm(0, RED), fabric.vm(1, RED)
    fabric.register(a)
    fabric.register(b)

    assert fabric.ping(a, b)
    assert {copy.vni for copy in fabric.broadcast(a).copies} == {RED}
    fabric.assert_in_sync()


# -- make before break -------------------------------------------------------------------------


def test_a_new_vlan_interrupts_nobody_else_and_is_whole_when_it_is_there(tenants):
    fabric, (a, b), (c, d) = tenants
    fact = Network(Vni(RED), None, Vlan(30))
    fabric.commit(lambda draft: draft.set_network(fact))
    walk(
        fabric,
        (c, Packet(c.mac, d.mac, BLUE_VLAN), [3]),
        (c, Packet(c.mac, BROADCAST, BLUE_VLAN), [3]),
    )

    a, b = replace(a, vlan=30), replace(b, vlan=30)
    assert fabric.ping(a, b)
    assert {delivery.packet.vlan for delivery in fabric.broadcast(a).deliveries} == {30}
    assert fabric.send(a, Packet(a.mac, b.mac, RED_VLAN)).reached == []
    fabric.assert_in_sync()


def test_while_the_vlan_changes_either_the_old_or_the_new_one_is_carried(tenants):
    """br-int is retagged at some moment: neither tag may be dropped before the other is taken."""
    fabric, (a, b), _blue = tenants
    fact = Network(Vni(RED), None, Vlan(30))
    fabric.commit(lambda draft: draft.set_network(fact))
    while fabric.step():
        for destination in (b.mac, BROADCAST):
            reached = [
                fabric.forwarding().send(a.host, Packet(a.mac, destination, vlan)).reached
                for vlan in (RED_VLAN, 30)
            ]
            assert [2] in reached


@pytest.mark.parametrize(("before", "after"), [(RED_VLAN, None), (None, RED_VLAN)])
def test_no_tag_ever_crosses_a_tunnel_while_a_network_becomes_untagged(tunnels, before, after):
    fabric = FakeFabric(2, tunnels).connect_all()
    fabric.network(0, vlan=5)
    fabric.network(RED, before)
    a, b = fabric.vm(0, RED, before), fabric.vm(1, RED, before)
    fabric.register(a)
    fabric.register(b)
    fact = Network(Vni(RED), None, None if after is None else Vlan(after))
    fabric.commit(lambda draft: draft.set_network(fact))
    while fabric.step():
        for vlan in (before, after):
            for destination in (b.mac, BROADCAST):
                journey = fabric.forwarding().send(1, Packet(a.mac, destination, vlan))
                assert {copy.packet.vlan for copy in journey.copies} <= {None}, journey
    fabric.assert_in_sync()


def test_a_deleted_network_takes_nothing_of_another_with_it(tenants):
    fabric, (a, b), (c, d) = tenants
    fabric.unregister(a)
    fabric.commit(lambda draft: draft.remove_vm((RED, b.mac)))
    fabric.commit(lambda draft: draft.remove_network(RED))
    walk(
        fabric,
        (c, Packet(c.mac, d.mac, BLUE_VLAN), [3]),
        (c, Packet(c.mac, BROADCAST, BLUE_VLAN), [3]),
    )
    fabric.advance(1)

    fabric.assert_in_sync()
    assert all(all_about(switch, RED) == (0, []) for switch in fabric.switches.values())


def test_what_was_learned_in_a_network_is_gone_with_it(tenants):
    fabric, (a, b), _blue = tenants
    x = fabric.vm(0, RED, RED_VLAN)
    fabric.gratuitous(x)
    fabric.unregister(a)
    fabric.unregister(b)
    fabric.commit(lambda draft: draft.remove_network(RED))
    fabric.settle()

    assert fabric.learned(x) is None


def test_a_vni_made_again_is_whole(tenants):
    fabric, (a, b), _blue = tenants
    fabric.commit(
        lambda draft: (
            draft.remove_vm((RED, a.mac)),
            draft.remove_vm((RED, b.mac)),
            draft.remove_network(RED),
        )
    )
    fabric.network(RED, RED_VLAN)
    fabric.register(a)
    fabric.register(b)
    fabric.advance(1)

    assert fabric.ping(a, b)
    fabric.assert_in_sync()


def test_a_host_that_leaves_a_network_and_joins_it_at_once_keeps_it(tenants):
    """Two VMs change places in one write: each host loses its only member, and gets another."""
    fabric, (a, b), _blue = tenants

    def swap(draft):
        draft.set_vm(Vm(a.mac, Vni(RED), Dpid(3), (a.ip,)))
        draft.set_vm(Vm(b.mac, Vni(RED), Dpid(1), (b.ip,)))

    fabric.commit(swap)
    fabric.settle()

    fabric.assert_in_sync()
    assert fabric.ping(replace(a, host=3), replace(b, host=1))


def test_a_vm_that_is_registered_anew_before_its_host_heard_of_it_keeps_its_flows(tenants):
    fabric, (a, b), _blue = tenants
    fabric.commit(lambda draft: draft.remove_vm(a_key(a)))
    fabric.commit(lambda draft: draft.set_vm(Vm(a.mac, Vni(RED), Dpid(1), (a.ip,))))
    fabric.settle()

    fabric.assert_in_sync()
    assert fabric.ping(a, b)


def a_key(vm):
    return (vm.vni, vm.mac)


# -- keyless ports, and two ports to one peer ---------------------------------------------------


def keyless_fabric(tunnels, *ports):
    """Three hosts whose ports (all, or these) have no key=flow."""
    fabric = FakeFabric(3, tunnels)
    for dpid, names in fabric.remotes.items():
        fabric.keyless |= {(dpid, name) for name in names if not ports or (dpid, name) in ports}
    return fabric.connect_all()


def test_a_keyless_port_is_found_by_a_probe(tunnels):
    fabric = keyless_fabric(tunnels)

    for dpid, names in fabric.remotes.items():
        assert set(fabric.engine.topology.hosts[dpid].seen_keyless) == set(names)


def test_a_keyless_port_carries_network_0(tunnels):
    fabric = keyless_fabric(tunnels)
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(b)

    assert fabric.ping(a, b)
    assert fabric.broadcast(a).reached == [2, 3]
    fabric.assert_in_sync()


def test_another_networks_frames_never_appear_in_network_0(tunnels):
    fabric = keyless_fabric(tunnels)
    fabric.network(RED, RED_VLAN, hosts="all")
    a, b = fabric.vm(0, RED, RED_VLAN), fabric.vm(1, RED, RED_VLAN)
    fabric.register(a)
    fabric.register(b)

    for packet in (Packet(a.mac, b.mac, RED_VLAN), Packet(a.mac, BROADCAST, RED_VLAN)):
        journey = fabric.send(a, packet)
        assert (journey.reached, journey.copies) == ([], [])
    fabric.assert_in_sync()


def test_a_port_that_gets_its_key_later_carries_every_network(tunnels):
    fabric = keyless_fabric(tunnels)
    fabric.network(RED, RED_VLAN)
    a, b = fabric.vm(0, RED, RED_VLAN), fabric.vm(1, RED, RED_VLAN)
    fabric.register(a)
    fabric.register(b)
    assert not fabric.ping(a, b)
    fabric.keyless.clear()
    fabric.advance(30, step_s=1)

    assert fabric.ping(a, b)


def test_of_two_ports_to_one_peer_one_sends_and_both_hear():
    fabric = FakeFabric(3)
    for dpid, switch in fabric.switches.items():
        fabric.remotes[dpid]["vxlan9"] = fabric.switches[dpid % 3 + 1].vtep
        switch.ports[19] = "vxlan9"
    fabric.connect_all()
    vms = [fabric.vm(index) for index in range(3)]
    for vm in vms:
        fabric.register(vm)

    assert all(fabric.ping(a, b) for a in vms for b in vms if a is not b)
    assert fabric.broadcast(vms[0]).reached == [2, 3]
    heard = {
        value
        for entry in fabric.switches[1].flows.values()
        if entry.add[9] == Kind.TUNNEL_PEER_PORT
        for name, value, _mask in read_flow(entry.add).match
        if name is Field.IN_PORT
    }
    assert heard == {5, 6, 19}
    fabric.assert_in_sync()


def test_of_two_ports_to_one_peer_the_one_with_a_key_sends():
    fabric = FakeFabric(2)
    for dpid, switch in fabric.switches.items():
        fabric.remotes[dpid]["vxlan9"] = fabric.switches[3 - dpid].vtep
        switch.ports[19] = "vxlan9"
        fabric.keyless.add((dpid, "vxlan0"))
    fabric.connect_all()
    fabric.network(RED, RED_VLAN)
    a, b = fabric.vm(0, RED, RED_VLAN), fabric.vm(1, RED, RED_VLAN)
    fabric.register(a)
    fabric.register(b)
    fabric.advance(1)

    assert fabric.ping(a, b)
    assert fabric.ping(fabric.vm(0), fabric.vm(1))
    fabric.assert_in_sync()
