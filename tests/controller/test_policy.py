"""What of broadcast, unknown unicast and multicast goes on, by each network's policy."""

from __future__ import annotations

from itertools import product

import pytest

from controller.journey import IpHeader, Packet
from tests.fake import FakeFabric
from topology.types import Ip, Subnet

SUBNETS = (Subnet.parse("10.1.1.0/24"), Subnet.parse("fd00::/64"))
INSIDE, INSIDE_6 = Ip.parse("10.1.1.77"), Ip.parse("fd00::77")
OUTSIDE, OUTSIDE_6 = Ip.parse("10.9.9.9"), Ip.parse("fd99::9")
IGMP, UDP, ICMPV6 = 2, 17, 58
CHATTER_6 = (131, 132, 143, 133)  # MLD reports and done, router solicitation
STRANGER = 0x525400FFFFFF
OTHERS = [2, 3]


@pytest.fixture(
    params=list(
        product(
            ("flood", "drop"),
            ("flood", "drop"),
            ("flood", "drop"),
            (False, True),
            ("proactive", "reactive"),
        )
    ),
    ids=lambda chosen: "-".join(map(str, chosen)),
)
def policy(request):
    names = ("unknown_unicast", "unknown_arp", "multicast", "quiet", "mode")
    return dict(zip(names, request.param, strict=True))


@pytest.fixture
def world(policy):
    """A network of that policy on three hosts, with a registered VM on each of the first two."""
    fabric = FakeFabric(3, "flow").connect_all()
    fabric.network(0, subnets=SUBNETS, **policy)
    a, b = fabric.vm(0), fabric.vm(1)
    for vm in (a, b):
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    return fabric, a, b


def reached(fabric, journey):
    """Where a frame came, by flows or by the controller's packet-outs; each place once."""
    emitted, fabric.emitted = fabric.emitted, []
    places = [place for one in (journey, *emitted) for place in one.reached]
    assert len(places) == len(set(places)), places
    fabric.assert_in_sync()
    return sorted(places)


def if_floods(policy, name):
    return OTHERS if policy[name] == "flood" else []


def test_unknown_unicast(world, policy):
    fabric, a, _b = world

    journey = fabric.send(a, Packet(a.mac, STRANGER))

    assert reached(fabric, journey) == if_floods(policy, "unknown_unicast")


def test_known_unicast(world, policy):
    fabric, a, b = world

    there = [reached(fabric, fabric.unicast(a, b)) for _ in range(2)]

    # The first frame of a reactive network may be flooded; it is never lost.
    assert [2 in places for places in there] == [True, True]
    assert there[1] == [2]


@pytest.mark.parametrize(("ip", "inside"), [(INSIDE, True), (OUTSIDE, False)])
def test_who_has_an_unknown_ipv4_address(world, policy, ip, inside):
    fabric, a, _b = world

    journey = fabric.who_has(a, ip)

    assert reached(fabric, journey) == (if_floods(policy, "unknown_arp") if inside else OTHERS)


@pytest.mark.parametrize(("ip", "inside"), [(INSIDE_6, True), (OUTSIDE_6, False)])
@pytest.mark.parametrize("option", [True, False])
def test_who_has_an_unknown_ipv6_address(world, policy, ip, inside, option):
    """Neighbour discovery goes on where other multicast is dropped."""
    fabric, a, _b = world

    journey = fabric.solicit(a, ip, option=option)

    assert reached(fabric, journey) == (if_floods(policy, "unknown_arp") if inside else OTHERS)


def found(fabric, journey, asker, owner):
    """Whether who-has was answered, or came to the owner: once, and not both."""
    places = reached(fabric, journey)
    return (asker.host in places) != (owner.host in places)


def test_who_has_a_known_address_is_answered(world):
    """The first time in a reactive network by its owner, where that is not dropped."""
    fabric, a, b = world

    assert found(fabric, fabric.who_has(a, b.ip), a, b)
    assert found(fabric, fabric.solicit(a, b.ip6), a, b)
    assert reached(fabric, fabric.who_has(a, b.ip)) == [1]
    assert reached(fabric, fabric.solicit(a, b.ip6)) == [1]
    assert fabric.who_has(a, b.ip).copies == []
    assert fabric.solicit(a, b.ip6).copies == []


