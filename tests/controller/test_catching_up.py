"""Catching up in parts while facts change: nobody stays wrong, no receipt comes too early."""

from __future__ import annotations

import pytest

from controller.events import Received
from controller.pipeline import Kind, cookie_kind
from controller.wire.decode import Port, PortStatus
from tests.fake.fabric import FakeFabric
from topology.model import Host, Network, Vm
from topology.types import Dpid, Ip, Mac, Vlan, Vni

VNI = 100
MANY = 4500
"""VMs: more flows than are sent between two barriers."""


def vm(number, host, ips=True):
    mac = Mac(0x020000000000 | number)
    return Vm(mac, Vni(VNI), Dpid(host), (Ip.v4(0x0B000000 + number),) if ips else ())


@pytest.fixture
def large():
    """Host 1 has many VMs of a network that no other host carries."""
    fabric = FakeFabric(3, "flow").connect_all()
    fabric.network(VNI, 10)
    fabric.commit(lambda draft: [draft.set_vm(vm(number, 1)) for number in range(MANY)])
    fabric.settle()
    return fabric


@pytest.mark.parametrize("away", ["moved", "removed"])
def test_what_changes_and_changes_back_between_two_parts_is_sent_again(large, away):
    gone = vm(1700, 1)
    large.commit(lambda draft: draft.set_vm(vm(MANY, 2, ips=False)))
    large.pull(2)
    if away == "moved":
        large.commit(lambda draft: draft.set_vm(vm(1700, 3)))
    else:
        large.commit(lambda draft: draft.remove_vm(gone.key))
    large.pull(2)
    ticket = large.commit(lambda draft: draft.set_vm(gone))
    large.settle()

    assert large.applied(ticket).everywhere
    large.assert_in_sync()


def test_flows_that_change_tables_are_there_all_the_time(large):
    """A second flow-based port: the hosts that may send through both are in another table."""
    large.commit(lambda draft: [draft.set_vm(vm(MANY + host, host)) for host in (2, 3)])
    large.settle()
    large.advance(10)
    held = vteps(large)
    large.commit(lambda draft: [draft.set_vm(vm(2 * MANY + i, 1)) for i in range(MANY)])
    remotes = (("vxlan0", "flow"), ("vxlan9", "flow"))
    large.commit(lambda draft: draft.set_host(Host(Dpid(2), declared_remotes=remotes)))
    large.remotes[2]["vxlan9"] = "flow"
    large.switches[2].ports[9] = "vxlan9"
    status = PortStatus(0, Port(9, "vxlan9"))
    large._handle(Received(2, large.replica(2).epoch, status))

    while large.pull(2):
        while large.deliver_down(2):
            pass
        assert vteps(large) >= held > 0
        while large.deliver_up(2):
            pass
    large.settle()
    assert vteps(large) == 2 * held
    large.assert_in_sync()


def vteps(fabric):
    kinds = [cookie_kind(cookie) for cookie in fabric.switches[2].cookies]
    return kinds.count(Kind.TUNNEL_VTEP)


def test_a_conversation_keeps_the_flow_that_a_tables_end_would_take(large):
    large.commit(lambda draft: draft.set_vm(vm(MANY, 2)))
    large.settle()
    large.commit(lambda draft: draft.set_network(Network(Vni(VNI), vlan=Vlan(10), mode="reactive")))
    large.pull(2)
    while large.deliver_down(2):
        pass
    replica = large.replica(2)
    assert large.engine._derivation.converse(replica, VNI, "ip", vm(MANY - 100, 1).ips[0])
    large._awake.add(2)
    large.settle()

    large.assert_in_sync()


def test_a_network_made_again_confirms_nothing_of_its_former_life():
    fabric = FakeFabric(2, "flow").connect_all()
    fabric.network(VNI, 10)
    fabric.commit(lambda draft: draft.set_vm(vm(0, 1)))
    for number in range(1, 51):
        fabric.commit(lambda draft, n=number: draft.set_vm(vm(n, 2)))
    fabric.pull(2)  # not delivered: its barrier is out
    for number in range(51):
        fabric.commit(lambda draft, n=number: draft.remove_vm(vm(n, 1).key))
    fabric.commit(lambda draft: draft.remove_network(VNI))
    fabric.commit(lambda draft: draft.set_network(Network(Vni(VNI), vlan=Vlan(10))))
    fabric.commit(lambda draft: [draft.set_vm(vm(n, 1 + n % 2)) for n in range(4)])
    fabric.settle()
    ticket = fabric.commit(lambda draft: draft.set_vm(vm(4, 1)))

    assert fabric.applied(ticket).hosts == 0
    fabric.settle()
    assert fabric.applied(ticket).everywhere


def test_a_receipt_outlives_the_connection_it_was_given_on(fabric):
    for number in range(40):
        fabric.network(number + 1, number + 1)  # the bridges' own tables move on
    a = fabric.vm(0)
    fabric._awake.clear()
    ticket = fabric.commit(lambda draft: draft.set_vm(Vm(a.mac, Vni(0), Dpid(1), (a.ip,))))
    fabric.connect(1)  # nobody saw the old connection end
    fabric.settle()
    fabric.advance(4)

    assert fabric.applied(ticket).everywhere


def test_a_foreign_vtep_that_becomes_a_host_and_back_is_known_as_such_everywhere():
    fabric = FakeFabric(4, "flow")
    for dpid in (1, 2, 3):
        fabric.connect(dpid)
    fabric.settle()
    fabric.advance(4)
    fabric.network(VNI, 10)
    for dpid in (1, 2, 3):
        fabric.commit(lambda draft, dpid=dpid: draft.set_vm(vm(dpid, dpid)))
    ip = fabric.switches[4].vtep
    fabric.vtep(ip, [VNI], learning=True)
    fabric.settle()
    foreign = fabric.replica(1).wanted()
    fabric.connect(4)
    fabric.settle()
    fabric.advance(5)
    assert foreign - fabric.replica(1).wanted()
    fabric.disconnect(4)
    fabric.commit(lambda draft: draft.remove_host(4))
    fabric.settle()

    assert fabric.replica(1).wanted() == foreign


def test_a_diff_does_not_call_missing_what_is_not_sent_yet(large):
    large.commit(lambda draft: draft.set_vm(vm(MANY, 2)))
    large._awake.clear()
    found = []
    large._take(large.engine.request_diff(2, found.append, large.now_s))
    large._awake.add(2)
    large.settle()
    large.advance(2)

    assert [(list(each.missing), each.extra) for each in found] == [([], ())]
    assert not any("drifted" in line for line in large.log)
