"""Somebody changes a switch's flows: what its flow monitor says leads to, and what not."""

from __future__ import annotations

from dataclasses import replace
from struct import pack

import pytest

from controller import replica as replicas
from controller import watch
from controller.contest import MANY, PAUSE_MAX_S, QUIET_S
from controller.engine import Settings
from controller.openflow import guard
from controller.pipeline import Kind, cookie_kind
from controller.replica import AUDIT_EVERY_S
from controller.wire import encode
from controller.wire.decode import Updated
from controller.wire.encode import cookie_of
from tests.fake import FakeFabric
from tests.fake.fabric import PATCH
from topology.types import Ip


@pytest.fixture
def busy(fabric: FakeFabric) -> FakeFabric:
    """Three VMs are registered, one on each host."""
    for index in range(3):
        fabric.register(fabric.vm(index))
    return fabric


def flow_of(fabric: FakeFabric, dpid: int, kind: Kind) -> bytes:
    return next(
        entry.add
        for entry in fabric.switches[dpid].flows.values()
        if cookie_kind(entry.cookie) is kind
    )


def altered(add: bytes) -> bytes:
    """The same flow with its cookie, that does nothing."""
    match_end = 48 + int.from_bytes(add[50:52], "big")
    match_end += -match_end % 8
    return add[:2] + match_end.to_bytes(2, "big") + add[4:match_end]


def renamed(add: bytes, cookie: int) -> bytes:
    return add[:8] + cookie.to_bytes(8, "big") + add[16:]


def shifted(add: bytes, priority: int) -> bytes:
    return add[:30] + priority.to_bytes(2, "big") + add[32:]


def counts(fabric: FakeFabric) -> list[tuple[int, int, int, str]]:
    return [
        (len(drift.missing), len(drift.extra), len(drift.changed), drift.seen_by)
        for drift in fabric.drifted
    ]


def test_a_flow_that_was_deleted_is_sent_again_within_a_tick(busy):
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    busy.switches[1].tampered(flow, Updated.DELETED)
    busy.settle()
    busy.advance(0.1)
    assert busy.switches[1].cookies[cookie_of(flow)] == flow
    assert counts(busy) == [(1, 0, 0, "monitor")]
    assert (busy.drifted[0].dpid, busy.drifted[0].missing) == (1, (cookie_of(flow),))
    assert busy.drifted[0].mended
    assert busy.engine.drifts == {"missing": 1, "extra": 0, "changed": 0}
    busy.assert_in_sync()


def test_a_flow_that_was_altered_is_as_it_was(busy):
    """No audit can tell: it compares cookies."""
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    busy.switches[1].install(altered(flow), busy.now_s)
    busy.advance(AUDIT_EVERY_S + 1)
    assert busy.drifted == []
    busy.switches[1].tampered(altered(flow), Updated.MODIFIED)
    busy.settle()
    busy.advance(0.1)
    assert busy.switches[1].cookies[cookie_of(flow)] == flow
    assert counts(busy) == [(0, 0, 1, "monitor")]
    busy.assert_in_sync()


def test_a_foreign_flow_is_deleted_by_an_audit_at_once(busy):
    flow = renamed(shifted(flow_of(busy, 1, Kind.UNICAST_REGISTERED), 77), 0xBAD)
    busy.switches[1].tampered(flow)
    busy.settle()
    busy.advance(0.3)
    assert counts(busy) == [(0, 1, 0, "monitor")]
    busy.assert_in_sync()


def test_a_foreign_flow_in_the_place_of_ours_gives_way(busy):
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    busy.switches[1].tampered(renamed(altered(flow), 0xBAD))
    busy.settle()
    busy.advance(0.3)
    assert counts(busy) == [(1, 1, 0, "monitor")]
    busy.assert_in_sync()


def test_another_flow_with_a_cookie_of_ours_is_deleted(busy):
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    busy.switches[1].tampered(shifted(altered(flow), 99))
    busy.settle()
    busy.advance(0.3)
    assert counts(busy) == [(0, 0, 1, "monitor")]
    assert len([e for e in busy.switches[1].flows.values() if e.cookie == cookie_of(flow)]) == 1
    busy.assert_in_sync()


def test_a_large_bridge_is_rid_of_a_foreign_flow_before_its_audit(busy, monkeypatch):
    monkeypatch.setattr(replicas, "LARGE_FLOWS", 0)
    flow = renamed(shifted(flow_of(busy, 1, Kind.UNICAST_REGISTERED), 77), 0xBAD)
    busy.switches[1].tampered(flow)
    busy.settle()
    busy.tick()
    assert counts(busy) == [(0, 1, 0, "monitor")]
    busy.settle()
    assert 0xBAD not in busy.switches[1].cookies
    busy.advance(1)
    assert len(busy.drifted) == 1


