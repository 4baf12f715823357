"""What a switch refuses is named, and does not stop the rest."""

from __future__ import annotations

import pytest

from controller.pipeline import Kind, cookie_kind
from controller.replica import State
from controller.wire import encode
from tests.fake import FakeFabric
from tests.fake.switch import uses_meter

BAD_MATCH = (4, 9)


def refuse(*kinds):
    """Refuse adds of these kinds."""

    def why_not(mod):
        adds = mod[25] == encode.ADD and cookie_kind(encode.cookie_of(mod)) in kinds
        return BAD_MATCH if adds else None

    return why_not


@pytest.mark.parametrize("when", ["before it connects", "while it is live"])
def test_a_rejected_flow_is_named_and_the_others_hold(when):
    fabric = FakeFabric(3)
    fabric.switches[2].refuse = refuse(Kind.ARP_RESPONDER)
    a, b = fabric.vm(0), fabric.vm(1)
    if when == "before it connects":
        fabric.connect(1)
        fabric.settle()
        fabric.register(a)
        fabric.connect_all()
    else:
        fabric.connect_all()
        fabric.register(a)
    fabric.register(b)

    replica = fabric.replica(2)
    assert replica.state is State.LIVE
    assert [cookie_kind(cookie) for cookie in replica.rejected] == [Kind.ARP_RESPONDER]
    assert any("refused" in line for line in fabric.log)
    assert fabric.ping(a, b)
    fabric.assert_in_sync(refused=frozenset({Kind.ARP_RESPONDER}))


def test_a_rejected_flow_is_not_sent_for_ever():
    fabric = FakeFabric(2)
    fabric.switches[2].refuse = refuse(Kind.ARP_RESPONDER)
    fabric.connect_all()
    fabric.register(fabric.vm(0))
    fabric.advance(30)
    refused = len(fabric.log)

    fabric.advance(600, step_s=1)
    assert refused < len(fabric.log) <= refused + 2 * 6  # each time after twice the pause

    fabric.switches[2].refuse = None
    fabric.advance(330, step_s=1)
    fabric.assert_in_sync()


def test_a_write_is_not_applied_where_a_flow_of_it_was_refused():
    fabric = FakeFabric(2)
    fabric.connect_all()
    fabric.switches[2].refuse = refuse(Kind.ARP_RESPONDER)
    ticket = fabric.register(fabric.vm(0))
    assert (fabric.applied(ticket).hosts, fabric.applied(ticket).of) == (1, 2)

    fabric.switches[2].refuse = None
    fabric.advance(45, step_s=1)
    assert fabric.applied(ticket).everywhere


def test_a_rejected_flow_is_tried_again_on_the_next_connection():
    fabric = FakeFabric(2)
    fabric.switches[2].refuse = refuse(Kind.ARP_RESPONDER)
    fabric.connect_all()
    a = fabric.vm(0)
    fabric.register(a)
    fabric.switches[2].refuse = None
    fabric.connect(2)
    fabric.settle()

    assert not fabric.replica(2).rejected
    assert fabric.who_has(fabric.vm(1), a.ip).deliveries[0].answered
    fabric.assert_in_sync()


def test_a_refused_bundle_is_sent_flow_by_flow():
    fabric = FakeFabric(3)
    for switch in fabric.switches.values():
        switch.refuse = refuse(Kind.PROBE_GUARD)
    fabric.connect_all()

    assert [switch.commits for switch in fabric.switches.values()] == [0, 0, 0]
    assert fabric.ping(fabric.vm(0), fabric.vm(1))
    fabric.assert_in_sync(refused=frozenset({Kind.PROBE_GUARD}))


def test_a_switch_without_meters_still_learns():
    fabric = FakeFabric(3)
    switch = fabric.switches[2]
    switch.meters_work = False
    switch.refuse = lambda mod: (2, 6) if uses_meter(mod) else None
    fabric.connect_all()
    b = fabric.vm(1)
    fabric.gratuitous(b)
    fabric.advance(60)

    assert fabric.learned(b) is not None
    assert not fabric.replica(2).bridge.meters
    assert fabric.replica(2).state is State.LIVE
    assert not fabric.replica(2).rejected
    fabric.assert_in_sync()


def test_a_switch_without_bundles_is_served_all_the_same():
    fabric = FakeFabric(3)
    for switch in fabric.switches.values():
        switch.bundles_work = False
    fabric.connect_all()

    assert fabric.ping(fabric.vm(0), fabric.vm(1))
    fabric.assert_in_sync()
