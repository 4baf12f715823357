"""Tunnel ports without key=flow, as the seeds make them, carry network 0 and nothing else."""

from __future__ import annotations

from topology.lab.frame import plain
from topology.lab.ovs import wait_until

BLUE = 100


def test_networks_other_than_0_stay_off_ports_without_a_key(make_fabric):
    """The seeds' own ports put every frame into VNI 0: other networks must not leave by them."""
    fabric = make_fabric(hosts=2, vms="none")
    fabric.network(BLUE, vlan=10)
    one, two = (
        fabric.lab.add_vm(index, f"10.1.1.{index + 2}", vlan=10, vni=BLUE) for index in range(2)
    )
    for vm in (one, two):
        fabric.register(vm)
    with fabric.lab.capture() as wire:
        assert not one.ping(two.ip, count=2, interval_s=0.1, timeout_s=0.5).ok
        one.send_frames([plain(one.mac)])
    assert [seen for seen in wire.tunnelled() if seen.eth_src == one.mac] == []
    assert "key=flow" in fabric.host(fabric.lab.hosts[0])["reason"]

    for host in fabric.lab.hosts:
        host.vsctl("set", "interface", "vxlan0", "options:key=flow")
    wait_until(lambda: one.ping(two.ip, count=1).ok, "found out", timeout_s=25)
    wait_until(lambda: fabric.host(two.host)["state"] == "LIVE", "no complaint", timeout_s=15)
