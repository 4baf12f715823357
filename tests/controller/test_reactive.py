"""Reactive networks hold flows only for pairs that talk, and lose nothing by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.desired import CONVERSATION_IDLE_S
from controller.moves import SETTLE_S
from controller.pipeline import Kind, cookie_kind
from controller.replica import State
from controller.wire.encode import idle_timeout_of
from tests.fake import FakeFabric
from topology.model import Network
from topology.types import Ip, Subnet, Vni

SUBNETS = (Subnet.parse("10.1.1.0/24"), Subnet.parse("fd00::/64"))
DROPS = {"unknown_unicast": "drop", "unknown_arp": "drop", "subnets": SUBNETS}
VIP = Ip.parse("10.1.1.99")


@pytest.fixture(params=[{}, DROPS], ids=["floods", "drops"])
def policy(request):
    return request.param


@pytest.fixture
def world(tunnels, policy):
    """Three hosts with a registered VM each, in a reactive network."""
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(0, mode="reactive", **policy)
    vms = [fabric.vm(index) for index in range(3)]
    for vm in vms:
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    return fabric, vms


def talks(fabric, dpid):
    """The flows that a host holds only as long as they are used, by kind."""
    return sorted(
        cookie_kind(cookie).name
        for cookie, add in fabric.switches[dpid].cookies.items()
        if idle_timeout_of(add)
    )


def say(fabric, a, b):
    """A frame of a to b, with all that the controller does about it; where it came."""
    fabric.emitted.clear()
    journey = fabric.unicast(a, b)
    return sorted(place for one in (journey, *fabric.emitted) for place in one.reached)


def hold_talk(fabric, a, b):
    say(fabric, a, b)
    say(fabric, b, a)


def test_who_does_not_talk_has_no_flows(world):
    fabric, _vms = world

    assert [talks(fabric, dpid) for dpid in (1, 2, 3)] == [[], [], []]
    assert all(Kind.UNICAST_REGISTERED not in s.kinds() for s in fabric.switches.values())
    fabric.assert_in_sync()


def test_a_pair_that_talks_has_flows_on_both_hosts_and_nowhere_else(world):
    fabric, (a, b, _c) = world
    say(fabric, a, b)

    assert talks(fabric, 1) == talks(fabric, 2) == ["UNICAST_REGISTERED"]
    assert talks(fabric, 3) == []
    fabric.assert_in_sync()


def test_the_first_frame_arrives_and_the_next_ones_need_no_controller(world):
    fabric, (a, b, _c) = world
    assert b.host in say(fabric, a, b)

    for one, other in ((a, b), (b, a)):
        journey = fabric.unicast(one, other)
        assert (journey.reached, journey.punts, len(journey.copies)) == ([other.host], [], 1)


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_who_asks_gets_the_responder_and_the_way_there(world, family):
    fabric, (a, b, _c) = world
    ask = fabric.who_has if family == "ip" else fabric.solicit
    ask(a, getattr(b, family))
    fabric.emitted.clear()

    journey = ask(a, getattr(b, family))

    assert [delivery.answered for delivery in journey.deliveries] == [True]
    assert (journey.copies, [p.kind for p in journey.punts if p.kind is Kind.NEIGHBOUR_PUNT]) == (
        [],
        [],
    )
    assert not fabric.unicast(a, b).punts
    assert not fabric.unicast(b, a).punts


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_where_who_has_is_dropped_the_controller_answers_the_first(world, policy, family):
    fabric, (a, b, _c) = world
    ask = fabric.who_has if family == "ip" else fabric.solicit
    ask(a, getattr(b, family))

    answers = [d for journey in fabric.emitted for d in journey.deliveries]
    assert [d.dpid for d in answers] == ([1] if policy else [])
    assert all(d.packet.eth_src == b.mac for d in answers)


def test_silent_pairs_lose_their_flows(world):
    fabric, (a, b, _c) = world
    fabric.who_has(a, b.ip)
    fabric.solicit(a, b.ip6)
    hold_talk(fabric, a, b)
    fabric.advance(CONVERSATION_IDLE_S + 1, step_s=1)

    assert [talks(fabric, dpid) for dpid in (1, 2, 3)] == [[], [], []]
    fabric.assert_in_sync()
    assert not any("drifted" in line for line in fabric.log)


def test_what_is_used_stays(world):
    fabric, (a, b, _c) = world
    hold_talk(fabric, a, b)
    for _ in range(5):
        fabric.advance(CONVERSATION_IDLE_S - 10, step_s=1)
        assert fabric.unicast(a, b).reached == [2]
        assert not fabric.unicast(a, b).punts

    assert talks(fabric, 1) == ["UNICAST_REGISTERED"]
    assert talks(fabric, 2) == []
    fabric.assert_in_sync()


def test_a_pair_that_talks_again_is_connected_again(world):
    fabric, (a, b, _c) = world
    hold_talk(fabric, a, b)
    fabric.advance(2 * CONVERSATION_IDLE_S, step_s=1)

    assert b.host in say(fabric, a, b)
    assert say(fabric, a, b) == [b.host]


def test_a_table_grows_with_conversations_not_with_the_fabric(world):
    fabric, (a, b, _c) = world
    before = len(fabric.switches[1].flows)
    for _ in range(20):
        vm = fabric.vm(2)
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    assert len(fabric.switches[1].flows) == before

    hold_talk(fabric, a, b)
    assert len(fabric.switches[1].flows) == before + 1


def test_a_move_revises_both_ends(world):
    fabric, (a, b, c) = world
    hold_talk(fabric, a, b)
    hold_talk(fabric, c, b)
    moved = replace(b, host=3)
    fabric.register(moved, ips=(b.ip, b.ip6))

    assert fabric.unicast(a, moved).reached == [3]
    assert not fabric.unicast(a, moved).punts
    assert "UNICAST_REGISTERED" not in talks(fabric, 3)
    assert a.host in say(fabric, moved, a)
    fabric.assert_in_sync()


def test_a_deleted_vm_ends_its_conversations(world, policy):
    fabric, (a, b, _c) = world
    fabric.who_has(a, b.ip)
    hold_talk(fabric, a, b)
    fabric.unregister(b)
    fabric.advance(1)

    assert talks(fabric, 1) == []
    fabric.assert_in_sync()


def test_a_restarted_controller_adopts_conversations_without_any_flow_mod(world):
    fabric, (a, b, c) = world
    fabric.who_has(a, b.ip)
    fabric.solicit(a, b.ip6)
    hold_talk(fabric, a, b)
    hold_talk(fabric, b, c)
    held = {dpid: set(switch.cookies) for dpid, switch in fabric.switches.items()}
    mods = {dpid: switch.flow_mods for dpid, switch in fabric.switches.items()}
    fabric.restart_controller()
    fabric.connect_all()

    assert {dpid: set(switch.cookies) for dpid, switch in fabric.switches.items()} == held
    assert {dpid: switch.flow_mods for dpid, switch in fabric.switches.items()} == mods
    fabric.advance(CONVERSATION_IDLE_S + 1, step_s=1)
    assert [talks(fabric, dpid) for dpid in (1, 2, 3)] == [[], [], []]
    fabric.assert_in_sync()


def test_a_conversation_whose_end_nobody_heard_is_no_drift(world):
    fabric, (a, b, _c) = world
    hold_talk(fabric, a, b)
    fabric.disconnect(1)
    fabric.advance(CONVERSATION_IDLE_S + 1, step_s=1)
    fabric.connect(1)
    fabric.settle()
    fabric.advance(30)

    assert talks(fabric, 1) == []
    assert not any("drifted" in line for line in fabric.log)
    fabric.assert_in_sync()


@pytest.mark.parametrize(
    ("before", "after"), [("reactive", "proactive"), ("proactive", "reactive")]
)
def test_a_network_changes_its_mode_and_no_frame_is_lost(tunnels, policy, before, after):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(0, mode=before, **policy)
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a)
    fabric.register(b)
    hold_talk(fabric, a, b)
    fabric.who_has(a, b.ip)
    fact = Network(Vni(0), mode=after, **policy)
    fabric.commit(lambda draft: draft.set_network(fact))
    packet_in_flight = fabric.forwarding
    while fabric.step():
        journey = packet_in_flight().send(a.host, packet(a, b))
        punted = any(punt.kind is Kind.UNICAST_PUNT for punt in journey.punts)
        assert punted or b.host in journey.reached, journey

    assert b.host in say(fabric, a, b)
    assert say(fabric, a, b) == [b.host]
    assert talks(fabric, 1) == ([] if after == "proactive" else ["UNICAST_REGISTERED"])
    fabric.assert_in_sync()


def packet(a, b):
    from controller.journey import Packet

    return Packet(a.mac, b.mac, a.vlan)


# -- what is told to everybody -------------------------------------------------------------------


def everywhere(fabric, journey):
    return sorted(place for one in (journey, *fabric.emitted) for place in one.reached)


def test_gratuitous_arp_reaches_everybody_also_where_its_address_is_being_talked_to(world):
    """A VM that moved announces itself where others had asked for it."""
    fabric, (a, b, _c) = world
    fabric.who_has(a, b.ip)
    thief = replace(a, ip=b.ip)
    fabric.emitted.clear()

    journey = fabric.gratuitous(thief)

    assert not any(delivery.answered for delivery in journey.deliveries)
    assert everywhere(fabric, journey) == [2, 3]


def test_a_virtual_ip_follows_gratuitous_arp_while_it_is_talked_to(world):
    fabric, (a, b, c) = world
    fabric.vip(VIP, a, b)
    fabric.gratuitous(replace(a, ip=VIP))
    fabric.who_has(c, VIP)
    fabric.who_has(c, VIP)
    fabric.advance(2)
    fabric.gratuitous(replace(b, ip=VIP))
    assert fabric.holder(0, VIP) == b.mac

    (answer,) = fabric.who_has(c, VIP).deliveries

    assert answer.packet.arp.sender_mac == b.mac
    fabric.assert_in_sync()


# -- learned -------------------------------------------------------------------------------------


def test_learned_vms_converse_too(tunnels, policy):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(0, mode="reactive", **policy)
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    fabric.gratuitous(b)
    assert b.host in say(fabric, a, b)

    assert say(fabric, a, b) == [b.host]
    assert talks(fabric, 1) == talks(fabric, 2) == ["UNICAST_LEARNED"]
    assert talks(fabric, 3) == []
    fabric.assert_in_sync()


def test_a_learned_vm_that_moves_is_followed(tunnels, policy):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(0, mode="reactive", **policy)
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    fabric.gratuitous(b)
    hold_talk(fabric, a, b)
    fabric.advance(SETTLE_S)
    moved = replace(b, host=3)
    fabric.gratuitous(moved)

    assert fabric.unicast(a, moved).reached == [3]
    assert a.host in say(fabric, moved, a)
    fabric.assert_in_sync()


def test_all_hosts_are_live(world):
    fabric, _vms = world

    assert {replica.state for replica in fabric.engine.replicas.values()} == {State.LIVE}
