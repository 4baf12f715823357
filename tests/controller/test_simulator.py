"""The simulator follows OpenFlow's rules, and refuses to guess."""

from __future__ import annotations

import pytest

from controller.flow import (
    ANY_VLAN,
    OFPP_IN_PORT,
    Bucket,
    CopyToController,
    Field,
    FloodGroup,
    Flow,
    Group,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    match,
)
from controller.journey import Ambiguous, Loop, Packet
from controller.pipeline import Table
from controller.simulator import SimulatedBridge, SimulatedFabric, wired_by_facts
from controller.wire import encode
from tests.fake import FakeFabric

A = Packet(0x02_00_00_00_00_01, 0x02_00_00_00_00_02)
ALL = (1 << 48) - 1


def bridge(*flows, dpid=1, groups=None):
    return SimulatedBridge(
        dpid, 0xC0A80000 | dpid, 1, [encode.encode_flow(flow) for flow in flows], groups or {}
    )


def flow(table, terms=(), actions=(), goto=None, priority=1):
    return Flow(1, table, priority, match(*terms), tuple(actions), goto)


def walk(*flows, packet=A, groups=None):
    return SimulatedFabric([bridge(*flows, groups=groups)], {}).send(1, packet)


def test_no_flow_drops_the_packet_and_says_where():
    journey = walk()

    assert journey.reached == []
    assert str(journey) == "host 0000000000000001 table 0 CLASSIFY: no flow matches"


def test_the_highest_priority_wins():
    journey = walk(
        flow(Table.CLASSIFY, actions=[Output(OFPP_IN_PORT)], priority=5),
        flow(Table.CLASSIFY, [(Field.IN_PORT, 1)], priority=7),
    )

    assert journey.reached == []
    assert journey.hops[0].flow.priority == 7


def test_two_flows_of_one_priority_are_refused():
    with pytest.raises(Ambiguous, match="CLASSIFY"):
        walk(
            flow(Table.CLASSIFY, [(Field.IN_PORT, 1)]),
            flow(Table.CLASSIFY, [(Field.ETH_DST, A.eth_dst)]),
        )


def test_flows_of_one_priority_that_cannot_both_match_are_fine():
    walk(
        flow(Table.CLASSIFY, [(Field.IN_PORT, 1)]),
        flow(Table.CLASSIFY, [(Field.IN_PORT, 2)]),
    )


def test_output_to_the_port_it_came_from_is_dropped():
    """OpenFlow 1.3.5, 7.2.5: only IN_PORT sends back."""
    assert walk(flow(Table.CLASSIFY, actions=[Output(1)])).reached == []
    (back,) = walk(flow(Table.CLASSIFY, actions=[Output(OFPP_IN_PORT)])).deliveries
    assert back.answered


def test_actions_take_effect_in_order():
    journey = walk(
        flow(
            Table.CLASSIFY,
            actions=[
                Output(OFPP_IN_PORT),
                PushVlan(),
                SetField(Field.VLAN_VID, 10),
                CopyToController(128, 1),
                SetField(Field.ETH_DST, 5),
                Output(OFPP_IN_PORT),
            ],
        )
    )

    first, second = journey.deliveries
    assert (first.packet.vlan, first.packet.eth_dst) == (None, A.eth_dst)
    assert (second.packet.vlan, second.packet.eth_dst) == (10, 5)
    assert (journey.punts[0].packet.vlan, journey.punts[0].packet.eth_dst) == (10, A.eth_dst)


def test_each_bucket_has_its_own_copy():
    group = FloodGroup(
        7,
        (
            Bucket((PopVlan(), SetField(Field.ETH_DST, 9), Output(OFPP_IN_PORT))),
            Bucket((Output(OFPP_IN_PORT),)),
        ),
    )
    journey = walk(
        flow(Table.CLASSIFY, actions=[Group(7)]),
        packet=Packet(1, 2, vlan=10),
        groups={7: encode.encode_buckets(group)},
    )

    assert [(d.packet.vlan, d.packet.eth_dst) for d in journey.deliveries] == [(None, 9), (10, 2)]


def test_a_tag_is_matched_by_presence():
    tagged = flow(Table.EGRESS, [ANY_VLAN])
    one = bridge(tagged)

    assert one.lookup(Table.EGRESS, {Field.VLAN_VID: 0}) is None
    assert one.lookup(Table.EGRESS, {Field.VLAN_VID: 0x1007}).flow == tagged


def test_a_loop_over_three_hosts_is_refused():
    flows = [
        flow(Table.CLASSIFY, [(Field.IN_PORT, 1)], [Output(2)]),
        flow(Table.CLASSIFY, [(Field.IN_PORT, 2)], [Output(3)]),
    ]
    bridges = [bridge(*flows, dpid=dpid) for dpid in (1, 2, 3)]
    wiring = {(1, 2): 2, (1, 3): 3, (2, 2): 1, (2, 3): 3, (3, 2): 2, (3, 3): 1}

    with pytest.raises(Loop, match="circle"):
        SimulatedFabric(bridges, wiring).send(1, A)


def test_a_port_that_leads_nowhere_is_named():
    journey = walk(flow(Table.CLASSIFY, actions=[Output(9)]))

    assert journey.lost == ["host 0000000000000001: port 9 leads nowhere"]


@pytest.mark.parametrize("tunnels", ["peer", "flow"])
def test_desired_flows_are_walked_without_any_switch(tunnels):
    fabric = FakeFabric(3, tunnels).connect_all()
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.register(a)
    fabric.register(b)
    simulated = SimulatedFabric.desired(fabric.engine)

    assert wired_by_facts(fabric.engine) == fabric.wiring()
    journey = simulated.send(a.host, Packet(a.mac, b.mac))
    assert journey.reached == [b.host]
    assert "where a registered VM is" in str(journey)
    assert simulated.send(a.host, Packet(a.mac, ALL)).reached == [2, 3]