def test_announcements_of_registered_addresses_reach_everybody(world):
    fabric, a, b = world
    fabric.who_has(b, a.ip)
    fabric.solicit(b, a.ip6)
    fabric.emitted.clear()

    assert reached(fabric, fabric.gratuitous(a)) == OTHERS
    assert reached(fabric, fabric.gratuitous(a, op=2)) == OTHERS
    assert reached(fabric, fabric.advertise(a)) == OTHERS


def test_duplicate_address_detection_reaches_everybody(world):
    fabric, a, b = world

    assert reached(fabric, fabric.address_probe(a, INSIDE)) == OTHERS
    assert reached(fabric, fabric.address_probe(a, a.ip)) == OTHERS
    assert reached(fabric, fabric.dad(a, INSIDE_6)) == OTHERS
    assert reached(fabric, fabric.dad(a, b.ip6)) == OTHERS


def test_broadcast_that_is_not_arp_goes_on(world):
    fabric, a, _b = world

    assert reached(fabric, fabric.broadcast(a)) == OTHERS


def test_other_multicast(world, policy):
    fabric, a, _b = world
    for ip, mac in (
        (IpHeader(a.ip, Ip.v4(0xE00000FB), UDP, 5353, 5353), 0x01005E0000FB),
        (IpHeader(a.ip6, Ip(0xFF02 << 112 | 0xFB), UDP, 5353, 5353), 0x3333000000FB),
    ):
        assert reached(fabric, fabric.routed(a, ip, mac)) == if_floods(policy, "multicast")


def test_what_hosts_send_when_they_start(world, policy):
    fabric, a, _b = world
    wanted = [] if policy["quiet"] else if_floods(policy, "multicast")
    igmp = IpHeader(a.ip, Ip.v4(0xE0000016), IGMP)
    assert reached(fabric, fabric.routed(a, igmp, 0x01005E000016)) == wanted

    for icmp_type in CHATTER_6:
        chatter = IpHeader(a.ip6, Ip(0xFF02 << 112 | 0x16), ICMPV6, icmp_type=icmp_type)
        assert reached(fabric, fabric.routed(a, chatter, 0x333300000016)) == wanted


def test_a_vm_that_answers_for_itself_is_found(world):
    """Its address is known, so who-has for it goes on where unknown ones are dropped."""
    fabric, a, _b = world
    c = fabric.vm(2)
    fabric.register(c, ips=(c.ip, c.ip6), respond=False)

    assert reached(fabric, fabric.who_has(a, c.ip)) == OTHERS
    assert reached(fabric, fabric.solicit(a, c.ip6)) == OTHERS
    assert reached(fabric, fabric.solicit(a, c.ip6, option=False)) == OTHERS


def test_registered_vms_are_found_in_a_network_without_responder(world, policy):
    fabric, a, b = world
    fabric.network(0, subnets=SUBNETS, arp_responder=False, **policy)

    assert reached(fabric, fabric.who_has(a, b.ip)) == OTHERS
    assert reached(fabric, fabric.solicit(a, b.ip6)) == OTHERS


def test_a_virtual_ip_that_nobody_holds_is_asked_for_everywhere(world):
    fabric, a, b = world
    vip = Ip.parse("10.1.1.99")
    fabric.vip(vip, a, b)

    assert reached(fabric, fabric.who_has(fabric.vm(2), vip)) == [1, 2]


def test_every_pair_pings(world):
    fabric, a, b = world
    vms = [a, b, fabric.vm(2)]
    fabric.register(vms[2])

    for one in vms:
        for other in vms:
            if one is not other:
                assert found(fabric, fabric.who_has(one, other.ip), one, other)
                assert other.host in reached(fabric, fabric.unicast(one, other))
