"""The ledger against the wire: what it counts is what a capture of the underlay counts."""

from __future__ import annotations

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from topology.lab import netns
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
SWITCH_S = 1.2
"""Open vSwitch's own counters are half a second old (other_config:max-revalidator)."""
STRANGER = "52:54:00:00:0a:01"
COLUMNS = ("answered", "answered_by_controller", "suppressed", "flooded", "unknown_unicast")


def who_has(vm, ip):
    return arp(ARP_REQUEST, vm.mac, vm.ip, "00:00:00:00:00:00", ip, BROADCAST)


def ledger(fabric, vni):
    return fabric.rest.get(f"/v1/ledger/{vni}?fresh=true").body


def frames(body):
    return {column: body[column]["frames"] for column in COLUMNS}


def handled(body):
    """Frames that came to where BUM is dealt with, each once."""
    now = frames(body)
    return sum(now.values()) - now["unknown_unicast"]


def numbers(body):
    """Every counter, by its path."""
    return {
        (what, unit): number for what in (*COLUMNS, "saved") for unit, number in body[what].items()
    }


def silent_vm(fabric, index, vni, vlan):
    """A VM whose kernel says nothing by itself; it has an IPv6 address by registration only."""
    vm = fabric.lab.add_vm(
        index, f"10.1.1.{index + 2}", f"52:54:00:00:00:0{index + 1}", vlan, vni=vni
    )
    netns.write_sysctl(vm.netns, f"ipv6/conf/{vm.link}/disable_ipv6", "1")
    assert fabric.register(vm, ips=[vm.ip, f"fd00::{index + 2}"]).status == 201
    return vm


class World:
    """Three hosts, a registered VM on each, on one network; and all that crosses the underlay."""

    def __init__(self, fabric, vni, vlan, wire):
        self.fabric, self.vni, self.vlan, self.wire = fabric, vni, vlan, wire
        self.policy(subnets=SUBNETS)
        self.vms = [silent_vm(fabric, index, vni, vlan) for index in range(3)]
        self.said = 0
        time.sleep(SWITCH_S)
        self.began = ledger(fabric, vni)
        self.crossed_before = len(self.crossed())
        self.last = self.began

    def policy(self, **fields):
        assert self.fabric.network(self.vni, vlan=self.vlan, **fields).status in (200, 201)

    def crossed(self):
        """Copies of broadcast, multicast and unknown unicast, as the underlay saw each once."""
        return [
            seen
            for seen in self.wire.tunnelled(self.vni)
            if seen.is_multicast or seen.eth_dst == STRANGER
        ]

    def say(self, vm, *said):
        vm.send_frames(said)
        self.said += len(said)

    def grown(self):
        """The ledger once it has what was said, since the world began; nothing went down."""
        begun = handled(self.began)

        def seen():
            return handled(ledger(self.fabric, self.vni)) - begun >= self.said

        wait_until(seen, f"{self.said} frames in the ledger", timeout_s=8)
        now, before = numbers(ledger(self.fabric, self.vni)), numbers(self.last)
        assert [key for key, number in now.items() if number < before[key]] == []
        self.last = ledger(self.fabric, self.vni)
        assert now == numbers(self.last)
        assert (
            now["flooded", "copies"] - numbers(self.began)["flooded", "copies"]
            == len(self.crossed()) - self.crossed_before
        )
        return {
            column: count - frames(self.began)[column]
            for column, count in frames(self.last).items()
        }


@pytest.fixture(params=[(0, None), (100, 10)], ids=["untagged", "tagged"])
def world(request, make_fabric):
    fabric = make_fabric(hosts=3, tunnels="flow", vms="none")
    with fabric.lab.capture() as wire:
        yield World(fabric, *request.param, wire)


def test_the_ledger_is_what_the_underlay_saw(world):
    a, b, c = world.vms
    world.say(
        a,
        *[who_has(a, b.ip)] * 7,
        *[ns(a.mac, "fd00::2", "fd00::3")] * 3,
        *[who_has(a, "10.1.1.77")] * 5,
        *[plain(a.mac, STRANGER)] * 4,
        *[plain(a.mac)] * 2,
        udp(a.mac, a.ip, "01:00:5e:01:01:01", "239.1.1.1"),
        igmp3_report(a.mac, a.ip, "239.1.1.1"),
        garp(a.mac, a.ip),
        dad(a.mac, "fd00::78"),
    )
    world.say(b, *[who_has(b, c.ip)] * 2)

    assert world.grown() == {
        "answered": 12,
        "answered_by_controller": 0,
        "suppressed": 0,
        "flooded": 15,
        "unknown_unicast": 4,
    }
    now, began = world.last, world.began
    copies = world.crossed()[world.crossed_before :]
    grown_bytes = now["flooded"]["bytes"] - began["flooded"]["bytes"]
    assert 2 * grown_bytes == sum(len(copy.data) for copy in copies)
    assert now["saved"]["copies"] - began["saved"]["copies"] == 2 * 12
    asked = {copy.arp_tpa for copy in world.wire.arp_requests(world.vni)}
    assert not asked & {b.ip, c.ip}
    sent = {talker["mac"]: talker for talker in now["talkers"]}
    assert (sent[a.mac]["frames"], sent[b.mac]["frames"]) == (21, 2)
    assert (sent[a.mac]["name"], sent[a.mac]["host"]) == (a.name, a.host.dpid)
    assert sum(host["flooded"]["copies"] for host in now["hosts"]) == now["flooded"]["copies"]


