"""One VM added, until it is on all hosts: with few and with many VMs there.

Rounds follow each other and do not alternate with OVN's: to register the many takes minutes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import world
from bench.harness import Medians, Report, Scale
from bench.openflow import bridge
from bench.peers.ovn import ABSENT, Ovn, ovn, present
from controller.wire import encode
from topology.lab import Fabric

TITLE = "One VM registered, until on all hosts"

FABRICS = (3, 8)
NETWORKS = 10
FEW, MANY = 10, 100_000
POSTS = 200
SHORT_MANY, SHORT_POSTS = 600, 10
#: OVN takes minutes to come to more
OVN_MANY, OVN_ADDS = 1_000, 40
SHORT_OVN_MANY, SHORT_OVN_ADDS = 30, 3
_LIMIT = "limit: flow-mod and barrier on one host"
# Deletes what is nowhere: it changes nothing that the controller would mend.
_FLOW_MOD = encode.delete_by_cookie(0xFFFF_FFFF_FFFF)
#: VMs that are added, measured, are numbered from here on
_FIRST = 1_000_000


def measure(scale: Scale, report: Report) -> None:
    many, posts = (SHORT_MANY, SHORT_POSTS) if scale.short else (MANY, POSTS)
    for hosts in FABRICS[:1] if scale.short else FABRICS:
        few_name, many_name = _name(hosts, FEW), _name(hosts, many)
        with world.fabric(hosts) as one:
            dpids = world.connect(one)
            vnis = world.networks(one, NETWORKS)
            world.register(one, world.spread(FEW, vnis, dpids))
            # Every network on every host, so that a change concerns all of them.
            for vni in vnis:
                body = {"vlan": 101 + vni - vnis[0], "hosts": "all"}
                world.answer(one.rest.put(f"/v1/networks/{vni}?wait=60", body))
            for turn in range(scale.rounds):
                first = _FIRST + turn * posts
                report.distribution(few_name, _posts(one, vnis, dpids, first, posts))
                report.distribution(_LIMIT, _limit(one, posts))
            world.register(one, world.spread(many - FEW, vnis, dpids, first=FEW), "?wait=60")
            world.wait_live(one, dpids)
            flows = [world.flow_count(host) for host in one.lab.hosts]
            report.note(f"{hosts} hosts hold {min(flows):,} to {max(flows):,} flows each")
            for turn in range(scale.rounds):
                first = _FIRST + (scale.rounds + turn) * posts
                report.distribution(many_name, _posts(one, vnis, dpids, first, posts))
        if present():
            _ovn(scale, report, hosts)
        else:
            report.note(ABSENT)
        _goals(report, hosts, few_name, many_name)


def _ovn(scale: Scale, report: Report, hosts: int) -> None:
    """Beside it `ovn-nbctl --wait=hv lsp-add` on as many chassis, by way of ovn-nbctl's daemon."""
    short = SHORT_OVN_MANY, SHORT_OVN_ADDS
    many, adds = short if scale.short else (OVN_MANY, OVN_ADDS)
    with ovn(hosts) as one:
        one.add_ports(FEW - hosts)
        for ports in (FEW, many):
            if ports > FEW:
                one.add_ports(ports - one.ports)
            for _turn in range(scale.rounds):
                report.distribution(f"OVN, {hosts} hosts, {ports:,} ports", _adds(one, adds))


def _adds(one: Ovn, count: int) -> list[float]:
    took_s = []
    for _index in range(count):
        began_s = time.monotonic()
        one.add_ports(1)
        took_s.append(time.monotonic() - began_s)
    one.remove_ports(count)
    return took_s


def _goals(report: Report, hosts: int, few: str, many: str) -> None:
    for percentile, limit_ms in (("p50", 5), ("p99", 20)):
        one, other = f"{few} {percentile}", f"{many} {percentile}"

        def few_ms(medians: Medians, one: str = one) -> float:
            return medians[one]

        def growth(medians: Medians, one: str = one, other: str = other) -> float:
            return medians[other] / medians[one]

        report.goal(f"{one}, in ms", few_ms, at_most=limit_ms)
        report.goal(f"{other}, against {FEW} VMs", growth, at_most=1.5)


def _name(hosts: int, vms: int) -> str:
    return f"ours, {hosts} hosts, {vms:,} VMs"


def _limit(one: Fabric, count: int) -> list[float]:
    """Seconds for a flow-mod and its barrier on one host, from a plain socket of our own."""
    took_s = []
    with bridge(one.lab.hosts[0].ovs.rundir) as session:
        for _index in range(count):
            began_s = time.monotonic()
            session.finish(_FLOW_MOD)
            took_s.append(time.monotonic() - began_s)
    return took_s


def _posts(
    one: Fabric, vnis: Sequence[int], dpids: Sequence[str], first: int, count: int
) -> list[float]:
    """Register VMs one after another and take them away again; the seconds each took."""
    took_s = []
    bodies = world.spread(count, vnis, dpids, first)
    for body in bodies:
        began_s = time.monotonic()
        # 202, not on all hosts within 10 s, is slow and counts as such.
        world.answer(one.rest.post("/v1/vms?wait=10", body), 201, 202)
        took_s.append(time.monotonic() - began_s)
    for body in bodies:
        world.answer(one.rest.delete(f"/v1/vms/{body['vni']}/{body['mac']}?wait=10"), 202)
    return took_s
