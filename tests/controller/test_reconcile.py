"""Restarts, takeovers and tampering: make before break, and nothing sent that is there already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.events import Lost
from controller.flow import Field, Flow, Group, Output, SetField, match
from controller.journey import Packet
from controller.moves import SETTLE_S
from controller.pipeline import COOKIE_OWNER, Kind, Table, cookie_kind
from controller.replica import AUDIT_EVERY_S, State
from controller.wire.encode import encode_flow
from controller.wire.readback import read_flow
from tests.fake import FakeFabric
from tests.fake.fabric import PATCH
from tests.fake.stations import BROADCAST

AUDIT_S = 30


def foreign(table, priority, terms=(), actions=(), goto=None, cookie=0):
    """Somebody else's flow: ours as bytes, but for the cookie."""
    add = encode_flow(Flow(0, table, priority, match(*terms), tuple(actions), goto))
    return add[:8] + cookie.to_bytes(8, "big") + add[16:]


def run_seed_flows(fabric):
    """The hand-made flows of the seed documents, as far as they forward: split horizon, flood."""
    unicast = (Field.ETH_DST, 0, 1 << 40)
    multicast = (Field.ETH_DST, 1 << 40, 1 << 40)
    for dpid, switch in fabric.switches.items():
        tunnels = [port for port in switch.ports if port != PATCH]
        flows = [
            foreign(0, 1, [(Field.IN_PORT, PATCH)], goto=1),
            *(foreign(0, 1, [(Field.IN_PORT, port)], goto=2) for port in tunnels),
            foreign(0, 0),
            foreign(1, 0, [unicast], goto=20),
            foreign(1, 0, [multicast], goto=21),
            foreign(2, 1, [(Field.TUN_ID, 0)], [Output(PATCH)]),
            foreign(20, 0, goto=21),
            foreign(21, 1, [], [Output(port) for port in tunnels]),
        ]
        for flow in flows:
            switch.install(flow, fabric.now_s)
        assert len(switch.flows) == len(flows), dpid


def packet(a, b):
    return Packet(a.mac, b.mac, a.vlan)


def mods(fabric):
    return {dpid: switch.flow_mods for dpid, switch in fabric.switches.items()}


def reconnect_all(fabric):
    for dpid in fabric.switches:
        fabric.connect(dpid)
    fabric.settle()
    fabric.advance(4)


@pytest.fixture
def busy(fabric):
    """A fabric with a registered VM on each host and a learned one on host 1."""
    vms = [fabric.vm(index) for index in range(3)]
    for vm in vms:
        fabric.register(vm)
    extra = fabric.vm(0)
    fabric.gratuitous(extra)
    fabric.assert_in_sync()
    return fabric, vms, extra


# -- the controller goes and comes back ------------------------------------------------------


def test_restart_sends_no_flow_mods_when_all_is_in_place(fabric):
    for index in range(3):
        fabric.register(fabric.vm(index))
    fabric.advance(AUDIT_S)
    fabric.restart_controller()
    before = mods(fabric)

    reconnect_all(fabric)

    assert mods(fabric) == before
    assert all(replica.state is State.LIVE for replica in fabric.engine.replicas.values())
    fabric.assert_in_sync()


def test_restart_keeps_registered_vms_and_no_flow_is_ever_missing(busy):
    fabric, vms, _extra = busy
    fabric.restart_controller()
    for dpid in fabric.switches:
        fabric.connect(dpid)
    while fabric.step():
        for a in vms:
            for b in vms:
                if a is not b:
                    assert fabric.forwarding().send(a.host, packet(a, b)).reached == [b.host]
    fabric.assert_in_sync()
    assert all(fabric.ping(a, b) for a in vms for b in vms if a is not b)


def test_restart_remembers_what_was_learned(busy):
    fabric, vms, extra = busy
    fabric.restart_controller()
    reconnect_all(fabric)

    assert fabric.learned(extra).host == extra.host
    assert [ip for ip, _seen in fabric.learned(extra).ips] == [extra.ip]
    assert fabric.unicast(vms[1], extra).reached == [extra.host]
    fabric.assert_in_sync()


