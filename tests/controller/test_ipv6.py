"""Neighbour discovery: answered in the switch where it can, by the controller where it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.frames import ADVERTISEMENT, SOLICITATION
from controller.moves import SETTLE_S
from controller.pipeline import ND_RESPONDER_KINDS, Kind, cookie_kind
from controller.replica import State
from controller.wire import encode
from tests.fake import FakeFabric
from tests.fake.voices import solicitation
from topology.model import Network, Vm
from topology.types import Dpid, Ip, Vni

UNKNOWN = Ip.parse("fd00::dead")


def refuse_nd(mod):
    """As a datapath without the ND extensions does."""
    adds = mod[25] == encode.ADD and cookie_kind(encode.cookie_of(mod)) in ND_RESPONDER_KINDS
    return (4, 9) if adds else None


def dual_stack(fabric, *vms):
    for vm in vms:
        fabric.register(vm, ips=(vm.ip, vm.ip6))


@pytest.fixture
def pair(fabric):
    """Two registered VMs with an address of each family, on hosts 1 and 2."""
    a, b = fabric.vm(0), fabric.vm(1)
    dual_stack(fabric, a, b)
    return a, b


@pytest.fixture
def poor(tunnels):
    """Three hosts; the datapath of the first cannot answer solicitations."""
    fabric = FakeFabric(3, tunnels)
    fabric.switches[1].refuse = refuse_nd
    fabric.connect_all()
    a, b = fabric.vm(0), fabric.vm(1)
    dual_stack(fabric, a, b)
    return fabric, a, b


# -- in the switch -----------------------------------------------------------------------------


def test_a_solicitation_is_answered_in_the_switch(fabric, pair):
    a, b = pair
    for dpid in fabric.switches:
        fabric.disconnect(dpid)

    journey = fabric.solicit(a, b.ip6)

    (answer,) = journey.deliveries
    assert answer.answered
    assert (journey.copies, journey.punts) == ([], [])


def test_the_answer_is_as_the_owner_would_give_it(fabric, pair):
    a, b = pair
    (answer,) = fabric.solicit(a, b.ip6).deliveries
    packet, nd = answer.packet, answer.packet.nd

    assert (packet.eth_src, packet.eth_dst) == (b.mac, a.mac)
    assert (nd.kind, nd.source, nd.destination, nd.target) == (
        ADVERTISEMENT,
        b.ip6,
        a.ip6,
        b.ip6,
    )
    assert nd.link_layer == b.mac
    assert nd.solicited


def test_the_answer_overrides_what_the_asker_has_cached(fabric, pair):
    """RFC 4861, 4.4: S and O, not R."""
    a, b = pair

    actions = [
        action
        for hop in fabric.solicit(a, b.ip6).hops
        for action in hop.flow.actions
        if getattr(getattr(action, "field", None), "name", "") == "ND_RESERVED"
    ]

    assert [action.value for action in actions] == [0x60000000]


def test_an_answer_in_a_tagged_network_carries_its_tag(fabric):
    fabric.network(100, 10)
    a, b = fabric.vm(0, 100, 10), fabric.vm(1, 100, 10)
    dual_stack(fabric, a, b)

    assert [d.packet.vlan for d in fabric.solicit(a, b.ip6).deliveries] == [10]


def test_a_solicitation_for_a_vm_of_the_same_host_stays_there(fabric, pair):
    a, _b = pair

    journey = fabric.solicit(fabric.vm(0), a.ip6)

    assert (journey.deliveries, journey.copies) == ([], [])


def test_duplicate_address_detection_reaches_everybody_and_is_never_answered(fabric, pair):
    a, b = pair
    for ip in (a.ip6, b.ip6, UNKNOWN):
        journey = fabric.dad(a, ip)
        assert journey.reached == [2, 3]
        assert not any(delivery.answered for delivery in journey.deliveries)
        assert fabric.emitted == []


def test_a_unicast_solicitation_reaches_the_vm_itself(fabric, pair):
    a, b = pair

    journey = fabric.solicit(a, b.ip6, to=b.mac)

    assert journey.reached == [2]
    assert journey.deliveries[0].packet.nd.kind == SOLICITATION


def test_a_solicitation_for_an_unknown_address_is_flooded(fabric, pair):
    assert fabric.solicit(pair[0], UNKNOWN).reached == [2, 3]


def test_nobody_answers_solicitations_in_a_network_without_responder(fabric, pair):
    a, b = pair
    fabric.network(0, arp_responder=False)

    assert fabric.solicit(a, b.ip6).reached == [2, 3]
    assert fabric.solicit(a, b.ip6, option=False).reached == [2, 3]


def test_a_deleted_vm_is_no_longer_answered_for(fabric, pair):
    a, b = pair
    fabric.unregister(b)

    assert fabric.solicit(a, b.ip6).reached == [2, 3]
    fabric.assert_in_sync()


def test_the_answer_never_lacks_while_its_vm_moves(fabric, pair):
    a, b = pair
    moved = Vm(b.mac, Vni(0), Dpid(3), (b.ip, b.ip6))
    fabric.commit(lambda draft: draft.set_vm(moved))
    packet = solicitation(a, b.ip6)
    while fabric.step():
        assert fabric.forwarding().send(1, packet).reached == [1]


def test_restart_sends_no_flow_mods_for_ipv6(fabric, pair):
    fabric.restart_controller()
    before = {dpid: switch.flow_mods for dpid, switch in fabric.switches.items()}
    fabric.connect_all()

    assert {dpid: switch.flow_mods for dpid, switch in fabric.switches.items()} == before
    fabric.assert_in_sync()


# -- by the controller ---------------------------------------------------------------------------


def answers(fabric):
    """What the controller's packet-outs brought to VMs since last asked."""
    found = [delivery for journey in fabric.emitted for delivery in journey.deliveries]
    fabric.emitted.clear()
    return found


