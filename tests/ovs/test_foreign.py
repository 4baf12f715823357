"""Hosts that no controller manages: Linux kernel vxlan devices, and strangers."""

from __future__ import annotations

import pytest

from topology.lab.frame import garp, plain
from topology.lab.ovs import wait_until

GREEN, VLAN = 300, 30
SHAPES = {"flow-based": {"tunnels": "flow"}, "per-peer": {"tunnels": "peer", "key_flow": True}}


@pytest.fixture(scope="module", params=SHAPES)
def mixed(request, open_fabric):
    """Two hosts with a VM each in network 300, and a kernel vxlan host that floods and learns."""
    with open_fabric(hosts=2, vms="none", **SHAPES[request.param]) as fabric:
        fabric.network(GREEN, vlan=VLAN)
        for index in range(2):
            vm = fabric.lab.add_vm(index, f"10.1.1.{index + 2}", vlan=VLAN, vni=GREEN)
            assert fabric.register(vm).status == 201
        kernel = fabric.lab.add_kernel_vtep(GREEN, "10.1.1.50")
        if request.param == "per-peer":
            for host in fabric.lab.hosts:
                host.add_tunnel(kernel.vtep)
        fabric.lab.warm_underlay()
        yield fabric, kernel


def lead_to(fabric, kernel):
    """A port of its own on every host, declared as no probe will ever tell where it leads."""
    for host in fabric.lab.hosts:
        host.add_tunnel(kernel.vtep)
        ports = [
            {"name": name, "remote": remote}
            for name, number in host.ports.items()
            if (remote := host.tunnels.get(number)) is not None
        ]
        assert fabric.rest.put(f"/v1/hosts/{host.dpid}", {"tunnel_ports": ports}).status == 200


def declare(fabric, kernel, **body):
    answer = fabric.rest.put(f"/v1/vteps/{kernel.vtep}?wait=10", {"vnis": [GREEN], **body})
    assert answer.status in (200, 201), answer.body
    return answer


@pytest.fixture
def declared(mixed):
    fabric, kernel = mixed
    declare(fabric, kernel)
    yield fabric, kernel
    fabric.rest.delete(f"/v1/vteps/{kernel.vtep}?wait=10")


def seen_by(fabric, vm, source, send):
    """Whether a frame from that source MAC reaches the VM."""
    with fabric.lab.capture(at=vm, expression=f"ether src {source}") as inside:
        send()
    return bool(inside.frames())


def test_an_undeclared_vtep_is_not_heard(mixed):
    fabric, kernel = mixed
    one, *_others = fabric.lab.vms
    assert not kernel.ping(one.ip, count=2, interval_s=0.1, timeout_s=0.5).ok
    assert not seen_by(fabric, one, kernel.mac, lambda: kernel.send_frames([plain(kernel.mac)]))
    assert kernel.mac not in fabric.learned()


def test_a_declared_one_pings_both_ways(declared):
    fabric, kernel = declared
    for vm in fabric.lab.vms:
        kernel.flush_arp()
        vm.flush_arp()
        assert kernel.ping(vm.ip).ok
        assert vm.ping(kernel.ip).ok
    learned = fabric.learned()[kernel.mac]
    assert (learned["vtep"], learned["vni"]) == (kernel.vtep, GREEN)
    wait_until(lambda: kernel.ip in fabric.learned()[kernel.mac]["ips"], "its IP is learned")
    assert fabric.in_sync()


def test_what_is_learned_of_it_takes_one_way(declared):
    fabric, kernel = declared
    one, *_others = fabric.lab.vms
    assert kernel.ping(one.ip).ok
    wait_until(lambda: kernel.mac in fabric.macs(one.host, priority=1), "learned")
    with fabric.lab.capture() as wire:
        assert one.ping(kernel.ip, count=3, interval_s=0.1).ok
    there = [seen for seen in wire.unicast(kernel.mac) if seen.ip_proto == 1]
    assert [seen.outer_dst for seen in there] == [kernel.vtep] * 3


def test_a_network_that_it_was_not_declared_with_is_not_delivered(declared):
    fabric, kernel = declared
    one, *_others = fabric.lab.vms
    stranger = "52:54:00:00:0e:01"
    declare(fabric, kernel, vnis=[0])

    def inject():
        for vni in (GREEN, 0, 77):
            fabric.lab.inject(kernel.vtep, one.host, vni, plain(stranger), plain(stranger, one.mac))

    assert not seen_by(fabric, one, stranger, inject)
    declare(fabric, kernel)
    assert seen_by(fabric, one, stranger, inject)


def test_a_stranger_on_the_underlay_delivers_nothing(declared):
    fabric, _kernel = declared
    one, *_others = fabric.lab.vms
    stranger = "52:54:00:00:0e:02"

    def inject():
        fabric.lab.inject("192.168.33.99", one.host, GREEN, plain(stranger))
        fabric.lab.inject("192.168.33.99", one.host, GREEN, garp(stranger, "10.1.1.99"))

    assert not seen_by(fabric, one, stranger, inject)
    assert stranger not in fabric.learned()


def test_a_removed_vtep_leaves_nothing_behind(mixed):
    fabric, kernel = mixed
    one, *_others = fabric.lab.vms
    declare(fabric, kernel)
    assert kernel.ping(one.ip).ok
    fabric.rest.delete(f"/v1/vteps/{kernel.vtep}?wait=10")

    assert kernel.mac not in fabric.learned()
    assert not kernel.ping(one.ip, count=2, interval_s=0.1, timeout_s=0.5).ok
    dumped = [flow for host in fabric.lab.hosts for flow in host.dump_flows()]
    ours = [flow for flow in dumped if "table=30" not in flow]
    assert not [flow for flow in ours if kernel.vtep in flow]
    assert fabric.in_sync()


def test_a_proxy_device_with_static_entries_needs_no_flooding(mixed):
    """As the second seed sets it up: nolearning, proxy, fdb and neighbours by hand."""
    fabric, _other = mixed
    lab = fabric.lab
    kernel = lab.add_kernel_vtep(GREEN, "10.1.1.60", remotes=[], mode="proxy")
    if not lab.hosts[0].tunnels or None not in lab.hosts[0].tunnels.values():
        lead_to(fabric, kernel)
    lab.warm_underlay()
    declare(fabric, kernel, learning=False)
    body = {"mac": kernel.mac, "vni": GREEN, "host": kernel.vtep, "ips": [kernel.ip]}
    assert fabric.rest.post("/v1/vms?wait=10", body).status == 201
    for vm in lab.vms:
        kernel.add_static(vm.mac, vm.ip, vm.host.vtep)
    one, *_others = lab.vms
    one.flush_arp()
    with lab.capture() as wire:
        assert one.ping(kernel.ip).ok
        assert kernel.ping(one.ip).ok
    assert wire.arp_requests() == []
    assert kernel.mac not in fabric.learned()
    assert fabric.rest.delete(f"/v1/vms/{GREEN}/{kernel.mac}").status == 200
    assert fabric.rest.delete(f"/v1/vteps/{kernel.vtep}?wait=10").status == 200