def test_who_undoes_each_mending_is_answered_more_and_more_rarely(busy):
    """Two controllers on one bridge: neither gives in, and neither keeps the switch from its work.

    python -m pytest tests/controller/test_tampering.py -k undoes
    """
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    for _tenth in range(600):
        if cookie_of(flow) in busy.switches[1].cookies:
            busy.switches[1].tampered(flow, Updated.DELETED)
        busy.advance(0.1)

    assert len(busy.drifted) < MANY + 10
    about = [line for line in busy.log if str(busy.replica(1).dpid) in line]
    assert len([line for line in about if "as fast as they are mended" in line]) == 1
    assert len(about) <= MANY + 1
    busy.advance(2 * PAUSE_MAX_S)
    busy.assert_in_sync()
    busy.advance(QUIET_S + 1)
    busy.switches[1].tampered(flow, Updated.DELETED)
    busy.settle()
    busy.advance(0.1)
    assert busy.switches[1].cookies[cookie_of(flow)] == flow, "when it is over, at once again"


def test_what_came_and_went_again_is_no_drift(busy):
    flow = renamed(shifted(flow_of(busy, 1, Kind.UNICAST_REGISTERED), 77), 0xBAD)
    busy.switches[1].tampered(flow)
    busy.switches[1].tampered(flow, Updated.DELETED)
    busy.settle()
    busy.advance(1)
    assert busy.drifted == []


def test_a_flow_that_we_delete_ourselves_meanwhile_stays_away(busy):
    vm = next(iter(busy.engine.topology.vms.values()))
    where = 1 + vm.host % 3
    gone = next(
        entry.add
        for entry in busy.switches[where].flows.values()
        if cookie_kind(entry.cookie) is Kind.UNICAST_REGISTERED
        and vm.mac.to_bytes(6, "big") in entry.add
    )
    busy.switches[where].tampered(gone, Updated.DELETED)
    busy.commit(lambda draft: draft.remove_vm(vm.key))
    busy.settle()
    busy.advance(1)
    assert busy.drifted == []
    busy.assert_in_sync()


def test_what_we_do_ourselves_is_no_drift(busy):
    for index in range(3):
        busy.network(100 + index, vlan=10 + index)
    vms = [busy.vm(number % 3, 100 + number % 3, 10 + number % 3) for number in range(30)]
    for vm in vms:
        busy.register(vm)
    for vm in vms:
        busy.register(replace(vm, host=1 + vm.host % 3))
    for vm in vms[:20]:
        busy.unregister(vm)
    busy.set_port(1, PATCH, None)
    busy.settle()
    busy.set_port(1, PATCH, "patch-tun")
    busy.settle()
    busy.advance(AUDIT_EVERY_S + 2)
    assert busy.drifted == []
    busy.assert_in_sync()


def test_flows_that_time_out_are_no_drift(tunnels):
    fabric = FakeFabric(2, tunnels, Settings(learn_timeout_s=5)).connect_all()
    a, b = fabric.vm(0), fabric.vm(1)
    fabric.who_has(a, b.ip)
    assert fabric.learned(a)
    fabric.advance(30)
    assert not fabric.learned(a)
    assert fabric.drifted == []


def test_a_switch_without_a_flow_monitor_is_audited_as_ever(tunnels):
    fabric = FakeFabric(2, tunnels)
    for switch in fabric.switches.values():
        switch.monitors_work = False
    fabric.connect_all()
    fabric.register(fabric.vm(1))
    assert fabric.replica(1).watch.works is False
    assert fabric.log == []
    flow = flow_of(fabric, 1, Kind.UNICAST_REGISTERED)
    fabric.switches[1].tampered(flow, Updated.DELETED)
    fabric.advance(AUDIT_EVERY_S + 1)
    assert counts(fabric) == [(1, 0, 0, "audit")]
    fabric.assert_in_sync()


def test_what_was_not_told_in_a_pause_is_found_after_it(busy):
    switch = busy.switches[1]
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    switch.pause_monitor(True)
    switch.tampered(flow, Updated.DELETED)
    busy.settle()
    busy.advance(1)
    assert busy.drifted == []
    switch.pause_monitor(False)
    busy.settle()
    busy.advance(0.3)
    assert counts(busy) == [(1, 0, 0, "monitor")]
    busy.assert_in_sync()


def test_more_than_is_remembered_is_left_to_an_audit(busy, monkeypatch):
    monkeypatch.setattr(watch, "MANY_ENTRIES", 10)
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    for priority in range(100, 140):
        busy.switches[1].tampered(renamed(shifted(flow, priority), 0xBAD))
    busy.switches[1].tampered(flow, Updated.DELETED)
    busy.settle()
    assert len(busy.replica(1).watch.evidence().there) <= 10
    busy.advance(0.3)
    assert counts(busy) == [(1, 40, 0, "monitor")]
    busy.assert_in_sync()
    # It is heard again from then on.
    busy.switches[1].tampered(flow, Updated.DELETED)
    busy.settle()
    busy.advance(0.1)
    assert counts(busy)[1:] == [(1, 0, 0, "monitor")]


