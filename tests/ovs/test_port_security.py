"""Only registered senders: what is forged is dropped in the switch, and counted there."""

from __future__ import annotations

import re

import pytest

from tests.ovs.conftest import SHAPES
from topology.lab.frame import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    arp,
    arp_probe,
    dad,
    garp,
    mld2_report,
    na,
    ns,
    plain,
    rarp,
    udp,
)
from topology.lab.ovs import wait_until

NOBODY = "52:54:00:00:0f:01"
ROUNDS = 700


@pytest.fixture(scope="module", params=["peer-ports-5-6", "flow-based"])
def secured(request, open_fabric):
    """Network 0 with port security; a dual-stack VM on each host."""
    with open_fabric(vms="none", **SHAPES[request.param]) as fabric:
        fabric.network(0, port_security=True)
        for index in range(3):
            vm = fabric.lab.add_vm(index, f"10.1.1.{index + 2}", ip6=f"fd00::{index + 2}")
            assert fabric.register(vm).status == 201
        yield fabric


def forged_by(one, two, to):
    """Frames that `one` may not send, each with `two`, or nobody, in the wrong place.

    Unicast ones are for a third: br-int keeps what is for a MAC that it saw at the same port.
    """
    zero = "00:00:00:00:00:00"
    return [
        plain(NOBODY),
        plain(two.mac),
        plain(one.mac),
        rarp(one.mac),
        garp(two.mac, two.ip),
        garp(one.mac, two.ip),
        arp(ARP_REQUEST, two.mac, one.ip, zero, two.ip, BROADCAST, eth_src=one.mac),
        arp(ARP_REPLY, one.mac, "10.1.1.77", to.mac, to.ip, to.mac),
        na(one.mac, two.ip6, ip_src=one.ip6),
        na(two.mac, one.ip6, eth_src=one.mac),
        na(one.mac, two.ip6),
        ns(two.mac, one.ip6, "fd00::77", eth_src=one.mac),
        ns(one.mac, two.ip6, "fd00::77"),
        udp(one.mac, two.ip, to.mac, to.ip),
        udp(one.mac, two.ip6, to.mac, to.ip6),
    ]


def legal_by(one):
    """Frames that `one` needs, some of them before it has an address."""
    local = "fe80::5054:ff:fe00:1"
    return [
        arp_probe(one.mac, one.ip),
        dad(one.mac, one.ip6),
        dad(one.mac, local),
        mld2_report(one.mac, "::", "ff02::1:ff00:2"),
        mld2_report(one.mac, local, "ff02::1:ff00:2"),
        ns(one.mac, local, "fd00::77"),
        garp(one.mac, one.ip),
        na(one.mac, one.ip6),
        udp(one.mac, "0.0.0.0", BROADCAST, "255.255.255.255", 68, 67),
        udp(one.mac, one.ip, BROADCAST, "10.1.1.255"),
    ]


def counted(host):
    """Packets that port security dropped on a host."""
    flows = [f for f in host.dump_flows() if re.search(r"cookie=0x762e", f)]
    return sum(int(re.search(r"n_packets=(\d+)", flow)[1]) for flow in flows)


def test_registered_vms_reach_each_other(secured):
    secured.lab.flush_arp()
    assert all(result.ok for result in secured.lab.ping_all(count=2).values())
    one, two, _three = secured.lab.vms
    assert one.ping(two.ip6).ok


def test_nothing_forged_leaves_the_host_and_all_of_it_is_counted(secured):
    one, two, three = secured.lab.vms
    frames = forged_by(one, two, three)
    before, facts = counted(one.host), secured.rest.items("/v1/vms")
    with secured.lab.capture() as wire:
        for _round in range(ROUNDS):
            one.send_frames(frames)
    sent = ROUNDS * len(frames)

    # The VM's own kernel goes on speaking meanwhile, legally.
    wrong = [seen for seen in wire.tunnelled() if seen.data in set(frames)]
    assert wrong == []
    assert sent >= 10_000
    # br-int's own interface is not registered either, and says a few words.
    wait_until(lambda: counted(one.host) - before >= sent, "counted")
    assert counted(one.host) - before < sent + 100
    assert secured.rest.items("/v1/vms") == facts
    assert secured.learned() == {}
    # br-int of that host believed it; a word of the owner, and all is well.
    for vm in secured.lab.vms:
        vm.send_garp()
    secured.lab.flush_arp()
    assert all(result.ok for result in secured.lab.ping_all(count=2).values())


def test_what_a_vm_needs_before_it_has_an_address_goes_through(secured):
    one, *_others = secured.lab.vms
    frames = legal_by(one)
    with secured.lab.capture() as wire:
        one.send_frames(frames)
    arrived = {seen.data for seen in wire.tunnelled()}
    assert [number for number, frame in enumerate(frames) if frame not in arrived] == []


def test_a_registered_mac_is_not_taken_over_from_elsewhere(secured):
    """Also without port security: its own host drops what comes from a tunnel in its name."""
    secured.network(0)
    try:
        one, two, three = secured.lab.vms
        with secured.lab.capture(at=two, expression="ether src " + two.mac) as inside:
            three.send_frames([plain(two.mac), garp(two.mac, two.ip)])
        assert inside.frames() == []
        assert one.ping(two.ip).ok
        assert two.mac not in secured.learned()
    finally:
        secured.network(0, port_security=True)
    assert secured.in_sync()
