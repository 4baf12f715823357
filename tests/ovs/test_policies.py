"""What of broadcast, unknown unicast and multicast a network lets onto the underlay."""

from __future__ import annotations

import pytest

from topology.lab.frame import (
    ARP_REQUEST,
    BROADCAST,
    arp,
    arp_probe,
    dad,
    garp,
    igmp2_report,
    igmp3_report,
    mld2_report,
    ns,
    plain,
    rs,
    udp,
)

SUBNETS = ["10.1.1.0/24", "fd00::/64"]
LOCAL = "fe80::5054:ff:fe00:1"
MAC = "52:54:00:00:00:01"


def who_has(ip):
    return arp(ARP_REQUEST, MAC, "10.1.1.2", "00:00:00:00:00:00", ip, BROADCAST)


FRAMES = {
    "unknown unicast": plain(MAC, "52:54:00:00:0a:01"),
    "broadcast": plain(MAC),
    "multicast": udp(MAC, "10.1.1.2", "01:00:5e:01:01:01", "239.1.1.1"),
    "unknown who-has": who_has("10.1.1.77"),
    "who-has elsewhere": who_has("10.9.9.9"),
    "unknown solicitation": ns(MAC, "fd00::2", "fd00::77"),
    "ARP probe": arp_probe(MAC, "10.1.1.78"),
    "DAD": dad(MAC, "fd00::78"),
    "gratuitous": garp(MAC, "10.1.1.2"),
    "IGMP": igmp3_report(MAC, "10.1.1.2", "239.1.1.1"),
    "IGMPv2": igmp2_report(MAC, "10.1.1.2", "239.1.1.1"),
    "MLD": mld2_report(MAC, LOCAL, "ff02::1:ff00:2"),
    "RS": rs(MAC, LOCAL),
}


POLICIES = {
    "flood": ({}, set()),
    "unknown_unicast": ({"unknown_unicast": "drop"}, {"unknown unicast"}),
    "unknown_arp": (
        {"unknown_arp": "drop", "subnets": SUBNETS},
        {"unknown who-has", "unknown solicitation"},
    ),
    "multicast": ({"multicast": "drop"}, {"multicast", "IGMP", "IGMPv2", "MLD", "RS"}),
    "quiet": ({"quiet": True}, {"IGMP", "IGMPv2", "MLD", "RS"}),
}


@pytest.fixture(scope="module")
def pair(open_fabric):
    with open_fabric(hosts=2, vms="none", tunnels="flow") as fabric:
        vm = fabric.lab.add_vm(0, "10.1.1.2", MAC, ip6="fd00::2")
        fabric.register(vm)
        yield fabric, vm


@pytest.mark.parametrize("name", POLICIES)
def test_exactly_what_the_policy_says_is_dropped(pair, name):
    fabric, vm = pair
    policy, dropped = POLICIES[name]
    assert fabric.network(0, **policy).status == 200
    with fabric.lab.capture() as wire:
        vm.send_frames(FRAMES.values())
    arrived = {seen.data for seen in wire.tunnelled()}

    assert {what for what, frame in FRAMES.items() if frame not in arrived} == dropped
    assert fabric.in_sync()
