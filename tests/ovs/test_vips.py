"""A virtual IP follows whoever of its VMs announced it last."""

from __future__ import annotations

import pytest

from tests.ovs.conftest import SHAPES
from topology.lab.frame import garp, na
from topology.lab.ovs import wait_until

VIP, VIP6 = "10.1.1.100", "fd00::100"


@pytest.fixture(scope="module", params=["peer-ports-5-6", "flow-based"])
def shared(request, open_fabric):
    """Three registered VMs; the first two share an address of each family."""
    with open_fabric(vms="none", **SHAPES[request.param]) as fabric:
        for index in range(3):
            vm = fabric.lab.add_vm(index, f"10.1.1.{index + 2}", ip6=f"fd00::{index + 2}")
            assert fabric.register(vm).status == 201
        macs = [vm.mac for vm in fabric.lab.vms[:2]]
        for ip in (VIP, VIP6):
            assert fabric.rest.put(f"/v1/vips/0/{ip}?wait=10", {"macs": macs}).status == 201
        yield fabric


def hold(vm, *others):
    """The VM takes the addresses over and announces them, as keepalived does."""
    for other in others:
        other.exec("ip", "addr", "del", f"{VIP}/24", "dev", other.link, check=False)
        other.exec("ip", "addr", "del", f"{VIP6}/64", "dev", other.link, check=False)
    vm.exec("ip", "addr", "replace", f"{VIP}/24", "dev", vm.link)
    vm.exec("ip", "addr", "replace", f"{VIP6}/64", "dev", vm.link, "nodad")
    vm.send_frames([garp(vm.mac, VIP), na(vm.mac, VIP6)])


def holder(fabric, ip):
    return fabric.rest.get(f"/v1/vips/0/{ip}")["holder"]


def test_it_moves_within_one_gratuitous_arp(shared):
    one, two, three = shared.lab.vms
    for here, there in ((one, two), (two, one), (one, two)):
        hold(here, there)
        wait_until(lambda here=here: holder(shared, VIP) == here.mac, "the holder is known")
        wait_until(lambda here=here: holder(shared, VIP6) == here.mac, "the holder is known")
        for address in (VIP, VIP6):
            three.flush_arp()
            with shared.lab.capture() as wire:
                assert three.ping(address, count=2, interval_s=0.1).ok
            assert {seen.outer_dst for seen in wire.unicast(here.mac)} == {here.host.vtep}
            assert not [s for s in wire.tunnelled() if s.is_multicast and s.arp_tpa == address]
    assert shared.in_sync()


def test_nobody_else_can_take_it(shared):
    one, two, three = shared.lab.vms
    hold(one, two)
    wait_until(lambda: holder(shared, VIP) == one.mac, "the holder is known")
    three.send_frames([garp(three.mac, VIP), garp("52:54:00:00:0f:09", VIP)])
    assert three.ping(one.ip, count=1).ok
    assert holder(shared, VIP) == one.mac
    for vm in (one, two):
        vm.flush_arp()
    assert two.ping(one.ip, count=1).ok


def test_a_restarted_controller_remembers_who_holds_it(shared):
    one, two, three = shared.lab.vms
    hold(two, one)
    wait_until(lambda: holder(shared, VIP) == two.mac, "the holder is known")
    shared.controller.kill()
    shared.controller.start()
    shared.wait_settled()
    assert holder(shared, VIP) == two.mac
    three.flush_arp()
    assert three.ping(VIP, count=1).ok
    assert shared.in_sync()
