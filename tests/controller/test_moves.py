"""VMs move by record or by announcement; late packets and flapping move nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.journey import Packet
from controller.moves import FLAP_S, HOLD_S, MANY_MOVES, SETTLE_S, Moves, Verdict
from tests.fake import FakeFabric
from topology.model import Vm
from topology.types import Dpid, Vni

ANNOUNCEMENTS = ["gratuitous", "rarp", "advertise"]


@pytest.fixture(params=ANNOUNCEMENTS)
def announce(request, fabric):
    """How a VM says where it is now."""
    return getattr(fabric, request.param)


@pytest.fixture
def following(fabric):
    """Network 0 follows the announcements of registered VMs."""
    fabric.network(0, follow_moves=True)
    return fabric


def place(fabric, vm):
    return fabric.engine.topology.vms[vm.vni, vm.mac].host


# -- by record -------------------------------------------------------------------------------------


def test_a_move_by_record_loses_no_frame(fabric):
    a, b, c = (fabric.vm(index) for index in range(3))
    for vm in (a, b, c):
        fabric.register(vm)
    moved = Vm(b.mac, Vni(0), Dpid(3), (b.ip,))
    fabric.commit(lambda draft: draft.set_vm(moved))
    while fabric.step():
        for sender in (a,):
            reached = fabric.forwarding().send(sender.host, Packet(sender.mac, b.mac)).reached
            assert reached in ([2], [3]), "neither at its old host nor at its new one"
        for host in (2, 3):
            assert fabric.forwarding().send(host, Packet(b.mac, a.mac)).reached == [1]
    assert fabric.unicast(a, b).reached == [3]
    fabric.assert_in_sync()


def test_a_vm_that_moves_to_a_host_without_its_network_arrives_with_it(fabric):
    fabric.network(100, 10)
    a, b = fabric.vm(0, 100, 10), fabric.vm(1, 100, 10)
    fabric.register(a)
    fabric.register(b)
    moved = replace(b, host=3)
    fabric.register(moved)

    assert fabric.ping(a, moved)
    assert fabric.switches[2].kinds(100).total() == 0
    fabric.assert_in_sync()


# -- registered, by announcement -------------------------------------------------------------------


def test_a_registered_vm_stays_where_it_is_unless_its_network_follows(fabric, announce):
    a = fabric.vm(0)
    fabric.register(a)
    announce(replace(a, host=2))

    assert place(fabric, a) == 1
    assert fabric.unicast(fabric.vm(2), a).reached == [1]


def test_a_registered_vm_is_followed_where_its_network_says_so(following, announce):
    a = following.vm(0)
    following.register(a, ips=(a.ip, a.ip6))
    announce(replace(a, host=2))

    assert place(following, a) == 2
    assert following.unicast(following.vm(2), a).reached == [2]
    following.assert_in_sync()


def test_a_move_that_was_followed_is_durable(following):
    a = following.vm(0)
    following.register(a)
    following.gratuitous(replace(a, host=2))
    following.restart_controller()

    assert place(following, a) == 2


def test_other_frames_from_elsewhere_move_no_registered_vm(following):
    a = following.vm(0)
    following.register(a)
    impostor = replace(a, host=2)
    following.unicast(impostor, following.vm(2))
    following.who_has(impostor, following.vm(2).ip)
    following.broadcast(impostor)

    assert place(following, a) == 1


@pytest.mark.parametrize("kind", ANNOUNCEMENTS)
def test_a_network_that_learns_nothing_follows_all_the_same(tunnels, kind):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.network(0, follow_moves=True, learning=False)
    a = fabric.vm(0)
    fabric.register(a)
    getattr(fabric, kind)(replace(a, host=2))

    assert place(fabric, a) == 2
    assert fabric.engine.topology.learned == {}


# -- learned ---------------------------------------------------------------------------------------


def test_a_learned_vm_is_followed(fabric, announce):
    a = fabric.vm(0)
    announce(a)
    fabric.advance(SETTLE_S)
    announce(replace(a, host=2))

    assert fabric.learned(a).host == 2
    assert fabric.unicast(fabric.vm(2), a).reached == [2]
    fabric.assert_in_sync()


def test_each_move_opens_a_generation(fabric):
    a = fabric.vm(0)
    for generation, host in enumerate((1, 2, 3, 1)):
        fabric.gratuitous(replace(a, host=host))
        fabric.advance(SETTLE_S)
        assert fabric.learned(a).generation == generation


def test_a_late_packet_from_the_old_host_does_not_move_it_back(fabric):
    a, b = fabric.vm(0), fabric.vm(2)
    fabric.gratuitous(a)
    fabric.gratuitous(replace(a, host=2))
    fabric.unicast(a, b)
    assert fabric.learned(a).host == 2

    fabric.advance(SETTLE_S)
    fabric.unicast(a, b)
    assert fabric.learned(a).host == 1


def test_a_packet_from_a_third_host_is_not_late(fabric):
    a, b = fabric.vm(0), fabric.vm(2)
    fabric.gratuitous(a)
    fabric.gratuitous(replace(a, host=2))
    fabric.unicast(replace(a, host=3), b)

    assert fabric.learned(a).host == 3


def test_a_learned_vm_that_moved_is_not_silenced_at_its_old_host(fabric):
    """While its packets are late ones, they go on being copied: one of them will count."""
    a, b = fabric.vm(0), fabric.vm(2)
    fabric.gratuitous(a)
    fabric.gratuitous(replace(a, host=2))

    assert fabric.unicast(a, b).punts
    assert fabric.unicast(a, b).punts


# -- flapping --------------------------------------------------------------------------------------


def flap(fabric, vm, moves, every_s=SETTLE_S):
    for turn in range(moves):
        fabric.gratuitous(replace(vm, host=1 + turn % 2))
        fabric.advance(every_s)


def flaps(fabric):
    return [line for line in fabric.log if "flaps" in line]


@pytest.mark.parametrize("registered", [False, True])
def test_who_flaps_is_held_and_that_is_said_once(following, registered):
    a = following.vm(0)
    if registered:
        following.register(a)
    flap(following, a, MANY_MOVES + 4)
    assert len(flaps(following)) == 1
    assert str(a.mac) in flaps(following)[0]

    fact = following.engine.topology.vms if registered else following.engine.topology.learned
    held_at = fact[0, a.mac].host
    following.gratuitous(replace(a, host=3 - held_at))
    assert fact[0, a.mac].host == held_at


def test_who_was_held_is_followed_again(following):
    a = following.vm(0)
    flap(following, a, MANY_MOVES + 4)
    following.advance(HOLD_S)
    away = 3 - following.learned(a).host
    following.gratuitous(replace(a, host=away))

    assert following.learned(a).host == away
    assert len(flaps(following)) == 1


def test_each_hold_is_twice_as_long():
    moves = Moves()
    now_s, held_s = 0.0, []
    places = [1, 2]
    for _ in range(3):
        while moves.ask("m", *places, now_s) is not Verdict.FLAPS:
            places.reverse()
            now_s += SETTLE_S
        start_s = now_s
        while moves.ask("m", *places, now_s) is Verdict.HELD:
            now_s += 1
        held_s.append(now_s - start_s)

    assert held_s == [HOLD_S, 2 * HOLD_S, 4 * HOLD_S]


def test_who_moves_seldom_does_not_flap(following):
    a = following.vm(0)
    flap(following, a, 3 * MANY_MOVES, every_s=FLAP_S)

    assert flaps(following) == []
