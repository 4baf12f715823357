"""Flow tables: what a switch that is behind needs, and in which order it gets it."""

from __future__ import annotations

import pytest

from controller.bridges import Bridge
from controller.flow import Field, Flow, Output, match
from controller.pipeline import Kind, Table
from controller.replica import Replica, State
from controller.tables import FlowTable, Unit, difference
from controller.terms import UnitFlows
from controller.wire import encode
from controller.wire.encode import cookie_of, encode_flow, identity_of
from controller.wire.readback import read_flow


def flow(mac, port=5, priority=10):
    terms = match((Field.TUN_ID, 0), (Field.ETH_DST, mac))
    return Flow(Kind.UNICAST_REGISTERED, Table.UNICAST, priority, terms, (Output(port),))


def unit(*flows, owner=None, local=()):
    return Unit.of(UnitFlows(owner, tuple(flows), tuple(local)))


def step(table, cursor, dpid=1):
    return difference(table.since(cursor).values(), dpid)


# -- renewal ---------------------------------------------------------------------------------------


def test_what_is_renewed_is_sent_again():
    table = FlowTable()
    table.put("a", unit(flow(1)))
    cursor = table.rev
    assert table.put("a", unit(flow(1)), renew=True)

    assert step(table, cursor) == ([encode_flow(flow(1))], [])


def test_what_is_put_again_is_not():
    table = FlowTable()
    table.put("a", unit(flow(1)))

    assert not table.put("a", unit(flow(1)))


@pytest.mark.parametrize("renewed", [0, 1, 2])
def test_a_renewal_is_not_lost_among_other_changes(renewed):
    """There and back again: the flows are the same, but their timeouts begin anew."""
    table = FlowTable()
    table.put("a", unit(flow(1)))
    cursor = table.rev
    for turn, ports in enumerate((6, 5, 5)):
        table.put("a", unit(flow(1, ports)), renew=turn == renewed)

    assert step(table, cursor) == ([encode_flow(flow(1))], [])


def test_a_renewal_sends_all_of_a_changed_unit():
    table = FlowTable()
    table.put("a", unit(flow(1), flow(2)))
    cursor = table.rev
    table.put("a", unit(flow(1), flow(2, 6)), renew=True)

    assert step(table, cursor)[0] == [encode_flow(flow(1)), encode_flow(flow(2, 6))]


# -- differences -----------------------------------------------------------------------------------


def test_a_flow_that_is_replaced_in_place_is_not_deleted():
    table = FlowTable()
    table.put("a", unit(flow(1)))
    cursor = table.rev
    table.put("a", unit(flow(1, 6)))

    assert step(table, cursor) == ([encode_flow(flow(1, 6))], [])


def test_the_old_owner_and_the_new_one_change_sides():
    table = FlowTable()
    table.put("a", unit(flow(1), owner=1, local=[flow(1, 9)]))
    cursor = table.rev
    table.put("a", unit(flow(1, 6), owner=2, local=[flow(1, 9)]))

    assert [step(table, cursor, dpid)[0] for dpid in (1, 2, 3)] == [
        [encode_flow(flow(1, 6))],
        [encode_flow(flow(1, 9))],
        [encode_flow(flow(1, 6))],
    ]


def test_a_cursor_the_log_no_longer_reaches_is_said():
    table = FlowTable()
    for number in range(3000):
        table.put("a", unit(flow(1, number)))

    assert table.since(0) is None
    assert table.held_at(0, 1) is None


def test_what_a_switch_holds_at_a_cursor_is_what_it_was_sent():
    table = FlowTable()
    table.put("a", unit(flow(1)))
    table.put("b", unit(flow(2)))
    cursor = table.rev
    table.put("a", None)
    table.put("b", unit(flow(2, 6)))
    table.put("c", unit(flow(3)))

    assert sorted(table.held_at(cursor, 1)) == sorted([encode_flow(flow(1)), encode_flow(flow(2))])


# -- a replica's order -----------------------------------------------------------------------------


@pytest.fixture
def replica():
    """A live switch that follows network 0 up to now."""
    replica = Replica(1, "", Bridge(1), 0.0)
    table = FlowTable()
    replica.follow(0, table)
    replica.state = State.LIVE
    replica.pull()
    return replica, table


def mods(stream):
    """(command, flow) of each flow-mod, in order."""
    found = []
    for message in stream:
        if message[1] == encode.FLOW_MOD:
            add = message[25] == encode.ADD
            found.append(("add" if add else "delete", cookie_of(message)))
    return found


def test_adds_come_before_deletes(replica):
    replica, table = replica
    table.put("old", unit(flow(1)))
    replica.pull()
    table.put("old", None)
    table.put("new", unit(flow(2)))

    assert [what for what, _cookie in mods(replica.pull())] == ["add", "delete"]


def test_what_was_left_and_joined_again_is_not_deleted(replica):
    replica, table = replica
    table.put("a", unit(flow(1)))
    table.put("b", unit(flow(2)))
    replica.pull()
    replica.unfollow(0)
    table.put("b", None)
    replica.follow(0, table)

    kept, gone = cookie_of(encode_flow(flow(1))), cookie_of(encode_flow(flow(2)))
    assert mods(replica.pull()) == [("add", kept), ("delete", gone)]


def test_what_was_left_is_deleted(replica):
    replica, table = replica
    table.put("a", unit(flow(1)))
    replica.pull()
    replica.unfollow(0)

    assert mods(replica.pull()) == [("delete", cookie_of(encode_flow(flow(1))))]


def test_an_audit_adds_the_last_tables_first(fabric):
    """So that a frame that takes the first of the new flows finds all the others."""
    fabric.register(fabric.vm(0))
    switch = fabric.switches[2]
    switch.restart()
    fabric.connect(2)
    sent = []
    receive = switch.receive
    switch.receive = lambda message, now_s: sent.append(message) or receive(message, now_s)
    fabric.settle()

    tables = [
        read_flow(message[24:]).table
        for message in sent
        if message[1] == encode.EXPERIMENTER
        and len(message) > 72
        and message[25] == encode.FLOW_MOD
    ]
    assert len(set(tables)) > 5
    assert tables == sorted(tables, reverse=True)


def test_identities_are_those_of_open_vswitch():
    assert identity_of(encode_flow(flow(1))) == identity_of(encode_flow(flow(1, 6)))
    assert identity_of(encode_flow(flow(1))) != identity_of(encode_flow(flow(1, priority=9)))
