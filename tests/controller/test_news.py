"""What happens is told once, in words; many at once are summed up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.engine import Settings
from controller.events import PacketsIn
from controller.news import LEARNED_TOLD, VMS_TOLD, WriteNews
from controller.pipeline import Kind, cookie_kind
from controller.wire.decode import PacketIn
from tests.fake import FakeFabric
from tests.fake.fabric import PATCH
from topology.model import Network, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Vlan, Vni, VtepIp

VTEP = VtepIp(Ip.parse("192.168.33.20"))
VM = Vm(Mac(0x525400000001), Vni(7), Dpid(0x11), (Ip.parse("10.1.1.1"),), "web-1")
NAMED = {"vni": 7, "mac": "52:54:00:00:00:01", "name": "web-1"}
HOST1, HOST2 = "0000000000000011", "0000000000000012"


def told(*deltas, announced=False):
    news = WriteNews()
    for before, after in deltas:
        news.changed(before, after, announced=announced)
    return [(happening.kind, happening.data) for happening in news.happenings()]


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (None, VM, ("vm", {**NAMED, "host": HOST1, "action": "added"})),
        (VM, None, ("vm", {**NAMED, "host": HOST1, "action": "removed"})),
        (
            VM,
            replace(VM, name="web-2"),
            ("vm", {**NAMED, "name": "web-2", "host": HOST1, "action": "changed"}),
        ),
        (
            None,
            Network(Vni(7), "blue", Vlan(7)),
            ("network", {"vni": 7, "name": "blue", "action": "added"}),
        ),
        (
            Vtep(VTEP, (Vni(7),), "rack"),
            None,
            ("vtep", {"ip": str(VTEP), "name": "rack", "action": "removed"}),
        ),
        (
            None,
            Vip(Vni(7), Ip.parse("10.1.1.9"), (VM.mac,)),
            (
                "vip",
                {"vni": 7, "ip": "10.1.1.9", "name": None, "holder": None, "action": "added"},
            ),
        ),
    ],
)
def test_a_change_of_a_fact_is_told(before, after, what):
    assert told((before, after)) == [what]
    assert told((after, after)) == []


@pytest.mark.parametrize(("announced", "by"), [(False, "api"), (True, "announcement")])
def test_a_move_is_told_as_one(announced, by):
    moved = replace(VM, host=Dpid(0x12))
    places = {"from": HOST1, "to": HOST2, "registered": True, "by": by}
    assert told((VM, moved), announced=announced) == [("moved", {**NAMED, **places})]


def test_a_move_that_changes_more_is_told_as_both():
    moved = replace(VM, host=Foreign.at(VTEP), ips=())
    kinds = [kind for kind, _data in told((VM, moved))]
    assert kinds == ["moved", "vm"]


def test_many_vms_of_a_write_are_summed_up():
    vms = [replace(VM, mac=Mac(0x525400000000 + n)) for n in range(1, VMS_TOLD + 2)]
    assert len(told(*((None, vm) for vm in vms[:VMS_TOLD]))) == VMS_TOLD
    added = {"vni": 7, "added": VMS_TOLD + 1, "changed": 0, "moved": 0, "removed": 0}
    assert told(*((None, vm) for vm in vms)) == [("vms", added)]
    mixed = [(vm, None) for vm in vms[:99]]
    mixed += [(vms[99], replace(vms[99], host=Dpid(0x12))), (vms[100], replace(vms[100], ips=()))]
    mixed += [(None, replace(VM, vni=Vni(8))), (vms[100], vms[100])]
    counts = {"vni": None, "added": 1, "changed": 1, "moved": 1, "removed": 99}
    assert told(*mixed) == [("vms", counts)]


# Learned MACs


def learned_news(fabric):
    return [one for one in fabric.happened if one.kind in ("learned", "moved", "learned_many")]


def test_a_mac_is_learned_moves_and_is_forgotten(tunnels):
    fabric = FakeFabric(2, tunnels, Settings(learn_timeout_s=5)).connect_all()
    a = fabric.vm(0)
    fabric.gratuitous(a)
    fabric.advance(1)
    fabric.gratuitous(a)
    fabric.advance(1)
    fabric.gratuitous(replace(a, host=2))
    fabric.advance(20)
    where = {"vni": 0, "mac": str(a.mac)}
    first, moved, *_again, last = [(one.kind, one.data) for one in learned_news(fabric)]
    assert first == (
        "learned",
        {**where, "ips": [str(a.ip)], "host": f"{1:016x}", "action": "learned"},
    )
    assert moved == (
        "moved",
        {
            **where,
            "name": None,
            "from": f"{1:016x}",
            "to": f"{2:016x}",
            "registered": False,
            "by": "frame",
        },
    )
    assert (last[0], last[1]["action"]) == ("learned", "forgotten")


def test_a_storm_of_new_macs_is_a_few_events(fabric):
    cookie = next(c for c in fabric.switches[1].cookies if cookie_kind(c) is Kind.LOCAL_UNKNOWN)
    fabric.advance(2)
    fabric.happened.clear()
    frames = [
        b"\xff" * 6 + (0x020000000000 | n).to_bytes(6, "big") + b"\x08\x00" + bytes(50)
        for n in range(500)
    ]
    packets = [PacketIn(cookie, PATCH, 0, 0, 0, frame) for frame in frames]
    epoch = fabric.replica(1).epoch
    fabric._take(fabric.engine.handle(PacketsIn(1, epoch, packets), fabric.now_s))
    assert [one.kind for one in learned_news(fabric)] == ["learned"] * LEARNED_TOLD
    fabric.settle()
    fabric.advance(1.1)
    many = learned_news(fabric)[LEARNED_TOLD:]
    assert [(one.kind, one.data) for one in many] == [("learned_many", {"count": 450})]
    assert len(fabric.engine.topology.learned) == 500