def test_vm_deleted_while_a_host_was_away_is_deleted_there_too(busy):
    fabric, vms, _extra = busy
    fabric.disconnect(3)
    fabric.unregister(vms[1])
    fabric.register(replace(vms[0], host=2))
    assert vms[1].mac.to_bytes(6, "big") in b"".join(fabric.switches[3].cookies.values())

    fabric.connect(3)
    fabric.settle()

    fabric.assert_in_sync()
    assert fabric.unicast(vms[2], vms[0]).reached == [2]


def test_a_restarted_controller_knows_every_vtep_at_once(busy):
    """It does not have to wait for hosts that are slow to come back."""
    fabric, vms, _extra = busy
    fabric.restart_controller()
    fabric.connect(1)
    fabric.settle()

    assert fabric.unicast(vms[0], vms[1]).reached == [2]
    assert fabric.unicast(vms[0], vms[2]).reached == [3]


def test_a_learned_vm_that_moved_while_its_host_was_away_is_heard_when_it_moves_back(fabric):
    a, b = fabric.vm(0), fabric.vm(2)
    fabric.gratuitous(a)
    fabric.disconnect(1)
    fabric.gratuitous(replace(a, host=2))
    fabric.connect(1)
    fabric.settle()
    assert fabric.unicast(b, a).reached == [2]
    fabric.advance(SETTLE_S)

    assert fabric.unicast(a, b).punts
    assert fabric.unicast(b, a).reached == [1]


