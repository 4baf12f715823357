"""The ledger against the wire: what it counts is what a capture of the underlay counts."""

from __future__ import annotations

import pytest

from topology.lab.frame import (
    ARP_REQUEST,
    BROADCAST,
    arp,
    dad,
    garp,
    igmp3_report,
    ns,
    plain,
    udp,
)
from topology.lab.ovs import wait_until

SUBNETS = ["10.1.1.0/24", "fd00::/64"]
STRANGER = "52:54:00:00:0a:01"
COLUMNS = ("answered", "answered_by_controller", "suppressed", "flooded", "unknown_unicast")


def who_has(vm, ip):
    return arp(ARP_REQUEST, vm.mac, vm.ip, "00:00:00:00:00:00", ip, BROADCAST)


def ledger(fabric, vni):
    return fabric.rest.get(f"/v1/ledger/{vni}?fresh=true").body


def frames(body):
    return {column: body[column]["frames"] for column in COLUMNS}


def settled(fabric, vni, count):
    """The ledger when it has seen so many frames; Open vSwitch's own counters are half a second
    old (other_config:max-revalidator)."""

    def seen():
        now = frames(ledger(fabric, vni))
        return sum(now.values()) - now["unknown_unicast"] >= count

    wait_until(seen, f"{count} frames in the ledger", timeout_s=8)
    return ledger(fabric, vni)


def crossed(wire, vni):
    """Copies of broadcast, multicast and unknown unicast on the underlay, as it saw each once."""
    return [seen for seen in wire.tunnelled(vni) if seen.is_multicast or seen.eth_dst == STRANGER]


@pytest.fixture(params=[(0, None), (100, 10)], ids=["untagged", "tagged"])
def world(request, make_fabric):
    """Three hosts, a registered VM on each, on the network of that VNI and VLAN."""
    vni, vlan = request.param
    fabric = make_fabric(hosts=3, tunnels="flow", vms="none")
    fabric.network(vni, vlan=vlan, subnets=SUBNETS)
    vms = [
        fabric.lab.add_vm(
            index,
            f"10.1.1.{index + 2}",
            f"52:54:00:00:00:0{index + 1}",
            ip6=f"fd00::{index + 2}",
            **({} if vlan is None else {"vlan": vlan, "vni": vni}),
        )
        for index in range(3)
    ]
    for vm in vms:
        fabric.register(vm)
    settled(fabric, vni, 0)
    return fabric, vni, vms


def test_the_ledger_is_what_the_underlay_saw(world):
    fabric, vni, (a, b, c) = world
    before = ledger(fabric, vni)
    said = [
        *[who_has(a, b.ip)] * 7,
        *[ns(a.mac, "fd00::2", "fd00::3")] * 3,
        *[who_has(a, "10.1.1.77")] * 5,
        *[plain(a.mac, STRANGER)] * 4,
        *[plain(a.mac)] * 2,
        udp(a.mac, a.ip, "01:00:5e:01:01:01", "239.1.1.1"),
        igmp3_report(a.mac, a.ip, "239.1.1.1"),
        garp(a.mac, a.ip),
        dad(a.mac, "fd00::78"),
    ]
    with fabric.lab.capture() as wire:
        a.send_frames(said)
        b.send_frames([who_has(b, c.ip)] * 2)
    now = settled(fabric, vni, sum(before[c]["frames"] for c in COLUMNS[:4]) + len(said) + 2)

    grown = {what: count - before[what]["frames"] for what, count in frames(now).items()}
    assert grown == {
        "answered": 12,
        "answered_by_controller": 0,
        "suppressed": 0,
        "flooded": 15,
        "unknown_unicast": 4,
    }
    copies = crossed(wire, vni)
    assert now["flooded"]["copies"] - before["flooded"]["copies"] == len(copies) == 30
    grown_bytes = now["flooded"]["bytes"] - before["flooded"]["bytes"]
    assert 2 * grown_bytes == sum(len(copy.data) for copy in copies)
    assert not [copy for copy in wire.arp_requests(vni) if copy.arp_tpa in (b.ip, c.ip)]
    assert now["saved"]["copies"] - before["saved"]["copies"] == 2 * 12
