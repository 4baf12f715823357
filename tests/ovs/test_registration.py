"""VMs are registered: their addresses are answered on the spot, and ARP stays off the underlay."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from topology.lab.frame import ARP_REPLY, ARP_REQUEST, BROADCAST, arp, arp_probe, plain
from topology.lab.ovs import wait_until


@pytest.fixture(scope="module")
def registered(fabric):
    """The fabric with every VM registered, and the answers to that."""
    answers = [fabric.register(vm) for vm in fabric.lab.vms]
    return fabric, answers


def test_the_answer_says_that_every_host_has_it(registered):
    fabric, answers = registered
    hosts = len(fabric.lab.hosts)

    for vm, answer in zip(fabric.lab.vms, answers, strict=True):
        assert answer.status == 201
        assert answer["applied"] == {"hosts": hosts, "of": hosts}
        assert answer.headers["location"].endswith(f"/v1/vms/0/{vm.mac}")
        assert fabric.register(vm).status == 200
    for host in fabric.lab.hosts:
        remote = {vm.mac for vm in fabric.lab.vms if vm.host is not host}
        assert set(fabric.macs(host, priority=10)) >= remote
    assert fabric.in_sync()


def test_cold_caches_cost_no_broadcast_on_the_underlay(registered):
    fabric, _answers = registered
    fabric.lab.flush_arp()

    with fabric.lab.capture() as cap:
        results = fabric.lab.ping_all()
    assert all(result.ok for result in results.values()), results
    assert not any(result.duplicates for result in results.values()), results
    assert cap.arp_requests() == []


def test_a_unicast_reaches_one_vtep(registered):
    fabric, _answers = registered
    one, *_others, last = fabric.lab.vms

    with fabric.lab.capture() as cap:
        assert one.ping(last.ip, count=5, interval_s=0.05).ok
    there = [seen for seen in cap.unicast(last.mac) if seen.ip_proto == 1]
    assert [(seen.port, seen.outer_dst) for seen in there] == [(one.host.name, last.host.vtep)] * 5


def test_a_gratuitous_arp_reaches_everybody(registered):
    fabric, _answers = registered
    one, *others = fabric.lab.vms

    with fabric.lab.capture() as wire, ExitStack() as stack:
        inside = [stack.enter_context(fabric.lab.capture(at=vm)) for vm in others]
        one.send_garp()
    assert len(wire.arp_requests()) == len(others)
    for cap in inside:
        heard = [seen for seen in cap.frames() if seen.arp_spa == seen.arp_tpa == one.ip]
        assert [seen.eth_src for seen in heard] == [one.mac]


def test_an_address_that_is_taken_is_defended_at_once(registered):
    fabric, _answers = registered
    one, *others = fabric.lab.vms

    for vm in others:
        with fabric.lab.capture(at=vm) as inside:
            vm.send_frames([arp_probe(vm.mac, one.ip)])
        replies = [seen for seen in inside.frames() if seen.arp_op == ARP_REPLY]
        assert [(seen.eth_src, seen.arp_spa) for seen in replies] == [(one.mac, one.ip)]


def test_an_address_that_is_free_is_nobodys_and_everybody_was_asked(registered):
    fabric, _answers = registered
    one, *others = fabric.lab.vms
    free = "10.1.1.99"

    with fabric.lab.capture() as wire, fabric.lab.capture(at=one) as inside:
        one.send_frames([arp_probe(one.mac, free)])
    assert [seen for seen in inside.frames() if seen.arp_op == ARP_REPLY] == []
    assert {seen.outer_dst for seen in wire.arp_requests()} == {vm.host.vtep for vm in others}


def test_a_vm_may_check_its_own_address_before_using_it(registered):
    """The controller's flows must not be the duplicate that this VM finds."""
    fabric, _answers = registered
    one, *others = fabric.lab.vms

    with fabric.lab.capture() as wire, fabric.lab.capture(at=one) as inside:
        one.send_frames([arp_probe(one.mac, one.ip)])
    assert [seen for seen in inside.frames() if seen.arp_op == ARP_REPLY] == []
    asked = [seen.outer_dst for seen in wire.arp_requests()]
    assert sorted(asked) == sorted(vm.host.vtep for vm in others)


def test_a_unicast_question_is_answered_by_the_vm_itself(registered):
    fabric, _answers = registered
    one, two, *_rest = fabric.lab.vms
    fabric.lab.ping_all(count=1)

    with fabric.lab.capture() as wire, fabric.lab.capture(at=one) as inside:
        two.send_frames([arp(ARP_REQUEST, two.mac, two.ip, "00:00:00:00:00:00", one.ip, one.mac)])
    asked = [seen for seen in inside.frames() if seen.arp_op == ARP_REQUEST]
    assert [(seen.eth_src, seen.eth_dst) for seen in asked] == [(two.mac, one.mac)]
    replies = [seen for seen in wire.arp() if seen.arp_op == ARP_REPLY]
    assert [(seen.port, seen.outer_dst) for seen in replies] == [(one.host.name, two.host.vtep)]


def test_nobody_takes_a_registered_mac_over_by_speaking(registered):
    fabric, _answers = registered
    one, two, *_rest = fabric.lab.vms
    before = {host.name: fabric.macs(host, priority=10) for host in fabric.lab.hosts}

    two.send_frames(
        [plain(one.mac), arp(ARP_REQUEST, one.mac, one.ip, BROADCAST, two.ip, BROADCAST)]
    )
    stranger = "52:54:00:00:0b:01"
    two.send_frames([arp(ARP_REQUEST, stranger, one.ip, BROADCAST, two.ip, BROADCAST)])
    wait_until(lambda: stranger in fabric.learned(), "the stranger is learned")

    assert one.mac not in fabric.learned()
    assert fabric.learned()[stranger]["ips"] == []
    assert {h.name: fabric.macs(h, priority=10) for h in fabric.lab.hosts} == before
    # br-int of two's host believed it, as any switch would: one speaks, and is found again.
    one.send_garp()
    fabric.lab.flush_arp()
    wait_until(lambda: two.ping(one.ip, count=1).ok, "one is found again", timeout_s=5)
    assert all(result.ok for result in fabric.lab.ping_all(count=1).values())


def test_a_vm_that_is_deregistered_is_learned_again(registered):
    fabric, _answers = registered
    one, two, *_rest = fabric.lab.vms

    answer = fabric.rest.delete(f"/v1/vms/0/{one.mac}?wait=10")
    assert answer.status == 200
    assert answer["applied"] == {"hosts": len(fabric.lab.hosts), "of": len(fabric.lab.hosts)}
    assert fabric.rest.get(f"/v1/vms/0/{one.mac}").status == 404
    assert one.mac not in fabric.macs(two.host, priority=10)

    assert one.ping(two.ip, count=2).ok
    wait_until(lambda: one.mac in fabric.macs(two.host, priority=1), "learned again")
    assert fabric.register(one).status == 201
    assert one.mac in fabric.macs(two.host, priority=10)
    assert fabric.in_sync()
