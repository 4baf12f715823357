"""VMs in bulk: durable, and applied on every host."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import world
from bench.harness import Broken, Report, Scale
from bench.peers.ovn import ABSENT, ovn, present
from bench.rest import ndjson
from topology.lab import Fabric

TITLE = "VMs by one batch, until on all hosts"

HOSTS = 3
VMS = 5_000
SHORT_VMS = 200
#: OVN takes a minute for each
OVN_ROUNDS = 2
_OURS, _OVN = "ours, POST /v1/vms/batch?wait=60", "OVN, one ovn-nbctl --wait=hv"


def measure(scale: Scale, report: Report) -> None:
    vms = SHORT_VMS if scale.short else VMS
    report.note(f"{vms:,} VMs with one IPv4 address each, in one network, on {HOSTS} hosts")
    if not present():
        report.note(ABSENT)
    for turn in range(scale.rounds):
        report.sample(_OURS, _ours(vms), "s")
        if present() and turn < OVN_ROUNDS:
            report.sample(_OVN, _ovn(vms), "s")
    report.goal("seconds", lambda m: m[_OURS], at_most=1)
    report.goal("times faster than OVN", lambda m: m[_OVN] / m[_OURS], at_least=30)


def _ours(count: int) -> float:
    """One batch on hosts that hold the network's first VMs; gives the seconds it took."""
    with world.fabric(HOSTS) as one:
        dpids = world.connect(one)
        vnis = world.networks(one, 1)
        # The network's own flows and groups are there before, as OVN's switch is.
        world.register(one, world.spread(HOSTS, vnis, dpids), "?wait=60")
        before = _flows(one)
        body = ndjson(world.spread(count, vnis, dpids, first=HOSTS))
        began_s = time.monotonic()
        world.answer(world.post_batch(one, body, "?wait=60"), 201)
        took_s = time.monotonic() - began_s
        gained = [now - then for now, then in zip(_flows(one), before, strict=True)]
        _check(count, gained, one)
        return took_s


def _ovn(count: int) -> float:
    with ovn(HOSTS) as one:
        one.add_ports(HOSTS)
        began_s = time.monotonic()
        one.add_ports(count)
        return time.monotonic() - began_s


def _flows(one: Fabric) -> list[int]:
    return [world.flow_count(host) for host in one.lab.hosts]


def _check(count: int, gained: Sequence[int], one: Fabric) -> None:
    """Every VM is somewhere; what its own host and what the others hold of it is as desired."""
    if min(gained) < count or not one.in_sync():
        raise Broken(f"{count} VMs were said to be applied, the hosts gained {gained} flows")
