"""Reactive networks: a host's table grows with its conversations, not with the fabric."""

from __future__ import annotations

import re

import pytest

from topology.lab.frame import plain
from topology.lab.ovs import wait_until

DURATION = re.compile(r"duration=([\d.]+)s")
VNI, VLAN, MANY = 500, 50, 300
QUIET = {"unknown_unicast": "drop", "unknown_arp": "drop", "subnets": ["10.1.1.0/24", "fd00::/64"]}


@pytest.fixture(scope="module", params=["flood", "drop"])
def reactive(request, open_fabric):
    """Three hosts, a VM each, and 300 registered VMs that never say a word."""
    policy = QUIET if request.param == "drop" else {}
    with open_fabric(hosts=3, vms="none", tunnels="flow") as fabric:
        assert fabric.network(VNI, vlan=VLAN, mode="reactive", **policy).status == 201
        for index in range(3):
            vm = fabric.lab.add_vm(
                index, f"10.1.1.{index + 2}", vlan=VLAN, vni=VNI, ip6=f"fd00::{index + 2}"
            )
            assert fabric.register(vm).status == 201
        silent = [
            {
                "mac": f"52:54:00:01:{number >> 8:02x}:{number & 255:02x}",
                "vni": VNI,
                "host": fabric.lab.hosts[number % 3].dpid,
                "ips": [f"10.1.{2 + (number >> 8)}.{number & 255}"] if number & 255 else [],
            }
            for number in range(1, MANY)
        ]
        assert fabric.rest.post("/v1/vms/batch?wait=20", silent).status == 201
        yield fabric


def ways(host):
    """Destination MACs that a host's table 20 leads elsewhere."""
    return {
        flow.split("dl_dst=")[1].split(" ")[0].split(",")[0]
        for flow in host.dump_flows(20, stats=False)
        if f"tun_id={VNI:#x}" in flow and "goto_table:30" in flow
    }


def test_hosts_hold_flows_of_talking_pairs_only(reactive):
    one, two, three = reactive.lab.vms
    assert ways(three.host) == set()
    # A kernel that has no answer at first asks again after a second.
    assert one.ping(two.ip, count=4, interval_s=0.3, timeout_s=2).received >= 3
    assert one.ping(two.ip).ok
    assert two.mac in ways(one.host)
    assert one.mac in ways(two.host)
    assert ways(three.host) == set()
    assert one.ping(two.ip6, timeout_s=2).received >= 2
    assert reactive.in_sync()


def test_unicast_to_a_known_vm_is_not_lost_on_its_first_frame(reactive):
    one, _two, three = reactive.lab.vms
    with reactive.lab.capture(at=three, expression=f"ether src {one.mac}") as inside:
        one.send_frames([plain(one.mac, three.mac)])
        wait_until(inside.frames, "delivered")
    wait_until(lambda: three.mac in ways(one.host), "installed")


def test_a_restarted_controller_takes_the_conversations_up_again(reactive):
    one, two, _three = reactive.lab.vms
    assert one.ping(two.ip).ok
    ping = one.ping_start(two.ip, interval_s=0.1)
    ping.wait_received(5)
    reactive.controller.kill()
    reactive.controller.start()
    reactive.wait_settled()
    ping.wait_received(20)
    assert ping.finish().lost == 0
    assert two.mac in ways(one.host)
    kept = [flow for flow in one.host.dump_flows(20) if f"dl_dst={two.mac}" in flow]
    assert [flow for flow in kept if float(DURATION.search(flow)[1]) > 2], kept
    assert reactive.in_sync()


def test_a_vm_that_moves_is_followed(reactive):
    one, two, three = reactive.lab.vms
    assert one.ping(two.ip).ok
    home = two.host
    two.move_to(three.host)
    body = {"host": three.host.dpid}
    try:
        assert reactive.rest.put(f"/v1/vms/{VNI}/{two.mac}?wait=10", body).status == 200
        two.send_garp()
        wait_until(lambda: one.ping(two.ip, count=1).ok, "pinging again")
    finally:
        two.move_to(home)
        reactive.rest.put(f"/v1/vms/{VNI}/{two.mac}?wait=10", {"host": home.dpid})
        two.send_garp()
    wait_until(lambda: one.ping(two.ip, count=1).ok, "pinging again")


def test_made_proactive_every_host_holds_everything(reactive):
    policy = reactive.rest.get(f"/v1/networks/{VNI}").body
    wanted = {k: v for k, v in policy.items() if k not in ("vni", "applied")}
    assert reactive.network(VNI, **{**wanted, "mode": "proactive"}).status == 200
    try:
        assert len(ways(reactive.lab.hosts[0])) >= MANY * 2 // 3
        assert reactive.in_sync()
    finally:
        reactive.network(VNI, **wanted)
    assert len(ways(reactive.lab.hosts[0])) < 10
    assert reactive.in_sync()