def test_a_solicitation_without_link_layer_option_is_answered_by_the_controller(fabric, pair):
    a, b = pair
    journey = fabric.solicit(a, b.ip6, option=False)
    assert (journey.deliveries, [punt.kind for punt in journey.punts[-1:]]) == ([], [Kind.ND_PUNT])

    (answer,) = answers(fabric)
    nd = answer.packet.nd
    assert answer.dpid == a.host
    assert (answer.packet.eth_src, answer.packet.eth_dst) == (b.mac, a.mac)
    assert (nd.kind, nd.target, nd.link_layer, nd.solicited) == (ADVERTISEMENT, b.ip6, b.mac, True)


def test_a_solicitation_without_option_for_an_unknown_address_is_flooded(fabric, pair):
    a, _b = pair
    fabric.solicit(a, UNKNOWN, option=False)

    assert [delivery.dpid for delivery in answers(fabric)] == [2, 3]


def test_a_solicitation_without_option_for_a_vm_of_the_same_host_stays_there(fabric, pair):
    a, _b = pair
    fabric.solicit(fabric.vm(0), a.ip6, option=False)

    assert answers(fabric) == []


def test_a_switch_that_refuses_nd_flows_gets_its_answers_from_the_controller(poor):
    fabric, a, b = poor
    fabric.solicit(a, b.ip6)

    (answer,) = answers(fabric)
    assert (answer.dpid, answer.packet.eth_src, answer.packet.nd.target) == (1, b.mac, b.ip6)
    assert fabric.solicit(b, a.ip6).deliveries[0].answered


def test_a_switch_that_refuses_nd_flows_is_as_good_as_another(poor):
    fabric, _a, _b = poor
    replica = fabric.replica(1)

    assert (replica.state, replica.rejected, replica.bridge.nd) == (State.LIVE, {}, False)
    assert fabric.replica(2).bridge.nd
    assert sum("refused" in line for line in fabric.log) == 1


def test_a_switch_that_refuses_nd_flows_is_never_asked_again(poor):
    fabric, _a, _b = poor
    asked = []
    fabric.switches[1].refuse = lambda mod: asked.append(mod) or refuse_nd(mod)
    dual_stack(fabric, fabric.vm(2))
    fabric.advance(100, step_s=1)

    assert not [mod for mod in asked if refuse_nd(mod)]
    assert len(fabric.replica(1).desired()) == fabric.replica(1).desired_count()
    fabric.assert_in_sync()


