"""Tunnel ports and VTEP addresses: found by probes, followed when they change, never guessed."""

from __future__ import annotations

import pytest

from controller.bridges import PortNames
from controller.engine import Settings
from controller.journey import Packet
from tests.fake import FakeFabric
from tests.fake.fabric import PATCH
from topology.types import Dpid, Ip, VtepIp


def remotes(fabric, dpid):
    host = fabric.engine.topology.hosts[dpid]
    return {name: host.remote_of(name) for _port, name in fabric.replica(dpid).bridge.tunnel_ports}


def test_probes_find_where_each_port_leads(fabric):
    for dpid in fabric.switches:
        assert remotes(fabric, dpid) == fabric.remotes[dpid]


@pytest.mark.parametrize("first", [2, 5, 12, 30000])
def test_ports_may_have_any_number(first):
    fabric = FakeFabric(3)
    for switch in fabric.switches.values():
        names = [name for number, name in switch.ports.items() if number != PATCH]
        switch.ports = {first - 1: "patch-tun"} | dict(enumerate(names, first))
    fabric.connect_all()

    assert fabric.ping(fabric.vm(0), fabric.vm(1))
    fabric.assert_in_sync()


def test_a_renumbered_port_is_followed(fabric):
    vms = [fabric.vm(index) for index in range(3)]
    for vm in vms:
        fabric.register(vm)
    name = fabric.switches[1].ports[5]
    fabric.set_port(1, 5, None)
    fabric.set_port(1, 17, name)
    fabric.settle()

    assert fabric.ping(vms[0], vms[1])
    assert fabric.ping(vms[2], vms[0])
    fabric.assert_in_sync()


def test_a_renumbered_port_while_disconnected_is_followed(fabric):
    vms = [fabric.vm(index) for index in range(2)]
    for vm in vms:
        fabric.register(vm)
    fabric.disconnect(1)
    name = fabric.switches[1].ports[5]
    fabric.set_port(1, 5, None)
    fabric.set_port(1, 17, name)
    fabric.connect(1)
    fabric.settle()

    assert fabric.ping(*vms)
    fabric.assert_in_sync()


