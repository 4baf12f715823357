"""Neighbour discovery: answered in the switch, with or without a controller."""

from __future__ import annotations

import pytest

from tests.ovs.conftest import SHAPES
from topology.lab.frame import ICMPV6_NA, ICMPV6_NS, dad, na, ns
from topology.lab.ovs import wait_until


@pytest.fixture(scope="module", params=["peer-ports-5-6", "flow-based"])
def v6(request, open_fabric):
    """A dual-stack VM on each of three hosts, registered."""
    with open_fabric(vms="none", **SHAPES[request.param]) as fabric:
        for index in range(3):
            vm = fabric.lab.add_vm(index, f"10.1.1.{index + 2}", ip6=f"fd00::{index + 2}")
            assert fabric.register(vm).status == 201
        yield fabric


def advertisements(capture, target):
    return [
        seen
        for seen in capture.frames()
        if seen.icmpv6_type == ICMPV6_NA and seen.nd_target == target
    ]


def solicitations(wire, target):
    """Multicast ones on the underlay. Kernels ask for their link-local addresses at any time."""
    return [
        seen
        for seen in wire.tunnelled()
        if seen.icmpv6_type == ICMPV6_NS and seen.is_multicast and seen.nd_target == target
    ]


def test_cold_neighbour_caches_cost_no_multicast_on_the_underlay(v6):
    one, two, _three = v6.lab.vms
    v6.lab.flush_arp()
    with v6.lab.capture() as wire:
        assert one.ping(two.ip6).ok
    assert solicitations(wire, two.ip6) == []


def test_the_answer_is_the_owners_as_if_it_had_sent_it(v6):
    one, two, _three = v6.lab.vms
    with v6.lab.capture(at=one, expression="icmp6") as inside:
        one.send_frames([ns(one.mac, one.ip6, two.ip6)])
    (answer,) = advertisements(inside, two.ip6)
    assert (answer.eth_src, answer.eth_dst) == (two.mac, one.mac)
    assert (answer.ip_src, answer.ip_dst) == (two.ip6, one.ip6)
    assert (answer.nd_tll, set(answer.nd_flags)) == (two.mac, {"S", "O"})


def test_the_switch_answers_while_the_controller_stands_still(v6):
    one, two, _three = v6.lab.vms
    v6.controller.pause()
    try:
        v6.lab.flush_arp()
        with v6.lab.capture() as wire:
            assert one.ping(two.ip6).ok
            assert one.ping(two.ip).ok
        assert solicitations(wire, two.ip6) == []
    finally:
        v6.controller.resume()


def test_a_solicitation_without_an_option_is_answered_by_the_controller(v6):
    one, two, _three = v6.lab.vms
    with v6.lab.capture() as wire, v6.lab.capture(at=one, expression="icmp6") as inside:
        one.send_frames([ns(one.mac, one.ip6, two.ip6, sll=False)])
        wait_until(lambda: advertisements(inside, two.ip6), "answered")
    assert [seen.nd_tll for seen in advertisements(inside, two.ip6)] == [two.mac]
    assert solicitations(wire, two.ip6) == []


def test_duplicate_address_detection_asks_everybody_and_the_owner_answers(v6):
    one, two, _three = v6.lab.vms
    with v6.lab.capture() as wire, v6.lab.capture(at=one, expression="icmp6") as inside:
        one.send_frames([dad(one.mac, two.ip6)])
        wait_until(lambda: advertisements(inside, two.ip6), "the owner defends its address")
    assert len(solicitations(wire, two.ip6)) == 2
    (answer,) = advertisements(inside, two.ip6)
    assert answer.eth_src == two.mac


def test_nobody_answers_for_a_free_address(v6):
    one, *_others = v6.lab.vms
    with v6.lab.capture(at=one, expression="icmp6") as inside:
        one.send_frames([dad(one.mac, "fd00::77"), dad(one.mac, one.ip6)])
    assert advertisements(inside, "fd00::77") == []
    assert advertisements(inside, one.ip6) == []


def test_a_unicast_solicitation_reaches_the_vm_itself(v6):
    one, two, _three = v6.lab.vms
    with v6.lab.capture(at=two, expression="icmp6") as inside:
        one.send_frames([ns(one.mac, one.ip6, two.ip6, eth_dst=two.mac)])
    assert [
        seen.eth_src
        for seen in inside.frames()
        if seen.icmpv6_type == ICMPV6_NS and seen.nd_target == two.ip6
    ] == [one.mac]


def test_an_unsolicited_advertisement_reaches_everybody(v6):
    one, *others = v6.lab.vms
    with v6.lab.capture() as wire:
        one.send_frames([na(one.mac, one.ip6)])
    there = [seen.outer_dst for seen in wire.tunnelled() if seen.icmpv6_type == ICMPV6_NA]
    assert sorted(there) == sorted(vm.host.vtep for vm in others)


def test_an_address_that_is_not_registered_is_learned_from_nd(v6):
    *_others, three = v6.lab.vms
    stranger = v6.lab.add_vm(0, None, ip6="fd00::99")
    assert stranger.ping(three.ip6).ok
    wait_until(lambda: "fd00::99" in str(v6.learned().get(stranger.mac)), "learned")
    three.flush_arp()
    with v6.lab.capture() as wire:
        assert three.ping("fd00::99").ok
    assert solicitations(wire, "fd00::99") == []
    assert v6.in_sync()
