"""What becomes of a packet, told from the facts: every stage, its reasons, and the first fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.journey import IpHeader, Packet
from controller.service import TraceReport
from controller.stations import find_destination, find_source
from controller.trace import Asked, Tracer
from tests.fake import FakeFabric
from topology.errors import InvalidValue, NotFound
from topology.types import Ip, Subnet, Vni, VtepIp


def ask(
    fabric: FakeFabric, src: str, dst: str, kind: str | None = None, frame: Packet | None = None
) -> TraceReport:
    topology = fabric.engine.topology
    source = find_source(topology, src, None)
    target = None if dst == "broadcast" else find_destination(topology, dst, source.vni)
    asked = Asked(source, target, kind, frame)
    return Tracer(fabric.engine, asked, now_s=fabric.now_s).trace().told()


def outcomes(report: TraceReport) -> list[str]:
    return [stage.outcome for stage in report.stages]


@pytest.fixture
def pair(fabric: FakeFabric) -> FakeFabric:
    """web-1 on host 1 and db-1 on host 2, registered."""
    fabric.register(fabric.vm(0), name="web-1")
    fabric.register(fabric.vm(1), name="db-1")
    fabric.settle()
    return fabric


def test_registered_vms(pair):
    report = ask(pair, "web-1", "db-1")

    assert report.delivered
    assert report.cause is None
    assert outcomes(report)[0].startswith("answered in the switch")
    hops = report.stages[1].hops
    assert [hop.event for hop in hops] == [
        *("next", "next", "next", "tunnel"),
        "underlay",
        *("next", "next", "deliver"),
    ]
    assert "VM db-1" in (hops[2].reason or "")
    assert "registered" in (hops[2].reason or "")


@pytest.mark.parametrize("kind", ["arp", "icmp", "tcp", "udp"])
def test_kinds_of_packets(pair, kind):
    report = ask(pair, "web-1", "db-1", kind)

    assert report.delivered
    assert len(report.stages) == (1 if kind == "arp" else 3)


def test_by_mac_and_by_ip_it_is_the_same(pair):
    by_name = ask(pair, "web-1", "db-1")

    assert outcomes(ask(pair, "52:54:00:00:00:01", "52-54-00-00-00-02")) == outcomes(by_name)
    assert outcomes(ask(pair, "10.1.1.2", "10.1.1.3")) == outcomes(by_name)


def test_ipv6(fabric):
    for index, name in enumerate(("a", "b")):
        fabric.register(fabric.vm(index), name=name, ips=[Ip.parse(f"fd00::{index + 1}")])
    fabric.settle()

    report = ask(fabric, "a", "b")

    assert report.delivered
    assert report.stages[0].what == "ND solicitation for fd00::2"
    assert outcomes(report)[0].startswith("answered in the switch")


def test_learned_macs(fabric):
    a, b = fabric.vm(0), fabric.vm(1)
    assert fabric.ping(a, b)

    report = ask(fabric, str(a.mac), str(b.ip))

    assert report.delivered
    reasons = [hop.reason for stage in report.stages for hop in stage.hops]
    assert any("heard" in reason and "s ago" in reason for reason in reasons if reason)


def test_vms_of_one_host_are_br_ints_business(fabric):
    for name in ("a", "b"):
        fabric.register(fabric.vm(0), name=name)
    fabric.settle()

    report = ask(fabric, "a", "b")

    assert report.delivered
    assert all("br-int delivers" in outcome for outcome in outcomes(report))


def test_an_address_that_nobody_has_is_flooded(pair):
    report = ask(pair, "web-1", "10.1.1.99")

    assert not report.delivered
    assert report.cause == "not-known"
    assert outcomes(report) == ["flooded: one copy to each of 2 VTEPs"]


def test_an_address_that_nobody_has_is_dropped_where_the_network_says_so(pair):
    pair.network(0, unknown_arp="drop", subnets=[Subnet.parse("10.1.1.0/24")])
    pair.settle()

    report = ask(pair, "web-1", "10.1.1.99")

    assert report.cause == "unknown-address-dropped"
    assert report.stages[0].hops[-1].event == "drop"


def test_unknown_unicast_is_dropped_where_the_network_says_so(pair):
    pair.network(0, unknown_unicast="drop")
    pair.settle()

    report = ask(pair, "web-1", "52:54:00:99:99:99")

    assert report.cause == "unknown-unicast-dropped"


def test_broadcast(pair):
    report = ask(pair, "web-1", "broadcast")

    assert report.delivered
    assert outcomes(report) == ["flooded: one copy to each of 2 VTEPs"]


def test_tenants_are_isolated(pair):
    pair.network(100, vlan=10)
    pair.register(pair.vm(0, vni=100, vlan=10), name="blue-1")
    pair.settle()

    report = ask(pair, "web-1", "blue-1")

    assert report.cause == "different-networks"
    assert "network 100" in report.verdict


def test_a_network_is_traced_on_its_vlan(fabric):
    fabric.network(100, vlan=10)
    for index, name in enumerate(("a", "b")):
        fabric.register(fabric.vm(index, vni=100, vlan=10), name=name)
    fabric.settle()

    assert ask(fabric, "a", "b").delivered


def test_port_security_drops_an_address_that_is_not_registered(fabric):
    fabric.network(100, vlan=10, port_security=True)
    a, b = (fabric.vm(index, vni=100, vlan=10) for index in (0, 1))
    fabric.register(a, name="a")
    fabric.register(b, name="b")
    forged = IpHeader(Ip.parse("10.1.1.200"), b.ip)

    report = ask(fabric, "a", "b", frame=Packet.routed(forged, a.mac, b.mac, vlan=10))

    assert report.cause == "port-security"
    assert ask(fabric, "a", "b").delivered


def test_a_reactive_network_answers_through_the_controller(fabric):
    fabric.network(100, vlan=10, mode="reactive")
    for index, name in enumerate(("a", "b")):
        fabric.register(fabric.vm(index, vni=100, vlan=10), name=name)
    fabric.settle()

    report = ask(fabric, "a", "b")

    assert report.delivered
    assert "controller" in {end.how for stage in report.stages for end in stage.ends}


def test_behind_a_foreign_vtep(fabric, tunnels):
    rack = VtepIp.parse("192.168.33.200")
    fabric.network(100, vlan=10)
    fabric.register(fabric.vm(0, vni=100, vlan=10), name="a")
    place = fabric.vtep(rack, [Vni(100)], name="rack")
    fabric.register(replace(fabric.vm(1, vni=100, vlan=10), host=place), name="far")
    fabric.settle()

    there = ask(fabric, "a", "far", "udp")
    back = ask(fabric, "far", "a", "udp")

    if tunnels == "flow":
        assert "leaves for VTEP rack" in outcomes(there)[1]
        assert outcomes(back)[1].startswith("delivered on")
    else:
        assert there.cause == "no-tunnel-to-vtep"
        assert not back.delivered


def test_a_disconnected_host_is_said_to_be_that(pair):
    pair.disconnect(2)

    report = ask(pair, "web-1", "db-1")

    assert report.cause == "host-disconnected"
    assert "0000000000000002" in report.verdict


def test_names_that_nobody_has(pair):
    with pytest.raises(NotFound, match=r"is it web-1"):
        ask(pair, "web-11", "db-1")
    with pytest.raises(NotFound, match="dst: no VM"):
        ask(pair, "web-1", "dbx")


def test_a_name_that_two_have(pair):
    pair.network(100, vlan=10)
    pair.register(pair.vm(2, vni=100, vlan=10), name="web-1")

    with pytest.raises(InvalidValue, match="ambiguous"):
        ask(pair, "web-1", "db-1")
