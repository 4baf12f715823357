"""What "applied on 3 of 3 hosts" means."""

from __future__ import annotations

from dataclasses import replace

from controller.events import Committed
from topology.model import Put, Vm
from topology.types import Dpid, Vni


def test_a_write_is_applied_when_every_host_has_confirmed_it(fabric):
    a = fabric.vm(0)
    vm = Vm(a.mac, Vni(0), Dpid(1), (a.ip,))
    ticket = fabric.commit(lambda draft: draft.set_vm(vm))
    counts = [fabric.applied(ticket).hosts]
    while fabric.step():
        counts.append(fabric.applied(ticket).hosts)
        for dpid in list(fabric.switches)[: counts[-1]]:
            assert fabric.switches[dpid].flow_mods

    assert (counts[0], counts[-1], fabric.applied(ticket).of) == (0, 3, 3)
    assert counts == sorted(counts)


def test_applied_means_the_flows_are_there(fabric):
    a = fabric.vm(0)
    vm = Vm(a.mac, Vni(0), Dpid(1), (a.ip,))
    ticket = fabric.commit(lambda draft: draft.set_vm(vm))
    while not fabric.applied(ticket).everywhere:
        assert fabric.step()

    for dpid, switch in fabric.switches.items():
        assert fabric.replica(dpid).desired().keys() <= switch.cookies.keys()


def test_asking_again_for_what_holds_is_applied_at_once(fabric):
    a = fabric.vm(0)
    fabric.register(a)

    assert fabric.applied(fabric.register(a)).everywhere


def test_a_host_that_is_away_is_not_waited_for(fabric):
    fabric.disconnect(3)
    applied = fabric.applied(fabric.register(fabric.vm(0)))

    assert (applied.hosts, applied.of) == (2, 2)


def test_a_host_that_is_being_audited_counts_when_it_is_live(fabric):
    fabric.connect(2)
    a = fabric.vm(0)
    ticket = fabric.commit(lambda draft: draft.set_vm(Vm(a.mac, Vni(0), Dpid(1), (a.ip,))))
    assert fabric.applied(ticket).hosts == 0
    fabric.settle()

    assert fabric.applied(ticket).hosts == 3


def test_a_host_that_fell_far_behind_catches_up(fabric):
    """More changes than the log of a table holds come while its sender is busy."""
    a = fabric.vm(0)
    for number in range(1500):
        vm = Vm(a.mac, Vni(0), Dpid(number % 3 + 1), (a.ip,))
        ticket = fabric.commit(lambda draft, vm=vm: draft.set_vm(vm))
    fabric.settle()
    fabric.advance(1)

    assert fabric.applied(ticket).everywhere
    fabric.assert_in_sync()


def test_who_fell_behind_the_log_confirms_after_an_audit(fabric):
    """Not only when the next change comes."""
    a = fabric.vm(0)
    fabric.register(a)
    moves = [Vm(a.mac, Vni(0), Dpid(1 + turn % 3), (a.ip,)) for turn in range(3000)]
    fabric._handle(Committed(tuple(map(Put, moves))))
    ticket = fabric.register(replace(a, host=2))
    assert fabric.applied(ticket).hosts == 0

    fabric.advance(3.0)

    assert fabric.applied(ticket).everywhere
    fabric.assert_in_sync()
