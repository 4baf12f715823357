"""What is not proven is not believed: old connections, forged copies, ports that lead nowhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller import probes
from controller.events import BarrierAnswered, Lost, Received
from controller.frames import Arp
from controller.journey import Packet
from controller.pipeline import COOKIE_OWNER, Kind
from controller.replica import DUMP_TIMEOUT_S, TRUST_S, State
from controller.wire.decode import FlowRemoved, PacketIn, PortStatus
from controller.wire.decode import Port as WirePort
from tests.fake import FakeFabric
from tests.fake.fabric import PATCH
from tests.fake.frames import to_bytes
from tests.fake.stations import BROADCAST
from topology.model import Host, LearnedMac
from topology.types import Dpid, Ip, VtepIp

SECRET = b"fake" * 8
ELSEWHERE = VtepIp(Ip.parse("203.0.113.9"))


def hear(fabric, dpid, message, epoch=None):
    now = fabric.replica(dpid).epoch if epoch is None else epoch
    effects = fabric.engine.handle(Received(dpid, now, message), fabric.now_s)
    fabric._take(effects)
    return effects


def copy_of(vm, kind=Kind.LOCAL_UNKNOWN, in_port=PATCH, **more):
    arp = Arp(1, vm.mac, vm.ip.low32, 0, vm.ip.low32)
    frame = to_bytes(Packet.carrying(arp, BROADCAST))
    outer = {"tun_id": 0, "tun_src": 0, "tun_dst": 0} | more
    return PacketIn(COOKIE_OWNER << 56 | kind << 48, in_port, frame=frame, **outer)


# -- older connections -----------------------------------------------------------------------------


def test_what_an_older_connection_said_teaches_nothing(fabric):
    a = fabric.vm(0)
    old = fabric.replica(1).epoch
    fabric.connect(1)
    fabric.settle()
    effects = hear(fabric, 1, copy_of(a), epoch=old)

    assert fabric.learned(a) is None
    assert effects.wake == set()


def test_ports_and_barriers_of_an_older_connection_do_not_count(fabric):
    old = fabric.replica(1).epoch
    fabric.connect(1)
    fabric.settle()
    replica = fabric.replica(1)
    before = (dict(replica.ports), dict(replica.acked))
    hear(fabric, 1, PortStatus(1, WirePort(PATCH, "patch-tun")), epoch=old)
    for xid in range(0x77000000, 0x77000020):
        assert not hear(fabric, 1, BarrierAnswered(xid), epoch=old).confirmed

    assert (dict(replica.ports), dict(replica.acked)) == before
    fabric.assert_in_sync()


def test_the_same_copy_of_the_connection_there_is_teaches(fabric):
    a = fabric.vm(0)
    hear(fabric, 1, copy_of(a))

    assert fabric.learned(a).host == 1


def test_a_host_that_is_not_connected_is_not_heard(fabric):
    a = fabric.vm(0)
    old = fabric.replica(1).epoch
    fabric.disconnect(1)
    fabric.engine.handle(Received(1, old, copy_of(a)), fabric.now_s)

    assert fabric.learned(a) is None


def probe_in(fabric, sender, epoch, there=2, port=5):
    """The packet-in of a blank probe that reached another host."""
    probe = probes.Probe(sender, port, epoch, fabric.now_s, False)
    frame = probes.encode(probe, SECRET)
    ends = (fabric.switches[sender].vtep, fabric.switches[there].vtep)
    cookie = COOKIE_OWNER << 56 | Kind.PROBE_IN << 48
    return PacketIn(cookie, 5, 0, ends[0] & 0xFFFFFFFF, ends[1] & 0xFFFFFFFF, frame)


def test_a_probe_of_an_older_connection_teaches_nothing():
    """Its port number may mean another port by now."""
    fabric = FakeFabric(3)
    fabric.connect_all()
    old = fabric.replica(1).epoch
    fabric.connect(1)
    fabric.settle()
    before = fabric.engine.topology.hosts[1]
    other = 3 if before.remote_of("vxlan0") == fabric.switches[2].vtep else 2
    hear(fabric, other, probe_in(fabric, 1, old, other))
    assert fabric.engine.topology.hosts[1] == before

    hear(fabric, other, probe_in(fabric, 1, fabric.replica(1).epoch, other))
    assert fabric.engine.topology.hosts[1].remote_of("vxlan0") == fabric.switches[other].vtep


def test_the_end_of_a_flow_that_an_older_connection_told_is_not_counted(fabric):
    fabric.network(0, mode="reactive")
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(b)
    fabric.unicast(a, b)
    ((cookie, key),) = fabric.replica(1)._conversations.items()
    hear(fabric, 1, FlowRemoved(cookie, True), epoch=fabric.replica(1).epoch - 1)
    assert fabric.replica(1).conversations(0) == [key]

    hear(fabric, 1, FlowRemoved(cookie, False))
    assert fabric.replica(1).conversations(0) == [key]


# -- copies that no flow of ours makes -----------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.LOCAL_UNKNOWN, Kind.LOCAL_ARP, Kind.LOCAL_ND])
def test_what_came_out_of_a_tunnel_is_not_local(fabric, kind):
    a = fabric.vm(0)
    hear(fabric, 1, copy_of(a, kind, in_port=5))

    assert fabric.learned(a) is None


def test_a_claim_that_came_out_of_a_tunnel_is_none(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a)
    fabric.register(b)
    vip = Ip.parse("10.1.1.99")
    fabric.vip(vip, a, b)
    hear(fabric, 1, copy_of(replace(a, ip=vip), Kind.VIP_CLAIM, in_port=5))
    assert fabric.holder(0, vip) is None

    hear(fabric, 1, copy_of(replace(a, ip=vip), Kind.VIP_CLAIM))
    assert fabric.holder(0, vip) == a.mac


def test_a_claim_of_another_host_or_another_vm_is_none(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a)
    fabric.register(b)
    vip = Ip.parse("10.1.1.99")
    fabric.vip(vip, a)
    hear(fabric, 2, copy_of(replace(a, ip=vip), Kind.VIP_CLAIM))
    assert fabric.holder(0, vip) is None

    fabric.gratuitous(replace(a, ip=vip))
    hear(fabric, 2, copy_of(replace(b, ip=vip), Kind.VIP_CLAIM))
    assert fabric.holder(0, vip) == a.mac


def test_a_copy_of_a_network_that_is_gone_is_dropped(fabric):
    a = fabric.vm(0)
    hear(fabric, 1, copy_of(a, tun_id=77))

    assert fabric.engine.topology.learned == {}


def test_a_foreign_copy_counts_only_for_a_declared_vtep_and_vni(fabric):
    fabric.network(100, 10)
    fabric.vtep(ELSEWHERE, [100])
    a = fabric.vm(0)
    for vtep, vni in ((ELSEWHERE, 0), (ELSEWHERE + 1, 100), (0, 100)):
        forged = copy_of(a, Kind.TUNNEL_FOREIGN, 5, tun_id=vni, tun_src=vtep & 0xFFFFFFFF)
        hear(fabric, 1, forged)
        assert fabric.engine.topology.learned == {}

    hear(fabric, 1, copy_of(a, Kind.TUNNEL_FOREIGN, 5, tun_id=100, tun_src=ELSEWHERE.low32))
    assert len(fabric.engine.topology.learned) == 1


def test_arp_that_speaks_for_another_mac_teaches_no_address(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    arp = Arp(1, b.mac, b.ip.low32, 0, a.ip.low32)
    fabric.send(a, replace(Packet.carrying(arp, BROADCAST), eth_src=a.mac))

    assert fabric.learned(a).ips == ()
    assert fabric.learned(b) is None


def test_an_address_that_was_registered_while_a_host_was_away_is_not_learned_back(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    fabric.restart_controller()
    fabric.connect(2)
    fabric.settle()
    fabric.register(replace(b, ip=a.ip))
    fabric.connect(1)
    fabric.connect(3)
    fabric.settle()
    fabric.advance(5)

    assert fabric.learned(a).ips == ()
    assert fabric.who_has(fabric.vm(2), a.ip).deliveries[0].packet.arp.sender_mac == b.mac
    fabric.advance(301, step_s=1)
    fabric.assert_in_sync()


def test_a_mac_that_was_registered_while_its_host_was_away_is_not_learned_back(fabric):
    a = fabric.vm(0)
    fabric.gratuitous(a)
    fabric.restart_controller()
    fabric.connect(2)
    fabric.settle()
    fabric.register(replace(a, host=2))
    fabric.connect(1)
    fabric.connect(3)
    fabric.settle()
    fabric.advance(5)

    assert fabric.learned(a) is None
    assert fabric.unicast(fabric.vm(2), a).reached == [2]


def test_what_was_learned_on_a_vlan_is_not_believed_of_its_next_network(fabric):
    fabric.network(100, 10, hosts="all")
    a = fabric.vm(0, 100, 10)
    fabric.gratuitous(a)
    fabric.disconnect(1)
    fabric.network(100, 20, hosts="all")
    fabric.network(200, 10, hosts="all")
    fabric.restart_controller()
    fabric.connect_all()

    assert fabric.engine.topology.learned == {}


# -- ports that are not proven ---------------------------------------------------------------------


@pytest.fixture
def alone():
    """Host 1 is new; its only tunnel port leads to somebody who does not connect here."""
    fabric = FakeFabric(2)
    fabric.remotes[1]["vxlan0"] = ELSEWHERE
    fabric.network(100, 10, hosts="all")
    fabric.connect(1)
    fabric.settle()
    fabric.strangers.add(ELSEWHERE)
    fabric.advance(4.0)
    return fabric


def test_a_new_bridges_unproven_port_carries_network_0_for_a_while(alone):
    a = alone.vm(0)
    assert len(alone.broadcast(a).copies) == 1
    assert alone.arrive(1, ELSEWHERE, 0, Packet(7, a.mac)).reached == [1]

    alone.advance(TRUST_S)
    assert alone.broadcast(a).copies == []
    assert alone.arrive(1, ELSEWHERE, 0, Packet(7, a.mac)).reached == []


def test_an_unproven_port_never_carries_another_network(alone):
    a = alone.vm(0, 100, 10)
    for _ in range(2):
        assert alone.broadcast(a).copies == []
        assert alone.arrive(1, ELSEWHERE, 100, Packet(7, a.mac)).reached == []
        alone.advance(TRUST_S)


def test_a_bridge_that_was_here_before_is_not_trusted_anew(fabric):
    a = fabric.vm(0)
    fabric.remotes[1]["vxlan7"] = ELSEWHERE
    fabric.switches[1].ports[40] = "vxlan7"
    fabric.strangers.add(ELSEWHERE)
    fabric.connect(1)
    fabric.settle()

    assert fabric.broadcast(a).reached == [2, 3]
    assert fabric.arrive(1, ELSEWHERE, 0, Packet(7, a.mac)).reached == []


# -- hosts -----------------------------------------------------------------------------------------


def test_a_host_that_connects_while_it_is_being_deleted_is_there(fabric):
    """The write was checked against facts in which it was away."""
    fabric.disconnect(3)
    fabric.settle()
    fabric.connect(3)
    fabric.commit(lambda draft: draft.remove_host(3))
    fabric.settle()
    fabric.advance(5)

    assert (Host, 3) in fabric.store
    assert fabric.ping(fabric.vm(0), fabric.vm(2))
    fabric.assert_in_sync()


def test_a_deleted_host_that_comes_back_is_whole(fabric):
    fabric.advance(TRUST_S)
    fabric.disconnect(3)
    fabric.commit(lambda draft: draft.remove_host(3))
    fabric.settle()
    assert fabric.broadcast(fabric.vm(0)).reached == [2]
    fabric.connect(3)
    fabric.settle()
    fabric.advance(20, step_s=0.5)

    assert fabric.ping(fabric.vm(0), fabric.vm(2))
    fabric.assert_in_sync()


def test_a_switch_that_never_finishes_its_dump_is_disconnected(fabric):
    fabric.switches[2].mute = True
    fabric.connect(2)
    fabric.settle()
    assert fabric.replica(2).state is State.AUDITING
    fabric.advance(DUMP_TIMEOUT_S + 1, step_s=1)
    assert 2 not in fabric.connected
    assert len([line for line in fabric.log if "does not finish its dump" in line]) == 1

    fabric.switches[2].mute = False
    fabric.connect(2)
    fabric.settle()
    fabric.advance(5)
    fabric.assert_in_sync()


def test_a_live_switch_that_never_finishes_an_audit_is_disconnected(fabric):
    fabric.switches[2].mute = True
    fabric.advance(DUMP_TIMEOUT_S + 25, step_s=1)

    assert 2 not in fabric.connected


def test_others_are_served_while_a_switch_is_stuck(fabric):
    fabric.switches[2].mute = True
    fabric.connect(2)
    fabric.settle()
    a, c = fabric.vm(0), fabric.vm(2)
    fabric.register(a)
    fabric.register(c)

    assert fabric.ping(a, c)


def test_the_loss_of_an_older_connection_ends_nothing(fabric):
    old = fabric.replica(2).epoch
    fabric.connect(2)
    fabric.engine.handle(Lost(2, old), fabric.now_s)
    fabric.settle()

    assert fabric.replica(2).state is State.LIVE


def test_learned_facts_are_not_stored(fabric):
    fabric.gratuitous(fabric.vm(0))

    assert not any(kind is LearnedMac for kind, _key in fabric.store)


# -- addresses of others ---------------------------------------------------------------------------


def test_a_declared_vtep_is_not_taken_by_who_connects_from_it_or_says_it_is_there(fabric):
    """Switch 1, whose dpid is the smaller one, would be found at the address of switch 2."""
    theirs = VtepIp(fabric.switches[2].vtep)
    fabric.declare(dpid=Dpid(2), declared_vtep=theirs)
    mine = fabric.engine.topology.hosts[1].vtep
    fabric.connect(1, address=theirs)
    fabric.settle()
    fabric.engine._saw_vtep(Dpid(1), theirs.low32)
    fabric.settle()

    assert fabric.engine.topology.hosts[1].vtep == mine
    assert [host.dpid for host in fabric.engine.topology.hosts_at(theirs)] == [2]
