"""The doctor, on fabrics of real Open vSwitch that are broken in the ways that are common.

What it says to type is typed: a command that does not mend is no cure.
"""

from __future__ import annotations

import re
import time

import pytest

from tests.ovs.conftest import SHAPES
from topology.lab.ovs import wait_until


def findings(fabric, check=None):
    """What is not well: (check, subject) -> result."""
    query = "" if check is None else f"?check={check}"
    answer = fabric.rest.get(f"/v1/doctor{query}")
    assert answer.status == 200, answer.body
    results = answer["checks"]
    assert answer["healthy"] == all(one["status"] != "error" for one in results)
    return {(one["check"], one["subject"]): one for one in results if one["status"] != "ok"}


def wait_for(fabric, check, subject=None, timeout_s=20):
    """The finding, once the doctor has it."""
    found = {}

    def there():
        found.update(findings(fabric, check))
        return any(subject in (None, key[1]) for key in found)

    wait_until(there, f"doctor finds {check}", timeout_s)
    return next(one for key, one in found.items() if subject in (None, key[1]))


def wait_well(fabric, check, timeout_s=20):
    wait_until(lambda: not findings(fabric, check), f"{check} is well again", timeout_s)


def type_on(host, command):
    """Run a command of the doctor's on the host."""
    return host.exec("sh", "-c", command)


def declare(fabric, *hosts):
    for number, host in enumerate(hosts or fabric.lab.hosts, start=1):
        assert fabric.rest.put(f"/v1/hosts/{host.dpid}", {"name": f"hv-{number}"}).status == 200


@pytest.mark.parametrize("shape", SHAPES)
def test_a_healthy_fabric_is_healthy_from_the_first_second_on(make_fabric, shape):
    fabric = make_fabric(**SHAPES[shape])
    assert findings(fabric) == {}
    for vm in fabric.lab.vms:
        fabric.register(vm)
    for _ in range(3):
        assert all(result.ok for result in fabric.lab.ping_all(count=2).values())
        assert findings(fabric) == {}
        time.sleep(2)


def test_tenants_that_talk_and_a_quiet_one_are_healthy(make_fabric):
    fabric = make_fabric(hosts=2, tunnels="flow", vms="none")
    fabric.network(100, name="blue", vlan=10)
    fabric.network(200, name="red", vlan=20, port_security=True)
    for vni, vlan in ((100, 10), (200, 20)):
        pair = [fabric.lab.add_vm(at, f"10.{vni}.1.{at + 1}", vlan=vlan, vni=vni) for at in (0, 1)]
        for vm in pair:
            fabric.register(vm)
        assert pair[0].ping(pair[1].ip).ok
    quiet = {"mac": "52:54:00:00:99:99", "vni": 100, "host": fabric.lab.hosts[0].dpid}
    assert fabric.rest.post("/v1/vms", quiet).status == 201

    assert findings(fabric) == {}


def test_one_port_of_many_that_was_removed(make_fabric):
    fabric = make_fabric(hosts=3, vtep_ofports=5)
    declare(fabric)
    host, lost, _third = fabric.lab.hosts
    host.vsctl("del-port", "br-tun", "vxlan0")
    found = wait_for(fabric, "tunnel-down", "hv-1")
    assert f"no tunnel port of hv-1 leads to hv-2 ({lost.vtep})" in found["summary"]

    type_on(host, found["command"])

    wait_well(fabric, "tunnel-down")
    assert fabric.lab.vms[0].ping(fabric.lab.vms[1].ip).ok


def test_two_bridges_with_one_datapath_id(make_fabric):
    fabric = make_fabric(hosts=2)
    first, copy = fabric.lab.hosts
    copy.vsctl("set", "bridge", "br-tun", f"other_config:datapath-id={first.dpid}")
    found = wait_for(fabric, "duplicate-dpid", timeout_s=40)
    assert first.vtep in found["summary"]
    assert copy.vtep in found["summary"]

    copy.exec("sh", "-c", found["command"])

    assert copy.dpid != first.dpid