def test_a_policy_changed_while_a_host_was_away_holds_there_too(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.gratuitous(a)
    fabric.advance(200, step_s=1)
    fabric.gratuitous(a)
    fabric.advance(150, step_s=1)
    fabric.disconnect(2)
    fabric.network(0, arp_responder=False)
    fabric.connect(2)
    fabric.settle()

    assert not any(delivery.answered for delivery in fabric.who_has(b, a.ip).deliveries)
    fabric.assert_in_sync()


# -- the switch goes and comes back ----------------------------------------------------------


def test_flows_come_back_after_a_switch_restart(busy):
    fabric, vms, _extra = busy
    fabric.restart_switch(2)
    assert fabric.unicast(vms[0], vms[1]).reached == []

    fabric.connect(2)
    fabric.settle()

    fabric.assert_in_sync()
    assert fabric.ping(vms[0], vms[1])


def test_a_change_during_the_audit_is_not_lost(busy):
    fabric, vms, _extra = busy
    fabric.connect(2)
    for _ in range(7):
        fabric.pull(2)
        fabric.deliver_down(2)
    moved = replace(vms[0], host=3)
    fabric.register(moved)
    fabric.settle()

    fabric.assert_in_sync()
    assert fabric.unicast(vms[1], moved).reached == [3]


def test_a_vm_deleted_during_an_audit_is_gone_when_the_audit_is_over(busy):
    fabric, vms, _extra = busy
    fabric.advance(AUDIT_S)
    fabric.engine.request_diff(2, lambda findings: None, fabric.now_s)
    fabric.pull(2)
    for _ in range(3):
        fabric.deliver_down(2)
    fabric.unregister(vms[2])

    fabric.assert_in_sync()
    assert not any("drifted" in line for line in fabric.log)


def test_messages_of_an_older_connection_are_dropped(busy):
    fabric, _vms, _extra = busy
    old = fabric.replica(2).epoch
    fabric.connect(2)
    fabric.settle()

    fabric.engine.handle(Lost(2, old), fabric.now_s)

    assert fabric.replica(2).state is State.LIVE


def test_a_disconnect_in_the_middle_of_the_bundle_is_mended(busy):
    fabric, _vms, _extra = busy
    fabric.restart_switch(1)
    fabric.connect(1)
    for _ in range(25):
        fabric.step()
    fabric.disconnect(1)
    fabric.settle()
    fabric.connect(1)
    fabric.settle()

    fabric.assert_in_sync()


# -- takeover --------------------------------------------------------------------------------


def test_takeover_replaces_foreign_flows_and_loses_no_packet():
    fabric = FakeFabric(3)
    run_seed_flows(fabric)
    a, b, c = (fabric.vm(index) for index in range(3))
    for dpid in fabric.switches:
        fabric.connect(dpid)
    taken = False
    for _ in range(100):
        for sender in (a, b, c):
            others = [vm.host for vm in (a, b, c) if vm is not sender]
            for receiver in (a, b, c):
                if receiver is not sender:
                    reached = fabric.forwarding().send(sender.host, packet(sender, receiver))
                    assert receiver.host in reached.reached, f"{fabric.now_s}\n{reached}"
            flooded = fabric.forwarding().send(sender.host, Packet(sender.mac, BROADCAST))
            assert flooded.reached == others
        if fabric.step():
            continue
        if taken:
            break
        fabric.now_s += 0.1
        fabric.tick()
        taken = all(replica.state is State.LIVE for replica in fabric.engine.replicas.values())

    fabric.settle()
    fabric.assert_in_sync()
    for switch in fabric.switches.values():
        assert {cookie >> 56 for cookie in switch.cookies} == {COOKIE_OWNER}


def test_takeover_of_all_foreign_flows_is_one_bundle(tunnels):
    fabric = FakeFabric(3, tunnels)
    run_seed_flows(fabric)
    fabric.connect_all()

    assert [switch.commits for switch in fabric.switches.values()] == [1, 1, 1]
    fabric.assert_in_sync()


def test_takeover_goes_on_although_a_port_leads_nowhere():
    fabric = FakeFabric(3)
    fabric.remotes[1]["vxlan1"] = 0x0A000001
    run_seed_flows(fabric)
    fabric.connect_all()

    assert fabric.replica(1).state is State.LIVE
    fabric.assert_in_sync()


def run_one_table(fabric):
    """Somebody else's flows that send everything everywhere, in table 0 alone."""
    for dpid, switch in fabric.switches.items():
        flood = []
        for port, name in switch.ports.items():
            others = [peer.vtep for peer in fabric.switches.values() if peer.dpid != dpid]
            if fabric.remotes[dpid].get(name) == "flow":
                for vtep in others:
                    flood += [SetField(Field.TUN_DST, vtep & 0xFFFFFFFF), Output(port)]
            elif port != PATCH:
                flood.append(Output(port))
            if port != PATCH:
                add = foreign(0, 1, [(Field.IN_PORT, port)], [Output(PATCH)])
                switch.install(add, fabric.now_s)
        switch.install(foreign(0, 1, [(Field.IN_PORT, PATCH)], flood), fabric.now_s)


def assert_all_hear(fabric):
    for dpid in fabric.switches:
        others = [peer for peer in fabric.switches if peer != dpid]
        journey = fabric.forwarding().send(dpid, Packet(0x525400000000 | dpid, BROADCAST))
        assert journey.reached == others, f"{fabric.now_s}\n{journey}"


def test_takeover_flow_by_flow_loses_no_packet_either(tunnels):
    """A switch without bundles applies each flow as it comes."""
    fabric = FakeFabric(3, tunnels)
    run_one_table(fabric)
    for dpid, switch in fabric.switches.items():
        switch.bundles_work = False
        fabric.connect(dpid)
    for _ in range(60):
        assert_all_hear(fabric)
        while fabric.step():
            assert_all_hear(fabric)
        fabric.now_s += 0.1
        fabric.tick()

    fabric.settle()
    fabric.assert_in_sync()


def test_takeover_of_hosts_that_arrive_one_after_the_other_loses_no_packet(tunnels):
    """Whoever is taken over first would not know yet to whom to flood."""
    fabric = FakeFabric(4, tunnels)
    run_one_table(fabric)
    for dpid in fabric.switches:
        fabric.connect(dpid)
        for _ in range(10):
            fabric.now_s += 0.1
            fabric.tick()
            while fabric.step():
                pass
            assert_all_hear(fabric)
    fabric.advance(10)

    assert_all_hear(fabric)
    fabric.assert_in_sync()


# -- tampering -------------------------------------------------------------------------------


@pytest.mark.parametrize("table", list(Table))
def test_deleted_flows_are_back_within_30_s(busy, table):
    fabric, vms, _extra = busy
    gone = fabric.switches[2].delete(lambda entry: entry.table == table)
    assert gone

    fabric.advance(AUDIT_S)

    fabric.assert_in_sync()
    assert all(fabric.ping(a, b) for a in vms for b in vms if a is not b)
    assert any("drifted" in line for line in fabric.log)


def test_a_stranger_s_flow_is_gone_within_30_s(busy):
    fabric, vms, _extra = busy
    fabric.switches[1].install(
        foreign(20, 500, [(Field.TUN_ID, 0), (Field.ETH_DST, vms[1].mac)]), fabric.now_s
    )
    assert fabric.unicast(vms[0], vms[1]).reached == []

    fabric.advance(AUDIT_S)

    assert fabric.unicast(vms[0], vms[1]).reached == [2]
    fabric.assert_in_sync()


def test_a_flow_changed_in_place_is_restored(busy):
    """Same table, priority and match as ours, other actions: cookies tell."""
    fabric, vms, _extra = busy
    fabric.switches[1].install(
        foreign(20, 10, [(Field.TUN_ID, 0), (Field.ETH_DST, vms[1].mac)]), fabric.now_s
    )
    fabric.advance(AUDIT_S)

    assert fabric.unicast(vms[0], vms[1]).reached == [2]
    fabric.assert_in_sync()


@pytest.mark.parametrize("what", ["emptied", "deleted", "stranger"])
def test_a_group_that_was_tampered_with_is_restored(busy, what):
    fabric, vms, _extra = busy
    switch = fabric.switches[1]
    (group_id,) = switch.groups
    if what == "emptied":
        switch.groups[group_id] = b""
    elif what == "deleted":
        del switch.groups[group_id]
        switch.delete(lambda entry: Group(group_id) in read_flow(entry.add).actions)
    else:
        switch.groups[77] = b""
    switch.changed()

    fabric.advance(AUDIT_S)

    fabric.assert_in_sync()
    assert fabric.broadcast(vms[0]).reached == [2, 3]


def test_a_meter_that_was_deleted_is_restored(busy):
    fabric, _vms, _extra = busy
    fabric.switches[1].meters.clear()
    fabric.advance(AUDIT_S)

    fabric.assert_in_sync()


def test_audits_find_nothing_when_nothing_is_wrong(busy):
    fabric, _vms, _extra = busy
    fabric.advance(AUDIT_S)
    before = mods(fabric)

    fabric.advance(10 * AUDIT_EVERY_S)

    assert mods(fabric) == before
    assert not any("drifted" in line for line in fabric.log)


def test_learned_flows_that_time_out_are_no_drift(busy):
    fabric, _vms, _extra = busy
    fabric.advance(400, step_s=1)

    assert not any("drifted" in line for line in fabric.log)
    assert all(
        cookie_kind(cookie) is not Kind.UNICAST_LEARNED
        for switch in fabric.switches.values()
        for cookie in switch.cookies
    )
    fabric.assert_in_sync()


def test_an_audit_that_begins_as_an_address_is_forgotten_finds_no_drift(fabric):
    stranger = fabric.vm(0)
    fabric.gratuitous(stranger)
    learned_s = fabric.now_s
    fabric.advance(250, step_s=1)
    fabric.broadcast(stranger)  # it is there still, and its address was not heard of again
    fabric.advance(49, step_s=1)
    fabric.replica(1).next_audit_s = learned_s + 300
    assert fabric.learned(stranger).ips

    fabric.advance(1, step_s=1)

    assert fabric.learned(stranger).ips == ()
    assert fabric.drifted == []
    fabric.assert_in_sync()