def test_a_new_patch_port_is_followed(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.set_port(1, PATCH, None)
    fabric.settle()
    fabric.assert_in_sync()
    fabric.set_port(1, 40, "patch-tun")
    fabric.settle()

    assert fabric.ping(a, b)
    fabric.assert_in_sync()


def test_a_removed_port_is_no_longer_used():
    fabric = FakeFabric(3).connect_all()
    a, c = fabric.vm(0), fabric.vm(2)
    fabric.set_port(1, 5, None)
    fabric.settle()

    assert fabric.broadcast(a).reached == [3]
    assert fabric.ping(a, c)
    fabric.assert_in_sync()


def test_a_port_swap_is_found_by_probes():
    """vxlan0 and vxlan1 of host 1 exchange their remote_ip: OpenFlow does not say so."""
    fabric = FakeFabric(3).connect_all()
    vms = [fabric.vm(index) for index in range(3)]
    for vm in vms:
        fabric.register(vm)
    ends = fabric.remotes[1]
    ends["vxlan0"], ends["vxlan1"] = ends["vxlan1"], ends["vxlan0"]
    assert fabric.unicast(vms[0], vms[1]).reached == [3]

    fabric.advance(15)

    assert remotes(fabric, 1) == ends
    assert fabric.ping(vms[0], vms[1])
    fabric.assert_in_sync()


def test_a_new_host_joins(fabric):
    fabric = FakeFabric(3, "flow")
    fabric.connect(1)
    fabric.connect(2)
    fabric.settle()
    fabric.advance(5)
    a, b, c = (fabric.vm(index) for index in range(3))
    assert fabric.ping(a, b)

    fabric.connect(3)
    fabric.settle()
    fabric.advance(5)

    assert fabric.ping(a, c)
    assert fabric.broadcast(a).reached == [2, 3]
    fabric.assert_in_sync()


def test_a_host_joins_a_fabric_of_ports_for_each_peer():
    fabric = FakeFabric(4)
    for dpid in (1, 2, 3):
        fabric.connect(dpid)
    fabric.settle()
    fabric.advance(10)
    a, b, d = (fabric.vm(index) for index in (0, 1, 3))
    assert fabric.ping(a, b)

    fabric.connect(4)
    fabric.settle()
    fabric.advance(5)

    assert remotes(fabric, 1) == fabric.remotes[1]
    assert fabric.ping(a, d)
    fabric.assert_in_sync()


def test_a_registered_vm_behind_an_unproven_port_is_flooded_not_lost():
    fabric = FakeFabric(3)
    fabric.connect(1)
    fabric.settle()
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.declare(dpid=Dpid(2), declared_vtep=VtepIp(fabric.switches[2].vtep))
    fabric.register(b)

    journey = fabric.forwarding().send(1, Packet(a.mac, b.mac))

    assert sorted(copy.to for copy in journey.copies) == [2, 3]


# -- VTEP addresses --------------------------------------------------------------------------


def test_a_host_that_reconnects_from_another_address_is_reached_there(fabric):
    vms = [fabric.vm(index) for index in range(3)]
    for vm in vms:
        fabric.register(vm)
    moved = VtepIp(Ip.parse("192.168.33.200"))
    fabric.switches[2].vtep = moved
    fabric.switches[2].changed()
    for dpid, ends in fabric.remotes.items():
        for name, end in ends.items():
            if dpid != 2 and end == VtepIp(Ip.parse("192.168.33.13")):
                ends[name] = moved
    fabric.connect(2)
    fabric.settle()
    fabric.advance(15)

    assert fabric.engine.topology.hosts[2].vtep == moved
    assert all(fabric.ping(a, b) for a in vms for b in vms if a is not b)
    fabric.assert_in_sync()


def test_the_vtep_is_where_tunnels_end_not_whence_the_switch_connects():
    """The controller is reached over another network: probes tell the VTEP."""
    fabric = FakeFabric(3)
    for dpid in fabric.switches:
        fabric.connect(dpid, address=Ip.parse(f"10.9.9.{dpid}"))
    fabric.settle()
    fabric.advance(10)

    for dpid, switch in fabric.switches.items():
        assert fabric.engine.topology.hosts[dpid].vtep == switch.vtep
    assert fabric.ping(fabric.vm(0), fabric.vm(2))
    fabric.assert_in_sync()


def test_a_declared_vtep_wins_over_what_was_seen():
    fabric = FakeFabric(3, "flow")
    for dpid, switch in fabric.switches.items():
        fabric.declare(dpid=Dpid(dpid), declared_vtep=VtepIp(switch.vtep))
        fabric.connect(dpid, address=Ip.parse(f"10.9.9.{dpid}"))
    fabric.settle()
    fabric.advance(5)

    assert fabric.ping(fabric.vm(0), fabric.vm(1))
    fabric.assert_in_sync()


def test_forged_probes_teach_nothing(fabric):
    from controller import probes
    from controller.events import Received
    from controller.pipeline import COOKIE_OWNER, Kind
    from controller.wire.decode import PacketIn

    before = dict(fabric.engine.topology.hosts)
    probe = probes.Probe(1, 5, fabric.replica(1).epoch, fabric.now_s, False)
    frame = probes.encode(probe, b"not the secret")
    cookie = COOKIE_OWNER << 56 | Kind.PROBE_IN << 48
    forged = PacketIn(cookie, 5, 0, 0x0A000001, 0x0A000002, frame)
    fabric.engine.handle(Received(3, fabric.replica(3).epoch, forged), fabric.now_s)

    assert fabric.engine.topology.hosts == before


# -- names -----------------------------------------------------------------------------------


def test_names_of_ports_are_the_operators():
    names = PortNames("to-int", ("overlay-*",))
    fabric = FakeFabric(2, settings=Settings(names=names))
    for dpid, switch in fabric.switches.items():
        switch.ports = {1: "to-int", 2: "overlay-a"}
        fabric.remotes[dpid] = {"overlay-a": fabric.switches[3 - dpid].vtep}
    fabric.connect_all()

    bridge = fabric.replica(1).bridge
    assert (bridge.patch_port, bridge.tunnel_ports) == (1, ((2, "overlay-a"),))
    assert remotes(fabric, 1) == fabric.remotes[1]


def test_ports_that_are_neither_patch_nor_tunnel_are_left_alone(fabric):
    fabric.set_port(1, 9, "eth7")
    fabric.settle()
    a, b = fabric.vm(0), fabric.vm(1)

    assert fabric.ping(a, b)
    fabric.assert_in_sync()


def test_hosts_behind_one_address_are_told_apart_by_probes():
    """The switches reach the controller through a NAT: their VTEPs are not where they seem."""
    fabric = FakeFabric(3)
    for dpid in fabric.switches:
        fabric.connect(dpid, address=Ip.parse("203.0.113.7"))
    fabric.settle()
    fabric.advance(15)

    for dpid, switch in fabric.switches.items():
        assert fabric.engine.topology.hosts[dpid].vtep == switch.vtep
    assert fabric.ping(fabric.vm(0), fabric.vm(1))
    fabric.assert_in_sync()
