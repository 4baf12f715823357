"""The controller starts while its switches hold their flows: until all of them are in hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench import world
from bench.harness import Broken, Report, Scale
from topology.lab import Fabric

TITLE = "Start with all VMs in the store, until every host is LIVE"

HOSTS = 3
NETWORKS = 10
VMS = 100_000
SHORT_VMS = 900
_OURS, _READY, _SENT = "ours, process start to LIVE", "ours, until REST answers", "flow-mods sent"


def measure(scale: Scale, report: Report) -> None:
    with world.fabric(HOSTS) as one, ExitStack() as stack:
        hosts = one.lab.hosts
        dpids = [host.dpid for host in hosts]
        proxies = [stack.enter_context(world.proxy(one)) for _host in hosts]
        for host in hosts:
            world.declare(one, host)
        vnis = world.networks(one, NETWORKS)
        world.register(one, world.spread(SHORT_VMS if scale.short else VMS, vnis, dpids))
        for host in hosts:
            world.point(host, one.controller.target)
        world.wait_live(one, dpids)
        flows = [world.flow_count(host) for host in hosts]
        report.note(f"{HOSTS} hosts, {sum(flows):,} flows")
        for _turn in range(scale.rounds):
            ready_s, live_s = _restarted(one, dpids)
            report.sample(_OURS, live_s, "s")
            report.sample(_READY, ready_s, "s")
        # Once more, through relays that count: they would take their share of the cores above.
        for host, proxy in zip(hosts, proxies, strict=True):
            world.point(host, proxy.target)
        world.wait_live(one, dpids)
        before = sum(proxy.flow_mods for proxy in proxies)
        _restarted(one, dpids)
        sent = sum(proxy.flow_mods for proxy in proxies) - before
        report.sample(_SENT, sent, "flow-mods")
        if sent or flows != [world.flow_count(host) for host in hosts]:
            raise Broken(f"{sent} flow-mods to {HOSTS} bridges that hold all their flows")
    report.goal("seconds until LIVE", lambda m: m[_OURS], at_most=5)
    report.goal(_SENT, lambda m: m[_SENT], at_most=0)


def _restarted(one: Fabric, dpids: Sequence[str]) -> tuple[float, float]:
    """Kill the controller and start it: seconds until REST answers, and until all are LIVE."""
    one.controller.kill()
    for host in one.lab.hosts:
        world.settle(host)
    began_s = time.monotonic()
    ready_s = one.controller.start(ready_within_s=300)
    return ready_s, world.wait_live(one, dpids) - began_s
