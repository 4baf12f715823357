"""Who fills the memory of learned MACs pushes out its own, not its neighbours'."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.engine import Settings
from controller.learning import REPEAT_S, Limits
from controller.pipeline import Kind
from tests.fake import FakeFabric
from topology.types import Dpid, Ip, Mac, VtepIp

RED, BLUE = 100, 200


@pytest.fixture
def small():
    """Room for eight learned MACs of one place, and twelve of one network."""
    limits = Limits(per_place=8, per_network=12)
    fabric = FakeFabric(3, "flow", Settings(limits=limits)).connect_all()
    fabric.network(RED, 10, hosts="all")
    fabric.network(BLUE, 20, hosts="all")
    return fabric


def strangers(fabric, host, count, vni=RED, vlan=10):
    vms = [replace(fabric.vm(0, vni, vlan), host=host) for _ in range(count)]
    for vm in vms:
        fabric.broadcast(vm)
        fabric.advance(0.1)
    return vms


def known(fabric, vms):
    return [vm for vm in vms if fabric.learned(vm) is not None]


def test_a_place_that_is_full_forgets_its_stalest(small):
    first = strangers(small, 1, 10)

    assert known(small, first) == first[-8:]
    small.assert_in_sync()


def test_who_goes_on_speaking_is_not_the_stalest(small):
    (quiet, busy) = strangers(small, 1, 2)
    small.advance(1)
    small.gratuitous(busy)
    strangers(small, 1, 7)

    assert known(small, [quiet, busy]) == [busy]


def test_a_place_that_is_full_takes_nothing_from_another(small):
    others = strangers(small, 2, 3)
    strangers(small, 1, 30)

    assert known(small, others) == others


def test_a_network_that_is_full_forgets_where_it_has_most(small):
    few = strangers(small, 2, 2)
    some = strangers(small, 3, 3)
    strangers(small, 1, 30)

    assert known(small, few) == few
    assert known(small, some) == some
    assert len(small.engine.topology.learned) <= 12


def test_another_network_keeps_its_own(small):
    others = strangers(small, 2, 5, BLUE, 20)
    strangers(small, 1, 30)
    strangers(small, 3, 30)

    assert known(small, others) == others


def test_a_tenant_that_fills_a_host_pushes_out_its_own(small):
    """Two tenants share host 1; what one learns too much of is not the other's loss."""
    others = strangers(small, 1, 2, BLUE, 20)
    strangers(small, 1, 30)

    assert known(small, others) == others
    small.assert_in_sync()


def test_a_foreign_vtep_is_a_place_too(small):
    from controller.journey import Packet
    from tests.fake.stations import BROADCAST

    rack = VtepIp(Ip.parse("192.168.33.200"))
    small.vtep(rack, [RED])
    others = strangers(small, 2, 3)
    for number in range(30):
        small.arrive(1, rack, RED, Packet(0x525400BB0000 | number, BROADCAST))

    assert known(small, others) == others
    assert len(small.engine.topology.learned) == 3 + 8


def test_who_is_forgotten_is_learned_again_when_it_speaks(small):
    first, *_ = strangers(small, 1, 9)
    assert small.learned(first) is None
    small.broadcast(first)

    assert small.learned(first) is not None
    small.assert_in_sync()


def test_registered_vms_do_not_count(small):
    vms = [replace(small.vm(0, RED, 10), mac=Mac(0x525400CC0000 | number)) for number in range(20)]
    for vm in vms:
        small.register(vm)
    guests = strangers(small, 1, 8)

    assert known(small, guests) == guests
    assert len(small.engine.topology.vms) == 20


def test_what_is_recalled_after_a_restart_keeps_to_the_caps(small):
    for host in (1, 2, 3):
        strangers(small, host, 4)
    small.settings = Settings(limits=Limits(per_place=3, per_network=5))
    small.restart_controller()
    small.connect_all()

    learned = small.engine.topology.learned
    assert len(learned) <= 5
    assert all(len(small.engine.topology.learned_on(Dpid(host))) <= 3 for host in (1, 2, 3))


# -- one MAC ---------------------------------------------------------------------------------------


def test_a_mac_has_so_many_addresses_and_no_more(fabric):
    a = fabric.vm(0)
    ips = [Ip.v4(0x0A020000 | number) for number in range(1, 21)]
    for ip in ips:
        fabric.gratuitous(replace(a, ip=ip))
        fabric.advance(REPEAT_S)

    assert [ip for ip, _seen in fabric.learned(a).ips] == ips[-16:]
    assert fabric.switches[2].kinds()[Kind.ARP_RESPONDER_LEARNED] == 16
    fabric.assert_in_sync()


def test_copies_that_come_close_together_teach_once(fabric):
    """Each lesson is a flow-mod on every host; a burst of copies is one lesson."""
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    first = fabric.learned(a)
    mods = fabric.switches[3].flow_mods
    fabric.advance(REPEAT_S / 2)
    for dpid in (1, 2, 3):
        fabric.switches[dpid].delete(lambda entry: entry.add[9] == Kind.LOCAL_LEARNED)
    fabric.unicast(a, b)
    assert (fabric.learned(a), fabric.switches[3].flow_mods) == (first, mods)

    fabric.advance(REPEAT_S)
    fabric.unicast(a, b)
    assert fabric.learned(a).seen_s > first.seen_s