def test_a_monitor_is_heard_again_after_much_was_sent(busy, monkeypatch):
    monkeypatch.setattr(replicas, "WATCHED_BYTES", 100)
    before = list(busy.switches[1].monitor_ids)
    busy.register(busy.vm(1))
    switch = busy.switches[1]
    assert len(switch.monitor_ids) > len(before)
    assert switch.monitor == switch.monitor_ids[-1]
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    switch.tampered(flow, Updated.DELETED)
    busy.settle()
    busy.advance(0.1)
    assert counts(busy) == [(1, 0, 0, "monitor")]


def test_a_switch_that_comes_back_is_heard_again(busy):
    busy.restart_switch(1)
    busy.connect(1)
    busy.settle()
    busy.advance(4)
    flow = flow_of(busy, 1, Kind.UNICAST_REGISTERED)
    busy.switches[1].tampered(flow, Updated.DELETED)
    busy.settle()
    busy.advance(0.1)
    assert counts(busy) == [(1, 0, 0, "monitor")]


def test_flows_that_went_with_a_group_come_back_with_it(busy):
    switch = busy.switches[1]
    groups = dict(switch.groups)
    flow = flow_of(busy, 1, Kind.NETWORK_FLOOD)
    switch.groups.clear()
    del switch.flows[encode.identity_of(flow)]
    switch.changed()
    switch.tell(flow, Updated.DELETED, 3)
    busy.settle()
    busy.advance(0.3)
    assert switch.groups == groups
    assert [drift.seen_by for drift in busy.drifted] == ["monitor"]
    busy.assert_in_sync()


def test_a_virtual_ips_new_holder_is_told(busy):
    a, b = busy.vm(0), busy.vm(1)
    busy.register(a)
    busy.register(b)
    ip = Ip.parse("10.1.1.100")
    busy.vip(ip, a, b)
    busy.happened.clear()
    busy.gratuitous(replace(b, ip=ip))
    (told,) = [happening for happening in busy.happened if happening.kind == "vip"]
    assert told.data == {
        "vni": 0,
        "ip": str(ip),
        "name": None,
        "holder": str(b.mac),
        "action": "changed",
    }


@pytest.mark.parametrize(
    "update",
    [
        pack("!HH", 0, 0),
        pack("!HH", 8, 9) + bytes(4),
        pack("!HH", 16, 0) + bytes(12),
        pack("!HHHHHHHBxQ", 32, 0, 0, 0, 0, 0, 99, 0, 0) + bytes(8),
        pack("!HH", 64, 1) + bytes(4),
        b"\0",
    ],
    ids=["no length", "no such event", "short", "long match", "cut", "a byte"],
)
def test_an_update_that_cannot_be_ends_the_connection(fabric, update):
    head = pack("!HH4x", encode.MP_EXPERIMENTER, 0) + encode.FLOW_MONITOR_NAME
    fabric.switches[1].unasked.append(encode.message(encode.MULTIPART_REPLY, 0, head + update))
    fabric.settle()
    assert fabric.connected == {2, 3}
    assert "flow monitor" in fabric.log[-1]


def test_what_is_added_while_an_audit_runs_is_found_by_the_next_one_soon(busy):
    """The dump was made before; a large one is still being compared when the monitor speaks."""
    flow = renamed(shifted(flow_of(busy, 1, Kind.UNICAST_REGISTERED), 77), 0xBAD)
    busy.replica(1).next_audit_s = busy.now_s
    busy.tick()
    busy.pull(1)
    while busy.deliver_down(1):
        pass
    busy.switches[1].tampered(flow)
    busy._up[1].extendleft(busy.switches[1].unasked)
    busy.switches[1].unasked.clear()
    busy.settle()
    busy.advance(1.5)
    assert counts(busy) == [(0, 1, 0, "monitor")]
    busy.assert_in_sync()


def test_a_change_of_others_that_is_told_with_one_of_ours_is_heard():
    own = pack("!HHI", 8, Updated.OWN, 1)
    gone = pack("!HHHHHHHBxQ", 32, Updated.DELETED, 2, 10, 0, 0, 4, 20, 7) + pack("!HH4x", 1, 4)
    name = encode.FLOW_MONITOR_NAME

    def told(updates: bytes) -> bytes:
        head = pack("!HH4x", encode.MP_EXPERIMENTER, 0)
        return encode.message(encode.MULTIPART_REPLY, 0, head + name + updates)

    assert guard.says_own_change_only(told(own))
    assert not guard.says_own_change_only(told(own + gone))
    assert not guard.says_own_change_only(told(gone))


def test_a_new_connection_ends_the_examination_of_the_one_before(busy):
    busy._take(busy.engine.examine(1, 0x0A000001))
    assert busy.engine.examiner.busy
    busy.connect(1)
    busy.settle()
    assert not busy.engine.examiner.busy


def test_a_bridge_that_is_not_ours_yet_is_not_sent_a_frame(busy):
    busy.replica(1).state = replicas.State.AUDITING
    busy.engine.examine(1, 0x0A000001)
    sent = b"".join(busy.replica(1).pull())
    assert encode.PACKET_OUT not in {message[1] for message in encode.split(sent)}