def test_counts_only_grow_whatever_happens_to_the_flows(world):
    fabric, (a, b, c) = world.fabric, world.vms
    world.say(a, *[who_has(a, b.ip)] * 5, *[plain(a.mac, STRANGER)] * 3)
    assert world.grown()["answered"] == 5

    # A policy changes: unknown unicast that was flooded is dropped, unknown who-has too.
    world.policy(subnets=SUBNETS, unknown_unicast="drop", unknown_arp="drop", multicast="drop")
    world.say(a, *[plain(a.mac, STRANGER)] * 4, who_has(a, "10.1.1.77"))
    world.say(a, udp(a.mac, a.ip, "01:00:5e:01:01:01", "239.1.1.1"))
    grown = world.grown()
    assert (grown["flooded"], grown["suppressed"], grown["unknown_unicast"]) == (3, 6, 7)

    # It changes back at once: what the flows counted lately is told when they end.
    world.say(a, *[udp(a.mac, a.ip, "01:00:5e:01:01:01", "239.1.1.1")] * 3)
    time.sleep(SWITCH_S)
    world.policy(subnets=SUBNETS)
    assert world.grown()["suppressed"] == 9

    # A VM moves to the host that asks, and another is deleted.
    b.move_to(a.host)
    body = {"host": a.host.dpid, "ips": [b.ip]}
    assert fabric.rest.put(f"/v1/vms/{world.vni}/{b.mac}?wait=10", body).status == 200
    assert fabric.rest.delete(f"/v1/vms/{world.vni}/{c.mac}?wait=10").status == 200
    world.say(a, who_has(a, b.ip), who_has(a, c.ip))
    grown = world.grown()
    assert (grown["answered"], grown["suppressed"], grown["flooded"]) == (5, 10, 4)

    # A switch connects anew and keeps its flows.
    fabric.lab.set_controller("tcp:127.0.0.1:1")
    wait_until(lambda: not fabric.host(a.host)["connected"], "the switch is away")
    world.say(a, *[plain(a.mac)] * 2)
    fabric.connect()
    assert world.grown()["flooded"] == 6

    # A controller that was started begins at 0, and says since when.
    since = world.last["since"]
    fabric.controller.kill()
    fabric.controller.start()
    fabric.wait_settled()
    time.sleep(SWITCH_S)
    body = ledger(fabric, world.vni)
    assert handled(body) == 0
    assert body["since"] > since
    world.began = world.last = body
    world.crossed_before, world.said = len(world.crossed()), 0
    world.say(a, *[plain(a.mac)] * 2, who_has(a, b.ip))
    grown = world.grown()
    assert (grown["flooded"], grown["suppressed"]) == (2, 1)


def test_dhcp_is_answered_by_the_controller(world):
    world.policy(subnets=["10.1.1.0/24"], dhcp=True, gateway="10.1.1.1")
    a = world.vms[0]
    a.dhcp()
    time.sleep(SWITCH_S)
    now = ledger(world.fabric, world.vni)

    assert (
        frames(now)["answered_by_controller"] - frames(world.began)["answered_by_controller"] >= 2
    )
    assert not [seen for seen in world.crossed() if seen.udp_dst == 67]


def test_metrics_of_a_running_controller(world):
    fabric, (a, b, _c) = world.fabric, world.vms
    world.say(a, *[who_has(a, b.ip)] * 3)
    world.grown()
    with urllib.request.urlopen(f"{fabric.rest.url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    now = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    vni = str(world.vni)
    assert now["vxlan_l2_bum_frames_total", vni, "answered"] == 3
    assert now["vxlan_l2_saved_copies_total", vni] == 6
    assert now["vxlan_l2_hosts", "LIVE"] == 3
    assert now["vxlan_l2_host_connections_total", a.host.dpid] == 1
    assert now["vxlan_l2_host_flows", a.host.dpid] == fabric.host(a.host)["flows"]
    assert now["vxlan_l2_vms",] == 3
    assert now["vxlan_l2_flow_mods_total",] > 3 * 30
    assert now["vxlan_l2_openflow_sent_bytes_total",] > now["vxlan_l2_flow_mods_total",] * 56
    assert now["vxlan_l2_apply_seconds_count",] >= 1
    assert now["vxlan_l2_store_commit_seconds_count",] >= 4
    assert now["vxlan_l2_http_requests_total", "POST", "2xx"] == 3
