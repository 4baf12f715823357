"""One frame of a VM teaches every host; what is learned is soft, and never beats a record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.engine import Settings
from controller.journey import Packet
from controller.pipeline import LEARNED_KINDS, Kind, cookie_kind
from tests.fake import FakeFabric
from tests.fake.stations import BROADCAST


def kinds(fabric, dpid):
    return [cookie_kind(cookie) for cookie in fabric.switches[dpid].cookies]


def test_one_frame_teaches_every_host(fabric):
    a = fabric.vm(0)
    fabric.broadcast(a)

    for index in (1, 2):
        journey = fabric.unicast(fabric.vm(index), a)
        assert journey.reached == [a.host]
        assert len(journey.copies) == 1


def test_the_first_frame_is_delivered_at_once(fabric):
    a = fabric.vm(0)

    assert fabric.send(a, Packet(a.mac, BROADCAST), settle=False).reached == [2, 3]


def test_learned_flows_have_the_seeds_priority_and_timeout(fabric):
    a = fabric.vm(0)
    fabric.broadcast(a)
    fabric.unicast(fabric.vm(1), a)

    journey = fabric.unicast(fabric.vm(1), a)

    (flow,) = [hop.flow for hop in journey.hops if hop.table == 20]
    assert (flow.priority, flow.hard_timeout_s) == (1, 300)


@pytest.mark.parametrize(
    ("policy", "unicast_s", "answer_s"),
    [
        ({}, 300, 300),
        ({"unknown_unicast": "drop"}, 65535, 300),
        ({"unknown_arp": "drop"}, 300, 65535),
    ],
)
def test_where_unknowns_are_dropped_only_the_controller_ends_what_was_learned(
    fabric, policy, unicast_s, answer_s
):
    """Else an absence of the controller longer than the timeout would cut off who speaks."""
    fabric.network(0, **policy)
    a = fabric.vm(0)
    fabric.gratuitous(a)

    timeouts_s = {
        kind: entry.hard_timeout_s
        for dpid in (1, 2)
        for entry in fabric.switches[dpid].flows.values()
        if (kind := cookie_kind(entry.cookie)) in LEARNED_KINDS
    }

    assert timeouts_s[Kind.UNICAST_LEARNED] == unicast_s
    assert timeouts_s[Kind.ARP_RESPONDER_LEARNED] == answer_s
    assert timeouts_s[Kind.LOCAL_LEARNED] == 200, "its next frame renews it"
    fabric.advance(302)
    assert not LEARNED_KINDS & {*kinds(fabric, 1), *kinds(fabric, 2)}


def test_a_known_source_is_not_copied_again(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    assert fabric.unicast(a, b).punts
    assert not fabric.unicast(a, b).punts
    assert fabric.gratuitous(a).punts
    assert not fabric.gratuitous(a).punts


def test_a_registered_source_is_never_copied(fabric):
    a = fabric.vm(0)
    fabric.register(a)

    assert not fabric.broadcast(a).punts
    assert not fabric.gratuitous(a).punts


def test_an_address_seen_in_arp_is_learned_with_its_mac(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.broadcast(a)
    assert fabric.learned(a).ips == ()

    fabric.who_has(a, b.ip)

    assert [ip for ip, _seen in fabric.learned(a).ips] == [a.ip]


def test_registered_vm_is_never_overridden_by_learning(fabric):
    b = fabric.vm(1)
    fabric.register(b)
    impostor = replace(b, host=3)

    fabric.broadcast(impostor)
    fabric.gratuitous(impostor)

    assert fabric.learned(b) is None
    assert fabric.unicast(fabric.vm(0), b).reached == [b.host]


def test_a_registered_address_is_never_learned_for_another_mac(fabric):
    b, thief = fabric.vm(1), fabric.vm(2)
    fabric.register(b)
    fabric.gratuitous(replace(thief, ip=b.ip))

    assert fabric.learned(thief).ips == ()
    (answer,) = fabric.who_has(fabric.vm(0), b.ip).deliveries
    assert answer.packet.arp.sender_mac == b.mac


def test_registration_takes_the_place_of_what_was_learned(fabric):
    a = fabric.vm(0)
    fabric.gratuitous(a)
    moved = replace(a, host=2)

    fabric.register(moved)

    assert fabric.learned(a) is None
    assert fabric.unicast(fabric.vm(2), a).reached == [2]
    fabric.assert_in_sync()


def test_learned_mac_follows_a_vm_that_moves(fabric):
    a, b = fabric.vm(0), fabric.vm(2)
    fabric.gratuitous(a)
    fabric.gratuitous(b)
    moved = replace(a, host=2)

    fabric.gratuitous(moved)

    assert fabric.learned(a).host == 2
    assert fabric.unicast(b, a).reached == [2]
    assert fabric.unicast(fabric.vm(0), a).reached == [2]
    fabric.assert_in_sync()


def test_learned_mac_comes_back_to_the_host_it_left(fabric):
    a, b = fabric.vm(0), fabric.vm(2)
    for host in (1, 2, 1, 2, 1):
        fabric.advance(1)
        fabric.gratuitous(replace(a, host=host))
        assert fabric.unicast(b, a).reached == [host]


def test_registered_vm_moves_by_its_record(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a)
    fabric.register(b)
    moved = replace(b, host=3)
    fabric.register(moved)

    assert fabric.unicast(a, moved).reached == [3]
    assert fabric.ping(moved, a)
    fabric.assert_in_sync()


@pytest.mark.parametrize("every_s", [1, 7, 30, 90])
def test_learned_mac_stays_while_it_speaks(fabric, every_s):
    """It sends, say, a frame each half minute; nobody floods what is meant for it."""
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    fabric.gratuitous(b)
    for _ in range(1200 // every_s):
        fabric.advance(every_s, step_s=1)
        assert len(fabric.unicast(b, a).copies) == 1, f"flooded at {fabric.now_s - 1000:.0f} s"
        fabric.unicast(a, b)


def test_learned_address_stays_while_it_is_used(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    for _ in range(40):
        fabric.advance(30, step_s=1)
        assert not fabric.who_has(b, a.ip).copies, f"flooded at {fabric.now_s - 1000:.0f} s"
        fabric.gratuitous(a)


def test_learned_mac_that_falls_silent_is_forgotten(fabric):
    a = fabric.vm(0)
    fabric.gratuitous(a)
    assert any(kind is Kind.UNICAST_LEARNED for kind in kinds(fabric, 2))

    fabric.advance(301, step_s=1)

    assert fabric.learned(a) is None
    assert fabric.unicast(fabric.vm(1), a).reached == [1, 3]


def test_learned_address_ages_although_the_mac_goes_on(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    for _ in range(16):
        fabric.advance(20, step_s=1)
        fabric.unicast(a, b)

    assert fabric.learned(a) is not None
    assert fabric.learned(a).ips == ()


def test_learn_timeout_is_the_operators():
    fabric = FakeFabric(2, settings=Settings(learn_timeout_s=30)).connect_all()
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    assert fabric.unicast(b, a).reached == [1]
    fabric.advance(31)

    assert fabric.learned(a) is None


def test_a_network_without_learning_learns_nothing(fabric):
    fabric.network(0, learning=False)
    a, b = fabric.vm(0), fabric.vm(1)

    assert not fabric.gratuitous(a).punts
    assert fabric.learned(a) is None
    assert fabric.ping(a, b)


def test_learning_switched_off_later_takes_back_what_was_learned(fabric):
    a = fabric.vm(0)
    fabric.gratuitous(a)
    fabric.network(0, learning=False)

    assert not fabric.unicast(fabric.vm(1), a).punts
    assert fabric.unicast(fabric.vm(1), a).reached == [1, 3]
    fabric.assert_in_sync()


def test_a_group_address_as_source_is_not_learned(fabric):
    a = fabric.vm(0)
    fabric.broadcast(replace(a, mac=type(a.mac)(a.mac | 1 << 40)))

    assert fabric.engine.topology.learned == {}
