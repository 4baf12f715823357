"""Ports and addresses change under a running fabric: they are read again, and found by probes."""

from __future__ import annotations

import pytest

from topology.lab import netns
from topology.lab.ovs import wait_until


def all_ping(fabric, within_s: float) -> None:
    """Every pair pings within that time, with nothing lost or doubled from then on."""

    def ok() -> bool:
        return all(result.ok for result in fabric.lab.ping_all(count=1, timeout_s=0.5).values())

    wait_until(ok, "every pair pings", timeout_s=within_s)
    results = fabric.lab.ping_all()
    assert all(result.ok and not result.duplicates for result in results.values()), results


@pytest.fixture
def three(make_fabric):
    """Three hosts with a registered VM each, and one that is learned."""
    fabric = make_fabric(hosts=3, vtep_ofports=5)
    for vm in fabric.lab.vms[:2]:
        fabric.register(vm)
    all_ping(fabric, within_s=5)
    return fabric


def add_port(host, name: str, number: int, *options: str) -> None:
    host.vsctl(
        *("add-port", "br-tun", name, "--", "set", "interface", name, *options),
        f"ofport_request={number}",
    )


def test_the_patch_port_gets_another_number(three):
    """The trouble of the first seed: re-made, the patch port had number 3, and flows said 1."""
    host = three.lab.hosts[0]

    host.vsctl("del-port", "br-tun", "patch-tun")
    add_port(host, "patch-tun", 3, "type=patch", "options:peer=patch-int")

    assert host.ports["patch-tun"] == 3
    all_ping(three, within_s=5)
    assert "in_port=1 " not in "\n".join(host.dump_flows(0))
    assert three.in_sync()


def test_tunnel_ports_get_other_numbers(three):
    host = three.lab.hosts[0]
    remotes = {"vxlan0": host.peers[0], "vxlan1": host.peers[1]}

    for name in remotes:
        host.vsctl("del-port", "br-tun", name)
    for number, (name, remote) in zip((6, 5), remotes.items(), strict=True):
        add_port(host, name, number, "type=vxlan", f"options:remote_ip={remote}")

    assert host.ports == {"patch-tun": 1, "vxlan0": 6, "vxlan1": 5}
    three.wait_settled()
    all_ping(three, within_s=5)
    assert three.in_sync()


def test_tunnel_ports_trade_their_peers(three):
    """The same names and numbers lead elsewhere now, and OpenFlow says nothing about that."""
    host = three.lab.hosts[0]

    host.vsctl(
        *("set", "interface", "vxlan0", f"options:remote_ip={host.peers[1]}", "--"),
        *("set", "interface", "vxlan1", f"options:remote_ip={host.peers[0]}"),
    )

    all_ping(three, within_s=30)
    three.wait_settled(timeout_s=30)
    assert three.in_sync()


def test_a_tunnel_port_goes_and_comes_back(three):
    host, peer, third = three.lab.hosts
    vm, far, near = three.lab.vms

    host.vsctl("del-port", "br-tun", "vxlan0")
    wait_until(lambda: len(three.host(host)["tunnel_ports"]) == 1, "one port is left")
    assert vm.ping(near.ip).ok, "the way to the third host is not touched"
    add_port(host, "vxlan0", 9, "type=vxlan", f"options:remote_ip={peer.vtep}")

    three.wait_settled()
    all_ping(three, within_s=5)
    assert far.ping(vm.ip).ok
    assert {port["port"] for port in three.host(host)["tunnel_ports"]} == {9, 6}
    assert third.ports == {"patch-tun": 1, "vxlan0": 5, "vxlan1": 6}


def test_a_host_joins_later(make_fabric):
    fabric = make_fabric(hosts=3, vtep_ofports=5, connect=False)
    first, second, late = fabric.lab.hosts
    for host in (first, second):
        host.set_controller(fabric.controller.target)
    one, two, three = fabric.lab.vms
    wait_until(lambda: one.ping(two.ip, count=1, timeout_s=0.5).ok, "the two ping")

    late.set_controller(fabric.controller.target)

    fabric.wait_settled()
    all_ping(fabric, within_s=5)
    assert fabric.register(three)["applied"] == {"hosts": 3, "of": 3}


@pytest.mark.parametrize("tunnels", ["peer", "flow"])
def test_a_host_comes_back_from_another_address(make_fabric, tunnels):
    fabric = make_fabric(hosts=3, tunnels=tunnels)
    moved, *others = fabric.lab.hosts
    fabric.register(fabric.lab.vms[0])
    all_ping(fabric, within_s=5)

    old, new = moved.vtep, "192.168.33.77"
    moved.vtep = new
    netns.ip(moved.netns, f"addr del {old}/24 dev br-phy", f"addr add {new}/24 dev br-phy")
    for host in others:
        host.peers = [new if peer == old else peer for peer in host.peers]
        for number, remote in host.tunnels.items():
            if remote == old:
                name = next(name for name, at in host.ports.items() if at == number)
                host.vsctl("set", "interface", name, f"options:remote_ip={new}")
    # A connection bound to an address that is gone is noticed late: do not wait for that here.
    moved.del_controller()
    moved.set_controller(fabric.controller.target)

    fabric.wait_settled(timeout_s=30)
    all_ping(fabric, within_s=15)
    assert fabric.host(moved)["vtep"] == new
    assert old not in "\n".join(flow for host in others for flow in host.dump_flows())
    assert fabric.in_sync()
