"""Networks are worlds of their own: same MACs and IPs in two of them, on every kind of tunnel."""

from __future__ import annotations

import pytest

from topology.lab.frame import plain
from topology.lab.ovs import wait_until

SHAPES = {
    "vxlan-per-peer": {"tunnels": "peer", "key_flow": True},
    "vxlan-flow-based": {"tunnels": "flow"},
    "gre-per-peer": {"tunnels": "peer", "key_flow": True, "tunnel_type": "gre"},
    "gre-flow-based": {"tunnels": "flow", "tunnel_type": "gre"},
    "geneve-flow-based": {"tunnels": "flow", "tunnel_type": "geneve"},
}
BLUE, RED = 100, 200
MAC1, MAC2, MAC3 = "52:54:00:00:01:01", "52:54:00:00:01:02", "52:54:00:00:01:03"


@pytest.fixture(scope="module", params=SHAPES)
def tenants(request, open_fabric):
    """Blue and red have VMs with the same addresses on hosts 1 and 2; red one more on host 2."""
    with open_fabric(hosts=3, vms="none", **SHAPES[request.param]) as fabric:
        yield fabric, populated(fabric)


def populated(fabric):
    fabric.network(BLUE, vlan=10, name="blue")
    fabric.network(RED, vlan=20, name="red")
    lab, vms = fabric.lab, {}
    for colour, vni, vlan in (("blue", BLUE, 10), ("red", RED, 20)):
        for host, mac, ip, ip6 in (
            (0, MAC1, "10.1.1.2", "fd00::2"),
            (1, MAC2, "10.1.1.3", "fd00::3"),
        ):
            name = f"{colour}{host + 1}"
            vms[name] = lab.add_vm(host, ip, mac, vlan, name, vni=vni, ip6=ip6)
    vms["red3"] = lab.add_vm(1, "10.1.1.4", MAC3, 20, "red3", vni=RED, ip6="fd00::4")
    for vm in vms.values():
        assert fabric.register(vm).status == 201
    return vms


@pytest.mark.parametrize("colour", ["blue", "red"])
def test_each_tenant_pings_within_itself(tenants, colour):
    _fabric, vms = tenants
    one, two = vms[f"{colour}1"], vms[f"{colour}2"]

    assert one.ping(two.ip).ok
    assert one.ping("fd00::3").ok


def test_no_tenant_reaches_another(tenants):
    fabric, vms = tenants
    blue, red = vms["blue1"], vms["red3"]
    with fabric.lab.capture(at=red, expression="ether proto 0x88b6") as inside:
        assert not blue.ping(red.ip, count=2, interval_s=0.1, timeout_s=0.5).ok
        blue.send_frames([plain(blue.mac), plain(blue.mac, red.mac)])
    assert inside.frames() == []


def test_every_frame_on_the_underlay_bears_its_own_network(tenants):
    fabric, vms = tenants
    with fabric.lab.capture() as wire:
        vms["blue1"].send_frames([plain(MAC1)] * 3)
    there = [seen for seen in wire.tunnelled() if seen.eth_type == 0x88B6]
    assert [(seen.vni, seen.vlan, seen.outer_dst) for seen in there] == [
        (BLUE, None, fabric.lab.hosts[1].vtep)
    ] * 3


def test_a_host_without_members_holds_and_gets_nothing_of_it(tenants):
    fabric, vms = tenants
    third = fabric.lab.hosts[2]
    with fabric.lab.capture() as wire:
        vms["blue1"].send_frames([plain(MAC1)])
        vms["red1"].ping("10.1.1.77", count=1, timeout_s=0.5)

    assert not [flow for flow in third.dump_flows() if f"tun_id={RED:#x}" in flow]
    assert not [flow for flow in third.dump_flows() if f"tun_id={BLUE:#x}" in flow]
    assert wire.tunnelled(), "something was flooded"
    assert not [seen for seen in wire.tunnelled() if seen.outer_dst == third.vtep]


def test_a_pinned_host_carries_the_network(tenants):
    fabric, vms = tenants
    third = fabric.lab.hosts[2]
    fabric.network(BLUE, vlan=10, name="blue", hosts=[third.dpid])
    with fabric.lab.capture() as wire:
        vms["blue1"].send_frames([plain(MAC1)])
    assert third.vtep in {seen.outer_dst for seen in wire.tunnelled(BLUE)}

    answer = fabric.network(BLUE, vlan=10, name="blue")
    assert answer.status == 200
    assert not [flow for flow in third.dump_flows() if f"tun_id={BLUE:#x}" in flow]


def test_the_last_vm_takes_the_network_along(tenants):
    fabric, vms = tenants
    host, vm = fabric.lab.hosts[2], vms["red3"]
    body = {"mac": "52:54:00:00:01:99", "vni": RED, "host": host.dpid, "ips": ["10.1.1.99"]}
    assert fabric.rest.post("/v1/vms?wait=10", body)["applied"] == {"hosts": 3, "of": 3}
    assert [flow for flow in host.dump_flows() if f"tun_id={RED:#x}" in flow]

    answer = fabric.rest.delete(f"/v1/vms/{RED}/{body['mac']}?wait=10")
    assert answer["applied"] == {"hosts": 3, "of": 3}
    assert not [flow for flow in host.dump_flows() if f"tun_id={RED:#x}" in flow]
    assert vms["red1"].ping(vm.ip).ok
    assert fabric.in_sync()


def test_a_network_moves_to_another_vlan_and_back(tenants):
    """As the operator does it: the ports' tag and the network's VLAN, one after the other."""
    fabric, vms = tenants
    for vlan in (30, 10):
        for vm in (vms["blue1"], vms["blue2"]):
            vm.host.vsctl("set", "port", vm.port, f"tag={vlan}")
        assert fabric.network(BLUE, vlan=vlan, name="blue").status == 200
        wait_until(lambda: vms["blue1"].ping(vms["blue2"].ip, count=1).ok, "pinging again")
        dumped = [flow for host in fabric.lab.hosts for flow in host.dump_flows()]
        assert not [flow for flow in dumped if f"dl_vlan={40 - vlan}" in flow]
    assert fabric.in_sync()
