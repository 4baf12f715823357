"""ARP is answered in the switch, and only where the answer is right."""

from __future__ import annotations

import pytest

from controller.pipeline import Kind


@pytest.fixture
def pair(fabric):
    """Two registered VMs on two hosts."""
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a, name="a")
    fabric.register(b, name="b")
    return a, b


def test_who_has_is_answered_without_the_underlay(fabric, pair):
    a, b = pair

    journey = fabric.who_has(a, b.ip)

    (answer,) = journey.deliveries
    reply = answer.packet.arp
    assert answer.answered
    assert journey.copies == []
    assert (answer.packet.eth_src, answer.packet.eth_dst) == (b.mac, a.mac)
    assert (reply.op, reply.sender_mac, reply.sender_ip) == (2, b.mac, b.ip.low32)
    assert (reply.target_mac, reply.target_ip) == (a.mac, a.ip.low32)


def test_every_pair_pings_and_no_broadcast_crosses_the_underlay(fabric):
    vms = [fabric.vm(index) for index in range(3)]
    for vm in vms:
        fabric.register(vm)

    pings = [fabric.ping(a, b) for a in vms for b in vms if a is not b]

    assert all(pings)
    assert sum(ping.broadcasts for ping in pings) == 0
    assert all(ping.copies == 2 for ping in pings)


def test_who_has_for_a_vm_of_the_same_host_stays_there(fabric, pair):
    a, _b = pair
    neighbour = fabric.vm(0)

    journey = fabric.who_has(neighbour, a.ip)

    assert (journey.deliveries, journey.copies) == ([], [])


def test_unicast_arp_goes_to_the_vm_itself(fabric, pair):
    a, b = pair

    journey = fabric.who_has(a, b.ip, to=b.mac)

    assert journey.reached == [b.host]
    assert not journey.deliveries[0].answered
    assert journey.deliveries[0].packet.arp.op == 1


@pytest.mark.parametrize("op", [1, 2])
def test_gratuitous_arp_reaches_everyone(fabric, pair, op):
    a, _b = pair

    assert fabric.gratuitous(a, op).reached == [2, 3]


def test_gratuitous_arp_of_an_unknown_vm_reaches_everyone_and_teaches(fabric):
    a = fabric.vm(0)

    assert fabric.gratuitous(a).reached == [2, 3]
    assert fabric.learned(a).ips[0][0] == a.ip


def test_gratuitous_arp_for_somebody_elses_address_reaches_its_owner(fabric, pair):
    _a, b = pair
    from dataclasses import replace

    thief = replace(fabric.vm(0), ip=b.ip)

    assert b.host in fabric.gratuitous(thief).reached


def test_duplicate_address_detection_finds_the_owner(fabric, pair):
    """The probe is answered by the switch, as the owner would: the address is taken."""
    _a, b = pair
    newcomer = fabric.vm(2)

    (answer,) = fabric.address_probe(newcomer, b.ip).deliveries

    assert answer.answered
    assert answer.packet.arp.sender_ip == b.ip.low32


def test_duplicate_address_detection_by_the_owner_is_not_answered_by_its_own_record(fabric, pair):
    a, _b = pair

    journey = fabric.address_probe(a, a.ip)

    assert journey.reached == [2, 3]
    assert not any(delivery.answered for delivery in journey.deliveries)


def test_duplicate_address_detection_of_a_learned_vm_is_left_to_the_vms(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)

    journey = fabric.address_probe(b, a.ip)

    assert journey.reached == [1, 3]
    assert not any(delivery.answered for delivery in journey.deliveries)


def test_a_learned_address_is_answered_for(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)

    journey = fabric.who_has(b, a.ip)

    assert Kind.ARP_RESPONDER_LEARNED in journey.kinds
    assert [delivery.answered for delivery in journey.deliveries] == [True]


def test_nobody_answers_for_a_vm_that_wants_to_answer_itself(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a, respond=False)

    assert fabric.who_has(b, a.ip).reached == [1, 3]


def test_nobody_answers_in_a_network_without_responder(fabric, pair):
    a, b = pair
    fabric.network(0, arp_responder=False)

    journey = fabric.who_has(a, b.ip)

    assert journey.reached == [2, 3]
    assert fabric.ping(a, b)


def test_a_deleted_vm_is_no_longer_answered_for(fabric, pair):
    a, b = pair
    fabric.unregister(b)

    journey = fabric.who_has(a, b.ip)

    assert not any(delivery.answered for delivery in journey.deliveries)
    assert journey.reached == [2, 3]


def test_who_has_for_an_unknown_address_is_flooded(fabric, pair):
    a, _b = pair
    silent = fabric.vm(2)

    assert fabric.who_has(a, silent.ip).reached == [2, 3]
