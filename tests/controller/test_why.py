"""How evidence is weighed: what is the cause, what only a doubt, and what is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller import remedies
from controller.faults import Fault
from controller.inquiries import Answer
from controller.service import CheckResult, TunnelStatus, WhyReport
from controller.stations import find_destination, find_source
from controller.trace import Asked, Trace, Tracer
from controller.why import Presence, answer, concerns, of_check
from tests.fake import FakeFabric
from topology.types import Dpid, Mac, Vlan, VtepIp


@pytest.fixture
def pair(fabric: FakeFabric) -> FakeFabric:
    """web-1 on host 1 and db-1 on host 2, registered."""
    fabric.register(fabric.vm(0), name="web-1")
    fabric.register(fabric.vm(1), name="db-1")
    fabric.settle()
    return fabric


def traced(fabric: FakeFabric, dst: str = "db-1") -> Trace:
    topology = fabric.engine.topology
    src = find_source(topology, "web-1", None)
    asked = Asked(src, find_destination(topology, dst, src.vni))
    return Tracer(fabric.engine, asked, now_s=fabric.now_s).trace()


def heard(trace: Trace, vlan: Vlan | None = None) -> list[Presence]:
    """Both VMs answer where they are."""
    found = []
    for station in (trace.asked.dst, trace.asked.src):
        assert station is not None
        said = Answer(station.place, station.mac, vlan, 0.001)  # type: ignore[arg-type]
        found.append(Presence(station, True, (said,), station.place))  # type: ignore[arg-type]
    return found


def found(check: str, summary: str, subject: str = "VM db-1") -> CheckResult:
    return CheckResult(check, "error", subject, summary, "some cause", "ovs-vsctl show")


def weigh(fabric: FakeFabric, trace: Trace, presences: list[Presence], **more) -> WhyReport:
    tunnels = more.get("tunnels", [])
    return answer(
        fabric.engine.topology, trace.asked, trace, tunnels, presences, {}, more.get("noticed", [])
    )


def test_what_was_seen_on_a_wrong_vlan_is_over_when_the_vm_answers_on_its_own(pair):
    trace = traced(pair)
    mac = trace.asked.dst.mac
    stale = found("vlan", f"VM db-1 ({mac}) sends on VLAN 99, the last time 20 s ago")

    told = weigh(pair, trace, heard(trace), noticed=[of_check(stale, mac)])

    assert told.reachable
    assert told.cause is None
    assert [one.status for one in told.evidence if one.what == "check vlan"] == ["warning"]


def test_a_mac_that_is_used_elsewhere_too_does_not_move_a_vm_that_answers_at_home(pair):
    trace = traced(pair)
    mac = trace.asked.dst.mac
    twin = found("vm-place", f"VM db-1 ({mac}) is registered on hv-2, but sends from hv-3")

    told = weigh(pair, trace, heard(trace), noticed=[of_check(twin, mac)])

    assert told.reachable
    assert told.cause == "duplicate-mac"
    assert "vm move" not in (told.command or "")


def test_a_silent_vm_that_was_seen_elsewhere_is_elsewhere(pair):
    trace = traced(pair)
    dst, src = heard(trace)
    twin = found("vm-place", f"VM db-1 ({dst.station.mac}) is registered on hv-2, sends from hv-3")

    told = weigh(pair, trace, [Presence(dst.station, True), src], noticed=[of_check(twin)])

    assert not told.reachable
    assert told.cause == "vm-elsewhere"


def test_trouble_of_a_host_is_no_cause_where_frames_pass(pair):
    trace = traced(pair)
    keyless = found("key-flow", "tunnel port vxlan1 of hv-1 carries network 0 only", "hv-1")

    told = weigh(pair, trace, heard(trace), noticed=[of_check(keyless)])

    assert told.reachable
    assert told.cause is None
    assert told.sentence.startswith("web-1 reaches db-1: ")


def test_a_tunnel_without_a_port_wants_the_port(pair):
    trace = traced(pair)
    hosts = pair.engine.topology.hosts
    first, second, *_ = hosts
    down = TunnelStatus(first, "hv-1", "192.168.33.13", second, "hv-2", None, None, "down")
    lost = [replace(stage, ok=False) for stage in trace.stages]

    told = weigh(pair, replace(trace, stages=lost), heard(trace), tunnels=[down])

    assert told.cause == "no-tunnel-to-vtep"
    assert "add-port br-tun vxlan-c0a8210d" in (told.command or "")
    assert (told.command or "").endswith("# on hv-1")


def test_small_packets_pass_a_narrow_underlay(pair):
    trace = traced(pair)
    narrow = TunnelStatus(
        1,
        "hv-1",
        "192.168.33.13",
        2,
        "hv-2",
        5,
        "vxlan0",
        "up",
        mtu_needed_bytes=1450,
        mtu_ok=False,
    )
    blame = found("mtu", "IP packets of 1450 bytes do not come through to and from hv-2", "hv-2")

    told = weigh(pair, trace, heard(trace), tunnels=[narrow], noticed=[of_check(blame)])

    assert not told.reachable
    assert told.sentence.startswith("web-1 reaches db-1 with small packets only: ")
    assert told.command == "ovs-vsctl show   # on hv-2"


def test_an_address_that_only_answers_is_reached_by_flooding(pair):
    trace = traced(pair, "10.1.1.77")
    stranger = Answer(Dpid(2), Mac(0x525400AA0001), None, 0.001)
    dst = Presence(trace.asked.dst, True, (stranger,), stranger.dpid)

    told = weigh(pair, trace, [dst])

    assert told.reachable
    assert "is not registered" in told.sentence
    strict = replace(trace.stages[0], fault=Fault("unknown-address-dropped", "it is dropped"))
    dropped = weigh(pair, replace(trace, stages=[strict]), [dst])
    assert not dropped.reachable
    assert dropped.command == (
        f"vxlanctl vm add {stranger.mac} --network 0 --host {stranger.dpid} --ip 10.1.1.77"
    )
    assert not weigh(pair, trace, [Presence(trace.asked.dst)]).reachable


def test_a_host_of_silent_vms_is_not_joined(pair):
    trace = traced(pair)
    dst, src = heard(trace)
    mute = Presence(dst.station, True, neighbours=3, patch="patch-tun")

    told = weigh(pair, trace, [mute, src])

    assert told.cause == "bridges-apart"
    assert "options:peer=patch-tun" in (told.command or "")


@pytest.mark.parametrize(
    ("result", "about"),
    [
        (found("vlan", "VM red-2 (52:54:00:00:00:05) on hv-1 sends on VLAN 99"), False),
        (found("duplicate-ip", "10.1.1.22 of VM x (52:54:00:00:00:99) is used by y"), False),
        (found("in-band", "br-tun of hv-1 has hidden flows", "hv-1"), True),
        (found("in-band", "br-tun of hv-10 has hidden flows", "hv-10"), False),
        (found("tunnel-down", "no probe comes through from hv-1 (a) to hv-3 (b)", "hv-1"), False),
        (found("tunnel-down", "no probe comes through from hv-1 (a) to hv-2 (b)", "hv-1"), True),
        (found("tunnel-down", "no probe comes through any tunnel to hv-2 (b)", "hv-2"), True),
    ],
)
def test_what_is_about_others_is_no_evidence(pair, result, about):
    asked = traced(pair).asked

    assert concerns(result, (asked.src, asked.dst), ["hv-1", "hv-2"]) is about


def test_of_a_host_that_is_away_it_is_said_that_it_cannot_be_told(pair):
    trace = traced(pair)
    dst = trace.asked.dst
    pair.disconnect(dst.place)
    trace = traced(pair)
    stale = found("vlan", f"VM db-1 ({dst.mac}) sends on VLAN 99, the last time 20 s ago")
    away = found("host-disconnected", "hv-2 is not connected, for 5 s", "hv-2")

    told = weigh(
        pair, trace, [Presence(dst, asked=False)], noticed=[of_check(stale), of_check(away)]
    )

    assert told.cause == "host-disconnected"
    assert told.sentence.startswith("whether web-1 reaches db-1 cannot be told: hv-2 is not")


@pytest.mark.parametrize(
    ("port", "kind"),
    [("vxlan0", "vxlan"), ("gre3", "gre"), ("geneve1", "geneve"), ("tun0", "vxlan")],
)
def test_a_port_that_is_to_be_added_is_of_the_kind_that_is_there(port, kind):
    name = remedies.port_name(VtepIp.parse("192.168.33.13"), remedies.kind_of([port]))

    assert f" type={kind} " in remedies.add_tunnel_port(name, "192.168.33.13")
    assert name.endswith("c0a8210d")
    assert len(name) <= 15, "the kernel takes no longer names"


def test_a_keyless_port_of_the_host_is_not_why_its_tunnel_is_down(pair):
    trace = traced(pair)
    down = TunnelStatus(1, "hv-1", "192.168.33.13", 2, "hv-2", 5, "vxlan0", "down")
    lost = [replace(stage, ok=False) for stage in trace.stages]
    keyless = found("key-flow", "tunnel port vxlan1 of hv-1 carries network 0 only", "hv-1")

    told = weigh(
        pair,
        replace(trace, stages=lost),
        heard(trace),
        tunnels=[down],
        noticed=[of_check(keyless)],
    )

    assert told.cause == "tunnel-down"