@pytest.fixture(scope="module")
def flow(open_fabric):
    """Three hosts, named hv-1 to hv-3, flow-based; each test mends what it breaks."""
    with open_fabric(hosts=3, tunnels="flow", vms="none") as fabric:
        declare(fabric)
        fabric.network(100, name="blue", vlan=10)
        for at in range(3):
            fabric.register(fabric.lab.add_vm(at, f"10.1.1.{at + 1}", vlan=10, vni=100))
        assert findings(fabric) == {}
        yield fabric


def test_a_vtep_that_is_declared_wrongly(flow):
    host = flow.lab.hosts[1]
    flow.rest.put(f"/v1/hosts/{host.dpid}?wait=5", {"name": "hv-2", "vtep": "192.168.33.99"})
    try:
        found = wait_for(flow, "vtep-wrong", "hv-2")
        assert found["status"] == "error"
        assert "192.168.33.99" in found["summary"]
        assert (
            found["command"] == f"vxlanctl host declare {host.dpid} --name hv-2 --vtep {host.vtep}"
        )
    finally:
        flow.rest.put(f"/v1/hosts/{host.dpid}?wait=5", {"name": "hv-2", "vtep": host.vtep})
    wait_well(flow, "vtep-wrong")
    wait_well(flow, "tunnel-down")
    flow.rest.put(f"/v1/hosts/{host.dpid}?wait=5", {"name": "hv-2"})


@pytest.mark.parametrize("port", ["vxlan0", "patch-tun"])
def test_a_port_that_was_removed(flow, port):
    host = flow.lab.hosts[0]
    check = "tunnel-port" if port == "vxlan0" else "patch-port"
    host.vsctl("del-port", "br-tun", port)
    found = wait_for(flow, check, "hv-1")
    assert found["status"] == "error"

    type_on(host, found["command"])

    wait_well(flow, check)
    flow.wait_settled()
    one, two, _three = flow.lab.vms
    wait_until(lambda: one.ping(two.ip, count=1).ok, "they ping again", timeout_s=10)


def test_a_cut_underlay(flow):
    host = flow.lab.hosts[2]
    drop = "priority=100,udp,tp_dst=4789"
    host.ofctl("add-flow", "br-phy", f"{drop},actions=drop")
    try:
        found = wait_for(flow, "tunnel-down", "hv-3")
        assert "no probe comes through any tunnel to or from hv-3" in found["summary"]
        assert list(findings(flow, "tunnel-down")) == [("tunnel-down", "hv-3")]
        assert " 0% packet loss" in type_on(host, found["command"]), "the way is there: a firewall"
    finally:
        host.ofctl("--strict", "del-flows", "br-phy", drop)
    wait_well(flow, "tunnel-down")


def test_a_vm_on_another_host_than_registered(flow):
    vm, there = flow.lab.vms[0], flow.lab.hosts[2]
    flow.rest.put(f"/v1/vms/100/{vm.mac}?wait=5", {"host": there.dpid})
    try:
        vm.ping(flow.lab.vms[1].ip, count=1)
        found = wait_for(flow, "vm-place", "VM vm1")
        assert found["status"] == "error"
        assert "registered on hv-3, but sends from hv-1" in found["summary"]
        assert found["command"] == f"vxlanctl vm move {vm.mac} hv-1 --network 100"
        assert not findings(flow, "vlan")
    finally:
        flow.rest.put(f"/v1/vms/100/{vm.mac}?wait=5", {"host": vm.host.dpid})
    assert not findings(flow, "vm-place")
    assert vm.ping(flow.lab.vms[1].ip).ok


def test_hidden_flows_of_in_band_control(flow):
    host = flow.lab.hosts[1]
    host.vsctl("set", "bridge", "br-tun", "other_config:disable-in-band=false")
    found = wait_for(flow, "in-band", "hv-2")
    assert found["status"] == "error"

    type_on(host, found["command"])

    wait_well(flow, "in-band")