def test_duplicate_address_detection_passes_a_switch_that_refuses_nd_flows(poor):
    fabric, a, b = poor

    assert fabric.dad(a, b.ip6).reached == [2, 3]
    assert answers(fabric) == []


def test_what_a_switch_that_refuses_nd_flows_cannot_answer_is_flooded(poor):
    fabric, a, _b = poor
    fabric.solicit(a, UNKNOWN)

    assert [delivery.dpid for delivery in answers(fabric)] == [2, 3]


def test_a_better_datapath_after_an_upgrade_answers_itself(poor):
    fabric, a, b = poor
    fabric.switches[1].refuse = None
    fabric.connect(1)
    fabric.settle()

    assert fabric.solicit(a, b.ip6).deliveries[0].answered
    fabric.assert_in_sync()


# -- learned -----------------------------------------------------------------------------------


def learned_ips(fabric, vm):
    return [ip for ip, _seen in fabric.learned(vm).ips]


def test_addresses_are_learned_from_solicitations(fabric):
    a = fabric.vm(0)
    fabric.solicit(a, UNKNOWN)

    assert learned_ips(fabric, a) == [a.ip6]


def test_addresses_are_learned_from_advertisements(fabric):
    a = fabric.vm(0)
    fabric.advertise(a, a.link_local)
    fabric.advertise(a)

    assert learned_ips(fabric, a) == sorted([a.ip6, a.link_local])


def test_duplicate_address_detection_teaches_no_address(fabric):
    a = fabric.vm(0)
    fabric.dad(a, a.ip6)

    assert learned_ips(fabric, a) == []


def test_an_advertisement_for_another_mac_teaches_no_address(fabric):
    from controller.frames import Nd
    from controller.journey import Packet

    a, b = fabric.vm(0), fabric.vm(1)
    nd = Nd(ADVERTISEMENT, a.ip6, 0xFF02 << 112 | 1, a.ip6, b.mac)
    fabric.send(a, Packet.soliciting(nd, a.mac, 0x333300000001))

    assert learned_ips(fabric, a) == []


def test_a_learned_address_is_answered_for(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.solicit(a, UNKNOWN)

    journey = fabric.solicit(b, a.ip6)

    assert Kind.ND_SOLICIT_LEARNED in journey.kinds
    assert [delivery.packet.nd.link_layer for delivery in journey.deliveries] == [a.mac]
    fabric.assert_in_sync()


def test_a_known_binding_is_not_copied_again(fabric):
    a = fabric.vm(0)
    assert fabric.solicit(a, UNKNOWN).punts
    assert not fabric.solicit(a, UNKNOWN).punts
    assert not fabric.advertise(a).punts


def test_a_learned_address_ages(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.advertise(a)
    fabric.advance(301, step_s=1)

    assert fabric.solicit(b, a.ip6).reached == [1, 3]
    fabric.assert_in_sync()


def test_a_registered_address_is_never_learned_for_another_mac(fabric, pair):
    _a, b = pair
    thief = fabric.vm(2)
    fabric.advertise(thief, b.ip6)

    assert learned_ips(fabric, thief) == []
    assert fabric.solicit(fabric.vm(0), b.ip6).deliveries[0].packet.nd.link_layer == b.mac


def test_an_unsolicited_advertisement_moves_a_learned_mac(fabric):
    a = fabric.vm(0)
    fabric.advertise(a)
    fabric.advance(SETTLE_S)
    fabric.advertise(replace(a, host=2))

    assert fabric.learned(a).host == 2
    assert fabric.unicast(fabric.vm(2), a).reached == [2]


def test_restart_remembers_learned_addresses(fabric):
    a = fabric.vm(0)
    fabric.advertise(a)
    fabric.restart_controller()
    fabric.connect_all()

    assert learned_ips(fabric, a) == [a.ip6]
    fabric.assert_in_sync()


def test_nothing_is_answered_from_what_a_network_no_longer_believes(fabric):
    """The controller answers from the same facts as the flows."""
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.advertise(a)
    fabric.commit(lambda draft: draft.set_network(Network(Vni(0), learning=False)))
    fabric.settle()
    fabric.solicit(b, a.ip6, option=False)

    assert [delivery.packet.nd.kind for delivery in answers(fabric)] == [SOLICITATION] * 2
