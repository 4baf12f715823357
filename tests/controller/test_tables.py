"""Flow tables: what a switch that is behind needs, and in which order it gets it."""

from __future__ import annotations

import pytest

from controller.bridges import Bridge
from controller.flow import Field, Flow, Output, match
from controller.pipeline import Kind, Table
from controller.replica import PULL_BYTES, WINDOW, Replica, State
from controller.tables import FlowTable, Unit
from controller.terms import UnitFlows
from controller.wire import encode
from controller.wire.encode import cookie_of, encode_flow, identity_of, split
from controller.wire.readback import read_flow


def flow(mac, port=5, priority=10):
    terms = match((Field.TUN_ID, 0), (Field.ETH_DST, mac))
    return Flow(Kind.UNICAST_REGISTERED, Table.UNICAST, priority, terms, (Output(port),))


def unit(*flows, owner=None, local=()):
    return Unit.of(UnitFlows(owner, tuple(flows), tuple(local)))


def step(table, cursor, dpid=1):
    """What a switch at a cursor is sent: adds, deletes."""
    adds, deletes, count = table.segment(cursor).for_host(dpid)
    plus, minus = split(b"".join(adds)), split(b"".join(deletes))
    assert count == len(plus) + len(minus)
    return plus, minus


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

    assert table.segment(0) is None
    assert table.held_at(0, 1) is None


def test_what_a_switch_may_hold_at_a_cursor_is_what_it_was_sent_and_what_came_since():
    """It may have been sent a part of what came since; deletes of what is not there do no harm."""
    table = FlowTable()
    table.put("a", unit(flow(1)))
    table.put("b", unit(flow(2)))
    cursor = table.rev
    table.put("a", None)
    table.put("b", unit(flow(2, 6)))
    table.put("c", unit(flow(3)))

    may = [flow(1), flow(2), flow(2, 6), flow(3)]
    assert sorted(table.held_at(cursor, 1)) == sorted(map(encode_flow, may))


# -- a replica's order -----------------------------------------------------------------------------


@pytest.fixture
def replica():
    """A live switch that follows network 0 up to now."""
    replica = Replica(1, "", Bridge(1), 0.0)
    table = FlowTable()
    replica.follow(0, table)
    replica.state = State.LIVE
    sent(replica)
    return replica, table


def sent(replica):
    """(command, cookie) of each flow-mod that is due, in order; the switch confirms them all."""
    found = []
    while stream := replica.pull():
        found += taken(replica, stream)
    return found


def taken(replica, stream):
    found = []
    for message in split(b"".join(stream)):
        if message[1] == encode.FLOW_MOD:
            found.append(("add" if message[25] == encode.ADD else "delete", cookie_of(message)))
        elif message[1] == encode.BARRIER_REQUEST:
            replica.barrier_answered(int.from_bytes(message[4:8], "big"))
    return found


def test_adds_come_before_deletes(replica):
    replica, table = replica
    table.put("old", unit(flow(1)))
    replica.moved_on(0)
    sent(replica)
    table.put("old", None)
    table.put("new", unit(flow(2)))
    replica.moved_on(0)

    assert [what for what, _cookie in sent(replica)] == ["add", "delete"]


def test_what_was_left_and_joined_again_is_not_deleted(replica):
    replica, table = replica
    table.put("a", unit(flow(1)))
    table.put("b", unit(flow(2)))
    replica.moved_on(0)
    sent(replica)
    replica.unfollow(0)
    table.put("b", None)
    replica.follow(0, table)

    kept, gone = cookie_of(encode_flow(flow(1))), cookie_of(encode_flow(flow(2)))
    assert sent(replica) == [("add", kept), ("delete", gone)]


def test_what_was_left_is_deleted(replica):
    replica, table = replica
    table.put("a", unit(flow(1)))
    replica.moved_on(0)
    sent(replica)
    replica.unfollow(0)

    assert sent(replica) == [("delete", cookie_of(encode_flow(flow(1))))]


def test_a_switch_that_does_not_keep_up_is_waited_for(replica):
    """It is sent the difference then, not every change in between."""
    replica, table = replica
    barriers = 0
    for port in range(1, 100):
        table.put("a", unit(flow(1, port)))
        replica.moved_on(0)
        barriers += sum(
            message[1] == encode.BARRIER_REQUEST for message in split(b"".join(replica.pull()))
        )
    assert barriers == WINDOW

    for xid in list(replica._barriers):
        replica.barrier_answered(xid)
    assert sent(replica) == [("add", cookie_of(encode_flow(flow(1, 99))))]


def test_a_large_table_is_sent_in_parts():
    replica, table = Replica(1, "", Bridge(1), 0.0), FlowTable()
    for mac in range(10_000):
        table.put(mac, unit(flow(mac), owner=mac % 7, local=[flow(mac, 9)]))
    replica.follow(0, table)
    replica.state = State.LIVE
    first = replica.pull()
    assert 0 < len(b"".join(first)) < 2 * PULL_BYTES
    for mac in range(0, 10_000, 3):  # while it is under way
        table.put(mac, unit(flow(mac, 8), owner=mac % 7, local=[flow(mac, 9)]))
    replica.moved_on(0)
    held = set()
    for what, cookie in [*taken(replica, first), *sent(replica)]:
        assert what == "add"
        held.add(cookie)

    wanted = {cookie_of(add) for add in table.flows_for(1)}
    assert wanted == table.wanted(1) == replica.wanted()
    assert wanted <= held
    assert table.count_for(1) == len(wanted) == 10_000
    assert replica.confirmed([(0, table.rev)])


def test_an_audit_adds_the_last_tables_first(fabric):
    """So that a frame that takes the first of the new flows finds all the others."""
    fabric.register(fabric.vm(0))
    switch = fabric.switches[2]
    switch.delete(lambda entry: entry.cookie % 2 == 0)
    sent = []
    receive = switch.receive
    switch.receive = lambda message, now_s: sent.append(message) or receive(message, now_s)
    fabric.advance(25.0)

    tables = [
        read_flow(message[24:]).table
        for message in sent
        if message[1] == encode.EXPERIMENTER
        and len(message) > 72
        and message[25] == encode.FLOW_MOD
    ]
    assert len(set(tables)) > 5
    assert tables == sorted(tables, reverse=True)


def test_an_empty_bridge_is_filled_without_a_bundle(fabric):
    """There is nothing to be replaced, and plain flow-mods can be sent in parts."""
    fabric.register(fabric.vm(0))
    switch = fabric.switches[2]
    switch.restart()
    commits = switch.commits
    fabric.connect(2)
    fabric.settle()

    assert switch.commits == commits
    fabric.assert_in_sync()


def test_identities_are_those_of_open_vswitch():
    assert identity_of(encode_flow(flow(1))) == identity_of(encode_flow(flow(1, 6)))
    assert identity_of(encode_flow(flow(1))) != identity_of(encode_flow(flow(1, priority=9)))