def test_flows_that_somebody_deleted(flow):
    host = flow.lab.hosts[0]
    host.ofctl("del-flows", "br-tun", "table=20")
    found = wait_for(flow, "drift", "hv-1", timeout_s=40)
    assert re.match(r"on hv-1 \d+ flows were missing and 0 were not ours", found["summary"])
    assert flow.controller.target in type_on(host, found["command"])


def test_a_bridge_that_speaks_only_openflow_1_0(flow):
    host = flow.lab.hosts[0]
    host.del_controller()
    host.vsctl("set", "bridge", "br-tun", "protocols=OpenFlow10")
    host.set_controller(flow.controller.target)
    found = wait_for(flow, "host-disconnected", "hv-1")
    assert "it speaks OpenFlow 1.0" in found["cause"]
    assert wait_for(flow, "openflow-refused", "hv-1")["command"] == found["command"]

    type_on(host, found["command"])

    flow.wait_settled(30)
    wait_well(flow, "host-disconnected")
    assert not findings(flow, "openflow-refused")


def test_a_host_without_a_controller(flow):
    host = flow.lab.hosts[2]
    host.del_controller()
    found = wait_for(flow, "host-disconnected", "hv-3")
    assert f"it was at {host.vtep}" in found["summary"]

    type_on(host, found["command"])

    flow.wait_settled(30)
    wait_well(flow, "host-disconnected")


def test_a_bridge_that_was_a_learning_switch_for_a_while(flow):
    host = flow.lab.hosts[1]
    host.vsctl("set-fail-mode", "br-tun", "standalone")
    host.set_controller("tcp:192.168.33.1:1")  # nobody listens there
    wait_until(lambda: not host.dump_flows(), "Open vSwitch took over", timeout_s=60)
    host.set_controller(flow.controller.target)
    found = wait_for(flow, "fail-mode", "hv-2", timeout_s=30)
    assert "came back with no flows" in found["summary"]

    type_on(host, found["command"])
    assert host.vsctl("get-fail-mode", "br-tun").strip() == "secure"

    # One that was only restarted comes back empty too, and is not accused.
    flow.wait_settled(30)
    host.restart_vswitchd()
    wait_well(flow, "fail-mode")
    flow.wait_settled(30)
    assert not findings(flow, "fail-mode")


def test_a_port_with_the_wrong_tag(flow):
    """A VLAN that no network has."""
    host = flow.lab.hosts[0]
    vm = flow.lab.add_vm(host, "10.1.1.11", vlan=77, vni=100, name="vm77")
    flow.register(vm)
    other = flow.lab.vms[1]
    assert not vm.ping(other.ip, count=1).ok
    found = wait_for(flow, "vlan", "VM vm77")
    assert found["status"] == "error"
    assert "sends on VLAN 77" in found["summary"]

    type_on(host, found["command"])

    wait_until(lambda: vm.ping(other.ip, count=1).ok, "it pings", timeout_s=10)


def test_a_port_with_another_networks_tag(flow):
    host = flow.lab.hosts[1]
    flow.network(200, name="red", vlan=20, hosts="all")
    vm = flow.lab.add_vm(host, "10.1.1.12", vlan=20, vni=100, name="vmred")
    flow.register(vm)
    assert not vm.ping(flow.lab.vms[0].ip, count=1).ok
    found = wait_for(flow, "vlan", "VM vmred")
    assert found["status"] == "error"
    assert "its frames arrive in network red (VLAN 20)" in found["summary"]

    type_on(host, found["command"])

    wait_until(lambda: vm.ping(flow.lab.vms[0].ip, count=1).ok, "it pings", timeout_s=10)


def test_an_ip_of_another_vm(flow):
    thief = flow.lab.add_vm(2, flow.lab.vms[0].ip, vlan=10, vni=100, name="thief")
    thief.ping(flow.lab.vms[1].ip, count=1)
    found = wait_for(flow, "duplicate-ip", "VM vm1")
    assert thief.mac in found["summary"]
    assert thief.mac in type_on(flow.lab.hosts[2], found["command"])
